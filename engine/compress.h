/* Compression of pages, on the way out and in. Objects belong to one thread each.
 *
 * A stream is what multifd has: one per channel for the whole migration, flushed at the end of each
 * packet. A page is what COMPRESS_PAGE has: each for itself. */
#pragma once
#include <glib.h>
#include <stdint.h>
#include <sys/uio.h>
#include "protocol/multifd.h"

G_BEGIN_DECLS

#define FERRY_ZLIB_LEVEL_MAX 9
#define FERRY_ZSTD_LEVEL_MAX 20 /* QEMU's ranges: 0..9 and 0..20, default 1 */

typedef struct FerryCompressor FerryCompressor;
/* @method: ZLIB or ZSTD. */
FerryCompressor *ferry_compressor_new(FerryMultifdMethod method, int level);
/* No packet of @in_bytes comes out longer. */
size_t ferry_compressor_bound(const FerryCompressor *compressor, size_t in_bytes);
/* One packet: all pieces of @in, flushed so that the other end can decode it whole. The pieces must
 * not change meanwhile. Returns the bytes written to @out, which has room for the bound. */
size_t ferry_compressor_packet(FerryCompressor *compressor, const struct iovec *in, unsigned n,
                               uint8_t *out);
void ferry_compressor_free(FerryCompressor *compressor);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryCompressor, ferry_compressor_free)

typedef struct FerryDecompressor FerryDecompressor;
FerryDecompressor *ferry_decompressor_new(FerryMultifdMethod method);
/* Decodes one packet into the pieces of @out, in order, in place. It must fill them exactly and use
 * all of @in: more, less, a stream that ends (zlib), a dictionary, a window above 8 MiB (zstd) and
 * broken data are FERRY_PROTOCOL_ERROR_MALFORMED; nothing is written outside the pieces. zstd: a
 * frame per packet or per page is accepted as well as one for the whole channel. After an error the
 * decompressor is of no more use. */
gboolean ferry_decompressor_packet(FerryDecompressor *decompressor, const uint8_t *in, size_t n,
                                   const struct iovec *out, unsigned n_out, GError **error);
void ferry_decompressor_free(FerryDecompressor *decompressor);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryDecompressor, ferry_decompressor_free)

/* One page as a complete zlib stream (QEMU) or zstd frame (openEuler), for COMPRESS_PAGE. */
typedef struct FerryPageCodec FerryPageCodec;
/* To decode, @method and @level do not matter: the data's magic tells. */
FerryPageCodec *ferry_page_codec_new(FerryMultifdMethod method, int level);
#define FERRY_PAGE_CODEC_BOUND(page_size) ((page_size) + (page_size) / 8 + 128)
size_t ferry_page_codec_encode(FerryPageCodec *codec, const uint8_t *page, size_t page_size,
                               uint8_t *out);
/* Exactly one page must come out of exactly @n bytes. */
gboolean ferry_page_codec_decode(FerryPageCodec *codec, const uint8_t *in, size_t n, uint8_t *page,
                                 size_t page_size, GError **error);
void ferry_page_codec_free(FerryPageCodec *codec);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryPageCodec, ferry_page_codec_free)

G_END_DECLS
