#include "engine/compress-private.h"
#include "engine/compress.h"
#include <string.h>
#include <zlib.h>
#include <zstd.h>

struct FerryDecompressor {
    FerryMultifdMethod method;
    z_stream zlib;
    ZSTD_DCtx *zstd;
    gboolean in_frame;
};

FerryDecompressor *ferry_decompressor_new(FerryMultifdMethod method)
{
    FerryDecompressor *d = g_new0(FerryDecompressor, 1);

    g_assert(method == FERRY_MULTIFD_ZLIB || method == FERRY_MULTIFD_ZSTD);
    d->method = method;
    if (method == FERRY_MULTIFD_ZLIB) {
        int status = inflateInit(&d->zlib);
        g_assert(status == Z_OK);
    } else {
        d->zstd = ZSTD_createDCtx();
        g_assert(d->zstd);
        ZSTD_DCtx_setParameter(d->zstd, ZSTD_d_windowLogMax, FERRY_ZSTD_WINDOW_LOG_MAX);
    }
    return d;
}

void ferry_decompressor_free(FerryDecompressor *d)
{
    if (!d) {
        return;
    }
    if (d->method == FERRY_MULTIFD_ZLIB) {
        inflateEnd(&d->zlib);
    }
    ZSTD_freeDCtx(d->zstd);
    g_free(d);
}

gboolean ferry_compress_refuse(GError **error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    g_autofree char *what = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error_literal(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_MALFORMED, what);
    return FALSE;
}

gboolean ferry_zstd_frame_acceptable(const uint8_t *in, size_t n, GError **error)
{
    static const uint8_t magic[] = {0x28, 0xb5, 0x2f, 0xfd};

    if (n >= sizeof magic && (in[0] & 0xf0) == 0x50 && memcmp(in + 1, "\x2a\x4d\x18", 3) == 0) {
        return ferry_compress_refuse(error, "zstd: a skippable frame");
    }
    if (n <= sizeof magic || memcmp(in, magic, sizeof magic) != 0) {
        return ferry_compress_refuse(error, "zstd: no frame where one must begin");
    }
    if (in[sizeof magic] & 3) {
        return ferry_compress_refuse(error, "zstd: a frame that needs a dictionary");
    }
    return TRUE;
}

static gboolean too_long(const char *method, GError **error)
{
    return ferry_compress_refuse(error, "%s: a packet decodes to more than its pages", method);
}

static gboolean too_short(const char *method, size_t filled, GError **error)
{
    return ferry_compress_refuse(
        error, "%s: a packet decodes to %zu bytes, which is less than its pages", method, filled);
}

/* The first pieces, as many as follow one another in memory, as one. Returns how many. */
static unsigned join(const struct iovec *pieces, unsigned n, struct iovec *out)
{
    unsigned used = 1;

    *out = pieces[0];
    while (used < n && (uint8_t *)out->iov_base + out->iov_len == pieces[used].iov_base) {
        out->iov_len += pieces[used++].iov_len;
    }
    return used;
}

/* Decodes as much as fits into *@room bytes at @to and *@n of @in; both are used up accordingly. */
static gboolean inflate_some(z_stream *z, uint8_t *to, size_t *room, GError **error)
{
    z->next_out = to;
    z->avail_out = (uInt)*room;
    switch (inflate(z, Z_SYNC_FLUSH)) {
    case Z_OK:
    case Z_BUF_ERROR: /* no progress: the caller sees that */
        *room = z->avail_out;
        return TRUE;
    case Z_STREAM_END:
        return ferry_compress_refuse(error, "zlib: the stream ends, but it is one for the whole "
                                            "channel");
    case Z_NEED_DICT:
        return ferry_compress_refuse(error, "zlib: a stream that needs a dictionary");
    default:
        return ferry_compress_refuse(error, "zlib: %s", z->msg ? z->msg : "broken data");
    }
}

/* Nothing but a flush is behind the last byte: the next block begins with the next packet. */
static gboolean between_blocks(const z_stream *z) { return z->data_type == 128; }

