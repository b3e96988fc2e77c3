#include "protocol/mapped-ram.h"
#include <inttypes.h>
#include "protocol/stream.h"
#include "protocol/wire.h"

#define VERSION 1u
#define FILE_MAX ((uint64_t)G_MAXINT64) /* what a file's offset can be */

void ferry_mapped_header_encode(const FerryMappedHeader *header,
                                uint8_t out[static FERRY_MAPPED_HEADER_SIZE])
{
    ferry_put_be32(out, VERSION);
    ferry_put_be64(out + 4, header->page_size);
    ferry_put_be64(out + 12, header->bitmap_offset);
    ferry_put_be64(out + 20, header->pages_offset);
}

FerryMappedHeader ferry_mapped_header_place(uint64_t at, uint64_t used_length, uint64_t page_size)
{
    FerryMappedHeader h = {.page_size = page_size, .bitmap_offset = at + FERRY_MAPPED_HEADER_SIZE};
    uint64_t end = h.bitmap_offset + ferry_mapped_bitmap_size(used_length, page_size);
    uint64_t mask = FERRY_MAPPED_ALIGNMENT - 1;

    h.pages_offset = (end + mask) & ~mask;
    return h;
}

static gboolean check_place(const FerryMappedHeader *h, uint64_t at, uint64_t used_length,
                            GError **error)
{
    uint64_t bitmap = ferry_mapped_bitmap_size(used_length, h->page_size);

    if (h->bitmap_offset != at + FERRY_MAPPED_HEADER_SIZE) {
        g_set_error(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_MALFORMED,
                    "mapped-ram: bitmap at %" PRIu64 ", but the header ends at %" PRIu64,
                    h->bitmap_offset, at + FERRY_MAPPED_HEADER_SIZE);
        return FALSE;
    }
    if (h->pages_offset < h->bitmap_offset || h->pages_offset - h->bitmap_offset < bitmap ||
        h->pages_offset & (h->page_size - 1)) {
        g_set_error(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_MALFORMED,
                    "mapped-ram: pages at %" PRIu64
                    " are not aligned or begin inside the bitmap (%" PRIu64 " bytes at %" PRIu64
                    ")",
                    h->pages_offset, bitmap, h->bitmap_offset);
        return FALSE;
    }
    if (h->pages_offset > FILE_MAX || used_length > FILE_MAX - h->pages_offset) {
        g_set_error(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_MALFORMED,
                    "mapped-ram: %" PRIu64 " bytes of pages at %" PRIu64 ": no file is that long",
                    used_length, h->pages_offset);
        return FALSE;
    }
    return TRUE;
}

gboolean ferry_mapped_header_decode(const uint8_t bytes[static FERRY_MAPPED_HEADER_SIZE],
                                    uint64_t at, uint64_t used_length, uint64_t page_size,
                                    FerryMappedHeader *out_header, GError **error)
{
    FerryMappedHeader h = {.page_size = ferry_get_be64(bytes + 4),
                           .bitmap_offset = ferry_get_be64(bytes + 12),
                           .pages_offset = ferry_get_be64(bytes + 20)};

    if (ferry_get_be32(bytes) != VERSION) {
        g_set_error(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_UNSUPPORTED,
                    "mapped-ram: version %" PRIu32 " is not supported (only 1 is)",
                    ferry_get_be32(bytes));
        return FALSE;
    }
    if (h.page_size != page_size) {
        g_set_error(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_MALFORMED,
                    "mapped-ram: pages of %" PRIu64 " bytes, but the stream's are %" PRIu64,
                    h.page_size, page_size);
        return FALSE;
    }
    if (!check_place(&h, at, used_length, error)) {
        return FALSE;
    }
    *out_header = h;
    return TRUE;
}
