/* Reads the main channel and performs the decoder's events. */
#include "engine/destination-private.h"
#include "engine/handover.h"
#include "protocol/wire.h"
#include "transport/transport.h"

#define TIMEOUT_DEFAULT_NS 10000000000ull
#define PUBLISH_NS 20000000ull
/* Device state and its description are held twice: as they come, and kept. Both stay below what a
 * receiver may hold beside the guest's RAM; QEMU's have some hundred KiB. */
#define DEVICE_BYTES_DEFAULT ((size_t)24 << 20)
#define IDLE_MAX (1u << 20) /* sections and barriers without a single page between */
#define IDLE_COMMAND 16     /* as many of them is a command worth: it may want an answer */
#define CRUMB 4096 /* bytes; a source that brings less, and no whole item either, is silent */

FerryDestination *ferry_destination_new(FerryGuest *guest, FerryChannel *channel,
                                        FerryInterrupt *interrupt,
                                        const FerryDestinationOptions *options)
{
    FerryDestination *d = g_malloc0(sizeof *d);

    d->guest = guest;
    d->channel = channel;
    d->interrupt = interrupt;
    d->options = options ? *options : (FerryDestinationOptions){0};
    d->options.record_path = g_strdup(d->options.record_path);
    d->options.multifd_uuid = g_memdup2(d->options.multifd_uuid, 16);
    d->timeout_ns = d->options.io_timeout_ns ? d->options.io_timeout_ns : TIMEOUT_DEFAULT_NS;
    d->page_bits = d->options.page_bits ? d->options.page_bits : FERRY_PAGE_BITS;
    d->stranger = ferry_guest_stranger(guest, &d->stranger_self);
    d->strange_blocks = ferry_destination_strange_blocks_new();
    FerryDecoderOptions decoder_options = {
        .page_bits = d->page_bits,
        .max_device_bytes =
            d->options.max_device_bytes ? d->options.max_device_bytes : DEVICE_BYTES_DEFAULT,
        .commands_after_end = TRUE,
        .description_optional = d->options.description_optional,
    };
    ferry_destination_mapped_init(d, &decoder_options);
    d->decoder = ferry_decoder_new(&decoder_options);
    d->ram = ferry_ram_loader_new(ferry_guest_memory(guest));
    d->multifd = ferry_destination_multifd_new(d);
    d->loaded = g_new0(gboolean, MAX(ferry_guest_n_devices(guest), 1));
    d->progress.ram_total_bytes = ferry_memory_total_bytes(ferry_guest_memory(guest));
    pthread_mutex_init(&d->lock, NULL);
    return d;
}

gboolean ferry_destination_fail(GError **error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER, text);
    return FALSE;
}

void ferry_destination_publish(FerryDestination *d, FerryPhase phase, gboolean notify)
{
    FerryRamLoaded main = ferry_ram_loader_counts(d->ram);
    FerryMultifdLoaded others = {0};
    FerryProgress copy;

    if (d->multifd) {
        others = ferry_multifd_loader_counts(d->multifd);
    }
    pthread_mutex_lock(&d->lock);
    FerryProgress *p = &d->progress;
    p->phase = phase;
    p->peer_is_ferry = d->is_ferry;
    p->sent_bytes = ferry_channel_bytes_read(d->channel) + d->mapped_bytes + others.bytes;
    p->multifd_bytes = others.bytes;
    p->normal_pages = main.normal_pages + others.normal_pages;
    p->zero_pages = main.zero_pages + others.zero_pages;
    p->xbzrle_pages = main.xbzrle_pages;
    p->xbzrle_bytes = main.xbzrle_bytes;
    p->compressed_pages = main.compressed_pages;
    p->compressed_bytes = main.compressed_bytes;
    p->coded_pages = others.coded_pages;
    p->coded_bytes = others.coded_bytes;
    p->total_ns = ferry_now_ns() - d->begin_ns;
    copy = *p;
    pthread_mutex_unlock(&d->lock);
    d->published_ns = ferry_now_ns();
    if (notify && d->options.notify) {
        d->options.notify(d->options.notify_self, &copy);
    }
}

