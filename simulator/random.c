#include "simulator/random.h"

#define GOLDEN UINT64_C(0x9e3779b97f4a7c15)

uint64_t ferry_random_hash(uint64_t x)
{
    x += GOLDEN;
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

uint64_t ferry_random_next(FerryRandom *random)
{
    uint64_t x = ferry_random_hash(random->state);

    random->state += GOLDEN;
    return x;
}

double ferry_random_unit(FerryRandom *random)
{
    return (double)(ferry_random_next(random) >> 11) / (double)(UINT64_C(1) << 53);
}

uint64_t ferry_random_below(FerryRandom *random, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)ferry_random_next(random) * n) >> 64);
}

unsigned ferry_random_poisson(FerryRandom *random, double mean)
{
    double until = ferry_exp_minus(mean), product = ferry_random_unit(random);
    unsigned n = 0;

    for (; product > until; n++) {
        product *= ferry_random_unit(random);
    }
    return n;
}

/* e^-x = 2^-n e^-f with n whole and f below ln 2, whose series is short. */
double ferry_exp_minus(double x)
{
    const double ln2 = 0.693147180559945309;

    if (!(x < 700)) {
        return 0;
    }
    unsigned n = (unsigned)(x / ln2);
    double f = x - n * ln2, sum = 1;
    for (int i = 10; i > 0; i--) {
        sum = 1 - sum * f / i;
    }
    for (; n >= 32; n -= 32) {
        sum /= (double)(UINT64_C(1) << 32);
    }
    return sum / (double)(UINT64_C(1) << n);
}
