/* A guest that writes by a model, and the dirty log behind it. Writes are drawn when somebody
 * looks: a word of 64 pages is brought up to the present when it is cleared, read or synced. Pure.
 */
#pragma once
#include "dirtylog/bitmap.h"
#include "simulator/workload.h"

G_BEGIN_DECLS

typedef struct FerrySimGuest FerrySimGuest;
/* Borrows @workload. */
FerrySimGuest *ferry_sim_guest_new(const FerryWorkload *workload, uint64_t seed);
/* How long the guest has run, in ns of its own time; never backwards. A throttled guest's time
 * passes more slowly. */
void ferry_sim_guest_run(FerrySimGuest *guest, double until_ns);

/* The log, as KVM's with manual protect: all is dirty at first. sync reports what is dirty and
 * leaves it so; clear makes clean what a sync reported. */
void ferry_sim_guest_sync(FerrySimGuest *guest, FerryBitmap *found);
void ferry_sim_guest_clear(FerrySimGuest *guest, uint64_t first, uint64_t n);
/* How many of these pages are dirty by now: those that are read now will be found again. */
uint64_t ferry_sim_guest_dirty(FerrySimGuest *guest, uint64_t first, uint64_t n);
/* What page @page weighs on the wire as it is now, without its header; 0: it is a zero page. */
uint64_t ferry_sim_guest_weight(const FerrySimGuest *guest, uint64_t page);
void ferry_sim_guest_free(FerrySimGuest *guest);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerrySimGuest, ferry_sim_guest_free)

G_END_DECLS
