/* How often each page is written, learnt from dirty syncs. Four bytes a page, touched only for
 * pages that were sent or found written. Pure; the times are the caller's. */
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
/* 0, the coldest, to FERRY_HEAT_CLASSES - 1; pages never found written are in class 0. */
unsigned ferry_heat_class(const FerryHeat *heat, unsigned block, uint64_t page);
/* All pages by class. May reuse the last count while that is fresh: a recount takes a pass over
 * everything ever written. */
void ferry_heat_census(FerryHeat *heat, uint64_t now_ns, FerryCensus *out_census);
void ferry_heat_free(FerryHeat *heat);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryHeat, ferry_heat_free)

G_END_DECLS
