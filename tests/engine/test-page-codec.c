#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include "engine/compress.h"
#include "tests/engine/content.h"

typedef struct {
    FerryMultifdMethod method;
    int level_max;
    size_t page_size;
} Row;

ParameterizedTestParameters(page_codec, round_trips)
{
    static Row rows[] = {
        {FERRY_MULTIFD_ZLIB, FERRY_ZLIB_LEVEL_MAX, 1024 },
        {FERRY_MULTIFD_ZLIB, FERRY_ZLIB_LEVEL_MAX, 4096 },
        {FERRY_MULTIFD_ZLIB, FERRY_ZLIB_LEVEL_MAX, 65536},
        {FERRY_MULTIFD_ZSTD, FERRY_ZSTD_LEVEL_MAX, 1024 },
        {FERRY_MULTIFD_ZSTD, FERRY_ZSTD_LEVEL_MAX, 4096 },
        {FERRY_MULTIFD_ZSTD, FERRY_ZSTD_LEVEL_MAX, 65536},
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

/* One decoder for all: each page is for itself, and its magic tells the method. */
ParameterizedTest(Row *row, page_codec, round_trips)
{
    g_autoptr(FerryPageCodec) decoder = ferry_page_codec_new(FERRY_MULTIFD_NONE, 0);
    g_autofree uint8_t *page = g_malloc(row->page_size);
    g_autofree uint8_t *back = g_malloc(row->page_size);
    g_autofree uint8_t *wire = g_malloc(FERRY_PAGE_CODEC_BOUND(row->page_size));

    for (int level = 0; level <= row->level_max; level++) {
        g_autoptr(FerryPageCodec) codec = ferry_page_codec_new(row->method, level);
        for (unsigned k = 0; k < 3 * N_CONTENTS; k++) {
            g_autoptr(GError) error = NULL;
            content_fill(page, row->page_size, k % N_CONTENTS, k);
            size_t n = ferry_page_codec_encode(codec, page, row->page_size, wire);
            cr_assert_leq(n, compressBound(row->page_size), "QEMU takes no more");
            cr_assert_eq(wire[0], row->method == FERRY_MULTIFD_ZLIB ? 0x78 : 0x28);
            cr_assert(ferry_page_codec_decode(decoder, wire, n, back, row->page_size, &error), "%s",
                      error ? error->message : "");
            cr_assert_arr_eq(back, page, row->page_size);
        }
    }
}

typedef enum {
    NOTHING,
    ZLIB_CUT,
    ZLIB_TRAILING,
    ZLIB_LONG,
    ZLIB_SHORT,
    ZLIB_ADLER,
    ZLIB_DICTIONARY,
    ZLIB_NOT_FINISHED,
    ZSTD_CUT,
    ZSTD_TRAILING,
    ZSTD_SECOND_FRAME,
    ZSTD_SKIPPABLE,
    ZSTD_LONG,
    ZSTD_SHORT,
    ZSTD_CHECKSUM,
    ZSTD_DICTIONARY,
    GARBAGE,
    N_ATTACKS,
} Attack;

typedef struct {
    Attack attack;
    char what[48];
} Bad;

ParameterizedTestParameters(page_codec, refuses)
{
    static Bad rows[] = {
        {NOTHING,           "cut short"                       },
        {ZLIB_CUT,          "cut short"                       },
        {ZLIB_TRAILING,     "1 bytes behind a compressed page"},
        {ZLIB_LONG,         "is not 4096 bytes"               },
        {ZLIB_SHORT,        "is not 4096 bytes"               },
        {ZLIB_ADLER,        "incorrect data check"            },
        {ZLIB_DICTIONARY,   "needs a dictionary"              },
        {ZLIB_NOT_FINISHED, "is not 4096 bytes"               },
        {ZSTD_CUT,          "incorrect"                       },
        {ZSTD_TRAILING,     "1 bytes behind a compressed page"},
        {ZSTD_SECOND_FRAME, "bytes behind a compressed page"  },
        {ZSTD_SKIPPABLE,    "unknown compression method"      },
        {ZSTD_LONG,         "too small"                       },
        {ZSTD_SHORT,        "is not 4096 bytes"               },
        {ZSTD_CHECKSUM,     "checksum"                        },
        {ZSTD_DICTIONARY,   "needs a dictionary"              },
        {GARBAGE,           "incorrect header check"          },
    };
    G_STATIC_ASSERT(G_N_ELEMENTS(rows) == N_ATTACKS);
    return cr_make_param_array(Bad, rows, G_N_ELEMENTS(rows));
}

static size_t zlib(const uint8_t *page, size_t n, int flush, const char *dictionary, uint8_t *out)
{
    z_stream z = {
        .next_in = (uint8_t *)page, .avail_in = (uInt)n, .next_out = out, .avail_out = 16384};

    deflateInit(&z, 1);
    if (dictionary) {
        deflateSetDictionary(&z, (const uint8_t *)dictionary, (uInt)strlen(dictionary));
    }
    deflate(&z, flush);
    deflateEnd(&z);
    return z.total_out;
}

static size_t zstd(const uint8_t *page, size_t n, gboolean checksum, uint8_t *out)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();

    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, checksum);
    size_t done = ZSTD_compress2(c, out, 16384, page, n);
    ZSTD_freeCCtx(c);
    return done;
}

