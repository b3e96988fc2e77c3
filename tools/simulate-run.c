/* Runs that differ in policy alone: one after the other, then their bounds in one pass. */
#include <string.h>
#include "simulator/models.h"
#include "tools/format.h"
#include "tools/simulate-private.h"

/* What socket buffers and queues on the way hold: so much time, or bytes. */
#define QUEUE_MS 30
#define QUEUE_MAX (UINT64_C(4) << 20)
/* A model's frames: the budget in tens, and their quarters are known besides. */
#define FRAME_NS_MIN UINT64_C(5000000)
#define FRAME_NS_MAX UINT64_C(100000000)
#define LINK_STEPS_MAX 10000u

static gboolean bad_link(const char *text, const char *why, GError **error)
{
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "--link-change '%s': %s", text,
                why);
    return FALSE;
}

gboolean ferry_simulate_parse_link(const char *text, GArray *steps, uint64_t *out_repeat_ns,
                                   GError **error)
{
    g_auto(GStrv) parts = g_strsplit(text, ",", -1);
    uint64_t last_ns = 0;

    *out_repeat_ns = 0;
    for (char **part = parts; *part; part++) {
        g_auto(GStrv) pair = g_strsplit(*part, ":", 2);
        FerrySimLinkStep step;
        if (*out_repeat_ns || !pair[0] || !pair[1] || steps->len == LINK_STEPS_MAX) {
            return bad_link(text, "it is not T:RATE,... and at most every:T behind them", error);
        }
        if (strcmp(pair[0], "every") == 0) {
            if (!ferry_parse_ns(pair[1], out_repeat_ns, error)) {
                g_prefix_error(error, "--link-change: ");
                return FALSE;
            }
            if (*out_repeat_ns <= last_ns) {
                return bad_link(text, "the last step lies behind what is repeated", error);
            }
            continue;
        }
        if (!ferry_parse_ns(pair[0], &step.at_ns, error) ||
            !ferry_parse_rate(pair[1], &step.bytes_per_second, error)) {
            g_prefix_error(error, "--link-change: ");
            return FALSE;
        }
        if (step.at_ns <= last_ns) {
            return bad_link(text, "times begin above 0 and ascend", error);
        }
        last_ns = step.at_ns;
        g_array_append_val(steps, step);
    }
    return steps->len > 0 || bad_link(text, "it has no step", error);
}

/* What was left to other values, or to the costs. */
static void resolve(FerrySimulateRun *run)
{
    FerrySimulateValue *of = run->c.of;

    if (of[FERRY_SIMULATE_QUEUE].number == UINT64_MAX) {
        of[FERRY_SIMULATE_QUEUE].number =
            MIN(of[FERRY_SIMULATE_BANDWIDTH].number * QUEUE_MS / 1000, QUEUE_MAX);
    }
    if (of[FERRY_SIMULATE_FIXED].number == UINT64_MAX) {
        of[FERRY_SIMULATE_FIXED].number = run->plan->costs.host.fixed_ns;
    }
    if (of[FERRY_SIMULATE_INTERVAL].number == UINT64_MAX) {
        of[FERRY_SIMULATE_INTERVAL].number =
            CLAMP(of[FERRY_SIMULATE_DOWNTIME_LIMIT].number / 10, FRAME_NS_MIN, FRAME_NS_MAX);
    }
}

static gboolean link_of(FerrySimulateRun *run, FerrySimLink *out, GError **error)
{
    const FerrySimulateValue *of = run->c.of;

    if (of[FERRY_SIMULATE_LINK_CHANGE].text &&
        !ferry_simulate_parse_link(of[FERRY_SIMULATE_LINK_CHANGE].text, run->steps, &run->repeat_ns,
                                   error)) {
        return FALSE;
    }
    *out = (FerrySimLink){
        .bytes_per_second = of[FERRY_SIMULATE_BANDWIDTH].number,
        .steps = (const FerrySimLinkStep *)run->steps->data,
        .n_steps = run->steps->len,
        .repeat_ns = run->repeat_ns,
        .queue_bytes = of[FERRY_SIMULATE_QUEUE].number,
        .round_trip_ns = of[FERRY_SIMULATE_ROUND_TRIP].number,
        .jitter_permille = (unsigned)of[FERRY_SIMULATE_JITTER].number,
    };
    return TRUE;
}

