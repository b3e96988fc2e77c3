/* Synthetic memoryless writers against what the heat makes of them. Seeded: the same each time. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <math.h>
#include <stdlib.h>
#include "engine/precopy/heat.h"

#define PAGES 65536u /* of the guest: 256 MiB */
#define MS UINT64_C(1000000)
#define SECOND UINT64_C(1000000000)
#define BEGIN (7 * SECOND) /* of watching: times need not begin at 0 */

typedef struct {
    FerryHeat *heat;
    unsigned n;
    double rate[PAGES];   /* writes per second */
    uint64_t next[PAGES]; /* the first write since it was exposed; 0: waits to be sent */
    uint64_t now_ns, random;
    unsigned cursor;
} World;

static double unit(World *w)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return ((double)(w->random >> 11) + 0.5) / 9007199254740992.0;
}

static void expose(World *w, unsigned page)
{
    double wait = w->rate[page] > 0 ? -log(unit(w)) / w->rate[page] * 1e9 : 1e18;

    w->next[page] = w->now_ns + (uint64_t)MIN(wait, 1e18) + 1;
}

static World *world_new(unsigned n, uint64_t seed)
{
    World *w = g_new0(World, 1);
    uint64_t pages = n;

    w->n = n;
    w->random = seed * 2654435761u + 1;
    w->now_ns = BEGIN;
    w->heat = ferry_heat_new(&pages, 1);
    ferry_heat_watch(w->heat, BEGIN);
    return w;
}

static void expose_all(World *w)
{
    for (unsigned i = 0; i < w->n; i++) {
        expose(w, i);
    }
}

static void world_free(World *w)
{
    ferry_heat_free(w->heat);
    g_free(w);
}

static void sync_at(World *w, uint64_t now_ns)
{
    for (unsigned first = 0; first < w->n; first += 64) {
        uint64_t mask = 0;
        for (unsigned i = first; i < MIN(first + 64, w->n); i++) {
            if (w->next[i] != 0 && w->next[i] <= now_ns) {
                mask |= UINT64_C(1) << (i - first);
                w->next[i] = 0;
            }
        }
        if (mask) {
            ferry_heat_written(w->heat, 0, first, mask, w->now_ns, now_ns);
        }
    }
    w->now_ns = now_ns;
}

/* Syncs every 10 to 50 ms, nothing is sent: each page is found once at most. */
static void watch_for(World *w, double seconds)
{
    uint64_t end = w->now_ns + (uint64_t)(seconds * 1e9);

    while (w->now_ns < end) {
        sync_at(w, MIN(w->now_ns + 10 * MS + (uint64_t)(unit(w) * 40 * (double)MS), end));
    }
}

/* What waits is sent again in turn, up to @per_sync pages between two syncs of 20 ms. */
static void send_for(World *w, double seconds, unsigned per_sync)
{
    uint64_t end = w->now_ns + (uint64_t)(seconds * 1e9);

    while (w->now_ns < end) {
        uint64_t before = w->now_ns;
        unsigned sent = 0;
        for (unsigned i = 0; i < w->n && sent < per_sync; i++, w->cursor = (w->cursor + 1) % w->n) {
            if (w->next[w->cursor] == 0) {
                w->now_ns = before + 20 * MS * ++sent / (per_sync + 1);
                ferry_heat_sent(w->heat, 0, w->cursor, 1, w->now_ns);
                expose(w, w->cursor);
            }
        }
        w->now_ns = before;
        sync_at(w, before + 20 * MS);
    }
}

static FerryCensus census_of(World *w)
{
    FerryCensus census;

    ferry_heat_census(w->heat, w->now_ns, &census);
    return census;
}

