/* One page as a delta against the content the peer has of it (QEMU's XBZRLE, encoding 1): pairs of
 * an unchanged run and a changed run, lengths as ULEB128 of at most two bytes, the changed run's
 * new bytes behind its length. Pure. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

#define FERRY_XBZRLE_ENCODING 1

/* Writes the delta from @old to @new, both @page_size bytes, to @out: its length; 0 when they are
 * equal; -1 when it would be longer than @room, or needs a run of more than 16383 bytes (pages of
 * more than 16 KiB). Neither page may change meanwhile: encode a copy of
 * a page that a guest may write. */
gssize ferry_xbzrle_encode(const uint8_t *old, const uint8_t *new, size_t page_size, uint8_t *out,
                           size_t room);
/* Applies a delta to @page. Everything is checked before the first byte of @page changes;
 * FERRY_PROTOCOL_ERROR_MALFORMED says what is wrong and at which byte of the delta. */
gboolean ferry_xbzrle_decode(const uint8_t *delta, size_t n, uint8_t *page, size_t page_size,
                             GError **error);

G_END_DECLS
