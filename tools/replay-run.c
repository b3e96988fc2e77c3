#include "tools/replay.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "protocol/multifd.h"
#include "tools/format.h"

typedef struct {
    const FerryReplayOptions *options;
    FerryReplayRun run;
    FerryAddress address;
    FerryInterrupt *interrupt;
    gboolean began; /* there was a connection */

    gboolean moving;      /* there is a line to move */
    pthread_mutex_t lock; /* what the watching thread sees */
    FerrySource *source;
    gboolean cancelled;
} Replay;

static void replay_clear(Replay *r)
{
    FerryReplayRun *run = &r->run;

    ferry_replay_guest_free(run->guest); /* no writer outlives its memory */
    ferry_replay_memory_free(run->memory);
    ferry_send_plan_clear(&run->plan);
    ferry_replay_trace_free(run->trace);
    g_clear_pointer(&run->rounds, g_array_unref);
    g_free(run->error);
    ferry_address_clear(&r->address);
    ferry_interrupt_free(r->interrupt);
    pthread_mutex_destroy(&r->lock);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Replay, replay_clear)

static void cancel(void *self)
{
    Replay *r = self;

    pthread_mutex_lock(&r->lock);
    r->cancelled = TRUE;
    if (r->source) {
        (void)ferry_source_cancel(r->source);
    } else {
        ferry_interrupt_raise(r->interrupt);
    }
    pthread_mutex_unlock(&r->lock);
}

static void show(const FerryProgress *p, const FerryReplayStats *s)
{
    g_autofree char *sent = ferry_format_bytes(p->sent_bytes);
    g_autofree char *left = ferry_format_bytes(p->ram_remaining_bytes);
    uint64_t mean = p->total_ns ? (uint64_t)((double)p->sent_bytes * 1e9 / (double)p->total_ns) : 0;
    g_autofree char *rate = ferry_format_rate(p->rounds ? p->bytes_per_second : mean);
    g_autofree char *line =
        g_strdup_printf("%.1f s of the trace  round %u  %s sent  %s left  %s",
                        (double)s->guest_ns / 1e9, p->rounds + 1, sent, left, rate);

    ferry_watch_show(line);
}

/* When the trace is over the guest falls idle, and what follows would say nothing. */
static void tick(void *self)
{
    Replay *r = self;
    FerryProgress p = {0};
    FerryReplayStats stats = {0};

    pthread_mutex_lock(&r->lock);
    if (r->source) {
        ferry_source_get_progress(r->source, &p);
        ferry_replay_guest_get_stats(r->run.guest, &stats);
        if (stats.ended && p.phase <= FERRY_PHASE_ITERATE) {
            (void)ferry_source_cancel(r->source);
        }
    }
    pthread_mutex_unlock(&r->lock);
    if (r->moving && p.ram_total_bytes) {
        show(&p, &stats);
    }
}

static void hand_to_watch(Replay *r, FerrySource *source)
{
    pthread_mutex_lock(&r->lock);
    r->source = source;
    if (r->cancelled && source) {
        (void)ferry_source_cancel(source);
    }
    pthread_mutex_unlock(&r->lock);
}

/* How many bytes would fit the budget besides what does not depend on them. */
static uint64_t threshold_of(const FerryProgress *p)
{
    uint64_t fixed = p->predicted.total_ns - MIN(p->predicted.total_ns, p->predicted.last_round_ns);
    uint64_t left = p->downtime_limit_ns - MIN(p->downtime_limit_ns, fixed);

    return (uint64_t)((double)left * (double)p->uncapped_bytes_per_second / 1e9);
}

static void on_notify(void *self, const FerryProgress *p)
{
    FerryReplayRun *run = &((Replay *)self)->run;
    FerryReplayRound round = {.t_ns = p->total_ns,
                              .remaining_bytes = p->ram_remaining_bytes,
                              .threshold_bytes = threshold_of(p),
                              .expected_downtime_ns = p->predicted_downtime_ns};

    while (run->rounds->len < p->rounds) {
        g_array_append_val(run->rounds, round);
    }
    run->throttle_max_percent = MAX(run->throttle_max_percent, p->throttle_percent);
    if (run->verdict.outlook == FERRY_OUTLOOK_UNKNOWN && p->forecast.outlook) {
        run->verdict = p->forecast;
        run->verdict_ns = p->total_ns;
    }
    if (run->first_pass_ns == UINT64_MAX && p->phase >= FERRY_PHASE_ITERATE && p->ram_total_bytes &&
        p->unsent_pages == 0) {
        run->first_pass_ns = p->total_ns;
    }
    if (run->precopy_ns == UINT64_MAX && p->phase >= FERRY_PHASE_PAUSING &&
        p->phase <= FERRY_PHASE_DONE) {
        run->precopy_ns = p->total_ns;
    }
}

