#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include "engine/record-private.h"

#define PAGE FERRY_PAGE_CLASS_BYTES
#define HURRY_PAGES 256u /* between two questions whether to hurry */

void ferry_record_work_init(FerryRecordWork *w, FerryGuest *guest, FerryTraceFile *file,
                            gboolean content)
{
    *w = (FerryRecordWork){.guest = guest, .log = ferry_guest_dirty_log(guest), .file = file};
    w->n_blocks = ferry_dirty_log_n_blocks(w->log);
    w->dirty = g_new0(FerryBitmap, w->n_blocks);
    for (unsigned i = 0; i < w->n_blocks; i++) {
        ferry_bitmap_init(&w->dirty[i], ferry_dirty_log_block_pages(w->log, i));
    }
    w->runs = g_array_new(FALSE, FALSE, sizeof(FerryTraceRun));
    if (content) {
        w->packer = ZSTD_createCCtx();
        g_assert(w->packer != NULL);
    }
}

/* The bitmaps as runs of pages numbered through, which may go on from block to block. */
static void gather(FerryRecordWork *w)
{
    uint64_t base = 0, at, n;

    g_array_set_size(w->runs, 0);
    w->n_pages = 0;
    for (unsigned i = 0; i < w->n_blocks; i++) {
        FerryBitmap *dirty = &w->dirty[i];
        for (uint64_t from = 0; ferry_bitmap_next_run(dirty, from, UINT64_MAX, &at, &n);
             from = at + n) {
            FerryTraceRun run = {base + at, n};
            FerryTraceRun *last =
                w->runs->len > 0 ? &g_array_index(w->runs, FerryTraceRun, w->runs->len - 1) : NULL;
            if (last != NULL && last->first + last->n == run.first) {
                last->n += n;
            } else {
                g_array_append_val(w->runs, run);
            }
            w->n_pages += n;
        }
        ferry_bitmap_reset(dirty, 0, dirty->n_bits);
        base += dirty->n_bits;
    }
}

gboolean ferry_record_work_look(FerryRecordWork *w, GError **error)
{
    uint64_t before_ns = ferry_now_ns();

    for (unsigned i = 0; i < w->n_blocks; i++) {
        if (!ferry_dirty_log_sync(w->log, i, &w->dirty[i], error)) {
            return FALSE;
        }
    }
    w->looked_ns = before_ns + (ferry_now_ns() - before_ns) / 2;
    /* Only what was found: all else is protected still. */
    for (unsigned i = 0; i < w->n_blocks; i++) {
        if (!ferry_dirty_log_clear(w->log, i, 0, w->dirty[i].n_bits, &w->dirty[i], error)) {
            return FALSE;
        }
    }
    gather(w);
    return TRUE;
}

/* Those of pages [first, first + n) into @classes. */
static void classify(FerryRecordWork *w, uint64_t first, uint64_t n, uint8_t *classes)
{
    const FerryMemory *memory = ferry_guest_memory(w->guest);
    const FerryMemoryBlock *block = ferry_memory_block(memory, 0);
    uint64_t base = 0;

    for (unsigned i = 0; n > 0; i++, base += block->length / PAGE) {
        block = ferry_memory_block(memory, i);
        for (; n > 0 && first - base < block->length / PAGE; first++, n--) {
            if (w->classified++ % HURRY_PAGES == 0 && w->hurry(w->hurry_self)) {
                memset(classes, FERRY_TRACE_CLASS_UNKNOWN, n);
                return;
            }
            *classes++ = ferry_page_class(block->host + (first - base) * PAGE, w->packer);
        }
    }
}

/* As all pages are when the first frame begins: read once, and again what was written meanwhile. */
static gboolean classify_all(FerryRecordWork *w, uint64_t pages, uint8_t **out_classes,
                             GError **error)
{
    g_autofree uint8_t *classes = g_malloc(pages);

    classify(w, 0, pages, classes);
    for (unsigned again = 0; again < 2; again++) {
        if (!ferry_record_work_look(w, error)) {
            return FALSE;
        }
        for (unsigned i = 0; i < w->runs->len; i++) {
            const FerryTraceRun *run = &g_array_index(w->runs, FerryTraceRun, i);
            classify(w, run->first, run->n, classes + run->first);
        }
    }
    *out_classes = g_steal_pointer(&classes);
    return TRUE;
}

static const char *method_of(const char *log)
{
    static const char *const names[][2] = {
        {"kvm-plain", "kvm-bitmap"  },
        {"pagemap",   "pagemap-scan"}
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(names); i++) {
        if (strcmp(log, names[i][0]) == 0) {
            return names[i][1];
        }
    }
    return log;
}