gboolean ferry_destination_say(FerryDestination *d, FerryReturnType type, uint32_t value,
                               uint64_t progress_ns, GError **error)
{
    uint8_t bytes[FERRY_RETURN_MESSAGE_MAX];
    FerryReturnMessage m = {.type = type, .value = value};
    return ferry_channel_write_all(d->channel, bytes, ferry_return_message_encode(&m, bytes),
                                   progress_ns, error);
}

gboolean ferry_destination_is_cancelled(FerryDestination *d, GError **error)
{
    if (g_atomic_int_get(&d->owner) != OWNER_CANCELLED) {
        return FALSE;
    }
    g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_CANCELLED, "migration cancelled");
    return TRUE;
}

/* A second one changes nothing; only one leave to switch over is given. */
static gboolean open_return_path(FerryDestination *d, GError **error)
{
    gboolean first = !d->return_path;

    d->return_path = TRUE;
    return !first || !d->options.switchover_ack ||
           ferry_destination_say(d, FERRY_RETURN_SWITCHOVER_ACK, 0, d->timeout_ns, error);
}

static gboolean take_command(FerryDestination *d, const FerryCommand *c, GError **error)
{
    switch (c->id) {
    case FERRY_COMMAND_OPEN_RETURN_PATH:
        return open_return_path(d, error);
    case FERRY_COMMAND_PING:
        return ferry_destination_take_ping(d, ferry_get_be32(c->payload), error);
    case FERRY_COMMAND_SWITCHOVER_START:
        return TRUE;
    default: /* the decoder refuses the others by name */
        return ferry_destination_fail(error, "command '%s' is not expected",
                                      ferry_command_name(c->id));
    }
}

/* What brings nothing may come for ever, and fast: a source that sends nothing else is refused. A
 * guest that writes for ever brings pages, and only a limit on the time ends that. */
static gboolean take_idle(FerryDestination *d, unsigned worth, GError **error)
{
    uint64_t pages;

    d->idle += worth;
    if (d->idle < IDLE_MAX) {
        return TRUE;
    }
    d->idle = 0;
    ferry_destination_publish(d, d->progress.phase, FALSE);
    pages = d->progress.normal_pages + d->progress.zero_pages + d->progress.xbzrle_pages +
            d->progress.compressed_pages;
    if (pages == d->idle_pages) {
        return ferry_destination_fail(error, "sections and commands, but not one page any more");
    }
    d->idle_pages = pages;
    return TRUE;
}

static gboolean take_event(FerryDestination *d, const FerryStreamEvent *e, GError **error)
{
    switch (e->type) {
    case FERRY_STREAM_HEADER:
        return TRUE;
    case FERRY_STREAM_FLUSH:
        return take_idle(d, 1, error) && ferry_destination_take_flush(d, error);
    case FERRY_STREAM_ROUND_END:
        return take_idle(d, 1, error) && ferry_destination_take_section_end(d, e->section, error);
    case FERRY_STREAM_CONFIGURATION:
        return ferry_destination_take_configuration(d, &e->configuration, error);
    case FERRY_STREAM_COMMAND:
        return take_idle(d, IDLE_COMMAND, error) && take_command(d, &e->command, error);
    case FERRY_STREAM_RAM_BLOCK:
        return ferry_destination_take_block(d, e, error) &&
               (!e->block.is_mapped || ferry_destination_jump(d, e, error));
    case FERRY_STREAM_RAM_LIST_END:
        return ferry_destination_take_list_end(d, error);
    case FERRY_STREAM_PAGE:
    case FERRY_STREAM_ZERO:
    case FERRY_STREAM_XBZRLE:
    case FERRY_STREAM_COMPRESSED:
        ferry_destination_note_page(d, e);
        return ferry_ram_loader_page(d->ram, e, error);
    case FERRY_STREAM_DEVICE:
        return ferry_destination_take_device(d, e, error);
    case FERRY_STREAM_DESCRIPTION:
        return ferry_destination_take_end(d, e->description.text, e->description.length, error);
    }
    g_assert_not_reached();
}

/* On all channels: main may have nothing to say for as long as pages travel on the others. */
static uint64_t bytes_heard(const FerryDestination *d)
{
    return ferry_channel_bytes_read(d->channel) +
           (d->multifd ? ferry_multifd_loader_counts(d->multifd).bytes : 0);
}

