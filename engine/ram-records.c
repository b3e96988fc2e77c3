#include "engine/ram-records.h"
#include <string.h>

/* A section's header, its end, and the one record of a batch that may carry a block's name. */
#define SLACK_IOV 4
#define SLACK_HEADERS (FERRY_SECTION_HEADER_MAX + FERRY_RAM_HEADER_MAX + FERRY_RAM_BLOCK_MAX + 32)
#define CONTINUED_MAX 12 /* a compressed page of the same block */

void ferry_ram_records_init(FerryRamRecords *r, FerryChannel *channel, uint64_t progress_ns)
{
    r->channel = channel;
    r->progress_ns = progress_ns;
    r->last_block = -1;
}

/* Header bytes that follow one another share one piece of the gather. */
static void add_header(FerryRamRecords *r, size_t n)
{
    uint8_t *bytes = r->headers + r->headers_used;
    struct iovec *last = r->n_iov ? &r->iov[r->n_iov - 1] : NULL;

    r->headers_used += n;
    if (last && (uint8_t *)last->iov_base + last->iov_len == bytes) {
        last->iov_len += n;
        return;
    }
    r->iov[r->n_iov++] = (struct iovec){.iov_base = bytes, .iov_len = n};
}

static uint8_t *header_room(FerryRamRecords *r) { return r->headers + r->headers_used; }

gboolean ferry_ram_records_has_room(const FerryRamRecords *r, uint64_t n)
{
    return (uint64_t)r->n_iov + 2 * n + SLACK_IOV <= FERRY_RAM_GATHER_MAX &&
           r->headers_used + n * CONTINUED_MAX + SLACK_HEADERS <= FERRY_RAM_HEADERS_SIZE;
}

gboolean ferry_ram_records_is_empty(const FerryRamRecords *r) { return r->n_iov == 0; }

uint64_t ferry_ram_records_gathered(const FerryRamRecords *r)
{
    return r->headers_used + r->page_bytes;
}

gboolean ferry_ram_records_flush(FerryRamRecords *r, GError **error)
{
    int n = r->n_iov;

    r->n_iov = 0;
    r->headers_used = r->page_bytes = 0;
    return n == 0 || ferry_channel_writev_all(r->channel, r->iov, n, r->progress_ns, error);
}

void ferry_ram_records_begin(FerryRamRecords *r, FerrySectionType type)
{
    FerrySectionHeader h = {.type = type,
                            .section_id = FERRY_RAM_SECTION_ID,
                            .idstr = FERRY_RAM_IDSTR,
                            .version_id = FERRY_RAM_VERSION};
    add_header(r, ferry_section_header_encode(&h, header_room(r)));
    r->in_section = TRUE;
}

void ferry_ram_records_end(FerryRamRecords *r)
{
    FerryRamHeader eos = {.flags = FERRY_RAM_EOS};
    ferry_ram_records_add(r, &eos);
    add_header(r, ferry_section_footer_encode(FERRY_RAM_SECTION_ID, header_room(r)));
    r->in_section = FALSE;
}

void ferry_ram_records_add(FerryRamRecords *r, const FerryRamHeader *header)
{
    add_header(r, ferry_ram_header_encode(header, header_room(r)));
}

void ferry_ram_records_add_block(FerryRamRecords *r, const char *idstr, uint64_t length)
{
    add_header(r, ferry_ram_block_encode(idstr, length, header_room(r)));
}

void ferry_ram_records_add_page(FerryRamRecords *r, unsigned block, FerryRamHeader header,
                                const void *bytes, size_t n)
{
    if (r->last_block == (int)block) {
        header.flags |= FERRY_RAM_CONTINUE;
    }
    r->last_block = (int)block;
    ferry_ram_records_add(r, &header);
    if (bytes) {
        r->iov[r->n_iov++] = (struct iovec){.iov_base = (void *)bytes, .iov_len = n};
        r->page_bytes += n;
    }
}

void ferry_ram_records_add_bytes(FerryRamRecords *r, const void *bytes, size_t n)
{
    g_assert(n <= FERRY_RAM_HEADER_MAX);
    memcpy(header_room(r), bytes, n);
    add_header(r, n);
}
