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

static FerryTraceNext read_all(FerryTraceReader *r, GPtrArray *texts)
{
    FerryTraceFrame frame;
    FerryTraceNext next;

    while ((next = ferry_trace_reader_next(r, &frame, NULL)) == FERRY_TRACE_FRAME) {
        g_ptr_array_add(texts, frame_text(&frame));
    }
    return next;
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

    cr_assert_eq(read_all(r, again), FERRY_TRACE_END);
    cr_assert_eq(again->len, texts->len);
    for (guint i = 0; i < texts->len; i++) {
        cr_assert_str_eq(texts->pdata[i], again->pdata[i]);
    }
}

ParameterizedTest(Row *row, writer, comes_back)
{
    g_autoptr(GByteArray) trace = g_byte_array_new(), other = g_byte_array_new();
    g_autoptr(GByteArray) single = g_byte_array_new();
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
    gboolean whole = !(row->flags & SAMPLE_NO_END);
    FerryTraceTotals totals;

    sample_trace(trace, row->frames, row->flags);
    FerryTraceInput input = memory_input(trace);
    g_autoptr(FerryTraceReader) r = ferry_trace_reader_new(&input, NULL);
    cr_assert(r);
    cr_assert_eq(ferry_trace_reader_totals(r, &totals), whole);
    cr_assert_eq(ferry_trace_reader_header(r)->blocks->len,
                 2u + (whole && row->flags & SAMPLE_BLOCKS ? 1 : 0));
    cr_assert_eq(read_all(r, texts), whole ? FERRY_TRACE_END : FERRY_TRACE_CUT);
    cr_assert_eq(texts->len, row->frames);
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
