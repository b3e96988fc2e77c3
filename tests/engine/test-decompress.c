#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include "engine/compress.h"
#include "tests/engine/content.h"

#define PAGE 4096u
#define FENCE 0x5a

/* What a hostile sender makes of a packet; the receiver expects two pages. */
typedef enum {
    ZLIB_GOOD,
    ZLIB_EMPTY,
    ZLIB_CUT,
    ZLIB_TRAILING_BLOCK,
    ZLIB_TRAILING_GARBAGE,
    ZLIB_ENDS_IN_PAGES,
    ZLIB_ENDS_BEHIND_PAGES,
    ZLIB_WRONG_ADLER,
    ZLIB_DICTIONARY,
    ZLIB_BOMB,
    ZLIB_ONE_BYTE_MORE,
    ZLIB_ONE_BYTE_LESS,
    ZLIB_BROKEN,
    ZLIB_GZIP,
    ZSTD_GOOD_STREAM,
    ZSTD_GOOD_FRAME,
    ZSTD_GOOD_FRAME_PER_PAGE,
    ZSTD_GOOD_CHECKSUM,
    ZSTD_GOOD_EMPTY_FRAME_FIRST,
    ZSTD_GOOD_WINDOW_32_MIB,
    ZSTD_EMPTY,
    ZSTD_CUT,
    ZSTD_SKIPPABLE,
    ZSTD_SKIPPABLE_BETWEEN,
    ZSTD_SKIPPABLE_BEHIND,
    ZSTD_SECOND_FRAME,
    ZSTD_WRONG_CHECKSUM,
    ZSTD_DICTIONARY,
    ZSTD_WINDOW_64_MIB,
    ZSTD_WINDOW_2_GIB,
    ZSTD_RESERVED_BLOCK,
    ZSTD_BOMB,
    ZSTD_BOMB_STREAM,
    ZSTD_ONE_BYTE_MORE,
    ZSTD_ONE_BYTE_LESS,
    ZSTD_OLD_FORMAT,
    ZSTD_HALF_HEADER,
    ZSTD_GARBAGE,
    N_ATTACKS,
} Attack;

typedef struct {
    Attack attack;
    char what[64]; /* in the error; empty: accepted */
} Row;

