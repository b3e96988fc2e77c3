#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include "engine/precopy/order.h"

static const uint64_t blocks[] = {3000, 1, 700, 64};
#define N_BLOCKS G_N_ELEMENTS(blocks)
#define SECOND 1000000000ull

/* Pending pages and what is known of their heat, beside a plain account of both. */
typedef struct {
    FerryPending *pending;
    FerryHeat *heat;
    FerryBitmap found[N_BLOCKS], expected[N_BLOCKS];
    uint64_t random, now_ns;
} World;

static void set_up(World *w, uint64_t seed)
{
    *w = (World){.random = 88172645463325252u + seed};
    w->pending = ferry_pending_new(blocks, N_BLOCKS);
    w->heat = ferry_heat_new(blocks, N_BLOCKS);
    ferry_heat_watch(w->heat, 0);
    for (unsigned i = 0; i < N_BLOCKS; i++) {
        ferry_bitmap_init(&w->found[i], blocks[i]);
        ferry_bitmap_init(&w->expected[i], blocks[i]);
    }
}

static void tear_down(World *w)
{
    ferry_pending_free(w->pending);
    ferry_heat_free(w->heat);
    for (unsigned i = 0; i < N_BLOCKS; i++) {
        ferry_bitmap_clear(&w->found[i]);
        ferry_bitmap_clear(&w->expected[i]);
    }
}

static uint64_t draw(World *w, uint64_t n)
{
    w->random ^= w->random << 13, w->random ^= w->random >> 7, w->random ^= w->random << 17;
    return w->random % n;
}

static void find(World *w, unsigned block, uint64_t first, uint64_t n)
{
    ferry_bitmap_set(&w->found[block], first, n);
    ferry_bitmap_set(&w->expected[block], first, n);
}

static void sync_log(World *w, uint64_t ns)
{
    for (unsigned i = 0; i < N_BLOCKS; i++) {
        ferry_pending_merge(w->pending, i, &w->found[i], w->heat, w->now_ns, w->now_ns + ns);
        cr_assert_eq(ferry_bitmap_count(&w->found[i]), 0);
    }
    w->now_ns += ns;
}

/* Takes a run off the account as well: each of its pages must stand there. */
static gboolean next(World *w, FerryOrder order, uint64_t max, FerryRun *out_run)
{
    if (!ferry_pending_next(w->pending, order, w->heat, max, out_run)) {
        return FALSE;
    }
    cr_assert(out_run->n >= 1 && out_run->n <= max);
    cr_assert_leq(out_run->first + out_run->n, blocks[out_run->block]);
    cr_assert_eq(ferry_bitmap_count_range(&w->expected[out_run->block], out_run->first, out_run->n),
                 out_run->n, "pages %lu+%lu of block %u", (unsigned long)out_run->first,
                 (unsigned long)out_run->n, out_run->block);
    ferry_bitmap_reset(&w->expected[out_run->block], out_run->first, out_run->n);
    ferry_heat_sent(w->heat, out_run->block, out_run->first, out_run->n, w->now_ns);
    return TRUE;
}

static uint64_t n_expected(const World *w)
{
    uint64_t n = 0;

    for (unsigned i = 0; i < N_BLOCKS; i++) {
        n += ferry_bitmap_count(&w->expected[i]);
    }
    return n;
}

Test(order, merging_counts_what_was_not_pending)
{
    World w;
    set_up(&w, 0);
    find(&w, 0, 10, 5);
    cr_expect_eq(ferry_pending_count_new(w.pending, 0, &w.found[0]), 5);
    cr_expect_eq(ferry_pending_merge(w.pending, 0, &w.found[0], NULL, 0, 0), 5);
    find(&w, 0, 13, 4);
    cr_expect_eq(ferry_pending_count_new(w.pending, 0, &w.found[0]), 2);
    cr_expect_eq(ferry_pending_merge(w.pending, 0, &w.found[0], w.heat, 0, SECOND), 2);
    cr_expect_eq(ferry_pending_count(w.pending), 7);
    tear_down(&w);
}

