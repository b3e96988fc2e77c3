#include "simulator/simulate.h"
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)
#define PAGES 16384u /* 64 MiB */
#define LINK (128 * MIB)
#define LINK_PAGES (double)(LINK / 4104)

static FerrySimulation simulation(const FerryWorkload *w, const char *policy)
{
    FerrySimulation s = {
        .workload = w,
        .link = {.bytes_per_second = LINK, .round_trip_ns = 200000},
        .downtime_limit_ns = 300000000,
        .max_ns = 30000000000,
        .seed = 1
    };
    const char *why = "";

    cr_assert(ferry_policy_parse(policy, &s.policy, &why), "%s: %s", policy, why);
    return s;
}

typedef struct {
    double u, round_start, before_send;
} Residual;

/* What stays dirty for good when uniform writes outrun the link: in closed form when a round clears
 * all at its beginning, and when it clears each page just before that is read. */
ParameterizedTestParameters(simulate, residuals)
{
    static Residual rows[] = {
        {1.1,  0.176, 0.091},
        {1.25, 0.371, 0.200},
        {1.5,  0.583, 0.333},
        {2,    0.797, 0.500},
        {4,    0.980, 0.750},
        {10,   1.000, 0.900},
    };
    return cr_make_param_array(Residual, rows, G_N_ELEMENTS(rows));
}

static double residual(double u, uint64_t chunk_bytes)
{
    FerryWorkload w = {.n_groups = 1,
                       .groups = {{.pages = PAGES, .writes_per_second = u * LINK_PAGES}}};
    FerrySimulation s = simulation(&w, "fixed-rounds=40");
    double left = 0;

    s.costs.chunk_bytes = chunk_bytes;
    for (s.seed = 1; s.seed <= 3; s.seed++) {
        FerrySimResult r;
        cr_assert(ferry_simulate(&s, &r, NULL));
        cr_assert_eq(r.end, FERRY_SIM_DONE);
        left += (double)r.residual_pages / PAGES / 3;
    }
    return left;
}

ParameterizedTest(Residual *row, simulate, residuals)
{
    double all = residual(row->u, 1024 * MIB), each = residual(row->u, MIB / 4);

    cr_expect_float_eq(all, row->round_start, 0.01, "u=%g: %.3f left", row->u, all);
    cr_expect_float_eq(each, row->before_send, 0.01, "u=%g: %.3f left", row->u, each);
}

/* Pages that are always hot, the rest at u_c: whoever sends the hot ones as well has only what is
 * left of the link for the cold ones. */
Test(simulate, hot_pages_that_are_sent_cost_the_cold_ones)
{
    FerryWorkload w = {
        .n_groups = 2,
        .groups = {{.pages = 500, .writes_per_second = 1e6},
                   {.pages = 200000, .writes_per_second = 0.5 * LINK_PAGES}}
    };
    FerrySimulation s = simulation(&w, "fixed-rounds=60");
    FerrySimResult r;

    s.max_ns = 0;
    cr_assert(ferry_simulate(&s, &r, NULL));
    cr_assert_eq(r.end, FERRY_SIM_DONE);
    cr_expect_float_eq((double)r.residual_pages, 1000, 60);
}

typedef struct {
    char policy[20], load[60];
} Way;

