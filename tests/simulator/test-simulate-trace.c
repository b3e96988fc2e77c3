#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>
#include "simulator/models.h"
#include "simulator/simulate.h"
#include "tests/simulator/traces.h"
#include "trace/bounds.h"

#define MIB (UINT64_C(1) << 20)
#define PAGES 16384u /* 64 MiB */
#define LINK (128 * MIB)
#define LINK_PAGES (double)(LINK / 4104)
#define SECOND UINT64_C(1000000000)

static FerrySimulation simulation(const char *policy)
{
    FerrySimulation s = {
        .link = {.bytes_per_second = LINK, .round_trip_ns = 200000},
        .costs = FERRY_SIM_COSTS_DEFAULT,
        .downtime_limit_ns = 300000000,
        .max_ns = 60 * SECOND,
        .seed = 1
    };
    const char *why = "";

    cr_assert(ferry_policy_parse(policy, &s.policy, &why), "%s: %s", policy, why);
    return s;
}

static FerrySimResult simulate(const FerrySimulation *s)
{
    g_autoptr(GError) error = NULL;
    FerrySimResult r;

    memset(&r, 0, sizeof r);
    cr_assert(ferry_simulate(s, &r, &error), "%s", error ? error->message : "");
    return r;
}

typedef struct {
    double u, round_start, before_send;
} Residual;

/* As test-simulate.c has it of the model itself: frames short enough change nothing. */
ParameterizedTestParameters(simulate_trace, residuals)
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

static double residual(TestTrace *t, uint64_t chunk_bytes)
{
    FerrySimulation s = simulation("fixed-rounds=40");
    double left = 0;

    s.trace = t->reader;
    s.costs = (FerrySimCosts){.chunk_bytes = chunk_bytes};
    for (s.seed = 1; s.seed <= 2; s.seed++) {
        s.trace_start_ns = s.seed * SECOND;
        FerrySimResult r = simulate(&s);
        cr_assert_eq(r.end, FERRY_SIM_DONE);
        left += (double)r.residual_pages / PAGES / 2;
    }
    return left;
}

ParameterizedTest(Residual *row, simulate_trace, residuals)
{
    FerryWorkload w = {.n_groups = 1,
                       .groups = {{.pages = PAGES, .writes_per_second = row->u * LINK_PAGES}}};
    TestTrace t;

    trace_of_model(&t, &w, 5 * MS, 4 * SECOND, 9, TRUE);
    double all = residual(&t, 1024 * MIB), each = residual(&t, MIB / 4);
    cr_expect_float_eq(all, row->round_start, 0.01, "u=%g: %.3f left", row->u, all);
    cr_expect_float_eq(each, row->before_send, 0.01, "u=%g: %.3f left", row->u, each);
    trace_clear(&t);
}

typedef struct {
    char policy[20], load[60];
} Way;

