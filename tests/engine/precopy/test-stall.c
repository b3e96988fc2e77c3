#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include "engine/precopy/stall.h"

#define MIB (1ull << 20)
#define MS 1000000ull

/* Syncs every 50 ms, at which 500 ms are predicted and 100 allowed. */
typedef struct {
    FerryStall stall;
    FerryForecast forecast;
    FerryRound round;
    uint64_t predicted_ns;
} World;

static World stalling(FerryOnStall on_stall)
{
    return (World){
        .forecast = {.outlook = FERRY_OUTLOOK_STALLS, .floor_ns = 400 * MS, .throttle_percent = 60       },
        .round = {.on_stall = on_stall,            .fixed_ns = MS,       .downtime_limit_ns = 100 * MS},
        .predicted_ns = 500 * MS
    };
}

static FerryVerdict sync_once(World *w)
{
    FerryVerdict verdict;

    w->round.number++;
    w->round.moment.now_ns += 50 * MS;
    w->round.forecast = &w->forecast;
    verdict = ferry_stall_verdict(&w->stall, &w->round, w->predicted_ns);
    w->round.throttle_percent = ferry_stall_throttle(&w->stall, &w->round);
    return verdict;
}

/* After how many ms @verdict comes; 0: not within 60 s. */
static unsigned until(World *w, FerryVerdict verdict)
{
    for (unsigned ms = 50; ms <= 60000; ms += 50) {
        if (sync_once(w) == verdict) {
            return ms;
        }
    }
    return 0;
}

static unsigned until_throttled(World *w)
{
    for (unsigned ms = 50; ms <= 60000; ms += 50) {
        sync_once(w);
        if (w->round.throttle_percent > 0) {
            return ms;
        }
    }
    return 0;
}

Test(stall, waits_unless_told_otherwise)
{
    World w = stalling(FERRY_ON_STALL_WAIT);

    cr_expect_eq(until_throttled(&w), 0);
    w = stalling(FERRY_ON_STALL_WAIT);
    cr_expect_eq(until(&w, FERRY_VERDICT_SWITCH_OVER), 0);
    w = stalling(FERRY_ON_STALL_WAIT);
    cr_expect_eq(until(&w, FERRY_VERDICT_GIVE_UP), 0);
}

Test(stall, gives_up_when_a_forecast_has_stood_for_a_second)
{
    World w = stalling(FERRY_ON_STALL_CANCEL);

    cr_expect_eq(until(&w, FERRY_VERDICT_GIVE_UP), 1050);
}

Test(stall, a_better_forecast_takes_twice_as_much_back)
{
    World w = stalling(FERRY_ON_STALL_CANCEL);

    for (unsigned i = 0; i < 15; i++) {
        cr_expect_eq(sync_once(&w), FERRY_VERDICT_ANOTHER_ROUND);
    }
    w.forecast.outlook = FERRY_OUTLOOK_UNKNOWN;
    sync_once(&w);
    w.forecast.outlook = FERRY_OUTLOOK_STALLS;
    cr_expect_eq(until(&w, FERRY_VERDICT_GIVE_UP), 1050 - 750 + 100);
}

Test(stall, forecasts_that_waver_are_no_reason)
{
    World w = stalling(FERRY_ON_STALL_CANCEL);

    for (unsigned i = 0; i < 150; i++) {
        w.forecast.outlook = i % 2 ? FERRY_OUTLOOK_MEETS : FERRY_OUTLOOK_STALLS;
        cr_expect_eq(sync_once(&w), FERRY_VERDICT_ANOTHER_ROUND, "%u", i);
    }
}

Test(stall, fixed_parts_that_are_too_long_may_have_been_a_busy_moment)
{
    World w = stalling(FERRY_ON_STALL_CANCEL);

    w.round.fixed_ns = 101 * MS;
    cr_expect_eq(until(&w, FERRY_VERDICT_GIVE_UP), 3050);
}

