/* Performs the decoder's events, then the destination's half of the handover.
 *
 *   RECEIVING -> LOADED -> OWNER -> (runs)
 *       |           |
 *       v           +-> in doubt: link lost or silence before GO or ABORT
 *    discarded <----+-> ABORT */
#include "engine/destination.h"
#include <pthread.h>
#include <string.h>
#include "engine/guest-private.h"
#include "engine/handover.h"
#include "engine/ram-load.h"
#include "protocol/decoder.h"
#include "protocol/extension.h"
#include "protocol/return-path.h"
#include "protocol/wire.h"
#include "transport/transport.h"

#define TIMEOUT_DEFAULT_NS 10000000000ull
#define READ_SIZE (256u << 10)     /* stays in the cache between the kernel's copy and ours */
#define LAST_WORD_NS 1000000000ull /* for a refusal to reach the source before we hang up */
#define PUBLISH_NS 20000000ull

enum { OWNER_NOBODY, OWNER_CANCELLED, OWNER_HERE };

typedef enum { RECEIVING, LOADED, OWNER, ABORTED, UNSURE } State;

struct FerryDestination {
    FerryGuest *guest;
    FerryChannel *channel;
    FerryInterrupt *interrupt;
    FerryDestinationOptions options;
    uint64_t timeout_ns;

    gint owner;           /* atomic */
    pthread_mutex_t lock; /* progress */
    FerryProgress progress;

    State state;
    FerryDecoder *decoder;
    FerryRamLoader *ram;
    gboolean *loaded; /* per device of the guest */
    gboolean return_path, is_ferry, was_running, globalstate;
    gboolean offered; /* LOADED is said: GO may come */
    uint64_t begin_ns, published_ns;
    uint8_t buffer[READ_SIZE];
};

FerryDestination *ferry_destination_new(FerryGuest *guest, FerryChannel *channel,
                                        FerryInterrupt *interrupt,
                                        const FerryDestinationOptions *options)
{
    static const FerryDecoderOptions decoder_options = {.commands_after_end = TRUE};
    FerryDestination *d = g_malloc0(sizeof *d);

    d->guest = guest;
    d->channel = channel;
    d->interrupt = interrupt;
    d->options = options ? *options : (FerryDestinationOptions){0};
    d->options.record_path = g_strdup(d->options.record_path);
    d->timeout_ns = d->options.io_timeout_ns ? d->options.io_timeout_ns : TIMEOUT_DEFAULT_NS;
    d->decoder = ferry_decoder_new(&decoder_options);
    d->ram = ferry_ram_loader_new(ferry_guest_memory(guest));
    d->loaded = g_new0(gboolean, MAX(ferry_guest_n_devices(guest), 1));
    d->progress.ram_total_bytes = ferry_memory_total_bytes(ferry_guest_memory(guest));
    pthread_mutex_init(&d->lock, NULL);
    return d;
}

static gboolean fail(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
static gboolean fail(GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER, text);
    return FALSE;
}

static void publish(FerryDestination *d, FerryPhase phase, gboolean notify)
{
    FerryProgress copy;

    pthread_mutex_lock(&d->lock);
    FerryProgress *p = &d->progress;
    p->phase = phase;
    p->peer_is_ferry = d->is_ferry;
    p->sent_bytes = ferry_channel_bytes_read(d->channel);
    p->normal_pages = ferry_ram_loader_normal_pages(d->ram);
    p->zero_pages = ferry_ram_loader_zero_pages(d->ram);
    p->total_ns = ferry_now_ns() - d->begin_ns;
    copy = *p;
    pthread_mutex_unlock(&d->lock);
    d->published_ns = ferry_now_ns();
    if (notify && d->options.notify) {
        d->options.notify(d->options.notify_self, &copy);
    }
}

static gboolean say_within(FerryDestination *d, uint64_t progress_ns, FerryReturnType type,
                           uint32_t value, GError **error)
{
    uint8_t bytes[FERRY_RETURN_MESSAGE_MAX];
    FerryReturnMessage m = {.type = type, .value = value};
    return ferry_channel_write_all(d->channel, bytes, ferry_return_message_encode(&m, bytes),
                                   progress_ns, error);
}

static gboolean say(FerryDestination *d, FerryReturnType type, uint32_t value, GError **error)
{
    return say_within(d, d->timeout_ns, type, value, error);
}

