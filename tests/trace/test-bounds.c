/* Bounds against what trying everything gives, and against theory. */
#include "trace/bounds.h"
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>

#define PAGES_MAX 12u
#define SLOTS_MAX 96u

static uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* A link that sends a page, of one byte, each ns; a write lies between two slots. */
typedef struct {
    unsigned pages, slots;
    uint8_t written[SLOTS_MAX + 1][PAGES_MAX]; /* behind so many slots */
} Case;

static Case draw(uint64_t seed)
{
    uint64_t state = seed;
    Case c = {.pages = 1 + (unsigned)(random_next(&state) % PAGES_MAX),
              .slots = 4 * (1 + (unsigned)(random_next(&state) % (SLOTS_MAX / 4)))};
    unsigned writes = (unsigned)(random_next(&state) % (2 * c.slots));

    for (unsigned i = 0; i < writes; i++) {
        c.written[random_next(&state) % (c.slots + 1)][random_next(&state) % c.pages] = 1;
    }
    return c;
}

static gboolean find_slot(const unsigned *last, unsigned end, unsigned page, int *taken, char *seen)
{
    for (unsigned slot = last[page]; slot < end; slot++) {
        if (!seen[slot]) {
            seen[slot] = 1;
            if (taken[slot] < 0 || find_slot(last, end, (unsigned)taken[slot], taken, seen)) {
                taken[slot] = (int)page;
                return TRUE;
            }
        }
    }
    return FALSE;
}

/* Pages left at @end: those that no matching of pages and slots behind their last writes serves.
 * Writes at @end itself have come if @after. */
static unsigned left_at(const Case *c, unsigned end, gboolean after)
{
    unsigned last[PAGES_MAX] = {0}, left = 0;
    int taken[SLOTS_MAX];

    memset(taken, -1, sizeof taken);
    for (unsigned t = 0; t < end + (after ? 1 : 0); t++) {
        for (unsigned p = 0; p < c->pages; p++) {
            last[p] = c->written[t][p] ? t : last[p];
        }
    }
    for (unsigned p = 0; p < c->pages; p++) {
        char seen[SLOTS_MAX] = {0};
        left += !find_slot(last, end, p, taken, seen);
    }
    return left;
}

static FerryBounds *bounds_of(const Case *c, uint64_t limit_ns)
{
    FerryBoundsInput input = {
        .bytes_per_second = 1000000000, .downtime_limit_ns = limit_ns, .page_wire_bytes = 1};

    return ferry_bounds_new(c->pages, 4096, NULL, &input);
}

/* What was written behind slots @first to @end, as a frame of @span_ns. */
static void tell(FerryBounds *b, const Case *c, unsigned first, unsigned end, uint64_t span_ns,
                 gboolean with_quarters)
{
    FerryTraceRun runs[PAGES_MAX];
    uint8_t quarters[PAGES_MAX] = {0};
    FerryTraceFrame frame = FERRY_TRACE_FRAME_INIT;

    for (unsigned p = 0; p < c->pages; p++) {
        gboolean written = FALSE;
        for (unsigned t = first; t <= end; t++) {
            if (c->written[t][p]) {
                written = TRUE;
                quarters[frame.n_runs] = (uint8_t)(t == first ? 0 : (t - first - 1) * 4 / span_ns);
            }
        }
        if (written) {
            runs[frame.n_runs++] = (FerryTraceRun){p, 1};
        }
    }
    frame.span_ns = span_ns;
    frame.runs = runs;
    frame.quarters = with_quarters ? quarters : NULL;
    cr_assert(ferry_bounds_frame(b, &frame));
}

