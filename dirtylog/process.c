#include "dirtylog/process.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "dirtylog/dirtylog.h"
#include "dirtylog/pagemap-scan.h"

#define PAGE_BYTES FERRY_PAGEMAP_PAGE_BYTES
#define ADDRESS_MAX UINT64_C(0x7ffffffff000) /* what user space has at most, on x86-64 */
#define NAME_BYTES_MAX 200u

/* A range of addresses, the process's. */
typedef struct {
    uint64_t start, end;
} Range;

struct FerryProcessLog {
    pid_t pid;
    int uffd, pagemap, maps, memory;
    uint64_t *n_pages; /* borrowed */
    FerryProcessWants wants;
    void *data;
    GPtrArray *areas;  /* FerryProcessArea, as found */
    GPtrArray *sorted; /* the same, by address; they do not overlap */
    GHashTable *names; /* of areas, as a set */
    GArray *untracked; /* Range: present, in no tracked mapping; ascending */
    GArray *orphans;   /* Range: written, but in no area yet */
    GArray *pending;   /* FerryPageRun: for the next take */
    GString *text;     /* maps, as read last */
    struct page_region *room;
    gboolean gone, started;
    unsigned refused;
};

static void area_free(void *data)
{
    FerryProcessArea *area = data;

    g_free(area->name);
    g_free(area);
}

static uint64_t area_end(const FerryProcessArea *area)
{
    return area->address + area->pages * PAGE_BYTES;
}

static FerryProcessArea *area_at(const FerryProcessLog *log, unsigned i)
{
    return g_ptr_array_index(log->sorted, i);
}

