/* A guest that writes, and the dirty log behind it: by a model (model-guest.c), or as a trace has
 * it (trace-guest.c). Pure. */
#pragma once
#include "dirtylog/bitmap.h"
#include "simulator/workload.h"
#include "trace/trace.h"

G_BEGIN_DECLS

typedef struct FerrySimGuest FerrySimGuest;
/* Borrows @workload. */
FerrySimGuest *ferry_sim_guest_new(const FerryWorkload *workload, uint64_t seed);
/* Borrows @trace, which nobody else reads meanwhile. It begins @start_ns behind the trace's
 * beginning, with what was written before; when the trace ends it begins anew, unless @once. Each
 * page of a frame is written once within its span, at a place that @seed determines; in the quarter
 * that is known, and once before if quarters show that many pages are written often. */
FerrySimGuest *ferry_sim_guest_new_trace(FerryTraceReader *trace, uint64_t start_ns, gboolean once,
                                         uint64_t seed, GError **error);
uint64_t ferry_sim_guest_pages(const FerrySimGuest *guest);
/* How long the guest has run, in ns of its own time; never backwards. A throttled guest's time
 * passes more slowly. */
void ferry_sim_guest_run(FerrySimGuest *guest, double until_ns);
/* FALSE: what it does now is not known, for its trace is damaged or was cut. */
gboolean ferry_sim_guest_check(const FerrySimGuest *guest, GError **error);
/* A trace that is played once is over: the guest stands still. */
gboolean ferry_sim_guest_ended(const FerrySimGuest *guest);
unsigned ferry_sim_guest_laps(const FerrySimGuest *guest); /* of the trace, that are over */

/* The log, as KVM's with manual protect: all is dirty at first. sync reports what became dirty
 * since the sync before; clear makes clean what was reported. */
void ferry_sim_guest_sync(FerrySimGuest *guest, FerryBitmap *found);
void ferry_sim_guest_clear(FerrySimGuest *guest, uint64_t first, uint64_t n);
/* sync and clear at once: @take is told of each word of 64 pages, ascending, that has dirty ones.
 */
void ferry_sim_guest_take(FerrySimGuest *guest,
                          void (*take)(void *self, uint64_t word, uint64_t mask), void *self);
/* How many of these pages are dirty by now: those that are read now will be found again. */
uint64_t ferry_sim_guest_dirty(FerrySimGuest *guest, uint64_t first, uint64_t n);

/* What a page that was read now weighs on the wire, without its header. */
typedef struct {
    uint32_t plain;  /* 0: it is a zero page */
    uint32_t packed; /* 0: not known */
} FerrySimContent;
void ferry_sim_guest_content(const FerrySimGuest *guest, uint64_t page,
                             FerrySimContent *out_content);
void ferry_sim_guest_free(FerrySimGuest *guest);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerrySimGuest, ferry_sim_guest_free)

G_END_DECLS
