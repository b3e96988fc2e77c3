#include "trace/class.h"
#include <string.h>
#include "trace/trace.h"

#define SIXTEENTH (FERRY_PAGE_CLASS_BYTES / 16)
#define LEVEL 1

uint8_t ferry_page_class(const void *page, ZSTD_CCtx *packer)
{
    uint8_t copy[FERRY_PAGE_CLASS_BYTES]; /* zstd must see the same bytes however often it looks */
    uint8_t packed[ZSTD_COMPRESSBOUND(FERRY_PAGE_CLASS_BYTES)];
    size_t n;

    memcpy(copy, page, sizeof copy);
    if (memcmp(copy, copy + 1, sizeof copy - 1) == 0) {
        return copy[0] == 0 ? FERRY_TRACE_CLASS_ZERO : FERRY_TRACE_CLASS_SAME;
    }
    n = ZSTD_compressCCtx(packer, packed, sizeof packed, copy, sizeof copy, LEVEL);
    if (ZSTD_isError(n)) { /* no memory for its tables */
        return FERRY_TRACE_CLASS_UNKNOWN;
    }
    return (uint8_t)(FERRY_TRACE_CLASS_PACKED + MIN((n - 1) / SIXTEENTH, 15));
}
