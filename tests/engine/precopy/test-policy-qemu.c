#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include "engine/precopy/policy.h"

#define MIB (1ull << 20)
#define MS 1000000ull

/* A world in which @mib_per_s leave and each millisecond is looked at. */
typedef struct {
    uint64_t state[64];
    const FerryPolicyOps *ops;
    FerryMoment moment;
    FerryRound round; /* limits and parameters */
} World;

static World world_of(const FerryPolicyOps *ops)
{
    World w = {.ops = ops, .round = {.downtime_limit_ns = 300 * MS}};

    cr_assert_leq(ops->state_size, sizeof w.state);
    return w;
}

static FerryDecision sync_at(World *w, uint64_t dirty_bytes, uint64_t dirtied_bytes)
{
    w->round.moment = w->moment;
    w->round.dirty_bytes = dirty_bytes;
    w->round.round_dirtied_bytes = dirtied_bytes;
    FerryDecision d = w->ops->decide(w->state, &w->round);
    w->round.number++;
    w->round.throttle_percent = d.throttle_percent;
    return d;
}

/* Lets @ms pass, @pending_bytes being left; the millisecond, from 1 on, in which the round ended,
 * or 0. */
static unsigned send(World *w, unsigned ms, uint64_t bytes_per_ms, uint64_t pending_bytes)
{
    for (unsigned i = 1; i <= ms; i++) {
        w->moment.now_ns += MS;
        w->moment.sent_bytes += bytes_per_ms;
        if (w->ops->is_round_over(w->state, &w->moment, pending_bytes)) {
            return i;
        }
    }
    return 0;
}

Test(policy_qemu, a_round_ends_below_the_threshold_of_the_last_window)
{
    World w = world_of(&ferry_policy_qemu);

    sync_at(&w, 1000 * MIB, 0);
    cr_expect_eq(send(&w, 99, MIB, MIB), 0, "no window, no threshold");
    cr_expect_eq(send(&w, 1, MIB, 300 * MIB), 0, "at the threshold, not below it");
    cr_expect_eq(send(&w, 49, MIB, 1), 0, "looked at each 50 ms");
    cr_expect_eq(send(&w, 1, MIB, 300 * MIB - 1), 1);
    cr_expect_eq(sync_at(&w, 300 * MIB, 0).verdict, FERRY_VERDICT_ANOTHER_ROUND);
    cr_expect_eq(sync_at(&w, 300 * MIB - 1, 0).verdict, FERRY_VERDICT_SWITCH_OVER);
}

Test(policy_qemu, the_rate_is_of_one_window_alone)
{
    World w = world_of(&ferry_policy_qemu);

    sync_at(&w, 1000 * MIB, 0);
    send(&w, 1000, MIB, 1000 * MIB);
    send(&w, 100, MIB / 4, 1000 * MIB);
    cr_expect_eq(sync_at(&w, 75 * MIB, 0).verdict, FERRY_VERDICT_ANOTHER_ROUND);
    cr_expect_eq(sync_at(&w, 75 * MIB - 1, 0).verdict, FERRY_VERDICT_SWITCH_OVER);
}

Test(policy_qemu, the_time_of_a_sync_counts_as_time_of_sending)
{
    World w = world_of(&ferry_policy_qemu);

    sync_at(&w, 1000 * MIB, 0);
    send(&w, 100, MIB, 1000 * MIB);
    w.moment.now_ns += 150 * MS; /* a sync that blocks */
    sync_at(&w, 1000 * MIB, 0);
    send(&w, 50, MIB, 1000 * MIB);
    cr_expect_eq(sync_at(&w, 75 * MIB, 0).verdict, FERRY_VERDICT_ANOTHER_ROUND, "50 MiB in 200 ms");
    cr_expect_eq(sync_at(&w, 75 * MIB - 1, 0).verdict, FERRY_VERDICT_SWITCH_OVER);
}

