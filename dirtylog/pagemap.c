#include "dirtylog/dirtylog.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "dirtylog/pagemap-scan.h"

#define PAGE_BYTES FERRY_PAGEMAP_PAGE_BYTES

typedef struct {
    int uffd;
    int pagemap; /* /proc/PID/pagemap */
    FerryPagemapRegion *regions;
    unsigned n_regions;
    unsigned n_registered;
    gboolean *all_reported; /* per region: the first sync has been */
    FerryBitmap *reported;  /* per region: reported by a sync, not cleared since */
    struct page_region *found;
    uint64_t cleared_pages;
} Pagemap;

static struct uffdio_range range_of(const FerryPagemapRegion *region)
{
    return (struct uffdio_range){.start = region->address, .len = region->n_pages * PAGE_BYTES};
}

/* Registers only. A page that was never protected is "written": the first sync needs no scan, and
 * each chunk is protected when it is cleared. */
static gboolean pagemap_start(void *self, GError **error)
{
    Pagemap *log = self;

    log->cleared_pages = 0;
    for (unsigned i = 0; i < log->n_regions; i++) {
        struct uffdio_register reg = {.range = range_of(&log->regions[i]),
                                      .mode = UFFDIO_REGISTER_MODE_WP};

        if (ioctl(log->uffd, UFFDIO_REGISTER, &reg) < 0) {
            return ferry_pagemap_fail(error, FERRY_DIRTY_LOG_ERROR_IOCTL, "UFFDIO_REGISTER");
        }
        log->n_registered = i + 1;
        log->all_reported[i] = FALSE;
        ferry_bitmap_reset(&log->reported[i], 0, log->reported[i].n_bits);
    }
    return TRUE;
}

static void pagemap_stop(void *self)
{
    Pagemap *log = self;

    while (log->n_registered > 0) {
        struct uffdio_range range = range_of(&log->regions[--log->n_registered]);

        ioctl(log->uffd, UFFDIO_UNREGISTER, &range); /* takes the protection off as well */
    }
}

/* The scan protects what is mapped and written, but not a page that is not there: that takes a
 * marker. Whoever writes the page in between is not lost, as the page counts as found. */
static gboolean protect_absent(const Pagemap *log, const struct page_region *run, GError **error)
{
    struct uffdio_writeprotect wp = {
        .range = {.start = run->start, .len = run->end - run->start},
        .mode = UFFDIO_WRITEPROTECT_MODE_WP,
    };

    if (ioctl(log->uffd, UFFDIO_WRITEPROTECT, &wp) < 0) {
        return ferry_pagemap_fail(error, FERRY_DIRTY_LOG_ERROR_IOCTL, "UFFDIO_WRITEPROTECT");
    }
    return TRUE;
}

/* Adds a run to @dirty, except pages whose last sync reported them (when clearing). */
static void take(Pagemap *log, unsigned block, const struct page_region *run, gboolean clearing,
                 FerryBitmap *dirty)
{
    uint64_t first = (run->start - log->regions[block].address) / PAGE_BYTES;
    uint64_t end = (run->end - log->regions[block].address) / PAGE_BYTES;

    if (!clearing) {
        ferry_bitmap_set(&log->reported[block], first, end - first);
        ferry_bitmap_set(dirty, first, end - first);
        return;
    }
    log->cleared_pages += end - first;
    while ((first = ferry_bitmap_next_clear(&log->reported[block], first)) < end) {
        uint64_t to = MIN(ferry_bitmap_next_set(&log->reported[block], first), end);

        ferry_bitmap_set(dirty, first, to - first);
        first = to;
    }
}

typedef struct {
    Pagemap *log;
    unsigned block;
    gboolean clearing;
    FerryBitmap *dirty;
} Scan;

static gboolean scan_found(void *data, const struct page_region *run, GError **error)
{
    const Scan *s = data;
    gboolean absent = !(run->categories & (PAGE_IS_PRESENT | PAGE_IS_SWAPPED));

    if (!absent && !(run->categories & PAGE_IS_WRITTEN)) {
        return TRUE; /* a marker, or swapped out unchanged */
    }
    take(s->log, s->block, run, s->clearing, s->dirty);
    return !(absent && s->clearing) || protect_absent(s->log, run, error);
}

/* Finds the pages of a region that are not protected: written ones, and absent ones without a
 * marker (never touched, or discarded by the guest's process since). With @clearing, protects them;
 * the kernel does the look and the protection of a page in one step. */
