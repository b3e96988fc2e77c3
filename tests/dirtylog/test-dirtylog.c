#include "dirtylog/dirtylog.h"

#include <criterion/criterion.h>
#include <string.h>

/* Writes down what it is asked: "start", "sync 0", "clear 1:64+64"... */
typedef struct {
    GString *calls;
    gboolean fail;
    unsigned clear_us; /* that a clear takes */
} Fake;

static gboolean answer(Fake *fake, GError **error)
{
    if (fake->fail) {
        g_set_error_literal(error, FERRY_DIRTY_LOG_ERROR, FERRY_DIRTY_LOG_ERROR_IOCTL, "refused");
    }
    return !fake->fail;
}

static void fake_set_chunk(void *self, uint64_t bytes)
{
    Fake *fake = self;

    g_string_append_printf(fake->calls, "chunk %luK;", bytes >> 10);
}

static gboolean fake_start(void *self, GError **error)
{
    Fake *fake = self;

    g_string_append(fake->calls, "start;");
    return answer(fake, error);
}

static gboolean fake_sync(void *self, unsigned block, FerryBitmap *dirty, GError **error)
{
    Fake *fake = self;

    g_string_append_printf(fake->calls, "sync %u;", block);
    ferry_bitmap_set(dirty, 0, 1);
    return answer(fake, error);
}

static gboolean fake_clear(void *self, unsigned block, uint64_t first, uint64_t n,
                           FerryBitmap *dirty, GError **error)
{
    Fake *fake = self;

    g_string_append_printf(fake->calls, "clear %u:%lu+%lu;", block, first, n);
    g_usleep(fake->clear_us);
    ferry_bitmap_set(dirty, first, 1);
    return answer(fake, error);
}

static void fake_stop(void *self) { g_string_append(((Fake *)self)->calls, "stop;"); }

static void fake_free(void *self) { g_string_append(((Fake *)self)->calls, "free;"); }

static const FerryDirtyLogOps ops = {
    .name = "fake",
    .set_chunk = fake_set_chunk,
    .start = fake_start,
    .sync = fake_sync,
    .clear = fake_clear,
    .stop = fake_stop,
    .free = fake_free,
};
static const FerryDirtyLogOps exact_ops = {
    .name = "exact",
    .set_chunk = fake_set_chunk,
    .start = fake_start,
    .sync = fake_sync,
    .clear = fake_clear,
    .stop = fake_stop,
    .free = fake_free,
    .clears_exactly = TRUE,
};
static const FerryDirtyLogOps ops_without_clear = {
    .name = "fake",
    .start = fake_start,
    .sync = fake_sync,
    .stop = fake_stop,
    .free = fake_free,
};

/* Two blocks; the second ends in the middle of a chunk and of a word. */
static const uint64_t block_pages[2] = {256, 130};
static Fake fake;
static FerryBitmap dirty[2];
static FerryDirtyLog *log_;

static void set_up(void)
{
    fake = (Fake){.calls = g_string_new(NULL)};
    for (unsigned i = 0; i < 2; i++) {
        ferry_bitmap_init(&dirty[i], block_pages[i]);
    }
    log_ = ferry_dirty_log_new(&ops, &fake, block_pages, 2);
    cr_assert(ferry_dirty_log_set_chunk(log_, FERRY_DIRTY_LOG_CHUNK_MIN, NULL));
    g_string_truncate(fake.calls, 0);
}

static void tear_down(void)
{
    ferry_dirty_log_free(log_);
    g_string_free(fake.calls, TRUE);
    for (unsigned i = 0; i < 2; i++) {
        ferry_bitmap_clear(&dirty[i]);
    }
}

static void expect_calls(const char *calls)
{
    cr_assert_str_eq(fake.calls->str, calls);
    g_string_truncate(fake.calls, 0);
}

TestSuite(dirtylog, .init = set_up, .fini = tear_down);

Test(dirtylog, a_chunk_is_cleared_once_per_sync)
{
    cr_assert(ferry_dirty_log_start(log_, NULL));
    cr_assert(ferry_dirty_log_sync(log_, 0, &dirty[0], NULL));
    expect_calls("start;sync 0;");
    cr_assert(ferry_dirty_log_clear(log_, 0, 70, 1, &dirty[0], NULL));
    cr_assert(ferry_dirty_log_clear(log_, 0, 127, 1, &dirty[0], NULL));
    expect_calls("clear 0:64+64;");
    cr_assert(ferry_dirty_log_clear(log_, 0, 120, 9, &dirty[0], NULL));
    expect_calls("clear 0:128+64;");
    cr_assert(ferry_dirty_log_sync(log_, 1, &dirty[1], NULL));
    cr_assert(ferry_dirty_log_clear(log_, 0, 64, 128, &dirty[0], NULL));
    expect_calls("sync 1;");
    cr_assert(ferry_dirty_log_sync(log_, 0, &dirty[0], NULL));
    cr_assert(ferry_dirty_log_clear(log_, 0, 64, 64, &dirty[0], NULL));
    expect_calls("sync 0;clear 0:64+64;");
    cr_assert(ferry_bitmap_test(&dirty[0], 64), "what clear finds reaches the caller");
}

