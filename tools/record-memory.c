#include "tools/record-memory.h"

#include <string.h>
#include <time.h>
#include <zstd.h>

#include "trace/class.h"

#define PAGE_BYTES 4096u
#define MAPPING_MAX (UINT64_C(1) << 40) /* what is larger is reserved, as sanitizers do, not used  \
                                         */
#define FIND_SHARE 20 /* looking for mappings takes at most one part in so many of the time */

typedef struct {
    pid_t pid;
    FerryProcessLog *log;
    char *label;
    unsigned n_told;       /* of its areas, that have a block */
    uint64_t next_find_ns; /* monotonic */
} Memory;

/* A block, and where its pages are. */
typedef struct {
    uint64_t first, pages, address;
    Memory *memory; /* NULL: gone */
} Place;

struct FerryRecordMemories {
    const FerryRecordOptions *options;
    const FerryRecordRange *ranges; /* borrowed; NULL: all */
    unsigned n_ranges;
    GPtrArray *memories;
    uint64_t n_pages;
    GArray *places;      /* Place, ascending */
    GArray *runs;        /* FerryPageRun */
    GArray *trace_runs;  /* FerryTraceRun, of the frame handed out */
    GArray *blocks;      /* FerryTraceBlock, likewise */
    GByteArray *classes; /* likewise */
    GArray *filled;      /* FerryPageRun: pages with something in them at the beginning */
    ZSTD_CCtx *packer;
    unsigned refused;
    gboolean too_large; /* a mapping was */
};

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void memory_free(void *data)
{
    Memory *memory = data;

    ferry_process_log_free(memory->log);
    g_free(memory->label);
    g_free(memory);
}

static void block_clear(void *data) { g_free(((FerryTraceBlock *)data)->name); }

FerryRecordMemories *ferry_record_memories_new(const FerryRecordOptions *options)
{
    FerryRecordMemories *m = g_new0(FerryRecordMemories, 1);

    m->options = options;
    m->memories = g_ptr_array_new_with_free_func(memory_free);
    m->places = g_array_new(FALSE, FALSE, sizeof(Place));
    m->runs = g_array_new(FALSE, FALSE, sizeof(FerryPageRun));
    m->trace_runs = g_array_new(FALSE, FALSE, sizeof(FerryTraceRun));
    m->blocks = g_array_new(FALSE, TRUE, sizeof(FerryTraceBlock));
    m->classes = g_byte_array_new();
    m->filled = g_array_new(FALSE, FALSE, sizeof(FerryPageRun));
    m->packer = options->content ? ZSTD_createCCtx() : NULL;
    g_array_set_clear_func(m->blocks, block_clear);
    return m;
}

void ferry_record_memories_free(FerryRecordMemories *m)
{
    if (!m) {
        return;
    }
    g_ptr_array_unref(m->memories);
    g_array_unref(m->places);
    g_array_unref(m->runs);
    g_array_unref(m->trace_runs);
    g_array_unref(m->blocks);
    g_byte_array_unref(m->classes);
    g_array_unref(m->filled);
    ZSTD_freeCCtx(m->packer);
    g_free(m);
}

void ferry_record_memories_restrict(FerryRecordMemories *m, const FerryRecordRange *ranges,
                                    unsigned n)
{
    m->ranges = ranges;
    m->n_ranges = n;
}

static const FerryRecordRange *range_of(const FerryRecordMemories *m, uint64_t start, uint64_t end)
{
    for (unsigned i = 0; i < m->n_ranges; i++) {
        if (start < m->ranges[i].end && m->ranges[i].start < end) {
            return &m->ranges[i];
        }
    }
    return NULL;
}

static gboolean wants(void *data, const FerryMapping *mapping)
{
    FerryRecordMemories *m = data;
    const FerryRecordOptions *o = m->options;
    uint64_t bytes = mapping->end - mapping->start;
    g_autofree char *name = g_strndup(mapping->name, mapping->name_bytes);

    if (m->n_ranges && !range_of(m, mapping->start, mapping->end)) {
        return FALSE;
    }
    m->too_large = m->too_large || bytes > MAPPING_MAX;
    return bytes <= MAPPING_MAX && bytes >= o->min_mapping_bytes &&
           (!o->name_filter || g_pattern_match_simple(o->name_filter, *name ? name : "anon"));
}