/* One byte a second is silence, too. */
uint64_t ferry_destination_silence_ends_ns(FerryDestination *d)
{
    uint64_t bytes = bytes_heard(d);

    if (bytes - d->heard_bytes >= CRUMB) {
        d->heard_ns = ferry_now_ns();
        d->heard_bytes = bytes;
    }
    return d->heard_ns + d->timeout_ns;
}

static gboolean take_events(FerryDestination *d, GError **error)
{
    FerryStreamEvent event;
    FerryDecode decoded;
    gboolean heard = FALSE;

    while ((decoded = ferry_decoder_step(d->decoder, &event, error)) == FERRY_DECODE_EVENT) {
        heard = TRUE;
        if (!take_event(d, &event, error)) {
            g_prefix_error(error, "stream offset %" G_GUINT64_FORMAT ": ", event.stream_offset);
            return FALSE;
        }
    }
    if (heard) {
        d->heard_ns = ferry_now_ns();
        d->heard_bytes = bytes_heard(d);
    }
    return decoded == FERRY_DECODE_MORE;
}

/* Without a description the decoder needed the end to see the last sections. */
static gboolean take_close(FerryDestination *d, GError **error)
{
    if (!ferry_decoder_finish(d->decoder, error)) {
        return FALSE;
    }
    if (d->state != RECEIVING) {
        return ferry_destination_fail(error, "the source closed the connection");
    }
    return take_events(d, error) &&
           (d->state != RECEIVING || ferry_destination_take_end(d, NULL, 0, error));
}

static gssize read_main(FerryDestination *d, GError **error)
{
    for (;;) {
        uint64_t until_ns = ferry_destination_silence_ends_ns(d);
        GError *why = NULL;
        gssize n = ferry_channel_read(d->channel, d->buffer, sizeof d->buffer, until_ns, &why);

        if (n >= 0) {
            return n;
        }
        if (!g_error_matches(why, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_TIMED_OUT) ||
            ferry_destination_silence_ends_ns(d) <= until_ns) {
            g_propagate_error(error, why);
            return -1;
        }
        g_clear_error(&why);
    }
}

gboolean ferry_destination_receive(FerryDestination *d, GError **error)
{
    gboolean direct;
    gssize n = 0;

    if (!ferry_destination_read_direct(d, &n, &direct, error)) {
        return FALSE;
    }
    if (direct) {
        return TRUE;
    }
    if (n == 0) {
        n = read_main(d, error);
    }
    if (n <= 0) {
        return n == 0 && take_close(d, error);
    }
    ferry_decoder_push(d->decoder, d->buffer, (size_t)n);
    return take_events(d, error);
}

static gboolean receive_all(FerryDestination *d, GError **error)
{
    while (d->state == RECEIVING) {
        if (ferry_destination_is_cancelled(d, error) || !ferry_destination_receive(d, error)) {
            return FALSE;
        }
        if (ferry_now_ns() - d->published_ns > PUBLISH_NS) {
            ferry_destination_publish(d, FERRY_PHASE_ITERATE, FALSE);
        }
    }
    return TRUE;
}

gboolean ferry_destination_run(FerryDestination *d, GError **error)
{
    GError *happened = NULL;

    d->begin_ns = d->heard_ns = ferry_now_ns();
    ferry_destination_publish(d, FERRY_PHASE_SETUP, TRUE);
    if (!receive_all(d, &happened) || !ferry_destination_hand_over(d, &happened)) {
        ferry_destination_give_up(d, &happened, error);
        return FALSE;
    }
    ferry_destination_multifd_finish(d);
    ferry_destination_publish(d, FERRY_PHASE_DONE, TRUE);
    return TRUE;
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

void ferry_destination_free(FerryDestination *d)
{
    if (!d) {
        return;
    }
    ferry_multifd_loader_free(d->multifd);
    ferry_channel_free(d->channel);
    ferry_decoder_free(d->decoder);
    ferry_ram_loader_free(d->ram);
    pthread_mutex_destroy(&d->lock);
    g_array_unref(d->strange_blocks);
    g_array_unref(d->mapped);
    g_free(d->loaded);
    g_free(d->machine);
    g_free(d->description);
    g_free((char *)d->options.record_path);
    g_free((uint8_t *)d->options.multifd_uuid);
    g_free(d);
}
