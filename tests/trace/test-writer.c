/* What is written is read again. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>
#include "tests/trace/memory.h"

typedef struct {
    unsigned frames, flags;
} Row;

ParameterizedTestParameters(writer, comes_back)
{
    static Row rows[] = {
        {0,   0                                              },
        {1,   0                                              },
        {7,   SAMPLE_CLASSES                                 },
        {60,  SAMPLE_CLASSES | SAMPLE_BLOCKS                 },
        {60,  SAMPLE_CLASSES | SAMPLE_BLOCKS | SAMPLE_FLUSHES},
        {60,  SAMPLE_BLOCKS | SAMPLE_NO_END                  },
        {600, SAMPLE_BLOCKS                                  },
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

/* Reads @from once more and writes what it says; blocks that come later are there from the start.
 */
static void copy_trace(FerryTraceReader *r, GByteArray *to, unsigned flush_every)
{
    FerryTraceSink sink = memory_sink(to);
    g_autoptr(FerryTraceWriter) w =
        ferry_trace_writer_new(ferry_trace_reader_header(r), &sink, NULL, NULL);
    FerryTraceFrame frame;

    ferry_trace_reader_rewind(r);
    while (ferry_trace_reader_next(r, &frame, NULL) == FERRY_TRACE_FRAME) {
        cr_assert(ferry_trace_writer_frame(w, &frame, NULL));
        if (flush_every && frame.number % flush_every == flush_every - 1) {
            cr_assert(ferry_trace_writer_flush(w, NULL));
        }
    }
    cr_assert(ferry_trace_writer_end(w, NULL, NULL));
}

static void expect_same(const GByteArray *trace, const GPtrArray *texts)
{
    g_autoptr(GPtrArray) again = g_ptr_array_new_with_free_func(g_free);
    FerryTraceInput input = memory_input(trace);
    g_autoptr(FerryTraceReader) r = ferry_trace_reader_new(&input, NULL);

    cr_assert_eq(read_texts(r, again, NULL), FERRY_TRACE_END);
    cr_assert_eq(again->len, texts->len);
    for (guint i = 0; i < texts->len; i++) {
        cr_assert_str_eq(texts->pdata[i], again->pdata[i]);
    }
}

/* What cannot be read again is not written. */
typedef struct {
    char what[40];
    FerryTraceRun runs[2];
    unsigned n, throttle;
    uint64_t span_ns, ran_ns;
    uint8_t classes[2], quarters[2];
} Bad;