static void throttle_of(const FerrySimulateValue *of, FerrySimulation *s)
{
    if (strcmp(of[FERRY_SIMULATE_AUTO_CONVERGE].text, "on") == 0) {
        s->throttle_initial = (unsigned)of[FERRY_SIMULATE_THROTTLE_INITIAL].number;
        s->throttle_increment = (unsigned)of[FERRY_SIMULATE_THROTTLE_INCREMENT].number;
        s->throttle_max = (unsigned)of[FERRY_SIMULATE_THROTTLE_MAX].number;
        s->throttle_trigger = (unsigned)of[FERRY_SIMULATE_THROTTLE_TRIGGER].number;
    }
}

static void codec_of(const FerrySimulateRun *run, FerrySimCodec *out)
{
    ferry_sim_codec_parse(run->c.of[FERRY_SIMULATE_COMPRESS].text, &out->kind);
    out->page_ns = run->plan->costs.pack_ns[out->kind];
}

/* A policy may have a chunk of its own. */
static void clears_of(const FerrySimulateRun *run, FerrySimulation *s)
{
    uint64_t chunk = s->policy.ops ? s->policy.ops->chunk_bytes : 0;

    s->costs.chunk_bytes = run->c.of[FERRY_SIMULATE_CHUNK].number;
    s->costs.clear_ns = ferry_costs_clear_ns(
        &run->plan->costs, MIN(chunk ? chunk : s->costs.chunk_bytes, run->ram_bytes));
}

gboolean ferry_simulate_prepare(FerrySimulateRun *run, FerrySimulation *out, GError **error)
{
    FerrySimulateValue *of = run->c.of;
    const char *why;
    FerrySimulation s = {.costs = run->plan->costs.host};

    resolve(run);
    if (!link_of(run, &s.link, error)) {
        return FALSE;
    }
    ferry_policy_parse(of[FERRY_SIMULATE_POLICY].text, &s.policy, &why);
    ferry_on_stall_parse(of[FERRY_SIMULATE_ON_STALL].text, &s.on_stall);
    codec_of(run, &s.codec);
    throttle_of(of, &s);
    clears_of(run, &s);
    s.costs.fixed_ns = of[FERRY_SIMULATE_FIXED].number;
    s.timeout.timeout_ns = of[FERRY_SIMULATE_TIMEOUT].number;
    s.timeout.pause = strcmp(of[FERRY_SIMULATE_ON_TIMEOUT].text, "pause") == 0;
    s.max_bandwidth = of[FERRY_SIMULATE_MAX_BANDWIDTH].number;
    s.avail_switchover_bandwidth = of[FERRY_SIMULATE_SWITCHOVER_BANDWIDTH].number;
    s.downtime_limit_ns = of[FERRY_SIMULATE_DOWNTIME_LIMIT].number;
    s.margin_ns = of[FERRY_SIMULATE_MARGIN].number;
    s.max_ns = of[FERRY_SIMULATE_UNTIL].number;
    s.seed = of[FERRY_SIMULATE_SEED].number;
    s.trace_start_ns = of[FERRY_SIMULATE_START].number;
    s.trace_once = strcmp(of[FERRY_SIMULATE_AT_END].text, "stop") == 0;
    *out = s;
    return TRUE;
}

void ferry_simulate_run_clear(FerrySimulateRun *run)
{
    g_free(run->id);
    g_free(run->error);
    g_array_unref(run->steps);
    g_array_unref(run->rounds);
    g_array_unref(run->speeds);
}

/* The last one is kept in any case: the pause was behind it. */
static void note_round(void *self, const FerrySimRound *round)
{
    FerrySimulateRun *run = self;
    unsigned throttle = MIN(round->decision.throttle_percent, 99);
    FerryResultStep speed = {.from_ns = round->values.moment.now_ns, .value = 1000 - 10 * throttle};
    uint64_t before = run->speeds->len
                          ? g_array_index(run->speeds, FerryResultStep, run->speeds->len - 1).value
                          : 1000;

    if (!run->plan->rounds) {
        g_array_set_size(run->rounds, 0);
    }
    g_array_append_val(run->rounds, *round);
    if (speed.value != before) {
        g_array_append_val(run->speeds, speed);
    }
}

