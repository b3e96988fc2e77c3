#include "dirtylog/dirtylog.h"
#include "dirtylog/chunk.h"
#include "dirtylog/private.h"

#include <time.h>

#define PAGE_BYTES 4096u
#define UNIT_PAGES (FERRY_DIRTY_LOG_CHUNK_MIN / PAGE_BYTES)
/* The most that is cleared at once of a longer range than a chunk: the guest may have to wait. */
#define PIECE_PAGES ((64u << 20) / PAGE_BYTES)

struct FerryDirtyLog {
    const FerryDirtyLogOps *ops;
    void *self;
    uint64_t *block_pages;
    /* Per block, one bit per unit, whatever the chunk: not wholly cleared since the last sync. */
    FerryBitmap *to_clear;
    unsigned n_blocks;
    uint64_t chunk_pages; /* 1: exactly what is asked for */
    gboolean started;
    FerryDirtyLogStats stats;
    FerryClearCost cost;
    FerryClearUse use; /* since suited_ns */
    uint64_t suited_ns;
    unsigned last_block; /* of use: where the last unit was */
    uint64_t last_unit;
};

G_DEFINE_QUARK(ferry-dirty-log-error-quark, ferry_dirty_log_error);

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void size_chunks(FerryDirtyLog *log, uint64_t bytes)
{
    if (bytes == FERRY_DIRTY_LOG_CHUNK_EXACT && !log->ops->clears_exactly) {
        bytes = FERRY_DIRTY_LOG_CHUNK_MIN;
    }
    if (bytes == log->chunk_pages * PAGE_BYTES) {
        return;
    }
    log->chunk_pages = bytes / PAGE_BYTES;
    if (log->ops->set_chunk) {
        log->ops->set_chunk(log->self, bytes);
    }
}

FerryDirtyLog *ferry_dirty_log_new(const FerryDirtyLogOps *ops, void *self,
                                   const uint64_t *block_pages, unsigned n_blocks)
{
    FerryDirtyLog *log = g_new0(FerryDirtyLog, 1);

    log->ops = ops;
    log->self = self;
    log->block_pages = g_memdup2(block_pages, n_blocks * sizeof *block_pages);
    log->to_clear = g_new0(FerryBitmap, n_blocks);
    log->n_blocks = n_blocks;
    for (unsigned i = 0; i < n_blocks; i++) {
        ferry_bitmap_init(&log->to_clear[i],
                          block_pages[i] / UNIT_PAGES + (block_pages[i] % UNIT_PAGES != 0));
    }
    size_chunks(log, FERRY_DIRTY_LOG_CHUNK_DEFAULT);
    return log;
}

gboolean ferry_dirty_log_set_chunk(FerryDirtyLog *log, uint64_t bytes, GError **error)
{
    if ((bytes < FERRY_DIRTY_LOG_CHUNK_MIN && bytes != FERRY_DIRTY_LOG_CHUNK_EXACT) ||
        (bytes & (bytes - 1)) != 0) {
        g_set_error(error, FERRY_DIRTY_LOG_ERROR, FERRY_DIRTY_LOG_ERROR_INVALID,
                    "dirty log '%s': a chunk of %" G_GUINT64_FORMAT
                    " bytes: must be a power of two, %u or more, or %u",
                    log->ops->name, bytes, FERRY_DIRTY_LOG_CHUNK_MIN, FERRY_DIRTY_LOG_CHUNK_EXACT);
        return FALSE;
    }
    size_chunks(log, bytes);
    return TRUE;
}

uint64_t ferry_dirty_log_get_chunk(const FerryDirtyLog *log)
{
    return log->chunk_pages * PAGE_BYTES;
}

void ferry_dirty_log_suit_chunk(FerryDirtyLog *log)
{
    uint64_t now = now_ns();

    log->use.interval_ns = now - log->suited_ns;
    size_chunks(log, ferry_chunk_choose(&log->cost, &log->use, ferry_dirty_log_get_chunk(log)));
    log->use = (FerryClearUse){0};
    log->suited_ns = now;
}

gboolean ferry_dirty_log_start(FerryDirtyLog *log, GError **error)
{
    g_return_val_if_fail(!log->started, FALSE);
    log->stats = (FerryDirtyLogStats){0};
    log->cost = (FerryClearCost){0};
    log->use = (FerryClearUse){0};
    log->suited_ns = now_ns();
    for (unsigned i = 0; i < log->n_blocks; i++) {
        ferry_bitmap_set(&log->to_clear[i], 0, log->to_clear[i].n_bits);
    }
    if (!log->ops->start(log->self, error)) {
        log->ops->stop(log->self);
        g_prefix_error(error, "dirty log '%s': ", log->ops->name);
        return FALSE;
    }
    log->started = TRUE;
    return TRUE;
}

gboolean ferry_dirty_log_sync(FerryDirtyLog *log, unsigned block, FerryBitmap *dirty,
                              GError **error)
{
    uint64_t begin;
    gboolean ok;

    g_return_val_if_fail(log->started && block < log->n_blocks, FALSE);
    g_return_val_if_fail(dirty->n_bits == log->block_pages[block], FALSE);
    begin = now_ns();
    ok = log->ops->sync(log->self, block, dirty, error);
    log->stats.sync_ns += now_ns() - begin;
    log->stats.syncs++;
    ferry_bitmap_set(&log->to_clear[block], 0, log->to_clear[block].n_bits);
    if (!ok) {
        g_prefix_error(error, "dirty log '%s': ", log->ops->name);
    }
    return ok;
}

