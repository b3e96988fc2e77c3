#include "engine/precopy/order.h"

/* Runs are found chunk by chunk: a word per chunk says which classes of heat its pending pages have
 * (perhaps had), so that looking for the coldest passes over most of memory in a few steps. */
#define CHUNK_PAGES 512u
#define COLDEST_ONLY UINT64_C(1)

struct FerryPending {
    unsigned n_blocks;
    uint64_t count;
    FerryBitmap *pages;
    uint64_t **classes;    /* per block and chunk, a bit per class */
    unsigned cursor_block; /* where the round stands */
    uint64_t cursor_page;
    uint64_t walked; /* CURSOR: pages passed since the round began: once round is enough */
    uint64_t total;
    unsigned warmest; /* COLD_FIRST: pages up to this class are being handed out */
};

static uint64_t n_chunks(const FerryPending *p, unsigned block)
{
    return (p->pages[block].n_bits + CHUNK_PAGES - 1) / CHUNK_PAGES;
}

FerryPending *ferry_pending_new(const uint64_t *block_pages, unsigned n_blocks)
{
    FerryPending *p = g_new0(FerryPending, 1);

    p->n_blocks = n_blocks;
    p->pages = g_new0(FerryBitmap, n_blocks);
    p->classes = g_new0(uint64_t *, n_blocks);
    for (unsigned i = 0; i < n_blocks; i++) {
        ferry_bitmap_init(&p->pages[i], block_pages[i]);
        p->classes[i] = g_new0(uint64_t, n_chunks(p, i));
        p->total += block_pages[i];
    }
    return p;
}

static uint64_t classes_of(const FerryHeat *heat, unsigned block, uint64_t first, uint64_t mask)
{
    uint64_t classes = 0;

    for (; mask != 0; mask &= mask - 1) {
        uint64_t page = first + (unsigned)__builtin_ctzll(mask);
        classes |= UINT64_C(1) << ferry_heat_class(heat, block, page);
    }
    return classes;
}

uint64_t ferry_pending_merge(FerryPending *p, unsigned block, FerryBitmap *found, FerryHeat *heat,
                             uint64_t before_ns, uint64_t now_ns)
{
    FerryBitmap *pages = &p->pages[block];
    uint64_t fresh_pages = 0;

    for (uint64_t i = 0; i < ferry_bitmap_n_words(found); i++) {
        uint64_t mask = found->words[i], fresh = mask & ~pages->words[i];
        if (mask == 0) {
            continue;
        }
        if (heat) {
            ferry_heat_written(heat, block, i * 64, mask, before_ns, now_ns);
            /* Those that were pending and unseen may be warmer now as well. */
            p->classes[block][i * 64 / CHUNK_PAGES] |= classes_of(heat, block, i * 64, mask);
        } else {
            p->classes[block][i * 64 / CHUNK_PAGES] |= COLDEST_ONLY;
        }
        pages->words[i] |= mask;
        fresh_pages += (unsigned)__builtin_popcountll(fresh);
        found->words[i] = 0;
    }
    p->count += fresh_pages;
    return fresh_pages;
}

uint64_t ferry_pending_count(const FerryPending *p) { return p->count; }

uint64_t ferry_pending_count_new(const FerryPending *p, unsigned block, const FerryBitmap *found)
{
    uint64_t pages = 0;

    for (uint64_t i = 0; i < ferry_bitmap_n_words(found); i++) {
        pages += (unsigned)__builtin_popcountll(found->words[i] & ~p->pages[block].words[i]);
    }
    return pages;
}

void ferry_pending_begin_round(FerryPending *p, FerryOrder order, gboolean from_start)
{
    p->walked = 0;
    p->warmest = 0;
    if (from_start || order != FERRY_ORDER_CURSOR) {
        p->cursor_block = 0;
        p->cursor_page = 0;
    }
}

static void take(FerryPending *p, const FerryRun *run)
{
    ferry_bitmap_reset(&p->pages[run->block], run->first, run->n);
    p->count -= run->n;
    p->cursor_page = run->first + run->n;
}

