/* Does a dirty log tell the truth? Writers put ever increasing numbers into guest memory while this
 * program does what a migration does: sync, clear, read. After the idea of the kernel's
 * dirty_log_test. Two rules, checked at every turn:
 *
 *  - a page that differs from our copy by a write that is over is pending, or is reported by this
 *    sync or by the next;
 *  - with the writers stopped, one more sync, clear and copy make the copy equal to memory.
 *
 * In the middle and at the end the writers stop, tracking ends and begins anew. With a BREAK the
 * program makes one of the classic mistakes on purpose and succeeds when the rules catch it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/dirtylog/rig.h"

typedef struct {
    uint64_t words[GUEST_N_WORDS];
} Header; /* the part of a page that anybody writes */

typedef enum {
    BREAK_NONE,
    BREAK_READ_FIRST, /* reads a page, then clears it */
    BREAK_NO_TAIL,    /* forgets what is reported about the last 16 pages */
} Break;

typedef struct {
    Rig *rig;
    GRand *random;
    Break mistake;
    gboolean changing; /* the chunk, at any time */
    Header *copy;
    FerryBitmap pending; /* reported, not yet copied */
    FerryBitmap seen;    /* found different from the copy before this sync, while not pending */
    FerryBitmap late;    /* seen before the sync before, which did not report it */
    uint64_t reported, copied, reported_late, missed;
} Truth;

static const Header any = {
    {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}
};
G_STATIC_ASSERT(GUEST_N_WORDS == 4);

static Header read_page(const Truth *t, uint64_t page)
{
    const uint64_t *words = t->rig->memory + page * (GUEST_PAGE / sizeof(uint64_t));
    Header h;

    for (unsigned i = 0; i < GUEST_N_WORDS; i++) {
        h.words[i] = __atomic_load_n(&words[i], __ATOMIC_RELAXED);
    }
    return h;
}

/* By a number up to @over: who wrote a later one may not have marked it yet. */
static gboolean differs(const Truth *t, uint64_t page, const Header *over)
{
    Header h = read_page(t, page);
    gboolean result = FALSE;

    for (unsigned i = 0; i < GUEST_N_WORDS; i++) {
        result |= h.words[i] != t->copy[page].words[i] && h.words[i] <= over->words[i];
    }
    return result;
}

static void fail(const char *what, const GError *error)
{
    printf("%s%s%s\n", what, error ? ": " : "", error ? error->message : "");
    exit(1);
}

static void sync_log(Truth *t)
{
    g_autoptr(GError) error = NULL;
    FerryBitmap found;

    ferry_bitmap_init(&found, t->rig->n_pages);
    if (!ferry_dirty_log_sync(t->rig->log, 0, &found, &error)) {
        fail("sync", error);
    }
    t->reported += ferry_bitmap_count(&found);
    if (t->mistake == BREAK_NO_TAIL) {
        ferry_bitmap_reset(&found, t->rig->n_pages - 16, 16);
    }
    ferry_bitmap_or(&t->pending, &found);
    ferry_bitmap_clear(&found);
}

static void clear_log(Truth *t, uint64_t first, uint64_t n)
{
    g_autoptr(GError) error = NULL;

    if (!ferry_dirty_log_clear(t->rig->log, 0, first, n, &t->pending, &error)) {
        fail("clear", error);
    }
}

static void copy_run(Truth *t, uint64_t first, uint64_t n)
{
    ferry_bitmap_reset(&t->pending, first, n);
    ferry_bitmap_reset(&t->late, first, n);
    if (t->mistake != BREAK_READ_FIRST) {
        clear_log(t, first, n);
    }
    for (uint64_t page = first; page < first + n; page++) {
        t->copy[page] = read_page(t, page);
    }
    if (t->mistake == BREAK_READ_FIRST) {
        g_usleep(100); /* somebody writes */
        clear_log(t, first, n);
    }
    t->copied += n;
}