typedef struct {
    char what[40];
    FerryOrder order;
    gboolean from_start, knows_heat;
    unsigned seed;
} Walk;
ParameterizedTestParameters(order, every_pending_page_comes_once)
{
    static Walk rows[] = {
        {"pass",                      FERRY_ORDER_PASS,       FALSE, FALSE, 1},
        {"cursor",                    FERRY_ORDER_CURSOR,     FALSE, FALSE, 2},
        {"cursor from the start",     FERRY_ORDER_CURSOR,     TRUE,  FALSE, 3},
        {"cold first",                FERRY_ORDER_COLD_FIRST, FALSE, TRUE,  4},
        {"cold first, another",       FERRY_ORDER_COLD_FIRST, FALSE, TRUE,  5},
        {"cold first, nothing known", FERRY_ORDER_COLD_FIRST, FALSE, FALSE, 6},
    };
    return cr_make_param_array(Walk, rows, G_N_ELEMENTS(rows));
}
/* Rounds that end anywhere, pages found again while they are pending; in the end nothing is left.
 */
ParameterizedTest(Walk *row, order, every_pending_page_comes_once)
{
    World w;
    FerryRun run;

    set_up(&w, row->seed);
    for (unsigned round = 0; round < 300; round++) {
        for (uint64_t i = draw(&w, 60); i > 0; i--) {
            unsigned block = (unsigned)draw(&w, N_BLOCKS);
            uint64_t first = draw(&w, blocks[block]);
            uint64_t n = 1 + draw(&w, draw(&w, 8) ? 3 : 200);
            find(&w, block, first, MIN(n, blocks[block] - first));
        }
        if (!row->knows_heat) {
            for (unsigned i = 0; i < N_BLOCKS; i++) {
                ferry_pending_merge(w.pending, i, &w.found[i], NULL, 0, 0);
            }
        }
        sync_log(&w, 1 + draw(&w, SECOND / 10));
        cr_assert_eq(ferry_pending_count(w.pending), n_expected(&w), "%s", row->what);
        ferry_pending_begin_round(w.pending, row->order, row->from_start);
        for (uint64_t i = draw(&w, 5) ? draw(&w, 100) : UINT64_MAX; i > 0; i--) {
            if (!next(&w, row->order, 1 + draw(&w, 128), &run)) {
                cr_assert_eq(n_expected(&w), 0, "%s: round %u left pages", row->what, round);
                break;
            }
        }
    }
    ferry_pending_begin_round(w.pending, FERRY_ORDER_PASS, TRUE);
    while (next(&w, FERRY_ORDER_PASS, 128, &run)) {
    }
    cr_expect_eq(n_expected(&w), 0, "%s", row->what);
    cr_expect_eq(ferry_pending_count(w.pending), 0);
    tear_down(&w);
}

Test(order, a_pass_begins_at_the_first_page)
{
    World w;
    FerryRun run;
    static const FerryRun runs[] = {
        {0, 5,    1},
        {0, 2999, 1},
        {1, 0,    1},
        {3, 60,   4}
    };

    set_up(&w, 0);
    for (unsigned lap = 0; lap < 2; lap++) {
        for (unsigned i = 0; i < G_N_ELEMENTS(runs); i++) {
            find(&w, runs[i].block, runs[i].first, runs[i].n);
        }
        sync_log(&w, 1);
        ferry_pending_begin_round(w.pending, FERRY_ORDER_PASS, FALSE);
        for (unsigned i = 0; i < G_N_ELEMENTS(runs) - lap; i++) {
            cr_assert(next(&w, FERRY_ORDER_PASS, 128, &run));
            cr_expect_eq(run.block, runs[i].block);
            cr_expect_eq(run.first, runs[i].first);
            cr_expect_eq(run.n, runs[i].n);
        }
    }
    tear_down(&w);
}