ParameterizedTestParameters(writer, refuses)
{
    static Bad rows[] = {
        {"good",                {{0, 1}, {2, 1}},  2, 100, 10,         10, {0, 17}, {0, 3}},
        {"past the last page",  {{0, 1}, {9, 2}},  2, 0,   10,         10, {0},     {0}   },
        {"past the last page",  {{UINT64_MAX, 2}}, 1, 0,   10,         10, {0},     {0}   },
        {"not ascending",       {{4, 1}, {2, 1}},  2, 0,   10,         10, {0},     {0}   },
        {"touch",               {{4, 1}, {5, 1}},  2, 0,   10,         10, {0},     {0}   },
        {"without pages",       {{4, 0}},          1, 0,   10,         10, {0},     {0}   },
        {"throttle of more",    {{4, 1}},          1, 101, 10,         10, {0},     {0}   },
        {"ran for longer",      {{4, 1}},          1, 0,   10,         11, {0},     {0}   },
        {"more frames or time", {{4, 1}},          1, 0,   UINT64_MAX, 11, {0},     {0}   },
        {"class",               {{4, 1}},          1, 0,   10,         10, {18},    {0}   },
        {"quarter",             {{4, 1}},          1, 0,   10,         10, {0},     {4}   },
    };
    return cr_make_param_array(Bad, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Bad *row, writer, refuses)
{
    g_autoptr(GByteArray) trace = g_byte_array_new();
    g_autoptr(FerryTraceHeader) header = ferry_trace_header_new();
    g_autoptr(GError) error = NULL;
    FerryTraceSink sink = memory_sink(trace);
    FerryTraceFrame frame = {.runs = row->runs,
                             .n_runs = row->n,
                             .span_ns = row->span_ns,
                             .ran_ns = row->ran_ns,
                             .throttle_percent = row->throttle,
                             .classes = row->classes,
                             .quarters = row->quarters};

    cr_assert_null(ferry_trace_writer_new(header, &sink, NULL, NULL)); /* no method */
    header->method = g_strdup("import");
    ferry_trace_header_add(header, "pc.ram", 10);
    g_autoptr(FerryTraceWriter) w = ferry_trace_writer_new(header, &sink, NULL, NULL);
    gboolean good = ferry_trace_writer_frame(w, &frame, &error);
    cr_assert_eq(good, strcmp(row->what, "good") == 0);
    cr_assert(good || strstr(error->message, row->what), "%s", good ? "" : error->message);
    frame = (FerryTraceFrame)FERRY_TRACE_FRAME_INIT;
    cr_assert(ferry_trace_writer_frame(w, &frame, NULL)); /* and the writer goes on */
    cr_assert(!ferry_trace_writer_classes(w, 0, row->classes, 1, NULL));
    cr_assert(ferry_trace_writer_end(w, NULL, NULL));
    cr_assert(!ferry_trace_writer_frame(w, &frame, NULL));
    cr_assert(!ferry_trace_writer_end(w, NULL, NULL));
}

ParameterizedTest(Row *row, writer, comes_back)
{
    g_autoptr(GByteArray) trace = g_byte_array_new(), other = g_byte_array_new();
    g_autoptr(GByteArray) single = g_byte_array_new();
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GPtrArray) again = g_ptr_array_new_with_free_func(g_free);
    gboolean whole = !(row->flags & SAMPLE_NO_END);
    FerryTraceTotals totals;

    sample_trace(trace, row->frames, row->flags, texts);
    FerryTraceInput input = memory_input(trace);
    g_autoptr(FerryTraceReader) r = ferry_trace_reader_new(&input, NULL);
    cr_assert(r);
    cr_assert_eq(ferry_trace_reader_totals(r, &totals), whole);
    cr_assert_eq(ferry_trace_reader_header(r)->blocks->len,
                 2u + (whole && row->flags & SAMPLE_BLOCKS ? 1 : 0));
    cr_assert_eq(read_texts(r, again, NULL), whole ? FERRY_TRACE_END : FERRY_TRACE_CUT);
    cr_assert_eq(again->len, row->frames);
    for (guint i = 0; i < texts->len; i++) {
        cr_assert_str_eq(again->pdata[i], texts->pdata[i]);
    }
    cr_assert(!whole || totals.frames == row->frames);

    copy_trace(r, other, 0);
    expect_same(other, texts);
    copy_trace(r, single, 1); /* no frame refers to another */
    expect_same(single, texts);
    cr_assert(row->frames < 2 || single->len > other->len);
    if (row->flags == 0) {
        cr_assert_eq(other->len, trace->len);
        cr_assert_arr_eq(other->data, trace->data, trace->len);
    }
}

static gboolean write_some(void *self, const void *data, size_t n, GError **error)
{
    size_t *room = self;

    (void)data;
    if (n > *room) {
        g_set_error_literal(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_IO, "the disk is full");
        return FALSE;
    }
    *room -= n;
    return TRUE;
}

