/* One packet of a multifd channel, put together: which pages have content, what header they get and
 * how their bytes follow. Belongs to the channel's thread; reads guest memory, writes nothing. */
#pragma once
#include "engine/compress.h"
#include "engine/multifd-send.h"
#include "engine/precopy/level.h"

#define FERRY_MULTIFD_PACKET_IOV (1 + FERRY_RAW_PIECES_MAX(FERRY_MULTIFD_JOB_PAGES))

typedef struct {
    FerryMultifdMethod method;
    FerryCompressor *compressor; /* NULL: method NONE */
    uint8_t *copy, *out;         /* of a packet's pages; what they were compressed to */
    unsigned n_normal, n_zero;
    uint64_t offsets[FERRY_MULTIFD_JOB_PAGES]; /* those with content, then those without */
    unsigned n_pieces;
    struct iovec pieces[FERRY_MULTIFD_JOB_PAGES]; /* the content, neighbours together */
    uint8_t header[FERRY_MULTIFD_HEADER_MAX];
    /* What to write, valid until the next one and, with method NONE and raw packets, in part guest
     * memory. */
    int n_iov;
    struct iovec iov[FERRY_MULTIFD_PACKET_IOV];
    FerryMultifdSendCounts counts; /* of all so far */

    gboolean adaptive;
    unsigned first_step;
    FerryLevel level;
    FerryLevelPacket packet; /* what is known of the one put together */
    FerryCompressor *trial;  /* NULL until there is one */
    uint8_t *trial_out;
    unsigned trial_step; /* of the last trial; 0: none */
    gboolean was_stable;
} FerryMultifdPacker;

void ferry_multifd_packer_init(FerryMultifdPacker *packer, const FerryMultifdSendOptions *options);
void ferry_multifd_packer_clear(FerryMultifdPacker *packer);
void ferry_multifd_packer_pages(FerryMultifdPacker *packer, const FerryMemoryBlock *block,
                                const FerryMultifdJob *job, uint64_t packet_num);
/* The packet is written. @link_busy: FerryLevelPacket's; @queued: now, -1 if not
 * known. */
void ferry_multifd_packer_written(FerryMultifdPacker *packer, uint64_t write_ns, gboolean link_busy,
                                  gint64 queued);
void ferry_multifd_packer_sync(FerryMultifdPacker *packer, uint64_t packet_num);
