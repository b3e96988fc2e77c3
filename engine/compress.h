/* Compression of pages, on the way out and in. Objects belong to one thread each.
 *
 * A stream is what multifd has: one per channel, and each of its packets can be decoded as soon as
 * it is whole. A page is what COMPRESS_PAGE has: each for itself.
 *
 *   zlib  one stream for the whole migration; each packet ends with a sync flush. Raw packets are
 *         stored blocks of the same stream
 *   zstd  QEMU sends one frame that never ends and takes a frame per packet as well. We send a
 *         frame per packet: so a raw packet may follow any other, and a destination with all pages
 *         in one place decodes into it directly */
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
/* From the next packet on. zstd's may be negative: faster, and less comes of it. */
void ferry_compressor_set_level(FerryCompressor *compressor, int level);
/* The ladder that an adaptive sender climbs: step 0 is raw packets, then ever harder levels, none
 * of them dear in memory. */
unsigned ferry_compress_n_steps(FerryMultifdMethod method);
int ferry_compress_step_level(FerryMultifdMethod method, unsigned step); /* step > 0 */
/* The hardest step that is no harder than @level; at least 1. */
unsigned ferry_compress_step_of(FerryMultifdMethod method, int level);
/* No packet of @in_bytes comes out longer. */
size_t ferry_compressor_bound(const FerryCompressor *compressor, size_t in_bytes);
/* One packet: all pieces of @in (at least a byte), flushed so that the other end can decode it
 * whole. The pieces must not change meanwhile. Returns the bytes written to @out, which has room
 * for the bound. */
size_t ferry_compressor_packet(FerryCompressor *compressor, const struct iovec *in, unsigned n,
                               uint8_t *out);

/* Room for the gather that a raw packet of @n pieces needs. */
#define FERRY_RAW_PIECES_MAX(n) ((n) + 24)
/* One packet that is not compressed: @out becomes the pieces of @in, FERRY_MULTIFD_PACKET_BYTES at
 * most, with the method's framing around them. Nothing is read or copied here, and nothing in the
 * framing depends on the content, so the pieces may change until they are sent. The framing is the
 * compressor's, unchanged until its next packet. Returns the number of pieces; *out_bytes is their
 * sum. */
unsigned ferry_compressor_raw_packet(FerryCompressor *compressor, const struct iovec *in,
                                     unsigned n, struct iovec *out, size_t *out_bytes);
/* Whether @in had better go as a raw packet. Looks at 2 KiB of it; says no now and then in order
 * to see, in the packet() that follows, whether the impression still holds. The pieces may change
 * meanwhile. */
gboolean ferry_compressor_seems_incompressible(FerryCompressor *compressor, const struct iovec *in,
                                               unsigned n);
void ferry_compressor_free(FerryCompressor *compressor);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryCompressor, ferry_compressor_free)

typedef struct FerryDecompressor FerryDecompressor;
FerryDecompressor *ferry_decompressor_new(FerryMultifdMethod method);
/* Decodes one packet into the pieces of @out, in order, in place. It must fill them exactly and use
 * all of @in: more, less, a stream that ends (zlib), a dictionary, a skippable frame, a window
 * above 32 MiB (zstd), wrong checksums and broken data are FERRY_PROTOCOL_ERROR_MALFORMED; nothing
 * is written outside the pieces. zstd: a frame per packet or per page is accepted as well as one
 * for the whole channel. After an error the decompressor is of no more use. */
gboolean ferry_decompressor_packet(FerryDecompressor *decompressor, const uint8_t *in, size_t n,
                                   const struct iovec *out, unsigned n_out, GError **error);
void ferry_decompressor_free(FerryDecompressor *decompressor);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryDecompressor, ferry_decompressor_free)

/* One page as a complete zlib stream (QEMU) or zstd frame (openEuler), for COMPRESS_PAGE. */
typedef struct FerryPageCodec FerryPageCodec;
/* To decode, @method and @level do not matter: the data's magic tells. */
FerryPageCodec *ferry_page_codec_new(FerryMultifdMethod method, int level);
#define FERRY_PAGE_CODEC_BOUND(page_size) ((page_size) + (page_size) / 8 + 128)
/* @page must not change meanwhile. */
size_t ferry_page_codec_encode(FerryPageCodec *codec, const uint8_t *page, size_t page_size,
                               uint8_t *out);
/* Exactly one page must come out of exactly @n bytes; otherwise as the decompressor. */
gboolean ferry_page_codec_decode(FerryPageCodec *codec, const uint8_t *in, size_t n, uint8_t *page,
                                 size_t page_size, GError **error);
void ferry_page_codec_free(FerryPageCodec *codec);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryPageCodec, ferry_page_codec_free)

G_END_DECLS
