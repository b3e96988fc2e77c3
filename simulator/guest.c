#include "simulator/guest.h"
#include "simulator/random.h"

#define MIXED 255u /* a word with pages of several groups */
/* Above so many writes to be expected in a word its pages are drawn one by one. */
#define DRAW_WRITES_MAX 48.0

struct FerrySimGuest {
    const FerryWorkload *workload;
    FerryRandom random;
    uint64_t n_pages, n_words;
    double now_ns;
    uint64_t group_first[FERRY_WORKLOAD_GROUPS];
    double start[FERRY_WORKLOAD_GROUPS]; /* where sweeps begin */
    uint8_t *group_of;                   /* by page */
    uint8_t *group_of_word;              /* or MIXED */
    float *word_rate;                    /* writes per ns that are not sweeps' */
    double *seen_ns;                     /* by word: up to when its writes are drawn */
    FerryBitmap dirty, reported, touched;
    gboolean zeros; /* it matters whether a page was ever written */
    uint64_t zero_seed;
};

static double page_rate(const FerrySimGuest *g, unsigned group)
{
    const FerryPageGroup *of = &g->workload->groups[group];

    return of->sweep ? 0 : of->writes_per_second / (double)of->pages / 1e9;
}

/* Where the @i-th page of the scattered groups lies: the factor is a prime above every number of
 * pages, so each has its own place. */
static uint64_t place(uint64_t i, uint64_t scattered)
{
    return i < scattered ? (uint64_t)((unsigned __int128)i * UINT64_C(4294967311) % scattered) : i;
}

static void place_groups(FerrySimGuest *g)
{
    const FerryWorkload *w = g->workload;
    uint64_t scattered = 0, at = 0;

    for (unsigned i = 0; i < w->scattered; i++) {
        scattered += w->groups[i].pages;
    }
    for (unsigned i = 0; i < w->n_groups; i++) {
        g->group_first[i] = at;
        g->start[i] = (double)ferry_random_below(&g->random, MAX(w->groups[i].pages, 1));
        g->zeros = g->zeros || w->groups[i].zero_permille;
        for (uint64_t end = at + w->groups[i].pages; at < end; at++) {
            g->group_of[place(at, scattered)] = (uint8_t)i;
        }
    }
    for (uint64_t page = 0; page < g->n_pages; page++) {
        uint64_t word = page / 64;
        g->word_rate[word] += (float)page_rate(g, g->group_of[page]);
        if (page % 64 == 0) {
            g->group_of_word[word] = g->group_of[page];
        } else if (g->group_of_word[word] != g->group_of[page]) {
            g->group_of_word[word] = MIXED;
        }
    }
}

FerrySimGuest *ferry_sim_guest_new(const FerryWorkload *workload, uint64_t seed)
{
    FerrySimGuest *g = g_new0(FerrySimGuest, 1);

    g_assert(workload->n_groups <= FERRY_WORKLOAD_GROUPS);
    g->workload = workload;
    g->random.state = ferry_random_hash(seed);
    g->zero_seed = ferry_random_hash(~seed);
    g->n_pages = ferry_workload_pages(workload);
    g->n_words = (g->n_pages + 63) / 64;
    g->group_of = g_new0(uint8_t, g->n_pages);
    g->group_of_word = g_new0(uint8_t, g->n_words);
    g->word_rate = g_new0(float, g->n_words);
    g->seen_ns = g_new0(double, g->n_words);
    ferry_bitmap_init(&g->dirty, g->n_pages);
    ferry_bitmap_init(&g->reported, g->n_pages);
    ferry_bitmap_init(&g->touched, g->n_pages);
    ferry_bitmap_set(&g->dirty, 0, g->n_pages);
    place_groups(g);
    return g;
}

void ferry_sim_guest_run(FerrySimGuest *g, double until_ns)
{
    g->now_ns = MAX(g->now_ns, until_ns);
}

static uint64_t all_of_word(const FerrySimGuest *g, uint64_t word)
{
    uint64_t n = MIN(g->n_pages - word * 64, 64);

    return n == 64 ? ~UINT64_C(0) : (UINT64_C(1) << n) - 1;
}

static uint64_t bits_between(uint64_t low, uint64_t high) /* high <= 64 */
{
    uint64_t below = high == 64 ? ~UINT64_C(0) : (UINT64_C(1) << high) - 1;

    return low >= high ? 0 : below & (~UINT64_C(0) << low);
}

/* Pages of @word that the sweep of @group passed from @from_ns to @to_ns. */
static uint64_t swept(const FerrySimGuest *g, unsigned group, uint64_t word, double from_ns,
                      double to_ns)
{
    const FerryPageGroup *of = &g->workload->groups[group];
    uint64_t first = g->group_first[group], low = MAX(first, word * 64);
    uint64_t high = MIN(first + of->pages, word * 64 + 64), mask = 0;
    uint64_t from = (uint64_t)(g->start[group] + from_ns * of->writes_per_second / 1e9);
    uint64_t n = (uint64_t)(g->start[group] + to_ns * of->writes_per_second / 1e9) - from;

    if (low >= high) {
        return 0; /* none of its pages are here */
    }
    from %= of->pages;
    for (unsigned lap = 0; lap < 2; lap++) { /* once round the end at most */
        uint64_t shift = lap * of->pages;
        uint64_t a = MAX(low - first + shift, from), b = MIN(high - first + shift, from + n);
        if (a < b) {
            mask |= bits_between(a - shift + first - word * 64, b - shift + first - word * 64);
        }
    }
    return n >= of->pages ? bits_between(low - word * 64, high - word * 64) : mask;
}