Test(dirtylog, the_last_chunk_is_cut_at_the_blocks_end)
{
    cr_assert(ferry_dirty_log_start(log_, NULL));
    cr_assert(ferry_dirty_log_sync(log_, 1, &dirty[1], NULL));
    cr_assert(ferry_dirty_log_clear(log_, 1, 0, 130, &dirty[1], NULL));
    expect_calls("start;sync 1;clear 1:0+130;");
    cr_assert(ferry_dirty_log_sync(log_, 1, &dirty[1], NULL));
    cr_assert(ferry_dirty_log_clear(log_, 1, 67, 2, &dirty[1], NULL));
    cr_assert(ferry_dirty_log_clear(log_, 1, 129, 1, &dirty[1], NULL));
    expect_calls("sync 1;clear 1:64+64;clear 1:128+2;");
}

/* Chunks side by side go together; what is clear already is left out. */
Test(dirtylog, a_longer_range_is_cleared_in_one_piece)
{
    cr_assert(ferry_dirty_log_start(log_, NULL));
    cr_assert(ferry_dirty_log_clear(log_, 0, 10, 180, &dirty[0], NULL));
    expect_calls("start;clear 0:0+192;");
    cr_assert(ferry_dirty_log_sync(log_, 0, &dirty[0], NULL));
    cr_assert(ferry_dirty_log_clear(log_, 0, 100, 1, &dirty[0], NULL));
    cr_assert(ferry_dirty_log_clear(log_, 0, 0, 256, &dirty[0], NULL));
    expect_calls("sync 0;clear 0:64+64;clear 0:0+64;clear 0:128+128;");
}

/* 64 MiB and no more, so that the guest gets a word in. */
Test(dirtylog, all_memory_is_cleared_in_large_pieces)
{
    static const uint64_t pages = 40000;
    FerryDirtyLog *log = ferry_dirty_log_new(&ops, &fake, &pages, 1);
    FerryBitmap all;

    ferry_bitmap_init(&all, pages);
    g_string_truncate(fake.calls, 0);
    cr_assert(ferry_dirty_log_start(log, NULL));
    cr_assert(ferry_dirty_log_clear(log, 0, 0, pages, &all, NULL));
    expect_calls("start;clear 0:0+16384;clear 0:16384+16384;clear 0:32768+7232;");
    cr_assert(ferry_dirty_log_set_chunk(log, 1u << 30, NULL));
    cr_assert(ferry_dirty_log_sync(log, 0, &all, NULL));
    cr_assert(ferry_dirty_log_clear(log, 0, 39999, 1, &all, NULL));
    expect_calls("chunk 1048576K;sync 0;clear 0:0+40000;");
    ferry_dirty_log_free(log);
    ferry_bitmap_clear(&all);
    expect_calls("stop;free;");
}

Test(dirtylog, a_chunk_may_change_at_any_time)
{
    cr_assert(ferry_dirty_log_start(log_, NULL));
    cr_assert(ferry_dirty_log_clear(log_, 0, 70, 1, &dirty[0], NULL));
    cr_assert(ferry_dirty_log_set_chunk(log_, 512u << 10, NULL));
    cr_assert_eq(ferry_dirty_log_get_chunk(log_), 512u << 10);
    cr_assert(ferry_dirty_log_clear(log_, 0, 1, 1, &dirty[0], NULL));
    cr_assert(ferry_dirty_log_clear(log_, 0, 127, 1, &dirty[0], NULL));
    expect_calls("start;clear 0:64+64;chunk 512K;clear 0:0+64;");
    cr_assert(ferry_dirty_log_clear(log_, 0, 200, 1, &dirty[0], NULL));
    cr_assert(ferry_dirty_log_set_chunk(log_, FERRY_DIRTY_LOG_CHUNK_MIN, NULL));
    cr_assert(ferry_dirty_log_clear(log_, 0, 0, 256, &dirty[0], NULL));
    expect_calls("clear 0:128+128;chunk 256K;");
    cr_assert(ferry_dirty_log_sync(log_, 0, &dirty[0], NULL));
    cr_assert(ferry_dirty_log_clear(log_, 0, 200, 1, &dirty[0], NULL));
    expect_calls("sync 0;clear 0:192+64;");
}