static FerryChannel *connect_one(void *self, GError **error)
{
    Replay *r = self;
    FerryTransportOptions transport = {.interrupt = r->interrupt};

    return ferry_transport_connect(&r->address, ferry_now_ns() + r->options->send.timeout_ns,
                                   &transport, error);
}

static FerryLimits limits_of(const FerryReplayOptions *o)
{
    FerryLimits limits = FERRY_LIMITS_DEFAULT;

    limits.max_bandwidth = o->max_bandwidth;
    limits.downtime_limit_ns = o->downtime_limit_ns;
    limits.policy = o->policy;
    limits.on_stall = o->on_stall;
    limits.timeout = o->timeout;
    limits.auto_converge = o->auto_converge;
    return limits;
}

static void join_rounds(FerryReplayRun *run, FerrySource *source)
{
    g_autoptr(GArray) told = ferry_source_get_rounds(source);

    for (guint i = 0; i < told->len; i++) {
        const FerryRoundReport *report = &g_array_index(told, FerryRoundReport, i);
        if (report->number >= 1 && report->number <= run->rounds->len) {
            FerryReplayRound *round =
                &g_array_index(run->rounds, FerryReplayRound, report->number - 1);
            round->report = *report;
            round->has_report = TRUE;
        }
    }
}

/* The guest's time begins with the migration's. */
static gboolean migrate(Replay *r, FerryGuest *guest, GError **error)
{
    const FerryReplayOptions *o = r->options;
    FerryReplayRun *run = &r->run;
    FerryChannel *channel = connect_one(r, error);
    FerryLimits limits = limits_of(o);
    FerrySourceOptions options = {.io_timeout_ns = o->send.timeout_ns,
                                  .no_return_path = o->send.no_return_path,
                                  .verify = o->verify,
                                  .dialect = run->plan.capture ? &run->plan.dialect : NULL,
                                  .send_uuid = run->plan.send_uuid,
                                  .multifd_channels = run->channels,
                                  .multifd_method = run->method,
                                  .multifd_level = o->send.level,
                                  .connect = connect_one,
                                  .connect_self = r,
                                  .notify = on_notify,
                                  .notify_self = r};

    if (!channel) {
        return FALSE;
    }
    r->began = TRUE;
    g_autoptr(FerrySource) source =
        ferry_source_new(guest, channel, r->interrupt, &options, &limits);
    uint64_t cpu_ns = ferry_cpu_now_ns();
    FerryReplayStats before;
    ferry_replay_guest_get_stats(run->guest, &before);
    hand_to_watch(r, source);
    run->begin_ns = ferry_now_ns();
    ferry_replay_guest_start(run->guest);
    gboolean ok = ferry_source_run(source, error);
    run->wall_ns = ferry_now_ns() - run->begin_ns;
    hand_to_watch(r, NULL);
    ferry_replay_guest_get_stats(run->guest, &run->stats);
    run->cpu_ns = ferry_cpu_now_ns() - cpu_ns - (run->stats.cpu_ns - before.cpu_ns);
    ferry_source_get_progress(source, &run->progress);
    join_rounds(run, source);
    return ok;
}

/* A stock destination that was started with -S waits for its user's word, which is ours. */
static gboolean start_there(Replay *r, GError **error)
{
    FerryCapture *capture = r->run.plan.capture;
    const char *state = capture ? ferry_capture_run_state(capture) : NULL;
    g_autoptr(GError) why = NULL;

    if (!r->run.plan.client || g_strcmp0(state ? state : "running", "running") != 0 ||
        ferry_peer_run(r->run.plan.client, "running", r->options->send.timeout_ns, &why)) {
        return TRUE;
    }
    g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_UNSURE,
                "the destination has loaded everything, but it did not start the guest: %s",
                why->message);
    return FALSE;
}

