/* Forecasts against closed forms, and against the fluid they integrate, stepped in small steps. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include "engine/precopy/forecast.h"

#define MS UINT64_C(1000000)
#define PAGE 4096u
#define LINK 16384 /* pages per second: 64 MiB/s */

/* Groups of pages, coldest first, all seen and known well. */
typedef struct {
    double pages, rate;
} Group;

static FerryCensus census_of(const Group *groups, unsigned n, uint64_t never)
{
    FerryCensus c = {.never = never, .known_permille = 1000, .hits = 1e6, .watched_seconds = 10};

    for (unsigned i = 0; i < n; i++) {
        c.pages[10 + 8 * i] = (uint64_t)groups[i].pages;
        c.writes_per_second[10 + 8 * i] = groups[i].rate;
        c.known_permille_of[10 + 8 * i] = 1000;
        c.unwritten[10 + 8 * i] = (uint64_t)groups[i].pages;
    }
    return c;
}

static FerryForecastInput input_of(uint64_t pending, uint64_t unsent, uint64_t limit_ms)
{
    return (FerryForecastInput){.pending_pages = pending,
                                .unsent_pages = unsent,
                                .capped_bytes_per_second = LINK * PAGE,
                                .uncapped_bytes_per_second = LINK * PAGE,
                                .wire_permille = 1000,
                                .unsent_wire_permille = 1000,
                                .downtime_limit_ns = limit_ms * MS};
}

typedef struct {
    double u, expected; /* of the working set */
} Uniform;

