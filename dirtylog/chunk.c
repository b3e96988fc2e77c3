#include "dirtylog/chunk.h"
#include "dirtylog/dirtylog.h"

#define PAGE_BYTES 4096.0
#define SAMPLES_MIN 8
#define SAMPLES_MAX 256 /* then all weigh half */
#define HELD_UP 8       /* times what was to be expected: somebody else had the processor */
#define HELD_UP_NS 20000
#define EXACT_SHARE 20
#define CHUNK_SHARE 50
#define CHUNK_MAX (UINT64_C(1) << 30)

gboolean ferry_clear_cost_get(const FerryClearCost *c, double *out_fixed_ns, double *out_page_ns)
{
    double spread = c->n * c->pages2 - c->pages * c->pages;
    double slope = 0;

    if (c->n < SAMPLES_MIN) {
        return FALSE;
    }
    if (spread > c->pages2 / 64) { /* else they are of about one size */
        slope = MAX((c->n * c->pages_ns - c->pages * c->ns) / spread, 0);
    }
    if (slope * c->pages > c->ns) { /* nothing is cheaper than nothing */
        slope = c->ns / c->pages;
    }
    *out_page_ns = slope;
    *out_fixed_ns = (c->ns - slope * c->pages) / c->n;
    return TRUE;
}

void ferry_clear_cost_add(FerryClearCost *c, uint64_t pages, uint64_t ns)
{
    double x = (double)pages, y = (double)ns, fixed, page;

    if (pages == 0) {
        return;
    }
    if (ferry_clear_cost_get(c, &fixed, &page)) {
        y = MIN(y, HELD_UP * (fixed + page * x) + HELD_UP_NS);
    }
    c->n += 1;
    c->pages += x;
    c->ns += y;
    c->pages2 += x * x;
    c->pages_ns += x * y;
    if (c->n >= SAMPLES_MAX) {
        *c = (FerryClearCost){c->n / 2, c->pages / 2, c->ns / 2, c->pages2 / 2, c->pages_ns / 2};
    }
}

/* The smallest chunk that holds @bytes; 1 GiB if none does. */
static uint64_t round_up(double bytes)
{
    uint64_t chunk = FERRY_DIRTY_LOG_CHUNK_MIN;

    while (chunk < CHUNK_MAX && (double)chunk < bytes) {
        chunk *= 2;
    }
    return chunk;
}

uint64_t ferry_chunk_choose(const FerryClearCost *cost, const FerryClearUse *use, uint64_t now)
{
    double fixed, page, asked = (double)use->asked_pages * PAGE_BYTES;

    if (use->interval_ns == 0 || use->asks == 0 || use->units == 0 ||
        !ferry_clear_cost_get(cost, &fixed, &page)) {
        return now;
    }
    double clear_bytes = asked / (double)use->interval_ns * fixed; /* sent during a clear */
    if (clear_bytes * EXACT_SHARE <= asked / (double)use->asks) {
        return FERRY_DIRTY_LOG_CHUNK_EXACT;
    }
    /* Of a chunk that large only the share that is asked for is sent. */
    double share = MIN(asked / (double)use->units / FERRY_DIRTY_LOG_CHUNK_MIN, 1);
    return MIN(round_up(clear_bytes * CHUNK_SHARE / share), round_up(asked / share));
}
