/* What a page holds, by how far it packs: the classes of docs/trace-format.md. Any thread. */
#pragma once
#include <zstd.h>
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

#define FERRY_PAGE_CLASS_BYTES 4096u /* of a page */

/* FERRY_TRACE_CLASS_ZERO, _SAME, or _PACKED and how far. @page may be written meanwhile and needs
 * no alignment. @packer: the caller's, for one thread at a time. */
uint8_t ferry_page_class(const void *page, ZSTD_CCtx *packer);

G_END_DECLS
