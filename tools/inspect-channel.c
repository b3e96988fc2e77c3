/* Multifd channels for `ferry inspect`: hello, packets, and where they stop. */
#include <inttypes.h>
#include <string.h>

#include "protocol/ram.h"
#include "tools/inspect.h"

/* One packet at hand. */
typedef struct {
    uint64_t place;
    FerryMultifdPacket packet;
    uint64_t offsets[FERRY_MULTIFD_PACKET_BYTES >> 10];
    unsigned block;
} Packet;

/* Names channel and file in *error, and remembers whose it is. */
static gboolean fails(FerryInspect *in, const FerryInspectChannel *channel, GError **error)
{
    g_prefix_error(error, "channel %u '%s': ", channel->hello.id,
                   ferry_inspect_input_name(channel->input));
    if (!in->error_channel) {
        in->error_channel = g_strdup_printf("%u", channel->hello.id);
    }
    return FALSE;
}

static gboolean refuse(uint64_t place, FerryProtocolError code, GError **error, const char *format,
                       ...) G_GNUC_PRINTF(4, 5);
static gboolean refuse(uint64_t place, FerryProtocolError code, GError **error, const char *format,
                       ...)
{
    g_autofree char *message = NULL;
    va_list arguments;

    va_start(arguments, format);
    message = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error(error, FERRY_PROTOCOL_ERROR, (int)code, "byte %" PRIu64 ": %s", place, message);
    return FALSE;
}

gboolean ferry_inspect_channel_begin(FerryInspect *in, FerryInspectChannel *channel, GError **error)
{
    uint8_t bytes[FERRY_MULTIFD_HELLO_SIZE];

    if (ferry_inspect_input_read(channel->input, bytes, sizeof bytes, "its hello", error) &&
        ferry_multifd_hello_decode(bytes, &channel->hello, error)) {
        return TRUE;
    }
    g_prefix_error(error, "channel '%s': ", ferry_inspect_input_name(channel->input));
    if (!in->error_channel) {
        in->error_channel = g_strdup(ferry_inspect_input_name(channel->input));
    }
    return FALSE;
}

static gboolean is_named(FerryInspect *in, unsigned block, const char *idstr)
{
    return block < in->blocks->len && strcmp(ferry_inspect_block(in, block)->idstr, idstr) == 0;
}

/* The packet's block by its name. Without a block list every name is taken as it comes. */
static gboolean find_block(FerryInspect *in, Packet *p, GError **error)
{
    const char *idstr = p->packet.idstr;
    unsigned i = in->channel_block;

    if (!is_named(in, i, idstr)) {
        for (i = 0; i < in->blocks->len && !is_named(in, i, idstr); i++) {
        }
    }
    if (i == in->blocks->len) {
        if (in->main) {
            return refuse(p->place, FERRY_PROTOCOL_ERROR_MALFORMED, error,
                          "packet: block '%s' is not in the list", idstr);
        }
        if (i == FERRY_RAM_BLOCKS_MAX) {
            return refuse(p->place, FERRY_PROTOCOL_ERROR_LIMIT, error,
                          "packet: more than %d blocks are named", FERRY_RAM_BLOCKS_MAX);
        }
        if (!ferry_inspect_add_block(in, idstr, 0, error)) {
            return FALSE;
        }
    }
    p->block = in->channel_block = i;
    return TRUE;
}

static gboolean check_offsets(FerryInspect *in, const Packet *p, GError **error)
{
    const FerryInspectBlock *b = ferry_inspect_block(in, p->block);

    for (unsigned i = 0; in->main && i < p->packet.normal_pages + p->packet.zero_pages; i++) {
        if (p->offsets[i] >= b->length) {
            return refuse(p->place, FERRY_PROTOCOL_ERROR_MALFORMED, error,
                          "packet: block '%s': page at 0x%" PRIx64
                          " is outside, its length is 0x%" PRIx64,
                          b->idstr, p->offsets[i], b->length);
        }
    }
    return TRUE;
}

