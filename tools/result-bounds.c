#include "tools/result-bounds.h"

/* From @at on something grows by @slope per ns; it had grown to @amount. */
typedef struct {
    double at, amount, slope;
} Leg;

typedef struct {
    const FerryResultFrames *frames;
    FerryBounds *bounds;
    GArray *speeds, *rates; /* Leg: the guest's time; the link's, in which its rate is the first */
    uint64_t rate;
    double guest_ns;          /* the next frame ends, in the guest's time */
    double now_ns, before_ns; /* the last frame told ended, and the one before, in the link's */
    FerryBracket before;      /* was left then */
    uint64_t before_bytes;    /* would have been enough */
    gboolean over;
} Reckoner;

static GArray *legs_new(const FerryResultStep *steps, unsigned n, double unit)
{
    GArray *legs = g_array_new(FALSE, FALSE, sizeof(Leg));
    Leg leg = {.slope = 1};

    for (unsigned i = 0; i < n; i++) {
        if (i > 0 || steps[i].from_ns > 0) {
            g_array_append_val(legs, leg);
        }
        leg.amount += leg.slope * ((double)steps[i].from_ns - leg.at);
        leg.at = (double)steps[i].from_ns;
        leg.slope = (double)steps[i].value / unit;
    }
    g_array_append_val(legs, leg);
    return legs;
}

static double amount_at(const GArray *legs, double at)
{
    const Leg *leg = &g_array_index(legs, Leg, 0);

    for (guint i = 1; i < legs->len && g_array_index(legs, Leg, i).at <= at; i++) {
        leg = &g_array_index(legs, Leg, i);
    }
    return leg->amount + leg->slope * (at - leg->at);
}

/* The first moment at which it has grown to @amount. */
static double moment_of(const GArray *legs, double amount)
{
    const Leg *leg = &g_array_index(legs, Leg, 0);

    for (guint i = 1; i < legs->len && g_array_index(legs, Leg, i).amount < amount; i++) {
        leg = &g_array_index(legs, Leg, i);
    }
    return leg->slope > 0 ? leg->at + (amount - leg->amount) / leg->slope : leg->at;
}

static gboolean fetch(Reckoner *r, FerryTraceFrame *frame, double *out_end_ns, GError **error)
{
    if (!r->frames->next(r->frames->self, frame, error)) {
        return FALSE;
    }
    r->over = frame->span_ns == 0;
    r->guest_ns += (double)frame->span_ns;
    *out_end_ns = amount_at(r->rates, moment_of(r->speeds, r->guest_ns));
    return TRUE;
}

/* Frames until the one in which @target_ns lies. */
static gboolean reckon_until(Reckoner *r, double target_ns, GError **error)
{
    while (!r->over && r->now_ns < target_ns) {
        FerryTraceFrame frame = FERRY_TRACE_FRAME_INIT;
        double end_ns;
        if (!fetch(r, &frame, &end_ns, error)) {
            return FALSE;
        }
        if (r->over) {
            break;
        }
        if (end_ns >= target_ns) {
            r->before = ferry_bounds_residual(r->bounds);
            r->before_bytes = ferry_bounds_bytes(r->bounds);
        }
        frame.span_ns = MAX((uint64_t)(end_ns + 0.5) - (uint64_t)(r->now_ns + 0.5), 1);
        if (!ferry_bounds_frame(r->bounds, &frame)) {
            g_set_error_literal(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_FORMAT,
                                "there is no memory for the bounds of so many pages");
            return FALSE;
        }
        r->before_ns = r->now_ns;
        r->now_ns = end_ns;
    }
    return TRUE;
}

/* Frames are not cut: from the one before the pause the link may have sent on and nothing been
 * written; of what is left behind the one with the pause in it, as much may have gone behind it. */
static FerryBracket clairvoyant(const Reckoner *r, double target_ns)
{
    FerryBracket left = ferry_bounds_residual(r->bounds);
    double after_ns = r->now_ns - target_ns;

    if (after_ns >= 1) {
        uint64_t sent = (uint64_t)((target_ns - r->before_ns) / 1e9 * (double)r->rate);
        left.low = r->before.low - MIN(sent, r->before.low);
        left.high += (uint64_t)(after_ns / 1e9 * (double)r->rate);
        left.low = MIN(left.low, left.high); /* rounding */
    }
    return left;
}

