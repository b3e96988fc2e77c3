/* A page that is written at rate r, memoryless, is in a frame of length d with probability
 * q = 1 - e^(-rd). Taking each page's share of frames for its q would take luck for temper: the
 * pages that chance spared seem cold, and a bound that keeps those clean is too low. So the
 * population is fitted first, as groups of equal q, by expectation and maximisation. */
#include "trace/bounds-causal.h"
#include <string.h>

#define GROUPS 24u /* the first is of pages that are never written */
#define STEPS 150u
#define EXACT 24u     /* counts up to here have a cell each; */
#define PER_OCTAVE 8u /* beyond, an octave has so many */
#define CELLS_MAX (EXACT + 64 * PER_OCTAVE)
#define LN2 0.69314718055994530942

typedef struct {
    double bytes, frames;
} Cell;

typedef struct {
    double share, q, log_q, log_not_q;
} Group;

typedef struct {
    unsigned n;
    double frames, bytes; /* of the trace; of all cells */
    Cell cells[CELLS_MAX];
} Seen;

static double power_of_two(int64_t exponent)
{
    uint64_t bits = (uint64_t)(exponent + 1023) << 52;
    double value;

    memcpy(&value, &bits, sizeof value);
    return value;
}

/* @x from -700 to 0. */
static double exponential(double x)
{
    int64_t k = (int64_t)(x / LN2 - 0.5);
    double r = x - (double)k * LN2, sum = 1;

    for (unsigned i = 9; i > 0; i--) {
        sum = 1 + sum * r / i;
    }
    return sum * power_of_two(k);
}

/* @x > 0, a normal number. */
static double logarithm(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int64_t exponent = (int64_t)(bits >> 52) - 1023;
    double m = x * power_of_two(-exponent), sum = 0;

    if (m > 1.41421356) {
        m /= 2;
        exponent++;
    }
    double z = (m - 1) / (m + 1), z2 = z * z;
    for (int i = 15; i > 0; i -= 2) {
        sum = sum * z2 + 1.0 / i;
    }
    return 2 * z * sum + (double)exponent * LN2;
}

/* Where the cell of counts from @from on ends. */
static uint64_t cell_end(uint64_t from)
{
    unsigned octave = 63 - (unsigned)__builtin_clzll(from | 1);

    return from < EXACT ? from + 1 : from + MAX((UINT64_C(1) << octave) / PER_OCTAVE, 1);
}

static void gather(const uint64_t *bytes_by_frames, uint64_t n_frames, Seen *out)
{
    out->n = 1;
    out->cells[0] = (Cell){(double)bytes_by_frames[0], 0};
    out->bytes = out->cells[0].bytes;
    out->frames = (double)n_frames;
    for (uint64_t from = 1, end; from <= n_frames; from = end) {
        double bytes = 0, frames = 0;
        end = MIN(cell_end(from), n_frames + 1);
        for (uint64_t k = from; k < end; k++) {
            bytes += (double)bytes_by_frames[k];
            frames += (double)bytes_by_frames[k] * (double)k;
        }
        if (bytes > 0) {
            out->cells[out->n++] = (Cell){bytes, frames / bytes};
            out->bytes += bytes;
        }
    }
}

/* The longest record there can be does not tell more than a rate of ln(2n) a frame. */
static void set_q(const Seen *seen, Group *g, double q)
{
    g->q = CLAMP(q, 1e-3 / seen->frames, 1 - 0.5 / seen->frames);
    g->log_q = logarithm(g->q);
    g->log_not_q = logarithm(1 - g->q);
}

static void start(const Seen *seen, Group groups[GROUPS])
{
    double least = logarithm(0.5 / seen->frames);
    double most = logarithm(logarithm(2 * seen->frames) + 0.1);

    groups[0] = (Group){.share = 1.0 / GROUPS, .log_q = -1e12};
    for (unsigned j = 1; j < GROUPS; j++) {
        double at = least + (most - least) * (j - 1) / (GROUPS - 2);
        double rate = at > 0 ? 1 / exponential(-at) : exponential(at);
        groups[j].share = 1.0 / GROUPS;
        set_q(seen, &groups[j], 1 - exponential(-rate));
    }
}

/* How the cell's pages are spread over the groups. */
static void judge(const Seen *seen, const Group groups[GROUPS], const Cell *c, double out[GROUPS])
{
    double most = -1e300, sum = 0;

    for (unsigned j = 0; j < GROUPS; j++) {
        out[j] = c->frames * groups[j].log_q + (seen->frames - c->frames) * groups[j].log_not_q;
        most = groups[j].share > 0 ? MAX(most, out[j]) : most;
    }
    for (unsigned j = 0; j < GROUPS; j++) {
        double less = out[j] - most;
        out[j] =
            groups[j].share > 0 && less > -60 ? groups[j].share * exponential(MIN(less, 0)) : 0;
        sum += out[j];
    }
    for (unsigned j = 0; j < GROUPS; j++) {
        out[j] /= sum;
    }
}

static void improve(const Seen *seen, Group groups[GROUPS])
{
    double bytes[GROUPS] = {0}, frames[GROUPS] = {0}, part[GROUPS];

    for (unsigned i = 0; i < seen->n; i++) {
        judge(seen, groups, &seen->cells[i], part);
        for (unsigned j = 0; j < GROUPS; j++) {
            bytes[j] += seen->cells[i].bytes * part[j];
            frames[j] += seen->cells[i].bytes * part[j] * seen->cells[i].frames;
        }
    }
    for (unsigned j = 0; j < GROUPS; j++) {
        groups[j].share = bytes[j] / seen->bytes;
        if (j > 0 && groups[j].share > 1e-12) {
            set_q(seen, &groups[j], frames[j] / bytes[j] / seen->frames);
        }
    }
}

/* Coldest first. */
static void sort(Group groups[GROUPS])
{
    for (unsigned i = 1; i < GROUPS; i++) {
        for (unsigned j = i; j > 0 && groups[j].q < groups[j - 1].q; j--) {
            Group other = groups[j];
            groups[j] = groups[j - 1];
            groups[j - 1] = other;
        }
    }
}

/* Each write of a clean page costs one sending: the coldest are kept clean until the link has no
 * more to give. */
uint64_t ferry_causal_residual(const uint64_t *bytes_by_frames, uint64_t n_frames,
                               uint64_t length_ns, uint64_t bytes_per_second)
{
    Seen seen;
    Group groups[GROUPS];
    double left = 0, link;

    if (n_frames == 0 || length_ns == 0) {
        return 0;
    }
    gather(bytes_by_frames, n_frames, &seen);
    if (seen.bytes <= 0) {
        return 0;
    }
    start(&seen, groups);
    for (unsigned i = 0; i < STEPS; i++) {
        improve(&seen, groups);
    }
    sort(groups);
    link = (double)bytes_per_second * ((double)length_ns / 1e9 / seen.frames); /* a frame */
    for (unsigned j = 0; j < GROUPS; j++) {
        double bytes = groups[j].share * seen.bytes, load = -groups[j].log_not_q * bytes;
        if (load > link) {
            left += bytes * (1 - link / load);
        }
        link = MAX(link - load, 0);
    }
    return (uint64_t)left;
}
