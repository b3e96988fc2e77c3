/* QEMU's mapped-ram layout (capability "mapped-ram", 9.0 and later): the stream in a file, with a
 * block's pages at fixed places. Behind each entry of the block list stands a header, behind that a
 * bitmap of the pages that are present, then, aligned, the pages. The list goes on behind the
 * block's last page. A page whose bit is clear is zero and never read. Pure. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

#define FERRY_CAPABILITY_MAPPED_RAM "mapped-ram"
#define FERRY_MAPPED_HEADER_SIZE 28
#define FERRY_MAPPED_ALIGNMENT (1u << 20) /* of pages_offset, as QEMU writes it */

typedef struct {
    uint64_t page_size;
    uint64_t bitmap_offset; /* from the start of the file; the header's end */
    uint64_t pages_offset;  /* from the start of the file */
} FerryMappedHeader;

void ferry_mapped_header_encode(const FerryMappedHeader *header,
                                uint8_t out[static FERRY_MAPPED_HEADER_SIZE]);
/* Where QEMU puts things, for a header that stands at @at in the file. */
FerryMappedHeader ferry_mapped_header_place(uint64_t at, uint64_t used_length, uint64_t page_size);
/* @at: where in the file @bytes are. Checked: version, page size (must be @page_size), the bitmap
 * right behind the header, the pages behind the bitmap and aligned to a page, no sum beyond what a
 * file can hold. So no two blocks of a list can overlap. That they end inside the file is the
 * caller's to judge. */
gboolean ferry_mapped_header_decode(const uint8_t bytes[static FERRY_MAPPED_HEADER_SIZE],
                                    uint64_t at, uint64_t used_length, uint64_t page_size,
                                    FerryMappedHeader *out_header, GError **error);
/* Bytes of the bitmap of a block: whole 64-bit little-endian words. */
static inline uint64_t ferry_mapped_bitmap_size(uint64_t used_length, uint64_t page_size)
{
    return (used_length / page_size + 63) / 64 * 8;
}

G_END_DECLS