/* A second time it is asked for: only the log knows what is left to do there. */
Test(dirtylog, exactly_the_pages_asked_for)
{
    FerryDirtyLog *log = ferry_dirty_log_new(&exact_ops, &fake, block_pages, 2);

    cr_assert(ferry_dirty_log_set_chunk(log, FERRY_DIRTY_LOG_CHUNK_EXACT, NULL));
    g_string_truncate(fake.calls, 0);
    cr_assert(ferry_dirty_log_start(log, NULL));
    cr_assert(ferry_dirty_log_clear(log, 0, 70, 1, &dirty[0], NULL));
    cr_assert(ferry_dirty_log_clear(log, 0, 60, 140, &dirty[0], NULL));
    expect_calls("start;clear 0:70+1;clear 0:60+140;");
    cr_assert(ferry_dirty_log_clear(log, 0, 64, 128, &dirty[0], NULL));
    expect_calls("");
    cr_assert(ferry_dirty_log_clear(log, 0, 199, 2, &dirty[0], NULL));
    cr_assert(ferry_dirty_log_clear(log, 1, 127, 3, &dirty[1], NULL));
    expect_calls("clear 0:199+2;clear 1:127+3;");
    cr_assert(ferry_dirty_log_clear(log, 1, 128, 2, &dirty[1], NULL));
    expect_calls("");
    cr_assert(ferry_dirty_log_set_chunk(log, 512u << 10, NULL));
    cr_assert(ferry_dirty_log_clear(log, 0, 199, 2, &dirty[0], NULL));
    expect_calls("chunk 512K;clear 0:192+64;");
    ferry_dirty_log_free(log);
    expect_calls("stop;free;");
}

Test(dirtylog, a_log_that_clears_whole_units_does_so_when_asked_for_pages)
{
    cr_assert(ferry_dirty_log_set_chunk(log_, FERRY_DIRTY_LOG_CHUNK_EXACT, NULL));
    cr_assert_eq(ferry_dirty_log_get_chunk(log_), FERRY_DIRTY_LOG_CHUNK_MIN);
    cr_assert(ferry_dirty_log_start(log_, NULL));
    cr_assert(ferry_dirty_log_clear(log_, 0, 70, 1, &dirty[0], NULL));
    expect_calls("start;clear 0:64+64;");
}

/* Pauses between the calls make any clear cheap; none at all, and clears are all there is. */
Test(dirtylog, suits_the_chunk_to_what_is_asked)
{
    FerryDirtyLog *log = ferry_dirty_log_new(&exact_ops, &fake, block_pages, 2);

    fake.clear_us = 50;
    cr_assert(ferry_dirty_log_start(log, NULL));
    ferry_dirty_log_suit_chunk(log);
    cr_assert_eq(ferry_dirty_log_get_chunk(log), FERRY_DIRTY_LOG_CHUNK_DEFAULT, "nothing is known");
    for (unsigned i = 0; i < 16; i++) {
        cr_assert(ferry_dirty_log_sync(log, 0, &dirty[0], NULL));
        cr_assert(ferry_dirty_log_clear(log, 0, 16 * i, 1, &dirty[0], NULL));
    }
    ferry_dirty_log_suit_chunk(log);
    cr_assert_neq(ferry_dirty_log_get_chunk(log), FERRY_DIRTY_LOG_CHUNK_EXACT);
    cr_assert(ferry_dirty_log_clear(log, 0, 0, 1, &dirty[0], NULL));
    g_usleep(100000);
    ferry_dirty_log_suit_chunk(log);
    cr_assert_eq(ferry_dirty_log_get_chunk(log), FERRY_DIRTY_LOG_CHUNK_EXACT);
    ferry_dirty_log_suit_chunk(log);
    cr_assert_eq(ferry_dirty_log_get_chunk(log), FERRY_DIRTY_LOG_CHUNK_EXACT, "nothing is new");
    ferry_dirty_log_free(log);
}

Test(dirtylog, no_pages_clear_no_chunk)
{
    cr_assert(ferry_dirty_log_start(log_, NULL));
    cr_assert(ferry_dirty_log_clear(log_, 0, 256, 0, &dirty[0], NULL));
    expect_calls("start;");
}

