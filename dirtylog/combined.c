#include "dirtylog/dirtylog.h"

typedef struct {
    FerryDirtyLog **logs; /* owned */
    unsigned n_logs;
} Combined;

static void combined_set_chunk(void *self, uint64_t bytes)
{
    Combined *c = self;

    for (unsigned i = 0; i < c->n_logs; i++) {
        gboolean ok = ferry_dirty_log_set_chunk(c->logs[i], bytes, NULL);

        g_assert(ok); /* the size has been checked by the log that holds us */
    }
}

static gboolean combined_start(void *self, GError **error)
{
    Combined *c = self;

    for (unsigned i = 0; i < c->n_logs; i++) {
        if (!ferry_dirty_log_start(c->logs[i], error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean combined_sync(void *self, unsigned block, FerryBitmap *dirty, GError **error)
{
    Combined *c = self;

    for (unsigned i = 0; i < c->n_logs; i++) {
        if (!ferry_dirty_log_sync(c->logs[i], block, dirty, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean combined_clear(void *self, unsigned block, uint64_t first, uint64_t n,
                               FerryBitmap *dirty, GError **error)
{
    Combined *c = self;

    for (unsigned i = 0; i < c->n_logs; i++) {
        if (!ferry_dirty_log_clear(c->logs[i], block, first, n, dirty, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static void combined_stop(void *self)
{
    Combined *c = self;

    for (unsigned i = 0; i < c->n_logs; i++) {
        ferry_dirty_log_stop(c->logs[i]);
    }
}

static uint64_t combined_cleared_pages(const void *self)
{
    const Combined *c = self;
    uint64_t sum = 0;

    for (unsigned i = 0; i < c->n_logs; i++) {
        FerryDirtyLogStats stats;

        ferry_dirty_log_get_stats(c->logs[i], &stats);
        sum += stats.cleared_pages;
    }
    return sum;
}

static void combined_free(void *self)
{
    Combined *c = self;

    for (unsigned i = 0; i < c->n_logs; i++) {
        ferry_dirty_log_free(c->logs[i]);
    }
    g_free(c->logs);
    g_free(c);
}

static const FerryDirtyLogOps combined_ops = {
    .name = "combined",
    .set_chunk = combined_set_chunk,
    .start = combined_start,
    .sync = combined_sync,
    .clear = combined_clear,
    .stop = combined_stop,
    .free = combined_free,
    .clears_exactly = TRUE, /* or as exactly as each of them can */
    .cleared_pages = combined_cleared_pages,
};

FerryDirtyLog *ferry_dirty_log_combined_new(FerryDirtyLog *const *logs, unsigned n_logs)
{
    g_autofree uint64_t *block_pages = NULL;
    unsigned n_blocks;
    Combined *c;

    g_return_val_if_fail(n_logs > 0, NULL);
    n_blocks = ferry_dirty_log_n_blocks(logs[0]);
    block_pages = g_new(uint64_t, n_blocks);
    for (unsigned i = 0; i < n_blocks; i++) {
        block_pages[i] = ferry_dirty_log_block_pages(logs[0], i);
    }
    for (unsigned i = 1; i < n_logs; i++) {
        g_assert(ferry_dirty_log_n_blocks(logs[i]) == n_blocks);
        for (unsigned k = 0; k < n_blocks; k++) {
            g_assert(ferry_dirty_log_block_pages(logs[i], k) == block_pages[k]);
        }
    }
    c = g_new0(Combined, 1);
    c->logs = g_memdup2(logs, n_logs * sizeof(logs[0]));
    c->n_logs = n_logs;
    return ferry_dirty_log_new(&combined_ops, c, block_pages, n_blocks);
}
