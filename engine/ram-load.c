#include "engine/ram-load.h"
#include <string.h>
#include "dirtylog/bitmap.h"
#include "engine/error.h"
#include "protocol/ram.h"

struct FerryRamLoader {
    const FerryMemory *memory;
    GArray *ours;          /* unsigned: our index of the peer's n-th block */
    FerryBitmap *received; /* per block of ours: pages that a record has written */
    gboolean *listed;
    uint64_t normal_pages, zero_pages;
};

FerryRamLoader *ferry_ram_loader_new(const FerryMemory *memory)
{
    unsigned n = ferry_memory_n_blocks(memory);
    FerryRamLoader *l = g_new0(FerryRamLoader, 1);

    l->memory = memory;
    l->ours = g_array_new(FALSE, FALSE, sizeof(unsigned));
    l->received = g_new0(FerryBitmap, n);
    l->listed = g_new0(gboolean, n);
    for (unsigned i = 0; i < n; i++) {
        ferry_bitmap_init(&l->received[i], ferry_memory_block(memory, i)->length / FERRY_PAGE_SIZE);
    }
    return l;
}

gboolean ferry_ram_loader_block(FerryRamLoader *l, const FerryStreamEvent *e, GError **error)
{
    int index = ferry_memory_find(l->memory, e->block.idstr);

    if (index < 0) {
        g_autofree char *name = g_strescape(e->block.idstr, NULL);
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                    "RAM block '%s' (%" G_GUINT64_FORMAT
                    " bytes at the source) does not exist here",
                    name, e->block.used_length);
        return FALSE;
    }
    if (ferry_memory_block(l->memory, (unsigned)index)->length != e->block.used_length) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                    "RAM block '%s': %" G_GUINT64_FORMAT
                    " bytes at the source, but %" G_GUINT64_FORMAT " bytes here",
                    e->block.idstr, e->block.used_length,
                    ferry_memory_block(l->memory, (unsigned)index)->length);
        return FALSE;
    }
    unsigned ours = (unsigned)index;
    g_array_append_val(l->ours, ours);
    l->listed[ours] = TRUE;
    return TRUE;
}

gboolean ferry_ram_loader_list_end(FerryRamLoader *l, GError **error)
{
    for (unsigned i = 0; i < ferry_memory_n_blocks(l->memory); i++) {
        if (!l->listed[i]) {
            g_set_error(
                error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                "RAM block '%s' (%" G_GUINT64_FORMAT " bytes here) does not exist at the source",
                ferry_memory_block(l->memory, i)->idstr, ferry_memory_block(l->memory, i)->length);
            return FALSE;
        }
    }
    return TRUE;
}

void ferry_ram_loader_page(FerryRamLoader *l, const FerryStreamEvent *e)
{
    unsigned index = g_array_index(l->ours, unsigned, e->page.block);
    uint8_t *page = ferry_memory_block(l->memory, index)->host + e->page.offset;
    uint64_t number = e->page.offset / FERRY_PAGE_SIZE;

    if (e->type == FERRY_STREAM_PAGE) {
        ferry_bitmap_set(&l->received[index], number, 1);
        memcpy(page, e->page.data, FERRY_PAGE_SIZE);
        l->normal_pages++;
        return;
    }
    /* Known zero until something was written: touching it would only cost memory. */
    if (ferry_bitmap_test(&l->received[index], number)) {
        memset(page, 0, FERRY_PAGE_SIZE);
    }
    l->zero_pages++;
}

uint64_t ferry_ram_loader_normal_pages(const FerryRamLoader *l) { return l->normal_pages; }

uint64_t ferry_ram_loader_zero_pages(const FerryRamLoader *l) { return l->zero_pages; }

void ferry_ram_loader_discard(FerryRamLoader *l)
{
    for (unsigned i = 0; i < ferry_memory_n_blocks(l->memory); i++) {
        FerryBitmap *received = &l->received[i];
        uint64_t first = 0, n = 0;
        while (ferry_bitmap_next_run(received, first + n, received->n_bits, &first, &n)) {
            memset(ferry_memory_block(l->memory, i)->host + first * FERRY_PAGE_SIZE, 0,
                   n * FERRY_PAGE_SIZE);
        }
        ferry_bitmap_reset(received, 0, received->n_bits);
    }
}

void ferry_ram_loader_free(FerryRamLoader *l)
{
    if (!l) {
        return;
    }
    for (unsigned i = 0; i < ferry_memory_n_blocks(l->memory); i++) {
        ferry_bitmap_clear(&l->received[i]);
    }
    g_free(l->received);
    g_free(l->listed);
    g_array_unref(l->ours);
    g_free(l);
}
