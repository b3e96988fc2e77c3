#include "engine/precopy/mixture.h"
#include <string.h>
#include "engine/precopy/exponential.h"

#define RATE_MIN 1e-5
#define RATE_MAX 1e5
#define SHARE_MIN 1e-12
#define LIKELIHOOD_MIN 1e-280
/* A new group must explain so many nats more: chance alone gives about 2. Sums of exposure are
 * rounded each time one is added, which makes pages seem less alike than they are. */
#define GAIN_MIN 4.0
#define GAIN_PER_SUM 5e-4
#define CYCLES 12u
#define STRIDE_MAX 64.0

typedef struct {
    const FerryMixtureCell *cells;
    unsigned n;
    double pages, hits, sums; /* of exposures, rounded */
} Seen;

static double power(double base, unsigned exponent)
{
    double product = 1;

    for (; exponent > 0; exponent /= 2, base *= base) {
        product *= exponent % 2 ? base : 1;
    }
    return product;
}

static double likelihood(double rate, const FerryMixtureCell *c)
{
    return power(rate, c->hits) * ferry_exp(-rate * c->seconds);
}

/* The groups' parts of a cell's likelihood; the sum. */
static double parts(const FerryMixture *m, const FerryMixtureCell *c, double *out_part)
{
    double sum = 0;

    for (unsigned k = 0; k < m->n; k++) {
        out_part[k] = m->share[k] * likelihood(m->rate[k], c);
        sum += out_part[k];
    }
    return MAX(sum, LIKELIHOOD_MIN);
}

void ferry_mixture_judge(const FerryMixture *m, const FerryMixtureCell *cell,
                         double out_share[static FERRY_MIXTURE_MAX])
{
    double sum = parts(m, cell, out_share);

    for (unsigned k = 0; k < m->n; k++) {
        out_share[k] /= sum;
    }
}

/* One step of expectation and maximisation; how likely *m was before it. */
static double improve(const Seen *seen, FerryMixture *m)
{
    double pages[FERRY_MIXTURE_MAX] = {0}, hits[FERRY_MIXTURE_MAX] = {0};
    double seconds[FERRY_MIXTURE_MAX] = {0}, part[FERRY_MIXTURE_MAX], log_likelihood = 0;

    for (unsigned i = 0; i < seen->n; i++) {
        const FerryMixtureCell *c = &seen->cells[i];
        double sum = parts(m, c, part);
        log_likelihood += c->pages * ferry_log(sum);
        for (unsigned k = 0; k < m->n; k++) {
            double mine = c->pages * part[k] / sum;
            pages[k] += mine;
            hits[k] += mine * c->hits;
            seconds[k] += mine * c->seconds;
        }
    }
    double all = 0;
    for (unsigned k = 0; k < m->n; k++) {
        all += pages[k];
    }
    for (unsigned k = 0; k < m->n; k++) {
        m->share[k] = MAX(pages[k] / all, SHARE_MIN);
        if (k > 0 && seconds[k] > 0) {
            m->rate[k] = CLAMP(hits[k] / seconds[k], RATE_MIN, RATE_MAX);
        }
    }
    return log_likelihood;
}

static void to_logs(const FerryMixture *m, double *out)
{
    for (unsigned k = 0; k < m->n; k++) {
        out[2 * k] = ferry_log(m->share[k]);
        out[2 * k + 1] = k > 0 ? ferry_log(m->rate[k]) : 0;
    }
}

static void from_logs(const double *logs, FerryMixture *m)
{
    double sum = 0;

    for (unsigned k = 0; k < m->n; k++) {
        m->share[k] = MAX(ferry_exp(logs[2 * k]), SHARE_MIN);
        m->rate[k] = k > 0 ? CLAMP(ferry_exp(logs[2 * k + 1]), RATE_MIN, RATE_MAX) : 0;
        sum += m->share[k];
    }
    for (unsigned k = 0; k < m->n; k++) {
        m->share[k] /= sum;
    }
}

static double root(double x) { return x > 0 ? ferry_exp(ferry_log(x) / 2) : 0; }

