#include "dirtylog/chunk.h"
#include "dirtylog/dirtylog.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#define KIB ((uint64_t)1 << 10)
#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)
#define NOW (2 * MIB)

/* Clears of 1 to 128 pages that cost exactly so much. */
static FerryClearCost line(uint64_t fixed_ns, uint64_t page_ns)
{
    FerryClearCost cost = {0};

    for (unsigned i = 0; i < 64; i++) {
        uint64_t pages = 1 + i * 37 % 128;
        ferry_clear_cost_add(&cost, pages, fixed_ns + page_ns * pages);
    }
    return cost;
}

static void expect_about(double got, double wanted)
{
    cr_assert(got > wanted * 0.95 - 1 && got < wanted * 1.05 + 1, "%f instead of %f", got, wanted);
}

Test(chunk, learns_a_line)
{
    FerryClearCost cost = line(2000, 30);
    double fixed, page;

    cr_assert(ferry_clear_cost_get(&cost, &fixed, &page));
    expect_about(fixed, 2000);
    expect_about(page, 30);
}

Test(chunk, needs_some_clears_that_did_something)
{
    FerryClearCost cost = {0};
    double fixed, page;

    for (unsigned i = 0; i < 7; i++) {
        ferry_clear_cost_add(&cost, 1, 1000);
        ferry_clear_cost_add(&cost, 0, 1000);
    }
    cr_assert_not(ferry_clear_cost_get(&cost, &fixed, &page));
    ferry_clear_cost_add(&cost, 1, 1000);
    cr_assert(ferry_clear_cost_get(&cost, &fixed, &page));
    expect_about(fixed, 1000);
    expect_about(page, 0);
}

Test(chunk, the_processor_taken_away_is_no_cost_of_clearing)
{
    FerryClearCost cost = line(2000, 30);
    double fixed, page;

    ferry_clear_cost_add(&cost, 100, 50000000);
    cr_assert(ferry_clear_cost_get(&cost, &fixed, &page));
    cr_assert_lt(fixed + 100 * page, 10000, "%f + %f a page", fixed, page);
}

Test(chunk, forgets_what_clears_cost_long_ago)
{
    FerryClearCost cost = line(2000, 30);
    double fixed, page;

    for (unsigned i = 0; i < 4000; i++) {
        ferry_clear_cost_add(&cost, 1 + i % 100, 500 + 3 * (1 + i % 100));
    }
    cr_assert(ferry_clear_cost_get(&cost, &fixed, &page));
    expect_about(fixed, 500);
    expect_about(page, 3);
}

/* Larger clears may happen to be the quicker ones: a page then costs nothing, not less. */
Test(chunk, nothing_costs_less_than_nothing)
{
    FerryClearCost falling = {0}, rising = {0};
    double fixed, page;

    for (unsigned i = 0; i < 32; i++) {
        ferry_clear_cost_add(&falling, 1 + i % 2 * 99, i % 2 ? 100 : 3000);
        ferry_clear_cost_add(&rising, 50 + i % 2 * 50, i % 2 ? 3000 : 100);
    }
    cr_assert(ferry_clear_cost_get(&falling, &fixed, &page));
    cr_assert(page >= 0 && fixed >= 0);
    cr_assert(ferry_clear_cost_get(&rising, &fixed, &page));
    cr_assert(page >= 0 && fixed >= 0);
}

typedef struct {
    uint64_t fixed_ns, page_ns;
    uint64_t bytes_per_second, interval_ms;
    uint64_t pages_per_ask, pages_per_unit;
    uint64_t chunk;
} Row;

ParameterizedTestParameters(chunk, chooses)
{
    static Row rows[] = {
  /* whole batches: any link can pay for them */
        {1000,   30,   128 * MIB,     100,   128, 64, 4096     },
        {1000,   30,   1200000000,    100,   128, 64, 4096     },
        {5000,   30,   5000000000,    100,   128, 64, 4096     },
        {20000,  30,   5000000000,    100,   128, 64, 8 * MIB  }, /* 5 MB: 50 times 100 kB */
  /* single pages */
        {1000,   30,   32 * MIB,      100,   1,   4,  4096     },
        {1000,   30,   128 * MIB,     100,   1,   4,  4096     },
        {1000,   30,   256 * MIB,     100,   1,   4,  256 * KIB},
        {1000,   30,   1200000000,    100,   1,   4,  1 * MIB  },
        {1000,   30,   1200000000,    100,   1,   64, 256 * KIB},
        {4000,   30,   12000000000,   1000,  1,   4,  64 * MIB },
        {1000,   0,    1200000000,    100,   1,   8,  512 * KIB},
 /* the part of a page is to be paid in any case */
        {1000,   9000, 1200000000,    100,   1,   64, 256 * KIB},
 /* no more than goes from sync to sync */
        {900000, 30,   1000000000,    1,     64,  64, 1 * MIB  },
        {900000, 30,   1000000000,    60000, 64,  64, 64 * MIB },
        {900000, 30,   1000000000000, 60000, 64,  64, GIB      },
        {0,      0,    1000000000000, 100,   1,   1,  4096     },
        {1000,   30,   0,             100,   1,   1,  NOW      }, /* nothing was sent */
        {1000,   30,   128 * MIB,     0,     1,   1,  NOW      },
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Row *row, chunk, chooses)
{
    FerryClearCost cost = line(row->fixed_ns, row->page_ns);
    uint64_t pages = row->bytes_per_second / 1000 * row->interval_ms / 4096;
    FerryClearUse use = {
        .interval_ns = row->interval_ms * 1000000,
        .asks = pages / row->pages_per_ask,
        .asked_pages = pages,
        .units = pages / row->pages_per_unit,
    };
    uint64_t chunk = ferry_chunk_choose(&cost, &use, NOW);

    cr_assert_eq(chunk, row->chunk, "%lu KiB", chunk >> 10);
}

Test(chunk, stays_while_costs_are_not_known)
{
    FerryClearCost cost = {0};
    FerryClearUse use = {.interval_ns = 100000000, .asks = 100, .asked_pages = 1000, .units = 100};

    cr_assert_eq(ferry_chunk_choose(&cost, &use, NOW), NOW);
}
