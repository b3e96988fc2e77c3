/* The main channel for `ferry inspect`: the decoder's events, and the barriers between it and the
 * channels. */
#include <inttypes.h>
#include <string.h>

#include "protocol/decoder.h"
#include "protocol/wire.h"
#include "protocol/xbzrle.h"
#include "tools/inspect.h"

/* Bytes of a ram section's header with idstr, instance and version; without; of a footer. */
#define LONG_HEADER (1 + 4 + 1 + sizeof(FERRY_RAM_IDSTR) - 1 + 4 + 4)
#define SHORT_HEADER (1 + 4)

typedef struct {
    FerryInspect *in;
    FerryDecoder *decoder;
    uint64_t goes_on; /* place in the file; 0: behind what was pushed */
} Walk;

static gboolean at_barrier(FerryInspect *in, GError **error)
{
    for (unsigned i = 0; i < in->channels->len; i++) {
        if (!ferry_inspect_channel_to_sync(in, in->channels->pdata[i], error)) {
            return FALSE;
        }
    }
    in->barriers++;
    in->now_barriers++;
    return TRUE;
}

static gboolean configuration(FerryInspect *in, const FerryStreamEvent *ev)
{
    in->has_configuration = TRUE;
    in->configuration = ev->configuration;
    if (ev->configuration.page_bits) {
        in->page_bits = ev->configuration.page_bits;
    }
    for (unsigned i = 0; i < in->channels->len; i++) {
        const FerryInspectChannel *channel = in->channels->pdata[i];

        if (ev->configuration.has_uuid &&
            memcmp(channel->hello.uuid, ev->configuration.uuid, sizeof channel->hello.uuid) != 0) {
            ferry_inspect_note(in, "channel %u has another uuid than the main channel",
                               channel->hello.id);
        }
    }
    return TRUE;
}

static gboolean command(FerryInspect *in, const FerryStreamEvent *ev)
{
    FerryInspectCommand found = {.id = ev->command.id, .offset = ev->stream_offset};

    if (ev->command.id == FERRY_COMMAND_PING) {
        found.value = ferry_get_be32(ev->command.payload);
    }
    if (in->commands->len < FERRY_INSPECT_LIST_MAX) {
        g_array_append_val(in->commands, found);
    } else {
        in->commands_left_out++;
    }
    return TRUE;
}

static gboolean block(Walk *walk, const FerryStreamEvent *ev, GError **error)
{
    FerryInspect *in = walk->in;
    FerryInspectBlock *b;

    if (!ferry_inspect_add_block(in, ev->block.idstr, ev->block.used_length, error)) {
        g_prefix_error(error, "byte %" PRIu64 ": ", ev->stream_offset);
        return FALSE;
    }
    if (!ev->block.is_mapped) {
        return TRUE;
    }
    b = ferry_inspect_block(in, ev->block.index);
    b->is_mapped = in->is_mapped = TRUE;
    b->mapped = ev->block.mapped;
    walk->goes_on = ferry_decoder_jump(walk->decoder);
    return ferry_inspect_mapped_block(in, ev->block.index, error);
}

/* Takes the record for one page, which is at @page: its content, and where it belongs. */
static gboolean apply(FerryInspect *in, const FerryStreamEvent *ev, GError **error)
{
    size_t size = (size_t)1 << in->page_bits;
    uint8_t *page = ferry_inspect_ram(in, ev->page.block, ev->page.offset);

    switch (ev->type) {
    case FERRY_STREAM_PAGE:
        memcpy(page, ev->page.data, size);
        return TRUE;
    case FERRY_STREAM_XBZRLE:
        if (!ferry_inspect_has_received(in, ev->page.block, ev->page.offset)) {
            g_set_error(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_MALFORMED,
                        "an xbzrle delta to a page that was never sent");
            return FALSE;
        }
        in->xbzrle_bytes += ev->page.length;
        return ferry_xbzrle_decode(ev->page.data, ev->page.length, page, size, error);
    default:
        in->compressed_bytes += ev->page.length;
        return ferry_page_codec_decode(in->codec, ev->page.data, ev->page.length, page, size,
                                       error);
    }
}

