#include "engine/precopy/heat-private.h"

/* A census looks at no more than so many pages (stripes at regular distances), and not again before
 * it weighs little. */
#define SAMPLE_PAGES (UINT64_C(1) << 21)
#define FRESH_MIN_NS UINT64_C(10000000)
#define FRESH_MAX_NS UINT64_C(250000000)

typedef struct {
    double pages, waiting, seconds;
} Cell;

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
            Cell *c = &cells[e.hits][ferry_heat_encode(e.seconds)];
            c->pages++;
            c->seconds += e.seconds;
            c->waiting += pages[i].since == WAITING;
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
    uint64_t stride = 1 + h->touched_chunks * CHUNK_PAGES / SAMPLE_PAGES, step = stride * STRIPE;

    for (unsigned b = 0; b < h->n_blocks; b++) {
        uint64_t i = h->censuses % stride * STRIPE;
        while (i < h->block_pages[b]) {
            if (!h->touched[b][i / CHUNK_PAGES]) {
                i += (CHUNK_PAGES - i % CHUNK_PAGES + step - 1) / step * step;
                continue;
            }
            count_stripe(h, &h->pages[b][i], MIN(STRIPE, h->block_pages[b] - i), now_ns, cells);
            i += step;
        }
    }
    return (double)stride;
}

static unsigned gather(const FerryHeat *h, Cell cells[HITS_MAX + 1][CODES], double scale,
                       uint64_t now_ns, FerryMixtureCell *out_cells, double *out_waiting)
{
    unsigned n = 1;
    double written = 0;

    for (unsigned hits = 1; hits <= HITS_MAX; hits++) {
        unsigned merged = hits > 1 ? 2 : 1; /* more hits are less coarse by themselves */
        for (unsigned code = 0; code < CODES; code += merged) {
            Cell c = cells[hits][code];
            if (merged == 2) {
                c.pages += cells[hits][code + 1].pages;
                c.seconds += cells[hits][code + 1].seconds;
                c.waiting += cells[hits][code + 1].waiting;
            }
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
            groups[k].pages += cells[i].pages * share[k];
            groups[k].hits += cells[i].pages * share[k] * cells[i].hits;
            groups[k].waiting += waiting[i] * share[k];
            groups[k].unwritten += i == 0 ? cells[i].pages * share[k] : 0;
        }
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

/* How old a count may be: it must cost little of the time, and early on things change fast. */
static uint64_t fresh_ns(const FerryHeat *h)
{
    uint64_t watched = h->counted_ns - MIN(h->watched_ns, h->counted_ns);

    return CLAMP(watched / 4, FRESH_MIN_NS, FRESH_MAX_NS);
}

void ferry_heat_census(FerryHeat *h, uint64_t now_ns, FerryCensus *out_census)
{
    Cell cells[HITS_MAX + 1][CODES] = {0};
    FerryMixtureCell seen[(HITS_MAX + 1) * CODES + 1];
    double waiting[(HITS_MAX + 1) * CODES + 1];
    FerryMixture mixture;

    ferry_heat_advance(h, now_ns);
    if (h->censuses == 0 || now_ns - h->counted_ns >= fresh_ns(h)) {
        double scale = count(h, now_ns, cells);
        unsigned n = gather(h, cells, scale, now_ns, seen, waiting);
        mixture = ferry_mixture_fit(seen, n);
        ferry_heat_learn_groups(h, &mixture);
        fill_census(h, &mixture, seen, waiting, n);
        h->counted_ns = now_ns;
        h->censuses++;
    }
    *out_census = h->census;
}
