/* A guest that writes by a model. Groups whose pages are written seldom write one by one, as time
 * passes; sweeps go on; the pages of busy groups are drawn when somebody looks: a word of 64 is
 * brought up to the present when it is cleared, read or synced. */
#include "simulator/guest-private.h"
#include "simulator/random.h"

#define MIXED 255u /* a word with pages of several groups */
/* Above so many writes of one page per ns looking is cheaper than writing. */
#define BUSY 1e-9
/* Above so many writes to be expected in a word, or with so few pages that they matter to, pages
 * are drawn one by one. */
#define DRAW_WRITES_MAX 48.0
#define FEW 4
#define POISSON_MAX 400.0

typedef struct {
    FerrySimGuest base;
    const FerryWorkload *workload;
    FerryRandom random;
    double written_ns; /* up to when quiet groups and sweeps have written */
    uint64_t scattered;
    uint64_t group_first[FERRY_WORKLOAD_GROUPS];
    double start[FERRY_WORKLOAD_GROUPS];     /* where sweeps begin */
    double offset_ns[FERRY_WORKLOAD_GROUPS]; /* of rhythms */
    double rate[FERRY_WORKLOAD_GROUPS];      /* writes of a page per ns; busy groups only */
    unsigned n_quiet, quiet[FERRY_WORKLOAD_GROUPS];
    uint8_t *group_of;      /* by page */
    uint8_t *group_of_word; /* or MIXED */
    double *seen_ns;        /* by word: up to when its busy pages are drawn */
    FerryBitmap busy, busy_words;
    FerryBitmap touched;
    gboolean zeros; /* it matters whether a page was ever written */
    uint64_t zero_seed;
} Model;

static void write_pages(Model *m, uint64_t word, uint64_t mask)
{
    ferry_sim_guest_write(&m->base, word, mask);
    if (m->zeros) {
        m->touched.words[word] |= mask;
    }
}

/* Where the @i-th page of the scattered groups lies: the factor is a prime above every number of
 * pages, so each has its own place. */
static uint64_t place(const Model *m, uint64_t i)
{
    return i < m->scattered ? (uint64_t)((unsigned __int128)i * UINT64_C(4294967311) % m->scattered)
                            : i;
}

/* A steady group writes in so many ns what this one writes from @from_ns to @to_ns. */
static double time_of(const Model *m, unsigned group, double from_ns, double to_ns)
{
    const FerryRhythm *r = ferry_workload_rhythm(m->workload, group);
    double offset = m->offset_ns[group];

    return r ? ferry_rhythm_time(r, to_ns + offset) - ferry_rhythm_time(r, from_ns + offset)
             : to_ns - from_ns;
}

static void sweep(Model *m, unsigned group)
{
    const FerryPageGroup *of = &m->workload->groups[group];
    double per_ns = of->writes_per_second / 1e9, since = of->once ? 0 : m->start[group];
    uint64_t from = (uint64_t)(since + time_of(m, group, 0, m->written_ns) * per_ns);
    uint64_t to = (uint64_t)(since + time_of(m, group, 0, m->base.now_ns) * per_ns);

    if (of->once) {
        from = MIN(from, of->pages);
        to = MIN(to, of->pages);
    }
    for (uint64_t n = MIN(to - from, of->pages); n > 0;) {
        uint64_t at = from % of->pages, run = MIN(n, of->pages - at);
        for (uint64_t page = m->group_first[group] + at, end = page + run; page < end;) {
            uint64_t word = page / 64, last = MIN(end, word * 64 + 64);
            unsigned bits = (unsigned)(last - page);
            uint64_t mask = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;
            write_pages(m, word, mask << (page % 64));
            page = last;
        }
        from += run;
        n -= run;
    }
}

static void write_one(Model *m, const double *means, double total)
{
    double at = ferry_random_unit(&m->random) * total;
    unsigned i = 0;

    while (i + 1 < m->n_quiet && (at -= means[i]) >= 0) {
        i++;
    }
    unsigned group = m->quiet[i];
    uint64_t nth = ferry_random_below(&m->random, m->workload->groups[group].pages);
    uint64_t page = place(m, m->group_first[group] + nth);
    write_pages(m, page / 64, UINT64_C(1) << (page % 64));
}

