/* Migrations of models of the guest, each with another guess at what is not known of it. */
#include <math.h>
#include <stdlib.h>
#include "simulator/random.h"
#include "tools/predict.h"

#define RECORD_PAGE_BYTES 4104.0
#define HOPELESS_RUNS 6u /* so many in a row say enough */
#define LIMIT_RUNS 10u
#define LIMIT_TRIES 16u
#define NS 1e9
#define JITTER_LEAST 20.0 /* permille of the rate */
#define JITTER_MOST 200.0
#define MARGIN_MOST_NS 30e6
/* What socket buffers and queues on the way hold: so much time, or bytes. */
#define QUEUE_MS 30
#define QUEUE_MAX (4u << 20)

static FerrySimulation prepare(const FerryPredictGuest *guest, const FerryPredictTask *task,
                               double patience_s)
{
    FerrySimCosts costs = FERRY_SIM_COSTS_DEFAULT;
    FerrySimulation s = {
        .link = {.bytes_per_second = task->link_bytes_per_second,
                 .queue_bytes = MIN(task->link_bytes_per_second * QUEUE_MS / 1000, QUEUE_MAX),
                 .round_trip_ns = 500000},
        .costs = costs,
        .policy = task->policy,
        .max_bandwidth = task->max_bandwidth,
        .avail_switchover_bandwidth = guest->switchover_bandwidth,
        .downtime_limit_ns = task->downtime_limit_ms * 1000000,
        .throttle_initial = guest->throttle_initial,
        .throttle_increment = guest->throttle_increment,
        .throttle_max = guest->throttle_max,
        .throttle_trigger = guest->throttle_trigger,
        .max_ns = (uint64_t)(patience_s * NS),
    };
    return s;
}

/* What a host takes for pauses, syncs and device state is not known either: half to twice. Nor is
 * how steady host and link are, hence how much a policy keeps in hand. */
static void vary(FerrySimulation *s, uint64_t seed)
{
    const FerrySimCosts costs = FERRY_SIM_COSTS_DEFAULT;
    FerryRandom random = {.state = seed * 1000003};
    double factor = 0.5 + 1.5 * ferry_random_unit(&random);

    double unsteady = ferry_random_unit(&random);

    s->seed = seed;
    s->link.jitter_permille = (unsigned)(JITTER_LEAST + (JITTER_MOST - JITTER_LEAST) * unsteady);
    s->margin_ns = (uint64_t)(MARGIN_MOST_NS * unsteady);
    s->costs.fixed_ns = (uint64_t)((double)costs.fixed_ns * factor);
    s->costs.pause_ns = (uint64_t)((double)costs.pause_ns * factor);
    s->costs.sync_ns_per_gib = (uint64_t)((double)costs.sync_ns_per_gib * factor);
}

static double fixed_ms(const FerrySimulation *s)
{
    return (double)(s->costs.fixed_ns + s->costs.pause_ns + s->costs.sync_ns +
                    s->link.round_trip_ns) /
           1e6;
}

/* The shortest downtime that leaves nothing out but what no order of sending keeps clean. */
static double floor_ms(const FerrySimulation *s, const FerryWorkload *w, double bytes_per_second,
                       double speed)
{
    double rounds =
        s->max_bandwidth ? MIN((double)s->max_bandwidth, bytes_per_second) : bytes_per_second;
    double pages = ferry_workload_floor_pages(w, rounds / RECORD_PAGE_BYTES, speed);

    return fixed_ms(s) + pages * RECORD_PAGE_BYTES / bytes_per_second * 1000;
}

static double needed_rate(const FerrySimulation *s, const FerryWorkload *w)
{
    double limit_ms = (double)s->downtime_limit_ns / 1e6, low = 1024, high = 1e12;

    if (floor_ms(s, w, high, 1) > limit_ms) {
        return INFINITY;
    }
    for (unsigned i = 0; i < 60; i++) {
        double rate = sqrt(low * high);
        *(floor_ms(s, w, rate, 1) > limit_ms ? &low : &high) = rate;
    }
    return high;
}

