#include "engine/ram-load.h"
#include <string.h>
#include "dirtylog/bitmap.h"
#include "engine/compress.h"
#include "engine/error.h"
#include "engine/page.h"
#include "protocol/xbzrle.h"

/* A block of the peer's list. */
typedef struct {
    FerryMemoryBlock block;
    FerryBitmap written; /* pages that hold what a record brought; the others are still zero */
    FerryBitmap named;   /* pages that a record called zero: those that were not written are zero */
    gboolean stale;      /* what is neither may be anything, and counts as zero */
} Listed;

struct FerryRamLoader {
    const FerryMemory *memory;
    uint64_t page_size;
    unsigned page_bits;
    GArray *listed;
    FerryPageCodec *codec;
    FerryRamLoaded counts;
};

FerryRamLoader *ferry_ram_loader_new(const FerryMemory *memory)
{
    FerryRamLoader *l = g_new0(FerryRamLoader, 1);

    l->memory = memory;
    l->listed = g_array_new(FALSE, TRUE, sizeof(Listed));
    return l;
}

static Listed *listed(const FerryRamLoader *l, unsigned block)
{
    return &g_array_index(l->listed, Listed, block);
}

gboolean ferry_ram_loader_block(FerryRamLoader *l, const char *idstr, uint64_t used_length,
                                GError **error)
{
    int index = ferry_memory_find(l->memory, idstr);

    if (index < 0) {
        g_autofree char *name = g_strescape(idstr, NULL);
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                    "RAM block '%s' (%" G_GUINT64_FORMAT
                    " bytes at the source) does not exist here",
                    name, used_length);
        return FALSE;
    }
    Listed entry = {.block = *ferry_memory_block(l->memory, (unsigned)index)};
    if (entry.block.length != used_length) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                    "RAM block '%s': %" G_GUINT64_FORMAT
                    " bytes at the source, but %" G_GUINT64_FORMAT " bytes here",
                    idstr, used_length, entry.block.length);
        return FALSE;
    }
    g_array_append_val(l->listed, entry);
    return TRUE;
}

gboolean ferry_ram_loader_list_end(FerryRamLoader *l, unsigned page_bits, GError **error)
{
    for (unsigned i = 0; i < ferry_memory_n_blocks(l->memory); i++) {
        const FerryMemoryBlock *block = ferry_memory_block(l->memory, i);
        if (ferry_ram_loader_find(l, block->idstr) < 0) {
            g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                        "RAM block '%s' (%" G_GUINT64_FORMAT
                        " bytes here) does not exist at the source",
                        block->idstr, block->length);
            return FALSE;
        }
    }
    l->page_bits = page_bits;
    l->page_size = UINT64_C(1) << page_bits;
    for (unsigned i = 0; i < l->listed->len; i++) {
        ferry_bitmap_init(&listed(l, i)->written, listed(l, i)->block.length >> page_bits);
        ferry_bitmap_init(&listed(l, i)->named, listed(l, i)->block.length >> page_bits);
    }
    return TRUE;
}

void ferry_ram_loader_set_stale(FerryRamLoader *l, unsigned block)
{
    listed(l, block)->stale = TRUE;
}

int ferry_ram_loader_find(const FerryRamLoader *l, const char *idstr)
{
    for (unsigned i = 0; i < l->listed->len; i++) {
        if (strcmp(listed(l, i)->block.idstr, idstr) == 0) {
            return (int)i;
        }
    }
    return -1;
}

uint64_t ferry_ram_loader_length(const FerryRamLoader *l, unsigned block)
{
    return listed(l, block)->block.length;
}

/* Threads meet in one word of a bitmap; most often the bit is there already. */
static gboolean is_set(const FerryBitmap *b, uint64_t i)
{
    return __atomic_load_n(&b->words[i / 64], __ATOMIC_ACQUIRE) >> (i % 64) & 1;
}

static void set(FerryBitmap *b, uint64_t i)
{
    if (!is_set(b, i)) {
        __atomic_fetch_or(&b->words[i / 64], UINT64_C(1) << (i % 64), __ATOMIC_ACQ_REL);
    }
}

uint8_t *ferry_ram_loader_claim(FerryRamLoader *l, unsigned block, uint64_t offset)
{
    Listed *b = listed(l, block);

    set(&b->written, offset >> l->page_bits);
    return b->block.host + offset;
}

uint8_t *ferry_ram_loader_claim_all(FerryRamLoader *l, unsigned block, const FerryBitmap *pages)
{
    Listed *b = listed(l, block);

    l->counts.normal_pages += ferry_bitmap_or(&b->written, pages);
    return b->block.host;
}

unsigned ferry_ram_loader_claim_new(FerryRamLoader *l, unsigned block, uint64_t offset,
                                    unsigned max, uint8_t **out_host)
{
    Listed *b = listed(l, block);
    uint64_t first = offset >> l->page_bits;
    unsigned n = 0;

    while (n < max && first + n < b->written.n_bits && !is_set(&b->written, first + n)) {
        set(&b->written, first + n++);
    }
    *out_host = b->block.host + offset;
    return n;
}