static gboolean clear_piece(FerryDirtyLog *log, unsigned block, uint64_t first, uint64_t n,
                            FerryBitmap *dirty, GError **error)
{
    const FerryDirtyLogOps *ops = log->ops;
    FerryDirtyLogStats *stats = &log->stats;
    uint64_t before = stats->cleared_pages, begin = now_ns(), took;
    gboolean ok = ops->clear(log->self, block, first, n, dirty, error);

    took = now_ns() - begin;
    stats->clears++;
    stats->clear_ns += took;
    stats->longest_clear_ns = MAX(stats->longest_clear_ns, took);
    if (!ok) {
        g_prefix_error(error, "dirty log '%s': ", ops->name);
        return FALSE;
    }
    stats->cleared_pages = ops->cleared_pages ? ops->cleared_pages(log->self) : before + n;
    ferry_clear_cost_add(&log->cost, stats->cleared_pages - before, took);
    return TRUE;
}

/* Clears what is left of pages [first, end) since the last sync. But for the block's end, both are
 * multiples of a unit, or the log clears exactly. */
static gboolean clear_range(FerryDirtyLog *log, unsigned block, uint64_t first, uint64_t end,
                            FerryBitmap *dirty, GError **error)
{
    FerryBitmap *to_clear = &log->to_clear[block];
    uint64_t end_unit = (end - 1) / UNIT_PAGES + 1;
    uint64_t at = first / UNIT_PAGES, unit, n;
    uint64_t longest = MAX(log->chunk_pages, PIECE_PAGES) / UNIT_PAGES;

    while (at < end_unit && ferry_bitmap_next_run(to_clear, at, longest, &unit, &n) &&
           unit < end_unit) {
        at = MIN(unit + n, end_unit);
        uint64_t from = MAX(first, unit * UNIT_PAGES), to = MIN(end, at * UNIT_PAGES);
        if (!clear_piece(log, block, from, to - from, dirty, error)) {
            return FALSE;
        }
        uint64_t whole = (from + UNIT_PAGES - 1) / UNIT_PAGES;
        uint64_t whole_end = to == log->block_pages[block] ? at : to / UNIT_PAGES;
        if (whole < whole_end) {
            ferry_bitmap_reset(to_clear, whole, whole_end - whole);
        }
    }
    return TRUE;
}

static void count_use(FerryDirtyLog *log, unsigned block, uint64_t first, uint64_t n)
{
    uint64_t unit = first / UNIT_PAGES, last = (first + n - 1) / UNIT_PAGES;
    gboolean again = log->use.asks > 0 && block == log->last_block && unit == log->last_unit;

    log->use.asks++;
    log->use.asked_pages += n;
    log->use.units += last - unit + (again ? 0 : 1);
    log->last_block = block;
    log->last_unit = last;
}

gboolean ferry_dirty_log_clear(FerryDirtyLog *log, unsigned block, uint64_t first, uint64_t n,
                               FerryBitmap *dirty, GError **error)
{
    uint64_t end = first + n, chunk = log->chunk_pages;

    g_return_val_if_fail(log->started && block < log->n_blocks, FALSE);
    g_return_val_if_fail(first <= log->block_pages[block] && n <= log->block_pages[block] - first,
                         FALSE);
    g_return_val_if_fail(dirty->n_bits == log->block_pages[block], FALSE);
    if (!log->ops->clear || n == 0) {
        return TRUE;
    }
    count_use(log, block, first, n);
    if (ferry_bitmap_next_set(&log->to_clear[block], first / UNIT_PAGES) > (end - 1) / UNIT_PAGES) {
        return TRUE;
    }
    first -= first % chunk;
    end = MIN((end + chunk - 1) / chunk * chunk, log->block_pages[block]);
    return clear_range(log, block, first, end, dirty, error);
}

void ferry_dirty_log_stop(FerryDirtyLog *log)
{
    if (log->started) {
        log->started = FALSE;
        log->ops->stop(log->self);
    }
}

const char *ferry_dirty_log_get_name(const FerryDirtyLog *log) { return log->ops->name; }

unsigned ferry_dirty_log_n_blocks(const FerryDirtyLog *log) { return log->n_blocks; }

uint64_t ferry_dirty_log_block_pages(const FerryDirtyLog *log, unsigned block)
{
    g_return_val_if_fail(block < log->n_blocks, 0);
    return log->block_pages[block];
}

void ferry_dirty_log_get_stats(const FerryDirtyLog *log, FerryDirtyLogStats *out_stats)
{
    *out_stats = log->stats;
}

void ferry_dirty_log_free(FerryDirtyLog *log)
{
    if (!log) {
        return;
    }
    ferry_dirty_log_stop(log);
    log->ops->free(log->self);
    for (unsigned i = 0; i < log->n_blocks; i++) {
        ferry_bitmap_clear(&log->to_clear[i]);
    }
    g_free(log->to_clear);
    g_free(log->block_pages);
    g_free(log);
}

void *ferry_dirty_log_get_self(const FerryDirtyLog *log) { return log->self; }

const FerryDirtyLogOps *ferry_dirty_log_get_ops(const FerryDirtyLog *log) { return log->ops; }

void ferry_dirty_log_set_ops(FerryDirtyLog *log, const FerryDirtyLogOps *ops)
{
    g_assert(!log->started);
    log->ops = ops;
}
