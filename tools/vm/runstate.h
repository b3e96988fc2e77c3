/* Whether the guest runs, and why not: QEMU's RunState, moved by the monitor (stop, cont), by the
 * engine (pause and resume for a migration), by a migration's end, and by the guest itself. Every
 * function: any thread but a vCPU's. */
#pragma once
#include "engine/ferry.h"
#include "tools/vm/vcpus.h"

G_BEGIN_DECLS

typedef struct Runstate Runstate;
/* Called for "STOP" and "RESUME", without locks. */
typedef void (*RunstateEvent)(void *self, const char *name);
/* A guest that stands still: in state inmigrate with @incoming, else prelaunch. @start_paused (-S):
 * a guest that comes in waits for cont. Borrows @vcpus and @self. */
Runstate *runstate_new(Vcpus *vcpus, gboolean incoming, gboolean start_paused, RunstateEvent event,
                       void *self);
/* QEMU's name of the state. */
const char *runstate_name(Runstate *runstate);

/* The monitor's. stop while a migration has the guest paused: it stays paused when it comes back.
 * cont fails in states that only a migration's end or nothing can leave. Whether the guest is still
 * here to run is the migration's to know, and asked before. */
gboolean runstate_stop(void *runstate, GError **error);
gboolean runstate_cont(void *runstate, GError **error);

/* The engine's: FerryGuestOps of a Runstate. */
extern const FerryGuestOps runstate_guest_ops;
/* The migration has this status now. */
void runstate_migration(Runstate *runstate, FerryStatus status);

/* To be called after VcpuOps.stopped: a vCPU gave up by itself. */
void runstate_settle(Runstate *runstate);
void runstate_free(Runstate *runstate);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Runstate, runstate_free)

G_END_DECLS
