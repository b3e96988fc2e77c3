/* What a replay says of itself: docs/results.md's lines, and the same for people. */
#include <math.h>
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "protocol/multifd.h"
#include "tools/format.h"
#include "tools/replay.h"

static uint64_t known(uint64_t value, gboolean is_known)
{
    return is_known ? value : FERRY_RESULT_UNKNOWN;
}

static void add_flag(FerryResultLine *l, const char *name, gboolean on)
{
    ferry_result_line_count(l, name, on ? 1 : 0);
}

static void add_parameters(FerryResultLine *l, const FerryReplayOptions *o, const FerryReplayRun *r)
{
    uint64_t rate = r->progress.uncapped_bytes_per_second;

    ferry_result_line_count(l, "seed", o->seed);
    ferry_result_line_text(l, "policy", o->policy_name);
    ferry_result_line_text(l, "trace", o->trace_path);
    ferry_result_line_count(l, "ram_bytes", r->progress.ram_total_bytes);
    ferry_result_line_ms(l, "length_ms", ferry_replay_trace_length_ns(r->trace));
    ferry_result_line_count(l, "bandwidth_bytes_per_second", known(rate, rate > 0));
    ferry_result_line_count(l, "max_bandwidth_bytes_per_second",
                            known(o->max_bandwidth, o->max_bandwidth > 0));
    ferry_result_line_ms(l, "downtime_limit_ms", o->downtime_limit_ns);
    ferry_result_line_text(l, "on_stall", ferry_on_stall_name(o->on_stall));
    ferry_result_line_ms(l, "timeout_ms", known(o->timeout.timeout_ns, o->timeout.timeout_ns > 0));
    if (o->timeout.timeout_ns > 0) {
        ferry_result_line_text(l, "on_timeout", o->timeout.pause ? "pause" : "cancel");
    }
    ferry_result_line_text(l, "auto_converge", o->auto_converge ? "on" : "off");
    ferry_result_line_count(l, "multifd", r->channels);
    ferry_result_line_text(l, "compression",
                           r->channels ? ferry_multifd_method_name(r->method) : "none");
    ferry_result_line_text(l, "content", ferry_replay_content_name(r->content));
    ferry_result_line_number(l, "speed", o->speed);
    ferry_result_line_ms(l, "start_ms", ferry_replay_trace_start_ns(r->trace));
    ferry_result_line_text(l, "at_end", o->repeat ? "repeat" : "stop");
    uint64_t start_ns = ferry_replay_trace_start_ns(r->trace);
    uint64_t repeats =
        (r->stats.guest_ns - start_ns) / (ferry_replay_trace_length_ns(r->trace) - start_ns);
    ferry_result_line_count(l, "trace_repeats", known(repeats, o->repeat && repeats > 0));
    ferry_result_line_text(l, "snapshot", o->send.input);
    ferry_result_line_text(l, "dirty_log", ferry_replay_memory_log_name(r->memory));
    ferry_result_line_text(l, "destination", r->progress.peer_is_ferry ? "ferry" : "other");
}

static void add_downtime(FerryResultLine *l, const FerryDowntime *d)
{
    ferry_result_line_open(l, "downtime", '{');
    ferry_result_line_ms(l, "pause_ms", d->pause_ns);
    ferry_result_line_ms(l, "last_round_ms", d->last_round_ns);
    ferry_result_line_ms(l, "device_state_ms", d->device_state_ns);
    ferry_result_line_ms(l, "verify_ms", known(d->verify_ns, d->verify_ns > 0));
    ferry_result_line_ms(l, "load_ms", d->load_ns);
    ferry_result_line_ms(l, "start_ms", d->start_ns);
    ferry_result_line_ms(l, "total_ms", d->total_ns);
    ferry_result_line_close(l, '}');
}

/* NULL: it is not known any more. */
static const FerryRoundReport *last_round(const FerryReplayRun *r)
{
    const FerryReplayRound *last =
        r->rounds->len ? &g_array_index(r->rounds, FerryReplayRound, r->rounds->len - 1) : NULL;

    return last && last->has_report && r->progress.downtime.last_round_ns ? &last->report : NULL;
}

static uint64_t pages_of(const FerryRoundReport *report)
{
    return report->normal_pages + report->zero_pages + report->packed_pages;
}

static void add_outcome(FerryResultLine *l, const FerryReplayRun *r)
{
    const FerryProgress *p = &r->progress;
    gboolean paused = r->precopy_ns != UINT64_MAX;

    ferry_result_line_text(l, "outcome", r->outcome);
    ferry_result_line_text(l, "error", r->error);
    ferry_result_line_ms(l, "total_ms", p->total_ns);
    ferry_result_line_ms(l, "precopy_ms", r->precopy_ns);
    if (p->downtime.total_ns) {
        ferry_result_line_ms(l, "downtime_ms", p->downtime.total_ns);
        ferry_result_line_ms(l, "predicted_downtime_ms",
                             known(p->predicted_downtime_ns, p->predicted_downtime_ns > 0));
        add_downtime(l, &p->downtime);
    }
    ferry_result_line_ms(l, "convergence_ms",
                         known(r->precopy_ns - MIN(r->first_pass_ns, r->precopy_ns), paused));
    ferry_result_line_count(l, "rounds", p->dirty_syncs ? p->dirty_syncs - 1 : 0);
}

