#include "engine/compress.h"
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#define ZLIB_HEADER_SIZE 2
#define ZSTD_FRAME_HEADER_SIZE 9
#define ZLIB_STORED_MAX 61440u /* 15 pages of 4 KiB; the format's limit is 65535 */
#define ZSTD_RAW_MAX 131072u   /* the format's limit */
#define FRAMING_MAX 64
#define SAMPLES 16u
#define SAMPLE_BYTES 128u
#define RAW_RUN_MIN 4u /* raw packets between two trials */
#define RAW_RUN_MAX 64u

struct FerryCompressor {
    FerryMultifdMethod method;
    z_stream zlib; /* raw deflate: the stream's header is ours to write, it has no end */
    gboolean begun;
    gboolean forget; /* the other end has seen bytes that deflate has not */
    int level;
    ZSTD_CCtx *zstd;
    uint8_t *gathered;
    size_t gathered_size;
    uint8_t framing[FRAMING_MAX];
    gboolean trial;             /* the last sample looked incompressible */
    unsigned raw_left, raw_run; /* how far that impression is trusted */
};

FerryCompressor *ferry_compressor_new(FerryMultifdMethod method, int level)
{
    FerryCompressor *c = g_new0(FerryCompressor, 1);

    g_assert(method == FERRY_MULTIFD_ZLIB || method == FERRY_MULTIFD_ZSTD);
    c->method = method;
    c->level = level;
    if (method == FERRY_MULTIFD_ZLIB) {
        g_assert(level >= 0 && level <= FERRY_ZLIB_LEVEL_MAX);
        int status = deflateInit2(&c->zlib, level, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
        g_assert(status == Z_OK);
    } else {
        g_assert(level <= FERRY_ZSTD_LEVEL_MAX);
        c->zstd = ZSTD_createCCtx();
        g_assert(c->zstd);
        ZSTD_CCtx_setParameter(c->zstd, ZSTD_c_compressionLevel, level);
    }
    return c;
}

void ferry_compressor_set_level(FerryCompressor *c, int level)
{
    if (level == c->level) {
        return;
    }
    c->level = level;
    if (c->method == FERRY_MULTIFD_ZSTD) {
        ZSTD_CCtx_setParameter(c->zstd, ZSTD_c_compressionLevel, level);
    } else {
        g_assert(level >= 0 && level <= FERRY_ZLIB_LEVEL_MAX);
        c->forget = TRUE; /* in the middle of a stream the old level would have to end a block */
    }
}

/* Those that differ enough to be worth a step. */
static const int zlib_steps[] = {0, 1, 3, 5, 6, 9};
static const int zstd_steps[] = {0, -20, -5, 1, 3, 5, 7, 9, 12};

unsigned ferry_compress_n_steps(FerryMultifdMethod method)
{
    return method == FERRY_MULTIFD_ZLIB ? G_N_ELEMENTS(zlib_steps) : G_N_ELEMENTS(zstd_steps);
}

int ferry_compress_step_level(FerryMultifdMethod method, unsigned step)
{
    g_assert(step > 0 && step < ferry_compress_n_steps(method));
    return method == FERRY_MULTIFD_ZLIB ? zlib_steps[step] : zstd_steps[step];
}

unsigned ferry_compress_step_of(FerryMultifdMethod method, int level)
{
    unsigned step = ferry_compress_n_steps(method) - 1;

    while (step > 1 && ferry_compress_step_level(method, step) > level) {
        step--;
    }
    return step;
}

void ferry_compressor_free(FerryCompressor *c)
{
    if (!c) {
        return;
    }
    if (c->method == FERRY_MULTIFD_ZLIB) {
        deflateEnd(&c->zlib);
    }
    ZSTD_freeCCtx(c->zstd);
    g_free(c->gathered);
    g_free(c);
}

size_t ferry_compressor_bound(const FerryCompressor *c, size_t in_bytes)
{
    if (c->method == FERRY_MULTIFD_ZSTD) {
        return ZSTD_compressBound(in_bytes);
    }
    /* deflateBound is for one call that ends the stream; a flush has up to 10 bytes, and each piece
     * of the input may begin a stored block. */
    return ZLIB_HEADER_SIZE + deflateBound((z_stream *)&c->zlib, in_bytes) + in_bytes / 256 + 32;
}

static size_t zlib_header(FerryCompressor *c, uint8_t *out)
{
    if (c->begun) {
        return 0;
    }
    c->begun = TRUE;
    out[0] = 0x78; /* deflate, 32 KiB window */
    out[1] = 0x01; /* fastest, no dictionary; makes the two a multiple of 31 */
    return ZLIB_HEADER_SIZE;
}

static size_t zlib_packet(FerryCompressor *c, const struct iovec *in, unsigned n, size_t in_bytes,
                          uint8_t *out)
{
    size_t header = zlib_header(c, out);

    c->zlib.next_out = out + header;
    c->zlib.avail_out = (uInt)(ferry_compressor_bound(c, in_bytes) - header);
    if (c->forget) {
        deflateReset(&c->zlib);
        deflateParams(&c->zlib, c->level, Z_DEFAULT_STRATEGY); /* here no block has to end for it */
        c->forget = FALSE;
    }
    for (unsigned i = 0; i < n; i++) {
        c->zlib.next_in = in[i].iov_base;
        c->zlib.avail_in = (uInt)in[i].iov_len;
        int status = deflate(&c->zlib, i + 1 < n ? Z_NO_FLUSH : Z_SYNC_FLUSH);
        g_assert(status == Z_OK && c->zlib.avail_in == 0);
    }
    g_assert(c->zlib.avail_out > 0); /* or the flush may not be complete */
    return (size_t)(c->zlib.next_out - out);
}

/* The input in one place, which is what zstd is fastest with. */
static const void *in_one_place(FerryCompressor *c, const struct iovec *in, unsigned n,
                                size_t in_bytes)
{
    gboolean contiguous = TRUE;
    size_t done = 0;

    for (unsigned i = 1; i < n; i++) {
        contiguous = contiguous &&
                     (uint8_t *)in[i - 1].iov_base + in[i - 1].iov_len == (uint8_t *)in[i].iov_base;
    }
    if (contiguous) {
        return in[0].iov_base;
    }
    if (c->gathered_size < in_bytes) {
        g_free(c->gathered);
        c->gathered = g_malloc(in_bytes);
        c->gathered_size = in_bytes;
    }
    for (unsigned i = 0; i < n; i++) {
        memcpy(c->gathered + done, in[i].iov_base, in[i].iov_len);
        done += in[i].iov_len;
    }
    return c->gathered;
}

static size_t sum(const struct iovec *in, unsigned n)
{
    size_t bytes = 0;

    for (unsigned i = 0; i < n; i++) {
        bytes += in[i].iov_len;
    }
    return bytes;
}

size_t ferry_compressor_packet(FerryCompressor *c, const struct iovec *in, unsigned n, uint8_t *out)
{
    size_t in_bytes = sum(in, n), out_bytes;

    g_assert(in_bytes > 0);
    if (c->method == FERRY_MULTIFD_ZLIB) {
        out_bytes = zlib_packet(c, in, n, in_bytes, out);
    } else {
        out_bytes = ZSTD_compress2(c->zstd, out, ZSTD_compressBound(in_bytes),
                                   in_one_place(c, in, n, in_bytes), in_bytes);
        g_assert(!ZSTD_isError(out_bytes));
    }
    if (c->trial) { /* a 32nd saved is not worth it */
        c->raw_run = out_bytes < in_bytes - in_bytes / 32
                         ? 0
                         : CLAMP(2 * c->raw_run, RAW_RUN_MIN, RAW_RUN_MAX);
        c->raw_left = c->raw_run;
        c->trial = FALSE;
    }
    return out_bytes;
}

/* Each block's header; @last is zstd's concern alone, a zlib stream goes on. */
static size_t block_header(const FerryCompressor *c, size_t bytes, gboolean last, uint8_t *out)
{
    if (c->method == FERRY_MULTIFD_ZLIB) {
        out[0] = 0; /* stored, not final, padded to the byte */
        out[1] = (uint8_t)bytes;
        out[2] = (uint8_t)(bytes >> 8);
        out[3] = (uint8_t)~out[1];
        out[4] = (uint8_t)~out[2];
        return 5;
    }
    uint32_t header = (uint32_t)bytes << 3 | (last ? 1 : 0); /* type 0: raw */
    out[0] = (uint8_t)header;
    out[1] = (uint8_t)(header >> 8);
    out[2] = (uint8_t)(header >> 16);
    return 3;
}

/* A frame header that has the content's size, so that it can be decoded in place. */
static size_t zstd_frame_header(size_t bytes, uint8_t out[static ZSTD_FRAME_HEADER_SIZE])
{
    static const uint8_t start[] = {0x28, 0xb5, 0x2f, 0xfd, 0xa0};
    /* 0xa0: four bytes of size, which is the window too; no checksum, no dictionary */
    memcpy(out, start, sizeof start);
    for (unsigned i = 0; i < 4; i++) {
        out[sizeof start + i] = (uint8_t)(bytes >> (8 * i));
    }
    return ZSTD_FRAME_HEADER_SIZE;
}

unsigned ferry_compressor_raw_packet(FerryCompressor *c, const struct iovec *in, unsigned n,
                                     struct iovec *out, size_t *out_bytes)
{
    gboolean is_zlib = c->method == FERRY_MULTIFD_ZLIB;
    size_t left = sum(in, n), block_max = is_zlib ? ZLIB_STORED_MAX : ZSTD_RAW_MAX;
    size_t in_block = 0, at = 0; /* left of the block; of in[i] already used */
    size_t used = is_zlib ? zlib_header(c, c->framing) : zstd_frame_header(left, c->framing);
    unsigned n_out = 0;

    g_assert(left > 0 && left <= FERRY_MULTIFD_PACKET_BYTES);
    c->forget = TRUE;
    *out_bytes = left;
    for (unsigned i = 0; i < n;) {
        if (in_block == 0) {
            size_t from = n_out == 0 ? 0 : used;
            in_block = MIN(left, block_max);
            left -= in_block;
            used += block_header(c, in_block, left == 0, c->framing + used);
            g_assert(used <= sizeof c->framing);
            out[n_out++] = (struct iovec){c->framing + from, used - from};
        }
        size_t take = MIN(in_block, in[i].iov_len - at);
        if (take > 0) {
            out[n_out++] = (struct iovec){(uint8_t *)in[i].iov_base + at, take};
        }
        in_block -= take;
        at += take;
        if (at == in[i].iov_len) {
            i++;
            at = 0;
        }
    }
    *out_bytes += used;
    return n_out;
}

/* Counts the bytes of a sample from @at on, as far as its piece reaches. Returns how many. */
static uint32_t count_bytes(const uint8_t *at, size_t n, uint16_t count[static 256], uint32_t *same)
{
    n = MIN(n, SAMPLE_BYTES);
    for (size_t k = 0; k < n; k++) {
        *same += count[at[k]]++;
    }
    return (uint32_t)n;
}

gboolean ferry_compressor_seems_incompressible(FerryCompressor *c, const struct iovec *in,
                                               unsigned n)
{
    size_t all = sum(in, n), begin = 0; /* of piece @piece, in all of them */
    uint16_t count[256] = {0};
    uint32_t bytes = 0, same = 0; /* pairs of bytes that are equal: the fewer, the flatter */

    for (unsigned i = 0, piece = 0; i < SAMPLES && all > 0; i++) {
        size_t at = all / SAMPLES * i + i * 333u % (all / SAMPLES + 1) / 2; /* not all alike */
        while (at - begin >= in[piece].iov_len) {
            begin += in[piece++].iov_len;
        }
        bytes += count_bytes((uint8_t *)in[piece].iov_base + (at - begin),
                             in[piece].iov_len - (at - begin), count, &same);
    }
    /* Random bytes have bytes * (bytes - 1) / 512 such pairs, give or take 1 %; text ten times
     * that. Bytes of equal frequency may still repeat in runs, hence the trial. */
    c->trial = same < (uint64_t)bytes * bytes / 512 * 23 / 20;
    if (c->trial && c->raw_left > 0) {
        c->raw_left--;
        c->trial = FALSE;
        return TRUE;
    }
    return FALSE;
}
