#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include "engine/precopy/policy.h"

#define MIB (1ull << 20)
#define MS 1000000ull

typedef union {
    uint64_t room[128];
} State;

Test(policy_ferry, has_room_in_these_tests)
{
    cr_assert_leq(ferry_policy_ferry.state_size, sizeof(State));
}

typedef struct {
    char what[48];
    unsigned number;
    uint64_t dirty_mib, queued_mib, mib_per_sec, wire_permille, fixed_ms, limit_ms;
    FerryVerdict verdict;
    int64_t predicted_ms; /* -1: cannot be said */
} Row;
ParameterizedTestParameters(policy_ferry, decides)
{
    static Row rows[] = {
        {"fits exactly",                 1, 100, 0, 1000, 1000, 0, 100, FERRY_VERDICT_SWITCH_OVER,   100},
        {"one MiB too many",             1, 101, 0, 1000, 1000, 0, 100, FERRY_VERDICT_ANOTHER_ROUND, 101},
        {"what is queued counts",        1, 99,  2, 1000, 1000, 0, 100, FERRY_VERDICT_ANOTHER_ROUND, 101},
        {"the fixed part counts",        1, 100, 0, 1000, 1000, 1, 100, FERRY_VERDICT_ANOTHER_ROUND, 101},
        {"wire bytes count, not pages",  1, 200, 0, 1000, 500,  0, 100, FERRY_VERDICT_SWITCH_OVER,
         100                                                                                            },
        {"dirty and no rate yet",        1, 1,   0, 0,    1000, 0, 100, FERRY_VERDICT_ANOTHER_ROUND, -1 },
        {"nothing dirty and no rate",    1, 0,   0, 0,    1000, 5, 100, FERRY_VERDICT_SWITCH_OVER,   5  },
        {"never before the first round", 0, 0,   0, 1000, 1000, 0, 100, FERRY_VERDICT_ANOTHER_ROUND,
         0                                                                                              },
        {"no budget, something dirty",   1, 1,   0, 1000, 1000, 0, 0,   FERRY_VERDICT_ANOTHER_ROUND, 1  },
        {"no budget, nothing dirty",     1, 0,   0, 1000, 1000, 5, 0,   FERRY_VERDICT_SWITCH_OVER,   5  },
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}
ParameterizedTest(Row *row, policy_ferry, decides)
{
    State state = {0};
    FerryRound round = {.number = row->number,
                        .round_dirtied_bytes = row->dirty_mib * MIB, /* else sending on would pay */
                        .dirty_bytes = row->dirty_mib * MIB,
                        .queued_bytes = row->queued_mib * MIB,
                        .uncapped_bytes_per_second = row->mib_per_sec * MIB,
                        .wire_permille = row->wire_permille,
                        .fixed_ns = row->fixed_ms * MS,
                        .downtime_limit_ns = row->limit_ms * MS};
    FerryDecision d = ferry_policy_ferry.decide(&state, &round);
    cr_expect_eq(d.verdict, row->verdict, "%s", row->what);
    cr_expect_eq(d.predicted_downtime_ns,
                 row->predicted_ms < 0 ? UINT64_MAX : (uint64_t)row->predicted_ms * MS, "%s: %lu",
                 row->what, (unsigned long)d.predicted_downtime_ns);
}

Test(policy_ferry, rests_when_more_rounds_cannot_help)
{
    State state = {0};
    FerryRound r = {.number = 1,
                    .dirty_bytes = MIB,
                    .uncapped_bytes_per_second = 1000 * MIB,
                    .wire_permille = 1000,
                    .fixed_ns = 100 * MS,
                    .downtime_limit_ns = 100 * MS};
    cr_expect_eq(ferry_policy_ferry.decide(&state, &r).rest_ns, 0, "rounds may help");
    r.fixed_ns++;
    cr_expect_eq(ferry_policy_ferry.decide(&state, &r).rest_ns, 49 * MS, "the fixed part is long");
    r.dirty_bytes = 60 * MIB;
    cr_expect_eq(ferry_policy_ferry.decide(&state, &r).rest_ns, 0, "there is enough to send");
    r = (FerryRound){0};
    cr_expect_gt(ferry_policy_ferry.decide(&state, &r).rest_ns, 0, "nothing is dirty");
}

Test(policy_ferry, rests_when_syncs_cost_more_than_what_they_find)
{
    State state = {0};
    FerryRound r = {.number = 7,
                    .dirty_bytes = MIB,
                    .sync_ns = 10 * MS,
                    .uncapped_bytes_per_second = 100 * MIB,
                    .wire_permille = 1000};
    cr_expect_eq(ferry_policy_ferry.decide(&state, &r).rest_ns, 180 * MS);
}

typedef struct {
    char what[40];
    uint64_t dirty_mib, unseen_mib;
    unsigned unsent_permille, rate_permille_p5;
    uint64_t margin_ms, limit_ms;
    FerryVerdict verdict;
    uint64_t predicted_ms;
} Caution;
ParameterizedTestParameters(policy_ferry, is_cautious)
{
    static Caution rows[] = {
        {"all of it sent before",        100, 0,  0,    0,    0,  100, FERRY_VERDICT_SWITCH_OVER,   100},
        {"never sent: as expected",      100, 50, 1000, 0,    0,  100, FERRY_VERDICT_SWITCH_OVER,   100},
        {"zeros so far may not stay so", 100, 50, 10,   0,    0,  60,  FERRY_VERDICT_ANOTHER_ROUND, 50 },
        {"the rate may fall",            100, 0,  0,    900,  0,  110, FERRY_VERDICT_ANOTHER_ROUND, 100},
        {"and yet fit",                  100, 0,  0,    900,  0,  112, FERRY_VERDICT_SWITCH_OVER,   100},
        {"fixed parts may be worse",     100, 0,  0,    1000, 11, 110, FERRY_VERDICT_ANOTHER_ROUND, 100},
        {"and yet fit",                  100, 0,  0,    1000, 10, 110, FERRY_VERDICT_SWITCH_OVER,   100},
    };
    return cr_make_param_array(Caution, rows, G_N_ELEMENTS(rows));
}
ParameterizedTest(Caution *row, policy_ferry, is_cautious)
{
    State state = {0};
    FerryRound r = {.number = 1,
                    .round_ns = MS,
                    .round_dirtied_bytes = row->dirty_mib * MIB, /* else sending on would pay */
                    .dirty_bytes = row->dirty_mib * MIB,
                    .unseen_bytes = row->unseen_mib * MIB,
                    .uncapped_bytes_per_second = 1000 * MIB,
                    .wire_permille = 1000,
                    .unsent_wire_permille = row->unsent_permille,
                    .rate_permille_p5 = row->rate_permille_p5,
                    .margin_ns = row->margin_ms * MS,
                    .downtime_limit_ns = row->limit_ms * MS};
    FerryDecision d = ferry_policy_ferry.decide(&state, &r);
    cr_expect_eq(d.verdict, row->verdict, "%s", row->what);
    cr_expect_eq(d.predicted_downtime_ns / MS, row->predicted_ms, "%s: %lu", row->what,
                 (unsigned long)d.predicted_downtime_ns);
}

typedef struct {
    char what[40];
    uint64_t dirty_kib, dirtied_kib, capped_mib;
    FerryVerdict verdict;
} Quiet;
ParameterizedTestParameters(policy_ferry, goes_on_while_the_guest_is_quiet)
{
    static Quiet rows[] = {
        {"nothing written, much left",   50000, 0,    0,   FERRY_VERDICT_ANOTHER_ROUND},
        {"little written",               50000, 1000, 0,   FERRY_VERDICT_ANOTHER_ROUND},
        {"little left",                  2000,  0,    0,   FERRY_VERDICT_SWITCH_OVER  },
        {"no more than a round brings",  5000,  2500, 0,   FERRY_VERDICT_SWITCH_OVER  },
        {"more than a sixteenth",        50000, 9000, 0,   FERRY_VERDICT_SWITCH_OVER  },
        {"rounds are held back a bit",   50000, 0,    600, FERRY_VERDICT_ANOTHER_ROUND},
        {"so that it would take longer", 50000, 0,    400, FERRY_VERDICT_SWITCH_OVER  },
    };
    return cr_make_param_array(Quiet, rows, G_N_ELEMENTS(rows));
}
ParameterizedTest(Quiet *row, policy_ferry, goes_on_while_the_guest_is_quiet)
{
    State state = {0};
    FerryRound r = {.number = 1,
                    .round_ns = 100 * MS, /* in which 100 MiB can be sent */
                    .ram_bytes = 1000 * MIB,
                    .dirty_bytes = row->dirty_kib << 10,
                    .round_dirtied_bytes = row->dirtied_kib << 10,
                    .uncapped_bytes_per_second = 1000 * MIB,
                    .capped_bytes_per_second = row->capped_mib * MIB,
                    .wire_permille = 1000,
                    .downtime_limit_ns = 300 * MS};
    cr_expect_eq(ferry_policy_ferry.decide(&state, &r).verdict, row->verdict, "%s", row->what);
}

Test(policy_ferry, what_is_written_until_the_guest_stands_is_left_too)
{
    State state = {0};
    FerryRound r = {.number = 1,
                    .ram_bytes = 1000 * MIB,
                    .uncapped_bytes_per_second = 1000 * MIB,
                    .wire_permille = 1000,
                    .sync_ns = 10 * MS,
                    .pause_ns = 90 * MS,
                    .round_ns = 1000 * MS,
                    .round_dirtied_bytes = 500 * MIB};
    for (unsigned i = 0; i < 20; i++) { /* until its rate is known */
        ferry_policy_ferry.decide(&state, &r);
    }
    cr_expect_eq((ferry_policy_ferry.decide(&state, &r).predicted_downtime_ns + MS / 2) / MS, 50);
}

Test(policy_ferry, a_margin_that_is_never_met_loses_its_weight)
{
    State state = {0};
    FerryRound r = {.number = 1,
                    .round_ns = 500 * MS,
                    .fixed_ns = 60 * MS,
                    .downtime_limit_ns = 100 * MS,
                    .margin_ns = 80 * MS};
    for (unsigned i = 1; i < 5; i++) {
        cr_expect_eq(ferry_policy_ferry.decide(&state, &r).verdict, FERRY_VERDICT_ANOTHER_ROUND);
    }
    r.fixed_ns = 101 * MS; /* for a moment; it counts as half a second less */
    cr_expect_eq(ferry_policy_ferry.decide(&state, &r).verdict, FERRY_VERDICT_ANOTHER_ROUND);
    r.fixed_ns = 60 * MS;
    cr_expect_eq(ferry_policy_ferry.decide(&state, &r).verdict, FERRY_VERDICT_ANOTHER_ROUND);
    cr_expect_eq(ferry_policy_ferry.decide(&state, &r).verdict, FERRY_VERDICT_SWITCH_OVER);
}

/* A sync at which nothing fits, then looks at each millisecond: when the round is over. */
static unsigned round_ms(State *state, FerryRound *r, uint64_t pending_bytes)
{
    FerryMoment moment = r->moment;

    ferry_policy_ferry.decide(state, r);
    moment.now_ns++; /* the first batch */
    cr_assert_not(ferry_policy_ferry.is_round_over(state, &moment, pending_bytes));
    for (unsigned ms = 1; ms < 100000; ms++) {
        moment.now_ns += MS;
        if (ferry_policy_ferry.is_round_over(state, &moment, pending_bytes)) {
            r->moment = moment;
            r->number++;
            return ms;
        }
    }
    return 0;
}

typedef struct {
    char what[40];
    uint64_t limit_ms, sync_us;
    unsigned first[5]; /* ms between syncs */
    unsigned then;
} Schedule;
ParameterizedTestParameters(policy_ferry, syncs_by_a_schedule)
{
    static Schedule rows[] = {
        {"an eighth of the limit",  400,   100,   {10, 20, 40, 50, 50},      50 },
        {"not more than 100 ms",    10000, 100,   {10, 20, 40, 80, 100},     100},
        {"not less than 10 ms",     40,    100,   {10, 10, 10, 10, 10},      10 },
        {"no limit at all",         0,     100,   {10, 10, 10, 10, 10},      10 },
        {"a twentieth of the time", 400,   10000, {190, 190, 190, 190, 190}, 190},
    };
    return cr_make_param_array(Schedule, rows, G_N_ELEMENTS(rows));
}
ParameterizedTest(Schedule *row, policy_ferry, syncs_by_a_schedule)
{
    State state = {0};
    FerryRound r = {.ram_bytes = 100000 * MIB,
                    .dirty_bytes = 100000 * MIB,
                    .uncapped_bytes_per_second = MIB,
                    .wire_permille = 1000,
                    .sync_ns = row->sync_us * 1000,
                    .downtime_limit_ns = row->limit_ms * MS};
    for (unsigned i = 0; i < 10; i++) {
        cr_expect_eq(round_ms(&state, &r, r.dirty_bytes), i < 5 ? row->first[i] : row->then,
                     "%s: round %u", row->what, i);
    }
}

Test(policy_ferry, a_round_sends_however_long_its_sync_took)
{
    State state = {0};
    FerryRound r = {.dirty_bytes = MIB, .wire_permille = 1000, .downtime_limit_ns = MS};
    FerryMoment moment = {.now_ns = 500 * MS};

    ferry_policy_ferry.decide(&state, &r);
    cr_expect_not(ferry_policy_ferry.is_round_over(&state, &moment, MIB), "half a second was lost");
    moment.now_ns += 10 * MS;
    cr_expect(ferry_policy_ferry.is_round_over(&state, &moment, MIB));
}

Test(policy_ferry, syncs_at_once_when_what_is_left_would_fit)
{
    State state = {0};
    FerryRound r = {.ram_bytes = 100000 * MIB,
                    .dirty_bytes = 1000 * MIB,
                    .uncapped_bytes_per_second = 1000 * MIB,
                    .wire_permille = 1000,
                    .sync_ns = MS / 10,
                    .downtime_limit_ns = 400 * MS};
    for (unsigned i = 0; i < 6; i++) {
        round_ms(&state, &r, r.dirty_bytes);
    }
    cr_expect_eq(round_ms(&state, &r, 401 * MIB), 50);
    cr_expect_eq(round_ms(&state, &r, 400 * MIB), 5);
    r.sync_ns = MS;
    cr_expect_eq(round_ms(&state, &r, 398 * MIB), 19, "syncs are dear");
    /* 1 MiB is written each millisecond: it will be found too. */
    r.sync_ns = MS / 10;
    r.round_ns = 1000 * MS;
    r.round_dirtied_bytes = 1000 * MIB;
    for (unsigned i = 0; i < 10; i++) {
        round_ms(&state, &r, r.dirty_bytes);
    }
    cr_expect_eq(round_ms(&state, &r, 395 * MIB), 50);
    cr_expect_eq(round_ms(&state, &r, 390 * MIB), 5);
}

Test(policy_ferry, what_would_take_for_ever_does_not_fit)
{
    State state = {0};
    FerryRound r = {.number = 1,
                    .dirty_bytes = 64ull << 30,
                    .uncapped_bytes_per_second = 1,
                    .wire_permille = 1000,
                    .fixed_ns = MS,
                    .downtime_limit_ns = 300 * MS};
    FerryDecision d = ferry_policy_ferry.decide(&state, &r);
    cr_expect_eq(d.verdict, FERRY_VERDICT_ANOTHER_ROUND);
    cr_expect_eq(d.predicted_downtime_ns, UINT64_MAX);
}

Test(policy, is_found_by_name)
{
    FerryPolicy p;
    const char *why;

    cr_assert(ferry_policy_parse("ferry", &p, &why));
    cr_expect_eq(p.ops, &ferry_policy_ferry);
    cr_assert(ferry_policy_parse("fixed-rounds=30", &p, &why));
    cr_expect_eq(p.ops, &ferry_policy_fixed_rounds);
    cr_expect_eq(p.argument, 30);
    cr_assert(ferry_policy_parse("qemu", &p, &why));
    cr_expect_eq(p.ops, &ferry_policy_qemu);
    cr_assert(ferry_policy_parse("qemu-7.2", &p, &why));
    cr_expect_eq(p.ops, &ferry_policy_qemu_72);
}

typedef struct {
    char name[32], why[40];
} Wrong;
ParameterizedTestParameters(policy, refuses)
{
    static Wrong rows[] = {
        {"none such",         "there is no such policy"     },
        {"",                  "there is no such policy"     },
        {"ferr",              "there is no such policy"     },
        {"ferry=1",           "this policy takes no number" },
        {"fixed-rounds",      "this policy needs '=N'"      },
        {"fixed-rounds=",     "the number is from 1 to 1000"},
        {"fixed-rounds=0",    "the number is from 1 to 1000"},
        {"fixed-rounds=1001", "the number is from 1 to 1000"},
        {"fixed-rounds=3x",   "the number is from 1 to 1000"},
    };
    return cr_make_param_array(Wrong, rows, G_N_ELEMENTS(rows));
}
ParameterizedTest(Wrong *row, policy, refuses)
{
    FerryPolicy p;
    const char *why = "";

    cr_expect_not(ferry_policy_parse(row->name, &p, &why));
    cr_expect_str_eq(why, row->why, "%s", row->name);
}

Test(policy_fixed_rounds, switches_over_at_the_nth_sync_behind_the_first)
{
    State state = {0};

    ferry_policy_fixed_rounds.begin(&state, 3);
    for (unsigned i = 0; i < 5; i++) {
        FerryRound r = {.number = i, .dirty_bytes = UINT64_MAX};
        cr_expect_eq(ferry_policy_fixed_rounds.decide(&state, &r).verdict,
                     i >= 3 ? FERRY_VERDICT_SWITCH_OVER : FERRY_VERDICT_ANOTHER_ROUND, "%u", i);
    }
}
