#include "protocol/decoder.h"
#include <inttypes.h>
#include "protocol/decoder-private.h"

#define DEVICE_BYTES_DEFAULT ((size_t)64 << 20)
#define DEVICE_BYTES_MOST ((size_t)1 << 30) /* GLib counts array elements in 32 bits */

static void free_block(void *p) { g_free(((FerryDecoderBlock *)p)->idstr); }

static void free_early(void *p) { g_free(*(char **)p); /* idstr is its first member */ }

FerryDecoder *ferry_decoder_new(const FerryDecoderOptions *options)
{
    FerryDecoder *d = g_new0(FerryDecoder, 1);

    if (options) {
        d->options = *options;
    }
    if (d->options.page_bits == 0) {
        d->options.page_bits = FERRY_PAGE_BITS;
    }
    if (d->options.max_device_bytes == 0) {
        d->options.max_device_bytes = DEVICE_BYTES_DEFAULT;
    }
    d->options.max_device_bytes = MIN(d->options.max_device_bytes, DEVICE_BYTES_MOST);
    g_assert(d->options.page_bits >= FERRY_PAGE_BITS_MIN &&
             d->options.page_bits <= FERRY_PAGE_BITS_MAX);
    d->place = PLACE_HEADER;
    d->blocks = g_array_new(FALSE, TRUE, sizeof(FerryDecoderBlock));
    g_array_set_clear_func(d->blocks, free_block);
    d->device = g_byte_array_new();
    d->early = g_array_new(FALSE, TRUE, sizeof(FerryDescribedDevice));
    g_array_set_clear_func(d->early, free_early);
    d->seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    d->ends = g_array_new(FALSE, FALSE, sizeof(FerryDecoderEnd));
    d->spans = g_array_new(FALSE, FALSE, sizeof(FerryDecoderSpan));
    return d;
}

void ferry_decoder_free(FerryDecoder *d)
{
    if (!d) {
        return;
    }
    g_clear_error(&d->bad);
    g_clear_error(&d->split_error);
    g_array_unref(d->blocks);
    g_byte_array_unref(d->device);
    g_array_unref(d->early);
    g_hash_table_unref(d->seen);
    g_array_unref(d->ends);
    g_array_unref(d->spans);
    g_free(d);
}

void ferry_decoder_push(FerryDecoder *d, const uint8_t *bytes, size_t n)
{
    g_return_if_fail((d->pos == d->n && d->place != PLACE_JUMP) || d->bad);
    d->base += d->pos;
    d->in = bytes;
    d->n = n;
    d->pos = 0;
}

/* What was carried belongs to the pages that are jumped over. */
uint64_t ferry_decoder_jump(FerryDecoder *d)
{
    g_return_val_if_fail(d->place == PLACE_JUMP, d->options.file_offset + d->base + d->pos);
    d->base = d->jump;
    d->in = NULL;
    d->n = d->pos = d->carried = 0;
    d->place = PLACE_BLOCK_LIST;
    return d->options.file_offset + d->base;
}

gboolean ferry_decoder_page_place(const FerryDecoder *d, FerryPagePlace *out)
{
    gboolean inside = d->place == PLACE_PAGE && d->page_type == FERRY_STREAM_PAGE;

    if (d->pos < d->n || d->block_length == 0 ||
        !(inside || (d->place == PLACE_RECORD && d->carried == 0))) {
        return FALSE;
    }
    *out = (FerryPagePlace){.block = d->block,
                            .offset = d->page_offset,
                            .inside = inside,
                            .begun = d->carry,
                            .n_begun = inside ? d->carried : 0};
    return TRUE;
}

void ferry_decoder_skip_pages(FerryDecoder *d, uint64_t bytes, uint64_t offset)
{
    g_assert(offset < d->block_length && d->pos == d->n);
    d->base += d->pos + bytes;
    d->in = NULL;
    d->n = d->pos = d->carried = 0;
    d->page_offset = offset;
    d->place = PLACE_RECORD;
}

