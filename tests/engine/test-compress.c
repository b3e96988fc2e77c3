#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>
#include "engine/compress.h"
#include "tests/engine/content.h"

#define PAGE 4096u
#define PAGES 128u

/* The other end as QEMU has it: one state per channel, fed a packet, asked for a page at a time. */
typedef struct {
    z_stream zlib;
    ZSTD_DStream *zstd;
} Receiver;

static void receiver_init(Receiver *r)
{
    memset(r, 0, sizeof *r);
    cr_assert_eq(inflateInit(&r->zlib), Z_OK);
    r->zstd = ZSTD_createDStream();
    ZSTD_initDStream(r->zstd);
}

static void receiver_clear(Receiver *r)
{
    inflateEnd(&r->zlib);
    ZSTD_freeDStream(r->zstd);
}

/* Input is at hand only for this packet: what a page's call leaves is gone with the last page. */
static void receive_zlib(Receiver *r, const uint8_t *in, size_t n, uint8_t *pages, unsigned n_pages)
{
    int status = Z_OK;

    r->zlib.next_in = (uint8_t *)in;
    r->zlib.avail_in = (uInt)n;
    for (unsigned i = 0; i < n_pages; i++) {
        r->zlib.next_out = pages + (size_t)i * PAGE;
        r->zlib.avail_out = PAGE;
        do {
            status = inflate(&r->zlib, i + 1 < n_pages ? Z_NO_FLUSH : Z_SYNC_FLUSH);
        } while (status == Z_OK && r->zlib.avail_in && r->zlib.avail_out);
        cr_assert_eq(status, Z_OK, "page %u: %d", i, status);
        cr_assert_eq(r->zlib.avail_out, 0, "page %u", i);
    }
    cr_assert_eq(r->zlib.avail_in, 0);
}

/* A frame that ends ends the page's loop: a page must not begin before a frame's end is read. */
static void receive_zstd(Receiver *r, const uint8_t *in, size_t n, uint8_t *pages, unsigned n_pages)
{
    ZSTD_inBuffer input = {in, n, 0};

    for (unsigned i = 0; i < n_pages; i++) {
        ZSTD_outBuffer page = {pages + (size_t)i * PAGE, PAGE, 0};
        size_t status;
        do {
            status = ZSTD_decompressStream(r->zstd, &page, &input);
            cr_assert_not(ZSTD_isError(status), "page %u: %s", i, ZSTD_getErrorName(status));
        } while (status > 0 && input.pos < input.size && page.pos < page.size);
        cr_assert_eq(page.pos, PAGE, "page %u", i);
    }
    cr_assert_eq(input.pos, input.size);
}

typedef struct {
    FerryMultifdMethod method;
    int level;
    gboolean changes; /* another one for each packet */
} Row;

ParameterizedTestParameters(compress, many_packets_one_stream)
{
    static Row rows[FERRY_ZLIB_LEVEL_MAX + 1 + FERRY_ZSTD_LEVEL_MAX + 1 + 2];
    unsigned n = 0;

    for (int level = 0; level <= FERRY_ZLIB_LEVEL_MAX; level++) {
        rows[n++] = (Row){FERRY_MULTIFD_ZLIB, level, FALSE};
    }
    for (int level = 0; level <= FERRY_ZSTD_LEVEL_MAX; level++) {
        rows[n++] = (Row){FERRY_MULTIFD_ZSTD, level, FALSE};
    }
    rows[n++] = (Row){FERRY_MULTIFD_ZLIB, 1, TRUE};
    rows[n++] = (Row){FERRY_MULTIFD_ZSTD, 1, TRUE};
    return cr_make_param_array(Row, rows, n);
}

static size_t flatten(const struct iovec *pieces, unsigned n, uint8_t *out)
{
    size_t bytes = 0;

    for (unsigned i = 0; i < n; i++) {
        memcpy(out + bytes, pieces[i].iov_base, pieces[i].iov_len);
        bytes += pieces[i].iov_len;
    }
    return bytes;
}