static void advance(FerrySimGuest *g)
{
    Model *m = (Model *)g;
    double means[FERRY_WORKLOAD_GROUPS], total = 0;

    if (g->now_ns <= m->written_ns) {
        return;
    }
    for (unsigned i = 0; i < m->workload->n_groups; i++) {
        if (m->workload->groups[i].sweep && m->workload->groups[i].pages > 0) {
            sweep(m, i);
        }
    }
    for (unsigned i = 0; i < m->n_quiet; i++) {
        double per_ns = m->workload->groups[m->quiet[i]].writes_per_second / 1e9;
        means[i] = per_ns * time_of(m, m->quiet[i], m->written_ns, g->now_ns);
        total += means[i];
    }
    for (double left = total; left > 0; left -= POISSON_MAX) {
        unsigned n = ferry_random_poisson(&m->random, MIN(left, POISSON_MAX));
        for (; n > 0; n--) {
            write_one(m, means, total);
        }
    }
    m->written_ns = g->now_ns;
}

/* The words's pages @left are of one group and written @mean times each. */
static uint64_t drawn_of_group(Model *m, uint64_t word, uint64_t left, double mean)
{
    unsigned n = (unsigned)MIN(m->base.n_pages - word * 64, 64);
    uint64_t mask = 0;

    if (mean * n <= DRAW_WRITES_MAX && __builtin_popcountll(left) > FEW) {
        for (unsigned i = ferry_random_poisson(&m->random, mean * n); i > 0; i--) {
            mask |= UINT64_C(1) << ferry_random_below(&m->random, n);
        }
        return mask;
    }
    double clean = ferry_exp_minus(mean);
    for (; left != 0; left &= left - 1) {
        mask |= ferry_random_unit(&m->random) >= clean ? left & -left : 0;
    }
    return mask;
}

static uint64_t drawn(Model *m, uint64_t word, uint64_t left, double from_ns)
{
    unsigned group = m->group_of_word[word];
    double now_ns = m->base.now_ns;
    uint64_t mask = 0;

    if (group != MIXED) {
        double mean = m->rate[group] * time_of(m, group, from_ns, now_ns);
        return drawn_of_group(m, word, left, mean);
    }
    for (; left != 0; left &= left - 1) {
        group = m->group_of[word * 64 + (unsigned)__builtin_ctzll(left)];
        double mean = m->rate[group] * time_of(m, group, from_ns, now_ns);
        mask |= ferry_random_unit(&m->random) >= ferry_exp_minus(mean) ? left & -left : 0;
    }
    return mask;
}

static void catch_up_word(Model *m, uint64_t word)
{
    double from = m->seen_ns[word];
    uint64_t known = m->base.dirty.words[word];

    if (m->base.now_ns <= from) {
        return;
    }
    m->seen_ns[word] = m->base.now_ns;
    /* To these more writes change something. */
    uint64_t left = m->busy.words[word] & ~(m->zeros ? known & m->touched.words[word] : known);
    uint64_t mask = left ? drawn(m, word, left, from) : 0;
    if (mask != 0) {
        write_pages(m, word, mask);
    }
}

static void catch_up(FerrySimGuest *g, uint64_t first_word, uint64_t end_word)
{
    Model *m = (Model *)g;

    for (uint64_t i = first_word / 64; i * 64 < end_word; i++) {
        for (uint64_t left = m->busy_words.words[i]; left != 0; left &= left - 1) {
            uint64_t word = i * 64 + (unsigned)__builtin_ctzll(left);
            if (word >= first_word && word < end_word) {
                catch_up_word(m, word);
            }
        }
    }
}

static void content(const FerrySimGuest *g, uint64_t page, FerrySimContent *out)
{
    const Model *m = (const Model *)g;
    const FerryPageGroup *of = &m->workload->groups[m->group_of[page]];
    uint32_t all = FERRY_WORKLOAD_PAGE;

    if (of->zero_permille > 0 && !ferry_bitmap_test(&m->touched, page) &&
        ferry_random_hash(m->zero_seed + page) % 1000 < of->zero_permille) {
        *out = (FerrySimContent){0};
        return;
    }
    out->plain = of->wire_permille ? MAX(all * of->wire_permille / 1000, 1) : all;
    out->packed = of->packed_permille ? MAX(all * of->packed_permille / 1000, 1) : 0;
}

