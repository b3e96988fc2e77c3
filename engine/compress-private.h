/* Between the decoders of compressed pages. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

#define FERRY_ZSTD_WINDOW_LOG_MAX 25 /* what QEMU's highest level, 20, asks for */

/* Sets FERRY_PROTOCOL_ERROR_MALFORMED; returns FALSE. */
gboolean ferry_compress_refuse(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
/* Whether a zstd frame begins at @in that we are willing to decode. */
gboolean ferry_zstd_frame_acceptable(const uint8_t *in, size_t n, GError **error);

G_END_DECLS