/* Packet @number: its own content, number of pages, and way there. */
static size_t make_packet(FerryCompressor *c, uint8_t *pages, unsigned number, unsigned *out_pages,
                          uint8_t *out)
{
    static const unsigned counts[] = {1, PAGES, 2, 33, 31, 7, 64};
    struct iovec in[PAGES], gather[FERRY_RAW_PIECES_MAX(PAGES)];
    unsigned n = counts[number % G_N_ELEMENTS(counts)];
    size_t bytes;

    *out_pages = n;
    for (unsigned i = 0; i < n; i++) { /* every third packet lies in reverse order */
        uint8_t *at = pages + (size_t)(number % 3 == 2 ? n - 1 - i : i) * PAGE;
        content_fill(at, PAGE, (number + i / 8) % N_CONTENTS, number * 1000 + i);
        in[i] = (struct iovec){at, PAGE};
    }
    if (number % 5 == 1 || number % 5 == 2) {
        unsigned pieces = ferry_compressor_raw_packet(c, in, n, gather, &bytes);
        cr_assert_leq(pieces, FERRY_RAW_PIECES_MAX(n));
        cr_assert_eq(flatten(gather, pieces, out), bytes);
        return bytes;
    }
    bytes = ferry_compressor_packet(c, in, n, out);
    cr_assert_leq(bytes, ferry_compressor_bound(c, (size_t)n * PAGE));
    return bytes;
}

ParameterizedTest(Row *row, compress, many_packets_one_stream)
{
    g_autoptr(FerryCompressor) c = ferry_compressor_new(row->method, row->level);
    g_autoptr(FerryDecompressor) d = ferry_decompressor_new(row->method);
    g_autoptr(GError) error = NULL;
    g_autofree uint8_t *pages = g_malloc(PAGES * PAGE);
    g_autofree uint8_t *back = g_malloc(PAGES * PAGE);
    g_autofree uint8_t *wire = g_malloc(2 * PAGES * PAGE);
    Receiver r;

    receiver_init(&r);
    for (unsigned number = 0; number < 24; number++) {
        struct iovec out[PAGES];
        unsigned n, steps = ferry_compress_n_steps(row->method);
        if (row->changes) {
            ferry_compressor_set_level(
                c, ferry_compress_step_level(row->method, 1 + number * 5 % (steps - 1)));
        }
        size_t bytes = make_packet(c, pages, number, &n, wire);

        for (unsigned i = 0; i < n; i++) {
            out[i] = (struct iovec){back + (size_t)(number % 3 == 2 ? n - 1 - i : i) * PAGE, PAGE};
        }
        memset(back, 0xee, PAGES * PAGE);
        cr_assert(ferry_decompressor_packet(d, wire, bytes, out, n, &error), "packet %u: %s",
                  number, error ? error->message : "");
        cr_assert_arr_eq(back, pages, n * PAGE, "packet %u", number);

        memset(back, 0xee, PAGES * PAGE);
        (row->method == FERRY_MULTIFD_ZLIB ? receive_zlib : receive_zstd)(&r, wire, bytes, back, n);
        for (unsigned i = 0; i < n; i++) {
            unsigned at = number % 3 == 2 ? n - 1 - i : i;
            cr_assert_arr_eq(back + (size_t)i * PAGE, pages + (size_t)at * PAGE, PAGE,
                             "packet %u page %u", number, i);
        }
    }
    receiver_clear(&r);
}

Test(compress, steps_are_ever_harder)
{
    static const FerryMultifdMethod methods[] = {FERRY_MULTIFD_ZLIB, FERRY_MULTIFD_ZSTD};

    for (unsigned m = 0; m < 2; m++) {
        unsigned n = ferry_compress_n_steps(methods[m]);
        for (unsigned step = 1; step < n; step++) {
            int level = ferry_compress_step_level(methods[m], step);
            cr_assert(step == 1 || level > ferry_compress_step_level(methods[m], step - 1));
            cr_assert_eq(ferry_compress_step_of(methods[m], level), step);
        }
        cr_assert_eq(ferry_compress_step_of(methods[m], -1000), 1);
        cr_assert_eq(ferry_compress_step_of(methods[m], 1000), n - 1);
    }
}