Test(policy_qemu, nothing_dirty_switches_over_whatever_the_limit)
{
    World w = world_of(&ferry_policy_qemu);

    w.round.downtime_limit_ns = 0;
    cr_expect_eq(sync_at(&w, 0, 0).verdict, FERRY_VERDICT_ANOTHER_ROUND, "the first sync");
    send(&w, 100, MIB, 1);
    cr_expect_eq(sync_at(&w, 1, 0).verdict, FERRY_VERDICT_ANOTHER_ROUND);
    cr_expect_eq(sync_at(&w, 0, 0).verdict, FERRY_VERDICT_SWITCH_OVER);
}

Test(policy_qemu, all_sent_within_the_first_window_switches_over)
{
    World w = world_of(&ferry_policy_qemu);

    sync_at(&w, 10 * MIB, 0);
    cr_expect_eq(send(&w, 10, MIB, 0), 0, "the machine ends a round with nothing pending itself");
    cr_expect_eq(sync_at(&w, 10 * MIB, 10 * MIB).verdict, FERRY_VERDICT_SWITCH_OVER);
}

Test(policy_qemu, a_window_in_which_nothing_leaves_goes_on)
{
    World w = world_of(&ferry_policy_qemu);

    sync_at(&w, 1000 * MIB, 0);
    send(&w, 100, MIB, 1000 * MIB);
    send(&w, 150, 0, 1000 * MIB); /* zero pages are looked for, and put together */
    send(&w, 50, 2 * MIB, 1000 * MIB);
    cr_expect_eq(send(&w, 1, 0, 0), 1);
    cr_expect_eq(sync_at(&w, 150 * MIB, 0).verdict, FERRY_VERDICT_ANOTHER_ROUND);
    cr_expect_eq(sync_at(&w, 149 * MIB, 0).verdict, FERRY_VERDICT_SWITCH_OVER);
}

Test(policy_qemu, switchover_bandwidth_replaces_the_rate)
{
    World w = world_of(&ferry_policy_qemu);

    w.round.switchover_bytes_per_second = 10000 * MIB;
    sync_at(&w, 1 << 30, 0);
    send(&w, 100, MIB, 4000 * MIB);
    cr_expect_eq(sync_at(&w, 3000 * MIB - 1, 0).verdict, FERRY_VERDICT_SWITCH_OVER);

    w = world_of(&ferry_policy_qemu_72);
    w.round.switchover_bytes_per_second = 10000 * MIB;
    sync_at(&w, 1 << 30, 0);
    send(&w, 100, MIB, 4000 * MIB);
    cr_expect_eq(sync_at(&w, 3000 * MIB - 1, 0).verdict, FERRY_VERDICT_ANOTHER_ROUND);
}

Test(policy_qemu, expects_the_limit_until_a_dirty_rate_is_known)
{
    World w = world_of(&ferry_policy_qemu);

    cr_expect_eq(sync_at(&w, 1000 * MIB, 0).predicted_downtime_ns, 300 * MS);
    send(&w, 1000, MIB, 1000 * MIB);
    cr_expect_eq(sync_at(&w, 500 * MIB, 500 * MIB).predicted_downtime_ns, 300 * MS,
                 "not more than a second");
    send(&w, 100, MIB, 1000 * MIB);
    cr_expect_eq(sync_at(&w, 500 * MIB, 500 * MIB).predicted_downtime_ns, 500 * MS);
    send(&w, 100, 1, 1000 * MIB); /* nothing to speak of was sent */
    cr_expect_eq(sync_at(&w, 600 * MIB, 0).predicted_downtime_ns, 500 * MS);
}

static World throttled(const FerryPolicyOps *ops)
{
    World w = world_of(ops);

    w.round.throttle_initial = 20;
    w.round.throttle_increment = 10;
    w.round.throttle_max = 45;
    w.round.throttle_trigger = 50;
    return w;
}

/* One period: 1.1 s in which 1100 MiB are sent. */
static unsigned period(World *w, uint64_t dirtied_mib)
{
    send(w, 1100, MIB, 1000 * MIB);
    return sync_at(w, 1000 * MIB, dirtied_mib * MIB).throttle_percent;
}