gboolean ferry_record_memories_add(FerryRecordMemories *m, pid_t pid, int uffd, const char *label,
                                   GError **error)
{
    FerryProcessLog *log = ferry_process_log_new(pid, uffd, &m->n_pages, wants, m, error);
    Memory *memory;

    if (!log) {
        return FALSE;
    }
    memory = g_new0(Memory, 1);
    memory->pid = pid;
    memory->log = log;
    memory->label = g_strdup(label);
    g_ptr_array_add(m->memories, memory);
    if (!ferry_process_log_find(log, error)) {
        return FALSE;
    }
    m->refused = MAX(m->refused, ferry_process_log_refused(log));
    return TRUE;
}

static char *block_name(const FerryRecordMemories *m, const Memory *memory,
                        const FerryProcessArea *area)
{
    const FerryRecordRange *range =
        range_of(m, area->address, area->address + area->pages * PAGE_BYTES);

    if (range) {
        return g_strdup(range->name);
    }
    return memory->label ? g_strdup_printf("%s %s", memory->label, area->name)
                         : g_strdup(area->name);
}

static int by_first(const void *a, const void *b)
{
    uint64_t x = ((const Place *)a)->first, y = ((const Place *)b)->first;

    return (x > y) - (x < y);
}

/* Blocks for the areas that have none. They are numbered in the order in which they were found, by
 * whichever process. */
static void tell_blocks(FerryRecordMemories *m)
{
    unsigned old = m->places->len;

    g_array_set_size(m->blocks, 0);
    for (unsigned i = 0; i < m->memories->len; i++) {
        Memory *memory = g_ptr_array_index(m->memories, i);
        const GPtrArray *areas = ferry_process_log_areas(memory->log);

        for (; memory->n_told < areas->len; memory->n_told++) {
            const FerryProcessArea *area = g_ptr_array_index(areas, memory->n_told);
            Place place = {area->first, area->pages, area->address, memory};

            g_array_append_val(m->places, place);
        }
    }
    g_array_sort(m->places, by_first);
    for (unsigned i = old; i < m->places->len; i++) {
        const Place *place = &g_array_index(m->places, Place, i);
        const GPtrArray *areas = ferry_process_log_areas(place->memory->log);
        FerryTraceBlock block = {.pages = place->pages, .gpa = UINT64_MAX};

        for (unsigned j = areas->len; !block.name && j-- > 0;) {
            const FerryProcessArea *area = g_ptr_array_index(areas, j);
            if (area->first == place->first) {
                block.name = block_name(m, place->memory, area);
            }
        }
        g_array_append_val(m->blocks, block);
    }
}

gboolean ferry_record_memories_begin(FerryRecordMemories *m, FerryTraceHeader *header,
                                     GError **error)
{
    tell_blocks(m);
    for (unsigned i = 0; i < m->blocks->len; i++) {
        const FerryTraceBlock *block = &g_array_index(m->blocks, FerryTraceBlock, i);
        ferry_trace_header_add(header, block->name, block->pages);
    }
    g_array_set_size(m->blocks, 0);
    for (unsigned i = 0; i < m->memories->len; i++) {
        const Memory *memory = g_ptr_array_index(m->memories, i);

        if (!ferry_process_log_present(memory->log, m->filled, error) ||
            !ferry_process_log_take(memory->log, NULL, error)) {
            return FALSE;
        }
    }
    ferry_page_runs_merge(m->filled);
    return TRUE;
}

