#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include "engine/precopy/policy.h"

#define MIB (1ull << 20)
#define MS 1000000ull

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
    uint64_t state[8] = {0};
    FerryRound round = {.number = row->number,
                        .dirty_bytes = row->dirty_mib * MIB,
                        .queued_bytes = row->queued_mib * MIB,
                        .uncapped_bytes_per_second = row->mib_per_sec * MIB,
                        .wire_permille = row->wire_permille,
                        .fixed_ns = row->fixed_ms * MS,
                        .downtime_limit_ns = row->limit_ms * MS};
    FerryDecision d = ferry_policy_ferry.decide(state, &round);
    cr_expect_eq(d.verdict, row->verdict, "%s", row->what);
    cr_expect_eq(d.predicted_downtime_ns,
                 row->predicted_ms < 0 ? UINT64_MAX : (uint64_t)row->predicted_ms * MS, "%s: %lu",
                 row->what, (unsigned long)d.predicted_downtime_ns);
}

Test(policy_ferry, throttles_at_every_second_round_that_outruns_the_link)
{
    uint64_t state[8] = {0};
    static const unsigned steps[] = {0, 20, 20, 30, 30, 35, 35, 35};
    FerryRound r = {.number = 1,
                    .dirty_bytes = 100 * MIB,
                    .uncapped_bytes_per_second = 1,
                    .wire_permille = 1000,
                    .round_sent_bytes = 100,
                    .round_dirtied_bytes = 51,
                    .throttle_initial = 20,
                    .throttle_increment = 10,
                    .throttle_max = 35,
                    .throttle_trigger = 50};
    for (unsigned i = 0; i < G_N_ELEMENTS(steps); i++) {
        r.throttle_percent = ferry_policy_ferry.decide(state, &r).throttle_percent;
        cr_expect_eq(r.throttle_percent, steps[i], "round %u: %u %%", i, r.throttle_percent);
    }
    r.round_dirtied_bytes = 50; /* at the trigger, not above it */
    cr_expect_eq(ferry_policy_ferry.decide(state, &r).throttle_percent, 35);
}

Test(policy_ferry, does_not_throttle_unless_asked_to)
{
    uint64_t state[8] = {0};
    FerryRound r = {.number = 1,
                    .dirty_bytes = MIB,
                    .uncapped_bytes_per_second = 1,
                    .wire_permille = 1000,
                    .round_sent_bytes = 1,
                    .round_dirtied_bytes = 100};
    for (unsigned i = 0; i < 10; i++) {
        cr_expect_eq(ferry_policy_ferry.decide(state, &r).throttle_percent, 0);
    }
}

Test(policy_ferry, rests_when_more_rounds_cannot_help)
{
    uint64_t state[8] = {0};
    FerryRound r = {.number = 1,
                    .dirty_bytes = MIB,
                    .uncapped_bytes_per_second = MIB,
                    .wire_permille = 1000,
                    .fixed_ns = 100,
                    .downtime_limit_ns = 200};
    cr_expect_eq(ferry_policy_ferry.decide(state, &r).rest_ns, 0, "rounds may help");
    r.fixed_ns = 201;
    cr_expect_gt(ferry_policy_ferry.decide(state, &r).rest_ns, 0, "the fixed part is too long");
    r.dirty_bytes = 0;
    r.fixed_ns = 1;
    r.downtime_limit_ns = 0;
    r.number = 0;
    cr_expect_gt(ferry_policy_ferry.decide(state, &r).rest_ns, 0, "nothing is dirty");
}

Test(policy_ferry, what_would_take_for_ever_does_not_fit)
{
    uint64_t state[8] = {0};
    FerryRound r = {.number = 1,
                    .dirty_bytes = 64ull << 30,
                    .uncapped_bytes_per_second = 1,
                    .wire_permille = 1000,
                    .fixed_ns = MS,
                    .downtime_limit_ns = 300 * MS};
    FerryDecision d = ferry_policy_ferry.decide(state, &r);
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
    uint64_t state[8] = {0};

    ferry_policy_fixed_rounds.begin(state, 3);
    for (unsigned i = 0; i < 5; i++) {
        FerryRound r = {.number = i, .dirty_bytes = UINT64_MAX};
        cr_expect_eq(ferry_policy_fixed_rounds.decide(state, &r).verdict,
                     i >= 3 ? FERRY_VERDICT_SWITCH_OVER : FERRY_VERDICT_ANOTHER_ROUND, "%u", i);
    }
}
