#include "transport/bucket.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#define SECOND ((uint64_t)1000000000)

Test(bucket, without_a_limit_grants_everything)
{
    FerryBucket b;
    uint64_t at;

    ferry_bucket_init(&b, 0, 5);
    cr_expect_eq(ferry_bucket_grant(&b, UINT64_MAX, 5, &at), UINT64_MAX);
}

Test(bucket, begins_empty_and_says_when_a_piece_may_go)
{
    FerryBucket b;
    uint64_t at = 0;

    ferry_bucket_init(&b, 1000000, 7);
    cr_expect_eq(ferry_bucket_grant(&b, 500000, 7, &at), 0);
    cr_expect_eq(at, 7 + SECOND / 100); /* 10 ms of the rate */
    cr_expect_eq(ferry_bucket_grant(&b, 500000, at - 1, &at), 0);
    cr_expect_eq(ferry_bucket_grant(&b, 500000, at, &at), 10000);
    cr_expect_eq(ferry_bucket_grant(&b, 3, at, &at), 3);
}

Test(bucket, saves_no_more_than_100_ms)
{
    FerryBucket b;
    uint64_t at;

    ferry_bucket_init(&b, 1000000, 0);
    cr_expect_eq(ferry_bucket_grant(&b, UINT64_MAX, 3600 * SECOND, &at), 100000);
}

Test(bucket, new_rate_counts_from_now_on)
{
    FerryBucket b;
    uint64_t at;

    ferry_bucket_init(&b, 1000, 0);
    ferry_bucket_set_rate(&b, 1000000, SECOND / 100); /* 10 bytes were earned */
    cr_expect_eq(b.credit_bytes, 10);
    cr_expect_eq(ferry_bucket_grant(&b, 1010, SECOND / 100, &at), 0);
    cr_expect_eq(at, SECOND / 100 + SECOND / 1000);
    ferry_bucket_set_rate(&b, 0, SECOND / 100);
    cr_expect_eq(ferry_bucket_grant(&b, 1 << 30, SECOND / 100, &at), 1 << 30);
    ferry_bucket_set_rate(&b, 100, SECOND / 100);
    cr_expect_eq(ferry_bucket_grant(&b, 1, SECOND / 100, &at), 0, "no credit from before");
}

typedef struct {
    uint64_t rate, write_bytes, late_ns;
} Row;

ParameterizedTestParameters(bucket, keeps_the_rate_over_ten_seconds)
{
    static Row rows[] = {
        {1,                     1,       0     },
        {7,                     100,     0     },
        {1000,                  1 << 20, 0     },
        {1000003,               1,       0     },
        {32 << 20,              1 << 20, 50000 }, /* a sleeper wakes up late */
        {125000000,             4096,    70000 },
        {UINT64_C(12500000000), 1 << 30, 100000},
        {UINT64_C(1) << 60,     1 << 30, 0     },
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

/* Never above the rate, and below it by no more than the piece that is not granted yet. */
ParameterizedTest(Row *row, bucket, keeps_the_rate_over_ten_seconds)
{
    const uint64_t end = 10 * SECOND;
    const unsigned __int128 most = (unsigned __int128)row->rate * 10;
    unsigned __int128 sent = 0;
    uint64_t now = 0, at = 0;
    FerryBucket b;

    ferry_bucket_init(&b, row->rate, now);
    for (unsigned steps = 0; now < end && steps < 1000000; steps++) {
        uint64_t granted = ferry_bucket_grant(&b, row->write_bytes, now, &at);
        if (granted == 0) {
            cr_assert_gt(at, now);
            now = at + row->late_ns;
        } else {
            ferry_bucket_take(&b, granted);
            sent += granted;
            cr_assert(sent <= (unsigned __int128)now * row->rate / SECOND, "too fast at %lu", now);
        }
    }
    if (now >= end) {
        cr_expect(sent + row->rate / 50 + 1 >= most, "too slow");
    }
}

Test(bucket, what_comes_back_may_go_again)
{
    uint64_t at;
    FerryBucket b;

    ferry_bucket_init(&b, 1000, 0);
    cr_assert_eq(ferry_bucket_grant(&b, 100, SECOND, &at), 100);
    ferry_bucket_take(&b, 100);
    cr_expect_eq(ferry_bucket_grant(&b, 100, SECOND, &at), 0);
    ferry_bucket_give_back(&b, 60);
    cr_expect_eq(ferry_bucket_grant(&b, 100, SECOND, &at), 60);
    ferry_bucket_give_back(&b, UINT64_MAX); /* never more than 100 ms are worth */
    cr_expect_eq(ferry_bucket_grant(&b, 1000, SECOND, &at), 100);
    ferry_bucket_set_rate(&b, 0, SECOND);
    ferry_bucket_give_back(&b, 50); /* granted before, when there was a limit */
    cr_expect_eq(b.credit_bytes, 0);
}
