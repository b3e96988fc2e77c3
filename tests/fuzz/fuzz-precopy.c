/* The pre-copy machine in a world out of bytes: writes, times, measured values, policies that
 * change, ends. A dirty log and both sides' contents are modelled page by page. No page is handed
 * out twice between two syncs, and when the guest moves the destination has each page as it was
 * last written.
 */
#include <string.h>
#include "engine/precopy/machine.h"
#include "tests/fuzz/fuzz.h"

#define BLOCKS_MAX 3
#define PAGES_MAX 1400 /* of a block: several of the order's chunks */

typedef struct {
    const uint8_t *data;
    size_t size;
    FerryPrecopy *machine;
    unsigned n_blocks;
    uint64_t pages[BLOCKS_MAX];
    FerryBitmap log[BLOCKS_MAX];    /* as KVM's with manual protect: stays until it is cleared */
    FerryBitmap handed[BLOCKS_MAX]; /* since the last sync */
    uint8_t here[BLOCKS_MAX][PAGES_MAX], there[BLOCKS_MAX][PAGES_MAX];
    FerryMoment moment;
    gboolean paused;
} World;

static uint8_t byte(World *w)
{
    if (w->size == 0) {
        return 0;
    }
    w->size--;
    return *w->data++;
}

/* Any magnitude. */
static uint64_t value(World *w)
{
    uint8_t shift = byte(w);

    return shift & 64 ? (uint64_t)byte(w) << (shift & 63) : shift & 63;
}

static FerryPolicy policy(World *w)
{
    static const char *const names[] = {"ferry",          "qemu",           "qemu-7.2",
                                        "fixed-rounds=3", "fixed-rounds=9", "ferry"};
    FerryPolicy p;
    const char *why;

    g_assert(ferry_policy_parse(names[byte(w) % G_N_ELEMENTS(names)], &p, &why));
    return p;
}

static void set_up(World *w)
{
    w->n_blocks = 1 + byte(w) % BLOCKS_MAX;
    for (unsigned i = 0; i < w->n_blocks; i++) {
        w->pages[i] = 1 + (byte(w) | (uint64_t)byte(w) << 8) % PAGES_MAX;
        ferry_bitmap_init(&w->log[i], w->pages[i]);
        ferry_bitmap_init(&w->handed[i], w->pages[i]);
        ferry_bitmap_set(&w->log[i], 0, w->pages[i]);
        memset(w->here[i], 1, sizeof w->here[i]);
    }
    FerryPolicy p = policy(w);
    w->machine = ferry_precopy_new(&p, w->pages, w->n_blocks);
}

static void tear_down(World *w)
{
    ferry_precopy_free(w->machine);
    for (unsigned i = 0; i < w->n_blocks; i++) {
        ferry_bitmap_clear(&w->log[i]);
        ferry_bitmap_clear(&w->handed[i]);
    }
}

static void write_pages(World *w)
{
    unsigned block = byte(w) % w->n_blocks;
    uint64_t first = (byte(w) | (uint64_t)byte(w) << 8) % w->pages[block];
    uint64_t n = 1 + byte(w), step = 1 + byte(w) % 16;

    n = MIN(n, w->pages[block] - first);
    for (uint64_t page = first; page < first + n; page += step) {
        w->here[block][page]++;
        ferry_bitmap_set(&w->log[block], page, 1);
    }
}

/* Something happens while an action is performed. */
static void live(World *w)
{
    uint8_t what = byte(w);

    w->moment.now_ns += (uint64_t)(what >> 3) << (byte(w) % 36);
    w->moment.sent_bytes += (uint64_t)byte(w) << 8;
    for (unsigned i = 0; !w->paused && i < (what & 3); i++) {
        write_pages(w);
    }
    if (what & 4 && byte(w) % 8 == 0) {
        FerryPolicy p = policy(w);
        FerryTimeout timeout = {.timeout_ns = value(w), .pause = byte(w) & 1};
        ferry_precopy_set_policy(w->machine, &p);
        ferry_precopy_set_timeout(w->machine, &timeout);
    }
}