static void add_amounts(FerryResultLine *l, const FerryReplayRun *r)
{
    const FerryProgress *p = &r->progress;
    const FerryRoundReport *last = last_round(r);
    double ram = (double)p->ram_total_bytes, least = (double)r->bounds.least_bytes;

    ferry_result_line_count(l, "wire_bytes", p->sent_bytes);
    ferry_result_line_number(l, "amplification", (double)p->sent_bytes / ram);
    ferry_result_line_number(l, "amplification_oracle",
                             r->has_bounds && least > 0 ? (double)p->sent_bytes / least : NAN);
    ferry_result_line_count(l, "sent_pages", p->normal_pages + p->xbzrle_pages);
    ferry_result_line_count(l, "zero_pages", p->zero_pages);
    ferry_result_line_count(l, "packed_pages", p->coded_pages);
    ferry_result_line_count(l, "false_dirty_pages", p->unchanged_pages_estimate);
    ferry_result_line_count(l, "residual_pages", last ? pages_of(last) : FERRY_RESULT_UNKNOWN);
    ferry_result_line_number(l, "throttle_percent_seconds", (double)p->throttled_ns / 1e7);
    ferry_result_line_count(l, "throttle_max_percent", r->throttle_max_percent);
    if (r->verdict.outlook != FERRY_OUTLOOK_UNKNOWN) {
        ferry_result_line_text(l, "first_verdict", ferry_outlook_name(r->verdict.outlook));
        ferry_result_line_ms(l, "first_verdict_ms", r->verdict_ns);
        ferry_result_line_ms(l, "verdict_floor_ms", r->verdict.floor_ns);
    }
    if (r->has_bounds) {
        ferry_result_bounds_add(l, &r->bounds, last ? last->sent_bytes : FERRY_RESULT_UNKNOWN);
    }
    ferry_result_line_ms(l, "source_cpu_ms", r->cpu_ns);
}

static void add_writer(FerryResultLine *l, const FerryReplayRun *r)
{
    ferry_result_line_open(l, "writer", '{');
    ferry_result_line_count(l, "writes", r->stats.writes);
    ferry_result_line_ms(l, "late_mean_ms", r->stats.late_ns_mean);
    ferry_result_line_ms(l, "late_max_ms", r->stats.late_ns_max);
    ferry_result_line_count(l, "late_writes", r->stats.late_writes);
    ferry_result_line_ms(l, "played_ms", r->stats.guest_ns - ferry_replay_trace_start_ns(r->trace));
    ferry_result_line_ms(l, "cpu_ms", r->stats.cpu_ns);
    ferry_result_line_close(l, '}');
}

static char *run_line(const FerryReplayOptions *o, const FerryReplayRun *r)
{
    FerryResultLine l;

    ferry_result_line_begin(&l, "run");
    ferry_result_line_text(&l, "id", o->id);
    ferry_result_line_text(&l, "kind", "replay");
    ferry_result_line_texts(&l, "command", (const char *const *)o->command);
    add_parameters(&l, o, r);
    add_outcome(&l, r);
    add_amounts(&l, r);
    add_writer(&l, r);
    if (o->verify) {
        add_flag(&l, "verified", r->progress.verified);
    }
    return ferry_result_line_end(&l);
}

static char *round_line(const char *id, const FerryReplayRound *round)
{
    const FerryRoundReport *r = &round->report;
    FerryResultLine l;

    ferry_result_line_begin(&l, "round");
    ferry_result_line_text(&l, "id", id);
    ferry_result_line_count(&l, "number", r->number);
    ferry_result_line_ms(&l, "t_ms", round->t_ns);
    ferry_result_line_ms(&l, "duration_ms", r->duration_ns);
    ferry_result_line_count(&l, "sent_pages", r->normal_pages + r->packed_pages);
    ferry_result_line_count(&l, "zero_pages", r->zero_pages);
    ferry_result_line_count(&l, "packed_pages", r->packed_pages);
    ferry_result_line_count(&l, "deferred_pages", r->deferred_pages);
    ferry_result_line_count(&l, "false_dirty_pages", r->unchanged_pages_estimate);
    ferry_result_line_count(&l, "dirtied_pages", r->dirtied_pages);
    ferry_result_line_count(&l, "sent_bytes", r->sent_bytes);
    ferry_result_line_count(&l, "remaining_bytes", round->remaining_bytes);
    ferry_result_line_count(&l, "threshold_bytes", round->threshold_bytes);
    ferry_result_line_count(&l, "bytes_per_second", r->bytes_per_second);
    ferry_result_line_count(&l, "dirty_pages_per_second", r->dirty_pages_per_second);
    ferry_result_line_count(&l, "throttle_percent", r->throttle_percent);
    ferry_result_line_ms(&l, "expected_downtime_ms", round->expected_downtime_ns);
    return ferry_result_line_end(&l);
}