static void take(const Reckoner *r, FerryResultBounds *b)
{
    const FerryBracket unknown = {FERRY_RESULT_UNKNOWN, FERRY_RESULT_UNKNOWN};
    gboolean steady = r->rates->len == 1;

    b->clairvoyant = clairvoyant(r, amount_at(r->rates, (double)b->at_ns));
    b->causal_bytes = steady ? ferry_bounds_causal(r->bounds) : FERRY_RESULT_UNKNOWN;
    b->least_bytes = ferry_bounds_bytes(r->bounds);
    if (r->now_ns > amount_at(r->rates, (double)b->at_ns)) { /* what was written behind it */
        b->least_bytes = MIN(b->least_bytes, r->before_bytes);
    }
    b->earliest_ns = steady ? ferry_bounds_earliest(r->bounds) : unknown;
    b->shortest_ns = steady ? ferry_bounds_shortest(r->bounds) : unknown;
    b->throttle_percent = steady ? ferry_bounds_throttle(r->bounds) : unknown;
}

gboolean ferry_result_bounds_reckon(const FerryResultBoundsInput *input,
                                    const FerryResultFrames *frames, FerryResultBounds *bounds,
                                    unsigned n, GError **error)
{
    g_autoptr(FerryBounds) all =
        ferry_bounds_new(input->pages, input->page_bytes, input->classes, &input->link);
    g_autoptr(GArray) speeds = legs_new(input->speeds, input->n_speeds, 1000);
    g_autoptr(GArray) rates =
        legs_new(input->rates, input->n_rates, (double)input->link.bytes_per_second);
    Reckoner r = {.frames = frames,
                  .bounds = all,
                  .speeds = speeds,
                  .rates = rates,
                  .rate = input->link.bytes_per_second};

    if (!all) {
        g_set_error_literal(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_FORMAT,
                            "there is no memory for the bounds of so many pages");
        return FALSE;
    }
    for (unsigned i = 0; i < n; i++) {
        if (!reckon_until(&r, amount_at(rates, (double)bounds[i].at_ns), error)) {
            return FALSE;
        }
        bounds[i].limit_ns = input->link.downtime_limit_ns;
        take(&r, &bounds[i]);
    }
    return TRUE;
}

const char *ferry_result_bounds_verdict(const FerryResultBounds *b)
{
    return b->shortest_ns.low == FERRY_RESULT_UNKNOWN ? NULL
           : b->shortest_ns.low > b->limit_ns         ? "impossible"
           : b->shortest_ns.high <= b->limit_ns       ? "possible"
                                                      : "open";
}

static void add_ratio(FerryResultLine *line, const char *name, uint64_t part, uint64_t whole)
{
    if (part != FERRY_RESULT_UNKNOWN && whole != FERRY_RESULT_UNKNOWN && whole > 0) {
        ferry_result_line_number(line, name, (double)part / (double)whole);
    }
}

void ferry_result_bounds_add(FerryResultLine *line, const FerryResultBounds *b,
                             uint64_t residual_bytes)
{
    ferry_result_line_open(line, "bounds", '{');
    ferry_result_line_count(line, "residual_bytes", residual_bytes);
    ferry_result_line_count(line, "clairvoyant_low_bytes", b->clairvoyant.low);
    ferry_result_line_count(line, "clairvoyant_high_bytes", b->clairvoyant.high);
    ferry_result_line_count(line, "causal_bytes", b->causal_bytes);
    add_ratio(line, "ratio_clairvoyant", residual_bytes, b->clairvoyant.high);
    add_ratio(line, "ratio_causal", residual_bytes, b->causal_bytes);
    ferry_result_line_ms(line, "earliest_low_ms", b->earliest_ns.low);
    ferry_result_line_ms(line, "earliest_high_ms", b->earliest_ns.high);
    ferry_result_line_ms(line, "shortest_downtime_low_ms", b->shortest_ns.low);
    ferry_result_line_ms(line, "shortest_downtime_high_ms", b->shortest_ns.high);
    ferry_result_line_text(line, "verdict", ferry_result_bounds_verdict(b));
    ferry_result_line_count(line, "least_throttle_low_percent", b->throttle_percent.low);
    ferry_result_line_count(line, "least_throttle_high_percent", b->throttle_percent.high);
    ferry_result_line_close(line, '}');
}
