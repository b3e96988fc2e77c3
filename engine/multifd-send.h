/* The sending ends of multifd's channels. Each has a thread that owns the channel, its compressor
 * and its buffers; the source's thread hands them packets' worth of pages through one queue, and is
 * the only one that calls these functions. */
#pragma once
#include "engine/memory.h"
#include "protocol/multifd.h"
#include "transport/transport.h"

#define FERRY_MULTIFD_JOB_PAGES (FERRY_MULTIFD_PACKET_BYTES >> 12)

/* One packet: pages of one block, in ascending order. */
typedef struct {
    unsigned block;
    unsigned n;
    gboolean stable;    /* nobody writes to them any more */
    gboolean find_zero; /* zero pages are only named in the packet */
    uint64_t pages[FERRY_MULTIFD_JOB_PAGES];
} FerryMultifdJob;

typedef struct {
    const FerryMemory *memory; /* borrowed */
    FerryMultifdMethod method; /* NONE, ZLIB, ZSTD */
    int level;
    gboolean adaptive;     /* each channel finds the level that suits; @level is where it begins */
    FerryChannel *limited; /* borrowed; the channels join its rate limit */
    uint8_t uuid[16];      /* in the hellos */
    uint64_t progress_ns;  /* the longest wait for a channel to take something */
} FerryMultifdSendOptions;

typedef struct {
    uint64_t normal_pages, zero_pages;
    uint64_t coded_pages, coded_bytes; /* given to the method, and what came of them */
} FerryMultifdSendCounts;

typedef struct FerryMultifdSend FerryMultifdSend;
/* @options are copied. */
FerryMultifdSend *ferry_multifd_send_new(const FerryMultifdSendOptions *options);
/* Takes @channel, the next one: says hello on it and starts its thread. At most
 * FERRY_MULTIFD_CHANNELS_MAX; none after the first job. */
gboolean ferry_multifd_send_add(FerryMultifdSend *send, FerryChannel *channel, GError **error);
gboolean ferry_multifd_send_has_room(FerryMultifdSend *send);
gboolean ferry_multifd_send_is_idle(FerryMultifdSend *send);
/* Copies @job; there must be room. */
void ferry_multifd_send_job(FerryMultifdSend *send, const FerryMultifdJob *job);
/* Every channel says SYNC once what was handed over is written. No job before that is done. */
void ferry_multifd_send_sync(FerryMultifdSend *send);
/* Waits for room, or until all jobs are written and no SYNC is owed. 1: so it is, 0: the deadline
 * passed, -1: a channel failed, and nothing more is sent on any. */
typedef enum { FERRY_MULTIFD_ROOM, FERRY_MULTIFD_IDLE } FerryMultifdWait;
int ferry_multifd_send_wait(FerryMultifdSend *send, FerryMultifdWait what, uint64_t deadline_ns,
                            GError **error);
FerryMultifdSendCounts ferry_multifd_send_counts(FerryMultifdSend *send);
uint64_t ferry_multifd_send_bytes_written(const FerryMultifdSend *send);
/* Of all channels together; ferry_channel_limit_queue()'s. */
void ferry_multifd_send_limit_queue(FerryMultifdSend *send, uint64_t bytes);
uint64_t ferry_multifd_send_queued(const FerryMultifdSend *send);
uint64_t ferry_multifd_send_waited_ns(const FerryMultifdSend *send); /* a channel's mean */
/* Ends the threads; cuts the channels if something is still under way. Totals can still be asked
 * for. */
void ferry_multifd_send_stop(FerryMultifdSend *send);
void ferry_multifd_send_free(FerryMultifdSend *send);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryMultifdSend, ferry_multifd_send_free)
