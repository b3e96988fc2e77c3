#include "engine/precopy/heat-private.h"
#include <string.h>
#include "engine/precopy/exponential.h"

/* When a page's exposure began is kept in ticks of 2^21 ns (2.1 ms), modulo 8190 (17 s). Well
 * before they come round again all exposures are added up and begin anew. */
#define TICK_SHIFT 21
#define TICKS 8190u
#define FOLD_NS UINT64_C(10000000000)
/* Seconds of exposure are kept in tenths of octaves from 2^-10 s on, up to 12 hours. */
#define CODES_PER_OCTAVE 10
#define LEAST_OCTAVE (-10)
/* A clean page that is so much older than several writes foretold was another one when it was
 * written: chance does that 4 times in 1000 and less. */
#define LATE 16.0
#define LATE_HITS 3u
#define DOUBT 0.01 /* of the mixture */

static uint64_t n_chunks(const FerryHeat *h, unsigned block)
{
    return MAX((h->block_pages[block] + CHUNK_PAGES - 1) / CHUNK_PAGES, 1);
}

static double log2_of(double x) { return ferry_log(x) * 1.44269504088896341; }

/* The code below @seconds, and how far they are on the way to the next one: 0 to 1. */
static unsigned code_below(const FerryHeat *h, double seconds, double *out_part)
{
    uint64_t bits;
    memcpy(&bits, &seconds, sizeof bits);
    int octave = (int)(bits >> 52) - 1023;
    double m = 1 + (double)(bits << 12 >> 12) / (double)(UINT64_C(1) << 52);
    /* log2 of 1..2 to within a hundredth: right, or one off */
    double guess = CODES_PER_OCTAVE * (octave - LEAST_OCTAVE + (2 - m * (1.0 / 3)) * m - 5.0 / 3);
    unsigned code = (unsigned)CLAMP(guess, 0, CODES - 2);

    code -= code > 0 && h->seconds[code] > seconds;
    code += code < CODES - 2 && h->seconds[code + 1] <= seconds;
    *out_part = (seconds - h->seconds[code]) * h->per_width[code];
    return code;
}

static gboolean rounds_up(double part, uint64_t dither)
{
    dither *= UINT64_C(0x9e3779b97f4a7c15);
    dither = (dither ^ (dither >> 32)) * UINT64_C(0xd6e8feb86659fd93);
    return part > (double)(dither >> 40) / (double)(1u << 24);
}

unsigned ferry_heat_encode(const FerryHeat *h, double seconds, uint64_t dither)
{
    double part;
    unsigned code = code_below(h, seconds, &part);

    return code + rounds_up(part, dither);
}

/* Above the coldest; less than none is possible. */
static double octaves_of(double rate)
{
    return log2_of(MAX(rate, 1e-12) * ((double)FERRY_HEAT_COLDEST_NS * 1e-9));
}

static unsigned class_at(double octaves)
{
    return octaves > 0 ? MIN((unsigned)(2 * octaves), FERRY_HEAT_CLASSES - 1) : 0;
}

unsigned ferry_heat_class_of(double rate) { return class_at(octaves_of(rate)); }

/* Before the first census any rate is as likely as any other, by order of magnitude. */
static FerryMixture unknown(void)
{
    FerryMixture m = {.n = FERRY_MIXTURE_MAX};
    double rate = 1.0 / 64;

    for (unsigned k = 1; k < m.n; k++, rate *= 4) {
        m.rate[k] = rate;
        m.share[k] = 1.0 / (FERRY_MIXTURE_MAX - 1);
    }
    return m;
}

/* What @m says of pages that are written at all counts as @weight of one. */
static void believe(FerryHeat *h, const FerryMixture *m, double weight)
{
    double octaves[FERRY_MIXTURE_MAX];

    weight /= MAX(1 - m->share[0], 1e-9);
    for (unsigned k = 1; k < m->n; k++) {
        octaves[k] = octaves_of(m->rate[k]);
    }
    for (unsigned code = 0; code < CODES; code++) {
        for (unsigned k = 1; k < m->n; k++) {
            double part = weight * m->share[k] * ferry_exp(-m->rate[k] * h->seconds[code]);
            for (unsigned hits = 0; hits <= HITS_MAX; hits++, part *= m->rate[k]) {
                h->likely[hits][code] += part;
                h->rate[hits][code] += part * m->rate[k];
                h->octaves[hits][code] += part * octaves[k];
            }
        }
    }
}