static uint64_t all_swept(const FerrySimGuest *g, uint64_t word, double from_ns, double to_ns)
{
    unsigned only = g->group_of_word[word];
    uint64_t mask = 0;

    if (only != MIXED) {
        return g->workload->groups[only].sweep ? swept(g, only, word, from_ns, to_ns) : 0;
    }
    for (unsigned i = 0; i < g->workload->n_groups; i++) {
        if (g->workload->groups[i].sweep) {
            mask |= swept(g, i, word, from_ns, to_ns);
        }
    }
    return mask;
}

/* The page of @word that a write goes to. */
static unsigned pick(FerrySimGuest *g, uint64_t word)
{
    uint64_t page = word * 64, last = MIN(page + 64, g->n_pages) - 1;

    if (g->group_of_word[word] != MIXED) {
        return (unsigned)ferry_random_below(&g->random, last - page + 1);
    }
    double at = ferry_random_unit(&g->random) * (double)g->word_rate[word];
    while (page < last && (at -= page_rate(g, g->group_of[page])) >= 0) {
        page++;
    }
    return (unsigned)(page % 64);
}

static uint64_t drawn(FerrySimGuest *g, uint64_t word, double ns)
{
    double mean = (double)g->word_rate[word] * ns;
    uint64_t mask = 0;

    if (mean <= DRAW_WRITES_MAX) {
        for (unsigned n = ferry_random_poisson(&g->random, mean); n > 0; n--) {
            mask |= UINT64_C(1) << pick(g, word);
        }
        return mask;
    }
    for (uint64_t page = word * 64; page < MIN(word * 64 + 64, g->n_pages); page++) {
        double clean = ferry_exp_minus(page_rate(g, g->group_of[page]) * ns);
        if (ferry_random_unit(&g->random) >= clean) {
            mask |= UINT64_C(1) << (page % 64);
        }
    }
    return mask;
}

static void catch_up(FerrySimGuest *g, uint64_t word)
{
    double from = g->seen_ns[word], ns = g->now_ns - from;
    uint64_t all = all_of_word(g, word), mask;

    if (ns <= 0) {
        return;
    }
    g->seen_ns[word] = g->now_ns;
    if (g->dirty.words[word] == all && (!g->zeros || g->touched.words[word] == all)) {
        return; /* more writes change nothing */
    }
    mask = all_swept(g, word, from, g->now_ns);
    if (g->word_rate[word] > 0) {
        mask |= drawn(g, word, ns);
    }
    g->dirty.words[word] |= mask;
    g->touched.words[word] |= mask;
}

static void catch_up_range(FerrySimGuest *g, uint64_t first, uint64_t n)
{
    for (uint64_t word = first / 64; n > 0 && word <= (first + n - 1) / 64; word++) {
        catch_up(g, word);
    }
}

void ferry_sim_guest_sync(FerrySimGuest *g, FerryBitmap *found)
{
    for (uint64_t word = 0; word < g->n_words; word++) {
        catch_up(g, word);
        g->reported.words[word] = g->dirty.words[word];
        found->words[word] |= g->dirty.words[word];
    }
}

void ferry_sim_guest_clear(FerrySimGuest *g, uint64_t first, uint64_t n)
{
    g_assert(first % 64 == 0);
    n = MIN(n, g->n_pages - MIN(first, g->n_pages));
    catch_up_range(g, first, n);
    for (uint64_t word = first / 64; word * 64 < first + n; word++) {
        g->dirty.words[word] &= ~g->reported.words[word];
    }
}

uint64_t ferry_sim_guest_dirty(FerrySimGuest *g, uint64_t first, uint64_t n)
{
    catch_up_range(g, first, n);
    return ferry_bitmap_count_range(&g->dirty, first, n);
}

uint64_t ferry_sim_guest_weight(const FerrySimGuest *g, uint64_t page)
{
    const FerryPageGroup *of = &g->workload->groups[g->group_of[page]];

    if (of->zero_permille > 0 && !ferry_bitmap_test(&g->touched, page) &&
        ferry_random_hash(g->zero_seed + page) % 1000 < of->zero_permille) {
        return 0;
    }
    return of->wire_permille ? (uint64_t)FERRY_WORKLOAD_PAGE * of->wire_permille / 1000
                             : FERRY_WORKLOAD_PAGE;
}

void ferry_sim_guest_free(FerrySimGuest *g)
{
    if (!g) {
        return;
    }
    ferry_bitmap_clear(&g->dirty);
    ferry_bitmap_clear(&g->reported);
    ferry_bitmap_clear(&g->touched);
    g_free(g->group_of);
    g_free(g->group_of_word);
    g_free(g->word_rate);
    g_free(g->seen_ns);
    g_free(g);
}