uint64_t ferry_decoder_offset(const FerryDecoder *d) { return d->base + d->pos; }

const uint8_t *ferry_decoder_gather(FerryDecoder *d, size_t k)
{
    g_assert(k <= sizeof d->carry);
    if (d->carried < k) {
        size_t m = MIN(k - d->carried, d->n - d->pos);

        if (m) { /* in may be NULL */
            memcpy(d->carry + d->carried, d->in + d->pos, m);
        }
        d->carried += m;
        d->pos += m;
    }
    return d->carried >= k ? d->carry : NULL;
}

void ferry_decoder_take(FerryDecoder *d, size_t k)
{
    if (d->carried == 0) {
        d->pos += k;
        return;
    }
    g_assert(k <= d->carried);
    d->carried -= k;
    memmove(d->carry, d->carry + k, d->carried);
}

FerryDecoderStep ferry_decoder_bad(FerryDecoder *d, uint64_t at, FerryProtocolError code,
                                   const char *format, ...)
{
    g_autofree char *message = NULL;
    va_list args;

    va_start(args, format);
    message = g_strdup_vprintf(format, args);
    va_end(args);
    return ferry_decoder_fail(
        d, g_error_new(FERRY_PROTOCOL_ERROR, (int)code, "byte %" PRIu64 ": %s", at, message));
}

FerryDecoderStep ferry_decoder_fail(FerryDecoder *d, GError *error)
{
    d->bad = error;
    d->place = PLACE_BAD;
    return STEP_BAD;
}

FerryFit ferry_long_header_fit(const uint8_t *p, size_t n, FerryLongHeader *out)
{
    if (n < 6) {
        return FITS_MORE;
    }
    out->idlen = p[5];
    out->length = 6 + out->idlen + 8;
    if (out->idlen == 0) {
        return FITS_NO;
    }
    if (n < out->length) {
        return FITS_MORE;
    }
    out->section_id = ferry_get_be32(p + 1);
    out->idstr = p + 6;
    out->instance_id = ferry_get_be32(p + 6 + out->idlen);
    out->version_id = ferry_get_be32(p + 6 + out->idlen + 4);
    return ferry_name_valid(out->idstr, out->idlen) ? FITS_YES : FITS_NO;
}

static gboolean is_ram(const FerryLongHeader *h)
{
    return h->idlen == strlen(FERRY_RAM_IDSTR) && memcmp(h->idstr, FERRY_RAM_IDSTR, h->idlen) == 0;
}

/* Only its handler knows how long another body is. */
static FerryDecoderStep refuse_start(FerryDecoder *d, uint64_t at, const FerryLongHeader *h)
{
    g_autofree char *name = g_strndup((const char *)h->idstr, h->idlen);
    const char *what = strcmp(name, "block") == 0          ? "block migration"
                       : strcmp(name, "dirty-bitmap") == 0 ? "migration of dirty bitmaps"
                       : g_str_has_suffix(name, "/vfio")   ? "migration of VFIO devices"
                                                           : "an iterative section other than ram";

    return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_UNSUPPORTED,
                             "%s is not supported (section '%s')", what, name);
}

static FerryDecoderStep begin_ram(FerryDecoder *d, uint64_t at)
{
    const uint8_t *p = ferry_decoder_peek(d, 6);
    FerryLongHeader h;

    p = p ? ferry_decoder_peek(d, 6 + (size_t)p[5] + 8) : NULL;
    if (!p) {
        return STEP_MORE;
    }
    if (ferry_long_header_fit(p, 6 + (size_t)p[5] + 8, &h) != FITS_YES) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "START section: its name is not text");
    }
    if (!is_ram(&h)) {
        return refuse_start(d, at, &h);
    }
    if (d->ram != RAM_ABSENT) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "ram section: a second START");
    }
    if (h.instance_id != 0 || h.version_id != FERRY_RAM_VERSION) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_UNSUPPORTED,
                                 "ram section: instance %" PRIu32 ", version %" PRIu32
                                 " (only instance 0, version 4 is supported)",
                                 h.instance_id, h.version_id);
    }
    d->ram = RAM_OPEN;
    d->ram_id = h.section_id;
    d->section = FERRY_SECTION_START;
    d->section_at = at;
    ferry_decoder_take(d, h.length);
    d->place = PLACE_RECORD;
    return STEP_ON;
}