static void free_model(FerrySimGuest *g)
{
    Model *m = (Model *)g;

    ferry_sim_guest_clear_members(g);
    ferry_bitmap_clear(&m->busy);
    ferry_bitmap_clear(&m->busy_words);
    ferry_bitmap_clear(&m->touched);
    g_free(m->group_of);
    g_free(m->group_of_word);
    g_free(m->seen_ns);
    g_free(m);
}

static const FerrySimGuestOps ops = {
    .advance = advance, .catch_up = catch_up, .content = content, .free = free_model};

/* Whether it is drawn by word; if it is not and writes at all, it is a sweep or quiet. */
static gboolean set_up_group(Model *m, unsigned i)
{
    const FerryPageGroup *of = &m->workload->groups[i];
    const FerryRhythm *r = ferry_workload_rhythm(m->workload, i);
    double rate = of->pages ? of->writes_per_second / (double)of->pages / 1e9 : 0;

    g_assert(!of->sweep || i >= m->workload->scattered);
    m->start[i] = (double)ferry_random_below(&m->random, MAX(of->pages, 1));
    if (r) { /* those with one rhythm keep time with each other */
        FerryRandom begin = {.state = ferry_random_hash(m->zero_seed + of->rhythm)};
        m->offset_ns[i] = of->once ? 0 : (double)ferry_random_below(&begin, ferry_rhythm_ns(r));
    }
    m->zeros = m->zeros || of->zero_permille;
    if (of->sweep || rate <= 0) {
        return FALSE;
    }
    if (rate < BUSY) {
        m->quiet[m->n_quiet++] = i;
        return FALSE;
    }
    m->rate[i] = rate;
    return TRUE;
}

static void place_groups(Model *m)
{
    const FerryWorkload *w = m->workload;
    uint64_t at = 0;

    for (unsigned i = 0; i < w->n_groups; i++) {
        gboolean busy = set_up_group(m, i);
        m->group_first[i] = at;
        for (uint64_t end = at + w->groups[i].pages; at < end; at++) {
            uint64_t page = place(m, at);
            m->group_of[page] = (uint8_t)i;
            if (busy) {
                m->busy.words[page / 64] |= UINT64_C(1) << (page % 64);
            }
        }
    }
    for (uint64_t page = 0; page < m->base.n_pages; page++) {
        uint64_t word = page / 64;
        if (page % 64 == 0) {
            m->group_of_word[word] = m->group_of[page];
        } else if (m->group_of_word[word] != m->group_of[page]) {
            m->group_of_word[word] = MIXED;
        }
    }
    for (uint64_t word = 0; word < m->base.n_words; word++) {
        if (m->busy.words[word] != 0) {
            m->busy_words.words[word / 64] |= UINT64_C(1) << (word % 64);
        }
    }
}

FerrySimGuest *ferry_sim_guest_new(const FerryWorkload *workload, uint64_t seed)
{
    Model *m = g_new0(Model, 1);

    g_assert(workload->n_groups <= FERRY_WORKLOAD_GROUPS);
    ferry_sim_guest_init(&m->base, &ops, ferry_workload_pages(workload));
    m->workload = workload;
    m->random.state = ferry_random_hash(seed);
    m->zero_seed = ferry_random_hash(~seed);
    for (unsigned i = 0; i < workload->scattered; i++) {
        m->scattered += workload->groups[i].pages;
    }
    m->group_of = g_new0(uint8_t, m->base.n_pages);
    m->group_of_word = g_new0(uint8_t, m->base.n_words);
    m->seen_ns = g_new0(double, m->base.n_words);
    ferry_bitmap_init(&m->busy, m->base.n_pages);
    ferry_bitmap_init(&m->busy_words, m->base.n_words);
    ferry_bitmap_init(&m->touched, m->base.n_pages);
    place_groups(m);
    return &m->base;
}
