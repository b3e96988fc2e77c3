#include "engine/precopy/order.h"
#include <string.h>

/* Pages by rank: never found written, in a stripe of 64 of which no pending page was found written;
 * the same in any other stripe, so likely to be written yet; and from then on by class of heat.
 *
 * Cold pages are found chunk by chunk: a word per chunk says which ranks its pending pages have. It
 * is a hint: heat changes behind our back, and only a look at the chunk's pages
 * tells. But a chunk with pending pages has a bit, so all of them are looked at in the end. */
#define CHUNK_PAGES 512u
#define CHUNK_WORDS (CHUNK_PAGES / 64)
#define COLDEST_ONLY UINT64_C(1)
#define RANK_OF_CLASS 1u /* class 1 has rank 2 */
#define N_RANKS (FERRY_HEAT_CLASSES + RANK_OF_CLASS)

struct FerryPending {
    unsigned n_blocks;
    uint64_t count;
    FerryBitmap *pages;
    FerryBitmap *found;    /* pending ones that were found written since they were last exposed */
    uint64_t **ranks;      /* per block and chunk, a bit per rank */
    unsigned cursor_block; /* where the round stands */
    uint64_t cursor_page, cursor_chunk;
    /* COLD_FIRST: pages up to this rank are being handed out; of the chunk at the cursor these are
     * left. */
    unsigned warmest;
    gboolean is_chosen;
    uint64_t chosen[CHUNK_WORDS];
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
    p->found = g_new0(FerryBitmap, n_blocks);
    p->ranks = g_new0(uint64_t *, n_blocks);
    for (unsigned i = 0; i < n_blocks; i++) {
        ferry_bitmap_init(&p->pages[i], block_pages[i]);
        ferry_bitmap_init(&p->found[i], block_pages[i]);
        p->ranks[i] = g_new0(uint64_t, n_chunks(p, i));
    }
    return p;
}

static uint64_t ranks_of(const FerryHeat *heat, unsigned block, uint64_t first, uint64_t mask)
{
    uint64_t ranks = 0;

    for (; mask != 0; mask &= mask - 1) {
        uint64_t page = first + (unsigned)__builtin_ctzll(mask);
        ranks |= UINT64_C(1) << (ferry_heat_class(heat, block, page) + RANK_OF_CLASS);
    }
    return ranks;
}

/* The words that come next are fetched while others are worked on: of isolated pages most of the
 * time goes into waiting for memory. */
#define AHEAD 12
typedef struct {
    uint64_t at;
    unsigned waiting;
} Ahead;

static void look_ahead(Ahead *a, const FerryBitmap *found, const FerryHeat *heat, unsigned block)
{
    uint64_t n = ferry_bitmap_n_words(found);

    for (; a->waiting < AHEAD && a->at < n; a->at++) {
        uint64_t mask = found->words[a->at];
        if (mask != 0) {
            ferry_heat_prefetch(heat, block, a->at * 64, mask);
            a->waiting++;
        }
    }
    a->waiting--; /* the one whose turn it is */
}

uint64_t ferry_pending_merge(FerryPending *p, unsigned block, FerryBitmap *found, FerryHeat *heat,
                             uint64_t before_ns, uint64_t now_ns)
{
    uint64_t *pages = p->pages[block].words, *known = p->found[block].words;
    uint64_t fresh_pages = 0, n = ferry_bitmap_n_words(found);
    Ahead ahead = {0};

    p->is_chosen = FALSE;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t mask = found->words[i];
        if (mask == 0) {
            continue;
        }
        uint64_t fresh = mask & ~pages[i], news = mask & ~known[i];
        uint64_t ranks = fresh ? COLDEST_ONLY : 0;
        if (heat) {
            look_ahead(&ahead, found, heat, block);
        }
        if (heat && news) {
            ferry_heat_written(heat, block, i * 64, news, before_ns, now_ns);
            known[i] |= news;
            ranks = ranks_of(heat, block, i * 64, news);
        }
        p->ranks[block][i / CHUNK_WORDS] |= ranks;
        pages[i] |= mask;
        fresh_pages += (unsigned)__builtin_popcountll(fresh);
        found->words[i] = 0;
    }
    p->count += fresh_pages;
    return fresh_pages;
}

void ferry_pending_unexpose(FerryPending *p)
{
    for (unsigned i = 0; i < p->n_blocks; i++) {
        (void)ferry_bitmap_or(&p->found[i], &p->pages[i]);
    }
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
    p->is_chosen = FALSE;
    p->warmest = 0;
    p->cursor_chunk = 0;
    if (from_start || order != FERRY_ORDER_CURSOR || p->cursor_block == p->n_blocks) {
        p->cursor_block = 0;
        p->cursor_page = 0;
    }
}

static void take(FerryPending *p, const FerryRun *run)
{
    ferry_bitmap_reset(&p->pages[run->block], run->first, run->n);
    ferry_bitmap_reset(&p->found[run->block], run->first, run->n);
    p->count -= run->n;
    p->cursor_page = run->first + run->n;
}

/* From the cursor to the end of memory, or with @wrap round and round: there is one. */
static gboolean next_in_order(FerryPending *p, gboolean wrap, uint64_t max, FerryRun *out_run)
{
    p->is_chosen = FALSE;
    while (p->count > 0 && p->cursor_block < p->n_blocks) {
        FerryRun run = {.block = p->cursor_block};
        if (ferry_bitmap_next_run(&p->pages[p->cursor_block], p->cursor_page, max, &run.first,
                                  &run.n)) {
            take(p, &run);
            *out_run = run;
            return TRUE;
        }
        p->cursor_page = 0;
        p->cursor_block++;
        if (wrap && p->cursor_block == p->n_blocks) {
            p->cursor_block = 0;
        }
    }
    return FALSE;
}