static gboolean page(Walk *walk, const FerryStreamEvent *ev, GError **error)
{
    static const FerryInspectKind kinds[] = {
        [FERRY_STREAM_PAGE] = FERRY_INSPECT_NORMAL,
        [FERRY_STREAM_ZERO] = FERRY_INSPECT_ZERO,
        [FERRY_STREAM_XBZRLE] = FERRY_INSPECT_XBZRLE,
        [FERRY_STREAM_COMPRESSED] = FERRY_INSPECT_COMPRESSED,
    };
    FerryInspect *in = walk->in;
    uint64_t size = (uint64_t)1 << in->page_bits;
    /* Behind the record's word and its block's name, if it has one. */
    uint64_t rest = ev->type == FERRY_STREAM_PAGE     ? size
                    : ev->type == FERRY_STREAM_ZERO   ? 1
                    : ev->type == FERRY_STREAM_XBZRLE ? 3 + ev->page.length
                                                      : 4 + ev->page.length;
    FerryInspectPage found = {
        .channel = -1,
        .place = ev->stream_offset,
        .block = ev->page.block,
        .offset = ev->page.offset,
        .kind = kinds[ev->type],
        .bytes = ev->type == FERRY_STREAM_PAGE   ? (gint64)size
                 : ev->type == FERRY_STREAM_ZERO ? 0
                                                 : (gint64)ev->page.length,
    };

    if (ev->type == FERRY_STREAM_ZERO) {
        ferry_inspect_zero(in, ev->page.block, ev->page.offset);
    } else if (!apply(in, ev, error)) {
        g_prefix_error(error, "byte %" PRIu64 ": block '%s': page at 0x%" PRIx64 ": ",
                       ev->stream_offset, ferry_inspect_block(in, ev->page.block)->idstr,
                       ev->page.offset);
        return FALSE;
    }
    ferry_inspect_set_received(in, ev->page.block, ev->page.offset);
    if (ferry_decoder_offset(walk->decoder) - ev->stream_offset == 8 + rest) {
        in->continued++;
    } else {
        in->named++;
    }
    ferry_inspect_page(in, &found);
    return TRUE;
}

static void keep_section(FerryInspect *in, FerryInspectSection *section)
{
    if (in->sections->len < FERRY_INSPECT_LIST_MAX) {
        g_array_append_vals(in->sections, section, 1);
        return;
    }
    in->sections_left_out++;
    g_free(section->idstr);
    g_free(section->sha256);
}

static gboolean round_end(Walk *walk, const FerryStreamEvent *ev, GError **error)
{
    FerryInspect *in = walk->in;
    gboolean start = ev->section == FERRY_SECTION_START;
    FerryInspectSection section = {
        .type = ev->section,
        .section_id = ev->section_id,
        .version_id = FERRY_RAM_VERSION,
        .offset = ev->stream_offset,
        .flushes = in->now_flushes,
    };

    in->ends++;
    in->parts += ev->section == FERRY_SECTION_PART;
    if (start) {
        in->start_ended = TRUE;
        in->per_round = in->now_flushes > 0;
    }
    if (in->channels->len && !in->per_round && !at_barrier(in, error)) {
        return FALSE;
    }
    section.idstr = g_strdup(FERRY_RAM_IDSTR);
    section.bytes = ferry_decoder_offset(walk->decoder) - ev->stream_offset -
                    (start ? LONG_HEADER : SHORT_HEADER) - FERRY_SECTION_FOOTER_SIZE;
    section.pages = in->now;
    section.barriers = in->now_barriers;
    keep_section(in, &section);
    memset(&in->now, 0, sizeof in->now);
    in->now_flushes = in->now_barriers = 0;
    return TRUE;
}

static gboolean flush(FerryInspect *in, const FerryStreamEvent *ev, GError **error)
{
    in->flushes++;
    in->now_flushes++;
    if (in->channels->len == 0) {
        return TRUE;
    }
    if (in->start_ended && !in->per_round) {
        g_set_error(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_MALFORMED,
                    "byte %" PRIu64 ": ram section: a flush, but START had none: there the end of "
                    "each section is the barrier",
                    ev->stream_offset);
        return FALSE;
    }
    return at_barrier(in, error);
}

/* be32 length, then the name of the state, padded with NULs. */
static void globalstate(FerryInspect *in, const uint8_t *body, size_t n)
{
    size_t length = n > 4 ? strnlen((const char *)body + 4, MIN(n - 4, 100)) : 0;

    for (size_t i = 0; i < length; i++) {
        if (!g_ascii_islower((char)body[4 + i]) && body[4 + i] != '-') {
            ferry_inspect_note(in, "globalstate does not hold the name of a state");
            return;
        }
    }
    if (length) {
        g_free(in->run_state);
        in->run_state = g_strndup((const char *)body + 4, length);
    }
}

static gboolean device(FerryInspect *in, const FerryStreamEvent *ev)
{
    FerryInspectSection section = {
        .type = FERRY_SECTION_FULL,
        .idstr = g_strdup(ev->device.idstr),
        .section_id = ev->device.section_id,
        .instance_id = ev->device.instance_id,
        .version_id = ev->device.version_id,
        .offset = ev->stream_offset,
        .bytes = ev->device.length,
        .early = ev->device.early,
    };

    if (strcmp(ev->device.idstr, "globalstate") == 0) {
        globalstate(in, ev->device.body, ev->device.length);
    }
    if (in->options.hash) {
        section.sha256 =
            g_compute_checksum_for_data(G_CHECKSUM_SHA256, ev->device.body, ev->device.length);
    }
    keep_section(in, &section);
    return TRUE;
}

