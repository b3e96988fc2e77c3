#include "engine/precopy/heat-private.h"
#include <string.h>

/* A census looks at no more than so many pages (stripes at regular distances), and not again before
 * it weighs little. */
#define SAMPLE_PAGES (UINT64_C(1) << 19)
/* A census was wrong about the guest when so much of what came, or did not, was not foretold. */
#define AMISS 0.8
#define FIRSTS_HITS 3 /* for a page that was written at all, in the mean */
#define FEW 300       /* writes are no surprise */
#define FRESH_MIN_NS UINT64_C(10000000)
#define FRESH_MAX_NS UINT64_C(250000000)
#define FRESH_LATE_NS UINT64_C(1000000000) /* after minutes */

typedef struct {
    double pages, waiting, seconds;
} Cell;

/* How old a count may be: it must cost little of the time, and early on things change fast. */
static uint64_t fresh_ns(const FerryHeat *h, uint64_t counted_ns)
{
    uint64_t watched = counted_ns - MIN(h->watched_ns, counted_ns);

    return CLAMP(watched / 4, FRESH_MIN_NS, CLAMP(watched / 256, FRESH_MAX_NS, FRESH_LATE_NS));
}

/* Per second, within the time until the next census. */
static double first_writes(double rate, double seconds)
{
    double x = rate * seconds;

    return rate / (1 + x / 2 + x * x / 12); /* nearly (1 - e^-x) / x */
}

/* All evidence about one stripe; waiting pages of it may turn out colder than they seemed. */
static void count_stripe(FerryHeat *h, Page *pages, uint64_t n, uint64_t now_ns,
                         Cell cells[HITS_MAX + 1][CODES])
{
    double hits = 0, seconds = 0;

    for (uint64_t i = 0; i < n; i++) {
        Evidence e = ferry_heat_evidence(h, pages[i], now_ns);
        hits += e.hits;
        seconds += e.seconds;
        if (e.hits > 0) {
            unsigned code = ferry_heat_encode(h, e.seconds, now_ns + i);
            Cell *c = &cells[e.hits][code];
            c->pages++;
            c->seconds += e.seconds;
            c->waiting += pages[i].since == WAITING;
            if (pages[i].since != WAITING && h->likely[e.hits][code] > 0) {
                double rate = h->rate[e.hits][code] / h->likely[e.hits][code];
                h->foretold.expected[pages[i].heat] += first_writes(rate, h->foretold.seconds);
            }
        } else if (pages[i].since == WAITING) {
            cells[0][0].pages++;
            cells[0][0].waiting++;
        }
    }
    for (uint64_t i = 0; hits > 0 && i < n; i++) {
        if (pages[i].since == WAITING && pages[i].hits <= 2 && pages[i].heat > 0) {
            pages[i].heat = MIN(pages[i].heat, ferry_heat_judge(h, pages[i], hits / seconds)) & 63;
        }
    }
}

static double count(FerryHeat *h, uint64_t now_ns, Cell cells[HITS_MAX + 1][CODES])
{
    memset(&h->foretold.expected, 0, sizeof h->foretold.expected);
    memset(&h->foretold.came, 0, sizeof h->foretold.came);
    uint64_t stride = 1 + h->touched_chunks * CHUNK_PAGES / SAMPLE_PAGES, step = stride * STRIPE;

    for (unsigned b = 0; b < h->n_blocks; b++) {
        uint64_t i = h->censuses % stride * STRIPE;
        while (i < h->block_pages[b]) {
            if (!h->touched[b][i / CHUNK_PAGES]) {
                i += (CHUNK_PAGES - i % CHUNK_PAGES + step - 1) / step * step;
                continue;
            }
            for (unsigned line = 0; line < 4; line++) { /* of the next one */
                __builtin_prefetch(&h->pages[b][MIN(i + step, h->block_pages[b] - 1)] + 16 * line);
            }
            count_stripe(h, &h->pages[b][i], MIN(STRIPE, h->block_pages[b] - i), now_ns, cells);
            i += step;
        }
    }
    for (unsigned i = 0; i < FERRY_HEAT_CLASSES; i++) {
        h->foretold.expected[i] *= (double)stride;
    }
    return (double)stride;
}