Test(stall, no_progress_is_a_stall_whatever_is_forecast)
{
    World w = stalling(FERRY_ON_STALL_CANCEL);

    w.forecast.outlook = FERRY_OUTLOOK_MEETS;
    cr_expect_eq(until(&w, FERRY_VERDICT_GIVE_UP), 10050);
    w = stalling(FERRY_ON_STALL_CANCEL);
    w.forecast.outlook = FERRY_OUTLOOK_UNKNOWN;
    for (unsigned i = 0; i < 1000; i++) { /* slowly, but it gets better */
        w.predicted_ns -= w.predicted_ns / 1000;
        cr_expect_eq(sync_once(&w), FERRY_VERDICT_ANOTHER_ROUND);
    }
}

Test(stall, a_long_first_pass_is_progress)
{
    World w = stalling(FERRY_ON_STALL_CANCEL);

    w.forecast.outlook = FERRY_OUTLOOK_UNKNOWN;
    w.predicted_ns = UINT64_MAX;
    w.round.unsent_bytes = 100000 * MIB;
    w.round.round_sent_bytes = 10 * MIB;
    for (unsigned i = 0; i < 1000; i++) {
        w.round.unsent_bytes -= 6 * MIB;
        cr_expect_eq(sync_once(&w), FERRY_VERDICT_ANOTHER_ROUND);
    }
    cr_expect_eq(until(&w, FERRY_VERDICT_GIVE_UP), 10000, "hardly anything is sent first");
}

Test(stall, pauses_at_a_moment_as_good_as_the_best)
{
    World w = stalling(FERRY_ON_STALL_PAUSE);

    for (unsigned i = 0; i < 50; i++) { /* better and better */
        w.predicted_ns -= 3 * w.predicted_ns / 100;
        cr_expect_eq(sync_once(&w), FERRY_VERDICT_ANOTHER_ROUND, "%u", i);
    }
    uint64_t best = w.predicted_ns;
    for (unsigned i = 0; i < 60; i++) { /* and no better */
        w.predicted_ns = best * 13 / 10;
        cr_expect_eq(sync_once(&w), FERRY_VERDICT_ANOTHER_ROUND, "%u", i);
    }
    w.predicted_ns = best;
    cr_expect_eq(sync_once(&w), FERRY_VERDICT_SWITCH_OVER);
}

Test(stall, asks_for_less_the_longer_it_waits)
{
    World w = stalling(FERRY_ON_STALL_PAUSE);

    sync_once(&w);
    w.predicted_ns = 550 * MS; /* 100/1000 more than the best: 2 s behind the first second */
    cr_expect_eq(until(&w, FERRY_VERDICT_SWITCH_OVER), 3000);
}

Test(stall, a_moment_that_will_not_come_again_is_soon_forgotten)
{
    World w = stalling(FERRY_ON_STALL_PAUSE);

    w.predicted_ns = 25 * MS; /* a twentieth: the guest had no processor */
    sync_once(&w);
    w.predicted_ns = 500 * MS;
    unsigned ms = until(&w, FERRY_VERDICT_SWITCH_OVER);
    cr_expect(ms > 2000 && ms <= 12000, "%u ms", ms);
}

Test(stall, does_not_wait_for_ever_for_something_better)
{
    World w = stalling(FERRY_ON_STALL_PAUSE);
    unsigned ms = 0;

    do { /* 3 % less each second: never settled */
        w.predicted_ns -= ms % 1000 ? 0 : w.predicted_ns * 3 / 100;
        ms += 50;
    } while (sync_once(&w) != FERRY_VERDICT_SWITCH_OVER && ms < 60000);
    cr_expect_eq(ms, 6050, "%u: firm after a second, and then 5", ms);
}

Test(stall, a_first_pass_is_worth_waiting_for)
{
    World w = stalling(FERRY_ON_STALL_PAUSE);

    w.round.unsent_bytes = 100000 * MIB;
    w.round.round_sent_bytes = 10 * MIB;
    for (unsigned i = 0; i < 1000; i++) {
        w.round.unsent_bytes -= 6 * MIB;
        cr_expect_eq(sync_once(&w), FERRY_VERDICT_ANOTHER_ROUND);
    }
    cr_expect_leq(until(&w, FERRY_VERDICT_SWITCH_OVER), 1050);
}

Test(stall, throttles_at_once_by_what_is_forecast)
{
    World w = stalling(FERRY_ON_STALL_THROTTLE);

    cr_expect_eq(until_throttled(&w), 150, "two forecasts, 100 ms apart");
    cr_expect_eq(w.round.throttle_percent, 60);
    cr_expect_eq(until(&w, FERRY_VERDICT_GIVE_UP), 0);
}

