/* Rates from samples. Pure. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

/* value * numerator / denominator, rounded down, without overflow on the way; UINT64_MAX where the
 * result does not fit. @denominator > 0. */
uint64_t ferry_scale(uint64_t value, uint64_t numerator, uint64_t denominator);

/* Mean and mean deviation of samples, the last dozen or so of which count. Zero-initialise it. */
typedef struct {
    double mean, deviation;
    unsigned n;
} FerrySpread;
void ferry_spread_add(FerrySpread *spread, double sample);
/* By how much a sample exceeds the mean at most, 19 times in 20; 0 before there are two. */
double ferry_spread_margin(const FerrySpread *spread);

/* How fast the channel takes bytes when nothing but the link and the engine hold it back. Samples
 * are put together to pieces; the median of the last few counts, so that a moment in which
 * everything stood still, or a burst, changes nothing. Zero-initialise it. */
#define FERRY_RATE_PIECES 9
#define FERRY_RATE_PIECE_NS 50000000.0 /* of a last copy, about */
typedef struct {
    double bytes, ns;                 /* of the piece that is being put together */
    double pieces[FERRY_RATE_PIECES]; /* bytes per ns */
    unsigned n, next;
} FerryRate;

/* @bytes reached the peer's kernel in @busy_ns; time spent waiting for a rate limit is not busy. */
void ferry_rate_add(FerryRate *rate, uint64_t bytes, uint64_t busy_ns);
/* What was added since the last piece is one, however short it is. */
void ferry_rate_end_piece(FerryRate *rate);
/* Bytes/s; 0 until there is a sample. */
uint64_t ferry_rate_get(const FerryRate *rate);
/* What a piece's rate exceeds 19 times in 20, in 1/1000 of the median: from 250 to 1000, which is
 * also said before there are a few pieces. */
unsigned ferry_rate_permille_p5(const FerryRate *rate);

/* So much of one thing for so much of another, old samples fading: after @half_life of the other
 * they weigh half. Zero-initialise it. */
typedef struct {
    double amount, per;
} FerryShare;
void ferry_share_add(FerryShare *share, double amount, double per, double half_life);
/* @amount for each @unit; @otherwise until @enough of the other was seen. */
double ferry_share_get(const FerryShare *share, double unit, double enough, double otherwise);

G_END_DECLS
