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
        ferry_rate_add(&r, 1000000, 10000000); /* 0.1 GB/s for 3 s */
    }
    cr_expect_eq(ferry_rate_get(&r), 100000000);
}

Test(estimate, a_steady_rate_has_no_spread)
{
    FerryRate r = {0};

    cr_expect_eq(ferry_rate_permille_p5(&r), 1000);
    for (unsigned i = 0; i < 100; i++) {
        ferry_rate_add(&r, 1 << 20, 10000000);
    }
    cr_expect_eq(ferry_rate_permille_p5(&r), 1000);
}

Test(estimate, a_rate_that_varies_is_known_to_be_less_at_times)
{
    static const uint64_t bytes[] = {4500000, 5000000, 5200000, 4800000, 5500000,
                                     4700000, 5100000, 4900000, 5300000}; /* 90 to 110 MB/s */
    FerryRate r = {0};

    for (unsigned i = 0; i < 90; i++) {
        ferry_rate_add(&r, bytes[i % 9], 50000000);
    }
    cr_expect_eq(ferry_rate_get(&r), 100000000);
    cr_expect_eq(ferry_rate_permille_p5(&r), 893); /* the second slowest is off by 6 % */
}

Test(estimate, a_moment_in_which_all_stood_still_is_no_rate)
{
    FerryRate r = {0};

    for (unsigned i = 0; i < 8; i++) {
        ferry_rate_add(&r, 5000000, 50000000);
    }
    ferry_rate_add(&r, 5000000, 2000000000);
    cr_expect_eq(ferry_rate_get(&r), 100000000);
    cr_expect_eq(ferry_rate_permille_p5(&r), 1000);
}

Test(estimate, a_rate_that_breaks_down_at_times_is_not_taken_for_nothing)
{
    FerryRate r = {0};

    for (unsigned i = 0; i < 99; i++) {
        ferry_rate_add(&r, i % 3 ? 10000000 : 0, 50000000);
    }
    cr_expect_eq(ferry_rate_get(&r), 200000000);
    cr_expect_eq(ferry_rate_permille_p5(&r), 250);
}

Test(estimate, short_samples_make_a_piece_together)
{
    FerryRate r = {0};

    for (unsigned i = 0; i < 1000; i++) { /* 1 ms each, four times as fast as the other half */
        ferry_rate_add(&r, i % 2 ? 40000 : 160000, 1000000);
    }
    cr_expect_eq(ferry_rate_get(&r), 100000000);
    cr_expect_eq(ferry_rate_permille_p5(&r), 1000);
}

Test(estimate, a_sample_may_be_a_piece)
{
    FerryRate r = {0};

    for (unsigned i = 0; i < 9; i++) {
        ferry_rate_add(&r, 1000000, i % 3 ? 1000000 : 20000000);
        ferry_rate_end_piece(&r);
        ferry_rate_end_piece(&r); /* of nothing is none */
    }
    cr_expect_eq(ferry_rate_get(&r), 1000000000);
}

Test(estimate, a_spread_has_a_margin_from_the_second_sample_on)
{
    FerrySpread s = {0};

    ferry_spread_add(&s, 10);
    cr_expect_eq(ferry_spread_margin(&s), 0);
    ferry_spread_add(&s, 20);
    cr_expect_eq(s.mean, 15);
    cr_expect_gt(ferry_spread_margin(&s), 10);
    for (unsigned i = 0; i < 200; i++) {
        ferry_spread_add(&s, 12);
    }
    cr_expect(s.mean > 11.99 && s.mean < 12.01, "%f", s.mean);
    cr_expect(ferry_spread_margin(&s) < 0.01, "%f", ferry_spread_margin(&s));
}

Test(estimate, a_share_is_of_what_was_seen_last)
{
    FerryShare s = {0};

    cr_expect_eq(ferry_share_get(&s, 1000, 64, 7), 7);
    ferry_share_add(&s, 10, 32, 4096);
    cr_expect_eq(ferry_share_get(&s, 1000, 64, 7), 7, "too little was seen");
    ferry_share_add(&s, 22, 32, 4096);
    double now = ferry_share_get(&s, 1000, 60, 7);
    cr_expect(now > 499 && now < 503, "%f", now);
    for (unsigned i = 0; i < 1000; i++) {
        ferry_share_add(&s, 64, 64, 4096);
    }
    now = ferry_share_get(&s, 1000, 64, 7);
    cr_expect(now > 999 && now < 1001, "%f", now);
}
