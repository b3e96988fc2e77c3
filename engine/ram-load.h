/* The ram section on its way in: the peer's block list matched with ours, then its pages. */
#pragma once
#include "engine/memory.h"
#include "protocol/decoder.h"

typedef struct FerryRamLoader FerryRamLoader;
/* Borrows @memory, which is known zero. */
FerryRamLoader *ferry_ram_loader_new(const FerryMemory *memory);
/* The next entry of the peer's list: FERRY_ENGINE_ERROR_PEER with both sizes unless there is a
 * block of that name and length here. */
gboolean ferry_ram_loader_block(FerryRamLoader *loader, const FerryStreamEvent *event,
                                GError **error);
/* The list is complete: every block of ours must be in it. */
gboolean ferry_ram_loader_list_end(FerryRamLoader *loader, GError **error);
/* PAGE or ZERO of a listed block. The decoder has checked the offset against the listed length,
 * which is the block's. */
void ferry_ram_loader_page(FerryRamLoader *loader, const FerryStreamEvent *event);
uint64_t ferry_ram_loader_normal_pages(const FerryRamLoader *loader);
uint64_t ferry_ram_loader_zero_pages(const FerryRamLoader *loader);
/* Makes memory zero again wherever a page was put. */
void ferry_ram_loader_discard(FerryRamLoader *loader);
void ferry_ram_loader_free(FerryRamLoader *loader);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryRamLoader, ferry_ram_loader_free)
