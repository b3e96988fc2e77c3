/* What pages weigh, how many there are, how often they were written. */
#include "trace/bounds.h"
#include <criterion/criterion.h>

static FerryBounds *make(uint64_t pages, const uint8_t *classes, gboolean packed)
{
    FerryBoundsInput input = {
        .bytes_per_second = 4104000, .downtime_limit_ns = 1000000, .packed = packed};

    return ferry_bounds_new(pages, 4096, classes, &input);
}

static void write_page(FerryBounds *b, uint64_t page, const uint8_t *class_)
{
    FerryTraceRun run = {page, 1};
    FerryTraceFrame frame = {
        .span_ns = 1000000, .n_runs = 1, .runs = &run, .classes = class_, .ran_ns = UINT64_MAX};

    cr_assert(ferry_bounds_frame(b, &frame));
}

Test(weights, a_zero_page_is_a_record_and_the_others_are_whole)
{
    g_autoptr(FerryBounds) b = make(1, NULL, FALSE);

    cr_expect_eq(ferry_bounds_weight(b, FERRY_TRACE_CLASS_ZERO), 9);
    cr_expect_eq(ferry_bounds_weight(b, FERRY_TRACE_CLASS_SAME), 4104);
    cr_expect_eq(ferry_bounds_weight(b, FERRY_TRACE_CLASS_PACKED), 4104);
    cr_expect_eq(ferry_bounds_weight(b, FERRY_TRACE_CLASS_UNKNOWN), 4104);
    cr_expect_eq(ferry_bounds_weight(b, 100), 4104);
}

Test(weights, packed_pages_weigh_what_their_class_says)
{
    g_autoptr(FerryBounds) b = make(1, NULL, TRUE);

    cr_expect_eq(ferry_bounds_weight(b, FERRY_TRACE_CLASS_ZERO), 9);
    cr_expect_eq(ferry_bounds_weight(b, FERRY_TRACE_CLASS_SAME), 40);
    cr_expect_eq(ferry_bounds_weight(b, FERRY_TRACE_CLASS_PACKED), 264);
    cr_expect_eq(ferry_bounds_weight(b, FERRY_TRACE_CLASS_PACKED + 7), 2056);
    cr_expect_eq(ferry_bounds_weight(b, FERRY_TRACE_CLASS_PACKED + 15), 4104);
    cr_expect_eq(ferry_bounds_weight(b, FERRY_TRACE_CLASS_UNKNOWN), 4104);
}

Test(weights, change_with_what_is_written)
{
    static const uint8_t classes[] = {0, 0, 255, 9}, full = 17, zero = 0;
    g_autoptr(FerryBounds) b = make(4, classes, TRUE);

    cr_expect_eq(ferry_bounds_bytes(b), 9 + 9 + 4104 + 2056);
    cr_expect_eq(ferry_bounds_residual(b).low, ferry_bounds_bytes(b));
    write_page(b, 0, &full);
    cr_expect_eq(ferry_bounds_bytes(b), 4104 + 9 + 4104 + 2056);
    write_page(b, 2, &zero);
    cr_expect_eq(ferry_bounds_bytes(b), 4104 + 9 + 9 + 2056);
    cr_expect_eq(ferry_bounds_residual(b).high, 9, "the last frame's: a page can go each ms");
    write_page(b, 1, NULL);
    cr_expect_eq(ferry_bounds_bytes(b), 4104 + 4104 + 9 + 2056);
    cr_expect_eq(ferry_bounds_residual(b).high, 4104);
    cr_expect_eq(ferry_bounds_downtime(b).high, 1000000);
}

Test(weights, known_from_a_frame_on_are_so_for_its_pages)
{
    static const uint8_t zero = 0;
    g_autoptr(FerryBounds) b = make(3, NULL, FALSE);

    write_page(b, 1, &zero);
    cr_expect_eq(ferry_bounds_bytes(b), 2 * 4104 + 9);
}

Test(pages, that_appear_could_not_be_sent_before)
{
    g_autoptr(FerryBounds) b = make(10, NULL, FALSE);

    write_page(b, 0, NULL);
    cr_assert(ferry_bounds_grow(b, 20));
    cr_expect_eq(ferry_bounds_bytes(b), 20 * 4104);
    FerryBracket left = ferry_bounds_residual(b);
    cr_expect_eq(left.low, 19 * 4104, "%u pages", (unsigned)(left.low / 4104));
    write_page(b, 29, NULL); /* which brings ten */
    cr_expect_eq(ferry_bounds_bytes(b), 30 * 4104);
    cr_expect_eq(ferry_bounds_residual(b).low, 28 * 4104);
}

Test(pages, more_than_any_memory_holds_are_refused)
{
    FerryBoundsInput input = {.bytes_per_second = 1};

    cr_expect_null(ferry_bounds_new(UINT64_C(1) << 50, 4096, NULL, &input));
    g_autoptr(FerryBounds) b = ferry_bounds_new(8, 4096, NULL, &input);
    cr_expect_not(ferry_bounds_grow(b, UINT64_C(1) << 50));
    cr_expect_eq(ferry_bounds_bytes(b), 8 * 4104);
}

/* A page's counter has 16 bits. The link takes a page each ms, that one is written far more often.
 */
Test(pages, written_in_more_frames_than_a_counter_holds)
{
    g_autoptr(FerryBounds) b = make(2, NULL, FALSE);

    for (unsigned i = 0; i < 70000; i++) {
        write_page(b, 0, NULL);
    }
    uint64_t left = ferry_bounds_causal(b);
    cr_expect(left > 3500 && left < 4104, "%u bytes", (unsigned)left);
}

Test(pages, of_frames_of_different_lengths)
{
    g_autoptr(FerryBounds) b = make(4, NULL, FALSE);
    FerryTraceFrame idle = {.span_ns = 5000000, .ran_ns = UINT64_MAX};
    FerryTraceFrame forever = {.span_ns = UINT64_MAX, .ran_ns = UINT64_MAX};

    write_page(b, 3, NULL);
    cr_assert(ferry_bounds_frame(b, &idle));
    cr_expect_eq(ferry_bounds_residual(b).high, 0);
    /* At 3 ms all but one page may have gone; or page 3 was written just before 1 ms. */
    cr_expect_eq(ferry_bounds_earliest(b).low, 3000000);
    cr_expect_eq(ferry_bounds_earliest(b).high, 6000000);
    cr_expect(ferry_bounds_frame(b, &forever));
    cr_expect(ferry_bounds_frame(b, &forever));
    cr_expect_eq(ferry_bounds_residual(b).high, 0);
}

Test(pages, of_a_guest_that_writes_nothing)
{
    g_autoptr(FerryBounds) b = make(0, NULL, FALSE);
    FerryTraceFrame idle = {.span_ns = 0, .ran_ns = UINT64_MAX};

    cr_expect_eq(ferry_bounds_causal(b), 0);
    cr_expect(ferry_bounds_frame(b, &idle));
    cr_expect_eq(ferry_bounds_causal(b), 0);
    cr_expect_eq(ferry_bounds_earliest(b).high, 0);
    cr_expect_eq(ferry_bounds_shortest(b).high, 0);
}