Test(order, a_sync_does_not_move_the_cursor)
{
    World w;
    FerryRun run;

    set_up(&w, 0);
    find(&w, 0, 1000, 2);
    find(&w, 2, 8, 1);
    sync_log(&w, 1);
    ferry_pending_begin_round(w.pending, FERRY_ORDER_CURSOR, FALSE);
    cr_assert(next(&w, FERRY_ORDER_CURSOR, 1, &run));
    cr_expect_eq(run.first, 1000);
    find(&w, 0, 5, 1);
    sync_log(&w, 1);
    ferry_pending_begin_round(w.pending, FERRY_ORDER_CURSOR, FALSE);
    static const uint64_t firsts[] = {1001, 8, 5};
    for (unsigned i = 0; i < G_N_ELEMENTS(firsts); i++) {
        cr_assert(next(&w, FERRY_ORDER_CURSOR, 128, &run));
        cr_expect_eq(run.first, firsts[i]);
    }
    cr_expect_not(next(&w, FERRY_ORDER_CURSOR, 128, &run));
    tear_down(&w);
}

Test(order, a_cursor_goes_on_where_another_order_ended)
{
    World w;
    FerryRun run;

    set_up(&w, 0);
    cr_expect_not(next(&w, FERRY_ORDER_PASS, 128, &run)); /* at the end of memory */
    find(&w, 3, 1, 1);
    find(&w, 0, 1, 1);
    sync_log(&w, 1);
    cr_expect_not(next(&w, FERRY_ORDER_PASS, 128, &run) && run.block == 3);
    ferry_pending_begin_round(w.pending, FERRY_ORDER_CURSOR, FALSE);
    while (next(&w, FERRY_ORDER_CURSOR, 128, &run)) {
    }
    cr_expect_eq(n_expected(&w), 0);
    tear_down(&w);
}

/* Pages 8i of the first block are written in each interval, pages 8i + 4 in every eighth. */
static void write_at_rates(World *w, unsigned intervals)
{
    FerryRun run;

    for (unsigned k = 1; k <= intervals; k++) {
        for (uint64_t page = 0; page < blocks[0]; page += k % 8 ? 8 : 4) {
            find(w, 0, page, 1);
        }
        sync_log(w, SECOND / 10);
        ferry_pending_begin_round(w->pending, FERRY_ORDER_PASS, TRUE);
        while (next(w, FERRY_ORDER_PASS, 128, &run)) {
        }
    }
}

Test(order, cold_pages_come_before_warm_ones_before_hot_ones)
{
    World w;
    FerryRun run;
    unsigned last = 0, seen = 0;

    set_up(&w, 0);
    write_at_rates(&w, 40);
    find(&w, 0, 0, blocks[0]);
    find(&w, 2, 0, blocks[2]);
    for (unsigned i = 0; i < N_BLOCKS; i++) { /* as if they had been pending all along */
        ferry_pending_merge(w.pending, i, &w.found[i], NULL, 0, 0);
    }
    ferry_pending_begin_round(w.pending, FERRY_ORDER_COLD_FIRST, FALSE);
    while (next(&w, FERRY_ORDER_COLD_FIRST, 128, &run)) {
        for (uint64_t page = run.first; page < run.first + run.n; page++) {
            unsigned rank = run.block == 0 && page % 8 == 0   ? 2
                            : run.block == 0 && page % 8 == 4 ? 1
                                                              : 0;
            cr_assert_geq(rank, last, "page %lu of block %u comes too late", (unsigned long)page,
                          run.block);
            last = rank;
            seen |= 1u << rank;
        }
    }
    cr_expect_eq(seen, 7);
    cr_expect_eq(n_expected(&w), 0);
    tear_down(&w);
}

Test(order, what_was_not_exposed_teaches_nothing)
{
    World w;

    set_up(&w, 0);
    find(&w, 0, 0, 100);
    for (unsigned i = 0; i < N_BLOCKS; i++) {
        ferry_pending_merge(w.pending, i, &w.found[i], NULL, 0, 0);
    }
    ferry_pending_unexpose(w.pending);
    find(&w, 0, 0, 200);
    sync_log(&w, SECOND / 100);
    cr_expect_eq(ferry_heat_class(w.heat, 0, 50), 0, "pending and unprotected all the time");
    cr_expect_gt(ferry_heat_class(w.heat, 0, 150), 0, "written within 10 ms");
    tear_down(&w);
}
