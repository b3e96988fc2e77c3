/* Which pending page comes next. Pure. */
#pragma once
#include "engine/precopy/heat.h"
#include "engine/precopy/policy.h"

G_BEGIN_DECLS

typedef struct {
    unsigned block;
    uint64_t first, n;
} FerryRun;

/* The pages still to be sent, and a place among them. */
typedef struct FerryPending FerryPending;
FerryPending *ferry_pending_new(const uint64_t *block_pages, unsigned n_blocks);
/* @found's bits become pending and are cleared there; how many were not before. @heat, NULL or what
 * knows how warm they are, is told of those that were exposed: clean since they were taken, or
 * pending and not found so far. */
uint64_t ferry_pending_merge(FerryPending *pending, unsigned block, FerryBitmap *found,
                             FerryHeat *heat, uint64_t before_ns, uint64_t now_ns);
/* What is pending now was not exposed: that it will be found says nothing. */
void ferry_pending_unexpose(FerryPending *pending);
uint64_t ferry_pending_count(const FerryPending *pending);
/* How many bits of @found are not among the pending ones. */
uint64_t ferry_pending_count_new(const FerryPending *pending, unsigned block,
                                 const FerryBitmap *found);
/* A new round begins. With @from_start the next page is the first of all whatever the order. */
void ferry_pending_begin_round(FerryPending *pending, FerryOrder order, gboolean from_start);
/* Takes the next run, of at most @max pages of one block; FALSE: none is left in this round.
 * @heat is needed for FERRY_ORDER_COLD_FIRST. */
gboolean ferry_pending_next(FerryPending *pending, FerryOrder order, const FerryHeat *heat,
                            uint64_t max, FerryRun *out_run);
void ferry_pending_free(FerryPending *pending);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryPending, ferry_pending_free)

G_END_DECLS
