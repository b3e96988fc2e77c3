/* What a replay does when, and what it writes: the parts that are plain values. */
#include <criterion/criterion.h>
#include <string.h>
#include <zstd.h>

#include "tools/replay-clock.h"
#include "tools/replay-content.h"
#include "tools/replay-frame.h"

#define MS 1000000ull

Test(replay_clock, stands_runs_and_is_slowed)
{
    FerryReplayClock c;

    ferry_replay_clock_init(&c, 2, 1000 * MS, 500 * MS);
    cr_expect_eq(ferry_replay_clock_guest(&c, 1300 * MS), 500 * MS);
    cr_expect_eq(ferry_replay_clock_until(&c, 1300 * MS, 501 * MS), UINT64_MAX);
    ferry_replay_clock_set(&c, 1300 * MS, TRUE, 0);
    cr_expect_eq(ferry_replay_clock_guest(&c, 1400 * MS), 700 * MS);
    cr_expect_eq(ferry_replay_clock_until(&c, 1400 * MS, 900 * MS), 100 * MS);
    cr_expect_eq(ferry_replay_clock_until(&c, 1400 * MS, 600 * MS), 0, "it was");
    ferry_replay_clock_set(&c, 1400 * MS, TRUE, 75);
    cr_expect_eq(ferry_replay_clock_guest(&c, 1500 * MS), 750 * MS);
    cr_expect_eq(ferry_replay_clock_until(&c, 1500 * MS, UINT64_MAX), 1000000000000 * MS);
    ferry_replay_clock_set(&c, 1500 * MS, FALSE, 75);
    cr_expect_eq(ferry_replay_clock_guest(&c, 9500 * MS), 750 * MS);
    ferry_replay_clock_clear(&c);
}

Test(replay_clock, says_afterwards_when_it_was)
{
    FerryReplayClock c;

    ferry_replay_clock_init(&c, 1, 1000 * MS, 0);
    ferry_replay_clock_set(&c, 1100 * MS, TRUE, 0);
    ferry_replay_clock_set(&c, 1200 * MS, FALSE, 0); /* at 100 ms */
    ferry_replay_clock_set(&c, 1900 * MS, TRUE, 50);
    ferry_replay_clock_set(&c, 2100 * MS, FALSE, 50); /* at 200 ms */
    cr_expect_eq(ferry_replay_clock_real(&c, 0), 1000 * MS);
    cr_expect_eq(ferry_replay_clock_real(&c, 50 * MS), 1150 * MS);
    cr_expect_eq(ferry_replay_clock_real(&c, 100 * MS), 1200 * MS, "where it began to stand");
    cr_expect_eq(ferry_replay_clock_real(&c, 150 * MS), 2000 * MS);
    cr_expect_eq(ferry_replay_clock_real(&c, 200 * MS), 2100 * MS);
    cr_expect_eq(ferry_replay_clock_real(&c, 201 * MS), UINT64_MAX, "it stands");
    ferry_replay_clock_clear(&c);
}

static const FerryTraceRun two_runs[] = {
    {10,  100},
    {500, 156}
};

static FerryTraceFrame frame_of(uint64_t begin_ns, uint64_t span_ns)
{
    FerryTraceFrame f = FERRY_TRACE_FRAME_INIT;

    f.begin_ns = begin_ns;
    f.span_ns = span_ns;
    f.runs = two_runs;
    f.n_runs = G_N_ELEMENTS(two_runs);
    f.n_pages = 256;
    return f;
}

static const FerryReplayWrite *write_of(const FerryReplayFrame *f, guint i)
{
    return &g_array_index(f->writes, FerryReplayWrite, i);
}

Test(replay_frame, has_each_page_once_within_its_span_in_time)
{
    FerryTraceFrame from = frame_of(7 * MS, 100 * MS);
    uint8_t seen[700] = {0};
    uint64_t sum = 0;
    FerryReplayFrame f;

    ferry_replay_frame_init(&f);
    ferry_replay_frame_lay_out(&f, &from, 1, 0);
    cr_assert_eq(f.writes->len, 256);
    for (guint i = 0; i < 256; i++) {
        const FerryReplayWrite *w = write_of(&f, i);
        cr_assert_lt(w->page, 700);
        seen[w->page]++;
        sum += w->at_ns;
        cr_expect(w->at_ns > 0 && w->at_ns <= 100 * MS);
        cr_expect(i == 0 || w->at_ns >= write_of(&f, i - 1)->at_ns);
        cr_expect_eq(w->class_, FERRY_TRACE_CLASS_UNKNOWN);
    }
    for (unsigned p = 0; p < 700; p++) {
        cr_expect_eq(seen[p], (p >= 10 && p < 110) || (p >= 500 && p < 656));
    }
    cr_expect(sum / 256 > 40 * MS && sum / 256 < 60 * MS, "spread over it: %g ms in the mean",
              (double)sum / 256e6);
    ferry_replay_frame_clear(&f);
}

