/* What no policy could have beaten, for runs that differ in policy alone. */
#include <stdlib.h>
#include <string.h>
#include "engine/precopy/estimate.h"
#include "tools/simulate-private.h"

#define PAGE FERRY_WORKLOAD_PAGE
#define RATES_MAX 1000000u

/* The link's rates as they follow one another until @until_ns, those of rounds. */
static GArray *rates_of(const FerrySimulateRun *run, uint64_t cap, uint64_t until_ns)
{
    GArray *rates = g_array_new(FALSE, FALSE, sizeof(FerryResultStep));
    const FerrySimLinkStep *steps = (const FerrySimLinkStep *)run->steps->data;
    FerryResultStep first = {.value = MIN(run->c.of[FERRY_SIMULATE_BANDWIDTH].number, cap)};

    for (uint64_t begin = 0; run->steps->len && begin < until_ns && rates->len < RATES_MAX;
         begin += run->repeat_ns) {
        first.from_ns = begin;
        g_array_append_val(rates, first);
        for (guint i = 0; i < run->steps->len; i++) {
            FerryResultStep rate = {.from_ns = begin + steps[i].at_ns,
                                    .value = MIN(steps[i].bytes_per_second, cap)};
            g_array_append_val(rates, rate);
        }
        if (run->repeat_ns == 0) {
            break;
        }
    }
    return rates;
}

static FerryBoundsInput link_of(const FerrySimulateRun *run, uint64_t cap)
{
    const FerrySimulateValue *of = run->c.of;
    const FerrySimCosts *costs = &run->plan->costs.host;
    uint64_t sync_ns =
        costs->sync_ns + ferry_scale(costs->sync_ns_per_gib, run->result.ram_bytes, 1u << 30);

    return (FerryBoundsInput){
        .bytes_per_second = MIN(of[FERRY_SIMULATE_BANDWIDTH].number, cap),
        .switchover_bytes_per_second = of[FERRY_SIMULATE_BANDWIDTH].number,
        .downtime_limit_ns = of[FERRY_SIMULATE_DOWNTIME_LIMIT].number,
        .fixed_ns = costs->pause_ns + sync_ns + of[FERRY_SIMULATE_FIXED].number +
                    of[FERRY_SIMULATE_ROUND_TRIP].number,
        .packed = strcmp(of[FERRY_SIMULATE_COMPRESS].text, "none") != 0,
    };
}

/* When the guest stood, or the run ended. */
static uint64_t end_of(const FerrySimulateRun *run)
{
    return run->result.end == FERRY_SIM_DONE
               ? run->result.pause_at_ns + run->plan->costs.host.pause_ns
               : run->result.total_ns;
}

static int compare(const void *a, const void *b)
{
    const FerrySimulateRun *const *x = a, *const *y = b;
    uint64_t p = end_of(*x), q = end_of(*y);

    return (p > q) - (p < q);
}

static gboolean reckon(const FerryResultBoundsInput *input, FerryTraceReader *reader,
                       FerrySimulateRun **runs, FerryResultBounds *bounds, unsigned n,
                       GError **error)
{
    const FerrySimulateValue *of = runs[0]->c.of;
    gboolean once = strcmp(of[FERRY_SIMULATE_AT_END].text, "stop") == 0;
    FerryResultTrace trace;

    if (!ferry_result_trace_init(&trace, reader, of[FERRY_SIMULATE_START].number, once, error)) {
        return FALSE;
    }
    for (unsigned i = 0; i < n; i++) {
        bounds[i] = (FerryResultBounds){.at_ns = end_of(runs[i])};
    }
    FerryResultFrames frames = ferry_result_trace_frames(&trace);
    return ferry_result_bounds_reckon(input, &frames, bounds, n, error);
}

/* What is left is compared with what must be left of a guest that was slowed like this one. */
static gboolean reckon_slowed(const FerryResultBoundsInput *input, FerryTraceReader *reader,
                              FerrySimulateRun *run, GError **error)
{
    FerryResultBoundsInput slowed = *input;
    FerryResultBounds bounds;

    slowed.speeds = (const FerryResultStep *)run->speeds->data;
    slowed.n_speeds = run->speeds->len;
    if (!reckon(&slowed, reader, &run, &bounds, 1, error)) {
        return FALSE;
    }
    run->bounds.clairvoyant = bounds.clairvoyant;
    run->bounds.causal_bytes = bounds.causal_bytes;
    return TRUE;
}

static gboolean reckon_all(FerrySimulateRun **runs, unsigned n, FerryTraceReader *reader,
                           GError **error)
{
    g_autofree FerryResultBounds *bounds = g_new0(FerryResultBounds, n);
    uint64_t cap = runs[0]->c.of[FERRY_SIMULATE_MAX_BANDWIDTH].number;
    uint64_t pages = runs[0]->result.ram_bytes / PAGE;
    g_autofree uint8_t *classes =
        ferry_result_trace_classes(reader, pages, runs[0]->c.of[FERRY_SIMULATE_START].number);
    g_autoptr(GArray) rates = rates_of(runs[0], cap ? cap : UINT64_MAX, end_of(runs[n - 1]));
    FerryResultBoundsInput input = {.pages = pages,
                                    .page_bytes = PAGE,
                                    .classes = classes,
                                    .link = link_of(runs[0], cap ? cap : UINT64_MAX),
                                    .rates = (const FerryResultStep *)rates->data,
                                    .n_rates = rates->len};

    if (!reckon(&input, reader, runs, bounds, n, error)) {
        return FALSE;
    }
    for (unsigned i = 0; i < n; i++) {
        runs[i]->bounds = bounds[i];
        if (runs[i]->speeds->len && !reckon_slowed(&input, reader, runs[i], error)) {
            return FALSE;
        }
        runs[i]->bounded = TRUE;
    }
    return TRUE;
}

static gboolean reckon_model(FerrySimulateRun **runs, unsigned n, GError **error)
{
    g_autoptr(FerrySimulateScratch) scratch =
        ferry_simulate_record(runs[0], end_of(runs[n - 1]) + 1, error);

    return scratch && reckon_all(runs, n, ferry_simulate_scratch_reader(scratch), error);
}

void ferry_simulate_reckon(FerrySimulateRun *runs, unsigned n, FerryTraceReader *reader)
{
    g_autofree FerrySimulateRun **ended = g_new(FerrySimulateRun *, n);
    g_autoptr(GError) error = NULL;
    unsigned n_ended = 0;

    for (unsigned i = 0; i < n; i++) {
        if (!runs[i].error) {
            ended[n_ended++] = &runs[i];
        }
    }
    /* Deltas weigh less than any page that the bounds know of. */
    if (n_ended == 0 || strcmp(runs[0].c.of[FERRY_SIMULATE_COMPRESS].text, "xbzrle") == 0) {
        return;
    }
    qsort(ended, n_ended, sizeof(FerrySimulateRun *), compare);
    if (!(reader ? reckon_all(ended, n_ended, reader, &error)
                 : reckon_model(ended, n_ended, &error))) {
        for (unsigned i = 0; i < n_ended; i++) {
            ended[i]->bounded = FALSE;
            ended[i]->error = g_strdup_printf("bounds: %s", error->message);
        }
    }
}
