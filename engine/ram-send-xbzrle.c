/* XBZRLE: behind the first pass, a page of which the destination's content is known goes as what
 * changed in it. The cache has that content: a copy, made before it is sent, of what was sent. */
#include <string.h>
#include "engine/ram-compress.h"
#include "protocol/xbzrle.h"

#define CACHE_DEFAULT (64u << 20)
#define DELTAS_SIZE (1u << 20)

/* Direct mapped, by a page's number over all blocks. A page stays in its slot for two rounds at
 * least: two that share one would else drive each other out for ever. */
typedef struct {
    uint64_t page; /* + 1; 0: empty */
    unsigned used; /* the last round in which it was sent */
} Slot;

typedef struct {
    FerryRamSender base;
    uint64_t cache_pages; /* a power of two */
    Slot *slots;
    uint8_t *cache;
    uint64_t *first_page;       /* of each block, over all blocks */
    FerryRamCounts before;      /* when the round began */
    FerryRamCompress *compress; /* for the first pass; NULL: plain pages */
    size_t used;                /* of deltas, by records that are not written yet */
    uint8_t copy[FERRY_PAGE_SIZE];
    uint8_t deltas[DELTAS_SIZE];
} Xbzrle;

static Xbzrle *of(FerryRamSender *s) { return (Xbzrle *)s; }

static gboolean xbzrle_has_room(const FerryRamSender *s, uint64_t n)
{
    const Xbzrle *x = (const Xbzrle *)s;

    return x->used + n * FERRY_PAGE_SIZE <= DELTAS_SIZE &&
           (!x->compress || ferry_ram_compress_has_room(x->compress, n));
}

/* The slot's copy is what travels, so that it is what the destination has. In this round nobody
 * changes it again. */
static void send_slot(Xbzrle *x, Slot *slot, unsigned block, uint64_t page, const uint8_t *bytes)
{
    uint8_t *cached = x->cache + (size_t)(slot - x->slots) * FERRY_PAGE_SIZE;

    memcpy(cached, bytes, FERRY_PAGE_SIZE);
    ferry_ram_sender_add_page(&x->base, block, page, cached);
}

static void send_new(Xbzrle *x, Slot *slot, unsigned block, uint64_t page, gboolean last)
{
    FerryRamSender *s = &x->base;
    const uint8_t *bytes =
        ferry_memory_block(s->setup.memory, block)->host + page * FERRY_PAGE_SIZE;
    gboolean fresh = slot->page > 0 && slot->used + 1 >= s->round;

    s->counts.xbzrle_misses++;
    if (last || fresh) {
        ferry_ram_sender_add_page(s, block, page, bytes);
        return;
    }
    *slot = (Slot){.page = x->first_page[block] + page + 1, .used = s->round};
    send_slot(x, slot, block, page, bytes);
}

static void send_change(Xbzrle *x, Slot *slot, unsigned block, uint64_t page, const uint8_t *bytes)
{
    FerryRamSender *s = &x->base;
    FerryRamHeader h = {.offset = page * FERRY_PAGE_SIZE,
                        .flags = FERRY_RAM_XBZRLE,
                        .idstr = ferry_memory_block(s->setup.memory, block)->idstr};
    uint8_t *cached = x->cache + (size_t)(slot - x->slots) * FERRY_PAGE_SIZE;
    uint8_t *delta = x->deltas + x->used;
    gssize n = ferry_xbzrle_encode(cached, bytes, FERRY_PAGE_SIZE, delta, FERRY_PAGE_SIZE - 1);

    slot->used = s->round;
    if (n == 0) {
        s->counts.skipped_pages++;
        return;
    }
    if (n < 0) {
        s->counts.xbzrle_overflows++;
        send_slot(x, slot, block, page, bytes);
        return;
    }
    memcpy(cached, bytes, FERRY_PAGE_SIZE);
    h.length = (uint32_t)n;
    ferry_ram_records_add_page(&s->records, block, h, delta, (size_t)n);
    x->used += (size_t)n;
    s->counts.xbzrle_pages++;
    s->counts.xbzrle_bytes += (uint64_t)n;
}

static void send_page(Xbzrle *x, unsigned block, uint64_t page, gboolean last)
{
    FerryRamSender *s = &x->base;
    const uint8_t *bytes =
        ferry_memory_block(s->setup.memory, block)->host + page * FERRY_PAGE_SIZE;
    uint64_t number = x->first_page[block] + page;
    Slot *slot = &x->slots[number & (x->cache_pages - 1)];
    gboolean known = slot->page == number + 1;

    if (ferry_ram_sender_is_zero(s, bytes)) {
        ferry_ram_sender_add_zero(s, block, page);
        if (known) {
            memset(x->cache + (size_t)(slot - x->slots) * FERRY_PAGE_SIZE, 0, FERRY_PAGE_SIZE);
            slot->used = s->round;
        }
    } else if (known) { /* the guest may write while it is compared */
        const uint8_t *still = last ? bytes : memcpy(x->copy, bytes, FERRY_PAGE_SIZE);
        send_change(x, slot, block, page, still);
    } else {
        send_new(x, slot, block, page, last);
    }
}

