#include "dirtylog/dirtylog.h"
#include "dirtylog/private.h"

#include <time.h>

#define PAGE_BYTES 4096u

struct FerryDirtyLog {
    const FerryDirtyLogOps *ops;
    void *self;
    uint64_t *block_pages;
    FerryBitmap *to_clear; /* per block, one bit per chunk: not cleared since the last sync */
    unsigned n_blocks;
    uint64_t chunk_pages;
    gboolean started;
    FerryDirtyLogStats stats;
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
    log->chunk_pages = bytes / PAGE_BYTES;
    for (unsigned i = 0; i < log->n_blocks; i++) {
        uint64_t pages = log->block_pages[i];

        ferry_bitmap_clear(&log->to_clear[i]);
        ferry_bitmap_init(&log->to_clear[i],
                          pages / log->chunk_pages + (pages % log->chunk_pages != 0));
    }
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
    size_chunks(log, FERRY_DIRTY_LOG_CHUNK_DEFAULT);
    return log;
}

gboolean ferry_dirty_log_set_chunk(FerryDirtyLog *log, uint64_t bytes, GError **error)
{
    g_return_val_if_fail(!log->started, FALSE);
    if (bytes < FERRY_DIRTY_LOG_CHUNK_MIN || (bytes & (bytes - 1)) != 0) {
        g_set_error(error, FERRY_DIRTY_LOG_ERROR, FERRY_DIRTY_LOG_ERROR_INVALID,
                    "dirty log '%s': a chunk of %" G_GUINT64_FORMAT
                    " bytes: must be a power of two, %u or more",
                    log->ops->name, bytes, FERRY_DIRTY_LOG_CHUNK_MIN);
        return FALSE;
    }
    size_chunks(log, bytes);
    return TRUE;
}

gboolean ferry_dirty_log_start(FerryDirtyLog *log, GError **error)
{
    g_return_val_if_fail(!log->started, FALSE);
    log->stats = (FerryDirtyLogStats){0};
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

static gboolean clear_chunk(FerryDirtyLog *log, unsigned block, uint64_t chunk, FerryBitmap *dirty,
                            GError **error)
{
    uint64_t first = chunk * log->chunk_pages;
    uint64_t n = MIN(log->chunk_pages, log->block_pages[block] - first);
    uint64_t begin = now_ns(), took;
    gboolean ok = log->ops->clear(log->self, block, first, n, dirty, error);

    took = now_ns() - begin;
    log->stats.clears++;
    log->stats.clear_ns += took;
    log->stats.longest_clear_ns = MAX(log->stats.longest_clear_ns, took);
    if (!ok) {
        g_prefix_error(error, "dirty log '%s': ", log->ops->name);
        return FALSE;
    }
    ferry_bitmap_reset(&log->to_clear[block], chunk, 1);
    return TRUE;
}

gboolean ferry_dirty_log_clear(FerryDirtyLog *log, unsigned block, uint64_t first, uint64_t n,
                               FerryBitmap *dirty, GError **error)
{
    uint64_t last;

    g_return_val_if_fail(log->started && block < log->n_blocks, FALSE);
    g_return_val_if_fail(first <= log->block_pages[block] && n <= log->block_pages[block] - first,
                         FALSE);
    g_return_val_if_fail(dirty->n_bits == log->block_pages[block], FALSE);
    if (!log->ops->clear || n == 0) {
        return TRUE;
    }
    last = (first + n - 1) / log->chunk_pages;
    for (uint64_t chunk = first / log->chunk_pages; chunk <= last; chunk++) {
        if (ferry_bitmap_test(&log->to_clear[block], chunk) &&
            !clear_chunk(log, block, chunk, dirty, error)) {
            return FALSE;
        }
    }
    return TRUE;
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