/* The last place that begins at or before @page. */
static const Place *place_of(const FerryRecordMemories *m, uint64_t page)
{
    unsigned low = 0, high = m->places->len;

    while (high - low > 1) {
        unsigned middle = low + (high - low) / 2;

        if (g_array_index(m->places, Place, middle).first <= page) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return &g_array_index(m->places, Place, low);
}

/* Of pages that have something in them. */
static void classify(FerryRecordMemories *m, uint64_t first, uint64_t n, uint8_t *out)
{
    uint8_t page[PAGE_BYTES];

    for (uint64_t i = 0; i < n; i++) {
        const Place *place = place_of(m, first + i);
        uint64_t address = place->address + (first + i - place->first) * PAGE_BYTES;

        out[i] = m->packer && place->memory &&
                         ferry_process_log_read(place->memory->log, address, page, sizeof page)
                     ? ferry_page_class(page, m->packer)
                     : FERRY_TRACE_CLASS_UNKNOWN;
    }
}

gboolean ferry_record_memories_classes(FerryRecordMemories *m, uint64_t first, uint64_t n,
                                       uint8_t *out, GError **error)
{
    (void)error;
    memset(out, FERRY_TRACE_CLASS_ZERO, n);
    for (unsigned i = 0; i < m->filled->len; i++) {
        const FerryPageRun *run = &g_array_index(m->filled, FerryPageRun, i);
        uint64_t from = MAX(run->first, first), to = MIN(run->first + run->n, first + n);

        if (from < to) {
            classify(m, from, to - from, out + (from - first));
        }
    }
    return TRUE;
}

static gboolean take(FerryRecordMemories *m, Memory *memory, GError **error)
{
    uint64_t began = now_ns();

    if (began >= memory->next_find_ns) {
        if (!ferry_process_log_find(memory->log, error)) {
            return FALSE;
        }
        m->refused = MAX(m->refused, ferry_process_log_refused(memory->log));
        memory->next_find_ns = began + FIND_SHARE * (now_ns() - began);
    }
    return ferry_process_log_take(memory->log, m->runs, error);
}

gboolean ferry_record_memories_take(FerryRecordMemories *m, pid_t pid, GError **error)
{
    for (unsigned i = 0; i < m->memories->len; i++) {
        Memory *memory = g_ptr_array_index(m->memories, i);

        if ((pid == 0 || memory->pid == pid) && !take(m, memory, error)) {
            g_prefix_error(error, "process %d: ", (int)memory->pid);
            return FALSE;
        }
    }
    return TRUE;
}

/* Their blocks stay; nobody writes them any more. */
static void forget_gone(FerryRecordMemories *m)
{
    for (unsigned i = m->memories->len; i-- > 0;) {
        Memory *memory = g_ptr_array_index(m->memories, i);

        if (!ferry_process_log_gone(memory->log)) {
            continue;
        }
        for (unsigned j = 0; j < m->places->len; j++) {
            Place *place = &g_array_index(m->places, Place, j);
            place->memory = place->memory == memory ? NULL : place->memory;
        }
        g_ptr_array_remove_index(m->memories, i);
    }
}

static uint64_t hand_over_runs(FerryRecordMemories *m)
{
    uint64_t n_pages = 0;

    ferry_page_runs_merge(m->runs);
    g_array_set_size(m->trace_runs, 0);
    for (unsigned i = 0; i < m->runs->len; i++) {
        const FerryPageRun *run = &g_array_index(m->runs, FerryPageRun, i);
        FerryTraceRun copy = {run->first, run->n};

        g_array_append_val(m->trace_runs, copy);
        n_pages += run->n;
    }
    g_array_set_size(m->runs, 0);
    return n_pages;
}

gboolean ferry_record_memories_next(FerryRecordMemories *m, FerryRecordFrame *out, GError **error)
{
    uint64_t n_pages, began = now_ns(), at = 0;

    if (!ferry_record_memories_take(m, 0, error)) {
        return FALSE;
    }
    tell_blocks(m);
    n_pages = hand_over_runs(m);
    if (m->packer) {
        g_byte_array_set_size(m->classes, (guint)n_pages);
        for (unsigned i = 0; i < m->trace_runs->len; i++) {
            const FerryTraceRun *run = &g_array_index(m->trace_runs, FerryTraceRun, i);

            classify(m, run->first, run->n, m->classes->data + at);
            at += run->n;
        }
        out->frame.classes = m->classes->data;
    }
    forget_gone(m);
    out->frame.runs = (const FerryTraceRun *)(const void *)m->trace_runs->data;
    out->frame.n_runs = m->trace_runs->len;
    out->blocks = (const FerryTraceBlock *)(const void *)m->blocks->data;
    out->n_blocks = m->blocks->len;
    out->cost_ns = now_ns() - began;
    return TRUE;
}

unsigned ferry_record_memories_alive(const FerryRecordMemories *m) { return m->memories->len; }

unsigned ferry_record_memories_refused(const FerryRecordMemories *m) { return m->refused; }

void ferry_record_memories_tell(const FerryRecordMemories *m, JsonBuilder *builder, GString *text)
{
    if (builder) {
        json_builder_set_member_name(builder, "untracked_mappings");
        json_builder_add_int_value(builder, m->refused);
        return;
    }
    if (m->refused) {
        g_string_append_printf(text, "%u mappings could not be tracked\n", m->refused);
    }
    if (m->too_large) {
        g_string_append(text, "mappings of more than 1 TiB were left out\n");
    }
}
