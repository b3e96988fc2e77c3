/* What a migration needs to know of a guest: its memory, its dirty log, its devices, and how to
 * pause, resume and slow it down. The embedder describes its guest once; a source or a destination
 * borrows the description. */
#pragma once
#include "dirtylog/dirtylog.h"
#include "engine/error.h"
#include "engine/memory.h"

G_BEGIN_DECLS

/* Why the engine pauses a guest. */
typedef enum {
    FERRY_PAUSE_REHEARSAL,  /* for a moment, to learn what a pause costs: resume follows at once.
                             * Users  need not hear of it */
    FERRY_PAUSE_SWITCHOVER, /* the destination is to run it; resume follows only on failure */
} FerryPauseReason;

/* Called by the thread that runs the source or the destination. throttle may be NULL. */
typedef struct {
    /* Stop every writer: on return all vCPUs are in user space, devices are quiet, and guest memory
     * does not change until resume. *out_was_running: FALSE if it was paused already. */
    gboolean (*pause)(void *self, FerryPauseReason why, gboolean *out_was_running, GError **error);
    /* Run from exactly the state it has now. On a destination: the guest's first instruction here.
     */
    gboolean (*resume)(void *self, GError **error);
    /* Let vCPUs run (100 - @percent) % of the time; 0 ends it. 0 <= percent <= 99. */
    void (*throttle)(void *self, unsigned percent);
} FerryGuestOps;

/* One device section of the stream. Both callbacks are called while the guest is paused. */
typedef struct {
    /* Append the device's state to @body. */
    gboolean (*save)(void *self, GByteArray *body, GError **error);
    /* Take the state over. @body is untrusted: refuse what the device could not have saved.
     * @version is at most the one the device was added with. */
    gboolean (*load)(void *self, const uint8_t *body, size_t length, uint32_t version,
                     GError **error);
} FerryDeviceOps;

typedef struct FerryGuest FerryGuest;
/* @machine: the machine type's name in the stream's configuration, equal on both sides (at most 255
 * bytes). @ops and @self are borrowed. */
FerryGuest *ferry_guest_new(const char *machine, const FerryGuestOps *ops, void *self);
/* The guest's RAM, empty at first; owned by the guest. */
FerryMemory *ferry_guest_memory(FerryGuest *guest);
/* Devices are saved and loaded in the order in which they were added. @idstr is copied; it is at
 * most 255 bytes, and unique together with @instance. @ops and @self are borrowed. "ram",
 * "globalstate" and names that begin with "ferry/" are the engine's own. */
gboolean ferry_guest_add_device(FerryGuest *guest, const char *idstr, uint32_t instance,
                                uint32_t version, const FerryDeviceOps *ops, void *self,
                                GError **error);
/* Tells it from other guests: a source says it on multifd's channels, and with validate-uuid in the
 * stream; a destination that has one takes no other. Before a migration. */
void ferry_guest_set_uuid(FerryGuest *guest, const uint8_t uuid[16]);
/* Takes @log, whose blocks must be those of the memory. A source needs one: a guest without, or
 * with a writer that no log sees, cannot be migrated. */
void ferry_guest_set_dirty_log(FerryGuest *guest, FerryDirtyLog *log);
/* What a trace of this guest's memory says of it: vCPUs (0: not known), and in words what runs in
 * it (copied; NULL: not known). Before it is migrated or recorded. */
void ferry_guest_set_profile(FerryGuest *guest, unsigned n_vcpus, const char *workload);
/* Why this guest cannot be migrated now ("device X is passed through"); NULL: it can. Copied. Say
 * it when a writer has no dirty log. Any thread. */
void ferry_guest_set_blocker(FerryGuest *guest, const char *reason);
void ferry_guest_free(FerryGuest *guest);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryGuest, ferry_guest_free)

G_END_DECLS
