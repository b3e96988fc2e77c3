#include <criterion/criterion.h>
#include <string.h>
#include "simulator/guest.h"
#include "tests/simulator/traces.h"

static FerrySimGuest *play(TestTrace *t, uint64_t start_ns, gboolean once, uint64_t seed)
{
    g_autoptr(GError) error = NULL;
    FerrySimGuest *g = ferry_sim_guest_new_trace(t->reader, start_ns, once, seed, &error);
    uint64_t pages = g ? ferry_sim_guest_pages(g) : 0;
    FerryBitmap found;

    cr_assert_not_null(g, "%s", error ? error->message : "");
    ferry_bitmap_init(&found, pages);
    ferry_sim_guest_sync(g, &found);
    cr_expect_eq(ferry_bitmap_count(&found), pages, "all is dirty at first");
    ferry_sim_guest_clear(g, 0, pages);
    cr_expect_eq(ferry_sim_guest_dirty(g, 0, pages), 0);
    ferry_bitmap_clear(&found);
    return g;
}

static uint64_t dirty_at(FerrySimGuest *g, double ms)
{
    ferry_sim_guest_run(g, ms * 1e6);
    return ferry_sim_guest_dirty(g, 0, ferry_sim_guest_pages(g));
}

static void clean(FerrySimGuest *g)
{
    FerryBitmap found;

    ferry_bitmap_init(&found, ferry_sim_guest_pages(g));
    ferry_sim_guest_sync(g, &found);
    ferry_sim_guest_clear(g, 0, found.n_bits);
    ferry_bitmap_clear(&found);
}

Test(trace_guest, writes_each_page_of_a_frame_once_within_it)
{
    TestTrace t;

    trace_begin(&t, 1000);
    trace_frame(&t, 100 * MS, 100, 400, NULL, NULL);
    trace_frame(&t, 100 * MS, 0, 0, NULL, NULL);
    trace_frame(&t, 100 * MS, 300, 200, NULL, NULL);
    trace_open(&t, TRUE);
    g_autoptr(FerrySimGuest) g = play(&t, 0, TRUE, 1);
    uint64_t half = dirty_at(g, 50);
    cr_expect(half > 150 && half < 250, "%u by half time", (unsigned)half);
    clean(g);
    uint64_t rest = dirty_at(g, 100);
    cr_expect_eq(half + rest, 400);
    clean(g);
    cr_expect_eq(dirty_at(g, 200), 0);
    cr_expect_eq(dirty_at(g, 300), 200);
    cr_expect_eq(ferry_sim_guest_dirty(g, 300, 200), 200);
    trace_clear(&t);
}

/* Whoever looks often sees the same writes at the same times. */
Test(trace_guest, looking_changes_nothing)
{
    TestTrace t;
    uint64_t once[10], other = 0;

    trace_begin(&t, 1000);
    for (unsigned i = 0; i < 10; i++) {
        trace_frame(&t, 100 * MS, i * 37, 500, NULL, NULL);
    }
    trace_open(&t, TRUE);
    FerrySimGuest *g = play(&t, 0, TRUE, 7);
    for (unsigned i = 0; i < 10; i++) {
        once[i] = dirty_at(g, i * 100 + 33);
        clean(g);
    }
    ferry_sim_guest_free(g);
    g = play(&t, 0, TRUE, 7);
    for (unsigned i = 0; i < 10; i++) {
        for (unsigned ms = 0; ms < (i ? 100 : 33); ms++) {
            dirty_at(g, i * 100.0 + 33 - (i ? 100 : 33) + ms);
        }
        cr_expect_eq(dirty_at(g, i * 100 + 33), once[i], "frame %u", i);
        clean(g);
    }
    ferry_sim_guest_free(g);
    g = play(&t, 0, TRUE, 8);
    for (unsigned i = 0; i < 10; i++) {
        other += dirty_at(g, i * 100 + 33) == once[i];
        clean(g);
    }
    cr_expect_lt(other, 8, "another seed, other places");
    ferry_sim_guest_free(g);
    trace_clear(&t);
}

Test(trace_guest, a_quarter_that_is_known_is_kept)
{
    TestTrace t;
    uint8_t quarters[400];

    for (unsigned i = 0; i < 400; i++) {
        quarters[i] = (uint8_t)(i / 100);
    }
    trace_begin(&t, 1000);
    trace_frame(&t, 1000 * MS, 500, 400, quarters, NULL);
    trace_open(&t, TRUE);
    g_autoptr(FerrySimGuest) g = play(&t, 0, TRUE, 1);
    for (unsigned quarter = 0; quarter < 4; quarter++) {
        uint64_t some = dirty_at(g, quarter * 250 + 125);
        cr_expect(some > 20 && some < 80);
        cr_expect_eq(dirty_at(g, quarter * 250 + 250), 100);
        cr_expect_eq(ferry_sim_guest_dirty(g, 500 + 100 * quarter, 100), 100);
        clean(g);
    }
    trace_clear(&t);
}