static void sync_log(World *w, FerryRound *r)
{
    for (unsigned i = 0; i < w->n_blocks; i++) {
        ferry_bitmap_or(ferry_precopy_found(w->machine, i), &w->log[i]);
        ferry_bitmap_reset(&w->handed[i], 0, w->pages[i]);
    }
    *r = (FerryRound){.queued_bytes = value(w),
                      .round_sent_bytes = value(w),
                      .round_ns = value(w),
                      .sync_ns = value(w),
                      .uncapped_bytes_per_second = value(w),
                      .capped_bytes_per_second = value(w),
                      .switchover_bytes_per_second = value(w),
                      .wire_permille = value(w),
                      .unsent_wire_permille = value(w),
                      .fixed_ns = value(w),
                      .pause_ns = value(w),
                      .margin_ns = value(w),
                      .rate_permille_p5 = value(w) % 1001,
                      .downtime_limit_ns = value(w),
                      .on_stall = byte(w) % FERRY_N_ON_STALL,
                      .throttle_percent = ferry_precopy_decision(w->machine)->throttle_percent,
                      .throttle_initial = byte(w) % 100,
                      .throttle_increment = byte(w) % 100,
                      .throttle_max = byte(w) % 100,
                      .throttle_trigger = byte(w) % 101,
                      .throttle_tailslow = byte(w) & 1};
}

static void watch_log(World *w)
{
    for (unsigned i = 0; i < w->n_blocks; i++) {
        ferry_bitmap_reset(&w->log[i], 0, w->pages[i]);
    }
}

static void send_batch(World *w, const FerryBatch *b)
{
    g_assert(b->block < w->n_blocks && b->n_pages >= 1 && b->n_pages <= FERRY_BATCH_PAGES);
    g_assert(b->first_page + b->n_pages <= w->pages[b->block]);
    g_assert(ferry_bitmap_count_range(&w->handed[b->block], b->first_page, b->n_pages) == 0);
    ferry_bitmap_set(&w->handed[b->block], b->first_page, b->n_pages);
    if (!w->paused) {
        ferry_bitmap_reset(&w->log[b->block], b->first_page, b->n_pages);
        ferry_bitmap_reset(ferry_precopy_found(w->machine, b->block), b->first_page, b->n_pages);
        live(w); /* between protection and reading */
    }
    memcpy(w->there[b->block] + b->first_page, w->here[b->block] + b->first_page, b->n_pages);
}

static void expect_all_there(const World *w)
{
    for (unsigned i = 0; i < w->n_blocks; i++) {
        g_assert(memcmp(w->here[i], w->there[i], w->pages[i]) == 0);
    }
    g_assert(ferry_precopy_pending_pages(w->machine) == 0);
    g_assert(ferry_precopy_unsent_pages(w->machine) == 0);
}

static FerryEvent perform(World *w, FerryAction action, const FerryBatch *batch, FerryRound *round)
{
    switch (action) {
    case FERRY_ACTION_SYNC:
        live(w);
        sync_log(w, round);
        return FERRY_EVENT_SYNCED;
    case FERRY_ACTION_WATCH:
        watch_log(w);
        live(w);
        return FERRY_EVENT_WATCHED;
    case FERRY_ACTION_SEND:
        send_batch(w, batch);
        return FERRY_EVENT_SENT;
    case FERRY_ACTION_REST:
        live(w);
        return FERRY_EVENT_SENT;
    case FERRY_ACTION_PAUSE:
        live(w);
        w->paused = TRUE;
        return FERRY_EVENT_PAUSED;
    case FERRY_ACTION_SAVE:
        expect_all_there(w);
        return byte(w) & 1 ? FERRY_EVENT_OFFERED : FERRY_EVENT_SAVED;
    case FERRY_ACTION_AWAIT_LOADED:
        return FERRY_EVENT_LOADED;
    case FERRY_ACTION_RELEASE:
        return FERRY_EVENT_RUNNING;
    case FERRY_ACTION_FINISH:
    case FERRY_ACTION_RESUME:
    case FERRY_ACTION_HOLD:
        break;
    }
    g_assert_not_reached();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    World *w = g_new0(World, 1);
    FerryEvent event = FERRY_EVENT_READY;
    FerryRound round = {0};
    FerryBatch batch;
    gboolean ending = FALSE;

    w->data = data;
    w->size = MIN(size, 1u << 14);
    set_up(w);
    for (;;) {
        round.moment = w->moment;
        FerryAction action = ferry_precopy_step(w->machine, event, &round, &batch);
        if (action == FERRY_ACTION_FINISH || action == FERRY_ACTION_RESUME ||
            action == FERRY_ACTION_HOLD) {
            break;
        }
        if (w->size == 0 && !ending) { /* nothing is written any more: it comes to an end */
            static const FerryPolicy end = {.ops = &ferry_policy_fixed_rounds, .argument = 1};
            ending = TRUE;
            ferry_precopy_set_policy(w->machine, &end);
        }
        event = perform(w, action, &batch, &round);
        if (w->size > 0 && byte(w) == 255) {
            event = FERRY_EVENT_STOPPED;
        }
    }
    tear_down(w);
    g_free(w);
    return 0;
}