static gboolean check_method(FerryInspect *in, const Packet *p, GError **error)
{
    FerryMultifdMethod method = p->packet.method;

    if (in->has_method && method != in->method) {
        return refuse(p->place, FERRY_PROTOCOL_ERROR_MALFORMED, error,
                      "packet: its method is %s, before it was %s",
                      ferry_multifd_method_name(method), ferry_multifd_method_name(in->method));
    }
    if (method != FERRY_MULTIFD_NONE && method != FERRY_MULTIFD_ZLIB &&
        method != FERRY_MULTIFD_ZSTD) {
        return refuse(p->place, FERRY_PROTOCOL_ERROR_UNSUPPORTED, error,
                      "packet: compression method %s is not supported",
                      ferry_multifd_method_name(method));
    }
    in->has_method = TRUE;
    in->method = method;
    return TRUE;
}

/* Pages back to back: read where they belong, or stepped over. */
static gboolean plain_payload(FerryInspect *in, FerryInspectChannel *channel, const Packet *p,
                              GError **error)
{
    size_t size = (size_t)1 << in->page_bits;

    for (unsigned i = 0; i < p->packet.normal_pages; i++) {
        gboolean done;

        if (ferry_inspect_block(in, p->block)->bytes) {
            done = ferry_inspect_input_read(channel->input,
                                            ferry_inspect_ram(in, p->block, p->offsets[i]), size,
                                            "a packet's pages", error);
        } else {
            done = ferry_inspect_input_go(channel->input,
                                          ferry_inspect_input_place(channel->input) + size,
                                          "a packet's pages", error);
        }
        if (!done) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean packed_payload(FerryInspect *in, FerryInspectChannel *channel, const Packet *p,
                               GError **error)
{
    unsigned n = p->packet.normal_pages;
    g_autofree struct iovec *pages = g_new(struct iovec, n);

    if (!channel->decompressor) {
        channel->decompressor = ferry_decompressor_new(p->packet.method);
    }
    /* The packet's decoder has seen to it that the payload is at most twice the pages. */
    if (!ferry_inspect_input_read(channel->input, in->payload, p->packet.payload_bytes,
                                  "a packet's payload", error)) {
        return FALSE;
    }
    for (unsigned i = 0; i < n; i++) {
        pages[i].iov_base = ferry_inspect_ram(in, p->block, p->offsets[i]);
        pages[i].iov_len = (size_t)1 << in->page_bits;
    }
    if (!ferry_decompressor_packet(channel->decompressor, in->payload, p->packet.payload_bytes,
                                   pages, n, error)) {
        g_prefix_error(error, "byte %" PRIu64 ": packet: payload: ", p->place);
        return FALSE;
    }
    return TRUE;
}

static void note_pages(FerryInspect *in, const FerryInspectChannel *channel, const Packet *p)
{
    FerryInspectPage page = {
        .channel = channel->hello.id,
        .place = p->place,
        .block = p->block,
        .kind = FERRY_INSPECT_MULTIFD_NORMAL,
        .bytes = p->packet.method == FERRY_MULTIFD_NONE ? (gint64)1 << in->page_bits : -1,
    };

    for (unsigned i = 0; i < p->packet.normal_pages; i++) {
        page.offset = p->offsets[i];
        ferry_inspect_set_received(in, p->block, page.offset);
        ferry_inspect_page(in, &page);
    }
    page.kind = FERRY_INSPECT_MULTIFD_ZERO;
    page.bytes = 0;
    for (unsigned i = 0; i < p->packet.zero_pages; i++) {
        page.offset = p->offsets[p->packet.normal_pages + i];
        ferry_inspect_zero(in, p->block, page.offset);
        ferry_inspect_page(in, &page);
    }
}

static gboolean data(FerryInspect *in, FerryInspectChannel *channel, Packet *p, GError **error)
{
    uint64_t behind = ferry_inspect_input_place(channel->input);

    if (!find_block(in, p, error) || !check_offsets(in, p, error) || !check_method(in, p, error)) {
        return FALSE;
    }
    if (p->packet.normal_pages &&
        !(p->packet.method == FERRY_MULTIFD_NONE ? plain_payload(in, channel, p, error)
                                                 : packed_payload(in, channel, p, error))) {
        return FALSE;
    }
    channel->payload_bytes += ferry_inspect_input_place(channel->input) - behind;
    channel->normal_pages += p->packet.normal_pages;
    channel->zero_pages += p->packet.zero_pages;
    channel->data_packets++;
    note_pages(in, channel, p);
    return TRUE;
}

/* *out_ended: the capture is over, there was no packet. */
static gboolean next_packet(FerryInspect *in, FerryInspectChannel *channel, Packet *p,
                            gboolean *out_ended, GError **error)
{
    uint8_t header[FERRY_MULTIFD_HEADER_MAX];
    const uint8_t *ahead;
    size_t n;

    p->place = ferry_inspect_input_place(channel->input);
    if (!ferry_inspect_input_peek(channel->input, &ahead, &n, error)) {
        return FALSE;
    }
    *out_ended = n == 0;
    if (n == 0) {
        return TRUE;
    }
    if (!ferry_inspect_input_read(channel->input, header, ferry_multifd_header_size(in->page_bits),
                                  "a packet's header", error)) {
        return FALSE;
    }
    if (!ferry_multifd_packet_decode(header, in->page_bits, &p->packet, p->offsets, error)) {
        g_prefix_error(error, "byte %" PRIu64 ": ", p->place);
        return FALSE;
    }
    return TRUE;
}

static gboolean take(FerryInspect *in, FerryInspectChannel *channel, Packet *p, GError **error)
{
    const FerryMultifdPacket *packet = &p->packet;
    gboolean has_pages = packet->normal_pages || packet->zero_pages;

    if (has_pages && !data(in, channel, p, error)) {
        return FALSE;
    }
    channel->packets++;
    channel->flags[((unsigned)packet->method | (packet->sync ? FERRY_MULTIFD_SYNC : 0)) %
                   FERRY_INSPECT_FLAGS]++;
    channel->sync_packets += packet->sync;
    channel->sync_on_data += packet->sync && has_pages;
    channel->empty_packets += !packet->sync && !has_pages;
    return TRUE;
}

gboolean ferry_inspect_channel_to_sync(FerryInspect *in, FerryInspectChannel *channel,
                                       GError **error)
{
    Packet p;
    gboolean ended;

    do {
        if (!next_packet(in, channel, &p, &ended, error)) {
            return fails(in, channel, error);
        }
        if (ended) {
            refuse(p.place, FERRY_PROTOCOL_ERROR_TRUNCATED, error,
                   "the channel ended before its SYNC for barrier %" PRIu64 " on main",
                   in->barriers + 1);
            return fails(in, channel, error);
        }
        if (!take(in, channel, &p, error)) {
            return fails(in, channel, error);
        }
    } while (!p.packet.sync);
    return TRUE;
}

/* QEMU up to 8.2 may send an empty packet here, others nothing. */
gboolean ferry_inspect_channel_finish(FerryInspect *in, FerryInspectChannel *channel,
                                      GError **error)
{
    Packet p;
    gboolean ended;

    for (;;) {
        if (!next_packet(in, channel, &p, &ended, error)) {
            return fails(in, channel, error);
        }
        if (ended) {
            return TRUE;
        }
        if (in->main && (p.packet.sync || p.packet.normal_pages || p.packet.zero_pages)) {
            refuse(p.place, FERRY_PROTOCOL_ERROR_MALFORMED, error,
                   "packet: %s behind the last barrier on main",
                   p.packet.sync ? "a SYNC" : "pages");
            return fails(in, channel, error);
        }
        if (!take(in, channel, &p, error)) {
            return fails(in, channel, error);
        }
    }
}

void ferry_inspect_channel_free(void *p)
{
    FerryInspectChannel *channel = p;

    ferry_inspect_input_free(channel->input);
    ferry_decompressor_free(channel->decompressor);
    g_free(channel);
}