/* Never quite: what was not there yet may come. */
void ferry_heat_learn_groups(FerryHeat *h, const FerryMixture *m)
{
    FerryMixture any = unknown();

    memset(h->likely, 0, sizeof h->likely);
    memset(h->rate, 0, sizeof h->rate);
    memset(h->octaves, 0, sizeof h->octaves);
    believe(h, m, 1 - DOUBT);
    believe(h, &any, DOUBT);
}

FerryHeat *ferry_heat_new(const uint64_t *block_pages, unsigned n_blocks)
{
    FerryHeat *h = g_new0(FerryHeat, 1);
    FerryMixture prior = unknown();

    h->n_blocks = n_blocks;
    h->block_pages = g_memdup2(block_pages, n_blocks * sizeof *block_pages);
    h->pages = g_new0(Page *, n_blocks);
    h->touched = g_new0(uint8_t *, n_blocks);
    for (unsigned i = 0; i < n_blocks; i++) {
        h->pages[i] = g_new0(Page, block_pages[i]);
        h->touched[i] = g_new0(uint8_t, n_chunks(h, i));
        h->total_pages += block_pages[i];
        h->fold.total += n_chunks(h, i);
    }
    for (unsigned code = 0; code < CODES; code++) {
        double octaves = LEAST_OCTAVE + (double)code / CODES_PER_OCTAVE;
        h->seconds[code] = ferry_exp(octaves * 0.69314718055994531);
    }
    for (unsigned code = 0; code + 1 < CODES; code++) {
        h->per_width[code] = 1 / (h->seconds[code + 1] - h->seconds[code]);
    }
    ferry_heat_learn_groups(h, &prior);
    return h;
}

static unsigned tick_of(uint64_t now_ns)
{
    return FIRST_TICK + (unsigned)((now_ns >> TICK_SHIFT) % TICKS);
}

/* How long a touched page that does not wait is exposed at @now_ns: from the middle of its tick. */
static double age_of(Page page, uint64_t now_ns)
{
    uint64_t now = now_ns >> TICK_SHIFT;
    uint64_t ticks = (now % TICKS + TICKS - (page.since - FIRST_TICK)) % TICKS;
    uint64_t begin_ns = ((now - MIN(ticks, now)) << TICK_SHIFT) + (UINT64_C(1) << TICK_SHIFT) / 2;

    return ferry_heat_seconds(begin_ns, now_ns);
}

static gboolean is_late(unsigned hits, double seconds, double age)
{
    return hits >= LATE_HITS && age * hits > LATE * seconds;
}

static Evidence evidence(const FerryHeat *h, Page page, double age)
{
    double seconds = h->seconds[page.exposure];

    if (is_late(page.hits, seconds, age)) {
        return (Evidence){1, age};
    }
    /* Looked back upon from some moment, the hit it begins with counts as the others do. */
    return (Evidence){page.hits + page.forgot, seconds + age};
}

Evidence ferry_heat_evidence(const FerryHeat *h, Page page, uint64_t now_ns)
{
    if (page.since == UNTOUCHED) {
        return (Evidence){0, ferry_heat_seconds(h->watched_ns, now_ns)};
    }
    return page.since == WAITING ? (Evidence){page.hits, h->seconds[page.exposure]}
                                 : evidence(h, page, age_of(page, now_ns));
}

/* Most pages of a chunk are exposed since the same tick, that of the time before. */
typedef struct {
    unsigned since;
    double age;
    uint8_t known[CODES], code[CODES]; /* by exposure so far */
    double part[CODES];
} Folded;

static void fold_chunk(const FerryHeat *h, Page *pages, uint64_t first, uint64_t n, uint64_t now_ns)
{
    Folded f = {.since = UNTOUCHED};

    for (uint64_t i = 0; i < n; i++) {
        Page *page = &pages[i];
        unsigned e = page->exposure;
        uint64_t dither = (first + i) ^ now_ns;
        if (page->since < FIRST_TICK) {
            continue;
        }
        if (page->since != f.since) {
            memset(f.known, 0, sizeof f.known);
            f.since = page->since;
            f.age = age_of(*page, h->last_ns) + ferry_heat_seconds(h->last_ns, now_ns);
        }
        page->since = tick_of(now_ns) & 0x1fff;
        if (is_late(page->hits, h->seconds[e], f.age)) {
            page->hits = 1;
            page->forgot = 0;
            page->exposure = ferry_heat_encode(h, f.age, dither) & (CODES - 1);
            continue;
        }
        if (!f.known[e]) {
            f.known[e] = 1;
            f.code[e] = (uint8_t)code_below(h, h->seconds[e] + f.age, &f.part[e]);
        }
        page->exposure = (f.code[e] + (unsigned)rounds_up(f.part[e], dither)) & (CODES - 1);
    }
}

