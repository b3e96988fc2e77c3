/* Properties of one page's content. */
#pragma once
#include <glib.h>
#include <stdint.h>

/* Whether all 4096 bytes are zero. The guest may write the page meanwhile. @page is page aligned.
 */
gboolean ferry_page_is_zero(const void *page);
