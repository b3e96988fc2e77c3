#include "engine/compress-private.h"
#include "engine/compress.h"
#include <string.h>
#include <zlib.h>
#include <zstd.h>

/* Each half is made when it is first used: a source does not decode. */
struct FerryPageCodec {
    FerryMultifdMethod method;
    int level;
    z_stream deflate, inflate;
    gboolean deflates, inflates;
    ZSTD_CCtx *compress;
    ZSTD_DCtx *decompress;
};

FerryPageCodec *ferry_page_codec_new(FerryMultifdMethod method, int level)
{
    FerryPageCodec *c = g_new0(FerryPageCodec, 1);

    c->method = method;
    c->level = level;
    return c;
}

void ferry_page_codec_free(FerryPageCodec *c)
{
    if (!c) {
        return;
    }
    if (c->deflates) {
        deflateEnd(&c->deflate);
    }
    if (c->inflates) {
        inflateEnd(&c->inflate);
    }
    ZSTD_freeCCtx(c->compress);
    ZSTD_freeDCtx(c->decompress);
    g_free(c);
}

static size_t deflate_page(FerryPageCodec *c, const uint8_t *page, size_t page_size, uint8_t *out)
{
    int status = c->deflates ? deflateReset(&c->deflate) : deflateInit(&c->deflate, c->level);

    g_assert(status == Z_OK);
    c->deflates = TRUE;
    c->deflate.next_in = (uint8_t *)page;
    c->deflate.avail_in = (uInt)page_size;
    c->deflate.next_out = out;
    c->deflate.avail_out = (uInt)FERRY_PAGE_CODEC_BOUND(page_size);
    status = deflate(&c->deflate, Z_FINISH);
    g_assert(status == Z_STREAM_END);
    return c->deflate.total_out;
}

size_t ferry_page_codec_encode(FerryPageCodec *c, const uint8_t *page, size_t page_size,
                               uint8_t *out)
{
    g_assert(c->method == FERRY_MULTIFD_ZLIB || c->method == FERRY_MULTIFD_ZSTD);
    if (c->method == FERRY_MULTIFD_ZLIB) {
        return deflate_page(c, page, page_size, out);
    }
    if (!c->compress) {
        c->compress = ZSTD_createCCtx();
        g_assert(c->compress);
    }
    size_t n = ZSTD_compressCCtx(c->compress, out, FERRY_PAGE_CODEC_BOUND(page_size), page,
                                 page_size, c->level);
    g_assert(!ZSTD_isError(n));
    return n;
}

static gboolean wrong_size(const char *method, size_t page_size, GError **error)
{
    return ferry_compress_refuse(error, "%s: a compressed page is not %zu bytes", method,
                                 page_size);
}

static gboolean inflate_page(FerryPageCodec *c, const uint8_t *in, size_t n, uint8_t *page,
                             size_t page_size, GError **error)
{
    int status = c->inflates ? inflateReset(&c->inflate) : inflateInit(&c->inflate);

    g_assert(status == Z_OK);
    c->inflates = TRUE;
    c->inflate.next_in = (uint8_t *)in;
    c->inflate.avail_in = (uInt)n;
    c->inflate.next_out = page;
    c->inflate.avail_out = (uInt)page_size;
    status = inflate(&c->inflate, Z_FINISH);
    if (status == Z_NEED_DICT) {
        return ferry_compress_refuse(error, "zlib: a compressed page that needs a dictionary");
    }
    if (status == Z_BUF_ERROR && c->inflate.avail_out > 0) {
        return ferry_compress_refuse(error, "zlib: a compressed page is cut short");
    }
    if (status == Z_BUF_ERROR || (status == Z_STREAM_END && c->inflate.avail_out > 0)) {
        return wrong_size("zlib", page_size, error);
    }
    if (status != Z_STREAM_END) {
        return ferry_compress_refuse(error, "zlib: %s",
                                     c->inflate.msg ? c->inflate.msg : "broken data");
    }
    if (c->inflate.avail_in > 0) {
        return ferry_compress_refuse(error, "zlib: %u bytes behind a compressed page",
                                     c->inflate.avail_in);
    }
    return TRUE;
}

static gboolean decompress_page(FerryPageCodec *c, const uint8_t *in, size_t n, uint8_t *page,
                                size_t page_size, GError **error)
{
    if (!ferry_zstd_frame_acceptable(in, n, error)) {
        return FALSE;
    }
    size_t frame = ZSTD_findFrameCompressedSize(in, n);
    if (ZSTD_isError(frame)) {
        return ferry_compress_refuse(error, "zstd: %s", ZSTD_getErrorName(frame));
    }
    if (frame != n) { /* decompressing would go on with the next frame */
        return ferry_compress_refuse(error, "zstd: %zu bytes behind a compressed page", n - frame);
    }
    if (!c->decompress) {
        c->decompress = ZSTD_createDCtx();
        g_assert(c->decompress);
    }
    size_t got = ZSTD_decompressDCtx(c->decompress, page, page_size, in, n);
    if (ZSTD_isError(got)) {
        return ferry_compress_refuse(error, "zstd: %s", ZSTD_getErrorName(got));
    }
    return got == page_size ? TRUE : wrong_size("zstd", page_size, error);
}

gboolean ferry_page_codec_decode(FerryPageCodec *c, const uint8_t *in, size_t n, uint8_t *page,
                                 size_t page_size, GError **error)
{
    return n > 0 && in[0] == 0x28 ? decompress_page(c, in, n, page, page_size, error)
                                  : inflate_page(c, in, n, page, page_size, error);
}
