/* How often each page is written, learnt from dirty syncs. Four bytes a page, touched only for
 * pages that were found written. Pure; the times are the caller's: they never run backwards, and
 * stand still or run slower while the guest does, so that rates are those of a guest at full speed.
 *
 * The estimator. A page is exposed from when it is protected until it is found written; a write is
 * taken to be in the middle of where it can have been: between the later of the page's protection
 * and the sync before, and the sync that found it. Hits and seconds of exposure are added up, those
 * of pages that are clean so far too. Of fourteen hits half are forgotten; all of them by a page
 * that is clean for far longer than they foretold, and by all pages when the guest is seen to do
 * something else. The census is the mixture of memoryless writers that makes this likeliest
 * (mixture.h): of first writes until pages are known by several each, for what is sent again is no
 * fair sample. A page's class is the octave expected of its rate when half is believed from that
 * mixture, half from the stripe of 64 pages it lies in. Nothing faster than two writes a sync
 * interval can be told apart. */
#pragma once
#include "dirtylog/bitmap.h"
#include "engine/precopy/forecast.h"

G_BEGIN_DECLS

typedef struct FerryHeat FerryHeat;
FerryHeat *ferry_heat_new(const uint64_t *block_pages, unsigned n_blocks);
/* From @now_ns on a write to any page will be found by a later sync, before it was sent too. */
void ferry_heat_watch(FerryHeat *heat, uint64_t now_ns);
/* Pages [first, first + n) are protected and read: writes from now on will be found. */
void ferry_heat_sent(FerryHeat *heat, unsigned block, uint64_t first, uint64_t n, uint64_t now_ns);
/* A sync at @now_ns, the one before it at @before_ns, found bits of @mask (bit i: page first + i;
 * first a multiple of 64) written that were clean since they were last sent, or watched. */
void ferry_heat_written(FerryHeat *heat, unsigned block, uint64_t first, uint64_t mask,
                        uint64_t before_ns, uint64_t now_ns);
/* What is known of the 64 pages from @first on will be wanted soon. */
void ferry_heat_prefetch(const FerryHeat *heat, unsigned block, uint64_t first, uint64_t mask);
/* 0, the coldest, to FERRY_HEAT_CLASSES - 1; pages never found written are in class 0. Between two
 * syncs no page gets warmer, those that wait to be sent included; a census may find some colder. */
unsigned ferry_heat_class(const FerryHeat *heat, unsigned block, uint64_t page);
/* All pages by class. May reuse the last count while that is fresh. */
void ferry_heat_census(FerryHeat *heat, uint64_t now_ns, FerryCensus *out_census);
void ferry_heat_free(FerryHeat *heat);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryHeat, ferry_heat_free)

G_END_DECLS