ParameterizedTestParameters(simulate, every_policy_moves_every_guest)
{
    static Way rows[] = {
        {"ferry",          "uniform,size=64M,rate=16000" },
        {"ferry",          "zipf,size=64M,rate=16000"    },
        {"ferry",          "sweep,size=16M,rate=16000"   },
        {"ferry",          "hot-cold,size=64M,rate=16000"},
        {"ferry",          "idle"                        },
        {"fixed-rounds=3", "uniform,size=64M,rate=90000" },
        {"fixed-rounds=3", "idle"                        },
        {"qemu",           "uniform,size=64M,rate=16000" },
        {"qemu",           "idle"                        },
        {"qemu-7.2",       "zipf,size=64M,rate=16000"    },
    };
    return cr_make_param_array(Way, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Way *row, simulate, every_policy_moves_every_guest)
{
    FerryWorkload w;
    const char *why;

    cr_assert(ferry_workload_parse(row->load, 256 * MIB, &w, &why));
    FerrySimulation s = simulation(&w, row->policy);
    FerrySimResult r, again;
    memset(&r, 0, sizeof r);
    memset(&again, 0, sizeof again);
    cr_assert(ferry_simulate(&s, &r, NULL));
    cr_assert(ferry_simulate(&s, &again, NULL));
    cr_assert_eq(r.end, FERRY_SIM_DONE, "%s, %s: %s", row->policy, row->load,
                 ferry_sim_end_name(r.end));
    cr_expect_eq(memcmp(&r, &again, sizeof r), 0, "the same values give the same result");
    cr_expect_geq(r.sent_pages, 256 * MIB / 4096, "%s: all of it was sent", row->policy);
    cr_expect_gt(r.downtime_ns, 0);
    cr_expect_gt(r.total_ns, r.downtime_ns);
    /* The time is that of the bytes, and little else. */
    cr_expect_geq((double)r.total_ns, (double)r.wire_bytes / LINK * 1e9);
    s.seed = 2;
    cr_assert(ferry_simulate(&s, &again, NULL));
    cr_expect_neq(again.downtime_ns, 0);
}

static void count(void *self, const FerrySimRound *round)
{
    FerrySimRound *sum = self;

    cr_expect_eq(round->values.number, sum->values.number);
    sum->values.number++;
    sum->values.round_sent_bytes += round->values.round_sent_bytes;
    sum->sent_pages += round->sent_pages;
    sum->zero_pages += round->zero_pages;
}

Test(simulate, rounds_add_up)
{
    FerryWorkload w;
    const char *why;
    FerrySimRound sum = {0};
    FerrySimResult r;

    cr_assert(ferry_workload_parse("uniform,size=64M,rate=30000,zero=700", 256 * MIB, &w, &why));
    FerrySimulation s = simulation(&w, "fixed-rounds=5");
    s.round = count;
    s.self = &sum;
    cr_assert(ferry_simulate(&s, &r, NULL));
    cr_expect_eq(r.rounds, 6);
    cr_expect_eq(sum.values.number, 7); /* the first sync and the last */
    cr_expect_eq(r.sent_pages - sum.sent_pages + r.zero_pages - sum.zero_pages, r.residual_pages);
    cr_expect_gt(r.zero_pages, 49152 / 2);
    cr_expect_lt(r.wire_bytes, 256 * MIB);
}

Test(simulate, a_cap_holds_rounds_back_and_not_the_end)
{
    FerryWorkload w;
    const char *why;
    FerrySimResult free, capped;

    cr_assert(ferry_workload_parse("uniform,size=32M,rate=4000", 256 * MIB, &w, &why));
    FerrySimulation s = simulation(&w, "fixed-rounds=2");
    cr_assert(ferry_simulate(&s, &free, NULL));
    s.max_bandwidth = LINK / 4;
    cr_assert(ferry_simulate(&s, &capped, NULL));
    cr_expect_gt(capped.total_ns, 3 * free.total_ns);
    cr_expect_lt((double)capped.downtime_ns,
                 10e6 + (double)capped.residual_pages * 4104 / LINK * 1e9);
}

Test(simulate, patience_ends)
{
    FerryWorkload w;
    const char *why;
    FerrySimResult r;

    cr_assert(ferry_workload_parse("uniform,size=256M,rate=300000", 256 * MIB, &w, &why));
    FerrySimulation s = simulation(&w, "ferry");
    s.downtime_limit_ns = 10000000;
    s.max_ns = 5000000000;
    cr_assert(ferry_simulate(&s, &r, NULL));
    cr_expect_eq(r.end, FERRY_SIM_UNFINISHED);
    s.timeout = (FerryTimeout){.timeout_ns = 3000000000};
    cr_assert(ferry_simulate(&s, &r, NULL));
    cr_expect_eq(r.end, FERRY_SIM_GAVE_UP);
    cr_expect(r.timed_out);
    s.timeout.pause = TRUE;
    cr_assert(ferry_simulate(&s, &r, NULL));
    cr_expect_eq(r.end, FERRY_SIM_DONE);
    cr_expect(r.timed_out);
}

/* Writes at twice the link's rate over 64 MiB: no order of sending gets below 250 ms. */
static FerrySimResult stall(FerryOnStall on_stall)
{
    FerryWorkload w = {.n_groups = 1,
                       .groups = {{.pages = PAGES, .writes_per_second = 2 * LINK_PAGES}}};
    FerrySimulation s = simulation(&w, "ferry");
    FerrySimResult r;

    s.downtime_limit_ns = 100000000;
    s.on_stall = on_stall;
    s.max_ns = 20000000000;
    cr_assert(ferry_simulate(&s, &r, NULL));
    return r;
}

Test(simulate, a_guest_that_outruns_the_link_waits_for_ever)
{
    FerrySimResult r = stall(FERRY_ON_STALL_WAIT);

    cr_expect_eq(r.end, FERRY_SIM_UNFINISHED);
    cr_expect_eq(r.first_forecast.outlook, FERRY_OUTLOOK_STALLS);
    cr_expect_float_eq((double)r.last_forecast.floor_ns, 253e6, 50e6);
}

Test(simulate, a_throttled_guest_does_not_outrun_it)
{
    FerrySimResult r = stall(FERRY_ON_STALL_THROTTLE);

    cr_expect_eq(r.end, FERRY_SIM_DONE, "%s", ferry_sim_end_name(r.end));
    cr_expect_lt(r.downtime_ns, 110000000);
    cr_expect_gt(r.throttle_max_percent, 20);
    cr_expect_gt(r.throttle_percent_seconds, 1);
}

Test(simulate, a_stalled_guest_is_paused_near_the_floor)
{
    FerrySimResult r = stall(FERRY_ON_STALL_PAUSE);

    cr_expect_eq(r.end, FERRY_SIM_DONE, "%s", ferry_sim_end_name(r.end));
    cr_expect_eq(r.throttle_max_percent, 0);
    cr_expect_gt(r.downtime_ns, 200000000);
    cr_expect_lt(r.downtime_ns, 400000000);
}

Test(simulate, a_stalled_guest_stays_if_so_wanted)
{
    FerrySimResult r = stall(FERRY_ON_STALL_CANCEL);

    cr_expect_eq(r.end, FERRY_SIM_GAVE_UP, "%s", ferry_sim_end_name(r.end));
    cr_expect_not(r.timed_out);
}