static unsigned gather(const FerryHeat *h, Cell cells[HITS_MAX + 1][CODES], double scale,
                       uint64_t now_ns, FerryMixtureCell *out_cells, double *out_waiting)
{
    unsigned n = 1;
    double written = 0;

    for (unsigned hits = 0; hits <= HITS_MAX; hits++) {
        for (unsigned code = 0; code < CODES; code++) {
            Cell c = cells[hits][code];
            if (c.pages > 0) {
                out_waiting[n] = c.waiting * scale;
                out_cells[n++] = (FerryMixtureCell){
                    .pages = c.pages * scale, .seconds = c.seconds / c.pages, .hits = hits};
                written += c.pages * scale;
            }
        }
    }
    out_waiting[0] = 0;
    out_cells[0] = (FerryMixtureCell){.pages = MAX((double)h->total_pages - written, 0),
                                      .seconds = ferry_heat_seconds(h->watched_ns, now_ns)};
    return n;
}

/* What belongs to one group of the mixture. */
typedef struct {
    double pages, waiting, unwritten, hits;
} Group;

static void add_to_census(FerryCensus *census, double rate, const Group *g, double watched)
{
    unsigned class = ferry_heat_class_of(rate);
    double old = (double)census->pages[class], pages = old + g->pages;
    /* The number of pages and their rate can be told apart only once a good part of them was
     * written, and chance matters less the more they are. */
    double resolved = MIN(rate * watched / 3.5, 1), precision = g->hits * resolved * resolved;
    double known = 1000 * precision / (precision + 25);

    if (pages < 0.5) {
        return;
    }
    census->writes_per_second[class] =
        (census->writes_per_second[class] * old + rate * g->pages) / pages;
    census->known_permille_of[class] =
        (unsigned)((census->known_permille_of[class] * old + known * g->pages) / pages);
    census->pages[class] = (uint64_t)(pages + 0.5);
    census->waiting[class] += (uint64_t)(g->waiting + 0.5);
    census->unwritten[class] += (uint64_t)(g->unwritten + 0.5);
}

static void fill_census(FerryHeat *h, const FerryMixture *m, const FerryMixtureCell *cells,
                        const double *waiting, unsigned n)
{
    Group groups[FERRY_MIXTURE_MAX] = {0};
    double share[FERRY_MIXTURE_MAX], load = 0, known = 0;
    FerryCensus *census = &h->census;

    for (unsigned i = 0; i < n; i++) {
        ferry_mixture_judge(m, &cells[i], share);
        for (unsigned k = 0; k < m->n; k++) {
            groups[k].hits += cells[i].pages * share[k] * cells[i].hits;
            groups[k].waiting += waiting[i] * share[k];
            if (i == 0) {
                groups[k].unwritten = cells[i].pages * share[k];
                h->foretold.expected[UNSEEN] +=
                    groups[k].unwritten * first_writes(m->rate[k], h->foretold.seconds);
            }
        }
    }
    for (unsigned k = 0; k < m->n; k++) {
        groups[k].pages = m->share[k] * (double)h->total_pages;
    }
    *census = (FerryCensus){.never = (uint64_t)(groups[0].pages + 0.5),
                            .watched_seconds = cells[0].seconds};
    for (unsigned k = 1; k < m->n; k++) {
        add_to_census(census, m->rate[k], &groups[k], cells[0].seconds);
        census->hits += groups[k].hits;
    }
    for (unsigned i = 0; i < FERRY_HEAT_CLASSES; i++) {
        double of_class = (double)census->pages[i] * census->writes_per_second[i];
        load += of_class;
        known += of_class * census->known_permille_of[i];
    }
    census->known_permille = load > 0 ? (unsigned)(known / load) : 0;
}

/* Whether the last two censuses foretold something else than came: of the pages that were clean,
 * as many of each class. */