/* Everything up to the connection; *out_guest: to migrate. */
static gboolean set_up(Replay *r, FerryGuest **out_guest, GError **error)
{
    const FerryReplayOptions *o = r->options;
    FerryReplayRun *run = &r->run;
    FerryReplayGuestOptions guest = {.seed = o->seed, .speed = o->speed};

    run->trace = ferry_replay_trace_open(o->trace_path, o->start_ns, o->repeat,
                                         o->send.max_ram_bytes, error);
    if (!run->trace) {
        return FALSE;
    }
    if (ferry_replay_trace_damage(run->trace)) {
        fprintf(stderr, "ferry replay: %s: %s; what is before is played\n", o->trace_path,
                ferry_replay_trace_damage(run->trace));
    }
    run->channels = (unsigned)MAX(o->send.channels, 0);
    run->method = o->send.method;
    if (o->send.input) {
        if (!ferry_send_plan(&o->send, &run->plan, error)) {
            return FALSE;
        }
        run->channels = run->plan.channels;
        run->method = run->plan.method;
    }
    run->memory = ferry_replay_memory_new(ferry_replay_trace_header(run->trace), run->plan.capture,
                                          o->log, error);
    g_autofree uint8_t *classes =
        run->memory ? ferry_replay_trace_classes(run->trace, error) : NULL;
    if (!classes) {
        return FALSE;
    }
    run->content = o->has_content  ? o->content
                   : o->send.input ? FERRY_REPLAY_KEEP
                                   : FERRY_REPLAY_TRACE;
    guest.places = ferry_replay_memory_places(run->memory, &guest.n_places);
    guest.classes = classes;
    guest.content = run->content;
    guest.interrupt = r->interrupt;
    guest.start_ns = ferry_replay_trace_start_ns(run->trace);
    guest.marks = ferry_replay_memory_marks(run->memory);
    guest.frames = ferry_replay_trace_frames(run->trace);
    run->guest = ferry_replay_guest_new(&guest, error);
    *out_guest = run->guest ? ferry_replay_memory_animate(run->memory, run->guest, error) : NULL;
    return *out_guest != NULL;
}

static FerryExit judge(Replay *r, FerryWatchReason reason, const GError *error)
{
    FerryReplayRun *run = &r->run;

    run->outcome = "failed";
    run->error = g_strdup(error ? error->message : NULL);
    if (!error) {
        run->outcome = "done";
        return FERRY_EXIT_DONE;
    }
    if (g_error_matches(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_UNSURE)) {
        return FERRY_EXIT_IN_DOUBT;
    }
    if (g_error_matches(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_STALLED)) {
        run->outcome = "gave-up";
        return FERRY_EXIT_NOT_CONVERGED;
    }
    if (!g_error_matches(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_CANCELLED)) {
        return FERRY_EXIT_FAILED;
    }
    g_free(run->error);
    if (reason == FERRY_WATCH_SIGNAL) {
        run->error = g_strdup("cancelled");
        return FERRY_EXIT_CANCELLED;
    }
    run->error = g_strdup("the trace ended before the migration did");
    run->outcome = "unfinished";
    return FERRY_EXIT_NOT_CONVERGED;
}

static gboolean tell(const FerryReplayOptions *o, const FerryReplayRun *run, GError **error)
{
    g_autofree char *lines = ferry_replay_lines(o, run);

    if (o->json) {
        fputs(lines, stdout);
        fflush(stdout);
    } else {
        ferry_replay_print(o, run);
    }
    return !o->output || g_file_set_contents(o->output, lines, -1, error);
}

FerryExit ferry_replay_run(const FerryReplayOptions *o)
{
    static const FerryWatchOps ops = {.cancel = cancel, .tick = tick};
    g_auto(Replay) r = {
        .options = o,
        .run = {.precopy_ns = UINT64_MAX, .first_pass_ns = UINT64_MAX},
        .moving = ferry_watch_can_show() && !o->json,
        .lock = PTHREAD_MUTEX_INITIALIZER
    };
    g_autoptr(GError) error = NULL;
    g_autoptr(GError) untold = NULL;
    FerryGuest *guest;

    r.run.rounds = g_array_new(FALSE, TRUE, sizeof(FerryReplayRound));
    r.interrupt = ferry_interrupt_new(&error);
    if (!r.interrupt || !ferry_address_parse(o->send.uri, &r.address, &error)) {
        return ferry_transfer_fail("replay", o->json, FERRY_WATCH_NOTHING, FALSE, error);
    }
    g_autoptr(FerryWatch) watch = ferry_watch_new(&ops, &r, 0);
    gboolean ok =
        set_up(&r, &guest, &error) && migrate(&r, guest, &error) && start_there(&r, &error);
    ferry_watch_stop(watch);
    if (!ok &&
        (!r.began || g_error_matches(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED))) {
        return ferry_transfer_fail("replay", o->json, ferry_watch_reason(watch), FALSE, error);
    }
    ferry_replay_guest_end(r.run.guest);
    FerryExit status = judge(&r, ferry_watch_reason(watch), error);
    ferry_replay_reckon(o, &r.run);
    if (r.run.error) {
        fprintf(stderr, "ferry replay: %s\n", r.run.error);
    }
    if (!tell(o, &r.run, &untold)) {
        fprintf(stderr, "ferry replay: %s\n", untold->message);
        status = status == FERRY_EXIT_DONE ? FERRY_EXIT_FAILED : status;
    }
    return status;
}