/* All last writes in the last quarter: such pages are written all the time. */
Test(trace_guest, pages_that_are_written_often_are_written_before_too)
{
    TestTrace t;
    uint8_t last[400];

    memset(last, 3, sizeof last);
    trace_begin(&t, 1000);
    trace_frame(&t, 1000 * MS, 500, 400, last, NULL);
    trace_open(&t, TRUE);
    g_autoptr(FerrySimGuest) g = play(&t, 0, TRUE, 1);
    uint64_t half = dirty_at(g, 375);
    cr_expect(half > 150 && half < 250, "%u", (unsigned)half);
    cr_expect_eq(dirty_at(g, 750), 400);
    clean(g);
    cr_expect_eq(dirty_at(g, 1000), 400);
    trace_clear(&t);
}

Test(trace_guest, what_ends_is_repeated_or_not)
{
    TestTrace t;

    trace_begin(&t, 100);
    trace_frame(&t, 10 * MS, 10, 5, NULL, NULL);
    trace_frame(&t, 20 * MS, 0, 0, NULL, NULL);
    trace_open(&t, TRUE);
    FerrySimGuest *g = play(&t, 0, TRUE, 1);
    cr_expect_eq(dirty_at(g, 29), 5);
    clean(g);
    cr_expect_not(ferry_sim_guest_ended(g));
    cr_expect_eq(dirty_at(g, 1000), 0);
    cr_expect(ferry_sim_guest_ended(g));
    cr_expect(ferry_sim_guest_check(g, NULL));
    ferry_sim_guest_free(g);
    g = play(&t, 0, FALSE, 1);
    for (unsigned lap = 0; lap < 100; lap++) {
        cr_expect_eq(dirty_at(g, lap * 30 + 10), 5);
        clean(g);
        cr_expect_eq(dirty_at(g, lap * 30 + 29), 0);
        cr_expect_eq(ferry_sim_guest_laps(g), lap);
    }
    cr_expect_not(ferry_sim_guest_ended(g));
    ferry_sim_guest_free(g);
    trace_clear(&t);
}

Test(trace_guest, begins_within_the_trace_with_what_was_written)
{
    TestTrace t;
    uint8_t half[] = {FERRY_TRACE_CLASS_PACKED + 7, FERRY_TRACE_CLASS_SAME, FERRY_TRACE_CLASS_ZERO};
    g_autoptr(GError) error = NULL;
    FerrySimContent content;

    trace_begin(&t, 100);
    trace_frame(&t, 50 * MS, 10, 3, NULL, half);
    trace_frame(&t, 50 * MS, 20, 1, NULL, half);
    trace_open(&t, TRUE);
    g_autoptr(FerrySimGuest) g = play(&t, 50 * MS, TRUE, 1);
    ferry_sim_guest_content(g, 10, &content);
    cr_expect(content.plain == 4096 && content.packed == 2048);
    ferry_sim_guest_content(g, 11, &content);
    cr_expect(content.plain == 4096 && content.packed > 0 && content.packed < 256);
    ferry_sim_guest_content(g, 12, &content);
    cr_expect_eq(content.plain, 0);
    ferry_sim_guest_content(g, 20, &content);
    cr_expect(content.plain == 4096 && content.packed == 0, "not known yet");
    cr_expect_eq(dirty_at(g, 49.9999), 1);
    ferry_sim_guest_content(g, 20, &content);
    cr_expect_eq(content.packed, 2048);
    cr_expect_null(ferry_sim_guest_new_trace(t.reader, 101 * MS, FALSE, 1, &error));
    cr_expect(strstr(error->message, "ends before"), "%s", error->message);
    trace_clear(&t);
}

