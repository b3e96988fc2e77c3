/* The end of a migration: from the pause of the guest to its release, or back. */
#include "engine/handover.h"
#include "engine/source-private.h"
#include "protocol/extension.h"
#include "transport/transport.h"

#define CONTINUE_STEP_NS 2000000ull /* pre-switchover: how soon continue and cancel are seen */
#define ABORT_NS 200000000ull       /* for telling the destination; it would find out anyway */

void ferry_source_throttle(FerrySource *s, unsigned percent)
{
    if (percent != s->throttle_percent) {
        s->throttled_ns = ferry_source_throttled_ns(s);
        s->throttled_since_ns = ferry_now_ns();
        s->throttle_percent = percent;
        ferry_guest_throttle(s->guest, percent);
    }
}

uint64_t ferry_source_throttled_ns(const FerrySource *s)
{
    return s->throttle_percent == 0 ? s->throttled_ns
                                    : s->throttled_ns + (ferry_now_ns() - s->throttled_since_ns) /
                                                            100 * s->throttle_percent;
}

void ferry_source_stop_log(FerrySource *s)
{
    if (s->log_started) {
        ferry_dirty_log_stop(s->log);
        s->log_started = FALSE;
    }
}

gboolean ferry_source_is_cancelled(FerrySource *s, GError **error)
{
    if (g_atomic_int_get(&s->owner) != OWNER_CANCELLED) {
        return FALSE;
    }
    g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_CANCELLED, "migration cancelled");
    return TRUE;
}

/* In the middle of a round: what was handed out goes out, and its section ends, while the guest
 * still runs. */
static gboolean cut_round(FerrySource *s, GError **error)
{
    if (!ferry_ram_sender_end_round(s->sender, FALSE, error) ||
        !ferry_ram_sender_end_section(s->sender, FALSE, error) || !ferry_source_drain(s, error)) {
        return FALSE;
    }
    ferry_source_predict_now(s);
    return TRUE;
}

gboolean ferry_source_pause_guest(FerrySource *s, GError **error)
{
    if (s->options.switchover_ack && s->return_path &&
        !ferry_source_await(s, &s->peer.acknowledged, 0, "SWITCHOVER_ACK", error)) {
        return FALSE;
    }
    if (ferry_precopy_timed_out(s->machine) && !cut_round(s, error)) {
        return FALSE;
    }
    s->pause_called_ns = ferry_now_ns();
    if (!ferry_guest_pause(s->guest, FERRY_PAUSE_SWITCHOVER, &s->was_running, error)) {
        return FALSE;
    }
    s->paused = TRUE;
    s->downtime.pause_ns = ferry_now_ns() - s->pause_called_ns;
    if (!s->options.pause_before_switchover) {
        return TRUE;
    }
    g_atomic_int_set(&s->waits, 1);
    ferry_source_publish(s, TRUE);
    while (!g_atomic_int_get(&s->go_on)) {
        uint64_t until = ferry_now_ns() + CONTINUE_STEP_NS;
        if (ferry_source_is_cancelled(s, error) || !ferry_source_listen(s, until, error) ||
            !ferry_source_keep_alive(s, error)) {
            return FALSE;
        }
        if (!s->return_path) {
            g_usleep(CONTINUE_STEP_NS / 1000);
        }
    }
    g_atomic_int_set(&s->waits, 0);
    return TRUE;
}

/* From here on the source never runs the guest by itself. Exactly one of this and a cancel wins. */
static gboolean release(FerrySource *s, GError **error)
{
    if (!g_atomic_int_compare_and_exchange(&s->owner, OWNER_HERE, OWNER_RELEASED)) {
        ferry_source_is_cancelled(s, error);
        return FALSE;
    }
    if (!ferry_handover_record(s->options.record_path, "source", "released",
                               ferry_guest_machine(s->guest),
                               ferry_channel_get_description(s->channel), error)) {
        g_atomic_int_set(&s->owner, OWNER_HERE); /* nobody was told yet */
        return FALSE;
    }
    return TRUE;
}