/* The model that a trace was made of, and the trace: the mean of a few seeds. */
ParameterizedTestParameters(simulate_trace, a_trace_is_as_its_model)
{
    static Way rows[] = {
        {"ferry", "uniform,size=64M,rate=8000"         },
        {"qemu",  "uniform,size=64M,rate=8000"         },
        {"ferry", "hot-cold,size=96M,hot=4M,rate=30000"},
        {"qemu",  "hot-cold,size=96M,hot=4M,rate=30000"},
        {"ferry", "zipf,size=64M,rate=20000"           },
        {"qemu",  "sweep,size=128M,rate=5000"          },
        {"ferry", "postgres-4,rate=5000"               },
    };
    return cr_make_param_array(Way, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Way *row, simulate_trace, a_trace_is_as_its_model)
{
    double total[2] = {0}, bytes[2] = {0}, downtime[2] = {0}, rounds[2] = {0};
    FerryWorkload w;
    TestTrace t;

    cr_assert(ferry_model_parse(row->load, 256 * MIB, &w, NULL));
    trace_of_model(&t, &w, 10 * MS, 4 * SECOND, 5, TRUE);
    FerrySimulation s = simulation(row->policy);
    s.downtime_limit_ns = 100000000;
    for (s.seed = 1; s.seed <= 3; s.seed++) {
        for (unsigned i = 0; i < 2; i++) {
            s.workload = i ? NULL : &w;
            s.trace = i ? t.reader : NULL;
            s.trace_start_ns = i ? s.seed * SECOND : 0;
            FerrySimResult r = simulate(&s);
            cr_assert_eq(r.end, FERRY_SIM_DONE);
            total[i] += (double)r.total_ns / 3e6;
            bytes[i] += (double)r.wire_bytes / 3;
            downtime[i] += (double)r.downtime_ns / 3e6;
            rounds[i] += r.rounds / 3.0;
        }
    }
    cr_expect_float_eq(total[1] / total[0], 1, 0.03, "%s, %s: %.0f ms, %.0f", row->policy,
                       row->load, total[0], total[1]);
    cr_expect_float_eq(bytes[1] / bytes[0], 1, 0.03, "%s, %s", row->policy, row->load);
    cr_expect_float_eq(downtime[1], downtime[0], MAX(8, 0.15 * downtime[0]),
                       "%s, %s: %.1f, %.1f ms", row->policy, row->load, downtime[0], downtime[1]);
    cr_expect_float_eq(rounds[1], rounds[0], MAX(1.5, 0.1 * rounds[0]), "%s, %s: %.1f, %.1f",
                       row->policy, row->load, rounds[0], rounds[1]);
    trace_clear(&t);
}

Test(simulate_trace, the_same_seed_gives_the_same_result)
{
    FerryWorkload w;
    TestTrace t;

    cr_assert(ferry_model_parse("uniform,size=64M,rate=8000", 128 * MIB, &w, NULL));
    trace_of_model(&t, &w, 10 * MS, SECOND, 5, FALSE);
    FerrySimulation s = simulation("ferry");
    s.trace = t.reader;
    FerrySimResult a = simulate(&s), b = simulate(&s), c;
    cr_expect_eq(memcmp(&a, &b, sizeof a), 0);
    s.seed = 2;
    c = simulate(&s);
    cr_expect_neq(memcmp(&a, &c, sizeof a), 0, "another seed, another place within frames");
    trace_clear(&t);
}

/* In the throttled guest's own time so much less of the trace is played. */
Test(simulate_trace, a_throttle_slows_the_trace)
{
    FerryWorkload w = {.n_groups = 1,
                       .groups = {{.pages = 4096, .writes_per_second = 8 * LINK_PAGES}}};
    TestTrace t;

    trace_of_model(&t, &w, 10 * MS, SECOND, 5, TRUE);
    FerrySimulation s = simulation("qemu");
    s.trace = t.reader;
    s.downtime_limit_ns = 1 * MS;
    s.max_ns = 20 * SECOND + 500 * MS;
    FerrySimResult free = simulate(&s);
    cr_expect_eq(free.end, FERRY_SIM_UNFINISHED);
    cr_expect_eq(free.throttle_max_percent, 0);
    cr_expect_eq(free.trace_laps, 20, "%u", free.trace_laps);
    s.throttle_initial = 50;
    s.throttle_max = 50;
    s.throttle_trigger = 50;
    FerrySimResult half = simulate(&s);
    cr_expect_eq(half.end, FERRY_SIM_UNFINISHED);
    cr_expect_eq(half.throttle_max_percent, 50);
    double slowed_s = half.throttle_percent_seconds / 100;
    cr_expect_gt(slowed_s, 7);
    cr_expect_eq(half.trace_laps, (unsigned)((double)half.total_ns / 1e9 - slowed_s));
    trace_clear(&t);
}

Test(simulate_trace, a_trace_that_ends_ends_the_migration_if_so_wanted)
{
    FerryWorkload w = {.n_groups = 1,
                       .groups = {{.pages = PAGES, .writes_per_second = 3 * LINK_PAGES}}};
    g_autoptr(GError) error = NULL;
    FerrySimResult r;
    TestTrace t;

    trace_of_model(&t, &w, 10 * MS, 5 * SECOND, 5, TRUE);
    FerrySimulation s = simulation("qemu");
    s.trace = t.reader;
    s.trace_once = TRUE;
    s.trace_start_ns = 2 * SECOND;
    r = simulate(&s);
    cr_expect_eq(r.end, FERRY_SIM_UNFINISHED);
    cr_expect(r.trace_ended);
    cr_expect_float_eq((double)r.total_ns / 1e9, 3, 0.1);
    s.trace_start_ns = 6 * SECOND;
    cr_expect_not(ferry_simulate(&s, &r, &error));
    trace_clear(&t);
}

Test(simulate_trace, a_cut_trace_is_an_error_of_the_migration)
{
    FerrySimulation s = simulation("qemu");
    g_autoptr(GError) error = NULL;
    FerrySimResult r;
    TestTrace t;

    trace_begin(&t, PAGES);
    trace_frame(&t, 100 * MS, 10, 3, NULL, NULL);
    trace_open(&t, FALSE);
    s.trace = t.reader;
    cr_expect_not(ferry_simulate(&s, &r, &error));
    cr_expect(strstr(error->message, "cut"), "%s", error->message);
    trace_clear(&t);
}

Test(simulate_trace, nonsense_is_refused)
{
    FerryWorkload w = {.n_groups = 1, .groups = {{.pages = PAGES}}}, none = {0};
    FerrySimulation s = simulation("qemu");
    FerrySimResult r;

    cr_expect_not(ferry_simulate(&s, &r, NULL), "neither trace nor workload");
    s.workload = &none;
    cr_expect_not(ferry_simulate(&s, &r, NULL), "no page");
    s.workload = &w;
    s.link.bytes_per_second = 0;
    cr_expect_not(ferry_simulate(&s, &r, NULL), "no link");
}

/* What the wire carries of a page that packs, and what packing takes, both count. */
Test(simulate_trace, a_codec_saves_bytes_and_costs_time)
{
    FerryWorkload w = {.n_groups = 1, .groups = {{.pages = PAGES, .packed_permille = 500}}};
    FerrySimulation s = simulation("fixed-rounds=1");
    FerrySimResult plain, quick, slow;
    TestTrace t;

    trace_of_model(&t, &w, 100 * MS, SECOND, 5, TRUE);
    s.trace = t.reader;
    plain = simulate(&s);
    cr_expect_eq(plain.packed_pages, 0);
    s.codec = (FerrySimCodec){.kind = FERRY_SIM_CODEC_ZSTD, .page_ns = 1000};
    quick = simulate(&s);
    cr_expect_eq(quick.packed_pages, PAGES);
    cr_expect_float_eq((double)quick.wire_bytes / (double)plain.wire_bytes, 0.5, 0.01);
    cr_expect_float_eq((double)quick.total_ns / (double)plain.total_ns, 0.5, 0.05);
    s.codec.page_ns = 100000;
    slow = simulate(&s);
    cr_expect_eq(slow.wire_bytes, quick.wire_bytes);
    cr_expect_float_eq((double)slow.total_ns / 1e9, PAGES * 100e-6, 0.1, "%g s",
                       (double)slow.total_ns / 1e9);
    trace_clear(&t);
}

/* Half of the time at half of the rate. */
Test(simulate_trace, a_link_that_changes_takes_longer)
{
    FerryWorkload w = {.n_groups = 1, .groups = {{.pages = 4 * PAGES}}};
    FerrySimLinkStep steps[] = {
        {100 * MS, LINK / 2}
    };
    FerrySimulation s = simulation("qemu");

    s.workload = &w;
    FerrySimResult steady = simulate(&s);
    s.link.steps = steps;
    s.link.n_steps = 1;
    s.link.repeat_ns = 200 * MS;
    FerrySimResult changing = simulate(&s);
    cr_expect_eq(changing.wire_bytes, steady.wire_bytes);
    cr_expect_float_eq((double)changing.total_ns / (double)steady.total_ns, 4.0 / 3, 0.05);
}

/* What is left at the end of the last whole frame before the pause, less what can go until then. */
static uint64_t least_left(TestTrace *t, uint64_t pages, uint64_t from_ns, uint64_t at_ns)
{
    FerryBoundsInput input = {.bytes_per_second = LINK, .downtime_limit_ns = 1};
    g_autoptr(FerryBounds) bounds = ferry_bounds_new(pages, 4096, NULL, &input);
    uint64_t end_ns = from_ns;
    FerryTraceFrame frame;

    ferry_trace_reader_rewind(t->reader);
    while (ferry_trace_reader_next(t->reader, &frame, NULL) == FERRY_TRACE_FRAME &&
           frame.begin_ns + frame.span_ns <= at_ns) {
        if (frame.begin_ns >= from_ns) {
            cr_assert(ferry_bounds_frame(bounds, &frame));
            end_ns = frame.begin_ns + frame.span_ns;
        }
    }
    uint64_t least = ferry_bounds_residual(bounds).low, gone = (at_ns - end_ns) * LINK / SECOND;
    return least - MIN(gone, least);
}

/* Whoever decides, and wherever the migration begins: nobody is better than what nobody can beat.
 * Without CPU time or anything else that is in the way the link is used all the time. */
ParameterizedTestParameters(simulate_trace, nobody_beats_the_bound)
{
    static Way rows[] = {
        {"ferry",           "uniform,size=64M,rate=40000"           },
        {"fixed-rounds=3",  "uniform,size=64M,rate=40000"           },
        {"fixed-rounds=20", "sweep,size=64M,rate=50000"             },
        {"fixed-rounds=9",  "hot-cold,size=96M,hot=8M,rate=60000"   },
        {"qemu",            "sweep,size=32M,rate=20000"             },
        {"fixed-rounds=5",  "mm-dirty,size=50,rate=200,pattern=once"},
    };
    return cr_make_param_array(Way, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Way *row, simulate_trace, nobody_beats_the_bound)
{
    FerryWorkload w;
    TestTrace t;

    cr_assert(ferry_model_parse(row->load, 128 * MIB, &w, NULL));
    trace_of_model(&t, &w, 10 * MS, 10 * SECOND, 5, TRUE);
    FerrySimulation s = simulation(row->policy);
    s.costs = (FerrySimCosts){.gather_pages = 128};
    s.link.round_trip_ns = 0;
    s.trace = t.reader;
    s.on_stall = FERRY_ON_STALL_PAUSE;
    for (unsigned i = 0; i < 2; i++) {
        s.trace_start_ns = i * SECOND;
        FerrySimResult r = simulate(&s);
        cr_assert_eq(r.end, FERRY_SIM_DONE, "%s, %s", row->policy, row->load);
        cr_assert_lt(r.pause_at_guest_ns, 10 * SECOND);
        uint64_t least =
            least_left(&t, ferry_workload_pages(&w), s.trace_start_ns, r.pause_at_guest_ns);
        uint64_t left = r.residual_pages * 4104;
        cr_expect_geq(left + 128 * 4104, least,
                      "%s, %s: %" G_GUINT64_FORMAT " < %" G_GUINT64_FORMAT, row->policy, row->load,
                      left, least);
    }
    trace_clear(&t);
}