static gboolean guest_has_changed(FerryHeat *h, uint64_t now_ns)
{
    double since = ferry_heat_seconds(h->counted_ns, now_ns);
    double expected = 0, came = 0, amiss = 0;

    for (unsigned i = 0; i <= UNSEEN; i++) {
        double of_class = h->foretold.expected[i] * since, more;
        more = (double)h->foretold.came[i] - of_class;
        expected += of_class;
        came += (double)h->foretold.came[i];
        amiss += MAX(more, -more);
    }
    gboolean wrong = amiss > AMISS * MAX(expected, came) + FEW;
    h->foretold.wrong = wrong ? h->foretold.wrong + 1 : 0;
    h->foretold.right_ns = h->foretold.wrong == 1 ? h->counted_ns : h->foretold.right_ns;
    return h->foretold.wrong >= 2 && now_ns - h->watched_ns >= 4 * FRESH_MAX_NS;
}

static FerryMixture fit_firsts(const FerryHeat *h, uint64_t now_ns)
{
    FerryMixtureCell cells[CODES + 1];
    double left = (double)h->total_pages;
    unsigned n = 0;

    for (unsigned code = 0; code < CODES; code++) {
        double pages = h->firsts.pages[code];
        if (pages > 0) {
            cells[n++] = (FerryMixtureCell){
                .pages = pages, .seconds = h->firsts.seconds[code] / pages, .hits = 1};
            left -= pages;
        }
    }
    cells[n++] = (FerryMixtureCell){.pages = MAX(left, 0),
                                    .seconds = ferry_heat_seconds(h->watched_ns, now_ns)};
    return ferry_mixture_fit(cells, n);
}

/* While pages were written a few times only, and as long as those that were sent again are written
 * again as first writes foretold. */
static gboolean firsts_say_more(const FerryHeat *h, const FerryMixture *m,
                                const FerryMixtureCell *seen, unsigned n)
{
    double hits = 0, written = 0, seconds = 0, slowest = 1e9;

    for (unsigned i = 0; i < n; i++) {
        if (seen[i].hits > 0) {
            hits += seen[i].pages * seen[i].hits;
            written += seen[i].pages;
            seconds += seen[i].pages * seen[i].seconds;
        }
    }
    for (unsigned code = 0; code < CODES; code++) {
        seconds -= h->firsts.seconds[code];
    }
    for (unsigned k = 1; k < m->n; k++) {
        slowest = m->share[k] * (double)h->total_pages < 1 ? slowest : MIN(slowest, m->rate[k]);
    }
    double expected = MAX(seconds, 0) * slowest;
    return hits < FIRSTS_HITS * written && (expected < 20 || hits - written > expected / 3);
}

/* Of everything that is known, or of what is known fairly. */
static FerryMixture fit(const FerryHeat *h, const FerryMixtureCell *seen, unsigned n,
                        uint64_t now_ns)
{
    if (!h->firsts.partial) {
        FerryMixture firsts = fit_firsts(h, now_ns);
        if (firsts_say_more(h, &firsts, seen, n)) {
            return firsts;
        }
    }
    return ferry_mixture_fit(seen, n);
}

/* Too much for somebody's stack. */
typedef struct {
    Cell cells[HITS_MAX + 1][CODES];
    FerryMixtureCell seen[(HITS_MAX + 1) * CODES + 1];
    double waiting[(HITS_MAX + 1) * CODES + 1];
} Scratch;

static void take_census(FerryHeat *h, uint64_t now_ns)
{
    g_autofree Scratch *s = g_new0(Scratch, 1);

    h->foretold.seconds = (double)MAX(fresh_ns(h, now_ns), FRESH_MAX_NS) * 1e-9;
    double scale = count(h, now_ns, s->cells);
    unsigned n = gather(h, s->cells, scale, now_ns, s->seen, s->waiting);
    FerryMixture mixture = fit(h, s->seen, n, now_ns);

    ferry_heat_learn_groups(h, &mixture);
    fill_census(h, &mixture, s->seen, s->waiting, n);
    h->counted_ns = now_ns;
    h->censuses++;
}

void ferry_heat_census(FerryHeat *h, uint64_t now_ns, FerryCensus *out_census)
{
    ferry_heat_advance(h, now_ns);
    if (h->censuses == 0 || now_ns - h->counted_ns >= fresh_ns(h, h->counted_ns)) {
        if (guest_has_changed(h, now_ns)) {
            ferry_heat_forget(h, h->foretold.right_ns);
            h->foretold.wrong = 0;
        }
        take_census(h, now_ns);
    }
    *out_census = h->census;
}
