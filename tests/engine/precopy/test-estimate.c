#include <criterion/criterion.h>
#include "engine/precopy/estimate.h"

Test(estimate, scales_without_overflow)
{
    cr_expect_eq(ferry_scale(7, 3, 2), 10);
    cr_expect_eq(ferry_scale(UINT64_MAX, 1000, 1000), UINT64_MAX);
    cr_expect_eq(ferry_scale(UINT64_MAX, 3, 2), UINT64_MAX);
    cr_expect_eq(ferry_scale(1ull << 40, 1000000000, 1ull << 30), 1024000000000ull);
    cr_expect_eq(ferry_scale(0, 5, 9), 0);
}

Test(estimate, has_no_rate_without_a_sample)
{
    FerryRate r = {0};
    cr_expect_eq(ferry_rate_get(&r), 0);
    ferry_rate_add(&r, 4096, 0);
    cr_expect_eq(ferry_rate_get(&r), 0);
}

Test(estimate, a_steady_rate_is_found_exactly)
{
    FerryRate r = {0};
    for (unsigned i = 0; i < 1000; i++) {
        ferry_rate_add(&r, 1 << 20, 10000000); /* 1 MiB in 10 ms */
    }
    cr_expect_eq(ferry_rate_get(&r), 100u << 20);
}

Test(estimate, follows_a_link_that_slows_down)
{
    FerryRate r = {0};
    for (unsigned i = 0; i < 100; i++) {
        ferry_rate_add(&r, 10000000, 10000000); /* 1 GB/s for 1 s */
    }
    for (unsigned i = 0; i < 300; i++) {
        ferry_rate_add(&r, 1000000, 10000000); /* 0.1 GB/s for 3 s: six half-lives */
    }
    cr_expect_gt(ferry_rate_get(&r), 100000000);
    cr_expect_lt(ferry_rate_get(&r), 125000000);
}
