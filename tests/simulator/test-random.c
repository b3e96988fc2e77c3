#include "simulator/random.h"
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

typedef struct {
    double x, expected;
} Row;

ParameterizedTestParameters(random, exp_minus)
{
    static Row rows[] = {
        {0,    1                 },
        {1e-6, 0.9999990000005   },
        {0.5,  0.6065306597126334},
        {1,    0.3678794411714423},
        {7.25, 0.0007101743888425},
        {40,   4.248354255291e-18},
        {800,  0                 },
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Row *row, random, exp_minus)
{
    double off = ferry_exp_minus(row->x) - row->expected;
    cr_expect(off <= 1e-8 * row->expected && off >= -1e-8 * row->expected, "e^-%g", row->x);
}

Test(random, a_seed_determines_the_numbers)
{
    FerryRandom a = {.state = 7}, b = {.state = 7}, c = {.state = 8};

    for (unsigned i = 0; i < 100; i++) {
        uint64_t x = ferry_random_next(&a);
        cr_assert_eq(x, ferry_random_next(&b));
        cr_assert_neq(x, ferry_random_next(&c));
    }
}

Test(random, numbers_below_n_are_below_n_and_come_all)
{
    FerryRandom r = {.state = 1};
    unsigned seen[7] = {0};

    for (unsigned i = 0; i < 7000; i++) {
        uint64_t x = ferry_random_below(&r, 7);
        cr_assert_lt(x, 7);
        seen[x]++;
    }
    for (unsigned i = 0; i < 7; i++) {
        cr_expect(seen[i] > 850 && seen[i] < 1150, "%u came %u times", i, seen[i]);
    }
}

typedef struct {
    double mean;
} Mean;

ParameterizedTestParameters(random, poisson)
{
    static Mean rows[] = {{0}, {0.01}, {1}, {30}, {400}};
    return cr_make_param_array(Mean, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Mean *row, random, poisson)
{
    FerryRandom r = {.state = 3};
    double sum = 0, squares = 0, n = 20000;

    for (unsigned i = 0; i < n; i++) {
        double x = ferry_random_poisson(&r, row->mean);
        sum += x;
        squares += x * x;
    }
    double mean = sum / n, variance = squares / n - mean * mean;
    cr_expect(mean >= row->mean * 0.9 && mean <= row->mean * 1.1, "mean %g is %g", row->mean, mean);
    cr_expect(variance >= row->mean * 0.85 && variance <= row->mean * 1.15, "variance %g is %g",
              row->mean, variance);
}