static FerryDecoderStep continue_ram(FerryDecoder *d, uint64_t at, FerrySectionType type)
{
    const uint8_t *p = ferry_decoder_peek(d, 5);
    const char *name = type == FERRY_SECTION_PART ? "PART" : "END";

    if (!p) {
        return STEP_MORE;
    }
    if (d->ram != RAM_OPEN) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED, "%s section %" PRIu32 " %s",
                                 name, ferry_get_be32(p + 1),
                                 d->ram == RAM_ABSENT ? "before the START of ram"
                                                      : "after the END of ram");
    }
    if (ferry_get_be32(p + 1) != d->ram_id) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "%s section %" PRIu32 ": the open ram section is %" PRIu32, name,
                                 ferry_get_be32(p + 1), d->ram_id);
    }
    d->section = type;
    d->section_at = at;
    ferry_decoder_take(d, 5);
    d->place = PLACE_RECORD;
    return STEP_ON;
}

static FerryDecoderStep walk_section(FerryDecoder *d, FerryStreamEvent *ev)
{
    uint64_t at = ferry_decoder_here(d);
    const uint8_t *p = ferry_decoder_peek(d, 1);

    if (!p) {
        return STEP_MORE;
    }
    switch (p[0]) {
    case FERRY_SECTION_COMMAND:
        return ferry_decoder_walk_command(d, ev);
    case FERRY_SECTION_START:
        return begin_ram(d, at);
    case FERRY_SECTION_PART:
    case FERRY_SECTION_END:
        return continue_ram(d, at, (FerrySectionType)p[0]);
    case FERRY_SECTION_FULL:
        return d->ram == RAM_ENDED ? ferry_decoder_begin_tail(d) : ferry_decoder_begin_early(d);
    case FERRY_SECTION_EOF:
        if (d->ram != RAM_ENDED) {
            return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                     "end of stream, but the ram section has not %s",
                                     d->ram == RAM_ABSENT ? "begun" : "ended");
        }
        return ferry_decoder_begin_tail(d);
    case FERRY_SECTION_CONFIGURATION:
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED, "configuration twice");
    case FERRY_SECTION_SUBSECTION:
    case FERRY_SECTION_DESCRIPTION:
    case FERRY_SECTION_FOOTER:
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "section type 0x%02x where a section must begin", p[0]);
    default:
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "unknown section type 0x%02x", p[0]);
    }
}

static FerryDecoderStep walk_footer(FerryDecoder *d)
{
    uint64_t at = ferry_decoder_here(d);
    const uint8_t *p = ferry_decoder_peek(d, FERRY_SECTION_FOOTER_SIZE);

    if (!p) {
        return STEP_MORE;
    }
    if (p[0] != FERRY_SECTION_FOOTER || ferry_get_be32(p + 1) != d->ram_id) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "ram section: footer expected for section %" PRIu32
                                 ", found 0x%02x for %" PRIu32,
                                 d->ram_id, p[0], ferry_get_be32(p + 1));
    }
    if (d->section == FERRY_SECTION_END) {
        d->ram = RAM_ENDED;
    }
    ferry_decoder_take(d, FERRY_SECTION_FOOTER_SIZE);
    d->place = PLACE_SECTION;
    return STEP_ON;
}

static FerryDecoderStep walk_after_end(FerryDecoder *d, FerryStreamEvent *ev)
{
    const uint8_t *p = ferry_decoder_peek(d, 1);

    if (!p) {
        return STEP_MORE;
    }
    if (!d->options.commands_after_end || p[0] != FERRY_SECTION_COMMAND) {
        return ferry_decoder_bad(d, ferry_decoder_here(d), FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "bytes after the end of the stream (0x%02x)", p[0]);
    }
    return ferry_decoder_walk_command(d, ev);
}