/* Nothing is written behind bytes that were lost. */
Test(writer, stops_where_bytes_are_lost)
{
    size_t room = 300;
    FerryTraceSink sink = {.write = write_some, .self = &room};
    g_autoptr(FerryTraceHeader) header = ferry_trace_header_new();
    g_autoptr(GError) error = NULL;
    FerryTraceRun run = {3, 1};
    FerryTraceFrame frame = {.runs = &run, .n_runs = 1, .ran_ns = UINT64_MAX};

    header->method = g_strdup("import");
    ferry_trace_header_add(header, "pc.ram", 10);
    g_autoptr(FerryTraceWriter) w = ferry_trace_writer_new(header, &sink, NULL, NULL);
    while (ferry_trace_writer_frame(w, &frame, NULL) && ferry_trace_writer_flush(w, &error)) {
    }
    cr_assert(g_error_matches(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_IO));
    room = 10000;
    uint64_t bytes = ferry_trace_writer_bytes(w);
    cr_assert(!ferry_trace_writer_flush(w, NULL));
    cr_assert(!ferry_trace_writer_frame(w, &frame, NULL));
    cr_assert(!ferry_trace_writer_end(w, NULL, NULL));
    cr_assert_eq(room, 10000);
    cr_assert_eq(ferry_trace_writer_bytes(w), bytes);
}

Test(writer, without_totals)
{
    g_autoptr(GByteArray) trace = g_byte_array_new();
    g_autoptr(FerryTraceHeader) header = ferry_trace_header_new();
    FerryTraceSink sink = memory_sink(trace);
    FerryTraceWriterOptions options = {.no_totals = TRUE, .level = 19};
    FerryTraceRun run = {3, 7};
    FerryTraceFrame frame = {.runs = &run, .n_runs = 1, .span_ns = 5, .ran_ns = UINT64_MAX};
    FerryTraceTotals said = {.late_frames = 2, .slowdown_permille = 0, .ended = "interrupted"}, t;
    unsigned n;

    header->method = g_strdup("import");
    ferry_trace_header_add(header, "pc.ram", 10);
    g_autoptr(FerryTraceWriter) w = ferry_trace_writer_new(header, &sink, &options, NULL);
    cr_assert(ferry_trace_writer_frame(w, &frame, NULL));
    cr_assert(ferry_trace_writer_frame(w, &frame, NULL));
    cr_assert(ferry_trace_writer_end(w, &said, NULL));
    FerryTraceInput input = memory_input(trace);
    g_autoptr(FerryTraceReader) r = ferry_trace_reader_new(&input, NULL);
    cr_assert(ferry_trace_reader_totals(r, &t));
    cr_assert(t.frames == 2 && t.pages_written == 14 && t.distinct_pages == 0);
    cr_assert(t.length_ns == 10 && t.late_frames == 2 && t.slowdown_permille == 0);
    cr_assert_str_eq(t.ended, "interrupted");
    cr_assert_null(ferry_trace_reader_curve(r, &n));
    cr_assert_eq(n, 0);
}

static guint bytes_of(const GArray *runs, unsigned frames)
{
    g_autoptr(GByteArray) trace = g_byte_array_new();
    g_autoptr(FerryTraceHeader) header = ferry_trace_header_new();
    FerryTraceSink sink = memory_sink(trace);
    FerryTraceFrame frame = {.runs = (const FerryTraceRun *)(const void *)runs->data,
                             .n_runs = runs->len,
                             .ran_ns = UINT64_MAX};

    header->method = g_strdup("import");
    ferry_trace_header_add(header, "pc.ram", 1 << 24);
    g_autoptr(FerryTraceWriter) w = ferry_trace_writer_new(header, &sink, NULL, NULL);
    for (unsigned i = 0; i < frames; i++) {
        cr_assert(ferry_trace_writer_frame(w, &frame, NULL));
    }
    cr_assert(ferry_trace_writer_end(w, NULL, NULL));
    return trace->len;
}

/* Frames that are alike cost next to nothing behind the first two, large ones too. */
Test(writer, large_sets_that_come_again)
{
    g_autoptr(GArray) runs = g_array_new(FALSE, FALSE, sizeof(FerryTraceRun));
    uint32_t state = 3;

    draw_runs(runs, 1 << 24, 600, 1, &state);
    cr_assert_gt(runs->len, 20000);
    cr_assert_lt(bytes_of(runs, 20), 2 * bytes_of(runs, 1) + 2000);
}