static void describe(const FerryRecordWork *w, FerryTraceHeader *h)
{
    const FerryMemory *memory = ferry_guest_memory(w->guest);
    struct utsname host;

    for (unsigned i = 0; i < ferry_memory_n_blocks(memory); i++) {
        const FerryMemoryBlock *block = ferry_memory_block(memory, i);
        ferry_trace_header_add(h, block->idstr, block->length / PAGE);
        g_array_index(h->blocks, FerryTraceBlock, i).gpa = block->guest_address;
    }
    h->method = g_strdup(method_of(ferry_dirty_log_get_name(w->log)));
    h->n_vcpu = ferry_guest_n_vcpus(w->guest);
    h->guest = g_strdup(ferry_guest_machine(w->guest));
    h->tool = g_strdup("ferry " FERRY_VERSION);
    if (h->workload == NULL) {
        h->workload = g_strdup(ferry_guest_workload(w->guest));
    }
    if (uname(&host) == 0) {
        h->host = g_strdup_printf("%s, %s %s %s", host.nodename, host.sysname, host.release,
                                  host.machine);
    }
}

gboolean ferry_record_work_begin(FerryRecordWork *w, FerryTraceHeader *header, GError **error)
{
    FerryTraceSink sink = ferry_trace_file_sink(w->file);
    g_autofree uint8_t *classes = NULL;
    uint64_t pages;

    describe(w, header);
    pages = ferry_trace_header_pages(header);
    /* The first look finds and protects everything, which takes a while where there is much of it;
     * frames begin at the second one. */
    if (!ferry_dirty_log_start(w->log, error) || !ferry_record_work_look(w, error) ||
        !(w->packer != NULL ? classify_all(w, pages, &classes, error)
                            : ferry_record_work_look(w, error))) {
        return FALSE;
    }
    header->start_monotonic_ns = w->looked_ns;
    header->start_wall_ns =
        (uint64_t)g_get_real_time() * 1000 - (ferry_now_ns() - header->start_monotonic_ns);
    w->writer = ferry_trace_writer_new(header, &sink, NULL, error);
    return w->writer != NULL &&
           (classes == NULL || ferry_trace_writer_classes(w->writer, 0, classes, pages, error));
}

gboolean ferry_record_work_write(FerryRecordWork *w, FerryTraceFrame *frame, GError **error)
{
    frame->runs = (const FerryTraceRun *)w->runs->data;
    frame->n_runs = w->runs->len;
    if (w->packer != NULL) {
        if (w->n_pages > w->classes_room) {
            w->classes_room = w->n_pages * 2;
            w->classes = g_realloc(w->classes, w->classes_room);
        }
        uint8_t *at = w->classes;
        for (unsigned i = 0; i < frame->n_runs; at += frame->runs[i].n, i++) {
            classify(w, frame->runs[i].first, frame->runs[i].n, at);
        }
        frame->classes = w->classes;
    }
    return ferry_trace_writer_frame(w->writer, frame, error);
}

void ferry_record_work_unwatch(FerryRecordWork *w) { ferry_dirty_log_stop(w->log); }

gboolean ferry_record_work_end(FerryRecordWork *w, const FerryTraceTotals *totals, GError **error)
{
    return ferry_trace_writer_end(w->writer, totals, error) &&
           ferry_trace_file_commit(w->file, error);
}

void ferry_record_work_clear(FerryRecordWork *w)
{
    for (unsigned i = 0; i < w->n_blocks; i++) {
        ferry_bitmap_clear(&w->dirty[i]);
    }
    g_free(w->dirty);
    g_array_unref(w->runs);
    g_free(w->classes);
    ZSTD_freeCCtx(w->packer);
    ferry_trace_writer_free(w->writer);
    ferry_trace_file_free(w->file);
}

/* Sixteen counters for each power of two; what is below 16 has one of its own. */
void ferry_record_costs_add(FerryRecordCosts *c, uint64_t ns)
{
    unsigned row = ns < 16 ? 0 : 60 - (unsigned)__builtin_clzll(ns);

    c->counts[row * 16 + (row > 0 ? ns >> (row - 1) & 15 : ns)]++;
    c->longest = MAX(c->longest, ns);
    c->n++;
}

uint64_t ferry_record_costs_median(const FerryRecordCosts *c)
{
    uint64_t below = 0;

    for (unsigned i = 0; i < G_N_ELEMENTS(c->counts); i++) {
        below += c->counts[i];
        if (below * 2 >= c->n && c->n > 0) {
            return i < 16 ? i : (uint64_t)(16 + i % 16) << (i / 16 - 1);
        }
    }
    return 0;
}