static gboolean take_configuration(FerryDestination *d, const FerryConfiguration *c, GError **error)
{
    const char *machine = ferry_guest_machine(d->guest);

    if (strcmp(c->machine, machine) != 0) {
        g_autofree char *theirs = g_strescape(c->machine, NULL);
        return fail(error, "machine type '%s' at the source, but '%s' here", theirs, machine);
    }
    if (c->page_bits && c->page_bits != FERRY_PAGE_BITS) {
        return fail(error, "target pages of %u bytes at the source, but of %u bytes here",
                    1u << c->page_bits, FERRY_PAGE_SIZE);
    }
    return TRUE;
}

static gboolean take_ping(FerryDestination *d, uint32_t value, GError **error)
{
    if (!d->return_path) {
        return fail(error, "PING without a return path");
    }
    if (value == FERRY_PING_HELLO) {
        if (d->is_ferry) {
            return fail(error, "a second greeting");
        }
        d->is_ferry = TRUE;
        return say(d, FERRY_RETURN_PONG, FERRY_PONG_HELLO_ANSWER, error);
    }
    if (value == FERRY_PING_GO || value == FERRY_PING_ABORT) {
        if (d->state != LOADED || !d->is_ferry || (value == FERRY_PING_GO && !d->offered)) {
            return fail(error, "%s before everything was loaded",
                        value == FERRY_PING_GO ? "GO" : "ABORT");
        }
        d->state = value == FERRY_PING_GO ? OWNER : ABORTED;
        return TRUE;
    }
    return say(d, FERRY_RETURN_PONG, value, error);
}

static gboolean take_command(FerryDestination *d, const FerryCommand *c, GError **error)
{
    switch (c->id) {
    case FERRY_COMMAND_OPEN_RETURN_PATH:
        d->return_path = TRUE;
        return TRUE;
    case FERRY_COMMAND_PING:
        return take_ping(d, ferry_get_be32(c->payload), error);
    case FERRY_COMMAND_SWITCHOVER_START:
        return TRUE;
    default: /* the decoder refuses the others by name */
        return fail(error, "command '%s' is not expected", ferry_command_name(c->id));
    }
}

static gboolean take_globalstate(FerryDestination *d, const FerryStreamEvent *e, GError **error)
{
    const uint8_t *body = e->device.body;

    if (e->device.length != FERRY_GLOBALSTATE_SIZE || d->globalstate) {
        return fail(error, "section '%s': %s", FERRY_GLOBALSTATE_IDSTR,
                    d->globalstate ? "twice" : "wrong length");
    }
    uint32_t size = ferry_get_be32(body);
    d->globalstate = TRUE;
    d->was_running = size == sizeof "running" && memcmp(body + 4, "running", size) == 0;
    if (!d->was_running && !(size == sizeof "paused" && memcmp(body + 4, "paused", size) == 0)) {
        return fail(error, "section '%s': neither running nor paused", FERRY_GLOBALSTATE_IDSTR);
    }
    return TRUE;
}

static gboolean cancelled(FerryDestination *d, GError **error)
{
    if (g_atomic_int_get(&d->owner) != OWNER_CANCELLED) {
        return FALSE;
    }
    g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_CANCELLED, "migration cancelled");
    return TRUE;
}

static gboolean go_on(void *self, GError **error) { return !cancelled(self, error); }

static gboolean take_hash(FerryDestination *d, const FerryStreamEvent *e, GError **error)
{
    if (e->device.length != FERRY_VERIFY_SIZE) {
        return fail(error, "section '%s': wrong length", FERRY_VERIFY_IDSTR);
    }
    uint64_t theirs = ferry_get_be64(e->device.body), ours;
    if (!ferry_memory_hash_stepwise(ferry_guest_memory(d->guest), go_on, d, &ours, error)) {
        return FALSE;
    }
    if (theirs != ours) {
        return fail(error,
                    "RAM differs: XXH3 %016" G_GINT64_MODIFIER
                    "x at the source, %016" G_GINT64_MODIFIER "x here",
                    theirs, ours);
    }
    pthread_mutex_lock(&d->lock);
    d->progress.ram_hash = ours;
    d->progress.verified = TRUE;
    pthread_mutex_unlock(&d->lock);
    return TRUE;
}