static double needed_throttle(const FerrySimulation *s, const FerryWorkload *w)
{
    double rate = (double)s->link.bytes_per_second;

    for (unsigned percent = 0; percent < 100; percent++) {
        if (floor_ms(s, w, rate, 1 - percent / 100.0) <= (double)s->downtime_limit_ns / 1e6) {
            return percent;
        }
    }
    return 100;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double quantile(const double *sorted, unsigned n, double share)
{
    return sorted[(unsigned)(share * (n - 1) + 0.5)];
}

static FerryInterval interval_of(double *values, unsigned n)
{
    if (n == 0) {
        return (FerryInterval){NAN, NAN, NAN};
    }
    qsort(values, n, sizeof *values, compare);
    return (FerryInterval){quantile(values, n, 0.05), quantile(values, n, 0.5),
                           quantile(values, n, 0.95)};
}

typedef struct {
    double *rounds, *total_ms, *sent, *downtime_ms; /* of n that met the limit */
    double *floor_ms, *rate, *throttle;             /* of all */
} Samples;

static void samples_new(Samples *s, unsigned n)
{
    double **all[] = {&s->rounds,   &s->total_ms, &s->sent,    &s->downtime_ms,
                      &s->floor_ms, &s->rate,     &s->throttle};

    for (gsize i = 0; i < G_N_ELEMENTS(all); i++) {
        *all[i] = g_new(double, n);
    }
}

static void samples_clear(Samples *s)
{
    double *all[] = {s->rounds,   s->total_ms, s->sent,    s->downtime_ms,
                     s->floor_ms, s->rate,     s->throttle};

    for (gsize i = 0; i < G_N_ELEMENTS(all); i++) {
        g_free(all[i]);
    }
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Samples, samples_clear)

static void sum_up(Samples *s, FerryPrediction *p)
{
    p->rounds = interval_of(s->rounds, p->met);
    p->total_ms = interval_of(s->total_ms, p->met);
    p->sent_bytes = interval_of(s->sent, p->met);
    p->downtime_ms = interval_of(s->downtime_ms, p->met);
    p->floor_ms = interval_of(s->floor_ms, p->runs);
    p->needed_bytes_per_second = interval_of(s->rate, p->runs);
    p->throttle_percent = interval_of(s->throttle, p->runs);
}

static void run_once(const FerryPredictGuest *guest, FerrySimulation *s, uint64_t seed, Samples *to,
                     FerryPrediction *p)
{
    FerryWorkload workload;
    FerrySimResult r = {0};

    ferry_fit_workload(&guest->observed, seed, &workload);
    vary(s, seed);
    s->workload = &workload;
    (void)ferry_simulate(s, &r, NULL); /* a model does not fail */
    to->floor_ms[p->runs] = floor_ms(s, &workload, (double)s->link.bytes_per_second, 1);
    to->rate[p->runs] = needed_rate(s, &workload);
    to->throttle[p->runs] = needed_throttle(s, &workload);
    p->runs++;
    if (r.end == FERRY_SIM_DONE) {
        to->rounds[p->met] = r.rounds;
        to->total_ms[p->met] = (double)r.total_ns / 1e6;
        to->sent[p->met] = (double)r.wire_bytes;
        to->downtime_ms[p->met] = (double)r.downtime_ns / 1e6;
        p->met++;
    }
}

/* How many of a few migrations end in time with this limit. */
static unsigned try_limit(const FerryPredictGuest *guest, const FerryPredictTask *task,
                          double patience_s, uint64_t limit_ms)
{
    FerrySimulation s = prepare(guest, task, patience_s);
    unsigned met = 0;

    s.downtime_limit_ns = limit_ms * 1000000;
    for (uint64_t seed = 1; seed <= LIMIT_RUNS && seed - met <= 2; seed++) {
        FerryWorkload workload;
        FerrySimResult r = {0};
        ferry_fit_workload(&guest->observed, seed, &workload);
        vary(&s, seed);
        s.workload = &workload;
        (void)ferry_simulate(&s, &r, NULL);
        met += r.end == FERRY_SIM_DONE;
    }
    return met;
}

/* From the floor upwards, in tens of milliseconds. */
static uint64_t suggest_limit(const FerryPredictGuest *guest, const FerryPredictTask *task,
                              const FerryPrediction *p)
{
    double limit_ms = MAX(p->floor_ms.p95 * 1.1, (double)task->downtime_limit_ms);

    for (unsigned i = 0; i < LIMIT_TRIES && limit_ms <= 2e6; i++) {
        uint64_t rounded = (uint64_t)(ceil(limit_ms / 10) * 10);
        if (try_limit(guest, task, p->patience_s, rounded) >= LIMIT_RUNS - 1) {
            return rounded;
        }
        limit_ms *= 1.25;
    }
    return 0;
}

void ferry_predict_run(const FerryPredictGuest *guest, const FerryPredictTask *task,
                       FerryPrediction *out)
{
    uint64_t rate = task->max_bandwidth ? task->max_bandwidth : task->link_bytes_per_second;
    double pass_s = (double)(guest->observed.ram_pages - guest->observed.zero_pages) *
                    RECORD_PAGE_BYTES / (double)rate;
    FerryPrediction p = {.patience_s =
                             task->patience_s > 0 ? task->patience_s : CLAMP(5 * pass_s, 10, 3600)};
    FerrySimulation s = prepare(guest, task, p.patience_s);
    g_auto(Samples) samples = {0};

    samples_new(&samples, task->runs);
    for (uint64_t seed = 1; seed <= task->runs && !p.stopped_early; seed++) {
        run_once(guest, &s, seed, &samples, &p);
        p.stopped_early = p.runs == HOPELESS_RUNS && p.met == 0 && p.runs < task->runs;
    }
    sum_up(&samples, &p);
    p.suggested_limit_ms =
        10 * p.met >= 9 * p.runs ? task->downtime_limit_ms : suggest_limit(guest, task, &p);
    *out = p;
}

const char *ferry_predict_verdict(const FerryPrediction *p)
{
    return 10 * p->met >= 9 * p->runs ? "meets" : 10 * p->met < p->runs ? "stalls" : "uncertain";
}
