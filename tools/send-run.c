#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "protocol/multifd.h"
#include "tools/format.h"
#include "tools/send.h"

typedef struct {
    const FerrySendOptions *options;
    const FerrySendPlan *plan;
    FerryAddress address;
    FerryInterrupt *interrupt;
    FerryProgress progress; /* at the end */
    uint64_t cpu_ns;        /* of this process, while it sent */
    gboolean began;         /* there was a connection */
    gboolean answers;       /* success means that the destination said so */

    pthread_mutex_t lock; /* what the watching thread sees */
    FerrySource *source;
    gboolean cancelled;
} Send;

static void cancel(void *self)
{
    Send *s = self;

    pthread_mutex_lock(&s->lock);
    s->cancelled = TRUE;
    if (s->source) {
        (void)ferry_source_cancel(s->source);
    } else {
        ferry_interrupt_raise(s->interrupt);
    }
    pthread_mutex_unlock(&s->lock);
}

static void show(void *self)
{
    Send *s = self;
    FerryProgress p = {0};

    pthread_mutex_lock(&s->lock);
    if (s->source) {
        ferry_source_get_progress(s->source, &p);
    }
    pthread_mutex_unlock(&s->lock);
    if (p.ram_total_bytes) {
        g_autofree char *sent = ferry_format_bytes(p.sent_bytes);
        g_autofree char *rate = ferry_format_rate(p.bytes_per_second);
        g_autofree char *line = g_strdup_printf(
            "%3.0f %%  %s sent  %s",
            100 * (1 - (double)p.ram_remaining_bytes / (double)p.ram_total_bytes), sent, rate);
        ferry_watch_show(line);
    }
}

static void hand_to_watch(Send *s, FerrySource *source)
{
    pthread_mutex_lock(&s->lock);
    s->source = source;
    if (s->cancelled && source) {
        (void)ferry_source_cancel(source);
    }
    pthread_mutex_unlock(&s->lock);
}

static void on_notify(void *self, const FerryProgress *p)
{
    const Send *s = self;

    if (s->options->json) {
        ferry_transfer_phase(p);
    }
}

static FerryChannel *connect_one(void *self, GError **error)
{
    Send *s = self;
    FerryTransportOptions transport = {.interrupt = s->interrupt};

    return ferry_transport_connect(&s->address, ferry_now_ns() + s->options->timeout_ns, &transport,
                                   error);
}

static gboolean send_it(Send *s, GError **error)
{
    const FerrySendOptions *o = s->options;
    FerryChannel *channel = connect_one(s, error);
    FerryLimits limits = FERRY_LIMITS_DEFAULT;
    FerrySourceOptions options = {.io_timeout_ns = o->timeout_ns,
                                  .no_return_path = o->no_return_path,
                                  .dialect = &s->plan->dialect,
                                  .send_uuid = s->plan->send_uuid,
                                  .zero_pages = o->zero_pages,
                                  .multifd_channels = s->plan->channels,
                                  .multifd_method = s->plan->method,
                                  .multifd_level = o->level,
                                  .page_method = o->page_method,
                                  .page_level = o->level,
                                  .connect = connect_one,
                                  .connect_self = s,
                                  .notify = on_notify,
                                  .notify_self = s};

    if (!channel) {
        return FALSE;
    }
    s->began = TRUE;
    s->answers = !o->no_return_path && ferry_channel_can_read(channel);
    if (o->json) {
        ferry_transfer_event("connected", "uri", ferry_channel_get_description(channel), NULL);
    }
    limits.max_bandwidth = o->max_bandwidth;
    g_autoptr(FerrySource) source = ferry_source_new(ferry_capture_guest(s->plan->capture), channel,
                                                     s->interrupt, &options, &limits);
    uint64_t begin_ns = ferry_cpu_now_ns();
    hand_to_watch(s, source);
    gboolean ok = ferry_source_run(source, error);
    hand_to_watch(s, NULL);
    s->cpu_ns = ferry_cpu_now_ns() - begin_ns;
    ferry_source_get_progress(source, &s->progress);
    return ok;
}