/* Where two steps lead to in the long run (SQUAREM); FALSE: they are there already. */
static gboolean extrapolate(const FerryMixture *m0, const FerryMixture *m1, FerryMixture *m2)
{
    double a[2 * FERRY_MIXTURE_MAX], b[2 * FERRY_MIXTURE_MAX], c[2 * FERRY_MIXTURE_MAX];
    double first = 0, change = 0, stride;

    to_logs(m0, a);
    to_logs(m1, b);
    to_logs(m2, c);
    for (unsigned i = 0; i < 2 * m0->n; i++) {
        double r = b[i] - a[i], v = c[i] - b[i] - r;
        first += r * r;
        change += v * v;
    }
    if (first < 1e-14 || change < 1e-20) {
        return FALSE;
    }
    stride = CLAMP(root(first / change), 1, STRIDE_MAX);
    for (unsigned i = 0; i < 2 * m0->n; i++) {
        double r = b[i] - a[i], v = c[i] - b[i] - r;
        a[i] += 2 * stride * r + stride * stride * v;
    }
    from_logs(a, m2);
    return TRUE;
}

/* How likely the result is, nearly: the last step is not counted. */
static double converge(const Seen *seen, FerryMixture *m, unsigned cycles)
{
    double best = improve(seen, m);

    for (unsigned i = 0; i < cycles; i++) {
        FerryMixture m0 = *m, m1 = m0, m2, far;
        (void)improve(seen, &m1);
        m2 = m1;
        best = improve(seen, &m2);
        far = m2;
        if (!extrapolate(&m0, &m1, &far)) {
            *m = m2;
            return best;
        }
        double reached = improve(seen, &far);
        *m = reached > best ? far : m2;
        best = MAX(best, reached);
    }
    return best;
}

/* The rate, in steps of half an octave, where a small new group would help most. */
static double best_place(const Seen *seen, const FerryMixture *m)
{
    double best = 0, best_rate = RATE_MIN, part[FERRY_MIXTURE_MAX];
    double fits[64] = {0}, rates[64];
    unsigned n = 0;

    for (double rate = 1e-3; rate < 1e4; rate *= 1.41421356) {
        rates[n++] = rate;
    }
    for (unsigned i = 0; i < seen->n; i++) {
        const FerryMixtureCell *c = &seen->cells[i];
        double weight = c->pages / parts(m, c, part);
        for (unsigned j = 0; j < n; j++) {
            fits[j] += weight * likelihood(rates[j], c);
        }
    }
    for (unsigned j = 0; j < n; j++) {
        if (fits[j] > best) {
            best = fits[j];
            best_rate = rates[j];
        }
    }
    return best_rate;
}

static void add_group(FerryMixture *m, double rate, double share)
{
    for (unsigned k = 0; k < m->n; k++) {
        m->share[k] *= 1 - share;
    }
    m->rate[m->n] = rate;
    m->share[m->n++] = share;
}

/* One group and the rest: along the ridge where many cold pages look like few warm ones, from
 * several starts. */
static double first_group(const Seen *seen, FerryMixture *m)
{
    double longest = 0, written = 0, exposed = 0, best = 0;
    FerryMixture found = *m;

    for (unsigned i = 0; i < seen->n; i++) {
        const FerryMixtureCell *c = &seen->cells[i];
        longest = MAX(longest, c->seconds);
        written += c->hits > 0 ? c->pages : 0;
        exposed += c->hits > 0 ? c->pages * c->seconds : 0;
    }
    for (double rate = seen->hits / exposed, i = 0; i < 5; i++, rate /= 3) {
        FerryMixture start = {.n = 1, .share = {1}};
        double seen_share = 1 - ferry_exp(-rate * longest);
        add_group(&start, CLAMP(rate, RATE_MIN, RATE_MAX),
                  CLAMP(written / seen->pages / MAX(seen_share, 1e-9), 1e-9, 1 - 1e-9));
        double reached = converge(seen, &start, 3);
        if (i == 0 || reached > best) {
            best = reached;
            found = start;
        }
    }
    *m = found;
    return converge(seen, m, CYCLES);
}

FerryMixture ferry_mixture_fit(const FerryMixtureCell *cells, unsigned n_cells)
{
    Seen seen = {.cells = cells, .n = n_cells};
    FerryMixture m = {.n = 1, .share = {1}};

    for (unsigned i = 0; i < n_cells; i++) {
        seen.pages += cells[i].pages;
        seen.hits += cells[i].pages * cells[i].hits;
        seen.sums += cells[i].hits > 1 ? cells[i].pages * (cells[i].hits - 1) : 0;
    }
    if (seen.hits <= 0) {
        return m;
    }
    double reached = first_group(&seen, &m);
    while (m.n < FERRY_MIXTURE_MAX) {
        FerryMixture more = m;
        add_group(&more, best_place(&seen, &m), 0.02);
        double gained = converge(&seen, &more, CYCLES) - reached;
        if (gained < GAIN_MIN + GAIN_PER_SUM * seen.sums) {
            break;
        }
        reached += gained;
        m = more;
    }
    return m;
}
