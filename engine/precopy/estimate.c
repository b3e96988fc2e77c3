#include "engine/precopy/estimate.h"

uint64_t ferry_scale(uint64_t value, uint64_t numerator, uint64_t denominator)
{
    unsigned __int128 scaled = (unsigned __int128)value * numerator / denominator;
    return scaled > UINT64_MAX ? UINT64_MAX : (uint64_t)scaled;
}

/* Mean deviations to the 95th percentile of what is spread normally. */
#define DEVIATIONS_P95 2.06
#define SPREAD_SAMPLES 12
#define PIECES_MIN 5

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

void ferry_rate_end_piece(FerryRate *rate)
{
    if (rate->ns <= 0) {
        return;
    }
    rate->pieces[rate->next] = rate->bytes / rate->ns;
    rate->next = (rate->next + 1) % FERRY_RATE_PIECES;
    rate->n = MIN(rate->n + 1, FERRY_RATE_PIECES);
    rate->bytes = rate->ns = 0;
}

void ferry_rate_add(FerryRate *rate, uint64_t bytes, uint64_t busy_ns)
{
    rate->bytes += (double)bytes;
    rate->ns += (double)busy_ns;
    if (rate->ns >= FERRY_RATE_PIECE_NS) {
        ferry_rate_end_piece(rate);
    }
}

/* The slowest first. */
static void sort_pieces(const FerryRate *rate, double sorted[FERRY_RATE_PIECES])
{
    for (unsigned i = 0; i < rate->n; i++) {
        unsigned at = i;
        for (; at > 0 && sorted[at - 1] > rate->pieces[i]; at--) {
            sorted[at] = sorted[at - 1];
        }
        sorted[at] = rate->pieces[i];
    }
}

uint64_t ferry_rate_get(const FerryRate *rate)
{
    double sorted[FERRY_RATE_PIECES], per_second;

    sort_pieces(rate, sorted);
    if (rate->n > 0) {
        per_second = (sorted[rate->n / 2] + sorted[(rate->n - 1) / 2]) / 2 * 1e9 + 0.5;
    } else {
        per_second = rate->ns > 0 ? rate->bytes * 1e9 / rate->ns : 0;
    }
    return per_second >= (double)UINT64_MAX ? UINT64_MAX : (uint64_t)per_second;
}

/* Of nine samples with normal deviations the second smallest is off by so much less than the 5th
 * percentile. The smallest may be a moment in which nothing moved at all. */
#define SECOND_TO_P5 1.77
unsigned ferry_rate_permille_p5(const FerryRate *rate)
{
    double sorted[FERRY_RATE_PIECES], median, share;

    sort_pieces(rate, sorted);
    if (rate->n < PIECES_MIN || sorted[rate->n / 2] <= 0) {
        return 1000;
    }
    median = sorted[rate->n / 2];
    share = 1 - SECOND_TO_P5 * (1 - sorted[1] / median);
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
