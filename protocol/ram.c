#include "protocol/ram.h"
#include "protocol/wire.h"

size_t ferry_ram_header_encode(const FerryRamHeader *h, uint8_t out[static FERRY_RAM_HEADER_MAX])
{
    unsigned kind = h->flags & ~(unsigned)FERRY_RAM_CONTINUE;
    size_t n = 8;

    g_assert((h->offset & h->flags) == 0);
    ferry_put_be64(out, h->offset | h->flags);
    if (kind != FERRY_RAM_PAGE && kind != FERRY_RAM_ZERO) {
        return n; /* about the stream, not about a page */
    }
    if (!(h->flags & FERRY_RAM_CONTINUE)) {
        n += ferry_put_name(out + n, h->idstr);
    }
    if (kind == FERRY_RAM_ZERO) {
        out[n++] = 0;
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
