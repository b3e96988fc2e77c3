/* What the two files of the multifd loader share: multifd-load.c has threads, barriers and the end,
 * multifd-pipe.c reads one channel. */
#pragma once
#include <pthread.h>
#include "engine/compress.h"
#include "engine/multifd-load.h"
#include "transport/interrupt.h"

#define FERRY_MULTIFD_PAGES_MAX (FERRY_MULTIFD_PACKET_BYTES >> 10)

/* One channel. Its thread's own, but for the members that say otherwise. */
typedef struct {
    FerryMultifdLoader *loader;
    FerryChannel *channel;
    unsigned id;
    pthread_t thread;
    gboolean has_thread;
    FerryMultifdLoaded counts; /* atomic */

    /* Under the loader's lock. */
    gboolean at_sync; /* waits for main */
    gboolean behind;  /* has put pages since the last barrier */
    gboolean quiet;   /* waits for a packet, and nothing of one was there */
    gboolean done;    /* the thread reads no more */

    uint64_t offset; /* of the packet, in bytes on the channel */
    size_t have;     /* bytes of the next header that came with the payload before */
    FerryMultifdPacket packet;
    int block; /* of the last packet with pages */
    char idstr[FERRY_IDSTR_MAX + 1];
    FerryDecompressor *decompressor;
    uint8_t *payload;
    size_t payload_room;
    uint64_t offsets[FERRY_MULTIFD_PAGES_MAX];
    struct iovec iov[FERRY_MULTIFD_PAGES_MAX + 1];
    uint8_t header[FERRY_MULTIFD_HEADER_MAX];
} FerryMultifdPipe;

struct FerryMultifdLoader {
    FerryMultifdLoadOptions options;
    FerryMultifdPipe *pipes;
    unsigned page_bits;

    FerryWaitable waitable; /* guards all below, and the pipes' members that say so */
    gboolean method_known;
    FerryMultifdMethod method;
    uint64_t generation; /* barriers passed */
    gboolean ended, stopping;
    GError *error; /* the first channel's */
};

/* Read by other threads while it is counted. */
static inline void ferry_multifd_count(uint64_t *counter, uint64_t n)
{
    __atomic_fetch_add(counter, n, __ATOMIC_RELAXED);
}

/* multifd-pipe.c. One packet. FALSE without an error: the channel ended where it may. */
gboolean ferry_multifd_pipe_take(FerryMultifdPipe *pipe, GError **error);
void ferry_multifd_pipe_clear(FerryMultifdPipe *pipe);
/* multifd-load.c. A packet with pages of @method comes: may it? FALSE without an error when nobody
 * wants it any more. */
gboolean ferry_multifd_loader_admit(FerryMultifdPipe *pipe, FerryMultifdMethod method,
                                    GError **error);
/* Before and after the wait for a packet of which nothing is there. */
void ferry_multifd_loader_quiet(FerryMultifdPipe *pipe, gboolean quiet);
/* Until main's barrier. FALSE: the end. */
gboolean ferry_multifd_loader_wait(FerryMultifdPipe *pipe);