/* What had not arrived when the guest stood: what was sent since, and what was under way. */
static uint64_t left_at_pause(const FerrySimulateRun *run)
{
    if (run->result.pause_at_ns == UINT64_MAX || run->result.end != FERRY_SIM_DONE) {
        return FERRY_RESULT_UNKNOWN;
    }
    const FerryRound *last =
        &g_array_index(run->rounds, FerrySimRound, run->rounds->len - 1).values;
    return run->result.wire_bytes - last->moment.sent_bytes + last->queued_bytes;
}

static void simulate(FerrySimulateRun *run, FerryTraceReader *reader)
{
    g_autoptr(GError) error = NULL;
    FerrySimulation s;
    FerryWorkload workload;

    if (!ferry_simulate_prepare(run, &s, &error)) {
        run->error = g_strdup(error->message);
        return;
    }
    s.trace = reader;
    if (!reader) {
        if (!ferry_model_parse(run->c.of[FERRY_SIMULATE_WORKLOAD].text,
                               run->c.of[FERRY_SIMULATE_RAM].number, &workload, &error)) {
            run->error = g_strdup(error->message);
            return;
        }
        s.workload = &workload;
    }
    s.round = note_round;
    s.self = run;
    if (!ferry_simulate(&s, &run->result, &error)) {
        run->error = g_strdup(error->message);
        return;
    }
    run->residual_bytes = left_at_pause(run);
    if (!run->plan->rounds) {
        g_array_set_size(run->rounds, 0);
    }
}

static void run_init(FerrySimulateRun *run, const FerrySimulatePlan *plan, uint64_t number)
{
    *run = (FerrySimulateRun){.plan = plan,
                              .trace_length_ns = FERRY_RESULT_UNKNOWN,
                              .residual_bytes = FERRY_RESULT_UNKNOWN};
    ferry_simulate_plan_case(plan, number, &run->c);
    run->id = ferry_simulate_case_id(plan, &run->c);
    run->ram_bytes = run->c.of[FERRY_SIMULATE_RAM].number;
    run->steps = g_array_new(FALSE, FALSE, sizeof(FerrySimLinkStep));
    run->rounds = g_array_new(FALSE, FALSE, sizeof(FerrySimRound));
    run->speeds = g_array_new(FALSE, FALSE, sizeof(FerryResultStep));
}

/* FALSE: they cannot be run, and each has the error. */
static gboolean open_trace(FerrySimulateRun *runs, unsigned n, FerryTraceFile **out_file,
                           FerryTraceReader **out_reader)
{
    const char *path = runs[0].c.of[FERRY_SIMULATE_TRACE].text;
    g_autoptr(GError) error = NULL;
    FerryTraceTotals totals;

    if (!path) {
        return TRUE;
    }
    *out_file = ferry_trace_file_open(path, &error);
    if (*out_file) {
        FerryTraceInput input = ferry_trace_file_input(*out_file);
        *out_reader = ferry_trace_reader_new(&input, &error);
    }
    for (unsigned i = 0; i < n; i++) {
        if (!*out_reader) {
            runs[i].error = g_strdup(error->message); /* each run's id has the path */
            continue;
        }
        runs[i].ram_bytes =
            ferry_trace_header_pages(ferry_trace_reader_header(*out_reader)) * FERRY_WORKLOAD_PAGE;
        if (ferry_trace_reader_totals(*out_reader, &totals)) {
            runs[i].trace_length_ns = totals.length_ns;
        }
    }
    return *out_reader != NULL;
}

void ferry_simulate_run(const FerrySimulatePlan *plan, uint64_t first, unsigned n, GString *out)
{
    g_autofree FerrySimulateRun *runs = g_new(FerrySimulateRun, n);
    g_autoptr(FerryTraceFile) file = NULL;
    g_autoptr(FerryTraceReader) reader = NULL;

    for (unsigned i = 0; i < n; i++) {
        run_init(&runs[i], plan, first + i);
    }
    if (open_trace(runs, n, &file, &reader)) {
        for (unsigned i = 0; i < n; i++) {
            simulate(&runs[i], reader);
        }
        if (!plan->no_bounds) {
            ferry_simulate_reckon(runs, n, reader);
        }
    }
    for (unsigned i = 0; i < n; i++) {
        ferry_simulate_add_lines(&runs[i], out);
        ferry_simulate_run_clear(&runs[i]);
    }
}
