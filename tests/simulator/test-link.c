#include "simulator/link.h"
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#define SECOND UINT64_C(1000000000)

typedef struct {
    double from_s, bytes, gone_s;
} Row;

/* 1000 bytes/s; from 2 s on nothing, from 3 s on 500; again every 10 s. */
static const FerrySimLinkStep steps[] = {
    {2 * SECOND, 0  },
    {3 * SECOND, 500},
};

ParameterizedTestParameters(link, takes_as_long_as_its_rates_say)
{
    static Row rows[] = {
        {0,   1000,  1 },
        {0,   2000,  2 },
        {0,   2500,  4 },
        {1.5, 500,   2 },
        {2.5, 1000,  5 },
        {3,   3500,  10},
        {9,   1500,  11},
        {0,   5500,  10},
        {0,   11000, 20},
        {12,  500,   14},
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Row *row, link, takes_as_long_as_its_rates_say)
{
    FerrySimLink link = {
        .bytes_per_second = 1000, .steps = steps, .n_steps = 2, .repeat_ns = 10 * SECOND};

    cr_assert_null(ferry_sim_link_check(&link));
    cr_expect_float_eq(ferry_sim_link_gone(&link, 1, row->from_s * 1e9, row->bytes) / 1e9,
                       row->gone_s, 1e-6, "%g bytes from %g s", row->bytes, row->from_s);
}

Test(link, a_last_step_stays)
{
    FerrySimLink link = {.bytes_per_second = 1000, .steps = steps, .n_steps = 2};

    cr_expect_float_eq(ferry_sim_link_gone(&link, 1, 0, 10000) / 1e9, 19, 1e-6);
}

/* Over long the deviations even out, and each stays within what was said. */
Test(link, jitter_keeps_the_mean)
{
    FerrySimLink link = {.bytes_per_second = 1000000, .jitter_permille = 300};
    uint64_t until;

    cr_expect_float_eq(ferry_sim_link_gone(&link, 3, 0, 1e9) / 1e9, 1000, 10);
    for (uint64_t t = 0; t < 100; t++) {
        double rate = ferry_sim_link_rate(&link, 3, t * 50000000, &until);
        cr_expect(rate >= 700000 && rate <= 1300000);
        cr_expect_eq(until, (t / 2 + 1) * 100000000);
    }
}

Test(link, what_never_delivers_is_refused)
{
    FerrySimLinkStep back[] = {
        {3, 1},
        {2, 1}
    };
    FerrySimLinkStep off[] = {
        {3, 0}
    };
    FerrySimLink none = {0}, backwards = {.bytes_per_second = 1, .steps = back, .n_steps = 2};
    FerrySimLink ends = {.bytes_per_second = 1, .steps = off, .n_steps = 1};
    FerrySimLink early = {.bytes_per_second = 1, .steps = off, .n_steps = 1, .repeat_ns = 3};
    FerrySimLink wild = {.bytes_per_second = 1, .jitter_permille = 1000};
    FerrySimLink fine = {.bytes_per_second = 1, .steps = off, .n_steps = 1, .repeat_ns = 4};

    cr_expect_not_null(ferry_sim_link_check(&none));
    cr_expect_not_null(ferry_sim_link_check(&backwards));
    cr_expect_not_null(ferry_sim_link_check(&ends));
    cr_expect_not_null(ferry_sim_link_check(&early));
    cr_expect_not_null(ferry_sim_link_check(&wild));
    cr_expect_null(ferry_sim_link_check(&fine));
}