ParameterizedTestParameters(decompress, refuses)
{
    static Row rows[] = {
        {ZLIB_GOOD,                   ""                                    },
        {ZLIB_EMPTY,                  "decodes to 0 bytes"                  },
        {ZLIB_CUT,                    "less than its pages"                 },
        {ZLIB_TRAILING_BLOCK,         "more than its pages"                 },
        {ZLIB_TRAILING_GARBAGE,       "invalid block type"                  },
        {ZLIB_ENDS_IN_PAGES,          "the stream ends"                     },
        {ZLIB_ENDS_BEHIND_PAGES,      "the stream ends"                     },
        {ZLIB_WRONG_ADLER,            "incorrect data check"                },
        {ZLIB_DICTIONARY,             "needs a dictionary"                  },
        {ZLIB_BOMB,                   "more than its pages"                 },
        {ZLIB_ONE_BYTE_MORE,          "more than its pages"                 },
        {ZLIB_ONE_BYTE_LESS,          "decodes to 8191 bytes"               },
        {ZLIB_BROKEN,                 "invalid stored block lengths"        },
        {ZLIB_GZIP,                   "incorrect header check"              },
        {ZSTD_GOOD_STREAM,            ""                                    },
        {ZSTD_GOOD_FRAME,             ""                                    },
        {ZSTD_GOOD_FRAME_PER_PAGE,    ""                                    },
        {ZSTD_GOOD_CHECKSUM,          ""                                    },
        {ZSTD_GOOD_EMPTY_FRAME_FIRST, ""                                    },
        {ZSTD_GOOD_WINDOW_32_MIB,     ""                                    },
        {ZSTD_EMPTY,                  "decodes to 0 bytes"                  },
        {ZSTD_CUT,                    "less than its pages"                 },
        {ZSTD_SKIPPABLE,              "skippable frame"                     },
        {ZSTD_SKIPPABLE_BETWEEN,      "skippable frame"                     },
        {ZSTD_SKIPPABLE_BEHIND,       "12 bytes behind a packet's last page"},
        {ZSTD_SECOND_FRAME,           "bytes behind a packet's last page"   },
        {ZSTD_WRONG_CHECKSUM,         "checksum"                            },
        {ZSTD_DICTIONARY,             "needs a dictionary"                  },
        {ZSTD_WINDOW_64_MIB,          "too much memory"                     },
        {ZSTD_WINDOW_2_GIB,           "too much memory"                     },
        {ZSTD_RESERVED_BLOCK,         "corruption"                          },
        {ZSTD_BOMB,                   "more than its pages"                 },
        {ZSTD_BOMB_STREAM,            "more than its pages"                 },
        {ZSTD_ONE_BYTE_MORE,          "more than its pages"                 },
        {ZSTD_ONE_BYTE_LESS,          "decodes to 8191 bytes"               },
        {ZSTD_OLD_FORMAT,             "no frame"                            },
        {ZSTD_HALF_HEADER,            "no frame"                            },
        {ZSTD_GARBAGE,                "no frame"                            },
    };
    G_STATIC_ASSERT(G_N_ELEMENTS(rows) == N_ATTACKS);
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

static size_t append(uint8_t *out, size_t at, const void *bytes, size_t n)
{
    memcpy(out + at, bytes, n);
    return at + n;
}

static size_t deflated(const uint8_t *in, size_t n, int flush, const char *dictionary, int bits,
                       uint8_t *out)
{
    z_stream z = {
        .next_in = (uint8_t *)in, .avail_in = (uInt)n, .next_out = out, .avail_out = 1u << 20};

    cr_assert_eq(deflateInit2(&z, 6, Z_DEFLATED, bits, 8, Z_DEFAULT_STRATEGY), Z_OK);
    if (dictionary) {
        deflateSetDictionary(&z, (const uint8_t *)dictionary, (uInt)strlen(dictionary));
    }
    deflate(&z, flush);
    deflateEnd(&z);
    return z.total_out;
}

static size_t attack_zlib(Attack attack, const uint8_t *pages, uint8_t *out)
{
    size_t n = deflated(pages, 2 * PAGE, Z_SYNC_FLUSH, NULL, 15, out);

    switch (attack) {
    case ZLIB_EMPTY:
        return 0;
    case ZLIB_CUT:
        return n / 2;
    case ZLIB_TRAILING_BLOCK:
        return append(out, n, "\0\1\0\xfe\xffx", 6);
    case ZLIB_TRAILING_GARBAGE:
        return append(out, n, "\xff\xff\xff", 3);
    case ZLIB_ENDS_IN_PAGES:
        return deflated(pages, PAGE, Z_FINISH, NULL, 15, out);
    case ZLIB_ENDS_BEHIND_PAGES:
        return deflated(pages, 2 * PAGE, Z_FINISH, NULL, 15, out);
    case ZLIB_WRONG_ADLER:
        n = deflated(pages, 2 * PAGE, Z_FINISH, NULL, 15, out);
        out[n - 1] ^= 1;
        return n;
    case ZLIB_DICTIONARY:
        return deflated(pages, 2 * PAGE, Z_SYNC_FLUSH, "guest page", 15, out);
    case ZLIB_BOMB:
        return deflated(pages, 64 * PAGE, Z_SYNC_FLUSH, NULL, 15, out);
    case ZLIB_ONE_BYTE_MORE:
        return deflated(pages, 2 * PAGE + 1, Z_SYNC_FLUSH, NULL, 15, out);
    case ZLIB_ONE_BYTE_LESS:
        return deflated(pages, 2 * PAGE - 1, Z_SYNC_FLUSH, NULL, 15, out);
    case ZLIB_BROKEN:
        return append(out, n - 4, "\0\0\xff\xfe", 4);
    case ZLIB_GZIP:
        return deflated(pages, 2 * PAGE, Z_SYNC_FLUSH, NULL, 15 + 16, out);
    default:
        return n;
    }
}

/* @window_log 0: the library's choice, and the frame says its size. */
static size_t zstd(const uint8_t *in, size_t n, ZSTD_EndDirective end, int window_log,
                   gboolean checksum, uint8_t *out)
{
    ZSTD_CCtx *c = ZSTD_createCCtx();
    ZSTD_inBuffer input = {in, n, 0};
    ZSTD_outBuffer output = {out, 1u << 20, 0};

    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, checksum);
    if (window_log > 0) {
        ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window_log);
        ZSTD_compressStream2(c, &output, &input, ZSTD_e_flush); /* the size is not known now */
    }
    ZSTD_compressStream2(c, &output, &input, end);
    ZSTD_freeCCtx(c);
    return output.pos;
}

