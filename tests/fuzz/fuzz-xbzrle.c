/* A delta. First byte: the page's size; the rest is a delta, and then what is new in a page. */
#include "tests/fuzz/fuzz.h"
#include <string.h>
#include "protocol/stream.h"
#include "protocol/xbzrle.h"

static void fill(uint8_t *page, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        page[i] = (uint8_t)(i * 31 >> 3);
    }
}

/* What one end encodes, the other decodes, in exactly as much room as it takes. */
static void go_round(const uint8_t *old, const uint8_t *new, size_t page_size)
{
    g_autofree uint8_t *wire = g_malloc(page_size), *copy = g_memdup2(old, page_size);
    gssize n = ferry_xbzrle_encode(old, new, page_size, wire, page_size);
    g_autofree uint8_t *exact = n > 0 ? g_malloc((gsize)n) : NULL;

    if (n > 0) {
        g_assert(ferry_xbzrle_encode(old, new, page_size, exact, (size_t)n) == n);
        g_assert(ferry_xbzrle_encode(old, new, page_size, wire, (size_t)n - 1) == -1);
        g_assert(ferry_xbzrle_decode(exact, (size_t)n, copy, page_size, NULL));
    }
    g_assert(n < 0 || memcmp(copy, new, page_size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const size_t sizes[] = {1024, 4096, 16384, 65536};
    g_autofree uint8_t *old = NULL, *new = NULL;
    g_autoptr(GError) error = NULL;
    size_t page_size;

    if (size < 1) {
        return 0;
    }
    page_size = sizes[data[0] % G_N_ELEMENTS(sizes)];
    old = g_malloc(page_size);
    fill(old, page_size);
    new = g_memdup2(old, page_size);
    if (ferry_xbzrle_decode(data + 1, size - 1, new, page_size, &error)) {
        go_round(old, new, page_size);
    } else {
        g_assert(error->domain == FERRY_PROTOCOL_ERROR);
        g_assert(memcmp(old, new, page_size) == 0);
        memcpy(new + (data[0] >> 2), data + 1, MIN(size - 1, page_size - 64));
        go_round(old, new, page_size);
    }
    return 0;
}
