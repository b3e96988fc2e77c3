/* The conversation with the destination, as drawn in protocol/extension.h. */
#include "engine/source-private.h"
#include <string.h>
#include "protocol/extension.h"
#include "protocol/mapped-ram.h"
#include "protocol/stream.h"

#define ALIVE_INTERVAL_NS 1000000000ull

gboolean ferry_source_write(FerrySource *s, const void *bytes, size_t n, GError **error)
{
    s->peer.spoke_ns = ferry_now_ns();
    return ferry_channel_write_all(s->channel, bytes, n, s->timeout_ns, error);
}

gboolean ferry_source_ping(FerrySource *s, uint32_t value, GError **error)
{
    uint8_t bytes[FERRY_COMMAND_HEADER_SIZE + 4];
    return ferry_source_write(s, bytes, ferry_ping_encode(value, bytes), error);
}

static gboolean refuse(GError **error, const char *what, uint32_t value)
{
    g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                "destination broke the protocol: %s (0x%x) on the return path", what, value);
    return FALSE;
}

/* Every message is good once, or once for a PING: a destination that talked on for ever would keep
 * us listening for ever. */
static gboolean take_pong(FerrySource *s, uint32_t value, GError **error)
{
    Peer *p = &s->peer;
    FerryPhase phase = ferry_precopy_phase(s->machine);
    uint64_t lag_ns;

    switch (value) {
    case FERRY_PONG_HELLO_ANSWER:
    case FERRY_PING_HELLO: /* echoed by a stock QEMU */
        if (p->greeted) {
            return refuse(error, "a second greeting", value);
        }
        p->greeted = TRUE;
        p->is_ferry = value == FERRY_PONG_HELLO_ANSWER;
        return TRUE;
    case FERRY_PING_ALIVE:
        if (p->answered) {
            return refuse(error, "PONG without a PING", value);
        }
        p->answered = TRUE;
        lag_ns = ferry_now_ns() - p->pinged_ns;
        p->round_trip_ns = MIN(p->round_trip_ns, lag_ns);
        ferry_source_learn_lag(s, lag_ns);
        return TRUE;
    case FERRY_PONG_LOADED:
        if (!p->is_ferry || phase != FERRY_PHASE_LOADING) {
            return refuse(error, "LOADED before everything was sent", value);
        }
        if (p->loaded) {
            return refuse(error, "LOADED twice", value);
        }
        p->loaded = TRUE;
        return TRUE;
    case FERRY_PONG_RUNNING:
        if (!p->is_ferry || phase != FERRY_PHASE_RELEASED) {
            return refuse(error, "RUNNING before GO", value);
        }
        if (p->running) {
            return refuse(error, "RUNNING twice", value);
        }
        p->running = TRUE;
        return TRUE;
    default:
        return refuse(error, "PONG without a PING", value);
    }
}

static gboolean take_message(FerrySource *s, const FerryReturnMessage *m, GError **error)
{
    switch (m->type) {
    case FERRY_RETURN_PONG:
        return take_pong(s, m->value, error);
    case FERRY_RETURN_SHUT:
        if (m->value != 0) {
            g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                        "destination refused the migration (status %u; its own log says why)",
                        m->value);
            return FALSE;
        }
        if (ferry_precopy_phase(s->machine) != FERRY_PHASE_RELEASED) {
            return refuse(error, "good end before the end", m->value);
        }
        if (s->peer.shut_good) {
            return refuse(error, "good end twice", m->value);
        }
        s->peer.shut_good = TRUE;
        return TRUE;
    default: /* SWITCHOVER_ACK: we did not ask, once it does no harm */
        if (s->peer.acknowledged) {
            return refuse(error, "switchover acknowledged twice", m->value);
        }
        s->peer.acknowledged = TRUE;
        return TRUE;
    }
}