#define SKIPPABLE "\x5f\x2a\x4d\x18\4\0\0\0skip"

static size_t attack_zstd_header(Attack attack, uint8_t *out)
{
    static const uint8_t window[] = {0x28, 0xb5, 0x2f, 0xfd, 0x00, 0};
    size_t n = sizeof window;

    memcpy(out, window, n);
    switch (attack) { /* frames of one run-length block: 8192 times 7 */
    case ZSTD_GOOD_WINDOW_32_MIB:
        out[5] = (25 - 10) << 3;
        break;
    case ZSTD_WINDOW_64_MIB:
        out[5] = (26 - 10) << 3;
        break;
    case ZSTD_WINDOW_2_GIB:
        out[5] = (31 - 10) << 3;
        break;
    case ZSTD_DICTIONARY:
        out[4] = 1;
        out[5] = 7 << 3;
        out[n++] = 9;
        break;
    case ZSTD_RESERVED_BLOCK:
        out[5] = 7 << 3;
        return append(out, n, "\x07\0\x01\7", 4);
    case ZSTD_BOMB:
        out[5] = 7 << 3;
        return append(out, n, "\x03\0\x10\7", 4); /* 128 KiB */
    case ZSTD_OLD_FORMAT:
        out[0] = 0x26;
        break;
    default:
        return 0;
    }
    return append(out, n, "\x03\0\x01\7", 4);
}

static size_t attack_zstd(Attack attack, const uint8_t *pages, uint8_t *out)
{
    size_t n = zstd(pages, 2 * PAGE, ZSTD_e_end, 0, FALSE, out);

    switch (attack) {
    case ZSTD_GOOD_STREAM:
        return zstd(pages, 2 * PAGE, ZSTD_e_flush, 19, FALSE, out);
    case ZSTD_GOOD_FRAME:
        return n;
    case ZSTD_GOOD_FRAME_PER_PAGE:
        n = zstd(pages, PAGE, ZSTD_e_end, 0, FALSE, out);
        return n + zstd(pages + PAGE, PAGE, ZSTD_e_end, 19, TRUE, out + n);
    case ZSTD_GOOD_CHECKSUM:
        return zstd(pages, 2 * PAGE, ZSTD_e_end, 0, TRUE, out);
    case ZSTD_GOOD_EMPTY_FRAME_FIRST:
        n = zstd(pages, 0, ZSTD_e_end, 0, FALSE, out);
        return n + zstd(pages, 2 * PAGE, ZSTD_e_end, 0, FALSE, out + n);
    case ZSTD_EMPTY:
        return 0;
    case ZSTD_CUT:
        return zstd(pages, 2 * PAGE, ZSTD_e_flush, 19, FALSE, out) - 5;
    case ZSTD_SKIPPABLE:
        n = append(out, 0, SKIPPABLE, 12);
        return n + zstd(pages, 2 * PAGE, ZSTD_e_end, 0, FALSE, out + n);
    case ZSTD_SKIPPABLE_BETWEEN:
        n = append(out, zstd(pages, PAGE, ZSTD_e_end, 0, FALSE, out), SKIPPABLE, 12);
        return n + zstd(pages + PAGE, PAGE, ZSTD_e_end, 0, FALSE, out + n);
    case ZSTD_SKIPPABLE_BEHIND:
        return append(out, n, SKIPPABLE, 12);
    case ZSTD_SECOND_FRAME:
        return n + zstd(pages, PAGE, ZSTD_e_end, 0, FALSE, out + n);
    case ZSTD_WRONG_CHECKSUM:
        n = zstd(pages, 2 * PAGE, ZSTD_e_end, 19, TRUE, out);
        out[n - 1] ^= 1;
        return n;
    case ZSTD_BOMB_STREAM:
        return zstd(pages, 64 * PAGE, ZSTD_e_flush, 19, FALSE, out);
    case ZSTD_ONE_BYTE_MORE:
        return zstd(pages, 2 * PAGE + 1, ZSTD_e_end, 0, FALSE, out);
    case ZSTD_ONE_BYTE_LESS:
        return zstd(pages, 2 * PAGE - 1, ZSTD_e_end, 0, FALSE, out);
    case ZSTD_HALF_HEADER:
        return 4;
    case ZSTD_GARBAGE:
        out[0] ^= 1;
        return n;
    default:
        return attack_zstd_header(attack, out);
    }
}