/* Frames that last no time say exactly when. */
Test(bounds, equal_matching_where_times_are_exact)
{
    for (uint64_t seed = 0; seed < 300; seed++) {
        Case c = draw(seed);
        g_autoptr(FerryBounds) b = bounds_of(&c, 2);
        uint64_t earliest = UINT64_MAX, shortest = UINT64_MAX;

        for (unsigned t = 0; t <= c.slots; t++) {
            unsigned before = left_at(&c, t, FALSE), after = left_at(&c, t, TRUE);
            if (t > 0) {
                FerryTraceFrame gap = {.span_ns = 1, .ran_ns = UINT64_MAX};
                ferry_bounds_frame(b, &gap);
            }
            FerryBracket left = ferry_bounds_residual(b);
            cr_assert_eq(left.low, before, "case %u, %u ns", (unsigned)seed, t);
            cr_assert_eq(left.high, before, "case %u, %u ns", (unsigned)seed, t);
            tell(b, &c, t, t, 0, FALSE);
            left = ferry_bounds_residual(b);
            cr_assert_eq(left.low, after, "case %u, behind %u ns", (unsigned)seed, t);
            cr_assert_eq(left.high, after, "case %u, behind %u ns", (unsigned)seed, t);
            shortest = MIN(shortest, before);
            earliest = before <= 2 && earliest == UINT64_MAX ? t : earliest;
            cr_assert_eq(ferry_bounds_shortest(b).low, shortest);
            cr_assert_eq(ferry_bounds_shortest(b).high, shortest);
            cr_assert_eq(ferry_bounds_earliest(b).low, earliest);
            cr_assert_eq(ferry_bounds_earliest(b).high, earliest);
        }
    }
}

static void hold(uint64_t seed, unsigned span, gboolean with_quarters, uint64_t *out_width)
{
    Case c = draw(seed);
    uint64_t earliest = UINT64_MAX, shortest = UINT64_MAX;
    unsigned told = 0;
    g_autoptr(FerryBounds) b = bounds_of(&c, 3);

    for (unsigned p = 0; p < c.pages; p++) {
        c.written[0][p] = 0;
    }
    for (unsigned t = 0; t + span <= c.slots; t += span) {
        told = t + span;
        /* (t, t + span] */
        Case part = c;
        memset(part.written[t], 0, sizeof part.written[t]);
        tell(b, &part, t, told, span, with_quarters);
        FerryBracket left = ferry_bounds_residual(b);
        unsigned truth = left_at(&c, told, TRUE);
        cr_assert(left.low <= truth && truth <= left.high, "case %u, %u ns: %u is not in %u to %u",
                  (unsigned)seed, told, truth, (unsigned)left.low, (unsigned)left.high);
        *out_width += left.high - left.low;
    }
    for (unsigned t = 0; t <= told; t++) {
        for (unsigned after = 0; after < 2; after++) {
            unsigned truth = left_at(&c, t, after > 0);
            shortest = MIN(shortest, truth);
            earliest = truth <= 3 && earliest == UINT64_MAX ? t : earliest;
        }
    }
    FerryBracket is = ferry_bounds_shortest(b);
    cr_assert(is.low <= shortest && shortest <= is.high, "case %u: shortest", (unsigned)seed);
    is = ferry_bounds_earliest(b);
    cr_assert(is.low <= earliest && earliest <= is.high, "case %u: earliest", (unsigned)seed);
}

Test(bounds, the_truth_lies_between_low_and_high)
{
    uint64_t wide = 0, narrow = 0;

    for (uint64_t seed = 0; seed < 300; seed++) {
        hold(seed, 8, FALSE, &wide);
        hold(seed, 8, TRUE, &narrow);
    }
    cr_expect_gt(wide, 2 * narrow, "quarters: %u, not far from %u", (unsigned)narrow,
                 (unsigned)wide);
}

#define W 60000u
#define PER_FRAME 300u

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Uniform writes, frames of 1 ms; the link takes 1 / u of them. */
static FerryBounds *uniform(double u, unsigned n_frames)
{
    FerryBoundsInput input = {.bytes_per_second = (uint64_t)(PER_FRAME * 1000 * 4096 / u),
                              .downtime_limit_ns = 10000000,
                              .page_wire_bytes = 4096};
    FerryBounds *b = ferry_bounds_new(W, 4096, NULL, &input);
    uint64_t state = 1;

    for (unsigned i = 0; i < n_frames; i++) {
        uint64_t pages[PER_FRAME];
        FerryTraceRun runs[PER_FRAME];
        FerryTraceFrame frame = {.span_ns = 1000000, .runs = runs, .ran_ns = UINT64_MAX};
        for (unsigned j = 0; j < PER_FRAME; j++) {
            pages[j] = random_next(&state) % W;
        }
        qsort(pages, PER_FRAME, sizeof pages[0], compare);
        for (unsigned j = 0; j < PER_FRAME; j++) {
            if (j == 0 || pages[j] != pages[j - 1]) {
                runs[frame.n_runs++] = (FerryTraceRun){pages[j], 1};
            }
        }
        ferry_bounds_frame(b, &frame);
    }
    return b;
}