/* 0 where it says none. The decoder has already refused text that is nested too deep. */
static uint64_t page_size_of(const char *text, size_t length)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonNode *node;
    gint64 size;

    if (length == 0 || !json_parser_load_from_data(parser, text, (gssize)length, NULL)) {
        return 0;
    }
    node = json_parser_get_root(parser);
    if (!node || !JSON_NODE_HOLDS_OBJECT(node)) {
        return 0;
    }
    node = json_object_get_member(json_node_get_object(node), "page_size");
    if (!node || !JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_INT64) {
        return 0;
    }
    size = json_node_get_int(node);
    return size > 0 ? (uint64_t)size : 0;
}

static gboolean description(FerryInspect *in, const FerryStreamEvent *ev)
{
    in->described = TRUE;
    in->description_bytes = ev->description.length;
    in->described_page_size = page_size_of(ev->description.text, ev->description.length);
    if (in->described_page_size && in->described_page_size != (uint64_t)1 << in->page_bits) {
        ferry_inspect_note(in,
                           "pages were read as %" PRIu64 " bytes, but the description says %" PRIu64
                           ": see --page-bits",
                           (uint64_t)1 << in->page_bits, in->described_page_size);
    }
    return TRUE;
}

static gboolean event(Walk *walk, const FerryStreamEvent *ev, GError **error)
{
    FerryInspect *in = walk->in;

    switch (ev->type) {
    case FERRY_STREAM_HEADER:
        return TRUE;
    case FERRY_STREAM_CONFIGURATION:
        return configuration(in, ev);
    case FERRY_STREAM_COMMAND:
        return command(in, ev);
    case FERRY_STREAM_RAM_BLOCK:
        return block(walk, ev, error);
    case FERRY_STREAM_RAM_LIST_END:
        in->lists++;
        in->total_bytes = ev->total_bytes;
        return TRUE;
    case FERRY_STREAM_PAGE:
    case FERRY_STREAM_ZERO:
    case FERRY_STREAM_XBZRLE:
    case FERRY_STREAM_COMPRESSED:
        return page(walk, ev, error);
    case FERRY_STREAM_FLUSH:
        return flush(in, ev, error);
    case FERRY_STREAM_ROUND_END:
        return round_end(walk, ev, error);
    case FERRY_STREAM_DEVICE:
        return device(in, ev);
    case FERRY_STREAM_DESCRIPTION:
        return description(in, ev);
    }
    g_assert_not_reached();
}

/* Whether the walk is over, with everything that was taken in understood. */
static gboolean more(Walk *walk, gboolean *out_ended, GError **error)
{
    FerryInspectInput *input = walk->in->main;
    const uint8_t *bytes;
    size_t n;

    if (walk->goes_on) {
        if (!ferry_inspect_input_go(input, walk->goes_on, "the pages of a block", error)) {
            return FALSE;
        }
        walk->goes_on = 0;
    }
    if (!ferry_inspect_input_peek(input, &bytes, &n, error)) {
        return FALSE;
    }
    *out_ended = n == 0;
    if (n == 0) {
        return ferry_decoder_finish(walk->decoder, error);
    }
    ferry_decoder_push(walk->decoder, bytes, n);
    return ferry_inspect_input_go(input, ferry_inspect_input_place(input) + n, "itself", error);
}

static gboolean run(Walk *walk, GError **error)
{
    gboolean ended = FALSE;

    for (;;) {
        FerryStreamEvent ev;

        switch (ferry_decoder_step(walk->decoder, &ev, error)) {
        case FERRY_DECODE_EVENT:
            if (!event(walk, &ev, error)) {
                return FALSE;
            }
            break;
        case FERRY_DECODE_MORE:
            if (ended) {
                return TRUE;
            }
            if (!more(walk, &ended, error)) {
                return FALSE;
            }
            break;
        case FERRY_DECODE_BAD:
            return FALSE;
        }
    }
}

gboolean ferry_inspect_walk_main(FerryInspect *in, GError **error)
{
    const FerryDecoderOptions options = {
        .page_bits = in->page_bits,
        .commands_after_end = TRUE,
        .description_optional = in->options.no_description,
        .mapped_allowed = TRUE,
        .file_offset = in->options.offset,
    };
    g_autoptr(FerryDecoder) decoder = ferry_decoder_new(&options);
    Walk walk = {.in = in, .decoder = decoder};
    gboolean whole = run(&walk, error);

    in->stream_bytes = ferry_decoder_offset(decoder);
    if (!whole) {
        if (!in->error_channel) {
            in->error_channel = g_strdup("main");
        }
        return FALSE;
    }
    for (unsigned i = 0; i < in->channels->len; i++) {
        if (!ferry_inspect_channel_finish(in, in->channels->pdata[i], error)) {
            return FALSE;
        }
    }
    return TRUE;
}