gboolean ferry_source_listen(FerrySource *s, uint64_t deadline_ns, GError **error)
{
    uint8_t bytes[64];
    int ready;

    if (!s->return_path) {
        return TRUE;
    }
    while ((ready = ferry_channel_readable(s->channel, deadline_ns, error)) > 0) {
        gssize n = ferry_channel_read(s->channel, bytes, sizeof bytes, deadline_ns, error);
        const uint8_t *rest = bytes;
        size_t left = n > 0 ? (size_t)n : 0;
        FerryReturnMessage message;
        FerryReturnDecode decoded;

        if (n == 0) {
            g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                        "destination closed the connection; its own log may say why");
        }
        if (n <= 0) {
            return FALSE;
        }
        s->peer.heard_ns = ferry_now_ns();
        while ((decoded = ferry_return_decoder_step(&s->peer.decoder, &rest, &left, &message,
                                                    error)) == FERRY_RETURN_DONE) {
            if (!take_message(s, &message, error)) {
                s->peer.broke = TRUE;
                return FALSE;
            }
        }
        if (decoded == FERRY_RETURN_BAD) {
            s->peer.broke = TRUE;
            return FALSE;
        }
        deadline_ns = 0; /* something came: take what else is there, then go on */
    }
    return ready == 0;
}

gboolean ferry_source_await(FerrySource *s, const gboolean *flag, uint64_t extra_ns,
                            const char *what, GError **error)
{
    uint64_t deadline_ns = ferry_now_ns() + s->timeout_ns + extra_ns;

    while (!*flag) {
        g_autoptr(GError) ended = NULL;
        gboolean heard = ferry_source_listen(s, deadline_ns, &ended);

        /* What was awaited may be the last thing before it hangs up. A lie in the same breath
         * counts while the guest is still ours. */
        if (*flag && (!s->peer.broke || ferry_precopy_phase(s->machine) == FERRY_PHASE_RELEASED)) {
            return TRUE;
        }
        if (!heard) {
            g_propagate_error(error, g_steal_pointer(&ended));
            return FALSE;
        }
        if (ferry_now_ns() >= deadline_ns) {
            g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                        "destination did not say %s within %.1f s", what,
                        (double)(s->timeout_ns + extra_ns) / 1e9);
            return FALSE;
        }
    }
    return TRUE;
}

static FerryConfiguration configuration(const FerrySource *s)
{
    const FerryKeptState *kept = ferry_guest_kept_state(s->guest);
    FerryConfiguration c = {.page_bits = kept ? kept->page_bits : 0};

    g_strlcpy(c.machine, ferry_guest_machine(s->guest), sizeof c.machine);
    if (s->options.mapped_ram) {
        g_strlcpy(c.capabilities[c.n_capabilities++], FERRY_CAPABILITY_MAPPED_RAM,
                  sizeof c.capabilities[0]);
    }
    c.has_uuid = s->options.send_uuid && ferry_guest_get_uuid(s->guest, c.uuid);
    return c;
}

/* The first bytes tell the destination which connection is the main one. One that takes several
 * may say nothing before it has them all. */
static gboolean connect_all(FerrySource *s, GError **error)
{
    uint8_t header[FERRY_STREAM_HEADER_SIZE];

    return ferry_source_write(s, header, ferry_stream_header_encode(header), error) &&
           ferry_ram_sender_connect(s->sender, error);
}

static gboolean await_greeting(FerrySource *s, GError **error)
{
    s->peer.heard_ns = s->peer.spoke_ns;
    if (!ferry_source_await(s, &s->peer.greeted, 0, "hello", error)) {
        return FALSE;
    }
    s->peer.round_trip_ns = ferry_now_ns() - s->peer.spoke_ns;
    if (s->peer.is_ferry) { /* better than whatever it was taken for */
        s->dialect = ferry_dialect_ferry;
    }
    return TRUE;
}

gboolean ferry_source_greet(FerrySource *s, GError **error)
{
    uint8_t bytes[FERRY_CONFIGURATION_MAX + FERRY_COMMAND_HEADER_SIZE];
    FerryConfiguration c = configuration(s);
    FerryCommand open = {.id = FERRY_COMMAND_OPEN_RETURN_PATH};
    size_t n = ferry_configuration_encode(&c, bytes);

    if (s->return_path) {
        n += ferry_command_encode(&open, bytes + n);
    }
    if (!connect_all(s, error) || !ferry_source_write(s, bytes, n, error)) {
        return FALSE;
    }
    if (s->return_path &&
        (!ferry_source_ping(s, FERRY_PING_HELLO, error) || !await_greeting(s, error))) {
        return FALSE;
    }
    ferry_source_collect_early(s);
    return ferry_source_write_tail(s, error);
}

gboolean ferry_source_announce_switchover(FerrySource *s, GError **error)
{
    uint8_t bytes[FERRY_COMMAND_HEADER_SIZE];
    FerryCommand start = {.id = FERRY_COMMAND_SWITCHOVER_START};

    return !s->dialect.switchover_start ||
           ferry_source_write(s, bytes, ferry_command_encode(&start, bytes), error);
}

