/* The receiving half of a migration. Belongs to the thread that runs it. Everything the peer sends
 * is untrusted until the end. */
#pragma once
#include "engine/guest.h"
#include "engine/progress.h"
#include "protocol/method.h"
#include "transport/channel.h"

G_BEGIN_DECLS

typedef struct {
    uint64_t io_timeout_ns;  /* longest silence of the source; 0 = 10 s */
    gboolean keep_paused;    /* do not start the guest (-S), even if it ran at the source */
    const char *record_path; /* handover record, written on GO; NULL = none. Copied */
    gboolean switchover_ack; /* give the source its leave to switch over when it may be asked */
    unsigned page_bits;      /* of a source that does not say; 0 = 12 (x86) */
    size_t max_device_bytes; /* device state and description together; 0 = 24 MiB, at most 1 GiB */
    gboolean mapped_ram;     /* @channel is a file that says so; a stranger's may or may not */
    gboolean description_optional; /* the source may be one that sends none (old machine types) */
    /* The multifd channels, whose hellos were taken: a thread of its own reads each. The array is
     * copied; the channels are taken, and have the destination's interrupt. */
    FerryChannel *const *multifd;
    unsigned n_multifd;
    gboolean any_method; /* what the first packet has; else multifd_method and nothing else */
    FerryMultifdMethod multifd_method;
    const uint8_t *multifd_uuid; /* that their hellos had (16 bytes); NULL: not known. Copied */
    /* Called when loading begins, when the list of blocks is accepted and at the handover, by the
     * running thread. May be NULL. */
    void (*notify)(void *self, const FerryProgress *progress);
    void *notify_self;
} FerryDestinationOptions;

typedef struct FerryDestination FerryDestination;
/* Borrows @guest, whose memory is known zero and whose devices are in their reset state, and
 * @interrupt; takes @channel. */
FerryDestination *ferry_destination_new(FerryGuest *guest, FerryChannel *channel,
                                        FerryInterrupt *interrupt,
                                        const FerryDestinationOptions *options);
/* Blocks until the guest is here and this side owns it: it runs, or stays paused when it was paused
 * at the source or keep_paused is set (see ferry_destination_was_running). On FALSE guest memory is
 * zero again and the guest must not run, except after FERRY_ENGINE_ERROR_UNSURE: then everything is
 * loaded and whole, but the source may still own the guest. */
gboolean ferry_destination_run(FerryDestination *destination, GError **error);
/* Any thread. TRUE: run() returns FERRY_ENGINE_ERROR_CANCELLED within a second. FALSE: too late. */
gboolean ferry_destination_cancel(FerryDestination *destination);
/* Any thread. Phases and byte counts; no predictions. */
void ferry_destination_get_progress(FerryDestination *destination, FerryProgress *out_progress);
/* After run: whether the guest ran when it was paused at the source. */
gboolean ferry_destination_was_running(const FerryDestination *destination);
/* After UNSURE, when the source is known not to run the guest (its process is gone, or its record
 * says RELEASED): this side owns it now, and runs it as run() would have. */
gboolean ferry_destination_resolve(FerryDestination *destination, GError **error);
void ferry_destination_free(FerryDestination *destination);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryDestination, ferry_destination_free)

G_END_DECLS
