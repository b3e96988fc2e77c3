/* Several writers mark pages while one reader syncs: after each sync, whatever was written and
 * marked before it has been reported, and nothing is lost in the end. */
#include "dirtylog/dirtylog.h"

#include <pthread.h>
#include <stdio.h>

#define N_PAGES 1000u /* few, so that writers share words and pages */
#define N_WRITERS 3u
#define N_WRITES 200000u

static uint64_t memory[N_PAGES][N_WRITERS], copy[N_PAGES][N_WRITERS];
static FerryDirtyMarks *marks;
static unsigned running = N_WRITERS;

static void *writer(void *arg)
{
    unsigned me = GPOINTER_TO_UINT(arg);
    uint64_t random = 88172645463325252u + me;

    for (uint64_t i = 1; i <= N_WRITES; i++) {
        uint64_t page, n;

        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        page = random % N_PAGES;
        n = MIN(1 + (random >> 32) % 70, N_PAGES - page);
        for (uint64_t k = 0; k < n; k++) {
            __atomic_store_n(&memory[page + k][me], i, __ATOMIC_RELAXED);
        }
        ferry_mark_dirty(marks, 0, page, n);
    }
    __atomic_fetch_sub(&running, 1, __ATOMIC_RELEASE);
    return NULL;
}

static uint64_t sync_and_copy(FerryDirtyLog *log, FerryBitmap *dirty)
{
    uint64_t n = 0;

    if (!ferry_dirty_log_sync(log, 0, dirty, NULL)) {
        return 0;
    }
    for (uint64_t page = 0; (page = ferry_bitmap_next_set(dirty, page)) < N_PAGES; page++, n++) {
        for (unsigned w = 0; w < N_WRITERS; w++) {
            copy[page][w] = __atomic_load_n(&memory[page][w], __ATOMIC_RELAXED);
        }
    }
    ferry_bitmap_reset(dirty, 0, N_PAGES);
    return n;
}

int main(void)
{
    static const uint64_t block_pages[] = {N_PAGES};
    pthread_t threads[N_WRITERS];
    FerryDirtyLog *log;
    FerryBitmap dirty;
    uint64_t syncs = 0, reported = 0, missed = 0;

    marks = ferry_dirty_marks_new(block_pages, 1);
    log = ferry_dirty_log_marks_new(marks);
    ferry_bitmap_init(&dirty, N_PAGES);
    if (!ferry_dirty_log_start(log, NULL) || sync_and_copy(log, &dirty) != N_PAGES) {
        fprintf(stderr, "the first sync does not report all pages\n");
        return 1;
    }
    for (unsigned w = 0; w < N_WRITERS; w++) {
        pthread_create(&threads[w], NULL, writer, GUINT_TO_POINTER(w));
    }
    for (gboolean last = FALSE; !last; syncs++) {
        last = __atomic_load_n(&running, __ATOMIC_ACQUIRE) == 0;
        reported += sync_and_copy(log, &dirty);
    }
    for (unsigned w = 0; w < N_WRITERS; w++) {
        pthread_join(threads[w], NULL);
    }
    for (unsigned page = 0; page < N_PAGES; page++) {
        for (unsigned w = 0; w < N_WRITERS; w++) {
            missed += copy[page][w] != memory[page][w];
        }
    }
    printf("%" G_GUINT64_FORMAT " syncs reported %" G_GUINT64_FORMAT " pages, %" G_GUINT64_FORMAT
           " writes missed\n",
           syncs, reported, missed);
    ferry_bitmap_clear(&dirty);
    ferry_dirty_log_free(log);
    ferry_dirty_marks_free(marks);
    return missed != 0;
}