/* Those of a stripe's pending pages, @left, that have at most the warmest rank. The ranks of all of
 * them are added, those chosen at the warmest. */
static uint64_t choose_of_stripe(const FerryPending *p, const FerryHeat *heat, uint64_t first,
                                 uint64_t left, uint64_t *ranks)
{
    uint64_t unwritten = 0, chosen = 0, warmer = 0;

    for (uint64_t todo = left; todo != 0; todo &= todo - 1) {
        uint64_t bit = todo & -todo;
        unsigned class =
            ferry_heat_class(heat, p->cursor_block, first + (unsigned)__builtin_ctzll(todo));
        unsigned rank = class + RANK_OF_CLASS;
        if (class == 0) {
            unwritten |= bit;
        } else if (rank <= p->warmest) {
            chosen |= bit;
        } else {
            warmer |= UINT64_C(1) << rank;
        }
    }
    if (unwritten != 0) {
        unsigned rank = unwritten == left ? 0 : RANK_OF_CLASS;
        chosen |= rank <= p->warmest ? unwritten : 0;
        warmer |= rank <= p->warmest ? 0 : UINT64_C(1) << rank;
    }
    *ranks |= warmer | (chosen ? UINT64_C(1) << p->warmest : 0);
    return chosen;
}

/* Chooses the pending pages up to the warmest rank of the chunk at the cursor. Its word of ranks
 * becomes exact; one bit stands for those chosen, which stay behind if the round ends now. */
static void choose(FerryPending *p, const FerryHeat *heat)
{
    const FerryBitmap *pages = &p->pages[p->cursor_block];
    uint64_t first_word = p->cursor_chunk * CHUNK_WORDS, ranks = 0;
    uint64_t n_words = MIN(CHUNK_WORDS, ferry_bitmap_n_words(pages) - first_word);

    memset(p->chosen, 0, sizeof p->chosen);
    for (uint64_t i = 0; i < n_words; i++) {
        p->chosen[i] =
            choose_of_stripe(p, heat, (first_word + i) * 64, pages->words[first_word + i], &ranks);
    }
    p->ranks[p->cursor_block][p->cursor_chunk] = ranks;
    p->is_chosen = (ranks >> p->warmest & 1) != 0;
    p->cursor_page = p->cursor_chunk * CHUNK_PAGES;
}

/* The next run of those chosen. */
static gboolean next_chosen(FerryPending *p, uint64_t max, FerryRun *out_run)
{
    FerryBitmap chosen = {.n_bits = CHUNK_PAGES, .words = p->chosen};
    uint64_t base = p->cursor_chunk * CHUNK_PAGES;
    FerryRun run = {.block = p->cursor_block};

    if (!ferry_bitmap_next_run(&chosen, p->cursor_page - base, max, &run.first, &run.n)) {
        p->ranks[p->cursor_block][p->cursor_chunk] &= ~(UINT64_C(1) << p->warmest);
        p->is_chosen = FALSE;
        p->cursor_chunk++;
        return FALSE;
    }
    run.first += base;
    take(p, &run);
    *out_run = run;
    return TRUE;
}

/* Pages up to the warmest rank, once over all memory. */
static gboolean next_of_warmest(FerryPending *p, const FerryHeat *heat, uint64_t max,
                                FerryRun *out_run)
{
    uint64_t wanted = (UINT64_C(2) << p->warmest) - 1;

    for (; p->cursor_block < p->n_blocks; p->cursor_block++, p->cursor_chunk = 0) {
        uint64_t n = n_chunks(p, p->cursor_block);
        while (p->cursor_chunk < n) {
            if (p->is_chosen && next_chosen(p, max, out_run)) {
                return TRUE;
            }
            const uint64_t *ranks = p->ranks[p->cursor_block];
            while (p->cursor_chunk < n && !(ranks[p->cursor_chunk] & wanted)) {
                p->cursor_chunk++;
            }
            if (p->cursor_chunk < n) {
                choose(p, heat);
                p->cursor_chunk += p->is_chosen ? 0 : 1;
            }
        }
    }
    return FALSE;
}

/* The coldest rank that any chunk still has; N_RANKS: none. */
static unsigned coldest_left(const FerryPending *p)
{
    uint64_t any = 0;

    for (unsigned i = 0; i < p->n_blocks; i++) {
        for (uint64_t chunk = 0; chunk < n_chunks(p, i); chunk++) {
            any |= p->ranks[i][chunk];
        }
    }
    return any ? (unsigned)__builtin_ctzll(any) : N_RANKS;
}

static void begin_cold_pass(FerryPending *p, unsigned warmest)
{
    p->warmest = warmest;
    p->is_chosen = FALSE;
    p->cursor_block = 0;
    p->cursor_chunk = 0;
}

static gboolean next_coldest(FerryPending *p, const FerryHeat *heat, uint64_t max,
                             FerryRun *out_run)
{
    while (p->count > 0) {
        if (next_of_warmest(p, heat, max, out_run)) {
            return TRUE;
        }
        unsigned coldest = coldest_left(p);
        g_assert(coldest < N_RANKS); /* a pending page's chunk has a bit */
        /* Of classes an octave at once: less is noise. */
        begin_cold_pass(p, coldest > RANK_OF_CLASS ? coldest | 1 : coldest);
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
        ferry_bitmap_clear(&p->found[i]);
        g_free(p->ranks[i]);
    }
    g_free(p->pages);
    g_free(p->found);
    g_free(p->ranks);
    g_free(p);
}