static gboolean take_device(FerryDestination *d, const FerryStreamEvent *e, GError **error)
{
    if (strcmp(e->device.idstr, FERRY_GLOBALSTATE_IDSTR) == 0) {
        return take_globalstate(d, e, error);
    }
    if (d->is_ferry && strcmp(e->device.idstr, FERRY_VERIFY_IDSTR) == 0) {
        return take_hash(d, e, error);
    }
    int index = ferry_guest_find_device(d->guest, e->device.idstr, e->device.instance_id);
    if (index < 0) {
        g_autofree char *name = g_strescape(e->device.idstr, NULL);
        return fail(error, "device '%s' %u does not exist here", name, e->device.instance_id);
    }
    if (d->loaded[index]) {
        return fail(error, "device '%s' %u comes twice", e->device.idstr, e->device.instance_id);
    }
    d->loaded[index] = TRUE;
    return ferry_device_load(ferry_guest_device(d->guest, (unsigned)index), e->device.body,
                             e->device.length, e->device.version_id, error);
}

/* Everything was received; is it everything? */
static gboolean take_end(FerryDestination *d, GError **error)
{
    for (unsigned i = 0; i < ferry_guest_n_devices(d->guest); i++) {
        const FerryDevice *device = ferry_guest_device(d->guest, i);
        if (!d->loaded[i]) {
            return fail(error, "device '%s' %u is missing in the stream", device->idstr,
                        device->instance);
        }
    }
    if (!d->globalstate) {
        return fail(error, "section '%s' is missing in the stream", FERRY_GLOBALSTATE_IDSTR);
    }
    d->state = LOADED;
    return TRUE;
}

static gboolean take_event(FerryDestination *d, const FerryStreamEvent *e, GError **error)
{
    switch (e->type) {
    case FERRY_STREAM_HEADER:
    case FERRY_STREAM_FLUSH: /* some sources send it without multifd */
    case FERRY_STREAM_ROUND_END:
        return TRUE;
    case FERRY_STREAM_CONFIGURATION:
        return take_configuration(d, &e->configuration, error);
    case FERRY_STREAM_COMMAND:
        return take_command(d, &e->command, error);
    case FERRY_STREAM_RAM_BLOCK:
        return ferry_ram_loader_block(d->ram, e, error);
    case FERRY_STREAM_RAM_LIST_END:
        if (!ferry_ram_loader_list_end(d->ram, error)) {
            return FALSE;
        }
        publish(d, FERRY_PHASE_ITERATE, TRUE);
        return TRUE;
    case FERRY_STREAM_PAGE:
    case FERRY_STREAM_ZERO:
        ferry_ram_loader_page(d->ram, e);
        return TRUE;
    case FERRY_STREAM_XBZRLE:
    case FERRY_STREAM_COMPRESSED:
        return fail(error, "packed pages are not supported");
    case FERRY_STREAM_DEVICE:
        return take_device(d, e, error);
    case FERRY_STREAM_DESCRIPTION:
        return take_end(d, error);
    }
    g_assert_not_reached();
}

/* Reads once and performs what that brought. */
static gboolean receive(FerryDestination *d, GError **error)
{
    FerryStreamEvent event;
    FerryDecode decoded;
    gssize n = ferry_channel_read(d->channel, d->buffer, sizeof d->buffer,
                                  ferry_now_ns() + d->timeout_ns, error);
    if (n < 0) {
        return FALSE;
    }
    if (n == 0) {
        /* Without a description the decoder needed the end to see the last sections. */
        if (!ferry_decoder_finish(d->decoder, error)) {
            return FALSE;
        }
        if (d->state != RECEIVING) {
            return fail(error, "the source closed the connection");
        }
    } else {
        ferry_decoder_push(d->decoder, d->buffer, (size_t)n);
    }
    while ((decoded = ferry_decoder_step(d->decoder, &event, error)) == FERRY_DECODE_EVENT) {
        if (!take_event(d, &event, error)) {
            g_prefix_error(error, "stream offset %" G_GUINT64_FORMAT ": ", event.stream_offset);
            return FALSE;
        }
    }
    return decoded == FERRY_DECODE_MORE;
}

static gboolean receive_all(FerryDestination *d, GError **error)
{
    while (d->state == RECEIVING) {
        if (cancelled(d, error) || !receive(d, error)) {
            return FALSE;
        }
        if (ferry_now_ns() - d->published_ns > PUBLISH_NS) {
            publish(d, FERRY_PHASE_ITERATE, FALSE);
        }
    }
    return TRUE;
}

