#include "simulator/record.h"
#include <criterion/criterion.h>
#include <string.h>
#include "simulator/guest.h"
#include "tests/simulator/traces.h"

Test(record, frames_have_what_the_model_writes)
{
    FerryWorkload w = {
        .n_groups = 3,
        .groups = {{.pages = 20000, .writes_per_second = 5000},
                   {.pages = 1000, .writes_per_second = 2000, .sweep = TRUE},
                   {.pages = 5001}}
    };
    FerryTraceFrame frame;
    TestTrace t;
    double pages = 0, quarters[4] = {0};
    unsigned frames = 0;

    trace_of_model(&t, &w, 100 * MS, 10 * 1000 * MS + 50 * MS, 3, TRUE);
    while (ferry_trace_reader_next(t.reader, &frame, NULL) == FERRY_TRACE_FRAME) {
        cr_expect_eq(frame.span_ns, frames < 100 ? 100 * MS : 50 * MS);
        cr_assert_not_null(frame.quarters);
        cr_expect_null(frame.classes);
        for (uint64_t i = 0; i < frame.n_pages; i++) {
            quarters[frame.quarters[i]]++;
        }
        pages += (double)frame.n_pages;
        cr_expect_lt(frame.runs[frame.n_runs - 1].first, 21000);
        frames++;
    }
    cr_expect_eq(frames, 101);
    double expected = 100.5 * ferry_workload_written(&w, 0.1);
    cr_expect_float_eq(pages, expected, 4 * 300 + 100, "%g, %g expected", pages, expected);
    for (unsigned i = 0; i < 4; i++) {
        cr_expect_float_eq(quarters[i], pages / 4, 0.03 * pages, "quarter %u", i);
    }
    trace_clear(&t);
}

Test(record, a_seed_makes_the_same_bytes)
{
    FerryWorkload w = {.n_groups = 1, .groups = {{.pages = 5000, .writes_per_second = 9000}}};
    TestTrace a, b, c;

    trace_of_model(&a, &w, 50 * MS, 2000 * MS, 3, TRUE);
    trace_of_model(&b, &w, 50 * MS, 2000 * MS, 3, TRUE);
    trace_of_model(&c, &w, 50 * MS, 2000 * MS, 4, TRUE);
    cr_assert_eq(a.bytes->len, b.bytes->len);
    cr_expect_eq(memcmp(a.bytes->data, b.bytes->data, a.bytes->len), 0);
    cr_expect(a.bytes->len != c.bytes->len ||
              memcmp(a.bytes->data, c.bytes->data, a.bytes->len) != 0);
    trace_clear(&a);
    trace_clear(&b);
    trace_clear(&c);
}

Test(record, contents_are_said_where_the_model_knows_them)
{
    FerryWorkload w = {
        .n_groups = 2,
        .groups = {{.pages = 1000, .writes_per_second = 300, .zero_permille = 400},
                   {.pages = 1000, .writes_per_second = 300, .packed_permille = 500}}
    };
    uint8_t classes[2000];
    unsigned zeros = 0;
    FerryTraceFrame frame;
    TestTrace t;

    trace_of_model(&t, &w, 50 * MS, 1000 * MS, 3, FALSE);
    cr_assert(ferry_trace_reader_classes(t.reader, 0, 2000, classes, NULL));
    for (unsigned i = 0; i < 1000; i++) {
        zeros += classes[i] == FERRY_TRACE_CLASS_ZERO;
        cr_expect(classes[i] == FERRY_TRACE_CLASS_ZERO || classes[i] == FERRY_TRACE_CLASS_UNKNOWN);
        cr_expect_eq(classes[1000 + i], FERRY_TRACE_CLASS_PACKED + 7);
    }
    cr_expect(zeros > 340 && zeros < 460);
    cr_assert_eq(ferry_trace_reader_next(t.reader, &frame, NULL), FERRY_TRACE_FRAME);
    cr_assert_not_null(frame.classes);
    cr_expect_null(frame.quarters);
    uint64_t nth = 0;
    for (uint64_t i = 0; i < frame.n_runs; i++) {
        for (uint64_t j = 0; j < frame.runs[i].n; j++, nth++) {
            cr_expect_eq(frame.classes[nth], frame.runs[i].first + j < 1000
                                                 ? FERRY_TRACE_CLASS_UNKNOWN
                                                 : FERRY_TRACE_CLASS_PACKED + 7);
        }
    }
    trace_clear(&t);
}

static gboolean three(void *self, const FerryTraceFrame *frame)
{
    (void)self;
    return frame->number < 2;
}

Test(record, can_end_early)
{
    FerryWorkload w = {.n_groups = 1, .groups = {{.pages = 500, .writes_per_second = 900}}};
    FerrySimRecording how = {.workload = &w, .interval_ns = MS, .duration_ns = 1000 * MS};
    FerryTraceTotals totals;
    TestTrace t;

    trace_begin(&t, 500);
    cr_assert(ferry_sim_record(&how, t.writer, three, NULL, NULL));
    trace_open(&t, TRUE);
    cr_assert(ferry_trace_reader_totals(t.reader, &totals));
    cr_expect_eq(totals.frames, 3);
    trace_clear(&t);
    how.interval_ns = 0;
    trace_begin(&t, 500);
    cr_expect_not(ferry_sim_record(&how, t.writer, NULL, NULL, NULL));
    trace_clear(&t);
}
