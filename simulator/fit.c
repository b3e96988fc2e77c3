#include "simulator/fit.h"
#include "simulator/random.h"

/* Rates by half octaves: a page is written once in 128 s, ..., 4096 times a second. */
#define CLASSES 39u
#define SLOWEST (1.0 / 128)
#define ROOT_OF_TWO 1.41421356237309505
#define STEPS 2000u

/* A page's first write falls into one of the windows' intervals, or behind the last. */
typedef struct {
    unsigned n; /* intervals, the one behind the last window included */
    double pages[FERRY_CURVE_WINDOWS + 1];
    double chance[FERRY_CURVE_WINDOWS + 1][CLASSES + 1]; /* by class; the last is never written */
} Intervals;

static double rate_of(unsigned class)
{
    return SLOWEST * (double)(UINT64_C(1) << (class / 2)) * (class % 2 ? ROOT_OF_TWO : 1);
}

void ferry_observed_tidy(FerryObserved *o)
{
    for (unsigned i = 0; i < o->n_curves; i++) {
        FerryWriteCurve *c = &o->curves[i];
        double seconds = 0, pages = 0;
        unsigned n = 0;
        for (unsigned j = 0; j < c->n_windows; j++) {
            if (c->windows[j].seconds <= seconds) {
                continue;
            }
            seconds = c->windows[j].seconds;
            pages = CLAMP(c->windows[j].pages, pages, (double)o->ram_pages);
            c->windows[n].seconds = seconds;
            c->windows[n++].pages = pages;
        }
        c->n_windows = n;
    }
}

static void add_curve(Intervals *v, const FerryWriteCurve *c, double weight, uint64_t ram_pages)
{
    double before = 0, since = 0;

    v->n = c->n_windows + 1;
    for (unsigned i = 0; i < v->n; i++) {
        gboolean last = i == c->n_windows;
        double until = last ? 0 : c->windows[i].seconds;
        double pages = last ? (double)ram_pages : c->windows[i].pages;
        v->pages[i] += weight * (pages - before);
        for (unsigned k = 0; k < CLASSES; k++) {
            double gone = last ? 0 : ferry_exp_minus(rate_of(k) * until);
            v->chance[i][k] += weight * (ferry_exp_minus(rate_of(k) * since) - gone);
        }
        v->chance[i][CLASSES] += last ? weight : 0;
        before = pages;
        since = until;
    }
}

/* Measurements of the same windows add up; where they differ one of them is taken. */
static void choose(const FerryObserved *o, uint64_t seed, Intervals *v)
{
    const FerryWriteCurve *first = &o->curves[0];
    gboolean alike = TRUE;

    *v = (Intervals){0};
    for (unsigned i = 1; i < o->n_curves; i++) {
        alike = alike && o->curves[i].n_windows == first->n_windows;
    }
    if (seed == 0 && alike) {
        for (unsigned i = 0; i < o->n_curves; i++) {
            add_curve(v, &o->curves[i], 1.0 / o->n_curves, o->ram_pages);
        }
        return;
    }
    add_curve(v, &o->curves[seed ? ferry_random_hash(seed) % o->n_curves : o->n_curves - 1], 1,
              o->ram_pages);
}

/* As another measurement of the same guest might have counted. */
static void shake(Intervals *v, FerryRandom *random)
{
    for (unsigned i = 0; i + 1 < v->n; i++) {
        double normal = -6, spread = v->pages[i], root = 1;
        for (unsigned j = 0; j < 12; j++) {
            normal += ferry_random_unit(random);
        }
        for (unsigned j = 0; j < 40; j++) { /* the square root, by Newton */
            root = (root + spread / root) / 2;
        }
        double pages = MAX(v->pages[i] + normal * root, 0);
        v->pages[v->n - 1] = MAX(v->pages[v->n - 1] + v->pages[i] - pages, 0);
        v->pages[i] = pages;
    }
}

/* Expectation and maximisation: each interval's pages are shared out among the classes as likely,
 * again and again. */
static void mix(const Intervals *v, double *weights)
{
    for (unsigned step = 0; step < STEPS; step++) {
        double next[CLASSES + 1] = {0};
        for (unsigned i = 0; i < v->n; i++) {
            double expected = 0;
            for (unsigned k = 0; k <= CLASSES; k++) {
                expected += weights[k] * v->chance[i][k];
            }
            for (unsigned k = 0; expected > 0 && k <= CLASSES; k++) {
                next[k] += weights[k] * v->chance[i][k] * v->pages[i] / expected;
            }
        }
        for (unsigned k = 0; k <= CLASSES; k++) {
            weights[k] = next[k];
        }
    }
}

/* Hottest first, so that what is never written, where zeros are likeliest, comes last. */
static void lay_out(const FerryObserved *o, const double *weights, FerryWorkload *out)
{
    uint64_t left = o->ram_pages, zeros = MIN(o->zero_pages, o->ram_pages);
    FerryWorkload w = {0};

    for (unsigned k = CLASSES; k-- > 0;) {
        uint64_t pages = MIN((uint64_t)(weights[k] + 0.5), left);
        if (pages > 0) {
            w.groups[w.n_groups++] =
                (FerryPageGroup){.pages = pages, .writes_per_second = (double)pages * rate_of(k)};
            left -= pages;
        }
    }
    if (left > 0) {
        w.groups[w.n_groups++] = (FerryPageGroup){.pages = left};
    }
    for (unsigned i = w.n_groups; i-- > 0;) {
        FerryPageGroup *g = &w.groups[i];
        uint64_t of_them = MIN(zeros, g->pages);
        g->wire_permille = o->wire_permille;
        g->zero_permille = (unsigned)(of_them * 1000 / g->pages);
        zeros -= of_them;
    }
    *out = w;
}

void ferry_fit_workload(const FerryObserved *o, uint64_t seed, FerryWorkload *out)
{
    FerryRandom random = {.state = seed};
    double weights[CLASSES + 1];
    Intervals v;

    g_assert(o->n_curves > 0 && o->ram_pages > 0);
    choose(o, seed, &v);
    if (seed) {
        shake(&v, &random);
    }
    for (unsigned k = 0; k <= CLASSES; k++) {
        double unit = seed ? ferry_random_unit(&random) : 0.5;
        weights[k] = (double)o->ram_pages / (CLASSES + 1) * (0.05 + unit * unit * unit * unit);
    }
    mix(&v, weights);
    lay_out(o, weights, out);
}

double ferry_workload_floor_pages(const FerryWorkload *w, double pages_per_second, double speed)
{
    double left = pages_per_second, dirty = 0, below = -1;

    for (unsigned n = 0; n < w->n_groups; n++) { /* coldest first: groups in any order */
        double coldest = -1;
        for (unsigned i = 0; i < w->n_groups; i++) {
            double rate = w->groups[i].writes_per_second / (double)MAX(w->groups[i].pages, 1);
            if (rate > below && (coldest < 0 || rate < coldest)) {
                coldest = rate;
            }
        }
        for (unsigned i = 0; coldest >= 0 && i < w->n_groups; i++) {
            double pages = (double)w->groups[i].pages;
            if (w->groups[i].writes_per_second / MAX(pages, 1) == coldest) {
                double rate = coldest * speed, kept = rate > 0 ? MIN(pages, left / rate) : pages;
                left -= kept * rate;
                dirty += pages - kept;
            }
        }
        if (coldest < 0) {
            break;
        }
        below = coldest;
    }
    return dirty;
}