static void forget_page(const FerryHeat *h, Page *page, uint64_t dither, uint64_t now_ns)
{
    page->forgot = 0;
    if (page->since >= FIRST_TICK) {
        page->hits = 0;
        page->exposure = 0;
        page->since = tick_of(now_ns) & 0x1fff;
    } else if (page->since == WAITING) {
        /* One that seemed cold may well have been found because of the change. */
        double interval = h->seconds[page->exposure] / MAX(page->hits, 1);
        gboolean known = page->hits > 0 && interval < ferry_heat_seconds(now_ns, h->last_ns);
        page->hits = known;
        page->exposure = known ? ferry_heat_encode(h, interval, dither) & (CODES - 1) : 0;
    }
}

static void forget_chunk(const FerryHeat *h, Page *pages, uint64_t first, uint64_t n,
                         uint64_t now_ns)
{
    for (uint64_t i = 0; i < n; i++) {
        forget_page(h, &pages[i], (first + i) ^ now_ns, now_ns);
    }
}

/* The next chunk, round and round. */
static void fold_next(FerryHeat *h, uint64_t now_ns,
                      void (*change)(const FerryHeat *h, Page *pages, uint64_t first, uint64_t n,
                                     uint64_t now_ns))
{
    FerryFold *f = &h->fold;
    uint64_t first = f->chunk * CHUNK_PAGES;

    if (h->touched[f->block][f->chunk]) {
        change(h, &h->pages[f->block][first], first,
               MIN(CHUNK_PAGES, h->block_pages[f->block] - first), now_ns);
    }
    if (++f->chunk == n_chunks(h, f->block)) {
        f->chunk = 0;
        f->block = f->block + 1 < h->n_blocks ? f->block + 1 : 0;
    }
    if (++f->done >= f->total) {
        f->done = 0;
        f->begin_ns = now_ns;
    }
}

/* All exposures are added up before ticks come round, a little each time; all at once if nobody
 * came for long, by what they were at the moment before. */
void ferry_heat_advance(FerryHeat *h, uint64_t now_ns)
{
    FerryFold *f = &h->fold;

    if (now_ns <= h->last_ns) {
        return;
    }
    uint64_t due = f->total;
    if (now_ns - h->last_ns > FOLD_NS / 2) {
        f->done = 0;
    } else if (now_ns - f->begin_ns < FOLD_NS) {
        due = (now_ns - f->begin_ns) / (FOLD_NS / f->total + 1);
    }
    for (uint64_t i = f->done; i < due; i++) {
        fold_next(h, now_ns, fold_chunk);
    }
    h->last_ns = now_ns;
}

void ferry_heat_forget(FerryHeat *h, uint64_t since_ns)
{
    for (uint64_t i = 0; i < h->fold.total; i++) {
        fold_next(h, since_ns, forget_chunk);
    }
    h->watched_ns = since_ns;
    h->firsts = (FerryFirsts){.partial = TRUE};
}

void ferry_heat_watch(FerryHeat *h, uint64_t now_ns)
{
    h->watched_ns = now_ns;
    h->last_ns = MAX(h->last_ns, now_ns);
    h->fold.begin_ns = now_ns;
}

void ferry_heat_sent(FerryHeat *h, unsigned block, uint64_t first, uint64_t n, uint64_t now_ns)
{
    unsigned tick = tick_of(now_ns) & 0x1fff;

    ferry_heat_advance(h, now_ns);
    for (uint64_t i = first; i < first + n; i++) {
        if (!h->touched[block][i / CHUNK_PAGES]) {
            i |= CHUNK_PAGES - 1;
            continue;
        }
        /* A page that was clean is exposed for as long as before, and untouched memory remains so.
         */
        if (h->pages[block][i].since == WAITING) {
            h->pages[block][i].since = tick;
        }
    }
}

static void learn(FerryHeat *h, Page *page, uint64_t dither, uint64_t before_ns, uint64_t now_ns)
{
    double age = page->since == UNTOUCHED ? ferry_heat_seconds(h->watched_ns, now_ns)
                                          : age_of(*page, now_ns);
    h->foretold.came[page->hits ? page->heat : UNSEEN] +=
        age >= ferry_heat_seconds(h->counted_ns, now_ns);
    double known = MIN(age, ferry_heat_seconds(before_ns, now_ns)); /* it was clean before that */
    double interval = age - known / 2, seconds = h->seconds[page->exposure];
    unsigned hits = page->hits;

    if (hits == 0) { /* code 0 stands for nothing then */
        seconds = page->exposure > 0 ? seconds : 0;
    } else if (is_late(hits, seconds, interval)) {
        hits = 0;
        seconds = 0;
        page->forgot = 0;
    }
    if (page->since == UNTOUCHED) {
        unsigned code = ferry_heat_encode(h, interval, dither);
        h->firsts.pages[code]++;
        h->firsts.seconds[code] += interval;
    }
    seconds += interval;
    if (++hits >= HITS_MAX - 1) { /* even: halves of hits are not lost */
        hits /= 2;
        seconds /= 2;
        page->forgot = 1;
    }
    page->hits = hits & HITS_MAX;
    page->exposure = ferry_heat_encode(h, seconds, dither) & (CODES - 1);
    page->since = WAITING;
}