Test(dirtylog, a_chunk_that_failed_to_clear_is_tried_again)
{
    g_autoptr(GError) error = NULL;

    cr_assert(ferry_dirty_log_start(log_, NULL));
    fake.fail = TRUE;
    cr_assert_not(ferry_dirty_log_clear(log_, 0, 0, 1, &dirty[0], &error));
    cr_assert_str_eq(error->message, "dirty log 'fake': refused");
    fake.fail = FALSE;
    cr_assert(ferry_dirty_log_clear(log_, 0, 0, 1, &dirty[0], NULL));
    expect_calls("start;clear 0:0+64;clear 0:0+64;");
}

Test(dirtylog, a_failed_start_is_stopped_once)
{
    g_autoptr(GError) error = NULL;

    fake.fail = TRUE;
    cr_assert_not(ferry_dirty_log_start(log_, &error));
    cr_assert_str_eq(error->message, "dirty log 'fake': refused");
    ferry_dirty_log_stop(log_);
    expect_calls("start;stop;");
    fake.fail = FALSE;
    cr_assert(ferry_dirty_log_start(log_, NULL), "a second migration may follow");
    ferry_dirty_log_stop(log_);
    ferry_dirty_log_stop(log_);
    expect_calls("start;stop;");
}

Test(dirtylog, every_start_clears_every_chunk_anew)
{
    for (unsigned i = 0; i < 2; i++) {
        cr_assert(ferry_dirty_log_start(log_, NULL));
        cr_assert(ferry_dirty_log_clear(log_, 0, 0, 1, &dirty[0], NULL));
        ferry_dirty_log_stop(log_);
        expect_calls("start;clear 0:0+64;stop;");
    }
}

Test(dirtylog, chunk_sizes_are_checked)
{
    static const uint64_t bad[] = {0,          1,         2048, 8192, 128u << 10, (256u << 10) + 1,
                                   384u << 10, UINT64_MAX};

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        cr_assert_not(ferry_dirty_log_set_chunk(log_, bad[i], &error), "%lu", bad[i]);
        cr_assert(g_error_matches(error, FERRY_DIRTY_LOG_ERROR, FERRY_DIRTY_LOG_ERROR_INVALID));
    }
    expect_calls("");
    cr_assert(ferry_dirty_log_set_chunk(log_, UINT64_C(1) << 63, NULL));
    cr_assert(ferry_dirty_log_set_chunk(log_, 512u << 10, NULL));
    expect_calls("chunk 9007199254740992K;chunk 512K;");
    cr_assert(ferry_dirty_log_start(log_, NULL));
    cr_assert(ferry_dirty_log_clear(log_, 0, 130, 1, &dirty[0], NULL));
    expect_calls("start;clear 0:128+128;");
}

Test(dirtylog, counts_its_calls)
{
    FerryDirtyLogStats stats;

    cr_assert(ferry_dirty_log_start(log_, NULL));
    cr_assert(ferry_dirty_log_sync(log_, 0, &dirty[0], NULL));
    cr_assert(ferry_dirty_log_clear(log_, 0, 0, 256, &dirty[0], NULL));
    cr_assert(ferry_dirty_log_clear(log_, 0, 0, 256, &dirty[0], NULL));
    ferry_dirty_log_get_stats(log_, &stats);
    cr_assert_eq(stats.syncs, 1);
    cr_assert_eq(stats.clears, 1);
    cr_assert_eq(stats.cleared_pages, 256);
    cr_assert(stats.longest_clear_ns <= stats.clear_ns);
}

Test(dirtylog, without_clear_nothing_is_cleared)
{
    FerryDirtyLog *plain = ferry_dirty_log_new(&ops_without_clear, &fake, block_pages, 2);
    FerryDirtyLogStats stats;

    cr_assert(ferry_dirty_log_start(plain, NULL));
    cr_assert(ferry_dirty_log_clear(plain, 0, 0, 256, &dirty[0], NULL));
    ferry_dirty_log_get_stats(plain, &stats);
    cr_assert_eq(stats.clears, 0);
    ferry_dirty_log_free(plain);
    expect_calls("start;stop;free;");
}