/* What a zlib stream's first packet begins with, and that a raw packet is what the wire shows. */
Test(compress, zlib_raw_packet_is_stored_blocks)
{
    g_autoptr(FerryCompressor) c = ferry_compressor_new(FERRY_MULTIFD_ZLIB, 1);
    uint8_t page[PAGE] = {1}, wire[PAGE + 16];
    struct iovec in = {page, sizeof page}, out[FERRY_RAW_PIECES_MAX(1)];
    size_t bytes;

    cr_assert_eq(ferry_compressor_raw_packet(c, &in, 1, out, &bytes), 2);
    cr_assert_eq(flatten(out, 2, wire), bytes);
    cr_assert_arr_eq(wire, "\x78\x01\x00\x00\x10\xff\xef\x01", 8);
    cr_assert_eq(out[1].iov_base, page, "not copied");
    ferry_compressor_raw_packet(c, &in, 1, out, &bytes);
    cr_assert_eq(bytes, PAGE + 5, "the stream's header comes once");
}

Test(compress, zstd_raw_packet_is_a_frame_of_raw_blocks)
{
    g_autoptr(FerryCompressor) c = ferry_compressor_new(FERRY_MULTIFD_ZSTD, 1);
    static uint8_t pages[33 * PAGE];
    struct iovec in = {pages, sizeof pages}, out[FERRY_RAW_PIECES_MAX(1)];
    size_t bytes;

    cr_assert_eq(ferry_compressor_raw_packet(c, &in, 1, out, &bytes), 4);
    cr_assert_eq(bytes, sizeof pages + 9 + 3 + 3);
    cr_assert_arr_eq(out[0].iov_base, "\x28\xb5\x2f\xfd\xa0\x00\x10\x02\x00\x00\x00\x10", 12);
    cr_assert_eq(out[1].iov_len, 131072);
    cr_assert_arr_eq(out[2].iov_base, "\x01\x80\x00", 3, "4096 bytes, the last block");
}

/* Pages larger than a block of either method, as an Arm guest has. */
Test(compress, raw_packets_of_large_pages)
{
    static uint8_t pages[4 * 131072], back[sizeof pages], wire[sizeof pages + 256];
    static const FerryMultifdMethod methods[] = {FERRY_MULTIFD_ZLIB, FERRY_MULTIFD_ZSTD};

    content_fill(pages, sizeof pages, CONTENT_RANDOM, 3);
    for (unsigned m = 0; m < 2; m++) {
        g_autoptr(FerryCompressor) c = ferry_compressor_new(methods[m], 1);
        g_autoptr(FerryDecompressor) d = ferry_decompressor_new(methods[m]);
        struct iovec in[4], gather[FERRY_RAW_PIECES_MAX(4)];
        struct iovec whole = {back, sizeof back};
        size_t bytes;

        for (unsigned i = 0; i < 4; i++) {
            in[i] = (struct iovec){pages + i * 131072, 131072};
        }
        unsigned n = ferry_compressor_raw_packet(c, in, 4, gather, &bytes);
        cr_assert_leq(n, FERRY_RAW_PIECES_MAX(4));
        cr_assert_eq(flatten(gather, n, wire), bytes);
        cr_assert(ferry_decompressor_packet(d, wire, bytes, &whole, 1, NULL));
        cr_assert_arr_eq(back, pages, sizeof pages);
    }
}

typedef struct {
    FerryMultifdMethod method;
    Content content;
    unsigned raw; /* of the 200 packets */
} Judgement;