Test(policy_qemu, every_second_period_over_the_trigger_throttles)
{
    World w = throttled(&ferry_policy_qemu);

    sync_at(&w, 1000 * MIB, 0);
    cr_expect_eq(period(&w, 551), 0);
    cr_expect_eq(period(&w, 550), 0, "at the trigger");
    cr_expect_eq(period(&w, 551), 20, "the good period did not count back");
    cr_expect_eq(period(&w, 551), 20);
    cr_expect_eq(period(&w, 551), 30);
    cr_expect_eq(period(&w, 551), 30);
    cr_expect_eq(period(&w, 551), 40);
    cr_expect_eq(period(&w, 551), 40);
    cr_expect_eq(period(&w, 551), 45, "the maximum");
}

Test(policy_qemu, rounds_of_less_than_a_second_make_one_period)
{
    World w = throttled(&ferry_policy_qemu);

    sync_at(&w, 1000 * MIB, 0);
    for (unsigned i = 0; i < 6; i++) { /* looked at after 1.2 s and after 2.4 s */
        cr_expect_eq(w.round.throttle_percent, 0, "%u", i);
        send(&w, 400, MIB, 1000 * MIB);
        sync_at(&w, 1000 * MIB, 210 * MIB);
    }
    cr_expect_eq(w.round.throttle_percent, 20);
}

Test(policy_qemu, tailslow_takes_no_more_than_would_do)
{
    World w = throttled(&ferry_policy_qemu);

    w.round.throttle_tailslow = TRUE;
    w.round.throttle_percent = 20;
    sync_at(&w, 1000 * MIB, 0);
    period(&w, 580); /* 80 % of the guest's speed, 550 of 580 MiB: 75.8 */
    cr_expect_eq(period(&w, 580), 25);
}

Test(policy_qemu, never_throttles_unless_asked_to)
{
    World w = world_of(&ferry_policy_qemu);

    sync_at(&w, 1000 * MIB, 0);
    for (unsigned i = 0; i < 10; i++) {
        cr_expect_eq(period(&w, 1000), 0);
    }
}

typedef struct {
    char what[40];
    gboolean is_10, throttles;
    unsigned first_pass_ms;
    unsigned ends_ms; /* behind the second sync; 0: not within 20 s */
} Timer;
ParameterizedTestParameters(policy_qemu, long_rounds)
{
    static Timer rows[] = {
        {"10 with auto-converge",    TRUE,  TRUE,  1000,  9000}, /* at 5 s it saw a sync */
        {"with a long first pass",   TRUE,  TRUE,  12000, 8000}, /* at 15 s and at 20 s */
        {"10 without auto-converge", TRUE,  FALSE, 1000,  0   },
        {"7.2 with auto-converge",   FALSE, TRUE,  1000,  0   },
    };
    return cr_make_param_array(Timer, rows, G_N_ELEMENTS(rows));
}
ParameterizedTest(Timer *row, policy_qemu, long_rounds)
{
    World w = throttled(row->is_10 ? &ferry_policy_qemu : &ferry_policy_qemu_72);

    w.round.throttle_max = row->throttles ? 99 : 0;
    sync_at(&w, 8000 * MIB, 0);
    cr_assert_eq(send(&w, row->first_pass_ms, MIB, 8000 * MIB), 0, "%s: first pass", row->what);
    sync_at(&w, 8000 * MIB, 8000 * MIB);
    cr_expect_eq(send(&w, 20000, MIB, 8000 * MIB), row->ends_ms, "%s", row->what);
}

Test(policy_qemu, takes_over_from_another_policy)
{
    World w = world_of(&ferry_policy_qemu);

    w.moment = (FerryMoment){.now_ns = 77000 * MS, .sent_bytes = 5000 * MIB};
    w.round.number = 30;
    send(&w, 10, MIB, 0);
    cr_expect_eq(sync_at(&w, 100 * MIB, 100 * MIB).verdict, FERRY_VERDICT_ANOTHER_ROUND);
    send(&w, 100, MIB, 100 * MIB);
    cr_expect_eq(sync_at(&w, 300 * MIB - 1, 0).verdict, FERRY_VERDICT_SWITCH_OVER);
}