static void report(const Send *s, const char *state)
{
    const FerryProgress *p = &s->progress;
    uint64_t rate = p->total_ns ? (uint64_t)((double)p->sent_bytes * 1e9 / (double)p->total_ns) : 0;

    if (s->options->json) {
        g_autoptr(JsonBuilder) b = json_builder_new();
        json_builder_begin_object(b);
        ferry_json_add_string(b, "status", "completed");
        json_builder_set_member_name(b, "confirmed");
        json_builder_add_boolean_value(b, s->answers);
        json_builder_set_member_name(b, "to_ferry");
        json_builder_add_boolean_value(b, p->peer_is_ferry);
        ferry_json_add_string(b, "run_state", state);
        ferry_json_add_int(b, "multifd_channels", s->plan->channels);
        ferry_json_add_string(b, "multifd_compression", ferry_multifd_method_name(s->plan->method));
        ferry_json_add_int(b, "ram_bytes", p->ram_total_bytes);
        ferry_json_add_int(b, "normal_pages", p->normal_pages);
        ferry_json_add_int(b, "zero_pages", p->zero_pages);
        ferry_json_add_int(b, "sent_bytes", p->sent_bytes);
        ferry_json_add_ms(b, "total_ms", p->total_ns);
        ferry_json_add_ms(b, "cpu_ms", s->cpu_ns);
        ferry_json_add_int(b, "bytes_per_second", rate);
        json_builder_end_object(b);
        ferry_verb_print_json(ferry_verb_build(b), TRUE);
        return;
    }
    g_autofree char *sent = ferry_format_bytes(p->sent_bytes);
    g_autofree char *time = ferry_format_ms((double)p->total_ns / 1e6);
    g_autofree char *rate_text = ferry_format_rate(rate);
    printf("sent      %s in %s, %s\n", sent, time, rate_text);
    printf("pages     %" G_GUINT64_FORMAT " normal, %" G_GUINT64_FORMAT " zero\n", p->normal_pages,
           p->zero_pages);
    puts(s->answers ? "confirmed the destination has loaded everything"
                    : "confirmed nothing: there is no return path; what became of it only the "
                      "destination knows");
    printf("guest     %s\n", state);
}

/* A stock destination that was started with -S waits for its user's word, which is ours. */
static gboolean start_there(Send *s, const char *state, GError **error)
{
    g_autoptr(GError) why = NULL;

    if (!s->plan->client || (strcmp(state, "running") != 0 && strcmp(state, "suspended") != 0)) {
        return TRUE;
    }
    if (ferry_peer_run(s->plan->client, state, s->options->timeout_ns, &why)) {
        s->answers = TRUE; /* a guest that runs says it as well */
        return TRUE;
    }
    g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_UNSURE,
                "the destination has loaded everything, but it did not start the guest: %s",
                why->message);
    return FALSE;
}

FerryExit ferry_send_run(const FerrySendOptions *o, const FerrySendPlan *plan)
{
    static const FerryWatchOps terminal = {.cancel = cancel, .tick = show};
    static const FerryWatchOps quiet = {.cancel = cancel};
    const char *state = ferry_capture_run_state(plan->capture);
    Send s = {.options = o, .plan = plan, .lock = PTHREAD_MUTEX_INITIALIZER};
    g_autoptr(GError) error = NULL;
    g_autoptr(FerryInterrupt) interrupt = s.interrupt = ferry_interrupt_new(&error);
    g_auto(FerryAddress) address = {0};

    if (!interrupt || !ferry_address_parse(o->uri, &address, &error)) {
        return ferry_transfer_fail("send", o->json, FERRY_WATCH_NOTHING, FALSE, error);
    }
    s.address = address;
    state = state ? state : "running";
    g_autoptr(FerryWatch) watch = ferry_watch_new(
        ferry_watch_can_show() && !o->json ? &terminal : &quiet, &s, o->max_time_ns);
    gboolean ok = send_it(&s, &error) && start_there(&s, state, &error);
    ferry_watch_stop(watch);
    if (!ok) {
        gboolean began =
            s.began && !g_error_matches(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED);
        return ferry_transfer_fail("send", o->json, ferry_watch_reason(watch), began, error);
    }
    report(&s, state);
    return FERRY_EXIT_DONE;
}