static char *host_line(const FerryReplayRun *r)
{
    struct utsname name;
    FerryResultLine l;

    ferry_result_line_begin(&l, "host");
    if (uname(&name) == 0) {
        ferry_result_line_text(&l, "host", name.nodename);
        ferry_result_line_text(&l, "kernel", name.release);
    }
    ferry_result_line_count(&l, "cpus", (uint64_t)MAX(sysconf(_SC_NPROCESSORS_ONLN), 1));
    ferry_result_line_ms(&l, "wall_ms", r->wall_ns);
    ferry_result_line_ms(&l, "cpu_ms", r->cpu_ns + r->stats.cpu_ns);
    return ferry_result_line_end(&l);
}

char *ferry_replay_lines(const FerryReplayOptions *o, const FerryReplayRun *r)
{
    g_autofree char *run = run_line(o, r);
    g_autofree char *host = host_line(r);
    GString *lines = g_string_new(run);

    for (guint i = 0; i < r->rounds->len; i++) {
        const FerryReplayRound *round = &g_array_index(r->rounds, FerryReplayRound, i);
        if (round->has_report) {
            g_autofree char *line = round_line(o->id, round);
            g_string_append(lines, line);
        }
    }
    g_string_append(lines, host);
    return g_string_free(lines, FALSE);
}

static void print_migration(const FerryReplayRun *r)
{
    const FerryProgress *p = &r->progress;
    g_autofree char *sent = ferry_format_bytes(p->sent_bytes);
    g_autofree char *total = ferry_format_ms((double)p->total_ns / 1e6);
    g_autofree char *rate = ferry_format_rate(p->uncapped_bytes_per_second);
    g_autofree char *downtime = ferry_format_ms((double)p->downtime.total_ns / 1e6);
    g_autofree char *predicted = ferry_format_ms((double)p->predicted_downtime_ns / 1e6);
    g_autofree char *cpu = ferry_format_ms((double)r->cpu_ns / 1e6);

    printf("sent      %s in %s, %.2f of RAM, over a link of %s\n", sent, total,
           (double)p->sent_bytes / (double)MAX(p->ram_total_bytes, 1), rate);
    printf("rounds    %" G_GUINT64_FORMAT "\n", p->dirty_syncs ? p->dirty_syncs - 1 : 0);
    if (p->downtime.total_ns) {
        printf("downtime  %s, foreseen %s\n", downtime, predicted);
    }
    if (r->throttle_max_percent) {
        printf("throttle  up to %u %%\n", r->throttle_max_percent);
    }
    printf("cpu       %s\n", cpu);
}

static void print_bounds(const FerryReplayRun *r)
{
    const FerryRoundReport *last = last_round(r);

    if (r->has_bounds && last) {
        g_autofree char *left = ferry_format_bytes(last->sent_bytes);
        g_autofree char *low = ferry_format_bytes(r->bounds.clairvoyant.low);
        g_autofree char *high = ferry_format_bytes(r->bounds.clairvoyant.high);
        g_autofree char *causal = ferry_format_bytes(r->bounds.causal_bytes);
        printf("left      %s at the pause; %s to %s at least with foresight, %s without\n", left,
               low, high, causal);
    }
}

void ferry_replay_print(const FerryReplayOptions *o, const FerryReplayRun *r)
{
    g_autofree char *mean = ferry_format_ms((double)r->stats.late_ns_mean / 1e6);
    g_autofree char *worst = ferry_format_ms((double)r->stats.late_ns_max / 1e6);
    const FerryReplayStats *s = &r->stats;

    printf("outcome   %s\n", r->outcome);
    printf("played    %.2f s of the trace, %" G_GUINT64_FORMAT
           " writes, late by %s in the mean, %s "
           "at most\n",
           (double)(s->guest_ns - ferry_replay_trace_start_ns(r->trace)) / 1e9, s->writes, mean,
           worst);
    print_migration(r);
    print_bounds(r);
    if (s->late_writes > s->writes / 100) {
        printf("note      %.0f %% of the writes were late by more than %u ms: this host does not "
               "keep up with the trace\n",
               100.0 * (double)s->late_writes / (double)s->writes, FERRY_REPLAY_LATE_NS / 1000000);
    }
    if (o->verify && r->progress.phase == FERRY_PHASE_DONE) {
        puts(r->progress.verified ? "verified  the destination's memory is the source's"
                                  : "verified  no: only a Ferry compares");
    }
}