ParameterizedTestParameters(compress, judges)
{
    static Judgement rows[] = {
        {FERRY_MULTIFD_ZLIB, CONTENT_TEXT,    0  },
        {FERRY_MULTIFD_ZLIB, CONTENT_ZERO,    0  },
        {FERRY_MULTIFD_ZLIB, CONTENT_REPEATS, 0  },
 /* between the trials 4, 8, 16, 32, 64 and 64 packets are trusted, then it is over */
        {FERRY_MULTIFD_ZLIB, CONTENT_RANDOM,  193},
        {FERRY_MULTIFD_ZSTD, CONTENT_TEXT,    0  },
        {FERRY_MULTIFD_ZSTD, CONTENT_ZERO,    0  },
        {FERRY_MULTIFD_ZSTD, CONTENT_REPEATS, 0  },
        {FERRY_MULTIFD_ZSTD, CONTENT_RANDOM,  193},
    };
    return cr_make_param_array(Judgement, rows, G_N_ELEMENTS(rows));
}

static unsigned count_raw(FerryCompressor *c, Content content, unsigned packets)
{
    static uint8_t pages[16 * PAGE], wire[2 * sizeof pages];
    struct iovec in[16], gather[FERRY_RAW_PIECES_MAX(16)];
    unsigned raw = 0;
    size_t bytes;

    for (unsigned p = 0; p < packets; p++) {
        content_fill(pages, sizeof pages, content, p + 1);
        for (unsigned i = 0; i < 16; i++) {
            in[i] = (struct iovec){pages + i * PAGE, PAGE};
        }
        if (ferry_compressor_seems_incompressible(c, in, 16)) {
            ferry_compressor_raw_packet(c, in, 16, gather, &bytes);
            raw++;
        } else {
            ferry_compressor_packet(c, in, 16, wire);
        }
    }
    return raw;
}

ParameterizedTest(Judgement *row, compress, judges)
{
    g_autoptr(FerryCompressor) c = ferry_compressor_new(row->method, 1);

    cr_assert_eq(count_raw(c, row->content, 200), row->raw);
}

Test(compress, a_trial_that_saves_ends_the_trust)
{
    g_autoptr(FerryCompressor) c = ferry_compressor_new(FERRY_MULTIFD_ZSTD, 1);

    cr_assert_eq(count_raw(c, CONTENT_RANDOM, 14), 12); /* trial, 4, trial, 8 */
    cr_assert_eq(count_raw(c, CONTENT_REPEATS, 100), 0, "its first packet is a trial");
    cr_assert_eq(count_raw(c, CONTENT_RANDOM, 6), 4, "from the beginning");
}

/* What lies behind a beginning that looks random counts as well, in whatever pieces it comes. */
Test(compress, all_of_the_input_is_judged)
{
    static uint8_t pages[PAGES * PAGE], wire[2 * sizeof pages];
    struct iovec in[PAGES];

    for (unsigned n = 1; n <= PAGES; n *= 2) {
        g_autoptr(FerryCompressor) c = ferry_compressor_new(FERRY_MULTIFD_ZSTD, 1);
        for (unsigned i = 0; i < n; i++) {
            in[i] = (struct iovec){pages + sizeof pages / n * i, sizeof pages / n};
        }
        content_fill(pages, sizeof pages, CONTENT_RANDOM, n);
        cr_assert_not(ferry_compressor_seems_incompressible(c, in, n), "first the trial");
        ferry_compressor_packet(c, in, n, wire);
        cr_assert(ferry_compressor_seems_incompressible(c, in, n), "%u pieces", n);
        content_fill(pages + sizeof pages / 4, sizeof pages / 2, CONTENT_TEXT, n);
        cr_assert_not(ferry_compressor_seems_incompressible(c, in, n), "%u pieces", n);
        content_fill(pages, sizeof pages, CONTENT_RANDOM, n);
        content_fill(pages + sizeof pages / 2, sizeof pages / 2, CONTENT_TEXT, n);
        cr_assert_not(ferry_compressor_seems_incompressible(c, in, n), "%u pieces", n);
    }
}
