/* The destination's half of the handover.
 *
 *   RECEIVING -> LOADED -> OWNER -> (runs)
 *       |           |
 *       v           +-> in doubt: link lost or silence before GO or ABORT
 *    discarded <----+-> ABORT */
#include "engine/destination-private.h"
#include "engine/handover.h"
#include "protocol/extension.h"

#define LAST_WORD_NS 1000000000ull /* for a refusal to reach the source before we hang up */

gboolean ferry_destination_take_ping(FerryDestination *d, uint32_t value, GError **error)
{
    if (!d->return_path) {
        return ferry_destination_fail(error, "PING without a return path");
    }
    if (value == FERRY_PING_HELLO) {
        if (d->is_ferry) {
            return ferry_destination_fail(error, "a second greeting");
        }
        d->is_ferry = TRUE;
        value = FERRY_PONG_HELLO_ANSWER;
    }
    if (value == FERRY_PING_GO || value == FERRY_PING_ABORT) {
        if (d->state != LOADED || !d->is_ferry || (value == FERRY_PING_GO && !d->offered)) {
            return ferry_destination_fail(error, "%s before everything was loaded",
                                          value == FERRY_PING_GO ? "GO" : "ABORT");
        }
        d->state = value == FERRY_PING_GO ? OWNER : ABORTED;
        return TRUE;
    }
    return ferry_destination_say(d, FERRY_RETURN_PONG, value, d->timeout_ns, error);
}

/* This side owns the guest from here on: it is recorded before the first instruction. */
static gboolean take_over(FerryDestination *d, GError **error)
{
    if (!ferry_handover_record(d->options.record_path, "destination", "owned", d->machine,
                               ferry_channel_get_description(d->channel), error)) {
        return FALSE;
    }
    if (d->stranger || !d->was_running || d->options.keep_paused) {
        return TRUE;
    }
    return ferry_guest_resume(d->guest, error);
}

/* A stranger is kept before the source hears anything that makes it let go. */
static gboolean keep(FerryDestination *d, GError **error)
{
    ferry_ram_loader_finish(d->ram);
    return !d->stranger ||
           d->stranger->complete(d->stranger_self, d->description, d->description_length, error);
}

/* A source that is no Ferry has released the guest with the end of its stream. If it listens it
 * takes the guest back when it is told that the guest cannot start here, or told nothing. */
static gboolean hand_over_at_end(FerryDestination *d, GError **error)
{
    d->state = d->return_path ? LOADED : OWNER;
    if (!take_over(d, error)) {
        return FALSE;
    }
    if (!d->return_path) {
        return TRUE;
    }
    /* A guest that runs here runs on whatever becomes of the word; a stranger is not kept twice. */
    return ferry_destination_say(d, FERRY_RETURN_SHUT, 0, d->timeout_ns,
                                 d->stranger ? error : NULL) ||
           !d->stranger;
}

/* A Ferry is told, and says GO or ABORT. */
static gboolean hand_over_on_go(FerryDestination *d, GError **error)
{
    /* Also where it cannot be said: a source that has hung up may have said ABORT before. */
    d->offered =
        ferry_destination_say(d, FERRY_RETURN_PONG, FERRY_PONG_LOADED, d->timeout_ns, NULL);
    if (d->offered) {
        ferry_destination_publish(d, FERRY_PHASE_LOADING, TRUE);
    }
    while (d->state == LOADED) {
        if (!ferry_destination_receive(d, error)) {
            return FALSE;
        }
    }
    if (d->state == ABORTED) {
        return ferry_destination_fail(error, "the source took the guest back");
    }
    if (!take_over(d, error)) {
        return FALSE;
    }
    /* The guest is here whatever becomes of these: the source holds its own in doubt then. */
    (void)ferry_destination_say(d, FERRY_RETURN_PONG, FERRY_PONG_RUNNING, d->timeout_ns, NULL);
    (void)ferry_destination_say(d, FERRY_RETURN_SHUT, 0, d->timeout_ns, NULL);
    return TRUE;
}

gboolean ferry_destination_hand_over(FerryDestination *d, GError **error)
{
    /* A cancel comes too late from here on: the source may release the guest at any moment. */
    if (!g_atomic_int_compare_and_exchange(&d->owner, OWNER_NOBODY, OWNER_HERE)) {
        d->state = RECEIVING;
        return !ferry_destination_is_cancelled(d, error);
    }
    /* ABORT may have come with the end of the stream. */
    if (d->state == LOADED && !keep(d, error)) {
        d->state = RECEIVING;
        return FALSE;
    }
    return d->is_ferry ? hand_over_on_go(d, error) : hand_over_at_end(d, error);
}

/* Tells the source that it failed, and leaves its reset no chance to overtake the message. */
static void refuse(FerryDestination *d)
{
    uint64_t until = ferry_now_ns() + LAST_WORD_NS;

    ferry_interrupt_lower(d->interrupt);
    if (!d->return_path) {
        return;
    }
    if (!ferry_destination_say(d, FERRY_RETURN_SHUT, 1, LAST_WORD_NS, NULL) ||
        !ferry_channel_shutdown_write(d->channel, NULL)) {
        return;
    }
    while (ferry_channel_read(d->channel, d->buffer, sizeof d->buffer, until, NULL) > 0 &&
           ferry_now_ns() < until) {
    }
}

/* Everything is here, and the source may have let the guest go. */
static gboolean is_in_doubt(const FerryDestination *d)
{
    return (d->state == LOADED && d->is_ferry) || d->state == OWNER;
}

/* The error that the caller sees; *happened is taken. */
static void judge(FerryDestination *d, GError **happened, GError **error)
{
    g_autoptr(GError) cause = g_steal_pointer(happened);
    int code = cause->domain == FERRY_ENGINE_ERROR ? cause->code : FERRY_ENGINE_ERROR_PEER;

    if (d->state == OWNER) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_UNSURE,
                    "handover in doubt: the source released the guest, but it could not start here "
                    "(%s); it stays paused here until this is resolved",
                    cause->message);
    } else if (is_in_doubt(d)) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_UNSURE,
                    "handover in doubt: everything is loaded, but the source neither released the "
                    "guest nor took it back (%s); it stays paused here until this is resolved",
                    cause->message);
    } else if (g_atomic_int_get(&d->owner) == OWNER_CANCELLED) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_CANCELLED, "migration cancelled");
    } else {
        g_set_error(error, FERRY_ENGINE_ERROR, code, "from %s: %s",
                    ferry_channel_get_description(d->channel), cause->message);
    }
}

void ferry_destination_give_up(FerryDestination *d, GError **happened, GError **error)
{
    ferry_destination_multifd_give_up(d, happened);
    if (is_in_doubt(d)) {
        judge(d, happened, error);
        d->state = UNSURE;
        ferry_destination_publish(d, FERRY_PHASE_UNSURE, TRUE);
        return;
    }
    refuse(d);
    if (!d->stranger) {
        ferry_ram_loader_discard(d->ram);
    } else if (d->stranger->discard) {
        d->stranger->discard(d->stranger_self);
    }
    judge(d, happened, error);
    ferry_destination_publish(d, FERRY_PHASE_FAILED, TRUE);
}

gboolean ferry_destination_resolve(FerryDestination *d, GError **error)
{
    if (d->state != UNSURE) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED,
                    "the handover is not in doubt here");
        return FALSE;
    }
    if (!take_over(d, error)) {
        return FALSE;
    }
    d->state = OWNER;
    return TRUE;
}
