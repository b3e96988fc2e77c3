/* Rates from samples. Pure. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

/* value * numerator / denominator, rounded down, without overflow on the way; UINT64_MAX where the
 * result does not fit. @denominator > 0. */
uint64_t ferry_scale(uint64_t value, uint64_t numerator, uint64_t denominator);

/* How fast the channel takes bytes when nothing but the link and the engine hold it back. Old
 * samples fade: after as much busy time as the window is long they weigh half. Zero-initialise it.
 */
typedef struct {
    double bytes, ns;
} FerryRate;
#define FERRY_RATE_HALF_LIFE_NS 500000000.0

/* @bytes reached the peer's kernel in @busy_ns; time spent waiting for a rate limit is not busy. */
void ferry_rate_add(FerryRate *rate, uint64_t bytes, uint64_t busy_ns);
/* Bytes/s; 0 until there is a sample. */
uint64_t ferry_rate_get(const FerryRate *rate);

G_END_DECLS