/* From exactly what is asked for up to 1 GiB. */
static void change_chunk(Truth *t)
{
    int shift = g_rand_int_range(t->random, 17, 31);

    ferry_dirty_log_set_chunk(t->rig->log, shift < 18 ? FERRY_DIRTY_LOG_CHUNK_EXACT : 1ull << shift,
                              NULL);
}

/* @all: or leave a quarter of the runs for a later round. */
static void copy_pending(Truth *t, gboolean all)
{
    uint64_t first, n, at = 0;

    while (ferry_bitmap_next_run(&t->pending, at, 128, &first, &n)) {
        at = first + n;
        if (t->changing && g_rand_int_range(t->random, 0, 16) == 0) {
            change_chunk(t);
        }
        if (all || g_rand_int_range(t->random, 0, 4) != 0) {
            copy_run(t, first, n);
        }
    }
}

/* Writes that are over and that the copy lacks. */
static void look(Truth *t)
{
    Header over;

    for (unsigned i = 0; i < GUEST_N_WORDS; i++) {
        over.words[i] = __atomic_load_n(&t->rig->control->over[i], __ATOMIC_ACQUIRE);
    }
    for (uint64_t page = 0; page < t->rig->n_pages; page++) {
        __builtin_prefetch(t->rig->memory +
                           MIN(page + 16, t->rig->n_pages - 1) * (GUEST_PAGE / sizeof(uint64_t)));
        if (!ferry_bitmap_test(&t->pending, page) && differs(t, page, &over)) {
            ferry_bitmap_set(&t->seen, page, 1);
        }
    }
}

/* After a sync. */
static void judge(Truth *t)
{
    for (uint64_t i = 0; i < ferry_bitmap_n_words(&t->pending); i++) {
        uint64_t missed = t->late.words[i] & ~t->pending.words[i];

        t->missed += (uint64_t)__builtin_popcountll(missed);
        t->late.words[i] = t->seen.words[i] & ~t->pending.words[i];
        t->reported_late += (uint64_t)__builtin_popcountll(t->late.words[i]);
        t->seen.words[i] = 0;
    }
}

/* Until most of the hot pages have been written; not for ever, as the hot pages may be few. */
static void let_them_write(const Truth *t)
{
    for (unsigned turn = 0; turn < 1000; turn++) {
        unsigned n = 0;

        for (unsigned i = 0; i < GUEST_N_HOT; i++) {
            n += differs(t, t->rig->control->hot[i], &any);
        }
        if (n >= GUEST_N_HOT / 2) {
            return;
        }
        g_usleep(100); /* on a busy machine the writers need our processor */
    }
}

/* Somewhere else for the writers' hot pages; one in four near the end, which is no multiple of 64,
 * and one in four near a page that is about to be cleared and read. */
static void steer(Truth *t)
{
    GuestControl *c = t->rig->control;
    uint64_t n = t->rig->n_pages;
    int burst = g_rand_int_range(t->random, 0, 64) == 0 ? 8192 : 64;

    for (unsigned i = 0; i < GUEST_N_HOT; i++) {
        uint64_t page = (uint64_t)g_rand_int_range(t->random, 0, (int)n);

        if (i % 4 == 0) {
            page = n - 1 - page % 32;
        } else if (i % 4 == 1) {
            page = ferry_bitmap_next_set(&t->pending, page);
            page = MIN(page, n - 1);
        }
        __atomic_store_n(&c->hot[i], page, __ATOMIC_RELAXED);
    }
    __atomic_fetch_add(&c->cold_limit, (uint64_t)g_rand_int_range(t->random, 0, burst),
                       __ATOMIC_RELAXED);
}

static void start(Truth *t)
{
    g_autoptr(GError) error = NULL;

    if (!ferry_dirty_log_start(t->rig->log, &error)) {
        fail("start", error);
    }
    ferry_bitmap_reset(&t->pending, 0, t->rig->n_pages);
    ferry_bitmap_reset(&t->late, 0, t->rig->n_pages);
    sync_log(t);
    if (t->mistake != BREAK_NO_TAIL && ferry_bitmap_count(&t->pending) != t->rig->n_pages) {
        fail("the first sync does not report all pages", NULL);
    }
}