static void send_first(Xbzrle *x, unsigned block, uint64_t page, gboolean last)
{
    FerryRamSender *s = &x->base;
    const uint8_t *bytes =
        ferry_memory_block(s->setup.memory, block)->host + page * FERRY_PAGE_SIZE;

    if (x->compress) {
        ferry_ram_compress_page(x->compress, s, block, page, last);
    } else if (ferry_ram_sender_is_zero(s, bytes)) {
        ferry_ram_sender_add_zero(s, block, page);
    } else {
        ferry_ram_sender_add_page(s, block, page, bytes);
    }
}

static gboolean xbzrle_pages(FerryRamSender *s, unsigned block, uint64_t first, uint64_t n,
                             gboolean last, GError **error)
{
    (void)error;
    ferry_ram_sender_need_section(s, last);
    for (uint64_t page = first; page < first + n; page++) {
        if (!s->passed) {
            send_first(of(s), block, page, last);
        } else {
            send_page(of(s), block, page, last);
        }
    }
    return TRUE;
}

/* As QEMU counts them: over the round that ended. */
static gboolean xbzrle_end_round(FerryRamSender *s, gboolean last, GError **error)
{
    const FerryRamCounts *before = &of(s)->before;
    FerryRamCounts *now = &s->counts;
    uint64_t pages = ferry_ram_counts_pages(now) - ferry_ram_counts_pages(before);
    uint64_t packed = (now->xbzrle_pages - before->xbzrle_pages) * FERRY_PAGE_SIZE;
    uint64_t to = now->xbzrle_bytes - before->xbzrle_bytes;

    (void)last;
    (void)error;
    if (s->passed && pages > 0) {
        now->xbzrle_miss_rate =
            (double)(now->xbzrle_misses - before->xbzrle_misses) / (double)pages;
        now->xbzrle_encoding_rate = to ? (double)packed / (double)to : 0;
    }
    of(s)->before = *now;
    return TRUE;
}

static gboolean xbzrle_flush(FerryRamSender *s, GError **error)
{
    (void)error;
    of(s)->used = 0;
    if (of(s)->compress) {
        ferry_ram_compress_flushed(of(s)->compress);
    }
    return TRUE;
}

static void xbzrle_free(FerryRamSender *s)
{
    Xbzrle *x = of(s);

    ferry_ram_compress_free(x->compress);
    g_free(x->first_page);
    g_free(x->slots);
    g_free(x->cache);
    g_free(x);
}

static const FerryRamSenderOps xbzrle_ops = {
    .name = "xbzrle",
    .has_room = xbzrle_has_room,
    .pages = xbzrle_pages,
    .end_round = xbzrle_end_round,
    .flush = xbzrle_flush,
    .free = xbzrle_free,
};

/* No more than the guest has: the rest would stay empty. */
static uint64_t cache_pages(const FerryRamSetup *setup)
{
    uint64_t bytes = setup->options->xbzrle_cache_bytes;
    uint64_t wanted = (bytes ? bytes : CACHE_DEFAULT) / FERRY_PAGE_SIZE;
    uint64_t most = ferry_memory_total_bytes(setup->memory) / FERRY_PAGE_SIZE;
    uint64_t pages = 1;

    while (pages * 2 <= wanted && pages < most) {
        pages *= 2;
    }
    return pages;
}

FerryRamSender *ferry_ram_send_xbzrle_new(const FerryRamSetup *setup)
{
    unsigned n = ferry_memory_n_blocks(setup->memory);
    Xbzrle *x = g_new0(Xbzrle, 1);

    x->base.ops = &xbzrle_ops;
    x->cache_pages = cache_pages(setup);
    x->base.counts.xbzrle_cache_bytes = x->cache_pages * FERRY_PAGE_SIZE;
    x->slots = g_new0(Slot, x->cache_pages);
    x->cache = g_malloc(x->cache_pages * FERRY_PAGE_SIZE);
    x->first_page = g_new0(uint64_t, n);
    for (unsigned i = 1; i < n; i++) {
        x->first_page[i] = x->first_page[i - 1] +
                           ferry_memory_block(setup->memory, i - 1)->length / FERRY_PAGE_SIZE;
    }
    if (setup->options->page_method != FERRY_MULTIFD_NONE) {
        x->compress =
            ferry_ram_compress_new(setup->options->page_method, setup->options->page_level);
    }
    return &x->base;
}
