/* The whole pre-copy loop as a pure machine: an event and values in, an action out. No clock, no
 * I/O, no thread. It owns the pending bitmaps; it hands out work in batches and decides order,
 * switchover and throttle. The live engine, the simulator and tests drive it alike.
 *
 *   SETUP -> ITERATE -> PAUSING -> FINAL -> STATE -> LOADING -> RELEASED -> DONE
 *     |         |          |         |        |         |           |
 *     +---------+----------+---------+--------+---------+-> FAILED  +-> UNSURE
 */
#pragma once
#include "dirtylog/bitmap.h"
#include "engine/precopy/policy.h"

G_BEGIN_DECLS

typedef enum {
    FERRY_PHASE_SETUP,    /* connecting, greeting, block list */
    FERRY_PHASE_ITERATE,  /* rounds while the guest runs */
    FERRY_PHASE_PAUSING,  /* the guest is being paused (and waits there before switchover) */
    FERRY_PHASE_FINAL,    /* guest paused, last sync and last round */
    FERRY_PHASE_STATE,    /* guest paused, device state */
    FERRY_PHASE_LOADING,  /* all sent; the destination has not said LOADED */
    FERRY_PHASE_RELEASED, /* the destination owns the guest; it has not said RUNNING */
    FERRY_PHASE_DONE,
    FERRY_PHASE_FAILED, /* or cancelled: the source owns the guest */
    FERRY_PHASE_UNSURE, /* in doubt */
    FERRY_N_PHASES
} FerryPhase;

/* What happened. */
typedef enum {
    FERRY_EVENT_READY,   /* the destination has the block list */
    FERRY_EVENT_SYNCED,  /* every block's dirty pages are OR'ed into found; values are filled in */
    FERRY_EVENT_WATCHED, /* the whole log is cleared */
    FERRY_EVENT_SENT,    /* the batch is read and handed to the channel; or the rest is over */
    FERRY_EVENT_PAUSED,  /* the guest stands still and may be switched over */
    FERRY_EVENT_SAVED,   /* device state and end of stream are sent; the destination awaits GO */
    FERRY_EVENT_OFFERED, /* device state is sent; the destination starts the guest by itself when it
                          * sees the end of stream, so sending that end releases the guest */
    FERRY_EVENT_LOADED,  /* the destination has everything and proved it */
    FERRY_EVENT_RUNNING, /* the destination runs the guest */
    FERRY_EVENT_STOPPED, /* cancelled, or something failed */
} FerryEvent;

/* What to do next. */
typedef enum {
    FERRY_ACTION_SYNC,
    FERRY_ACTION_WATCH, /* clear the log of all memory: what is written from now on is to be seen,
                         * though nothing was sent yet. Everything stays pending. */
    FERRY_ACTION_SEND,  /* *out_batch */
    FERRY_ACTION_REST,  /* let the decision's rest_ns pass */
    FERRY_ACTION_PAUSE,
    FERRY_ACTION_SAVE, /* device state, end of stream */
    FERRY_ACTION_AWAIT_LOADED,
    FERRY_ACTION_RELEASE, /* record it, say GO, await RUNNING */
    FERRY_ACTION_FINISH,
    FERRY_ACTION_RESUME, /* the guest runs on here as it was */
    FERRY_ACTION_HOLD,   /* the guest runs nowhere until somebody decides */
} FerryAction;

#define FERRY_BATCH_PAGES 128
typedef struct {
    unsigned block;
    uint64_t first_page, n_pages; /* at most FERRY_BATCH_PAGES; they left the pending bitmap */
} FerryBatch;

/* When the user's patience ends, whatever the policy says. */
typedef struct {
    uint64_t timeout_ns; /* from READY on; 0: none */
    gboolean pause;      /* then switch over; else give up */
} FerryTimeout;

typedef struct FerryPrecopy FerryPrecopy;
FerryPrecopy *ferry_precopy_new(const FerryPolicy *policy, const uint64_t *block_pages,
                                unsigned n_blocks);
/* Between two steps: from now on another policy decides, from a fresh state of its own; what the
 * machine has learnt stays. The chunk size of the one before may stay. */
void ferry_precopy_set_policy(FerryPrecopy *machine, const FerryPolicy *policy);
void ferry_precopy_set_timeout(FerryPrecopy *machine, const FerryTimeout *timeout);
/* @values is read, and completed, with SYNCED; of other events its moment alone is read (READY,
 * WATCHED, SENT). @out_batch is written with SEND only. An event that the phase does not allow is a
 * broken promise of the caller. A decision to give up is FERRY_ACTION_RESUME; then the verdict
 * says so and ferry_precopy_timed_out() why. */
FerryAction ferry_precopy_step(FerryPrecopy *machine, FerryEvent event, FerryRound *values,
                               FerryBatch *out_batch);
FerryPhase ferry_precopy_phase(const FerryPrecopy *machine);
gboolean ferry_precopy_timed_out(const FerryPrecopy *machine);
/* Where syncs, and clears that find something, put dirty pages: pending from the next SYNCED on,
 * so that no page is handed out twice between two syncs. Owned by the machine. Whoever clears and
 * then reads pages takes them out of found. */
FerryBitmap *ferry_precopy_found(FerryPrecopy *machine, unsigned block);
/* Not handed out yet; found ones count too. */
uint64_t ferry_precopy_pending_pages(const FerryPrecopy *machine);
/* Of those, pages that were never handed out. */
uint64_t ferry_precopy_unsent_pages(const FerryPrecopy *machine);
/* Of those, pages that were not found written either since the machine watches: what is known of
 * pages that are sent again says nothing about them. */
uint64_t ferry_precopy_unseen_pages(const FerryPrecopy *machine);
/* Pages that were pending when the last round ended: it left them for later. */
uint64_t ferry_precopy_deferred_pages(const FerryPrecopy *machine);
/* Handed out so far; of those, pages that had been handed out before. */
uint64_t ferry_precopy_handed_pages(const FerryPrecopy *machine);
uint64_t ferry_precopy_resent_pages(const FerryPrecopy *machine);
/* Of the last sync. */
const FerryDecision *ferry_precopy_decision(const FerryPrecopy *machine);
/* Of the last sync; FERRY_OUTLOOK_UNKNOWN with policies that do not watch. */
const FerryForecast *ferry_precopy_forecast(const FerryPrecopy *machine);
const FerryPolicyOps *ferry_precopy_policy(const FerryPrecopy *machine);
void ferry_precopy_free(FerryPrecopy *machine);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryPrecopy, ferry_precopy_free)

/* "setup", "iterate", ... */
const char *ferry_phase_name(FerryPhase phase);

G_END_DECLS
