/* How much to protect again at once: what a clear costs, learnt, against what the link sends
 * meanwhile. Pure. Not for other rooms. */
#pragma once
#include <glib.h>
#include <stdint.h>

/* A clear costs so much, and so much more for each page that it protects: a line through what was
 * measured, recent clears first. Zero-initialise it. */
typedef struct {
    double n, pages, ns, pages2, pages_ns; /* sums, each sample's weight fading */
} FerryClearCost;
/* One clear protected @pages (none: not counted) in @ns. One that was held up weighs little. */
void ferry_clear_cost_add(FerryClearCost *cost, uint64_t pages, uint64_t ns);
/* FALSE: not known yet. While all clears are of one size, all of it counts as fixed. */
gboolean ferry_clear_cost_get(const FerryClearCost *cost, double *out_fixed_ns,
                              double *out_page_ns);

/* What was cleared and sent since the last choice. */
typedef struct {
    uint64_t bytes_per_second;  /* guest memory's; 0: not known */
    uint64_t interval_ns;       /* between two syncs */
    uint64_t asks, asked_pages; /* runs of pages to be read next, and their pages */
    uint64_t units;             /* stretches of FERRY_DIRTY_LOG_CHUNK_MIN in which those lay */
} FerryClearUse;
/* FERRY_DIRTY_LOG_CHUNK_EXACT as long as clears of exactly what is read next take no more than
 * 1/20 of the time that it takes to send it: nothing else spares the guest faults on pages that are
 * not sent. Else the smallest power of two, up to 1 GiB, at which they take 1/50; but no more than
 * what lies between two syncs. @now: as long as too little is known. */
uint64_t ferry_chunk_choose(const FerryClearCost *cost, const FerryClearUse *use, uint64_t now);