static int by_rate(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The coldest pages whose writes the link repairs are kept clean, no others. */
static double true_floor(const World *w, double link)
{
    double *rates = g_memdup2(w->rate, w->n * sizeof *w->rate), left = link;
    unsigned kept = 0;

    qsort(rates, w->n, sizeof *rates, by_rate);
    while (kept < w->n && rates[kept] <= left) {
        left -= rates[kept++];
    }
    g_free(rates);
    return w->n - kept;
}

typedef struct {
    char what[32];
    /* u of the cold part and hot writes per page and second; hot: how many, how far apart */
    double u, hot_rate;
    unsigned working_set, hot, apart;
    gboolean zipf;
    double tolerance, of_working_set;
} Load;

static void set_rates(World *w, const Load *l, double link)
{
    double sum = 0;

    for (unsigned i = 0; l->zipf && i < l->working_set; i++) {
        sum += pow(i + 1, -0.99);
    }
    for (unsigned i = 0; i < l->working_set; i++) {
        gboolean hot = l->hot && i % l->apart == 0 && i / l->apart < l->hot;
        w->rate[i] = l->zipf ? l->u * link * pow(i + 1, -0.99) / sum
                     : hot   ? l->hot_rate
                             : l->u * link / (l->working_set - l->hot);
    }
}

ParameterizedTestParameters(heat, knows_the_floor_within_a_pass)
{
    static Load rows[] = {
        {"uniform, u = 1.1",           1.1,  0,  16384, 0,    0,  FALSE, 0,    0.03},
        {"uniform, u = 1.25",          1.25, 0,  16384, 0,    0,  FALSE, 0.2,  0   },
        {"uniform, u = 1.5",           1.5,  0,  16384, 0,    0,  FALSE, 0.1,  0   },
        {"uniform, u = 2",             2,    0,  16384, 0,    0,  FALSE, 0.1,  0   },
        {"uniform, u = 4",             4,    0,  16384, 0,    0,  FALSE, 0.1,  0   },
        {"uniform, u = 10",            10,   0,  16384, 0,    0,  FALSE, 0.1,  0   },
        {"all memory, u = 1.1",        1.1,  0,  65536, 0,    0,  FALSE, 0,    0.03},
        {"all memory, u = 1.5",        1.5,  0,  65536, 0,    0,  FALSE, 0.1,  0   },
        {"all memory, u = 4",          4,    0,  65536, 0,    0,  FALSE, 0.1,  0   },
        {"hot in a row, cold u = 0.8", 0.8,  50, 65536, 1024, 1,  FALSE, 0.15, 0   },
        {"hot in a row, cold u = 1.5", 1.5,  50, 65536, 1024, 1,  FALSE, 0.15, 0   },
        {"hot scattered, u = 0.5",     0.5,  50, 65536, 1024, 64, FALSE, 0.15, 0   },
        {"hot scattered, u = 0.8",     0.8,  50, 65536, 1024, 64, FALSE, 0.15, 0   },
        {"zipf, u = 3",                3,    0,  16384, 0,    0,  TRUE,  0.2,  0.02},
        {"zipf, u = 12",               12,   0,  16384, 0,    0,  TRUE,  0.2,  0   },
        {"fits, u = 0.5",              0.5,  0,  16384, 0,    0,  FALSE, 0,    0.01},
    };
    return cr_make_param_array(Load, rows, G_N_ELEMENTS(rows));
}

/* The link sends 64 MiB/s, so a pass takes 4 s. */
ParameterizedTest(Load *l, heat, knows_the_floor_within_a_pass)
{
    const double link = 16384;
    World *w = world_new(PAGES, 11);

    set_rates(w, l, link);
    expose_all(w);
    double exact = true_floor(w, link);
    for (unsigned quarter = 2; quarter <= 4; quarter += 2) {
        watch_for(w, 2);
        FerryCensus census = census_of(w);
        double floor = ferry_forecast_floor_pages(&census, link, 1);
        double allowed = l->tolerance * exact + l->of_working_set * l->working_set;
        cr_expect(fabs(floor - exact) <= allowed, "%s, %u quarters of a pass: %.0f, not %.0f",
                  l->what, quarter, floor, exact);
        cr_expect_geq(census.known_permille, 700, "%s: %u", l->what, census.known_permille);
    }
    world_free(w);
}

/* As above, but the pages are sent again and found again, for three passes more. */
ParameterizedTestParameters(heat, knows_the_floor_later_on)
{
    static Load rows[] = {
        {"uniform, u = 1.5",       1.5,  0,  16384, 0,    0,  FALSE, 0.15, 0   },
        {"uniform, u = 4",         4,    0,  16384, 0,    0,  FALSE, 0.15, 0   },
        {"hot in a row, u = 1.25", 1.25, 50, 16384, 1024, 1,  FALSE, 0.2,  0   },
        {"hot scattered, u = 0.8", 0.8,  50, 16384, 256,  64, FALSE, 0.2,  0.01},
        {"zipf, u = 3",            3,    0,  16384, 0,    0,  TRUE,  0.2,  0.02},
    };
    return cr_make_param_array(Load, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Load *l, heat, knows_the_floor_later_on)
{
    const double link = 16384;
    World *w = world_new(16384, 5);

    set_rates(w, l, link);
    expose_all(w);
    watch_for(w, 1);
    for (unsigned i = 0; i < 3; i++) {
        send_for(w, 1, (unsigned)(link * 0.02));
        FerryCensus census = census_of(w);
        double exact = true_floor(w, link);
        double floor = ferry_forecast_floor_pages(&census, link, 1);
        cr_expect(fabs(floor - exact) <= l->tolerance * exact + l->of_working_set * l->working_set,
                  "%s, after %u s: %.0f, not %.0f", l->what, i + 2, floor, exact);
    }
    world_free(w);
}

Test(heat, knows_nothing_before_it_saw_something)
{
    World *w = world_new(4096, 1);
    FerryCensus census = census_of(w);

    cr_expect_eq(census.known_permille, 0);
    cr_expect_eq(census.never, 4096);
    for (unsigned i = 0; i < 4096; i++) {
        w->rate[i] = i < 4 ? 1 : 0;
    }
    expose_all(w);
    watch_for(w, 2);
    census = census_of(w);
    cr_expect_leq(census.known_permille, 300, "%u from four writes", census.known_permille);
    world_free(w);
}

Test(heat, counts_every_page_once)
{
    World *w = world_new(16384, 3);
    uint64_t pages, waiting = 0;

    for (unsigned i = 0; i < w->n; i++) {
        w->rate[i] = i < 1000 ? 20 : 0.5;
    }
    expose_all(w);
    watch_for(w, 0.5);
    FerryCensus census = census_of(w);
    pages = census.never;
    for (unsigned i = 0; i < FERRY_HEAT_CLASSES; i++) {
        cr_expect_leq((double)(census.waiting[i] + census.unwritten[i]),
                      1.05 * (double)census.pages[i] + 10);
        pages += census.pages[i];
        waiting += census.waiting[i];
    }
    unsigned found = 0;
    for (unsigned i = 0; i < w->n; i++) {
        found += w->next[i] == 0;
    }
    cr_expect(llabs((long long)pages - 16384) < FERRY_HEAT_CLASSES);
    cr_expect(llabs((long long)waiting - found) < FERRY_HEAT_CLASSES);
    world_free(w);
}

Test(heat, pages_written_alike_are_of_a_class)
{
    World *w = world_new(4096, 9);
    unsigned near = 0;

    for (unsigned i = 0; i < w->n; i++) {
        w->rate[i] = 2;
    }
    expose_all(w);
    for (unsigned i = 0; i < 8; i++) {
        watch_for(w, 0.25);
        census_of(w);
    }
    unsigned found = 0; /* twice a second is class 14 */
    for (unsigned i = 0; i < w->n; i++) {
        unsigned class = ferry_heat_class(w->heat, 0, i);
        found += w->next[i] == 0;
        near += w->next[i] == 0 && class >= 12 && class <= 16;
    }
    cr_expect_geq(near, found * 95 / 100, "%u of %u", near, found);
    world_free(w);
}

Test(heat, hot_pages_in_cold_stripes_stand_out)
{
    World *w = world_new(16384, 4);
    unsigned colder = 0, n = 0;

    for (unsigned i = 0; i < w->n; i++) {
        w->rate[i] = i % 64 == 17 ? 40 : 0.3;
    }
    expose_all(w);
    watch_for(w, 0.25);
    for (unsigned i = 0; i < 8; i++) {
        send_for(w, 0.25, 400);
        census_of(w);
    }
    for (unsigned stripe = 0; stripe < w->n; stripe += 64) {
        unsigned hot = ferry_heat_class(w->heat, 0, stripe + 17);
        for (unsigned i = 0; i < 64; i++, n++) {
            colder += ferry_heat_class(w->heat, 0, stripe + i) + 4 <= hot;
        }
    }
    cr_expect_geq(colder, n * 95 / 100, "%u of %u", colder, n);
    world_free(w);
}

static double load_of(const FerryCensus *census)
{
    double load = 0;

    for (unsigned i = 0; i < FERRY_HEAT_CLASSES; i++) {
        load += (double)census->pages[i] * census->writes_per_second[i];
    }
    return load;
}

Test(heat, pages_that_are_left_alone_cool_down)
{
    World *w = world_new(4096, 8);

    for (unsigned i = 0; i < w->n; i++) {
        w->rate[i] = i < 512 ? 20 : 0;
    }
    expose_all(w);
    watch_for(w, 0.2);
    send_for(w, 2, 400);
    FerryCensus hot = census_of(w);
    cr_expect_geq(load_of(&hot), 0.7 * 512 * 20, "%.0f", load_of(&hot));
    memset(w->rate, 0, sizeof w->rate);
    for (unsigned i = 0; i < w->n; i++) {
        if (w->next[i]) {
            expose(w, i);
        }
    }
    send_for(w, 5, 400);
    FerryCensus cool = census_of(w);
    cr_expect_leq(load_of(&cool), 2 * 512 / 5.0, "%.0f", load_of(&cool));
    world_free(w);
}

Test(heat, follows_a_guest_that_does_something_else)
{
    const double link = 4096;
    World *w = world_new(32768, 6);

    for (unsigned i = 0; i < w->n; i++) {
        w->rate[i] = i < 4096 ? 2 : 0.001;
    }
    expose_all(w);
    watch_for(w, 1);
    for (unsigned i = 0; i < 80; i++) {
        send_for(w, 0.25, 80);
        census_of(w);
    }
    for (unsigned i = 0; i < w->n; i++) {
        w->rate[i] = i >= 16384 && i < 24576 ? 1.5 : 0.001;
        if (w->next[i]) {
            expose(w, i);
        }
    }
    for (unsigned i = 0; i < 20; i++) {
        send_for(w, 0.25, 80);
        census_of(w);
    }
    FerryCensus census = census_of(w);
    double exact = true_floor(w, link), floor = ferry_forecast_floor_pages(&census, link, 1);
    cr_expect(fabs(floor - exact) <= 0.25 * exact, "%.0f, not %.0f", floor, exact);
    world_free(w);
}

static void write_page(World *w, uint64_t before_ns, uint64_t now_ns)
{
    ferry_heat_written(w->heat, 0, 0, 1, before_ns, now_ns);
}

/* The one page that is written at all: how often, by the census. */
static double rate_of_the_page(World *w, uint64_t now_ns)
{
    FerryCensus census;

    ferry_heat_census(w->heat, now_ns, &census);
    return load_of(&census);
}

Test(heat, times_of_hours_are_right)
{
    World *w = world_new(64, 1);
    uint64_t now = BEGIN;

    for (unsigned i = 0; i < 12; i++) { /* every 10 min, looked for now and then */
        for (unsigned s = 0; s < 100; s++, now += 6 * SECOND) {
            rate_of_the_page(w, now);
        }
        write_page(w, now - 6 * SECOND, now);
        ferry_heat_sent(w->heat, 0, 0, 1, now);
    }
    double rate = rate_of_the_page(w, now + SECOND);
    cr_expect(rate > 0.7 / 600 && rate < 1.4 / 600, "every %.0f s", 1 / rate);
    world_free(w);
}

Test(heat, hours_without_a_word_are_right)
{
    World *w = world_new(64, 1);
    uint64_t now = BEGIN;

    for (unsigned i = 0; i < 8; i++) { /* and nobody looked in between */
        now += 3600 * SECOND;
        write_page(w, now - SECOND, now);
        ferry_heat_sent(w->heat, 0, 0, 1, now);
    }
    double rate = rate_of_the_page(w, now + SECOND);
    cr_expect(rate > 0.7 / 3600 && rate < 1.4 / 3600, "every %.0f s", 1 / rate);
    world_free(w);
}

Test(heat, a_page_is_exposed_from_when_it_is_sent)
{
    World *late = world_new(64, 1), *early = world_new(64, 1);
    uint64_t now = BEGIN + 10 * MS;

    write_page(late, BEGIN, now);
    write_page(early, BEGIN, now);
    for (unsigned i = 0; i < 10; i++, now += 100 * MS) { /* found dirty at each sync */
        ferry_heat_sent(early->heat, 0, 0, 1, now);
        write_page(early, now, now + 100 * MS);
        ferry_heat_sent(late->heat, 0, 0, 1, now + 90 * MS);
        write_page(late, now, now + 100 * MS);
    }
    cr_expect_geq(rate_of_the_page(late, now), 4 * rate_of_the_page(early, now));
    cr_expect_gt(ferry_heat_class(late->heat, 0, 0), ferry_heat_class(early->heat, 0, 0));
    world_free(late);
    world_free(early);
}

Test(heat, what_waits_teaches_nothing)
{
    World *w = world_new(64, 1);

    write_page(w, BEGIN, BEGIN + 10 * MS);
    double rate = rate_of_the_page(w, BEGIN + SECOND);
    for (unsigned i = 1; i < 90; i++) {
        write_page(w, BEGIN + i * 10 * MS, BEGIN + (i + 1) * 10 * MS);
    }
    cr_expect_float_eq(rate_of_the_page(w, BEGIN + SECOND), rate, 1e-9);
    world_free(w);
}

Test(heat, several_blocks_and_odd_sizes)
{
    const uint64_t pages[] = {1, 4097, 63};
    FerryHeat *heat = ferry_heat_new(pages, 3);
    FerryCensus census;

    ferry_heat_watch(heat, 0);
    ferry_heat_written(heat, 0, 0, 1, 0, 10 * MS);
    ferry_heat_written(heat, 1, 4096, 1, 0, 10 * MS);
    ferry_heat_written(heat, 2, 0, UINT64_MAX >> 1, 0, 10 * MS);
    ferry_heat_sent(heat, 1, 0, 4097, 12 * MS);
    ferry_heat_sent(heat, 2, 0, 63, 12 * MS);
    ferry_heat_census(heat, 20 * MS, &census);
    cr_expect_gt(ferry_heat_class(heat, 2, 62), 0);
    cr_expect_eq(ferry_heat_class(heat, 1, 0), 0);
    uint64_t total = census.never;
    for (unsigned i = 0; i < FERRY_HEAT_CLASSES; i++) {
        total += census.pages[i];
    }
    cr_expect(llabs((long long)total - 4161) < 3);
    ferry_heat_free(heat);
    ferry_heat_free(NULL);
}
