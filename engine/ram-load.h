/* The ram section on its way in: the peer's block list matched with ours, then its pages. Pages may
 * come on main and on other channels at once, each channel with a thread of its own. */
#pragma once
#include "dirtylog/bitmap.h"
#include "engine/memory.h"
#include "protocol/decoder.h"

G_BEGIN_DECLS

typedef struct {
    uint64_t normal_pages, zero_pages;
    uint64_t xbzrle_pages, xbzrle_bytes;         /* bytes: as they came */
    uint64_t compressed_pages, compressed_bytes; /* of COMPRESS_PAGE */
} FerryRamLoaded;

typedef struct FerryRamLoader FerryRamLoader;
/* Borrows @memory, which is known zero; its blocks may be added up to the end of the list. */
FerryRamLoader *ferry_ram_loader_new(const FerryMemory *memory);
/* The next entry of the peer's list: FERRY_ENGINE_ERROR_PEER with both sizes unless there is a
 * block of that name and length here. */
gboolean ferry_ram_loader_block(FerryRamLoader *loader, const char *idstr, uint64_t used_length,
                                GError **error);
/* The list is complete: every block of ours must be in it. @page_bits: of the peer's pages. */
gboolean ferry_ram_loader_list_end(FerryRamLoader *loader, unsigned page_bits, GError **error);
/* The content of what is listed as number @block is not known zero. Main's thread, before pages. */
void ferry_ram_loader_set_stale(FerryRamLoader *loader, unsigned block);
/* All pages are here: what nothing was put on in stale blocks becomes zero. No other thread may put
 * a page any more. */
void ferry_ram_loader_finish(FerryRamLoader *loader);
/* PAGE, ZERO, XBZRLE or COMPRESSED of a listed block. The decoder has checked the offset against
 * the listed length, which is the block's. Main's thread. */
gboolean ferry_ram_loader_page(FerryRamLoader *loader, const FerryStreamEvent *event,
                               GError **error);
/* Of what came on main. Main's thread. */
FerryRamLoaded ferry_ram_loader_counts(const FerryRamLoader *loader);

/* Any thread, from the end of the list on. Blocks are numbered as the peer listed them. -1: none of
 * that name. */
int ferry_ram_loader_find(const FerryRamLoader *loader, const char *idstr);
uint64_t ferry_ram_loader_length(const FerryRamLoader *loader, unsigned block);
/* Where the page is, to be filled now: it counts as received from here on. */
uint8_t *ferry_ram_loader_claim(FerryRamLoader *loader, unsigned block, uint64_t offset);
/* The same for all @pages of a block, which begins there; counted as pages of main. */
uint8_t *ferry_ram_loader_claim_all(FerryRamLoader *loader, unsigned block,
                                    const FerryBitmap *pages);
/* As many pages from @offset on as hold nothing yet, at most @max, to be filled now: their number,
 * and where the first one is. Main's thread. */
unsigned ferry_ram_loader_claim_new(FerryRamLoader *loader, unsigned block, uint64_t offset,
                                    unsigned max, uint8_t **out_host);
/* @n pages were claimed so in vain, and the first @bytes of them written: they hold nothing again.
 */
void ferry_ram_loader_unclaim(FerryRamLoader *loader, unsigned block, uint64_t offset, unsigned n,
                              size_t bytes);
/* Counts pages that were put by hand. Main's thread. */
void ferry_ram_loader_add_pages(FerryRamLoader *loader, uint64_t n);
/* The page is all zero, whatever it was. */
void ferry_ram_loader_zero(FerryRamLoader *loader, unsigned block, uint64_t offset);

/* Makes memory zero again wherever a page was put. No other thread may put one any more. */
void ferry_ram_loader_discard(FerryRamLoader *loader);
void ferry_ram_loader_free(FerryRamLoader *loader);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryRamLoader, ferry_ram_loader_free)

G_END_DECLS
