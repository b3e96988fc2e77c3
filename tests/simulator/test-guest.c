#include "simulator/guest.h"
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

static void sync_anew(FerrySimGuest *g, FerryBitmap *found)
{
    ferry_bitmap_reset(found, 0, found->n_bits);
    ferry_sim_guest_sync(g, found);
}

/* All is clean and watched from now on. */
static void clean(FerrySimGuest *g, FerryBitmap *found)
{
    sync_anew(g, found);
    ferry_sim_guest_clear(g, 0, found->n_bits);
}

typedef struct {
    char what[24];
    uint64_t pages;
    double writes_per_second, seconds;
    unsigned sweep, scattered, looks;
} Row;

/* However often somebody looks in between, and whatever way the writes are drawn. */
ParameterizedTestParameters(guest, writes_as_many_pages_as_expected)
{
    static Row rows[] = {
        {"few",                  20000, 2000,    1, 0, 0, 1  },
        {"few, looked at often", 20000, 2000,    1, 0, 0, 100},
        {"many",                 20000, 40000,   1, 0, 0, 1  },
        {"many, looked at",      20000, 40000,   1, 0, 0, 37 },
        {"drawn by page",        20000, 30000,   1, 0, 1, 1  },
        {"scattered",            20000, 3000,    1, 0, 1, 20 },
        {"all",                  20000, 9000000, 1, 0, 0, 3  },
        {"a sweep",              20000, 5000,    1, 1, 0, 13 },
        {"a whole sweep",        20000, 50000,   1, 1, 0, 1  },
        {"an odd number",        777,   300,     1, 0, 0, 9  },
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Row *row, guest, writes_as_many_pages_as_expected)
{
    FerryWorkload w = {
        .n_groups = 3,
        .scattered = row->scattered ? 2 : 0,
        .groups = {{.pages = row->pages,
                    .writes_per_second = row->writes_per_second,
                    .sweep = row->sweep != 0},
                   {.pages = 1000, .writes_per_second = 100},
                   {.pages = 5001}}
    };
    g_autoptr(FerrySimGuest) g = ferry_sim_guest_new(&w, 5);
    FerryBitmap found;

    ferry_bitmap_init(&found, ferry_workload_pages(&w));
    sync_anew(g, &found);
    cr_expect_eq(ferry_bitmap_count(&found), found.n_bits, "all is dirty at first");
    clean(g, &found);
    ferry_bitmap_reset(&found, 0, found.n_bits);
    for (unsigned i = 1; i <= row->looks; i++) {
        ferry_sim_guest_run(g, row->seconds * 1e9 * i / row->looks);
        ferry_sim_guest_sync(g, &found);
    }
    double expected = ferry_workload_written(&w, row->seconds);
    double got = (double)ferry_bitmap_count(&found), off = got - expected;
    cr_expect(off * off <= 12 * expected, "%s: %g pages written, %g expected", row->what, got,
              expected);
    if (!row->scattered) {
        cr_expect_eq(ferry_bitmap_next_set(&found, row->pages + 1000), found.n_bits, "%s",
                     row->what);
    }
    ferry_bitmap_clear(&found);
}

Test(guest, a_page_is_reported_once_and_dirty_until_it_is_cleared)
{
    FerryWorkload w = {.n_groups = 1, .groups = {{.pages = 640, .writes_per_second = 100}}};
    g_autoptr(FerrySimGuest) g = ferry_sim_guest_new(&w, 1);
    FerryBitmap found, again;

    ferry_bitmap_init(&found, 640);
    ferry_bitmap_init(&again, 640);
    clean(g, &found);
    ferry_sim_guest_run(g, 1e9);
    sync_anew(g, &found);
    uint64_t written = ferry_bitmap_count(&found);
    cr_assert_gt(written, 40);
    ferry_sim_guest_sync(g, &again);
    cr_expect_eq(ferry_bitmap_count(&again), 0, "it was said");
    cr_expect_eq(ferry_sim_guest_dirty(g, 0, 640), written);
    ferry_sim_guest_clear(g, 0, 320);
    cr_expect_eq(ferry_sim_guest_dirty(g, 0, 320), 0);
    cr_expect_eq(ferry_sim_guest_dirty(g, 320, 320), ferry_bitmap_count_range(&found, 320, 320));
    ferry_bitmap_clear(&found);
    ferry_bitmap_clear(&again);
}

/* Between a sync and the clear a page may be written: nobody was told, so it stays dirty. */
Test(guest, a_clear_takes_only_what_was_reported)
{
    FerryWorkload w = {.n_groups = 1, .groups = {{.pages = 64, .writes_per_second = 1000}}};
    g_autoptr(FerrySimGuest) g = ferry_sim_guest_new(&w, 1);
    FerryBitmap found;

    ferry_bitmap_init(&found, 64);
    clean(g, &found);
    sync_anew(g, &found);
    cr_assert_eq(ferry_bitmap_count(&found), 0);
    ferry_sim_guest_run(g, 1e9);
    ferry_sim_guest_clear(g, 0, 64);
    cr_expect_gt(ferry_sim_guest_dirty(g, 0, 64), 60);
    ferry_bitmap_clear(&found);
}

Test(guest, hot_pages_lie_among_cold_ones_when_scattered)
{
    FerryWorkload w = {
        .n_groups = 2,
        .scattered = 2,
        .groups = {{.pages = 100, .writes_per_second = 100000}, {.pages = 9900}}
    };
    g_autoptr(FerrySimGuest) g = ferry_sim_guest_new(&w, 1);
    FerryBitmap found;

    ferry_bitmap_init(&found, 10000);
    clean(g, &found);
    ferry_sim_guest_run(g, 1e9);
    sync_anew(g, &found);
    cr_expect_eq(ferry_bitmap_count(&found), 100);
    uint64_t neighbours = 0;
    for (uint64_t i = 1; i < 10000; i++) {
        neighbours += ferry_bitmap_test(&found, i) && ferry_bitmap_test(&found, i - 1);
    }
    cr_expect_lt(neighbours, 20);
    ferry_bitmap_clear(&found);
}

Test(guest, a_zero_page_is_none_once_it_is_written)
{
    FerryWorkload w = {
        .n_groups = 2,
        .groups = {{.pages = 1000, .zero_permille = 500, .writes_per_second = 1e6},
                   {.pages = 1000, .zero_permille = 250, .wire_permille = 500}}
    };
    g_autoptr(FerrySimGuest) g = ferry_sim_guest_new(&w, 1);
    uint64_t zeros[2] = {0}, weight = 0;

    for (uint64_t i = 0; i < 2000; i++) {
        FerrySimContent content;
        ferry_sim_guest_content(g, i, &content);
        zeros[i / 1000] += content.plain == 0;
        weight = MAX(weight, i < 1000 ? 0 : content.plain);
    }
    cr_expect(zeros[0] > 430 && zeros[0] < 570 && zeros[1] > 190 && zeros[1] < 310);
    cr_expect_eq(weight, 2048);
    ferry_sim_guest_run(g, 1e9);
    cr_expect_eq(ferry_sim_guest_dirty(g, 0, 1000), 1000);
    for (uint64_t i = 0; i < 1000; i++) {
        FerrySimContent content;
        ferry_sim_guest_content(g, i, &content);
        cr_expect_eq(content.plain, 4096, "page %u", (unsigned)i);
    }
}