Test(replay_frame, the_same_seed_is_the_same_and_another_lap_is_not)
{
    FerryTraceFrame from = frame_of(0, 100 * MS);
    FerryReplayFrame a, b;

    ferry_replay_frame_init(&a);
    ferry_replay_frame_init(&b);
    ferry_replay_frame_lay_out(&a, &from, 5, 0);
    ferry_replay_frame_lay_out(&b, &from, 5, 0);
    for (guint i = 0; i < 256; i++) {
        cr_expect(write_of(&a, i)->page == write_of(&b, i)->page &&
                  write_of(&a, i)->at_ns == write_of(&b, i)->at_ns);
    }
    for (unsigned what = 0; what < 3; what++) {
        unsigned same = 0;
        from.number = what == 0;
        ferry_replay_frame_lay_out(&b, &from, what == 1 ? 6 : 5, what == 2);
        for (guint i = 0; i < 256; i++) {
            same += write_of(&a, i)->page == write_of(&b, i)->page;
        }
        cr_expect_lt(same, 100, "frame, seed, lap: %u", what);
    }
    ferry_replay_frame_clear(&a);
    ferry_replay_frame_clear(&b);
}

Test(replay_frame, keeps_quarters_and_classes)
{
    FerryTraceFrame from = frame_of(0, 400 * MS);
    uint8_t quarters[256], classes[256];
    FerryReplayFrame f;

    for (unsigned i = 0; i < 256; i++) {
        quarters[i] = i % 4;
        classes[i] = (uint8_t)(i % 17);
    }
    from.quarters = quarters;
    from.classes = classes;
    ferry_replay_frame_init(&f);
    ferry_replay_frame_lay_out(&f, &from, 1, 0);
    for (guint i = 0; i < 256; i++) {
        const FerryReplayWrite *w = write_of(&f, i);
        unsigned n = (unsigned)(w->page < 500 ? w->page - 10 : w->page - 500 + 100);
        cr_expect_eq(w->class_, n % 17);
        cr_expect_eq((w->at_ns - 1) / (100 * MS), n % 4, "page %u at %g", n, (double)w->at_ns);
    }
    ferry_replay_frame_clear(&f);
}

Test(replay_frame, may_be_empty_or_have_no_span)
{
    FerryTraceFrame from = frame_of(0, 0);
    FerryReplayFrame f;

    ferry_replay_frame_init(&f);
    ferry_replay_frame_lay_out(&f, &from, 1, 0);
    cr_expect_eq(f.writes->len, 256);
    cr_expect_eq(write_of(&f, 255)->at_ns, 1);
    from = frame_of(0, 1000 * MS);
    from.n_runs = from.n_pages = 0;
    ferry_replay_frame_lay_out(&f, &from, 1, 0);
    cr_expect_eq(f.writes->len, 0);
    ferry_replay_frame_clear(&f);
}

static size_t packed(const uint8_t *page)
{
    uint8_t out[8192];
    size_t n = ZSTD_compress(out, sizeof out, page, FERRY_REPLAY_PAGE, 1);

    cr_assert(!ZSTD_isError(n));
    return n;
}

Test(replay_content, is_of_the_class_that_was_asked_for)
{
    _Alignas(8) uint8_t page[FERRY_REPLAY_PAGE], zeros[FERRY_REPLAY_PAGE] = {0};

    for (uint64_t salt = 0; salt < 20; salt++) {
        for (unsigned n = 1; n <= 16; n++) {
            ferry_replay_write(FERRY_REPLAY_TRACE, page,
                               (uint8_t)(FERRY_TRACE_CLASS_PACKED + n - 1), salt);
            cr_expect_leq(packed(page), n == 16 ? 4200 : n * 256, "class of %u sixteenths", n);
            cr_expect_gt(packed(page), (n - 1) * 256, "class of %u sixteenths", n);
        }
        ferry_replay_write(FERRY_REPLAY_TRACE, page, FERRY_TRACE_CLASS_SAME, salt);
        cr_expect_neq(page[0], 0);
        for (unsigned i = 1; i < FERRY_REPLAY_PAGE; i++) {
            cr_assert_eq(page[i], page[0]);
        }
        ferry_replay_write(FERRY_REPLAY_TRACE, page, FERRY_TRACE_CLASS_ZERO, salt);
        cr_expect_arr_eq(page, zeros, sizeof page);
        ferry_replay_write(FERRY_REPLAY_TRACE, page, FERRY_TRACE_CLASS_UNKNOWN, salt);
        cr_expect_gt(packed(page), 4000);
    }
}

Test(replay_content, changes_with_every_write_but_where_it_is_kept)
{
    _Alignas(8) uint8_t page[FERRY_REPLAY_PAGE] = {0}, before[FERRY_REPLAY_PAGE];

    for (unsigned c = 0; c < FERRY_N_REPLAY_CONTENTS; c++) {
        FerryReplayContent parsed, content = (FerryReplayContent)c;
        cr_assert(ferry_replay_content_parse(ferry_replay_content_name(content), &parsed));
        cr_expect_eq(parsed, content);
        ferry_replay_write(content, page, FERRY_TRACE_CLASS_UNKNOWN, 1);
        memcpy(before, page, sizeof page);
        ferry_replay_write(content, page, FERRY_TRACE_CLASS_UNKNOWN, 2);
        cr_expect_eq(memcmp(before, page, sizeof page) == 0, content == FERRY_REPLAY_KEEP);
    }
    FerryReplayContent none;
    cr_expect(!ferry_replay_content_parse("random ", &none));
    ferry_replay_write(FERRY_REPLAY_TEXT, page, 0, 3);
    cr_expect(packed(page) > 1000 && packed(page) < 2048, "%zu", packed(page));
}