static size_t make(Attack attack, const uint8_t *page, uint8_t *out)
{
    size_t n;

    switch (attack) {
    case ZLIB_CUT:
        return zlib(page, 4096, Z_FINISH, NULL, out) / 2;
    case ZLIB_TRAILING:
        return zlib(page, 4096, Z_FINISH, NULL, out) + 1;
    case ZLIB_LONG:
        return zlib(page, 4097, Z_FINISH, NULL, out);
    case ZLIB_SHORT:
        return zlib(page, 4095, Z_FINISH, NULL, out);
    case ZLIB_ADLER:
        n = zlib(page, 4096, Z_FINISH, NULL, out);
        out[n - 1] ^= 1;
        return n;
    case ZLIB_DICTIONARY:
        return zlib(page, 4096, Z_FINISH, "guest page", out);
    case ZLIB_NOT_FINISHED:
        return zlib(page, 4096, Z_SYNC_FLUSH, NULL, out);
    case ZSTD_CUT:
        return zstd(page, 4096, FALSE, out) / 2;
    case ZSTD_TRAILING:
        return zstd(page, 4096, FALSE, out) + 1;
    case ZSTD_SECOND_FRAME:
        n = zstd(page, 2048, FALSE, out);
        return n + zstd(page, 2048, FALSE, out + n);
    case ZSTD_SKIPPABLE: /* not zstd's first byte, so it is not zstd */
        memcpy(out, "\x50\x2a\x4d\x18\0\0\0\0", 8);
        return 8;
    case ZSTD_LONG:
        return zstd(page, 4097, FALSE, out);
    case ZSTD_SHORT:
        return zstd(page, 4095, FALSE, out);
    case ZSTD_CHECKSUM:
        n = zstd(page, 4096, TRUE, out);
        out[n - 1] ^= 1;
        return n;
    case ZSTD_DICTIONARY:
        n = zstd(page, 4096, FALSE, out);
        out[4] |= 1;
        return n;
    case GARBAGE:
        memset(out, 0x99, 100);
        return 100;
    default:
        return 0;
    }
}

ParameterizedTest(Bad *row, page_codec, refuses)
{
    g_autoptr(FerryPageCodec) codec = ferry_page_codec_new(FERRY_MULTIFD_NONE, 0);
    static uint8_t page[8192], wire[16384], back[3 * 4096];
    g_autoptr(GError) error = NULL;

    content_fill(page, sizeof page, CONTENT_TEXT, 1);
    size_t n = make(row->attack, page, wire);
    g_autofree uint8_t *exact = g_memdup2(wire, n);
    memset(back, 0x5a, sizeof back);
    cr_assert_not(ferry_page_codec_decode(codec, exact, n, back + 4096, 4096, &error));
    cr_assert(g_error_matches(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_MALFORMED));
    cr_assert(strstr(error->message, row->what), "%s", error->message);
    for (unsigned i = 0; i < 4096; i++) {
        cr_assert(back[i] == 0x5a && back[8192 + i] == 0x5a);
    }
    /* A page is for itself: the next one is decoded as ever. */
    n = zlib(page, 4096, Z_FINISH, NULL, wire);
    cr_assert(ferry_page_codec_decode(codec, wire, n, back, 4096, NULL));
    n = zstd(page, 4096, TRUE, wire);
    cr_assert(ferry_page_codec_decode(codec, wire, n, back, 4096, NULL));
    cr_assert_arr_eq(back, page, 4096);
}
