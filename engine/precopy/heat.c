#include "engine/precopy/heat.h"
#include <string.h>

/* Times are ticks of 2^22 ns (4.2 ms) since watching began, from 2 on; so two bytes last for 4 min,
 * then ages are cut short. */
#define TICK_SHIFT 22
#define SINCE_WATCH 0u /* exposed since watching began, never sent */
#define UNEXPOSED 1u   /* found written and not sent since: nothing more can be learnt */
#define FIRST_TICK 2u
/* A new interval weighs 1/2, 1/3, ... and from then on 1/WEIGHT_MIN. */
#define WEIGHT_MIN 8u
#define QUARTERS_PER_CLASS 2u /* intervals are kept in quarters of an octave */

typedef struct {
    uint16_t since;   /* a tick, or one of the above */
    uint8_t interval; /* -log2 of the mean time between writes, in quarters of octaves below
                       * FERRY_HEAT_COLDEST_NS; 0: never written */
    uint8_t seen;     /* intervals seen, up to WEIGHT_MIN */
} Page;

struct FerryHeat {
    unsigned n_blocks;
    uint64_t *block_pages;
    Page **pages;
    uint64_t watched_ns;
};

FerryHeat *ferry_heat_new(const uint64_t *block_pages, unsigned n_blocks)
{
    FerryHeat *h = g_new0(FerryHeat, 1);

    h->n_blocks = n_blocks;
    h->block_pages = g_memdup2(block_pages, n_blocks * sizeof *block_pages);
    h->pages = g_new0(Page *, n_blocks);
    for (unsigned i = 0; i < n_blocks; i++) {
        h->pages[i] = g_new0(Page, block_pages[i]);
    }
    return h;
}

void ferry_heat_watch(FerryHeat *h, uint64_t now_ns) { h->watched_ns = now_ns; }

static uint16_t tick_of(const FerryHeat *h, uint64_t now_ns)
{
    uint64_t tick = FIRST_TICK + ((now_ns - MIN(h->watched_ns, now_ns)) >> TICK_SHIFT);

    return (uint16_t)MIN(tick, UINT16_MAX);
}

static uint64_t begin_of(const FerryHeat *h, uint16_t since)
{
    return since == SINCE_WATCH ? h->watched_ns
                                : h->watched_ns + ((uint64_t)(since - FIRST_TICK) << TICK_SHIFT);
}

void ferry_heat_sent(FerryHeat *h, unsigned block, uint64_t first, uint64_t n, uint64_t now_ns)
{
    uint16_t tick = tick_of(h, now_ns);

    for (uint64_t i = first; i < first + n; i++) {
        h->pages[block][i].since = tick;
    }
}

/* -log2(ns / coldest) in quarters of octaves, from 1 on. */
static unsigned quarters(uint64_t ns)
{
    static const uint64_t roots[] = {/* 2^(1/4), 2^(1/2), 2^(3/4) in 1/2^32 */
                                     5107605667, 6074000999, 7223245205};
    unsigned octave, part = 0;

    ns = CLAMP(ns, 1, FERRY_HEAT_COLDEST_NS - 1);
    octave = 63u - (unsigned)__builtin_clzll(ns);
    while (part < 3 && ns >= (uint64_t)(((unsigned __int128)roots[part] << octave) >> 32)) {
        part++;
    }
    return 4 * (36 - octave) - part;
}

static void learn(FerryHeat *h, Page *page, uint64_t before_ns, uint64_t now_ns)
{
    uint64_t begin = begin_of(h, page->since), from = MAX(begin, before_ns);
    uint64_t written = from + (now_ns - MIN(from, now_ns)) / 2;
    unsigned fresh = quarters(written - MIN(begin, written)), weight;

    page->since = UNEXPOSED;
    page->seen = (uint8_t)MIN(page->seen + 1u, WEIGHT_MIN);
    weight = page->seen;
    page->interval = (uint8_t)((page->interval * (weight - 1) + fresh + weight / 2) / weight);
}

void ferry_heat_written(FerryHeat *h, unsigned block, uint64_t first, uint64_t mask,
                        uint64_t before_ns, uint64_t now_ns)
{
    for (; mask != 0; mask &= mask - 1) {
        Page *page = &h->pages[block][first + (unsigned)__builtin_ctzll(mask)];
        if (page->since != UNEXPOSED) {
            learn(h, page, before_ns, now_ns);
        }
    }
}

unsigned ferry_heat_class(const FerryHeat *h, unsigned block, uint64_t page)
{
    return MIN(h->pages[block][page].interval / QUARTERS_PER_CLASS, FERRY_HEAT_CLASSES - 1);
}

void ferry_heat_census(FerryHeat *h, uint64_t now_ns, FerryCensus *out_census)
{
    (void)now_ns;
    *out_census = (FerryCensus){0};
    for (unsigned b = 0; b < h->n_blocks; b++) {
        for (uint64_t i = 0; i < h->block_pages[b]; i++) {
            if (h->pages[b][i].seen == 0) {
                out_census->never++;
            } else {
                out_census->pages[ferry_heat_class(h, b, i)]++;
            }
        }
    }
}

void ferry_heat_free(FerryHeat *h)
{
    if (!h) {
        return;
    }
    for (unsigned i = 0; i < h->n_blocks; i++) {
        g_free(h->pages[i]);
    }
    g_free(h->pages);
    g_free(h->block_pages);
    g_free(h);
}