/* From the cursor to the end of memory, or with @wrap once round. */
static gboolean next_in_order(FerryPending *p, gboolean wrap, uint64_t max, FerryRun *out_run)
{
    while (p->count > 0 && p->cursor_block < p->n_blocks) {
        const FerryBitmap *pages = &p->pages[p->cursor_block];
        uint64_t from = p->cursor_page;
        FerryRun run = {.block = p->cursor_block};
        if (ferry_bitmap_next_run(pages, from, max, &run.first, &run.n)) {
            p->walked += run.first + run.n - from;
            take(p, &run);
            *out_run = run;
            return TRUE;
        }
        p->walked += pages->n_bits - from;
        p->cursor_page = 0;
        p->cursor_block++;
        if (wrap && p->cursor_block == p->n_blocks && p->walked < 2 * p->total) {
            p->cursor_block = 0;
        }
    }
    return FALSE;
}

/* The next run of pending pages of class warmest or colder in one chunk. */
static gboolean next_in_chunk(FerryPending *p, const FerryHeat *heat, unsigned block, uint64_t from,
                              uint64_t end, uint64_t max, FerryRun *out_run)
{
    const FerryBitmap *pages = &p->pages[block];
    uint64_t page = ferry_bitmap_next_set(pages, from);

    while (page < end && ferry_heat_class(heat, block, page) > p->warmest) {
        page = ferry_bitmap_next_set(pages, page + 1);
    }
    if (page >= end) {
        return FALSE;
    }
    *out_run = (FerryRun){.block = block, .first = page, .n = 1};
    while (out_run->n < max && page + out_run->n < end &&
           ferry_bitmap_test(pages, page + out_run->n) &&
           ferry_heat_class(heat, block, page + out_run->n) <= p->warmest) {
        out_run->n++;
    }
    return TRUE;
}

static gboolean next_of_warmest(FerryPending *p, const FerryHeat *heat, uint64_t max,
                                FerryRun *out_run)
{
    uint64_t wanted = (UINT64_C(2) << p->warmest) - 1;

    for (; p->cursor_block < p->n_blocks; p->cursor_block++, p->cursor_page = 0) {
        uint64_t *classes = p->classes[p->cursor_block];
        uint64_t n_bits = p->pages[p->cursor_block].n_bits;
        while (p->cursor_page < n_bits) {
            uint64_t chunk = p->cursor_page / CHUNK_PAGES;
            uint64_t end = MIN((chunk + 1) * CHUNK_PAGES, n_bits);
            if ((classes[chunk] & wanted) &&
                next_in_chunk(p, heat, p->cursor_block, p->cursor_page, end, max, out_run)) {
                take(p, out_run);
                return TRUE;
            }
            classes[chunk] &= ~wanted;
            p->cursor_page = end;
        }
    }
    return FALSE;
}

/* The coldest class that any chunk still has; FERRY_HEAT_CLASSES: none. */
static unsigned coldest_left(const FerryPending *p)
{
    uint64_t any = 0;

    for (unsigned i = 0; i < p->n_blocks; i++) {
        for (uint64_t chunk = 0; chunk < n_chunks(p, i); chunk++) {
            any |= p->classes[i][chunk];
        }
    }
    return any ? (unsigned)__builtin_ctzll(any) : FERRY_HEAT_CLASSES;
}

static gboolean next_coldest(FerryPending *p, const FerryHeat *heat, uint64_t max,
                             FerryRun *out_run)
{
    while (p->count > 0) {
        if (next_of_warmest(p, heat, max, out_run)) {
            return TRUE;
        }
        p->warmest = coldest_left(p);
        if (p->warmest >= FERRY_HEAT_CLASSES) {
            return FALSE;
        }
        p->cursor_block = 0;
        p->cursor_page = 0;
    }
    return FALSE;
}

gboolean ferry_pending_next(FerryPending *p, FerryOrder order, const FerryHeat *heat, uint64_t max,
                            FerryRun *out_run)
{
    switch (order) {
    case FERRY_ORDER_PASS:
        return next_in_order(p, FALSE, max, out_run);
    case FERRY_ORDER_CURSOR:
        return next_in_order(p, TRUE, max, out_run);
    case FERRY_ORDER_COLD_FIRST:
        return next_coldest(p, heat, max, out_run);
    }
    g_assert_not_reached();
}

void ferry_pending_free(FerryPending *p)
{
    if (!p) {
        return;
    }
    for (unsigned i = 0; i < p->n_blocks; i++) {
        ferry_bitmap_clear(&p->pages[i]);
        g_free(p->classes[i]);
    }
    g_free(p->pages);
    g_free(p->classes);
    g_free(p);
}
