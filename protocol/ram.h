/* Records of the ram section (idstr "ram", instance 0, version 4). Every record begins with a
 * big-endian word: the offset inside its block, with flags in the bits below the page size. */
#pragma once
#include <glib.h>
#include <stdint.h>
#include "protocol/stream.h"

G_BEGIN_DECLS

#define FERRY_RAM_IDSTR "ram"
#define FERRY_RAM_VERSION 4u
#define FERRY_PAGE_BITS 12u /* x86 */
#define FERRY_PAGE_SIZE (1u << FERRY_PAGE_BITS)
#define FERRY_RAM_BLOCKS_MAX 1024 /* more in one list is refused */

enum {
    FERRY_RAM_ZERO = 0x002,
    FERRY_RAM_MEM_SIZE = 0x004,
    FERRY_RAM_PAGE = 0x008,
    FERRY_RAM_EOS = 0x010,
    FERRY_RAM_CONTINUE = 0x020,
    FERRY_RAM_XBZRLE = 0x040,
    FERRY_RAM_HOOK = 0x080,
    FERRY_RAM_COMPRESS_PAGE = 0x100,
    FERRY_RAM_MULTIFD_FLUSH = 0x200,
};

typedef struct {
    uint64_t offset; /* MEM_SIZE: total bytes */
    unsigned flags;
    const char *idstr; /* of a page's record without CONTINUE; borrowed */
    uint32_t length;   /* of the bytes that follow: XBZRLE and COMPRESS_PAGE */
} FerryRamHeader;

#define FERRY_RAM_HEADER_MAX (8 + 1 + FERRY_IDSTR_MAX + 4) /* with what precedes a page's bytes */
/* What one compressed page may take, at most: more than any method makes of it. */
static inline size_t ferry_ram_compressed_max(size_t page_size)
{
    return page_size + page_size / 8 + 128;
}
#define FERRY_RAM_BLOCK_MAX (1 + FERRY_IDSTR_MAX + 8)

/* The record's header, up to where a page's bytes follow from the caller: with ZERO's fill byte,
 * with the encoding and length of XBZRLE and the length of COMPRESS_PAGE. */
size_t ferry_ram_header_encode(const FerryRamHeader *h, uint8_t out[static FERRY_RAM_HEADER_MAX]);
/* One entry of the block list that follows MEM_SIZE. */
size_t ferry_ram_block_encode(const char *idstr, uint64_t used_length,
                              uint8_t out[static FERRY_RAM_BLOCK_MAX]);

G_END_DECLS