/* The same packet into pages that follow one another, and into pages that do not. */
ParameterizedTest(Row *row, decompress, refuses)
{
    static uint8_t pages[64 * PAGE], wire[1u << 20], back[6 * PAGE];
    FerryMultifdMethod method =
        row->attack < ZSTD_GOOD_STREAM ? FERRY_MULTIFD_ZLIB : FERRY_MULTIFD_ZSTD;

    content_fill(pages, sizeof pages, CONTENT_TEXT, 1);
    size_t n = (method == FERRY_MULTIFD_ZLIB ? attack_zlib : attack_zstd)(row->attack, pages, wire);
    for (unsigned gap = 0; gap < 2; gap++) {
        g_autoptr(FerryDecompressor) d = ferry_decompressor_new(method);
        g_autoptr(GError) error = NULL;
        g_autofree uint8_t *exact = g_memdup2(wire, n); /* reading beyond is a sanitizer's to see */
        struct iovec out[] = {
            {back + PAGE,             PAGE},
            {back + (2 + gap) * PAGE, PAGE}
        };

        memset(back, FENCE, sizeof back);
        gboolean good = ferry_decompressor_packet(d, exact, n, out, 2, &error);
        for (size_t i = 0; i < sizeof back; i++) {
            gboolean inside =
                (i >= PAGE && i < 2 * PAGE) || (i >= (2 + gap) * PAGE && i < (3 + gap) * PAGE);
            cr_assert(inside || back[i] == FENCE, "byte %zu", i);
        }
        if (!row->what[0]) {
            cr_assert(good, "%s", error ? error->message : "");
            continue;
        }
        cr_assert_not(good);
        cr_assert(g_error_matches(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_MALFORMED));
        cr_assert(strstr(error->message, row->what), "%s", error->message);
    }
}

/* QEMU's stream: one frame that is flushed per packet and never ends, at its highest level. */
Test(decompress, one_zstd_frame_for_the_channel)
{
    static uint8_t pages[64 * PAGE], wire[2 * sizeof pages], back[sizeof pages];
    g_autoptr(FerryDecompressor) d = ferry_decompressor_new(FERRY_MULTIFD_ZSTD);
    ZSTD_CStream *c = ZSTD_createCStream();

    cr_assert_not(ZSTD_isError(ZSTD_initCStream(c, FERRY_ZSTD_LEVEL_MAX)));
    for (unsigned packet = 0; packet < 200; packet++) {
        ZSTD_outBuffer out = {wire, sizeof wire, 0};
        struct iovec piece = {back, sizeof back};
        g_autoptr(GError) error = NULL;
        content_fill(pages, sizeof pages, packet % N_CONTENTS, packet / 8);
        for (unsigned i = 0; i < 64; i++) {
            ZSTD_inBuffer in = {pages + (size_t)i * PAGE, PAGE, 0};
            cr_assert_not(ZSTD_isError(
                ZSTD_compressStream2(c, &out, &in, i == 63 ? ZSTD_e_flush : ZSTD_e_continue)));
            cr_assert_eq(in.pos, PAGE);
        }
        cr_assert(ferry_decompressor_packet(d, wire, out.pos, &piece, 1, &error), "%s",
                  error ? error->message : "");
        cr_assert_arr_eq(back, pages, sizeof pages);
    }
    ZSTD_freeCStream(c);
}

/* Output that no packet asked for must not turn up in the next one. */
Test(decompress, what_is_left_over_is_not_the_next_packets)
{
    static uint8_t pages[2 * PAGE], wire[4 * PAGE], back[PAGE];
    g_autoptr(FerryDecompressor) d = ferry_decompressor_new(FERRY_MULTIFD_ZSTD);
    struct iovec piece = {back, PAGE};

    content_fill(pages, sizeof pages, CONTENT_TEXT, 1);
    size_t n = zstd(pages, sizeof pages, ZSTD_e_flush, 19, FALSE, wire);
    cr_assert_not(ferry_decompressor_packet(d, wire, n, &piece, 1, NULL));
}