/* Writes of one page per second, the mean over @n of them. */
static double mean_rate(const FerryHeat *h, unsigned block, uint64_t first, uint64_t n,
                        uint64_t now_ns)
{
    uint64_t end = MIN(first + n, h->block_pages[block]);
    double hits = 0, seconds = 0;

    for (uint64_t i = first; i < end; i++) {
        Evidence e = ferry_heat_evidence(h, h->pages[block][i], now_ns);
        hits += e.hits;
        seconds += e.seconds;
    }
    return seconds > 0 ? hits / seconds : 0;
}

/* Expected is the octave, not the rate: a page of which little is known shall not be held back
 * because it might be very hot; it would never be known better. */
unsigned ferry_heat_judge(const FerryHeat *h, Page page, double stripe_rate)
{
    double seconds = h->seconds[page.exposure];
    double likely = ferry_exp(-stripe_rate * seconds), octaves;

    for (unsigned i = 0; i < page.hits; i++) {
        likely *= stripe_rate;
    }
    octaves = likely * octaves_of(stripe_rate) + h->octaves[page.hits][page.exposure];
    likely += h->likely[page.hits][page.exposure];
    return likely > 1e-200 ? class_at(octaves / likely) : ferry_heat_class_of(page.hits / seconds);
}

static void judge_learnt(FerryHeat *h, unsigned block, uint64_t first, uint64_t learnt,
                         uint64_t now_ns)
{
    unsigned bit = (unsigned)__builtin_ctzll(learnt);
    /* Of few pages, those around one of them say enough: more would cost more cache misses. */
    gboolean few = __builtin_popcountll(learnt) < 8;
    double rate = few ? mean_rate(h, block, first + (bit & ~15u), 16, now_ns)
                      : mean_rate(h, block, first, STRIPE, now_ns);
    Page last[4] = {0}; /* many have learnt the same */

    for (; learnt != 0; learnt &= learnt - 1) {
        Page *page = &h->pages[block][first + (unsigned)__builtin_ctzll(learnt)];
        Page *same = &last[page->exposure % G_N_ELEMENTS(last)];
        if (page->hits != same->hits || page->exposure != same->exposure) {
            *same = *page;
            same->heat = ferry_heat_judge(h, *page, rate) & 63;
        }
        page->heat = same->heat;
    }
}

void ferry_heat_prefetch(const FerryHeat *h, unsigned block, uint64_t first, uint64_t mask)
{
    /* Four cache lines, of which isolated pages need one. */
    for (unsigned line = 0; line < 4; line++) {
        if (mask >> (16 * line) & 0xffff) {
            __builtin_prefetch(&h->pages[block][first + 16 * line], 1);
        }
    }
}

void ferry_heat_written(FerryHeat *h, unsigned block, uint64_t first, uint64_t mask,
                        uint64_t before_ns, uint64_t now_ns)
{
    uint64_t learnt = 0;

    ferry_heat_advance(h, now_ns);
    for (uint64_t left = mask; left != 0; left &= left - 1) {
        unsigned bit = (unsigned)__builtin_ctzll(left);
        Page *page = &h->pages[block][first + bit];
        if (page->since != WAITING) {
            learn(h, page, (first + bit) ^ now_ns, before_ns, now_ns);
            learnt |= UINT64_C(1) << bit;
        }
    }
    if (learnt == 0) {
        return;
    }
    if (!h->touched[block][first / CHUNK_PAGES]) {
        h->touched[block][first / CHUNK_PAGES] = 1;
        h->touched_chunks++;
    }
    judge_learnt(h, block, first, learnt, now_ns);
}

unsigned ferry_heat_class(const FerryHeat *h, unsigned block, uint64_t page)
{
    return h->pages[block][page].heat;
}

void ferry_heat_free(FerryHeat *h)
{
    if (!h) {
        return;
    }
    for (unsigned i = 0; i < h->n_blocks; i++) {
        g_free(h->pages[i]);
        g_free(h->touched[i]);
    }
    g_free(h->pages);
    g_free(h->touched);
    g_free(h->block_pages);
    g_free(h);
}