gboolean ferry_source_probe_lag(FerrySource *s, GError **error)
{
    if (!s->return_path || !s->peer.answered) {
        return TRUE;
    }
    s->peer.answered = FALSE;
    s->peer.pinged_ns = ferry_now_ns();
    if (!ferry_source_ping(s, FERRY_PING_ALIVE, error)) {
        return FALSE;
    }
    s->peer.pinged_bytes = ferry_ram_sender_bytes_written(s->sender);
    s->peer.pinged_queued = ferry_ram_sender_queued(s->sender);
    return TRUE;
}

gboolean ferry_source_barrier(FerrySource *s, GError **error)
{
    const char *what = "that it has taken in what was sent";

    return !s->return_path || (ferry_source_await(s, &s->peer.answered, 0, what, error) &&
                               ferry_source_probe_lag(s, error) &&
                               ferry_source_await(s, &s->peer.answered, 0, what, error));
}

/* For how long the destination could have answered and did not. What is written meanwhile says
 * nothing of it: its kernel takes that for a while. A ping that is itself still under way does, as
 * does what was written on other channels before it. */
static uint64_t silence(FerrySource *s, uint64_t now)
{
    Peer *p = &s->peer;
    uint64_t written = ferry_ram_sender_bytes_written(s->sender);
    uint64_t taken = written - MIN(ferry_ram_sender_queued(s->sender), written);

    if (taken < p->pinged_bytes && taken > p->taken_bytes) {
        p->taken_ns = now;
    }
    p->taken_bytes = taken;
    return now - MAX(MAX(p->pinged_ns, p->heard_ns), p->taken_ns);
}

gboolean ferry_source_keep_alive(FerrySource *s, GError **error)
{
    uint64_t now;

    /* First what is there: a write may have kept us from listening for long. */
    if (!ferry_source_listen(s, 0, error)) {
        return FALSE;
    }
    if (!s->return_path) {
        return TRUE;
    }
    now = ferry_now_ns();
    if (!s->peer.answered) {
        if (silence(s, now) > s->timeout_ns) {
            g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                        "destination has been silent for %.1f s", (double)s->timeout_ns / 1e9);
            return FALSE;
        }
        return TRUE;
    }
    if (now - s->peer.spoke_ns < MIN(ALIVE_INTERVAL_NS, s->timeout_ns / 4)) {
        return TRUE;
    }
    return ferry_source_probe_lag(s, error);
}

static gboolean between(void *self, GError **error) { return ferry_source_keep_alive(self, error); }

gboolean ferry_source_hash(FerrySource *s, uint64_t *out_hash, GError **error)
{
    return ferry_memory_hash_stepwise(s->memory, between, s, out_hash, error);
}

/* What the destination did to us: where it is comes first. */
static void blame(FerrySource *s, const char *what, const GError *cause, GError **error)
{
    g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER, "to %s: %s%s",
                ferry_channel_get_description(s->channel), what, cause->message);
}

void ferry_source_judge(FerrySource *s, GError **happened, GError **error)
{
    g_autoptr(GError) cause = g_steal_pointer(happened);
    g_autoptr(GError) reason = NULL;

    if (ferry_precopy_phase(s->machine) == FERRY_PHASE_UNSURE) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_UNSURE,
                    "handover in doubt: the guest was released, but the destination did not "
                    "confirm that it runs (%s); it stays paused here until this is resolved",
                    cause->message);
    } else if (g_atomic_int_get(&s->owner) == OWNER_CANCELLED) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_CANCELLED, "migration cancelled");
    } else if (cause->domain == FERRY_TRANSPORT_ERROR) {
        /* A reset may have overtaken the destination's reason; it is still there to be read. */
        if (!ferry_source_listen(s, 0, &reason) && reason->domain == FERRY_ENGINE_ERROR) {
            blame(s, "", reason, error);
        } else {
            g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                        "lost the destination: %s", cause->message);
        }
    } else if (cause->domain == FERRY_PROTOCOL_ERROR) {
        blame(s, "destination broke the protocol: ", cause, error);
    } else if (g_error_matches(cause, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER)) {
        blame(s, "", cause, error);
    } else if (cause->domain == FERRY_ENGINE_ERROR) {
        g_propagate_error(error, g_steal_pointer(&cause));
    } else {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_GUEST, "%s", cause->message);
    }
}
