#include "engine/precopy/exponential.h"
#include <stdint.h>
#include <string.h>

#define LN2 0.69314718055994530942
#define EXPONENT_BIAS 1023
#define MANTISSA_BITS 52

static double power_of_two(int64_t exponent)
{
    uint64_t bits = (uint64_t)(exponent + EXPONENT_BIAS) << MANTISSA_BITS;
    double value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

double ferry_exp(double x)
{
    if (x < -700) {
        return 0;
    }
    x = MIN(x, 700);
    int64_t k = (int64_t)(x / LN2 + (x < 0 ? -0.5 : 0.5));
    double r = x - (double)k * LN2; /* |r| <= ln2 / 2: eight terms of the series are enough */
    double sum = 1 + r / 8;

    for (unsigned i = 7; i > 0; i--) {
        sum = 1 + sum * r * (1.0 / i);
    }
    return sum * power_of_two(k);
}

double ferry_log(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int64_t exponent = (int64_t)(bits >> MANTISSA_BITS) - EXPONENT_BIAS;
    double mantissa = x * power_of_two(-exponent);

    if (mantissa > 1.41421356) {
        mantissa /= 2;
        exponent++;
    }
    /* 2 artanh((m - 1) / (m + 1)) */
    double z = (mantissa - 1) / (mantissa + 1), z2 = z * z;
    double sum = 1 + z2 * (1.0 / 3 + z2 * (1.0 / 5 + z2 * (1.0 / 7 + z2 * (1.0 / 9 + z2 / 11))));
    return 2 * z * sum + (double)exponent * LN2;
}
