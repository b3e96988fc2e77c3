/* Runs as lines of docs/results.md. */
#include <string.h>
#include "tools/simulate-private.h"

#define PAGE FERRY_WORKLOAD_PAGE

static void add_parameter(FerryResultLine *line, const FerrySimulateParameter *p,
                          const FerrySimulateValue *value)
{
    switch (p->kind) {
    case FERRY_SIMULATE_TEXT:
    case FERRY_SIMULATE_WORD:
        ferry_result_line_text(line, p->member, value->text);
        break;
    case FERRY_SIMULATE_NS:
        ferry_result_line_ms(line, p->member, value->number);
        break;
    case FERRY_SIMULATE_PERMILLE:
        ferry_result_line_number(line, p->member, (double)value->number / 10);
        break;
    case FERRY_SIMULATE_BYTES:
    case FERRY_SIMULATE_RATE:
    case FERRY_SIMULATE_PERCENT:
    case FERRY_SIMULATE_NUMBER:
        ferry_result_line_count(line, p->member, value->number);
        break;
    }
}

/* What says nothing is left out: 0 that nobody gave, and steps of a throttle that is off. */
static gboolean says_something(const FerrySimulatePlan *plan, const FerrySimulateCase *c,
                               unsigned which)
{
    const FerrySimulateValue *value = &c->of[which];
    gboolean words = ferry_simulate_parameters[which].kind <= FERRY_SIMULATE_WORD;

    if (!value->text || which == FERRY_SIMULATE_RAM) {
        return FALSE;
    }
    if (which >= FERRY_SIMULATE_THROTTLE_INITIAL && which <= FERRY_SIMULATE_THROTTLE_TRIGGER) {
        return strcmp(c->of[FERRY_SIMULATE_AUTO_CONVERGE].text, "on") == 0;
    }
    if (which == FERRY_SIMULATE_ON_TIMEOUT) {
        return c->of[FERRY_SIMULATE_TIMEOUT].number > 0;
    }
    if (which == FERRY_SIMULATE_INTERVAL) {
        return c->of[FERRY_SIMULATE_WORKLOAD].text != NULL && !plan->no_bounds;
    }
    if (which == FERRY_SIMULATE_AT_END) {
        return c->of[FERRY_SIMULATE_TRACE].text != NULL;
    }
    return words || value->number > 0 || plan->given[which];
}

static void begin_run(FerryResultLine *line, const FerrySimulatePlan *plan,
                      const FerrySimulateCase *c, const char *id)
{
    g_autoptr(GPtrArray) command = ferry_simulate_command(plan, c);

    ferry_result_line_begin(line, "run");
    ferry_result_line_text(line, "id", id);
    ferry_result_line_text(line, "kind", "simulate");
    ferry_result_line_texts(line, "command", (const char *const *)command->pdata);
    for (unsigned i = 0; i < FERRY_SIMULATE_N; i++) {
        if (says_something(plan, c, i)) {
            add_parameter(line, &ferry_simulate_parameters[i], &c->of[i]);
        }
    }
}

static const char *reason(const FerrySimulateRun *run)
{
    const FerrySimResult *r = &run->result;

    if (run->error || r->end == FERRY_SIM_DONE) {
        return run->error;
    }
    if (r->end == FERRY_SIM_GAVE_UP) {
        return r->timed_out ? "the timeout passed" : "the downtime limit cannot be met";
    }
    return r->trace_ended && strcmp(run->c.of[FERRY_SIMULATE_AT_END].text, "stop") == 0
               ? "the trace ended"
               : "it was watched no longer";
}

static void add_times(FerryResultLine *line, const FerrySimResult *r)
{
    gboolean paused = r->pause_at_ns != UINT64_MAX;
    gboolean done = r->end == FERRY_SIM_DONE;

    ferry_result_line_ms(line, "total_ms", r->total_ns);
    ferry_result_line_ms(line, "precopy_ms", r->pause_at_ns);
    if (done) {
        ferry_result_line_ms(line, "downtime_ms", r->downtime_ns);
        ferry_result_line_ms(line, "predicted_downtime_ms", r->predicted_downtime_ns);
        ferry_result_line_open(line, "downtime", '{');
        ferry_result_line_ms(line, "pause_ms", r->pause_ns);
        ferry_result_line_ms(line, "last_round_ms", r->last_round_ns);
        ferry_result_line_ms(line, "device_state_ms", r->fixed_ns);
        ferry_result_line_ms(line, "total_ms", r->downtime_ns);
        ferry_result_line_close(line, '}');
    }
    if (paused) {
        ferry_result_line_ms(line, "convergence_ms",
                             r->pause_at_ns - MIN(r->first_pass_ns, r->pause_at_ns));
    }
}

static void add_amounts(FerryResultLine *line, const FerrySimulateRun *run)
{
    const FerrySimResult *r = &run->result;

    ferry_result_line_count(line, "rounds", r->rounds);
    ferry_result_line_count(line, "wire_bytes", r->wire_bytes);
    ferry_result_line_number(line, "amplification", (double)r->wire_bytes / (double)r->ram_bytes);
    if (run->bounded && run->bounds.least_bytes > 0) {
        ferry_result_line_number(line, "amplification_oracle",
                                 (double)r->wire_bytes / (double)run->bounds.least_bytes);
    }
    ferry_result_line_count(line, "sent_pages", r->sent_pages);
    ferry_result_line_count(line, "zero_pages", r->zero_pages);
    ferry_result_line_count(line, "packed_pages", r->packed_pages);
    ferry_result_line_count(line, "false_dirty_pages", r->false_dirty_pages);
    ferry_result_line_count(line, "residual_pages", r->residual_pages);
    ferry_result_line_number(line, "throttle_percent_seconds", r->throttle_percent_seconds);
    ferry_result_line_count(line, "throttle_max_percent", r->throttle_max_percent);
}

