#include <criterion/criterion.h>
#include <math.h>
#include "engine/precopy/exponential.h"
#include "engine/precopy/mixture.h"

Test(mixture, exponentials_are_those_of_a_mathematics_library)
{
    for (double x = -690; x < 690; x += 0.37) {
        cr_assert(fabs(ferry_exp(x) / exp(x) - 1) < 1e-8, "exp(%g)", x);
        cr_assert(fabs(ferry_log(exp(x)) - x) < 1e-8 * MAX(fabs(x), 1), "log(exp(%g))", x);
    }
    cr_expect_eq(ferry_exp(-1e6), 0);
    cr_expect_eq(ferry_exp(0), 1);
    cr_expect(fabs(ferry_log(1)) < 1e-12);
    cr_expect(isfinite(ferry_exp(1e6)));
}

#define SECONDS 100u

/* @pages pages of that rate, looked at every 100th of @seconds until they are found written. */
static unsigned first_writes(FerryMixtureCell *cells, double pages, double rate, double seconds)
{
    double step = seconds / SECONDS;

    for (unsigned i = 0; i < SECONDS; i++) {
        double found = pages * (exp(-rate * step * i) - exp(-rate * step * (i + 1)));
        cells[i].pages += found;
        cells[i].seconds = step * (i + 0.5);
        cells[i].hits = 1;
    }
    cells[SECONDS].pages += pages * exp(-rate * seconds);
    cells[SECONDS].seconds = seconds;
    return SECONDS + 1;
}

Test(mixture, nothing_written_is_one_group)
{
    FerryMixtureCell cell = {.pages = 1000, .seconds = 5};
    FerryMixture m = ferry_mixture_fit(&cell, 1);

    cr_expect_eq(m.n, 1);
    cr_expect_eq(m.rate[0], 0);
}

Test(mixture, pages_alike_are_one_group)
{
    FerryMixtureCell cells[SECONDS + 1] = {0};
    unsigned n = first_writes(cells, 20000, 0.5, 1);
    n = first_writes(cells, 80000, 0, 1);
    FerryMixture m = ferry_mixture_fit(cells, n);

    cr_assert_eq(m.n, 2, "%u groups", m.n);
    cr_expect(fabs(m.rate[1] - 0.5) < 0.02, "%f", m.rate[1]);
    cr_expect(fabs(m.share[1] - 0.2) < 0.01, "%f", m.share[1]);
}

Test(mixture, two_kinds_are_two_groups)
{
    FerryMixtureCell cells[SECONDS + 1] = {0};
    unsigned n = first_writes(cells, 20000, 1, 1);
    n = first_writes(cells, 2000, 15, 1);
    n = first_writes(cells, 50000, 0, 1);
    FerryMixture m = ferry_mixture_fit(cells, n);

    cr_assert_eq(m.n, 3, "%u groups", m.n);
    unsigned hot = m.rate[1] > m.rate[2] ? 1 : 2;
    cr_expect(fabs(m.rate[hot] / 15 - 1) < 0.05, "%f", m.rate[hot]);
    cr_expect(fabs(m.share[hot] * 72000 / 2000 - 1) < 0.05, "%f", m.share[hot]);
    cr_expect(fabs(m.rate[3 - hot] - 1) < 0.1, "%f", m.rate[3 - hot]);
}

Test(mixture, survives_what_cannot_be)
{
    FerryMixtureCell cells[] = {
        {.pages = 1e12, .seconds = 1e9,  .hits = 15},
        {.pages = 1,    .seconds = 1e-9, .hits = 15},
        {.pages = 0.1,  .seconds = 0,    .hits = 0 },
        {.pages = 5,    .seconds = 1e9,  .hits = 0 },
    };
    FerryMixture m = ferry_mixture_fit(cells, G_N_ELEMENTS(cells));
    double sum = 0;

    for (unsigned k = 0; k < m.n; k++) {
        cr_expect(isfinite(m.rate[k]) && isfinite(m.share[k]));
        sum += m.share[k];
    }
    cr_expect(fabs(sum - 1) < 1e-6);
}