/* This side owns the guest from here on: it is recorded before the first instruction. */
static gboolean take_over(FerryDestination *d, GError **error)
{
    if (!ferry_handover_record(d->options.record_path, "destination", "owned",
                               ferry_guest_machine(d->guest),
                               ferry_channel_get_description(d->channel), error)) {
        return FALSE;
    }
    if (d->was_running && !d->options.keep_paused && !ferry_guest_resume(d->guest, error)) {
        return FALSE;
    }
    return TRUE;
}

/* A source that is no Ferry has released the guest with the end of its stream. If it listens it
 * takes the guest back when it is told that the guest cannot start here. */
static gboolean hand_over_at_end(FerryDestination *d, GError **error)
{
    d->state = d->return_path ? LOADED : OWNER;
    return take_over(d, error);
}

/* A Ferry is told, and says GO or ABORT. A cancel comes too late from here on: the source may
 * release the guest at any moment. */
static gboolean hand_over(FerryDestination *d, GError **error)
{
    if (!g_atomic_int_compare_and_exchange(&d->owner, OWNER_NOBODY, OWNER_HERE)) {
        d->state = RECEIVING;
        return !cancelled(d, error);
    }
    if (!d->is_ferry) {
        return hand_over_at_end(d, error);
    }
    /* Also where it cannot be said: a source that has hung up may have said ABORT before. */
    d->offered = d->state == LOADED && say(d, FERRY_RETURN_PONG, FERRY_PONG_LOADED, NULL);
    if (d->offered) {
        publish(d, FERRY_PHASE_LOADING, TRUE);
    }
    while (d->state == LOADED) {
        if (!receive(d, error)) {
            return FALSE;
        }
    }
    if (d->state == ABORTED) {
        return fail(error, "the source took the guest back");
    }
    return take_over(d, error);
}

/* Tells the source that it failed, and leaves its reset no chance to overtake the message. */
static void refuse(FerryDestination *d)
{
    uint64_t until = ferry_now_ns() + LAST_WORD_NS;

    if (!d->return_path) {
        return;
    }
    ferry_interrupt_lower(d->interrupt);
    if (!say_within(d, LAST_WORD_NS, FERRY_RETURN_SHUT, 1, NULL) ||
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

gboolean ferry_destination_run(FerryDestination *d, GError **error)
{
    GError *happened = NULL;

    d->begin_ns = ferry_now_ns();
    publish(d, FERRY_PHASE_SETUP, TRUE);
    if (receive_all(d, &happened) && hand_over(d, &happened)) {
        /* The guest is here whatever becomes of these: the source holds its own in doubt then. */
        if (d->is_ferry) {
            (void)say(d, FERRY_RETURN_PONG, FERRY_PONG_RUNNING, NULL);
        }
        if (d->return_path) {
            (void)say(d, FERRY_RETURN_SHUT, 0, NULL);
        }
        publish(d, FERRY_PHASE_DONE, TRUE);
        return TRUE;
    }
    if (is_in_doubt(d)) {
        judge(d, &happened, error);
        d->state = UNSURE;
        publish(d, FERRY_PHASE_UNSURE, TRUE);
        return FALSE;
    }
    refuse(d);
    ferry_ram_loader_discard(d->ram);
    judge(d, &happened, error);
    publish(d, FERRY_PHASE_FAILED, TRUE);
    return FALSE;
}

gboolean ferry_destination_cancel(FerryDestination *d)
{
    if (g_atomic_int_compare_and_exchange(&d->owner, OWNER_NOBODY, OWNER_CANCELLED)) {
        ferry_interrupt_raise(d->interrupt);
    }
    return g_atomic_int_get(&d->owner) == OWNER_CANCELLED;
}

void ferry_destination_get_progress(FerryDestination *d, FerryProgress *out_progress)
{
    pthread_mutex_lock(&d->lock);
    *out_progress = d->progress;
    pthread_mutex_unlock(&d->lock);
}

gboolean ferry_destination_was_running(const FerryDestination *d) { return d->was_running; }

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

void ferry_destination_free(FerryDestination *d)
{
    if (!d) {
        return;
    }
    ferry_channel_free(d->channel);
    ferry_decoder_free(d->decoder);
    ferry_ram_loader_free(d->ram);
    pthread_mutex_destroy(&d->lock);
    g_free(d->loaded);
    g_free((char *)d->options.record_path);
    g_free(d);
}