void ferry_ram_loader_unclaim(FerryRamLoader *l, unsigned block, uint64_t offset, unsigned n,
                              size_t bytes)
{
    Listed *b = listed(l, block);

    if (n > 0) {
        memset(b->block.host + offset, 0, bytes);
        ferry_bitmap_reset(&b->written, offset >> l->page_bits, n);
    }
}

void ferry_ram_loader_add_pages(FerryRamLoader *l, uint64_t n) { l->counts.normal_pages += n; }

/* Most of what was there before is zero already; reading is cheaper than writing. */
static void clean(uint8_t *page, uint64_t size)
{
    for (uint64_t at = 0; at < size; at += FERRY_PAGE_SIZE) {
        if (size < FERRY_PAGE_SIZE || !ferry_page_is_zero(page + at)) {
            memset(page + at, 0, MIN(size, FERRY_PAGE_SIZE));
        }
    }
}

void ferry_ram_loader_zero(FerryRamLoader *l, unsigned block, uint64_t offset)
{
    Listed *b = listed(l, block);
    uint64_t page = offset >> l->page_bits;

    if (is_set(&b->written, page)) {
        memset(b->block.host + offset, 0, l->page_size);
    } else if (!is_set(&b->named, page)) {
        /* Known zero until something was written: touching it would only cost memory. What is stale
         * is cleaned at once, by whichever thread has it, rather than all of it at the end. */
        if (b->stale) {
            clean(b->block.host + offset, l->page_size);
        }
        set(&b->named, page);
    }
}

void ferry_ram_loader_finish(FerryRamLoader *l)
{
    for (unsigned i = 0; i < l->listed->len; i++) {
        Listed *b = listed(l, i);
        uint64_t n = b->stale ? b->written.n_bits : 0;
        for (uint64_t p = ferry_bitmap_next_clear(&b->written, 0); p < n;
             p = ferry_bitmap_next_clear(&b->written, p + 1)) {
            if (!is_set(&b->named, p)) {
                clean(b->block.host + (p << l->page_bits), l->page_size);
            }
        }
        b->stale = FALSE;
    }
}

static gboolean put_delta(FerryRamLoader *l, const FerryStreamEvent *e, GError **error)
{
    Listed *b = listed(l, e->page.block);
    uint64_t number = e->page.offset >> l->page_bits;

    if (!is_set(&b->written, number) && !is_set(&b->named, number)) {
        g_set_error_literal(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                            "a delta against a page that was never sent");
        return FALSE;
    }
    l->counts.xbzrle_pages++;
    l->counts.xbzrle_bytes += e->page.length;
    return ferry_xbzrle_decode(e->page.data, e->page.length,
                               ferry_ram_loader_claim(l, e->page.block, e->page.offset),
                               l->page_size, error);
}

static gboolean put_compressed(FerryRamLoader *l, const FerryStreamEvent *e, GError **error)
{
    if (!l->codec) {
        l->codec = ferry_page_codec_new(FERRY_MULTIFD_ZLIB, 1);
    }
    l->counts.compressed_pages++;
    l->counts.compressed_bytes += e->page.length;
    return ferry_page_codec_decode(l->codec, e->page.data, e->page.length,
                                   ferry_ram_loader_claim(l, e->page.block, e->page.offset),
                                   l->page_size, error);
}

gboolean ferry_ram_loader_page(FerryRamLoader *l, const FerryStreamEvent *e, GError **error)
{
    gboolean ok = TRUE;

    if (e->type == FERRY_STREAM_PAGE) {
        memcpy(ferry_ram_loader_claim(l, e->page.block, e->page.offset), e->page.data,
               l->page_size);
        l->counts.normal_pages++;
        return TRUE;
    }
    switch (e->type) {
    case FERRY_STREAM_ZERO:
        ferry_ram_loader_zero(l, e->page.block, e->page.offset);
        l->counts.zero_pages++;
        break;
    case FERRY_STREAM_XBZRLE:
        ok = put_delta(l, e, error);
        break;
    case FERRY_STREAM_COMPRESSED:
        ok = put_compressed(l, e, error);
        break;
    default:
        g_assert_not_reached();
    }
    if (!ok) {
        g_prefix_error(error, "RAM block '%s' at 0x%" G_GINT64_MODIFIER "x: ",
                       listed(l, e->page.block)->block.idstr, e->page.offset);
    }
    return ok;
}

FerryRamLoaded ferry_ram_loader_counts(const FerryRamLoader *l) { return l->counts; }

void ferry_ram_loader_discard(FerryRamLoader *l)
{
    for (unsigned i = 0; i < l->listed->len; i++) {
        FerryBitmap *written = &listed(l, i)->written;
        uint64_t first = 0, n = 0;
        while (ferry_bitmap_next_run(written, first + n, written->n_bits, &first, &n)) {
            memset(listed(l, i)->block.host + (first << l->page_bits), 0, n << l->page_bits);
        }
        ferry_bitmap_reset(written, 0, written->n_bits);
    }
}

void ferry_ram_loader_free(FerryRamLoader *l)
{
    if (!l) {
        return;
    }
    for (unsigned i = 0; i < l->listed->len; i++) {
        ferry_bitmap_clear(&listed(l, i)->written);
        ferry_bitmap_clear(&listed(l, i)->named);
    }
    g_array_unref(l->listed);
    ferry_page_codec_free(l->codec);
    g_free(l);
}