static gboolean zlib_packet(z_stream *z, const uint8_t *in, size_t n, const struct iovec *out,
                            unsigned n_out, GError **error)
{
    struct iovec piece;
    uint8_t beyond;
    size_t room, filled = 0;

    z->next_in = (uint8_t *)in;
    z->avail_in = (uInt)n;
    for (unsigned i = 0; i < n_out;) {
        i += join(out + i, n_out - i, &piece);
        room = piece.iov_len;
        if (!inflate_some(z, piece.iov_base, &room, error)) {
            return FALSE;
        }
        filled += piece.iov_len - room;
        if (room > 0) { /* inflate stops early only for want of input */
            return too_short("zlib", filled, error);
        }
    }
    /* What is left may only be what a flush appends. */
    if (z->avail_in == 0 && between_blocks(z)) {
        return TRUE;
    }
    room = sizeof beyond;
    if (!inflate_some(z, &beyond, &room, error)) {
        return FALSE;
    }
    if (room < sizeof beyond || z->avail_in > 0) {
        return too_long("zlib", error);
    }
    return between_blocks(z) ? TRUE
                             : ferry_compress_refuse(error, "zlib: a packet does not end where its "
                                                            "pages do");
}

/* One call; *@out_moved tells whether it read or wrote anything. */
static gboolean decode_some(FerryDecompressor *d, ZSTD_inBuffer *in, ZSTD_outBuffer *out,
                            gboolean *out_moved, GError **error)
{
    size_t in_before = in->pos, out_before = out->pos;

    if (!d->in_frame) {
        if (!ferry_zstd_frame_acceptable((const uint8_t *)in->src + in->pos, in->size - in->pos,
                                         error)) {
            return FALSE;
        }
        d->in_frame = TRUE;
    }
    size_t status = ZSTD_decompressStream(d->zstd, out, in);
    if (ZSTD_isError(status)) {
        return ferry_compress_refuse(error, "zstd: %s", ZSTD_getErrorName(status));
    }
    d->in_frame = status != 0;
    *out_moved = in->pos != in_before || out->pos != out_before;
    return TRUE;
}

/* All pages are there: what is left may only be the end of the frame. */
static gboolean zstd_rest(FerryDecompressor *d, ZSTD_inBuffer *in, GError **error)
{
    gboolean moved = TRUE;
    uint8_t beyond;

    while (d->in_frame && moved) {
        ZSTD_outBuffer out = {&beyond, sizeof beyond, 0};
        if (!decode_some(d, in, &out, &moved, error)) {
            return FALSE;
        }
        if (out.pos > 0) {
            return too_long("zstd", error);
        }
    }
    return in->pos == in->size
               ? TRUE
               : ferry_compress_refuse(error, "zstd: %zu bytes behind a packet's last page",
                                       in->size - in->pos);
}

static gboolean zstd_packet(FerryDecompressor *d, const uint8_t *in, size_t n,
                            const struct iovec *out, unsigned n_out, GError **error)
{
    ZSTD_inBuffer input = {in, n, 0};
    struct iovec whole;
    gboolean moved;
    size_t filled = 0;

    for (unsigned i = 0; i < n_out;) {
        i += join(out + i, n_out - i, &whole);
        ZSTD_outBuffer piece = {whole.iov_base, whole.iov_len, 0};
        while (piece.pos < piece.size) {
            if (!d->in_frame && input.pos == input.size) {
                return too_short("zstd", filled + piece.pos, error);
            }
            if (!decode_some(d, &input, &piece, &moved, error)) {
                return FALSE;
            }
            if (!moved) {
                return too_short("zstd", filled + piece.pos, error);
            }
        }
        filled += piece.size;
    }
    return zstd_rest(d, &input, error);
}

gboolean ferry_decompressor_packet(FerryDecompressor *d, const uint8_t *in, size_t n,
                                   const struct iovec *out, unsigned n_out, GError **error)
{
    g_assert(n_out > 0 && n <= G_MAXUINT);
    return d->method == FERRY_MULTIFD_ZLIB ? zlib_packet(&d->zlib, in, n, out, n_out, error)
                                           : zstd_packet(d, in, n, out, n_out, error);
}
