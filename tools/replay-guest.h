/* A guest without a CPU: memory, and a thread that does a trace's writes to it, in time. Frames
 * come from a callback; memory belongs to the caller. */
#pragma once
#include "engine/ferry.h"
#include "tools/replay-clock.h"
#include "tools/replay-content.h"
#include "trace/trace.h"

G_BEGIN_DECLS

/* Pages of the trace, and where they are: one block behind the other, from page 0 on. */
typedef struct {
    uint8_t *host;
    uint64_t n_pages;
    unsigned block; /* of the guest's memory */
} FerryReplayPlace;

/* Called by the writing thread. */
typedef struct {
    /* The frame behind the last one; borrowed until the next call. FALSE: there is none. *out_lap:
     * how often the trace was played before. Its begin_ns is in the guest's time, which goes on
     * from lap to lap. */
    gboolean (*next)(void *self, FerryTraceFrame *out_frame, uint64_t *out_lap);
    void *self;
} FerryReplayFrames;

typedef struct {
    const FerryReplayPlace *places; /* copied */
    unsigned n_places;
    const uint8_t *classes; /* of each page at first; borrowed until the guest is made */
    FerryReplayContent content;
    uint64_t seed, start_ns; /* of the guest's time at first */
    double speed;
    FerryInterrupt *interrupt; /* ends the filling of memory; NULL: nothing does. Borrowed */
    FerryDirtyMarks *marks;    /* each write is marked; NULL: a log sees it by itself. Borrowed */
    FerryReplayFrames frames;
} FerryReplayGuestOptions;

typedef struct {
    uint64_t writes;
    uint64_t late_ns_max, late_ns_mean; /* of when a write was done behind when it was due, in
                                         * real time at full speed; the mean over writes */
    uint64_t late_writes;               /* by more than FERRY_REPLAY_LATE_NS */
    uint64_t guest_ns;                  /* the guest's time now */
    uint64_t cpu_ns;                    /* of the writing thread */
    gboolean running, ended;            /* ended: the last frame was played */
} FerryReplayStats;
#define FERRY_REPLAY_LATE_NS 10000000u

typedef struct FerryReplayGuest FerryReplayGuest;
/* Fills memory with the chosen content (classes say what), makes the thread; the guest stands. */
FerryReplayGuest *ferry_replay_guest_new(const FerryReplayGuestOptions *options, GError **error);
/* For ferry_guest_new(), with the replay guest as self. */
extern const FerryGuestOps ferry_replay_guest_ops;
/* The guest runs from here on. */
void ferry_replay_guest_start(FerryReplayGuest *guest);
/* Any thread. */
void ferry_replay_guest_get_stats(FerryReplayGuest *guest, FerryReplayStats *out_stats);
/* It stands from here on, and takes no more frames. Its memory, clock and numbers stay. */
void ferry_replay_guest_end(FerryReplayGuest *guest);
/* Behind end: how its time passed. Borrowed. */
const FerryReplayClock *ferry_replay_guest_clock(const FerryReplayGuest *guest);
/* Ends it first. */
void ferry_replay_guest_free(FerryReplayGuest *guest);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryReplayGuest, ferry_replay_guest_free)

/* The guest's time, be64: the one device it has. */
extern const FerryDeviceOps ferry_replay_device_ops;
#define FERRY_REPLAY_DEVICE "replay-clock"

G_END_DECLS
