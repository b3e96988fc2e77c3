#include "dirtylog/dirtylog.h"

/* The words are shared: every access is atomic. A mark releases the write that came before it, and
 * the exchange that takes the mark acquires it, so who reads the page afterwards sees the write. */
struct FerryDirtyMarks {
    FerryBitmap *blocks;
    uint64_t *block_pages;
    unsigned n_blocks;
};

typedef struct {
    FerryDirtyMarks *marks; /* borrowed */
    gboolean *all_reported; /* per block: the first sync has been */
} MarksLog;

FerryDirtyMarks *ferry_dirty_marks_new(const uint64_t *block_pages, unsigned n_blocks)
{
    FerryDirtyMarks *marks = g_new0(FerryDirtyMarks, 1);

    marks->blocks = g_new0(FerryBitmap, n_blocks);
    marks->block_pages = g_memdup2(block_pages, n_blocks * sizeof *block_pages);
    marks->n_blocks = n_blocks;
    for (unsigned i = 0; i < n_blocks; i++) {
        ferry_bitmap_init(&marks->blocks[i], block_pages[i]);
    }
    return marks;
}

void ferry_mark_dirty(FerryDirtyMarks *marks, unsigned block, uint64_t first_page, uint64_t n_pages)
{
    FerryBitmap *b;
    uint64_t end = first_page + n_pages;

    g_return_if_fail(block < marks->n_blocks);
    b = &marks->blocks[block];
    g_return_if_fail(first_page <= b->n_bits && n_pages <= b->n_bits - first_page);
    for (uint64_t at = first_page, next; at < end; at = next) {
        uint64_t bits = UINT64_MAX << (at % 64);

        next = (at / 64 + 1) * 64;
        if (next > end) {
            next = end;
            bits &= UINT64_MAX >> (64 - end % 64);
        }
        __atomic_fetch_or(&b->words[at / 64], bits, __ATOMIC_RELEASE);
    }
}

void ferry_dirty_marks_free(FerryDirtyMarks *marks)
{
    if (!marks) {
        return;
    }
    for (unsigned i = 0; i < marks->n_blocks; i++) {
        ferry_bitmap_clear(&marks->blocks[i]);
    }
    g_free(marks->blocks);
    g_free(marks->block_pages);
    g_free(marks);
}

static gboolean marks_start(void *self, GError **error)
{
    MarksLog *log = self;

    (void)error;
    for (unsigned i = 0; i < log->marks->n_blocks; i++) {
        log->all_reported[i] = FALSE;
    }
    return TRUE;
}

static gboolean marks_sync(void *self, unsigned block, FerryBitmap *dirty, GError **error)
{
    MarksLog *log = self;
    FerryBitmap *b = &log->marks->blocks[block];

    (void)error;
    for (uint64_t i = 0; i < ferry_bitmap_n_words(b); i++) {
        /* Looking first keeps the cache line shared; a mark made after the look stays for the next
         * sync. */
        if (__atomic_load_n(&b->words[i], __ATOMIC_RELAXED) != 0) {
            uint64_t taken = __atomic_exchange_n(&b->words[i], 0, __ATOMIC_ACQUIRE);

            ferry_bitmap_or_words(dirty, i * 64, &taken, 1);
        }
    }
    if (!log->all_reported[block]) {
        log->all_reported[block] = TRUE;
        ferry_bitmap_set(dirty, 0, dirty->n_bits);
    }
    return TRUE;
}

static void marks_stop(void *self)
{
    (void)self; /* writers may go on marking: the next start reports all pages anyway */
}

static void marks_free(void *self)
{
    MarksLog *log = self;

    g_free(log->all_reported);
    g_free(log);
}

static const FerryDirtyLogOps marks_ops = {
    .name = "marks",
    .start = marks_start,
    .sync = marks_sync,
    .stop = marks_stop,
    .free = marks_free,
};

FerryDirtyLog *ferry_dirty_log_marks_new(FerryDirtyMarks *marks)
{
    MarksLog *log = g_new0(MarksLog, 1);

    log->marks = marks;
    log->all_reported = g_new0(gboolean, marks->n_blocks);
    return ferry_dirty_log_new(&marks_ops, log, marks->block_pages, marks->n_blocks);
}
