#include "protocol/ram.h"
#include "protocol/wire.h"
#include "protocol/xbzrle.h"

size_t ferry_ram_header_encode(const FerryRamHeader *h, uint8_t out[static FERRY_RAM_HEADER_MAX])
{
    unsigned kind = h->flags & ~(unsigned)FERRY_RAM_CONTINUE;
    size_t n = 8;

    g_assert((h->offset & h->flags) == 0);
    ferry_put_be64(out, h->offset | h->flags);
    if (!(kind & (FERRY_RAM_PAGE | FERRY_RAM_ZERO | FERRY_RAM_XBZRLE | FERRY_RAM_COMPRESS_PAGE))) {
        return n; /* about the stream, not about a page */
    }
    if (!(h->flags & FERRY_RAM_CONTINUE)) {
        n += ferry_put_name(out + n, h->idstr);
    }
    if (kind == FERRY_RAM_ZERO) {
        out[n++] = 0;
    } else if (kind == FERRY_RAM_XBZRLE) {
        g_assert(h->length <= G_MAXUINT16);
        out[n++] = FERRY_XBZRLE_ENCODING;
        ferry_put_be16(out + n, (uint16_t)h->length);
        n += 2;
    } else if (kind == FERRY_RAM_COMPRESS_PAGE) {
        ferry_put_be32(out + n, h->length);
        n += 4;
    }
    return n;
}

size_t ferry_ram_block_encode(const char *idstr, uint64_t used_length,
                              uint8_t out[static FERRY_RAM_BLOCK_MAX])
{
    size_t n = ferry_put_name(out, idstr);

    ferry_put_be64(out + n, used_length);
    return n + 8;
}