/* The first area that ends behind @address, by its place in sorted. */
static unsigned area_behind(const FerryProcessLog *log, uint64_t address)
{
    unsigned low = 0, high = log->sorted->len;

    while (low < high) {
        unsigned middle = low + (high - low) / 2;

        if (area_end(area_at(log, middle)) > address) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

/* Hands the parts of a range that lie in areas to @runs, and keeps the rest. */
static void add_range(FerryProcessLog *log, Range range, gboolean is_file, GArray *runs)
{
    for (unsigned i = area_behind(log, range.start); range.start < range.end; i++) {
        const FerryProcessArea *area = i < log->sorted->len ? area_at(log, i) : NULL;
        uint64_t until = area ? MIN(range.end, area->address) : range.end;

        if (range.start < until) {
            Range orphan = {range.start, until};

            g_array_append_val(log->orphans, orphan);
            range.start = until;
        }
        if (range.start < range.end) {
            FerryPageRun run = {area->first + (range.start - area->address) / PAGE_BYTES, 0};

            until = MIN(range.end, area_end(area));
            run.n = (until - range.start) / PAGE_BYTES;
            /* A private mapping's page that is still the file's has only been read. */
            if (runs && (area->shared || !is_file)) {
                g_array_append_val(runs, run);
            }
            range.start = until;
        }
    }
}

/* No error if the memory is gone: it can be so at any time. */
static gboolean scan(FerryProcessLog *log, struct pm_scan_arg *arg, FerryPagemapFound found,
                     void *data, GError **error)
{
    GError *failed = NULL;

    if (ferry_pagemap_scan(log->pagemap, arg, log->room, found, data, &failed)) {
        return TRUE;
    }
    log->gone = errno == ESRCH;
    if (log->gone) {
        g_error_free(failed);
    } else {
        g_propagate_error(error, failed);
    }
    return log->gone;
}

/* Looking for mappings. */

static gboolean read_maps(FerryProcessLog *log, GError **error)
{
    ssize_t n;

    g_string_truncate(log->text, 0);
    if (lseek(log->maps, 0, SEEK_SET) < 0) {
        return ferry_pagemap_fail(error, FERRY_DIRTY_LOG_ERROR_IOCTL, "maps");
    }
    do {
        gsize at = log->text->len;

        g_string_set_size(log->text, at + (64u << 10));
        n = read(log->maps, log->text->str + at, 64u << 10);
        g_string_set_size(log->text, at + (gsize)MAX(n, 0));
    } while (n > 0);
    if (n < 0 && errno != ESRCH) {
        return ferry_pagemap_fail(error, FERRY_DIRTY_LOG_ERROR_IOCTL, "maps");
    }
    log->gone = log->text->len == 0;
    return TRUE;
}

static gboolean untracked_found(void *data, const struct page_region *run, GError **error)
{
    FerryProcessLog *log = data;
    Range range = {run->start, run->end};

    (void)error;
    g_array_append_val(log->untracked, range);
    return TRUE;
}

static gboolean find_untracked(FerryProcessLog *log, GError **error)
{
    struct pm_scan_arg arg = {
        .end = ADDRESS_MAX,
        .category_inverted = PAGE_IS_WPALLOWED,
        .category_mask = PAGE_IS_WPALLOWED,
        .category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
    };

    g_array_set_size(log->untracked, 0);
    return scan(log, &arg, untracked_found, log, error);
}

static char *name_area(FerryProcessLog *log, const FerryMapping *m, uint64_t address)
{
    g_autofree char *text = g_strndup(m->name, MIN(m->name_bytes, NAME_BYTES_MAX));
    g_autofree char *valid = g_utf8_make_valid(*text ? text : "anon", -1);
    char *name = g_strdup(valid);

    if (!*text || g_hash_table_contains(log->names, name)) {
        g_free(name);
        name = g_strdup_printf("%s %" G_GINT64_MODIFIER "x", valid, address);
    }
    g_hash_table_add(log->names, g_strdup(name));
    return name;
}

/* Whether an address of a mapping is in no area. */
static gboolean is_new(const FerryProcessLog *log, const FerryMapping *m)
{
    uint64_t at = m->start;

    for (unsigned i = area_behind(log, at); at < m->end; i++) {
        if (i == log->sorted->len || area_at(log, i)->address > at) {
            return TRUE;
        }
        at = area_end(area_at(log, i));
    }
    return FALSE;
}

/* Areas for what of a mapping has none. */
static void cover(FerryProcessLog *log, const FerryMapping *m)
{
    for (uint64_t at = m->start; at < m->end;) {
        unsigned i = area_behind(log, at);
        FerryProcessArea *next = i < log->sorted->len ? area_at(log, i) : NULL;
        uint64_t until = next ? MIN(m->end, next->address) : m->end;

        if (at < until) {
            FerryProcessArea *area = g_new0(FerryProcessArea, 1);

            *area = (FerryProcessArea){name_area(log, m, at), at, (until - at) / PAGE_BYTES,
                                       *log->n_pages, m->shared};
            *log->n_pages += area->pages;
            g_ptr_array_add(log->areas, area);
            g_ptr_array_insert(log->sorted, (int)i, area);
            at = until;
        } else {
            next->shared = m->shared; /* what is mapped there may have changed */
            at = area_end(next);
        }
    }
}

/* @from: the first untracked range that may lie in @m or behind it. */
static gboolean is_untracked(const FerryProcessLog *log, const FerryMapping *m, unsigned *from)
{
    const Range *ranges = (const Range *)(void *)log->untracked->data;

    while (*from < log->untracked->len && ranges[*from].end <= m->start) {
        ++*from;
    }
    return *from < log->untracked->len && ranges[*from].start < m->end;
}

static gboolean present_found(void *data, const struct page_region *run, GError **error)
{
    FerryProcessLog *log = data;

    (void)error;
    add_range(log, (Range){run->start, run->end}, FALSE, log->pending);
    return TRUE;
}

/* Pages with something in them. Those of shared memory are never swapped out of page tables: what
 * seems so is a marker. */
static gboolean scan_present(FerryProcessLog *log, Range range, gboolean shared,
                             FerryPagemapFound found, void *data, GError **error)
{
    struct pm_scan_arg arg = {
        .start = range.start,
        .end = range.end,
        .category_inverted = PAGE_IS_PFNZERO,
        .category_mask = PAGE_IS_PFNZERO,
        .category_anyof_mask = PAGE_IS_PRESENT | (shared ? 0 : PAGE_IS_SWAPPED),
    };

    return scan(log, &arg, found, data, error);
}

/* Shared memory needs a marker for each page that is not there: somebody else may have filled it
 * when this process looks, which is no write of its. */
static gboolean protect_shared(FerryProcessLog *log, const FerryMapping *m, GError **error)
{
    struct uffdio_writeprotect wp = {
        .range = {.start = m->start, .len = m->end - m->start},
        .mode = UFFDIO_WRITEPROTECT_MODE_WP
    };

    return ioctl(log->uffd, UFFDIO_WRITEPROTECT, &wp) < 0 ||
           scan_present(log, (Range){m->start, m->end}, TRUE, present_found, log, error);
}

/* *@out_tracked FALSE: the kernel would not, or the mapping has changed since, and the next look
 * finds it. */
static gboolean track(FerryProcessLog *log, const FerryMapping *m, gboolean *out_tracked,
                      GError **error)
{
    struct uffdio_register reg = {
        .range = {.start = m->start, .len = m->end - m->start},
          .mode = UFFDIO_REGISTER_MODE_WP
    };

    *out_tracked = ioctl(log->uffd, UFFDIO_REGISTER, &reg) == 0;
    if (*out_tracked) {
        return TRUE;
    }
    switch (errno) {
    case ESRCH:
        log->gone = TRUE;
        return TRUE;
    case EINVAL:
    case EPERM:
    case EBUSY:
        log->refused++;
        return TRUE;
    case ENOMEM:
        return TRUE;
    default:
        return ferry_pagemap_fail(error, FERRY_DIRTY_LOG_ERROR_IOCTL, "UFFDIO_REGISTER");
    }
}

gboolean ferry_process_log_find(FerryProcessLog *log, GError **error)
{
    FerryMapping m;
    gboolean tracked;
    unsigned from = 0;

    if (!read_maps(log, error) || log->gone || (log->started && !find_untracked(log, error))) {
        return log->gone;
    }
    log->refused = 0;
    for (const char *at = log->text->str; ferry_maps_next(&at, &m);) {
        if (!ferry_maps_is_memory(&m) || (log->wants && !log->wants(log->data, &m))) {
            continue;
        }
        if (!is_new(log, &m) && !is_untracked(log, &m, &from)) {
            continue;
        }
        if (!track(log, &m, &tracked, error)) {
            return FALSE;
        }
        if (tracked) {
            cover(log, &m);
        }
        if (tracked && m.shared && !protect_shared(log, &m, error)) {
            return FALSE;
        }
    }
    log->started = TRUE;
    return TRUE;
}

/* Reading. */

typedef struct {
    FerryProcessLog *log;
    GArray *runs;
} Taking;

static gboolean written_found(void *data, const struct page_region *run, GError **error)
{
    const Taking *t = data;

    (void)error;
    add_range(t->log, (Range){run->start, run->end}, (run->categories & PAGE_IS_FILE) != 0,
              t->runs);
    return TRUE;
}

gboolean ferry_process_log_take(FerryProcessLog *log, GArray *runs, GError **error)
{
    Taking taking = {log, runs};
    g_autoptr(GArray) orphans = log->orphans;
    struct pm_scan_arg arg = {
        .flags = PM_SCAN_WP_MATCHING,
        .category_inverted = PAGE_IS_PFNZERO, /* zeros that were only read */
        .category_mask = PAGE_IS_WPALLOWED | PAGE_IS_WRITTEN | PAGE_IS_PFNZERO,
        .category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED, /* no holes: they are "written" */
        .return_mask = PAGE_IS_FILE,
    };

    log->orphans = g_array_new(FALSE, FALSE, sizeof(Range));
    for (unsigned i = 0; i < orphans->len; i++) {
        add_range(log, g_array_index(orphans, Range, i), FALSE, runs);
    }
    if (runs) {
        g_array_append_vals(runs, log->pending->data, log->pending->len);
    }
    g_array_set_size(log->pending, 0);
    if (log->gone || log->sorted->len == 0) {
        return TRUE;
    }
    arg.start = area_at(log, 0)->address;
    arg.end = area_end(area_at(log, log->sorted->len - 1));
    return scan(log, &arg, written_found, &taking, error);
}

gboolean ferry_process_log_present(FerryProcessLog *log, GArray *runs, GError **error)
{
    Taking taking = {log, runs};

    for (unsigned i = 0; i < log->sorted->len; i++) {
        const FerryProcessArea *area = area_at(log, i);
        FerryPageRun all = {area->first, area->pages};

        if (area->name[0] == '/' && !g_str_has_prefix(area->name, "/memfd:")) {
            g_array_append_val(runs, all); /* what is not there yet comes from the file */
        } else if (!scan_present(log, (Range){area->address, area_end(area)}, area->shared,
                                 written_found, &taking, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean ferry_process_log_read(const FerryProcessLog *log, uint64_t address, void *to, gsize n)
{
    return pread(log->memory, to, n, (off_t)address) == (ssize_t)n;
}

gboolean ferry_process_log_gone(const FerryProcessLog *log) { return log->gone; }

const GPtrArray *ferry_process_log_areas(const FerryProcessLog *log) { return log->areas; }

unsigned ferry_process_log_refused(const FerryProcessLog *log) { return log->refused; }

static int open_proc(pid_t pid, const char *file, GError **error)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/%s", (int)pid, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0) {
        ferry_pagemap_fail(error, FERRY_DIRTY_LOG_ERROR_UNSUPPORTED, path);
    }
    return fd;
}

FerryProcessLog *ferry_process_log_new(pid_t pid, int uffd, uint64_t *n_pages,
                                       FerryProcessWants wants, void *data, GError **error)
{
    FerryProcessLog *log = g_new0(FerryProcessLog, 1);

    *log = (FerryProcessLog){
        .pid = pid,
        .uffd = uffd,
        .pagemap = -1,
        .maps = -1,
        .memory = -1,
        .n_pages = n_pages,
        .wants = wants,
        .data = data,
        .areas = g_ptr_array_new_with_free_func(area_free),
        .sorted = g_ptr_array_new(),
        .names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
        .untracked = g_array_new(FALSE, FALSE, sizeof(Range)),
        .orphans = g_array_new(FALSE, FALSE, sizeof(Range)),
        .pending = g_array_new(FALSE, FALSE, sizeof(FerryPageRun)),
        .text = g_string_new(NULL),
        .room = g_new(struct page_region, FERRY_PAGEMAP_N_FOUND),
    };
    /* All three stay with the memory of now: a program that replaces this one is not looked at. */
    if (!ferry_pagemap_enable(uffd, error) || (log->pagemap = ferry_pagemap_open(pid, error)) < 0 ||
        (log->maps = open_proc(pid, "maps", error)) < 0 ||
        (log->memory = open_proc(pid, "mem", error)) < 0) {
        ferry_process_log_free(log);
        return NULL;
    }
    return log;
}

void ferry_process_log_free(FerryProcessLog *log)
{
    if (!log) {
        return;
    }
    /* Closing is enough, but for the child that a fork in the wrong moment gave a copy. */
    for (unsigned i = 0; i < log->sorted->len; i++) {
        const FerryProcessArea *area = area_at(log, i);
        struct uffdio_range range = {.start = area->address, .len = area->pages * PAGE_BYTES};

        ioctl(log->uffd, UFFDIO_UNREGISTER, &range);
    }
    for (gsize i = 0; i < 4; i++) {
        int fd = ((const int[]){log->uffd, log->pagemap, log->maps, log->memory})[i];

        if (fd >= 0) {
            close(fd);
        }
    }
    g_ptr_array_unref(log->sorted);
    g_ptr_array_unref(log->areas);
    g_hash_table_unref(log->names);
    g_array_unref(log->untracked);
    g_array_unref(log->orphans);
    g_array_unref(log->pending);
    g_string_free(log->text, TRUE);
    g_free(log->room);
    g_free(log);
}

static int by_first(const void *a, const void *b)
{
    uint64_t x = ((const FerryPageRun *)a)->first, y = ((const FerryPageRun *)b)->first;

    return (x > y) - (x < y);
}

void ferry_page_runs_merge(GArray *runs)
{
    FerryPageRun *at = (FerryPageRun *)(void *)runs->data;
    unsigned n = 0;

    g_array_sort(runs, by_first);
    for (unsigned i = 0; i < runs->len; i++) {
        if (n > 0 && at[i].first <= at[n - 1].first + at[n - 1].n) {
            at[n - 1].n = MAX(at[n - 1].n, at[i].first + at[i].n - at[n - 1].first);
        } else {
            at[n++] = at[i];
        }
    }
    g_array_set_size(runs, n);
}
