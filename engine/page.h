/* Properties of a page's content. The guest may write meanwhile. Any thread. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

/* Whether all 4096 bytes are zero. @page is page aligned. */
gboolean ferry_page_is_zero(const void *page);
/* The same of @n pages that follow one another: bit i of @out_zero, least significant first, says
 * that page i is zero. All of (n + 63) / 64 words are written. */
void ferry_page_zero_run(const void *pages, unsigned n, uint64_t *out_zero);

/* The ways there are to read a whole page on this CPU, the plain one first, the one that is used
 * last. NULL: no more. For tests and benchmarks. */
typedef gboolean (*FerryPageScan)(const void *page);
FerryPageScan ferry_page_scan(unsigned index, const char **out_name);

G_END_DECLS