static FerryDecoderStep walk(FerryDecoder *d, FerryStreamEvent *ev)
{
    switch (d->place) {
    case PLACE_HEADER:
        return ferry_decoder_header(d, ev);
    case PLACE_CONFIGURATION:
        return ferry_decoder_configuration(d);
    case PLACE_SUBSECTION:
        return ferry_decoder_subsection(d, ev);
    case PLACE_SECTION:
        return walk_section(d, ev);
    case PLACE_BLOCK_LIST:
        return ferry_decoder_block_list(d, ev);
    case PLACE_JUMP:
        return STEP_MORE;
    case PLACE_RECORD:
        return ferry_decoder_record(d, ev);
    case PLACE_PAGE:
        return ferry_decoder_page(d, ev);
    case PLACE_FOOTER:
        return walk_footer(d);
    case PLACE_EARLY:
        return ferry_decoder_early(d, ev);
    case PLACE_TAIL:
        return ferry_decoder_tail(d);
    case PLACE_GIVING:
        return ferry_decoder_give(d, ev);
    case PLACE_AFTER_END:
        return walk_after_end(d, ev);
    case PLACE_BAD:
        return STEP_BAD;
    }
    g_assert_not_reached();
}

FerryDecode ferry_decoder_step(FerryDecoder *d, FerryStreamEvent *out_event, GError **error)
{
    FerryDecoderStep step;

    if (G_LIKELY(ferry_decoder_next_page(d, out_event))) {
        return FERRY_DECODE_EVENT;
    }
    do {
        step = walk(d, out_event);
    } while (step == STEP_ON);
    if (step == STEP_BAD) {
        g_propagate_error(error, g_error_copy(d->bad));
    }
    return (FerryDecode)step;
}

static const char *place_name(const FerryDecoder *d)
{
    switch (d->place) {
    case PLACE_HEADER:
        return "the file header";
    case PLACE_CONFIGURATION:
    case PLACE_SUBSECTION:
        return "the configuration";
    case PLACE_SECTION:
        return d->ram == RAM_ENDED ? "the device state (no end mark)" : "the rounds of ram";
    case PLACE_BLOCK_LIST:
        return "the list of ram blocks";
    case PLACE_JUMP:
        return "the pages of a mapped block";
    case PLACE_RECORD:
    case PLACE_PAGE:
    case PLACE_FOOTER:
        return "a ram section";
    case PLACE_EARLY:
        return "an early device section";
    case PLACE_TAIL:
    case PLACE_GIVING:
        return "the device state or its description";
    case PLACE_AFTER_END:
        return "a command";
    case PLACE_BAD:
        break;
    }
    g_assert_not_reached();
}

static void truncated(FerryDecoder *d)
{
    GError *error = g_error_new(FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_TRUNCATED,
                                "byte %" PRIu64 ": the stream ended inside %s",
                                ferry_decoder_offset(d), place_name(d));

    if (d->split_error) {
        g_prefix_error(&error, "%s; ", d->split_error->message);
    }
    ferry_decoder_fail(d, error);
}

gboolean ferry_decoder_finish(FerryDecoder *d, GError **error)
{
    g_return_val_if_fail(
        d->bad || d->place == PLACE_JUMP || (d->pos == d->n && d->place != PLACE_GIVING), FALSE);
    if (d->bad) {
        g_propagate_error(error, g_error_copy(d->bad));
        return FALSE;
    }
    if (d->place == PLACE_AFTER_END && d->carried == 0) {
        return TRUE;
    }
    if (d->place == PLACE_TAIL && ferry_decoder_end_undescribed(d)) {
        return TRUE;
    }
    if (d->bad == NULL) { /* judging the tail may have found it bad */
        truncated(d);
    }
    g_propagate_error(error, g_error_copy(d->bad));
    return FALSE;
}