static gboolean scan(Pagemap *log, unsigned block, uint64_t first, uint64_t n, gboolean clearing,
                     FerryBitmap *dirty, GError **error)
{
    uint64_t address = log->regions[block].address;
    Scan to = {log, block, clearing, dirty};
    struct pm_scan_arg arg = {
        .flags = PM_SCAN_CHECK_WPASYNC | (clearing ? PM_SCAN_WP_MATCHING : 0),
        .start = address + first * PAGE_BYTES,
        .end = address + (first + n) * PAGE_BYTES,
        .category_inverted = PAGE_IS_PRESENT, /* written, or not present */
        .category_anyof_mask = PAGE_IS_WRITTEN | PAGE_IS_PRESENT,
        .return_mask = PAGE_IS_WRITTEN | PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
    };

    return ferry_pagemap_scan(log->pagemap, &arg, log->found, scan_found, &to, error);
}

static gboolean pagemap_sync(void *self, unsigned block, FerryBitmap *dirty, GError **error)
{
    Pagemap *log = self;

    if (!log->all_reported[block]) {
        log->all_reported[block] = TRUE;
        ferry_bitmap_set(&log->reported[block], 0, log->reported[block].n_bits);
        ferry_bitmap_set(dirty, 0, dirty->n_bits);
        return TRUE;
    }
    return scan(log, block, 0, log->regions[block].n_pages, FALSE, dirty, error);
}

static gboolean pagemap_clear(void *self, unsigned block, uint64_t first, uint64_t n,
                              FerryBitmap *dirty, GError **error)
{
    Pagemap *log = self;

    if (!scan(log, block, first, n, TRUE, dirty, error)) {
        return FALSE;
    }
    ferry_bitmap_reset(&log->reported[block], first, n);
    return TRUE;
}

static uint64_t pagemap_cleared_pages(const void *self)
{
    return ((const Pagemap *)self)->cleared_pages;
}

static void pagemap_free(void *self)
{
    Pagemap *log = self;

    if (log->uffd >= 0) {
        close(log->uffd);
    }
    if (log->pagemap >= 0) {
        close(log->pagemap);
    }
    for (unsigned i = 0; i < log->n_regions; i++) {
        ferry_bitmap_clear(&log->reported[i]);
    }
    g_free(log->reported);
    g_free(log->all_reported);
    g_free(log->regions);
    g_free(log->found);
    g_free(log);
}

static const FerryDirtyLogOps pagemap_ops = {
    .name = "pagemap",
    .start = pagemap_start,
    .sync = pagemap_sync,
    .clear = pagemap_clear,
    .stop = pagemap_stop,
    .free = pagemap_free,
    .clears_exactly = TRUE,
    .cleared_pages = pagemap_cleared_pages,
};

static gboolean open_uffd(Pagemap *log, GError **error)
{
    if (log->uffd < 0) {
        /* "User mode only" needs no privilege, and asynchronous protection is resolved by the
         * kernel alone: writes by KVM and by system calls are seen all the same. */
        log->uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
        if (log->uffd < 0) {
            return ferry_pagemap_fail(error, FERRY_DIRTY_LOG_ERROR_UNSUPPORTED, "userfaultfd");
        }
    }
    return ferry_pagemap_enable(log->uffd, error);
}

FerryDirtyLog *ferry_dirty_log_pagemap_new(pid_t pid, int uffd, const FerryPagemapRegion *regions,
                                           unsigned n_regions, GError **error)
{
    Pagemap *log = g_new0(Pagemap, 1);
    g_autofree uint64_t *block_pages = g_new(uint64_t, n_regions);

    log->uffd = uffd;
    log->pagemap = -1;
    log->regions = g_memdup2(regions, n_regions * sizeof *regions);
    log->n_regions = n_regions;
    log->all_reported = g_new0(gboolean, n_regions);
    log->reported = g_new0(FerryBitmap, n_regions);
    log->found = g_new(struct page_region, FERRY_PAGEMAP_N_FOUND);
    for (unsigned i = 0; i < n_regions; i++) {
        block_pages[i] = regions[i].n_pages;
        ferry_bitmap_init(&log->reported[i], regions[i].n_pages);
    }
    if (!open_uffd(log, error) || (log->pagemap = ferry_pagemap_open(pid, error)) < 0) {
        pagemap_free(log);
        return NULL;
    }
    return ferry_dirty_log_new(&pagemap_ops, log, block_pages, n_regions);
}
