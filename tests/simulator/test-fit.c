#include "simulator/fit.h"
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#define RAM 65536u

/* What somebody who measures @w sees. */
static FerryObserved look(const FerryWorkload *w, const double *seconds, unsigned n)
{
    FerryObserved o = {.ram_pages = RAM, .n_curves = 1};

    for (unsigned i = 0; i < n; i++) {
        o.curves[0].windows[i].seconds = seconds[i];
        o.curves[0].windows[i].pages = ferry_workload_written(w, seconds[i]);
    }
    o.curves[0].n_windows = n;
    return o;
}

static const double series[] = {0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5};

typedef struct {
    char load[50];
} Row;

ParameterizedTestParameters(fit, finds_the_guest_again)
{
    static Row rows[] = {
        {"uniform,size=64M,rate=16384"},
        {"uniform,size=16M,rate=30000"},
        {"hot-cold,size=64M,hot=4M,share=80,rate=20000"},
        {"hot-cold,size=128M,hot=8M,share=90,rate=80000"},
        {"zipf,size=64M,rate=16384"},
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Row *row, fit, finds_the_guest_again)
{
    FerryWorkload truth, fitted;
    const char *why;

    cr_assert(ferry_workload_parse(row->load, RAM * 4096u, &truth, &why));
    FerryObserved o = look(&truth, series, G_N_ELEMENTS(series));
    for (uint64_t seed = 0; seed < 5; seed++) {
        ferry_fit_workload(&o, seed, &fitted);
        cr_expect_eq(ferry_workload_pages(&fitted), RAM);
        for (double t = 0.03; t < 1; t *= 1.7) {
            double is = ferry_workload_written(&fitted, t), was = ferry_workload_written(&truth, t);
            double off = is / was - 1;
            cr_expect(off < 0.12 && off > -0.12, "%s, seed %u: %g pages in %g s, not %g", row->load,
                      (unsigned)seed, is, t, was);
        }
    }
    /* And the bound that follows, where the windows reach far enough to tell. */
    ferry_fit_workload(&o, 0, &fitted);
    double is = ferry_workload_floor_pages(&fitted, 8192, 1);
    double was = ferry_workload_floor_pages(&truth, 8192, 1);
    cr_expect(is <= 1.25 * was + 600 && is >= 0.75 * was - 600, "%s: floor %g, not %g", row->load,
              is, was);
}

Test(fit, a_seed_determines_the_model)
{
    FerryWorkload truth, a, b;
    const char *why;

    cr_assert(ferry_workload_parse("uniform,size=64M,rate=16384", RAM * 4096u, &truth, &why));
    FerryObserved o = look(&truth, series, 4);
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    ferry_fit_workload(&o, 7, &a);
    ferry_fit_workload(&o, 7, &b);
    cr_expect_eq(memcmp(&a, &b, sizeof a), 0);
    ferry_fit_workload(&o, 8, &b);
    cr_expect_neq(memcmp(&a, &b, sizeof a), 0);
}

/* One window of a second does not tell how often those pages are written. */
Test(fit, what_is_not_known_differs)
{
    FerryWorkload truth, w;
    const char *why;
    double one[] = {1.0}, least = 1e18, most = 0;

    cr_assert(ferry_workload_parse("uniform,size=16M,rate=65536", RAM * 4096u, &truth, &why));
    FerryObserved o = look(&truth, one, 1);
    for (uint64_t seed = 1; seed < 20; seed++) {
        ferry_fit_workload(&o, seed, &w);
        double pages = ferry_workload_written(&w, 0.05);
        least = MIN(least, pages);
        most = MAX(most, pages);
    }
    cr_expect_gt(most, 1.5 * least);
}

Test(fit, zeros_lie_where_nobody_writes)
{
    FerryWorkload truth, w;
    const char *why;

    cr_assert(ferry_workload_parse("uniform,size=64M,rate=16384", RAM * 4096u, &truth, &why));
    FerryObserved o = look(&truth, series, 7);
    o.zero_pages = 30000;
    o.wire_permille = 400;
    ferry_fit_workload(&o, 0, &w);
    double zeros = 0;
    for (unsigned i = 0; i < w.n_groups; i++) {
        zeros += (double)w.groups[i].pages * w.groups[i].zero_permille / 1000;
        cr_expect_eq(w.groups[i].wire_permille, 400);
    }
    cr_expect_float_eq(zeros, 30000, 100);
    cr_expect_eq(w.groups[0].zero_permille, 0);
    cr_expect_gt(w.groups[w.n_groups - 1].zero_permille, 500);
}

Test(fit, what_slipped_is_put_in_order)
{
    FerryObserved o = {
        .ram_pages = 100,
        .n_curves = 1,
        .curves = {
            {.n_windows = 5, .windows = {{0.1, 10}, {0.2, 5}, {0.2, 50}, {0.3, 400}, {0.1, 1}}}}};

    ferry_observed_tidy(&o);
    cr_assert_eq(o.curves[0].n_windows, 3);
    cr_expect_eq(o.curves[0].windows[1].pages, 10);
    cr_expect_eq(o.curves[0].windows[2].seconds, 0.3);
    cr_expect_eq(o.curves[0].windows[2].pages, 100);
}

typedef struct {
    double u, speed, left;
} Floor;

ParameterizedTestParameters(fit, floors)
{
    static Floor rows[] = {
        {0.5,  1,   0  },
        {1,    1,   0  },
        {1.25, 1,   0.2},
        {2,    1,   0.5},
        {2,    0.5, 0  },
        {4,    0.5, 0.5},
        {1e9,  1,   1  },
    };
    return cr_make_param_array(Floor, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Floor *row, fit, floors)
{
    FerryWorkload w = {
        .n_groups = 3,
        .groups = {{.pages = 500, .writes_per_second = 1e15},
                   {.pages = 5000, .writes_per_second = row->u * 1000},
                   {.pages = 9000}}
    };
    double floor = ferry_workload_floor_pages(&w, 1000, row->speed);

    cr_expect_float_eq(floor, 500 + 5000 * row->left, 1, "u=%g: %g", row->u, floor);
}