/* To a peer that starts the guest by itself the end of the stream is the release. So it comes only
 * once the devices are known to be loaded: until then a refusal leaves the guest here. */
static gboolean offer(FerrySource *s, GError **error)
{
    uint64_t begin_ns = ferry_now_ns();

    if (!ferry_source_barrier(s, error)) {
        return FALSE;
    }
    s->downtime.load_ns = ferry_now_ns() - begin_ns;
    return release(s, error);
}

gboolean ferry_source_save_devices(FerrySource *s, FerryEvent *out_event, GError **error)
{
    if (!ferry_ram_sender_end_round(s->sender, TRUE, error) ||
        !ferry_ram_sender_end_section(s->sender, TRUE, error) || !ferry_source_drain(s, error) ||
        !ferry_source_listen(s, 0, error)) {
        return FALSE;
    }
    ferry_source_report_last(s);
    uint64_t begin_ns = ferry_now_ns();
    if (!ferry_source_collect_devices(s, error)) {
        return FALSE;
    }
    if (s->peer.is_ferry) {
        ferry_source_append_end(s);
    }
    if (!ferry_source_write_tail(s, error)) {
        return FALSE;
    }
    s->all_sent = TRUE;
    s->downtime.device_state_ns = ferry_now_ns() - begin_ns - s->downtime.verify_ns;
    *out_event = s->peer.is_ferry ? FERRY_EVENT_SAVED : FERRY_EVENT_OFFERED;
    return s->peer.is_ferry || offer(s, error);
}

gboolean ferry_source_await_loaded(FerrySource *s, GError **error)
{
    uint64_t begin_ns = ferry_now_ns();

    /* The destination hashes its memory too; it may be slower than we are. */
    if (!ferry_source_await(s, &s->peer.loaded, 10 * s->downtime.verify_ns, "LOADED", error)) {
        return FALSE;
    }
    s->downtime.load_ns = ferry_now_ns() - begin_ns;
    return release(s, error);
}

gboolean ferry_source_let_go(FerrySource *s, GError **error)
{
    uint64_t begin_ns = ferry_now_ns();
    gboolean ok;

    if (s->peer.is_ferry) {
        ok = ferry_source_ping(s, FERRY_PING_GO, error) &&
             ferry_source_await(s, &s->peer.running, 0, "RUNNING", error);
    } else {
        ferry_source_append_end(s);
        ok = ferry_source_write_tail(s, error);
        if (ok && s->return_path) {
            ok = ferry_source_await(s, &s->peer.shut_good, 0, "that it has loaded everything",
                                    error);
        } else if (ok) {
            ok = ferry_channel_shutdown_write(s->channel, error);
        }
    }
    s->downtime.start_ns = ferry_now_ns() - begin_ns;
    s->downtime.total_ns = ferry_now_ns() - s->pause_called_ns;
    return ok;
}

void ferry_source_take_back(FerrySource *s, GError **first_error)
{
    g_autoptr(GError) error = NULL;

    (void)ferry_handover_record(s->options.record_path, "source", "aborted",
                                ferry_guest_machine(s->guest),
                                ferry_channel_get_description(s->channel), NULL);
    if (s->paused && s->was_running && !ferry_guest_resume(s->guest, &error)) {
        g_prefix_error(first_error, "%s, after: ", error->message);
    }
    s->paused = FALSE;
    ferry_source_throttle(s, 0);
    ferry_source_stop_log(s);
    if (s->all_sent && s->peer.is_ferry) { /* it may be waiting for GO */
        uint8_t bytes[FERRY_COMMAND_HEADER_SIZE + 4];
        size_t n = ferry_ping_encode(FERRY_PING_ABORT, bytes);
        while (g_atomic_int_get(&s->owner) == OWNER_CANCELLED &&
               !ferry_interrupt_is_raised(s->interrupt)) {
            g_usleep(100); /* the cancelling thread is between its two steps */
        }
        ferry_interrupt_lower(s->interrupt);
        (void)ferry_channel_write_all(s->channel, bytes, n, ABORT_NS, NULL);
    }
}