typedef struct {
    double u, clairvoyant;
} Row;

ParameterizedTestParameters(bounds, uniform_writes_as_in_theory)
{
    static Row rows[] = {
        {1.1,  0.004},
        {1.25, 0.021},
        {1.5,  0.063},
        {2,    0.153},
        {4,    0.403},
        {10,   0.670}
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

/* 1 - 1/u - ln(u)/u of the pages for who knows the future, 1 - 1/u for who does not. */
ParameterizedTest(Row *row, bounds, uniform_writes_as_in_theory)
{
    g_autoptr(FerryBounds) b = uniform(row->u, 4000);
    FerryBracket left = ferry_bounds_residual(b);
    double middle = ((double)left.low + (double)left.high) / 2 / (W * 4096.0);
    double causal = (double)ferry_bounds_causal(b) / (W * 4096.0);

    cr_expect_float_eq(middle, row->clairvoyant, 0.01, "u %g: %g", row->u, middle);
    cr_expect_float_eq(causal, 1 - 1 / row->u, 0.01, "u %g: %g", row->u, causal);
}

Test(bounds, few_writes_of_each_page_tell_the_rate_already)
{
    g_autoptr(FerryBounds) b = uniform(2, 800); /* four of each */
    double causal = (double)ferry_bounds_causal(b) / (W * 4096.0);

    cr_expect_float_eq(causal, 0.5, 0.03, "%g", causal);
}

/* Frames of a random guest, each page in one of three with its own odds. */
static void tell_random(FerryBounds *b, unsigned pages, unsigned frames, uint64_t span_ns,
                        uint64_t seed)
{
    for (unsigned i = 0; i < frames; i++) {
        FerryTraceRun runs[64];
        FerryTraceFrame frame = {.span_ns = span_ns, .runs = runs, .ran_ns = UINT64_MAX};
        for (unsigned p = 0; p < pages; p++) {
            if (random_next(&seed) % pages < p / 3) {
                runs[frame.n_runs++] = (FerryTraceRun){p, 1};
            }
        }
        ferry_bounds_frame(b, &frame);
    }
}

static FerryBounds *random_bounds(uint64_t bandwidth, uint64_t limit_ns, uint64_t span_ns,
                                  uint64_t seed)
{
    FerryBoundsInput input = {.bytes_per_second = bandwidth,
                              .downtime_limit_ns = limit_ns,
                              .fixed_ns = 2000000,
                              .page_wire_bytes = 4096};
    FerryBounds *b = ferry_bounds_new(64, 4096, NULL, &input);

    tell_random(b, 64, 50, span_ns, seed);
    return b;
}

/* By running it slower, percent by percent. */
static uint64_t search(uint64_t seed, uint64_t limit_ns, gboolean high)
{
    for (unsigned percent = 0; percent < 100; percent++) {
        g_autoptr(FerryBounds) b =
            random_bounds(4096000, limit_ns, UINT64_C(277200000) / (100 - percent), seed);
        FerryBracket now = ferry_bounds_downtime(b);
        if ((high ? now.high : now.low) <= limit_ns) {
            return percent;
        }
    }
    return 100;
}

Test(bounds, the_throttle_is_what_a_search_finds)
{
    unsigned between = 0;

    for (uint64_t seed = 0; seed < 20; seed++) {
        uint64_t limit_ns = 4000000 + seed * 1000000;
        g_autoptr(FerryBounds) b = random_bounds(4096000, limit_ns, 2772000, seed);
        FerryBracket is = ferry_bounds_throttle(b);
        uint64_t low = search(seed, limit_ns, FALSE), high = search(seed, limit_ns, TRUE);
        cr_expect(is.low <= low + 1 && low <= is.low + 1, "%u: %u, not %u", (unsigned)seed,
                  (unsigned)is.low, (unsigned)low);
        cr_expect(is.high <= high + 1 && high <= is.high + 1, "%u: %u, not %u", (unsigned)seed,
                  (unsigned)is.high, (unsigned)high);
        between += is.low > 0 && is.low < 100;
    }
    cr_expect_gt(between, 5);
}

Test(bounds, more_of_everything_is_never_worse)
{
    for (uint64_t seed = 0; seed < 50; seed++) {
        g_autoptr(FerryBounds) poor = random_bounds(4096000, 6000000, 2772000, seed);
        g_autoptr(FerryBounds) fast = random_bounds(5000000, 6000000, 2772000, seed);
        g_autoptr(FerryBounds) patient = random_bounds(4096000, 9000000, 2772000, seed);
        cr_expect_leq(ferry_bounds_residual(fast).low, ferry_bounds_residual(poor).low);
        cr_expect_leq(ferry_bounds_residual(fast).high, ferry_bounds_residual(poor).high);
        cr_expect_leq(ferry_bounds_earliest(patient).high, ferry_bounds_earliest(poor).high);
        cr_expect_leq(ferry_bounds_earliest(patient).low, ferry_bounds_earliest(poor).low);
        cr_expect_leq(ferry_bounds_throttle(patient).high, ferry_bounds_throttle(poor).high);
        cr_expect_leq(ferry_bounds_throttle(poor).low, ferry_bounds_throttle(poor).high);
        cr_expect_leq(ferry_bounds_shortest(fast).high, ferry_bounds_shortest(poor).high);
        cr_expect_leq(ferry_bounds_causal(fast), ferry_bounds_causal(poor));
        cr_expect_leq(ferry_bounds_downtime(poor).low, ferry_bounds_downtime(poor).high);
    }
}

Test(bounds, a_limit_below_the_fixed_part_is_never_met)
{
    g_autoptr(FerryBounds) b = random_bounds(UINT64_C(1) << 40, 1000000, 2772000, 1);

    cr_expect_eq(ferry_bounds_earliest(b).low, UINT64_MAX);
    cr_expect_eq(ferry_bounds_throttle(b).low, 100);
    cr_expect_gt(ferry_bounds_shortest(b).low, 1000000);
}

/* Where what pages hold is known, or might be, each is looked at by itself. */
Test(bounds, both_ways_through_a_frame_give_the_same)
{
    for (uint64_t seed = 0; seed < 60; seed++) {
        FerryBoundsInput input = {
            .bytes_per_second = 1000000000, .downtime_limit_ns = 3, .page_wire_bytes = 1};
        uint8_t unknown[PAGES_MAX];
        Case c = draw(seed);
        memset(unknown, FERRY_TRACE_CLASS_UNKNOWN, sizeof unknown);
        g_autoptr(FerryBounds) one = bounds_of(&c, 3);
        g_autoptr(FerryBounds) other = ferry_bounds_new(c.pages, 4096, unknown, &input);
        for (unsigned t = 0; t + 8 <= c.slots; t += 8) {
            tell(one, &c, t, t + 8, 8, seed % 2 == 0);
            tell(other, &c, t, t + 8, 8, seed % 2 == 0);
            FerryBracket a = ferry_bounds_residual(one), b = ferry_bounds_residual(other);
            cr_assert(a.low == b.low && a.high == b.high, "case %u, %u ns", (unsigned)seed, t);
            a = ferry_bounds_shortest(one);
            b = ferry_bounds_shortest(other);
            cr_assert(a.low == b.low && a.high == b.high, "case %u, %u ns", (unsigned)seed, t);
            cr_assert_eq(ferry_bounds_causal(one), ferry_bounds_causal(other));
        }
    }
}
