/* Numbers that a seed determines, and the little arithmetic that drawing needs. Pure: no libm. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

typedef struct {
    uint64_t state; /* any value is a seed */
} FerryRandom;

/* SplitMix64: also a hash of @x. */
uint64_t ferry_random_hash(uint64_t x);
uint64_t ferry_random_next(FerryRandom *random);
double ferry_random_unit(FerryRandom *random);                /* [0, 1) */
uint64_t ferry_random_below(FerryRandom *random, uint64_t n); /* 0 .. n - 1; n > 0 */
/* How many events of a Poisson process happen where @mean are expected; @mean <= 500. */
unsigned ferry_random_poisson(FerryRandom *random, double mean);
/* e^-x for x >= 0, to 1e-8. */
double ferry_exp_minus(double x);

G_END_DECLS