ParameterizedTestParameters(forecast, uniform_writes_leave_what_the_link_cannot_repair)
{
    static Uniform rows[] = {
        {0.5,  0     },
        {1,    0     },
        {1.1,  0.0909},
        {1.25, 0.2   },
        {1.5,  0.3333},
        {2,    0.5   },
        {4,    0.75  },
        {10,   0.9   }
    };
    return cr_make_param_array(Uniform, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Uniform *row, forecast, uniform_writes_leave_what_the_link_cannot_repair)
{
    Group g = {16384, row->u};
    FerryCensus census = census_of(&g, 1, 49152);
    FerryForecastInput in = input_of(65536, 65536, 100000);
    FerryForecast f = ferry_forecast(&census, &in);
    double floor = ferry_forecast_floor_pages(&census, LINK, 1) / 16384;

    cr_expect(fabs(floor - row->expected) < 1e-3, "%f, not %f", floor, row->expected);
    cr_expect(fabs((double)f.floor_pages / 16384 - row->expected) < 1e-3);
    cr_expect(fabs((double)f.floor_ns / 1e9 - row->expected) < 1e-3, "at a second for all of it");
}

Test(forecast, hot_pages_are_given_up_first)
{
    Group two[] = {
        {15384, 0.8 * LINK / 15384},
        {500,   100               }
    };
    FerryCensus census = census_of(two, 2, 1000);
    double expected = 500 - 0.2 * LINK / 100;

    cr_expect_float_eq(ferry_forecast_floor_pages(&census, LINK, 1), expected, 1);
    /* At half the speed the link repairs twice as many of them. */
    expected = 500 - 0.6 * LINK / 50;
    cr_expect_float_eq(ferry_forecast_floor_pages(&census, LINK, 0.5), expected, 1);
}

typedef struct {
    char what[40];
    double u;
    unsigned known, unsent_permille;
    uint64_t limit_ms, fixed_ms, margin_ms;
    FerryOutlook expected;
} Look;

/* 16384 pages: the floor is 1000 ms times (1 - 1 / u). */
ParameterizedTestParameters(forecast, judges)
{
    static Look rows[] = {
        {"fits",                      0.8, 1000, 0,    100, 0,   0,  FERRY_OUTLOOK_MEETS  },
        {"fits, whatever is unknown", 0.8, 100,  1000, 100, 0,   0,  FERRY_OUTLOOK_MEETS  },
        {"the floor fits",            1.5, 1000, 0,    350, 0,   0,  FERRY_OUTLOOK_MEETS  },
        {"the floor does not",        1.5, 1000, 0,    320, 0,   0,  FERRY_OUTLOOK_STALLS },
        {"fixed parts do not",        1.5, 1000, 0,    350, 30,  0,  FERRY_OUTLOOK_STALLS },
        {"the margin does not",       1.5, 1000, 0,    350, 0,   30, FERRY_OUTLOOK_STALLS },
        {"nearly, early in a pass",   1.5, 1000, 900,  320, 0,   0,  FERRY_OUTLOOK_UNKNOWN},
        {"by far, early in a pass",   4,   1000, 900,  320, 0,   0,  FERRY_OUTLOOK_STALLS },
        {"nearly, hardly known",      1.5, 500,  0,    350, 0,   0,  FERRY_OUTLOOK_UNKNOWN},
        {"nearly, hardly known",      1.5, 500,  0,    320, 0,   0,  FERRY_OUTLOOK_UNKNOWN},
        {"only fixed parts",          0.1, 1000, 0,    100, 101, 0,  FERRY_OUTLOOK_STALLS },
        {"no limit is met",           1.5, 1000, 0,    0,   0,   0,  FERRY_OUTLOOK_STALLS },
    };
    return cr_make_param_array(Look, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Look *row, forecast, judges)
{
    Group g = {16384, row->u};
    FerryCensus census = census_of(&g, 1, 49152);
    FerryForecastInput in = input_of(65536, 65536u * row->unsent_permille / 1000, row->limit_ms);

    census.known_permille_of[10] = row->known;
    in.fixed_ns = row->fixed_ms * MS;
    in.margin_ns = row->margin_ms * MS;
    FerryForecast f = ferry_forecast(&census, &in);
    cr_expect_eq(f.outlook, row->expected, "%s: %s", row->what, ferry_outlook_name(f.outlook));
    cr_expect(f.outlook == FERRY_OUTLOOK_MEETS || f.finish_ns == UINT64_MAX, "%s", row->what);
    if (f.outlook == FERRY_OUTLOOK_STALLS) {
        cr_expect_eq(f.downtime_ns, f.floor_ns, "%s", row->what);
    }
}

Test(forecast, says_nothing_without_a_rate_or_a_look)
{
    FerryCensus census = {.never = 65536};
    FerryForecastInput in = input_of(65536, 65536, 300);
    FerryForecast f = ferry_forecast(&census, &in);

    cr_expect_eq(f.outlook, FERRY_OUTLOOK_UNKNOWN);
    cr_expect_eq(f.finish_ns, UINT64_MAX);
    census.watched_seconds = 0.02; /* a link's worth of writes would have been seen by now */
    cr_expect_eq(ferry_forecast(&census, &in).outlook, FERRY_OUTLOOK_MEETS);
    in.uncapped_bytes_per_second = 0;
    f = ferry_forecast(&census, &in);
    cr_expect_eq(f.outlook, FERRY_OUTLOOK_UNKNOWN);
    cr_expect_eq(f.downtime_ns, UINT64_MAX);
}

Test(forecast, an_idle_guest_takes_as_long_as_its_memory)
{
    FerryCensus census = {.never = 65536, .watched_seconds = 1};
    FerryForecastInput in = input_of(65536, 65536, 300);

    in.fixed_ns = 20 * MS;
    FerryForecast f = ferry_forecast(&census, &in);
    cr_expect_float_eq((double)f.finish_ns / 1e9, 4 - 0.28, 0.01);
    cr_expect(f.downtime_ns <= 300 * MS && f.downtime_ns >= 250 * MS);
    cr_expect_eq(f.throttle_percent, 0);
    in.unsent_wire_permille = 10; /* zeros */
    f = ferry_forecast(&census, &in);
    cr_expect_float_eq((double)f.finish_ns / 1e9, 0, 0.01);
    cr_expect_float_eq((double)f.downtime_ns / 1e9, 0.06, 0.02);
    in.unsent_wire_permille = 1000;
    in.pending_pages = in.unsent_pages = 1000;
    f = ferry_forecast(&census, &in);
    cr_expect_eq(f.finish_ns, 0);
}

/* The coldest first, in steps of half a millisecond. */
static double step_through(const Group *groups, unsigned n, double never, double fits)
{
    double dirty[4], unsent[4], unsent_never = never, t = 0;

    for (unsigned i = 0; i < n; i++) {
        dirty[i] = 0;
        unsent[i] = groups[i].pages;
    }
    for (; t < 100; t += 5e-4) {
        double left = LINK * 5e-4, all = unsent_never, pending;
        for (unsigned i = 0; i < n; i++) {
            all += unsent[i];
        }
        pending = all;
        double share = all > 0 ? MIN(left / all, 1) : 0;
        left -= share * all;
        unsent_never -= share * unsent_never;
        for (unsigned i = 0; i < n; i++) {
            pending += dirty[i];
            double clean = groups[i].pages - dirty[i] - unsent[i], written = groups[i].rate * 5e-4;
            double found = unsent[i] * (1 - share) * written + clean * written;
            unsent[i] *= (1 - share) * (1 - written);
            double sent = MIN(left, dirty[i]);
            dirty[i] += found - sent;
            left -= sent;
        }
        if (pending <= fits) {
            return t;
        }
    }
    return -1;
}

typedef struct {
    char what[32];
    Group groups[3];
    unsigned n;
    uint64_t limit_ms;
} Course;

ParameterizedTestParameters(forecast, foresees_the_end)
{
    static Course rows[] = {
        {"u = 0.5",        {{16384, 0.5}},                         1, 300},
        {"u = 0.5",        {{16384, 0.5}},                         1, 50 },
        {"u = 0.8",        {{16384, 0.8}},                         1, 100},
        {"u = 1.1",        {{16384, 1.1}},                         1, 150},
        {"u = 1.5",        {{16384, 1.5}},                         1, 600},
        {"all of it",      {{65536, 0.1}},                         1, 300},
        {"hot and cold",   {{14384, 0.9}, {2000, 50}},             2, 200},
        {"in three kinds", {{40000, 0.1}, {10000, 1}, {3000, 20}}, 3, 300},
    };
    return cr_make_param_array(Course, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Course *c, forecast, foresees_the_end)
{
    double never = 65536;
    for (unsigned i = 0; i < c->n; i++) {
        never -= c->groups[i].pages;
    }
    FerryCensus census = census_of(c->groups, c->n, (uint64_t)never);
    FerryForecastInput in = input_of(65536, 65536, c->limit_ms);
    FerryForecast f = ferry_forecast(&census, &in);
    double exact = step_through(c->groups, c->n, never, (double)c->limit_ms / 1000 * LINK);

    cr_expect_eq(f.outlook, FERRY_OUTLOOK_MEETS, "%s", c->what);
    cr_expect(fabs((double)f.finish_ns / 1e9 - exact) < 0.05 * exact, "%s: %.3f s, not %.3f",
              c->what, (double)f.finish_ns / 1e9, exact);
    cr_expect(f.downtime_ns <= c->limit_ms * MS && f.downtime_ns >= c->limit_ms * MS * 8 / 10,
              "%s: %.1f ms", c->what, (double)f.downtime_ns / 1e6);
}

Test(forecast, throttles_as_little_as_will_do)
{
    Group g = {16384, 2};
    FerryCensus census = census_of(&g, 1, 49152);
    FerryForecastInput in = input_of(65536, 0, 200);
    /* W (1 - 1 / 2x) = 0.2 W at x = 0.625; nine tenths of that. */
    FerryForecast f = ferry_forecast(&census, &in);

    cr_expect_eq(f.throttle_percent, 44, "%u", f.throttle_percent);
    in.throttle_percent = f.throttle_percent;
    f = ferry_forecast(&census, &in);
    cr_expect_eq(f.outlook, FERRY_OUTLOOK_MEETS);
    cr_expect_eq(f.throttle_percent, 44, "of the guest at full speed");
    cr_expect_float_eq((double)f.floor_ns / 1e9, 0.5, 1e-3, "of the guest at full speed");
    cr_expect_lt(f.finish_ns, UINT64_MAX);
    in.downtime_limit_ns = 600 * MS;
    cr_expect_eq(ferry_forecast(&census, &in).throttle_percent, 0);
    g.rate = 1e6;
    census = census_of(&g, 1, 49152);
    cr_expect_eq(ferry_forecast(&census, &in).throttle_percent, 100, "99 is too little");
    in.downtime_limit_ns = 5 * MS;
    in.fixed_ns = 6 * MS;
    g.rate = 2;
    census = census_of(&g, 1, 49152);
    cr_expect_geq(ferry_forecast(&census, &in).throttle_percent, 44);
}

Test(forecast, tells_the_link_that_would_do)
{
    Group g = {16384, 2};
    FerryCensus census = census_of(&g, 1, 49152);
    FerryForecastInput in = input_of(65536, 0, 200);
    FerryForecast f = ferry_forecast(&census, &in);
    double needed = (double)f.needed_bytes_per_second;

    in.capped_bytes_per_second = in.uncapped_bytes_per_second = (uint64_t)(needed * 1.01);
    cr_expect_eq(ferry_forecast(&census, &in).outlook, FERRY_OUTLOOK_MEETS);
    in.capped_bytes_per_second = in.uncapped_bytes_per_second = (uint64_t)(needed * 0.97);
    cr_expect_eq(ferry_forecast(&census, &in).outlook, FERRY_OUTLOOK_STALLS);
    in.fixed_ns = 200 * MS;
    cr_expect_eq(ferry_forecast(&census, &in).needed_bytes_per_second, UINT64_MAX);
}

Test(forecast, the_cap_holds_back_rounds_and_not_the_last_copy)
{
    Group g = {16384, 1};
    FerryCensus census = census_of(&g, 1, 49152);
    FerryForecastInput in = input_of(65536, 0, 200);

    in.capped_bytes_per_second /= 2; /* half of the pages stay dirty */
    FerryForecast f = ferry_forecast(&census, &in);
    cr_expect_float_eq((double)f.floor_ns / 1e9, 0.5, 1e-3);
    in.uncapped_bytes_per_second *= 4;
    f = ferry_forecast(&census, &in);
    cr_expect_float_eq((double)f.floor_ns / 1e9, 0.125, 1e-3);
    cr_expect_eq(f.outlook, FERRY_OUTLOOK_MEETS);
    in.rate_permille_p5 = 500; /* it may be half that rate */
    cr_expect_eq(ferry_forecast(&census, &in).outlook, FERRY_OUTLOOK_STALLS);
    in.rate_permille_p5 = 1000;
    in.wire_permille = 250; /* packed to a quarter: all of it is repaired */
    cr_expect_eq(ferry_forecast(&census, &in).floor_pages, 0);
}

Test(forecast, survives_what_cannot_be)
{
    static const uint64_t odd[] = {0, 1, UINT64_MAX / 2, UINT64_MAX};
    Group g[] = {
        {1e15, 1e-5},
        {1,    1e5 }
    };

    for (unsigned i = 0; i < 4 * 4 * 4 * 4; i++) {
        FerryCensus census = census_of(g, 2, odd[i % 4]);
        FerryForecastInput in = {.pending_pages = odd[i / 4 % 4],
                                 .unsent_pages = odd[i / 16 % 4],
                                 .capped_bytes_per_second = odd[i / 64],
                                 .uncapped_bytes_per_second = odd[(i + 1) % 4],
                                 .wire_permille = odd[(i / 2) % 4],
                                 .unsent_wire_permille = odd[(i / 3) % 4],
                                 .fixed_ns = odd[(i / 5) % 4],
                                 .margin_ns = odd[(i / 7) % 4],
                                 .downtime_limit_ns = odd[(i / 11) % 4],
                                 .throttle_percent = i};
        FerryForecast f = ferry_forecast(&census, &in);
        cr_expect_lt(f.outlook, FERRY_N_OUTLOOKS);
        cr_expect_leq(f.throttle_percent, 100);
    }
}

Test(forecast, outlooks_have_names)
{
    cr_expect_str_eq(ferry_outlook_name(FERRY_OUTLOOK_STALLS), "stalls");
    cr_expect_str_eq(ferry_outlook_name(FERRY_N_OUTLOOKS), "unknown");
}
