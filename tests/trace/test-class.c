#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>
#include "trace/class.h"
#include "trace/trace.h"

static uint8_t class_of(const uint8_t *page)
{
    ZSTD_CCtx *packer = ZSTD_createCCtx();
    uint8_t class = ferry_page_class(page, packer);

    ZSTD_freeCCtx(packer);
    return class;
}

/* Bytes that no packer makes smaller. */
static void noise(uint8_t *at, size_t n)
{
    uint64_t x = 88172645463325252u;

    for (size_t i = 0; i < n; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        at[i] = (uint8_t)(x >> 32);
    }
}

/* A page of zeros but for its first bytes, which are noise. */
typedef struct {
    unsigned noise, least, most;
} Row;
ParameterizedTestParameters(class, noise)
{
    static Row rows[] = {
        {0,    FERRY_TRACE_CLASS_ZERO,   FERRY_TRACE_CLASS_ZERO  },
        {1,    FERRY_TRACE_CLASS_PACKED, FERRY_TRACE_CLASS_PACKED},
        {200,  2,                        3                       },
        {1024, 6,                        7                       },
        {2048, 10,                       11                      },
        {3072, 14,                       15                      },
        {4096, 17,                       17                      },
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Row *row, class, noise)
{
    uint8_t page[FERRY_PAGE_CLASS_BYTES] = {0}, class;

    noise(page, row->noise);
    class = class_of(page);
    cr_expect(class >= row->least && class <= row->most, "%u bytes of noise: %u", row->noise,
              class);
}

Test(class, same_byte_everywhere)
{
    uint8_t page[FERRY_PAGE_CLASS_BYTES + 1];

    memset(page, 0x5a, sizeof page);
    cr_expect_eq(class_of(page), FERRY_TRACE_CLASS_SAME);
    cr_expect_eq(class_of(page + 1), FERRY_TRACE_CLASS_SAME, "unaligned");
    page[4095] = 0x5b;
    cr_expect_eq(class_of(page), FERRY_TRACE_CLASS_PACKED, "but for the last");
}

Test(class, is_the_sixteenth_that_it_packs_to)
{
    uint8_t page[FERRY_PAGE_CLASS_BYTES] = {0}, packed[2 * sizeof page];

    for (unsigned n = 8; n < sizeof page; n += 56) {
        noise(page, n);
        size_t size = ZSTD_compress(packed, sizeof packed, page, sizeof page, 1);
        unsigned sixteenths = MIN((unsigned)((size + 255) / 256), 16);
        cr_expect_eq(class_of(page), FERRY_TRACE_CLASS_PACKED + sixteenths - 1, "%zu bytes", size);
    }
}
