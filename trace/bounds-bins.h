/* Bytes by when they were written last, and the greatest backlog that follows. Pure.
 *
 * What was written last at t or later cannot have been sent before t. So of W(t) bytes that were
 * written last at t or later, those are left at T that B (T - t) does not carry: the greatest
 * W(t) + B t over all t, less B T. A tree over the bins keeps that greatest one. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

typedef struct {
    int64_t sum, low, high; /* of bytes; the greatest W(t) + B t, t a bin's beginning or end */
} FerryBinsNode;

typedef struct {
    uint64_t bytes_per_second;
    uint64_t now_ns; /* where the last bin ends */
    uint32_t n;
    GArray *begin_ns, *bytes; /* uint64_t, by bin */
    GArray *begin_bytes;      /* int64_t: what the link had carried where it begins */
    FerryBinsNode *tree;      /* the root is 1; leaf i, of 32 bins, is width + i */
    uint32_t width;
    GByteArray *stale; /* by leaf: it is on the list */
    GArray *touched;   /* uint32_t: leaves that are to be reckoned anew */
} FerryBins;

void ferry_bins_init(FerryBins *bins, uint64_t bytes_per_second); /* bin 0: [0, 0], empty */
void ferry_bins_clear(FerryBins *bins);
/* A bin from where the last one ended to @end_ns; its number. */
uint32_t ferry_bins_append(FerryBins *bins, uint64_t end_ns);
/* Behind all changes, before the following are asked for. */
void ferry_bins_refresh(FerryBins *bins);
/* Bytes left at @at_ns, which is not before the last bin's end, if writes were at the beginnings
 * of their bins, or at their ends. */
uint64_t ferry_bins_low(const FerryBins *bins, uint64_t at_ns);
uint64_t ferry_bins_high(const FerryBins *bins);
/* The first moment from the last bin's end on at which no more than @bytes are left, low. */
uint64_t ferry_bins_low_reaches(const FerryBins *bins, uint64_t bytes);
/* By how many percent at least writes must be slowed that no more than @bytes are left, low or
 * high. */
uint64_t ferry_bins_throttle(const FerryBins *bins, uint64_t bytes, gboolean high);
/* Whole bytes that a link carries within @ns; ns that it needs for them, rounded up. */
uint64_t ferry_bins_carried(uint64_t bytes_per_second, uint64_t ns);
uint64_t ferry_bins_needed(uint64_t bytes_per_second, uint64_t bytes);

#define FERRY_BINS_LEAF_SHIFT 5

static inline uint64_t *ferry_bins_bytes(FerryBins *bins, uint32_t bin)
{
    uint32_t leaf = bin >> FERRY_BINS_LEAF_SHIFT;

    if (!bins->stale->data[leaf]) {
        bins->stale->data[leaf] = 1;
        g_array_append_val(bins->touched, leaf);
    }
    return &g_array_index(bins->bytes, uint64_t, bin);
}

G_END_DECLS
