#include "engine/precopy/estimate.h"

uint64_t ferry_scale(uint64_t value, uint64_t numerator, uint64_t denominator)
{
    unsigned __int128 scaled = (unsigned __int128)value * numerator / denominator;
    return scaled > UINT64_MAX ? UINT64_MAX : (uint64_t)scaled;
}

/* Mean deviations to the 95th percentile of what is spread normally. */
#define DEVIATIONS_P95 2.06
#define SPREAD_SAMPLES 12
#define PIECES_MIN 4

void ferry_spread_add(FerrySpread *s, double sample)
{
    double off = sample > s->mean ? sample - s->mean : s->mean - sample;

    s->n = MIN(s->n + 1, SPREAD_SAMPLES);
    if (s->n == 1) {
        s->mean = sample;
        return;
    }
    /* Of n samples the mean is off by 1/n of the newest's distance; the first has no deviation. */
    s->deviation += (off - s->deviation) / (s->n - 1);
    s->mean += (sample - s->mean) / s->n;
}

double ferry_spread_margin(const FerrySpread *s) { return s->deviation * DEVIATIONS_P95; }

/* What is kept when @passed more was seen: 1 / (1 + t) instead of 2^-t, equal at 0 and at one
 * half-life, and needs no libm. */
static double keep(double passed, double half_life) { return 1.0 / (1.0 + passed / half_life); }

void ferry_rate_add(FerryRate *rate, uint64_t bytes, uint64_t busy_ns)
{
    double kept = keep((double)busy_ns, FERRY_RATE_HALF_LIFE_NS);

    rate->bytes = rate->bytes * kept + (double)bytes;
    rate->ns = rate->ns * kept + (double)busy_ns;
    rate->piece_bytes += (double)bytes;
    rate->piece_ns += (double)busy_ns;
    if (rate->piece_ns > 0 && (rate->piece_ns >= FERRY_RATE_PIECE_NS ||
                               ++rate->piece_samples >= FERRY_RATE_PIECE_SAMPLES)) {
        ferry_spread_add(&rate->pieces, rate->piece_bytes / rate->piece_ns);
        rate->piece_bytes = rate->piece_ns = rate->piece_samples = 0;
    }
}

unsigned ferry_rate_permille_p5(const FerryRate *rate)
{
    double share;

    if (rate->pieces.n < PIECES_MIN || rate->pieces.mean <= 0) {
        return 1000;
    }
    share = 1 - ferry_spread_margin(&rate->pieces) / rate->pieces.mean;
    return share < 0.25 ? 250 : (unsigned)(share * 1000);
}

void ferry_share_add(FerryShare *s, double amount, double per, double half_life)
{
    double kept = keep(per, half_life);

    s->amount = s->amount * kept + amount;
    s->per = s->per * kept + per;
}

double ferry_share_get(const FerryShare *s, double unit, double enough, double otherwise)
{
    return s->per < enough || s->per <= 0 ? otherwise : s->amount / s->per * unit;
}

uint64_t ferry_rate_get(const FerryRate *rate)
{
    double per_second = rate->ns > 0 ? rate->bytes * 1e9 / rate->ns : 0;
    return per_second >= (double)UINT64_MAX ? UINT64_MAX : (uint64_t)per_second;
}
