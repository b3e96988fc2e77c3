/* Records of the ram section on the main channel, gathered with the bytes that follow them and
 * written in large pieces. Belongs to the source's thread. */
#pragma once
#include "protocol/ram.h"
#include "transport/channel.h"

#define FERRY_RAM_SECTION_ID 2

/* IOV_MAX, and room for the headers between: a full gather is 2 MiB of pages. */
#define FERRY_RAM_GATHER_MAX 1024
#define FERRY_RAM_HEADERS_SIZE (32u << 10)

typedef struct {
    FerryChannel *channel; /* borrowed */
    uint64_t progress_ns;
    gboolean in_section;
    int last_block; /* named by an earlier record of this channel; -1: none yet */
    int n_iov;
    size_t headers_used, page_bytes; /* gathered: bytes of the records, and of what they point at */
    struct iovec iov[FERRY_RAM_GATHER_MAX];
    uint8_t headers[FERRY_RAM_HEADERS_SIZE];
} FerryRamRecords;

/* @progress_ns: the longest wait for the channel to take something. */
void ferry_ram_records_init(FerryRamRecords *records, FerryChannel *channel, uint64_t progress_ns);
/* Whether records of @n pages, and begin and end of their section, fit before a flush. */
gboolean ferry_ram_records_has_room(const FerryRamRecords *records, uint64_t n);
gboolean ferry_ram_records_is_empty(const FerryRamRecords *records);
/* What a flush would write. */
uint64_t ferry_ram_records_gathered(const FerryRamRecords *records);
/* Writes everything out; only then are the bytes read that the records point at. */
gboolean ferry_ram_records_flush(FerryRamRecords *records, GError **error);
void ferry_ram_records_begin(FerryRamRecords *records, FerrySectionType type);
void ferry_ram_records_end(FerryRamRecords *records);
/* A record without a page: MEM_SIZE, MULTIFD_FLUSH. */
void ferry_ram_records_add(FerryRamRecords *records, const FerryRamHeader *header);
/* An entry of the list behind MEM_SIZE. */
void ferry_ram_records_add_block(FerryRamRecords *records, const char *idstr, uint64_t length);
/* A page's record; CONTINUE is set here. @bytes (NULL: none follow) are borrowed until the flush.
 */
void ferry_ram_records_add_page(FerryRamRecords *records, unsigned block, FerryRamHeader header,
                                const void *bytes, size_t n);
/* Bytes of another kind, copied: at most FERRY_RAM_HEADER_MAX, with the room of one page. */
void ferry_ram_records_add_bytes(FerryRamRecords *records, const void *bytes, size_t n);