static void add_verdict(FerryResultLine *line, const FerrySimResult *r)
{
    const FerryForecast *first = &r->first_forecast;

    if (first->outlook != FERRY_OUTLOOK_UNKNOWN) {
        ferry_result_line_text(line, "first_verdict", ferry_outlook_name(first->outlook));
        ferry_result_line_ms(line, "first_verdict_ms", r->first_outlook_ns);
        ferry_result_line_ms(line, "verdict_floor_ms", first->floor_ns);
    }
}

static void append(GString *out, FerryResultLine *line)
{
    g_autofree char *text = ferry_result_line_end(line);

    g_string_append(out, text);
}

static void add_round(const FerrySimulateRun *run, const FerrySimRound *r, GString *out)
{
    const FerryRound *v = &r->values;
    FerryResultLine line;

    ferry_result_line_begin(&line, "round");
    ferry_result_line_text(&line, "id", run->id);
    ferry_result_line_count(&line, "number", v->number);
    ferry_result_line_ms(&line, "t_ms", v->moment.now_ns);
    ferry_result_line_ms(&line, "duration_ms", v->round_ns);
    ferry_result_line_count(&line, "sent_pages", r->sent_pages);
    ferry_result_line_count(&line, "zero_pages", r->zero_pages);
    ferry_result_line_count(&line, "packed_pages", r->packed_pages);
    ferry_result_line_count(&line, "deferred_pages", r->deferred_pages);
    ferry_result_line_count(&line, "false_dirty_pages", r->false_dirty_pages);
    ferry_result_line_count(&line, "dirtied_pages", v->round_dirtied_bytes / PAGE);
    ferry_result_line_count(&line, "sent_bytes", v->round_sent_bytes);
    ferry_result_line_count(&line, "remaining_bytes", v->dirty_bytes);
    ferry_result_line_count(&line, "threshold_bytes", r->threshold_bytes);
    if (v->round_ns > 0) {
        ferry_result_line_number(&line, "bytes_per_second",
                                 (double)v->round_sent_bytes / ((double)v->round_ns / 1e9));
    }
    ferry_result_line_count(&line, "dirty_pages_per_second", r->dirty_pages_per_second);
    ferry_result_line_count(&line, "throttle_percent", r->throttle_percent);
    ferry_result_line_ms(&line, "expected_downtime_ms", r->decision.predicted_downtime_ns);
    append(out, &line);
}

void ferry_simulate_add_lines(const FerrySimulateRun *run, GString *out)
{
    const FerrySimResult *r = &run->result;
    FerryResultLine line;

    for (guint i = 0; i < run->rounds->len; i++) {
        add_round(run, &g_array_index(run->rounds, FerrySimRound, i), out);
    }
    begin_run(&line, run->plan, &run->c, run->id);
    ferry_result_line_text(&line, "outcome", run->error ? "failed" : ferry_sim_end_name(r->end));
    ferry_result_line_text(&line, "error", reason(run));
    if (!run->error) {
        ferry_result_line_count(&line, "ram_bytes", r->ram_bytes);
        ferry_result_line_ms(&line, "length_ms", run->trace_length_ns);
        if (run->c.of[FERRY_SIMULATE_TRACE].text) {
            ferry_result_line_count(&line, "trace_repeats", r->trace_laps);
        }
        add_times(&line, r);
        add_amounts(&line, run);
        add_verdict(&line, r);
    }
    if (run->bounded) {
        ferry_result_bounds_add(&line, &run->bounds, run->residual_bytes);
    }
    append(out, &line);
}

char *ferry_simulate_failed_line(const FerrySimulatePlan *plan, uint64_t number, const char *why)
{
    FerrySimulateCase c;
    FerryResultLine line;

    ferry_simulate_plan_case(plan, number, &c);
    g_autofree char *id = ferry_simulate_case_id(plan, &c);
    begin_run(&line, plan, &c, id);
    ferry_result_line_text(&line, "outcome", "failed");
    ferry_result_line_text(&line, "error", why);
    return ferry_result_line_end(&line);
}

char *ferry_simulate_sweep_line(const FerrySimulatePlan *plan)
{
    g_autoptr(GPtrArray) command = ferry_simulate_command(plan, NULL);
    FerryResultLine line;

    ferry_result_line_begin(&line, "sweep");
    ferry_result_line_texts(&line, "command", (const char *const *)command->pdata);
    ferry_result_line_open(&line, "varied", '{');
    for (unsigned i = 0; i < FERRY_SIMULATE_N; i++) {
        if (plan->values[i]->len < 2) {
            continue;
        }
        ferry_result_line_open(&line, ferry_simulate_parameters[i].option, '[');
        for (guint n = 0; n < plan->values[i]->len; n++) {
            ferry_result_line_text(&line, NULL,
                                   g_array_index(plan->values[i], FerrySimulateValue, n).text);
        }
        ferry_result_line_close(&line, ']');
    }
    ferry_result_line_close(&line, '}');
    ferry_result_line_count(&line, "runs", plan->n_runs);
    return ferry_result_line_end(&line);
}
