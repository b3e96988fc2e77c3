#include "tests/trace/memory.h"
#include <string.h>

static gboolean write_memory(void *self, const void *data, size_t n, GError **error)
{
    (void)error;
    g_byte_array_append(self, data, (guint)n);
    return TRUE;
}

static gboolean read_memory(void *self, uint64_t offset, void *data, size_t n, GError **error)
{
    const GByteArray *bytes = self;

    (void)error;
    g_assert(offset <= bytes->len && n <= bytes->len - offset); /* never past the end */
    if (n > 0) {
        memcpy(data, bytes->data + offset, n);
    }
    return TRUE;
}

FerryTraceSink memory_sink(GByteArray *bytes)
{
    return (FerryTraceSink){.write = write_memory, .self = bytes};
}

FerryTraceInput memory_input(const GByteArray *bytes)
{
    return (FerryTraceInput){.read = read_memory, .self = (void *)bytes, .size = bytes->len};
}

uint32_t draw(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

void draw_runs(GArray *runs, uint64_t pages, unsigned spread, unsigned longest, uint32_t *state)
{
    for (uint64_t at = draw(state) % spread; at < pages;) {
        uint64_t length = 1 + draw(state) % longest;
        FerryTraceRun run = {.first = at, .n = MIN(length, pages - at)};

        g_array_append_val(runs, run);
        at += run.n + 1 + draw(state) % (2 * spread);
    }
}

char *frame_text(const FerryTraceFrame *f)
{
    GString *text = g_string_new(NULL);

    g_string_printf(text, "%lu %lu+%lu %u %lu %lu pages:", f->number, f->begin_ns, f->span_ns,
                    f->throttle_percent, f->ran_ns, f->n_pages);
    for (uint64_t i = 0; i < f->n_runs; i++) {
        g_string_append_printf(text, " %lu+%lu", f->runs[i].first, f->runs[i].n);
    }
    for (uint64_t i = 0; f->classes && i < f->n_pages; i++) {
        g_string_append_printf(text, " c%u", f->classes[i]);
    }
    for (uint64_t i = 0; f->quarters && i < f->n_pages; i++) {
        g_string_append_printf(text, " q%u", f->quarters[i]);
    }
    return g_string_free(text, FALSE);
}

FerryTraceNext read_texts(FerryTraceReader *r, GPtrArray *texts, GError **error)
{
    FerryTraceFrame frame;
    FerryTraceNext next;

    while ((next = ferry_trace_reader_next(r, &frame, error)) == FERRY_TRACE_FRAME) {
        g_ptr_array_add(texts, frame_text(&frame));
    }
    return next;
}

static uint64_t count(const GArray *runs)
{
    uint64_t pages = 0;

    for (guint i = 0; i < runs->len; i++) {
        pages += g_array_index(runs, FerryTraceRun, i).n;
    }
    return pages;
}

/* Sparse, dense, the same again, a sweep, nothing: each way a set is coded comes up. */
static void sample_runs(GArray *runs, unsigned i, uint64_t pages, uint32_t *state)
{
    FerryTraceRun sweep = {.first = i % pages / 2, .n = pages / 2};
    FerryTraceRun one = {.first = i % 7, .n = 1};

    switch (i % 6) {
    case 0:
        g_array_set_size(runs, 0);
        draw_runs(runs, pages, 40, 1, state);
        return;
    case 1: /* nearly the same */
        if (runs->len > 2) {
            g_array_remove_index(runs, 1);
        }
        return;
    case 2:
        g_array_set_size(runs, 0);
        draw_runs(runs, pages, 1, 2, state);
        return;
    case 3:
        g_array_set_size(runs, 0);
        g_array_append_val(runs, sweep);
        return;
    case 4:
        g_array_set_size(runs, 0);
        return;
    default:
        g_array_set_size(runs, 0);
        g_array_append_val(runs, one);
    }
}

static uint64_t sample_frame(FerryTraceWriter *w, unsigned i, uint64_t begin_ns, const GArray *runs,
                             uint32_t *state, GPtrArray *texts)
{
    uint64_t n = count(runs);
    g_autofree uint8_t *classes = g_malloc(n + 1), *quarters = g_malloc(n + 1);
    FerryTraceFrame frame = FERRY_TRACE_FRAME_INIT;

    for (uint64_t p = 0; p < n; p++) {
        classes[p] = draw(state) % 5 ? (uint8_t)(draw(state) % 18) : FERRY_TRACE_CLASS_UNKNOWN;
        quarters[p] = (uint8_t)(draw(state) % 4);
    }
    frame.span_ns = 100000000 + draw(state) % 1000;
    frame.runs = (const FerryTraceRun *)(const void *)runs->data;
    frame.n_runs = runs->len;
    frame.classes = i % 4 == 1 ? classes : NULL;
    frame.quarters = i % 5 == 2 ? quarters : NULL;
    frame.throttle_percent = i % 3 ? 0 : i % 100;
    frame.ran_ns = i % 2 ? UINT64_MAX : frame.span_ns - i;
    g_assert(ferry_trace_writer_frame(w, &frame, NULL));
    frame.number = i;
    frame.begin_ns = begin_ns;
    frame.n_pages = n;
    if (texts) {
        g_ptr_array_add(texts, frame_text(&frame));
    }
    return begin_ns + frame.span_ns;
}

void sample_trace(GByteArray *out, unsigned frames, unsigned flags, GPtrArray *texts)
{
    g_autoptr(FerryTraceHeader) header = ferry_trace_header_new();
    g_autoptr(GArray) runs = g_array_new(FALSE, FALSE, sizeof(FerryTraceRun));
    FerryTraceSink sink = memory_sink(out);
    FerryTraceBlock later = {.name = "later", .pages = 100, .gpa = 4096, .backing = "thp"};
    uint32_t state = 12345;
    uint64_t pages = 503, now = 0;
    uint8_t classes[400] = {0, 1, 2, 17, 255};

    header->method = g_strdup("synthetic");
    header->seed = 12345;
    ferry_trace_header_add(header, "pc.ram", 500);
    ferry_trace_header_add(header, "vga \"\\\n", 3);
    g_autoptr(FerryTraceWriter) w = ferry_trace_writer_new(header, &sink, NULL, NULL);
    if (flags & SAMPLE_CLASSES) {
        g_assert(ferry_trace_writer_classes(w, 0, classes, sizeof classes, NULL));
        g_assert(ferry_trace_writer_classes(w, 450, classes, 50, NULL));
    }
    for (unsigned i = 0; i < frames; i++) {
        if (flags & SAMPLE_BLOCKS && i == frames / 2) {
            g_assert(ferry_trace_writer_add_blocks(w, &later, 1, NULL));
            pages += later.pages;
        }
        sample_runs(runs, i, pages, &state);
        now = sample_frame(w, i, now, runs, &state, texts);
        if (flags & SAMPLE_FLUSHES && i % 3 == 2) {
            g_assert(ferry_trace_writer_flush(w, NULL));
        }
    }
    if (flags & SAMPLE_NO_END) {
        g_assert(ferry_trace_writer_flush(w, NULL));
    } else {
        g_assert(ferry_trace_writer_end(w, NULL, NULL));
    }
    g_assert(ferry_trace_writer_bytes(w) == out->len);
}
