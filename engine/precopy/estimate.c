#include "engine/precopy/estimate.h"

uint64_t ferry_scale(uint64_t value, uint64_t numerator, uint64_t denominator)
{
    unsigned __int128 scaled = (unsigned __int128)value * numerator / denominator;
    return scaled > UINT64_MAX ? UINT64_MAX : (uint64_t)scaled;
}

void ferry_rate_add(FerryRate *rate, uint64_t bytes, uint64_t busy_ns)
{
    /* 1 / (1 + t) instead of 2^-t: equal at 0 and at one half-life, and needs no libm. */
    double keep = 1.0 / (1.0 + (double)busy_ns / FERRY_RATE_HALF_LIFE_NS);
    rate->bytes = rate->bytes * keep + (double)bytes;
    rate->ns = rate->ns * keep + (double)busy_ns;
}

uint64_t ferry_rate_get(const FerryRate *rate)
{
    double per_second = rate->ns > 0 ? rate->bytes * 1e9 / rate->ns : 0;
    return per_second >= (double)UINT64_MAX ? UINT64_MAX : (uint64_t)per_second;
}