Test(trace_guest, knows_contents_of_the_beginning_and_of_later_blocks)
{
    TestTrace t;
    uint8_t classes[] = {FERRY_TRACE_CLASS_ZERO, FERRY_TRACE_CLASS_PACKED, 255};
    FerryTraceBlock later = {
        .name = (char *)"pc.dimm", .pages = 10, .page_bytes = 4096, .gpa = UINT64_MAX};
    FerrySimContent content;

    trace_begin(&t, 100);
    cr_assert(ferry_trace_writer_classes(t.writer, 7, classes, 3, NULL));
    trace_frame(&t, 50 * MS, 7, 1, NULL, NULL);
    cr_assert(ferry_trace_writer_add_blocks(t.writer, &later, 1, NULL));
    trace_frame(&t, 50 * MS, 100, 5, NULL, NULL);
    trace_open(&t, TRUE);
    g_autoptr(FerrySimGuest) g = play(&t, 0, TRUE, 1);
    cr_expect_eq(ferry_sim_guest_pages(g), 110);
    ferry_sim_guest_content(g, 7, &content);
    cr_expect_eq(content.plain, 0);
    ferry_sim_guest_content(g, 8, &content);
    cr_expect_eq(content.packed, 256);
    ferry_sim_guest_content(g, 104, &content);
    cr_expect_eq(content.plain, 0, "it is not there yet");
    cr_expect_eq(dirty_at(g, 100), 6);
    ferry_sim_guest_content(g, 7, &content);
    cr_expect(content.plain == 4096 && content.packed == 0, "written: nobody knows");
    ferry_sim_guest_content(g, 104, &content);
    cr_expect_eq(content.plain, 4096);
    trace_clear(&t);
}

/* A frame of more pages than are put in order at once. */
Test(trace_guest, large_frames_are_played_piece_by_piece)
{
    uint64_t pages = 3000000, before = 0;
    TestTrace t;

    trace_begin(&t, pages);
    trace_frame(&t, 1000 * MS, 0, pages, NULL, NULL);
    trace_open(&t, TRUE);
    g_autoptr(FerrySimGuest) g = play(&t, 0, TRUE, 1);
    for (unsigned i = 1; i <= 10; i++) {
        uint64_t now = dirty_at(g, i * 100);
        cr_expect_float_eq((double)(now - before), (double)pages / 10, 3000);
        before = now;
    }
    cr_expect_eq(before, pages);
    trace_clear(&t);
}

Test(trace_guest, what_is_cut_or_damaged_is_an_error_where_it_is)
{
    g_autoptr(GError) cut = NULL;
    g_autoptr(GError) damaged = NULL;
    TestTrace t;

    trace_begin(&t, 100);
    trace_frame(&t, 50 * MS, 10, 3, NULL, NULL);
    trace_open(&t, FALSE);
    FerrySimGuest *g = play(&t, 0, FALSE, 1);
    cr_expect_eq(dirty_at(g, 49.999), 3);
    cr_expect(ferry_sim_guest_check(g, NULL));
    dirty_at(g, 51);
    cr_expect_not(ferry_sim_guest_check(g, &cut));
    cr_expect(strstr(cut->message, "cut"), "%s", cut->message);
    ferry_sim_guest_free(g);
    trace_clear(&t);

    trace_begin(&t, 100);
    trace_frame(&t, 50 * MS, 10, 3, NULL, NULL);
    cr_assert(ferry_trace_writer_flush(t.writer, NULL));
    guint good = t.bytes->len;
    trace_frame(&t, 50 * MS, 20, 3, NULL, NULL);
    cr_assert(ferry_trace_writer_flush(t.writer, NULL));
    trace_open(&t, TRUE);
    t.bytes->data[good + 41] ^= 1;
    g = play(&t, 0, FALSE, 1);
    cr_expect_eq(dirty_at(g, 49.999), 3);
    dirty_at(g, 60);
    cr_expect_not(ferry_sim_guest_check(g, &damaged));
    cr_expect(g_error_matches(damaged, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_DAMAGED));
    ferry_sim_guest_free(g);
    trace_clear(&t);
}

Test(trace_guest, what_cannot_be_played_is_refused)
{
    g_autoptr(GError) error = NULL;
    TestTrace t;

    trace_begin(&t, UINT64_C(1) << 33);
    trace_open(&t, TRUE);
    cr_expect_null(ferry_sim_guest_new_trace(t.reader, 0, FALSE, 1, &error));
    cr_expect(strstr(error->message, "8589934592 pages"), "%s", error->message);
    trace_clear(&t);

    trace_begin(&t, 10);
    trace_frame(&t, 1000, 0, 1, NULL, NULL);
    trace_open(&t, TRUE);
    FerrySimGuest *g = play(&t, 0, FALSE, 1);
    dirty_at(g, 10);
    cr_expect_not(ferry_sim_guest_check(g, NULL), "a microsecond over and over");
    ferry_sim_guest_free(g);
    trace_clear(&t);
}