Test(stall, a_first_pass_is_not_throttled)
{
    World w = stalling(FERRY_ON_STALL_THROTTLE);

    w.round.unsent_bytes = 1000 * MIB;
    w.round.round_sent_bytes = 10 * MIB;
    for (unsigned i = 0; i < 100; i++) {
        w.round.unsent_bytes -= 6 * MIB;
        sync_once(&w);
        cr_expect_eq(w.round.throttle_percent, 0);
    }
    cr_expect_eq(until_throttled(&w), 100);
}

Test(stall, auto_converge_allows_throttling_up_to_its_maximum)
{
    World w = stalling(FERRY_ON_STALL_WAIT);

    w.round.throttle_max = 70;
    cr_expect_eq(until_throttled(&w), 150);
    cr_expect_eq(w.round.throttle_percent, 60);
    w = stalling(FERRY_ON_STALL_WAIT);
    w.round.throttle_max = 50;
    until_throttled(&w);
    cr_expect_eq(w.round.throttle_percent, 50);
}

Test(stall, throttling_comes_before_pausing_where_it_is_allowed_and_enough)
{
    World w = stalling(FERRY_ON_STALL_CANCEL);

    w.round.throttle_max = 99;
    cr_expect_gt(until(&w, FERRY_VERDICT_GIVE_UP), 40000, "each step is given its time");
    cr_expect_eq(w.round.throttle_percent, 99, "it was forecast to be enough, and was not");
    w = stalling(FERRY_ON_STALL_CANCEL);
    w.round.throttle_max = 99;
    w.forecast.throttle_percent = 100;
    cr_expect_eq(until(&w, FERRY_VERDICT_GIVE_UP), 1050);
}

Test(stall, never_throttles_where_that_cannot_help)
{
    World w = stalling(FERRY_ON_STALL_THROTTLE);

    w.round.fixed_ns = 101 * MS;
    cr_expect_eq(until_throttled(&w), 0, "it is not the pages");
    w = stalling(FERRY_ON_STALL_THROTTLE);
    w.forecast = (FerryForecast){.outlook = FERRY_OUTLOOK_MEETS};
    for (unsigned i = 0; i < 190; i++) {
        sync_once(&w);
        cr_expect_eq(w.round.throttle_percent, 0, "nor needed");
    }
}

Test(stall, the_throttle_is_looked_at_each_second_and_lowered_step_by_step)
{
    World w = stalling(FERRY_ON_STALL_THROTTLE);
    static const unsigned steps[] = {70, 70, 50, 40, 35, 32, 31, 30, 30};

    until_throttled(&w);
    w.forecast.throttle_percent = 70;
    for (unsigned i = 0; i < G_N_ELEMENTS(steps); i++) {
        for (unsigned k = 0; k < 20; k++) {
            cr_expect_eq(w.round.throttle_percent, i == 0 ? 60 : steps[i - 1]);
            w.predicted_ns -= w.predicted_ns / 500; /* not stuck */
            sync_once(&w);
        }
        cr_expect_eq(w.round.throttle_percent, steps[i], "second %u: %u", i,
                     w.round.throttle_percent);
        w.forecast.throttle_percent = i == 0 ? 70 : 30;
    }
}

Test(stall, even_99_percent_may_be_too_little)
{
    World w = stalling(FERRY_ON_STALL_THROTTLE);

    w.forecast.throttle_percent = 100;
    until_throttled(&w);
    cr_expect_eq(w.round.throttle_percent, 99);
}

Test(stall, a_throttle_that_does_not_do_what_it_should_is_raised)
{
    World w = stalling(FERRY_ON_STALL_THROTTLE);

    until_throttled(&w);
    w.forecast.outlook = FERRY_OUTLOOK_MEETS;
    for (unsigned ms = 0; ms < 11500; ms += 50) {
        sync_once(&w);
    }
    cr_expect_eq(w.round.throttle_percent, 70);
    for (unsigned ms = 0; ms < 5000; ms += 50) {
        sync_once(&w);
    }
    cr_expect_eq(w.round.throttle_percent, 70, "less was too little");
}