static void finish(Truth *t)
{
    rig_pause(t->rig);
    sync_log(t);
    judge(t);
    copy_pending(t, TRUE);
    for (uint64_t page = 0; page < t->rig->n_pages; page++) {
        t->missed += differs(t, page, &any);
    }
    ferry_dirty_log_stop(t->rig->log);
    rig_run(t->rig); /* unwatched: the next start must not rely on what was */
}

static void migrate(Truth *t, unsigned iterations)
{
    start(t);
    for (unsigned i = 0; i < iterations && (t->mistake == BREAK_NONE || !t->missed); i++) {
        copy_pending(t, FALSE);
        if (i % 4 == 0) {
            look(t);
        }
        sync_log(t);
        judge(t);
        steer(t);
        let_them_write(t);
    }
    finish(t);
}

static int run(Truth *t, unsigned iterations, const char *name)
{
    for (unsigned i = 0; i < 2; i++) {
        migrate(t, iterations / 2);
    }
    rig_pause(t->rig);
    printf("%s: %u iterations, %" G_GUINT64_FORMAT " pages reported, %" G_GUINT64_FORMAT
           " copied, %" G_GUINT64_FORMAT " reported one sync late, %" G_GUINT64_FORMAT " missed\n",
           name, iterations, t->reported, t->copied, t->reported_late, t->missed);
    if (t->mistake == BREAK_NONE && t->reported < iterations + 2 * t->rig->n_pages) {
        printf("the writers hardly wrote: nothing is proven\n");
        return 1;
    }
    if (t->mistake != BREAK_NONE) {
        printf("the mistake was %s\n", t->missed ? "caught" : "not caught");
        return t->missed == 0;
    }
    return t->missed != 0;
}

static Break parse_break(const char *text)
{
    if (strcmp(text, "read-first") == 0) {
        return BREAK_READ_FIRST;
    }
    if (strcmp(text, "no-tail") == 0) {
        return BREAK_NO_TAIL;
    }
    fail("BREAK is read-first or no-tail", NULL);
    return BREAK_NONE;
}

int main(int argc, char **argv)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Rig) rig = NULL;
    Truth t = {0};
    int status;

    if (argc < 5 || argc > 6) {
        fprintf(stderr, "usage: truth LOG ITERATIONS CHUNK_BYTES|changing SEED [BREAK]\n");
        return 2;
    }
    t.mistake = argc > 5 ? parse_break(argv[5]) : BREAK_NONE;
    rig = rig_new(argv[1], strtoull(argv[4], NULL, 0), &error);
    if (!rig) {
        printf("%s: %s\n", argv[1], error->message);
        return g_error_matches(error, FERRY_DIRTY_LOG_ERROR, FERRY_DIRTY_LOG_ERROR_UNSUPPORTED) ? 77
                                                                                                : 1;
    }
    t.changing = strcmp(argv[3], "changing") == 0;
    if (!t.changing && !ferry_dirty_log_set_chunk(rig->log, strtoull(argv[3], NULL, 0), &error)) {
        fail("chunk", error);
    }
    t.rig = rig;
    t.random = g_rand_new_with_seed((guint32)strtoull(argv[4], NULL, 0));
    t.copy = g_new0(Header, rig->n_pages);
    ferry_bitmap_init(&t.pending, rig->n_pages);
    ferry_bitmap_init(&t.seen, rig->n_pages);
    ferry_bitmap_init(&t.late, rig->n_pages);
    steer(&t);
    rig_run(rig);
    status = run(&t, (unsigned)strtoul(argv[2], NULL, 0), argv[1]);
    ferry_bitmap_clear(&t.pending);
    ferry_bitmap_clear(&t.seen);
    ferry_bitmap_clear(&t.late);
    g_free(t.copy);
    g_rand_free(t.random);
    return status;
}