Test(dirtylog, combined_asks_all_and_adds_up)
{
    Fake other = {.calls = g_string_new(NULL)};
    FerryDirtyMarks *marks = ferry_dirty_marks_new(block_pages, 2);
    FerryDirtyLog *logs[] = {ferry_dirty_log_new(&ops, &other, block_pages, 2),
                             ferry_dirty_log_marks_new(marks)};
    FerryDirtyLog *both = ferry_dirty_log_combined_new(logs, 2);
    g_autoptr(GError) error = NULL;

    g_string_truncate(other.calls, 0);
    cr_assert(ferry_dirty_log_set_chunk(both, 256u << 10, NULL));
    cr_assert(ferry_dirty_log_start(both, NULL));
    cr_assert(ferry_dirty_log_sync(both, 1, &dirty[1], NULL));
    cr_assert_eq(ferry_bitmap_count(&dirty[1]), 130, "the first sync reports all");
    ferry_bitmap_reset(&dirty[1], 0, 130);
    ferry_mark_dirty(marks, 1, 120, 10);
    cr_assert(ferry_dirty_log_clear(both, 1, 129, 1, &dirty[1], NULL));
    cr_assert(ferry_dirty_log_sync(both, 1, &dirty[1], NULL));
    cr_assert_eq(ferry_bitmap_count(&dirty[1]), 11, "page 0 by one log, 10 pages by the other");
    other.fail = TRUE;
    cr_assert_not(ferry_dirty_log_sync(both, 1, &dirty[1], &error));
    cr_assert_str_eq(error->message, "dirty log 'combined': dirty log 'fake': refused");
    ferry_dirty_log_free(both);
    cr_assert_str_eq(other.calls->str,
                     "chunk 256K;start;sync 1;clear 1:128+2;sync 1;sync 1;stop;free;");
    ferry_dirty_marks_free(marks);
    g_string_free(other.calls, TRUE);
}

Test(dirtylog, combined_stops_what_it_started)
{
    Fake parts[2] = {
        {.calls = g_string_new(NULL)},
        { .calls = g_string_new(NULL),               .fail = TRUE}
    };
    FerryDirtyLog *logs[2], *both;

    for (unsigned i = 0; i < 2; i++) {
        logs[i] = ferry_dirty_log_new(&ops_without_clear, &parts[i], block_pages, 2);
    }
    both = ferry_dirty_log_combined_new(logs, 2);
    cr_assert_not(ferry_dirty_log_start(both, NULL));
    ferry_dirty_log_free(both);
    for (unsigned i = 0; i < 2; i++) {
        cr_assert_str_eq(parts[i].calls->str, "start;stop;free;");
        g_string_free(parts[i].calls, TRUE);
    }
}

Test(dirtylog, marks_cover_exactly_their_pages)
{
    static const struct {
        uint64_t first, n;
    } ranges[] = {
        {0,   1  },
        {63,  2  },
        {64,  64 },
        {100, 30 },
        {129, 1  },
        {0,   130},
        {130, 0  }
    };
    FerryDirtyMarks *marks = ferry_dirty_marks_new(block_pages, 2);
    FerryDirtyLog *log = ferry_dirty_log_marks_new(marks);

    cr_assert(ferry_dirty_log_start(log, NULL));
    cr_assert(ferry_dirty_log_sync(log, 1, &dirty[1], NULL));
    for (unsigned i = 0; i < G_N_ELEMENTS(ranges); i++) {
        ferry_bitmap_reset(&dirty[1], 0, 130);
        ferry_mark_dirty(marks, 1, ranges[i].first, ranges[i].n);
        cr_assert(ferry_dirty_log_sync(log, 1, &dirty[1], NULL));
        cr_assert_eq(ferry_bitmap_count(&dirty[1]), ranges[i].n);
        cr_assert_eq(ferry_bitmap_count_range(&dirty[1], ranges[i].first, ranges[i].n),
                     ranges[i].n);
    }
    ferry_dirty_log_free(log);
    ferry_dirty_marks_free(marks);
}

Test(dirtylog, a_slot_must_fit_its_block)
{
    static const FerryKvmSlot bad[] = {
        {.n_pages = 64,      .block = 2 }, /* no such block */
        {.n_pages = 64,      .block = 0,  .first_page = 32}, /* off a word */
        {.n_pages = 131,                  .block = 1               },
        {.n_pages = 64,                  .block = 1,  .first_page = 128},
        {.n_pages = 1, .block = 1,           .first_page = 6400},
        {.n_pages = 0,        .block = 0},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(bad); i++) {
        g_autoptr(GError) error = NULL;

        cr_assert_null(ferry_dirty_log_kvm_bitmap_new(-1, &bad[i], 1, block_pages, 2, &error));
        cr_assert(g_error_matches(error, FERRY_DIRTY_LOG_ERROR, FERRY_DIRTY_LOG_ERROR_INVALID));
    }
}
