/* From the first device section after ram to the end. Everything is collected until the description
 * is whole, which then tells how long each section is; where it does not fit, and where there is
 * none, a section ends at the first footer with its id that a section or the end follows. */
#include "protocol/decoder-private.h"
#include <inttypes.h>

FerryDecoderStep ferry_decoder_begin_tail(FerryDecoder *d)
{
    ferry_decoder_begin_device(d);
    d->place = PLACE_TAIL;
    return STEP_ON;
}

static void lost(FerryDecoder *d, size_t at, const char *what, const FerryLongHeader *h)
{
    g_clear_error(&d->split_error);
    d->split_error = g_error_new(FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "byte %" PRIu64 ": device section '%.*s': %s", d->device_at + at,
                                 h ? (int)h->idlen : 1, h ? (const char *)h->idstr : "?", what);
}

/* Whether a section, commands and a section, or the end at @end can begin at @at. */
static gboolean tail_follows(const FerryDecoder *d, size_t at, size_t end)
{
    const uint8_t *data = d->device->data;
    FerryLongHeader h;
    size_t size;

    while (at < end && data[at] == FERRY_SECTION_COMMAND &&
           ferry_command_fit(data + at, end - at, &size) == FITS_YES) {
        at += size;
    }
    return at == end || (data[at] == FERRY_SECTION_FULL &&
                         ferry_long_header_fit(data + at, end - at, &h) == FITS_YES);
}

static gboolean add_span(FerryDecoder *d, size_t at, size_t body, size_t length)
{
    FerryDecoderSpan span = {.at = at, .body = body, .length = length};

    g_array_append_val(d->spans, span);
    if (d->spans->len > 2 * FERRY_DECODER_SECTIONS_MAX) { /* commands included */
        lost(d, at, "too many sections", NULL);
        return FALSE;
    }
    return TRUE;
}

/* How long the body at @body is, by the first footer that something fitting follows. */
static gboolean measure(FerryDecoder *d, const FerryLongHeader *h, size_t body, size_t end,
                        size_t *out_length)
{
    size_t footer = body;

    while (ferry_decoder_find_footer(d, footer, end, h->section_id, &footer)) {
        if (tail_follows(d, footer + FERRY_SECTION_FOOTER_SIZE, end)) {
            *out_length = footer - body;
            return TRUE;
        }
        footer++;
    }
    lost(d, body - h->length, "its footer is missing", h);
    return FALSE;
}

static gboolean same_device(const FerryDescribedDevice *device, const uint8_t *idstr, size_t n,
                            uint32_t instance_id)
{
    return strlen(device->idstr) == n && memcmp(device->idstr, idstr, n) == 0 &&
           device->instance_id == instance_id;
}

static gboolean early_described(const FerryDecoder *d, const FerryDescribedDevice *devices,
                                size_t n)
{
    if (d->early->len > n) {
        return FALSE;
    }
    for (unsigned i = 0; i < d->early->len; i++) {
        const FerryDescribedDevice *e = &g_array_index(d->early, FerryDescribedDevice, i);

        if (!same_device(&devices[i], (const uint8_t *)e->idstr, strlen(e->idstr),
                         e->instance_id) ||
            devices[i].body_bytes != e->body_bytes) {
            return FALSE;
        }
    }
    return TRUE;
}

/* How long the body at @body is, by the description; its footer must stand behind it. */
static gboolean look_up(const FerryDecoder *d, const FerryDescribedDevice *device,
                        const FerryLongHeader *h, size_t body, size_t end, size_t *out_length)
{
    const uint8_t *footer;

    if (!same_device(device, h->idstr, h->idlen, h->instance_id) ||
        end - body < FERRY_SECTION_FOOTER_SIZE ||
        device->body_bytes > end - body - FERRY_SECTION_FOOTER_SIZE) {
        return FALSE;
    }
    *out_length = (size_t)device->body_bytes;
    footer = d->device->data + body + *out_length;
    return footer[0] == FERRY_SECTION_FOOTER && ferry_get_be32(footer + 1) == h->section_id;
}

/* Finds the sections and commands before @end; without @description by their footers. */
static gboolean split(FerryDecoder *d, size_t end, const FerryDescription *description)
{
    const FerryDescribedDevice *devices =
        description ? ferry_description_get_devices(description) : NULL;
    size_t n = description ? ferry_description_get_n_devices(description) : 0;
    size_t i = d->early->len, at = 0;
    const uint8_t *data = d->device->data;

    g_array_set_size(d->spans, 0);
    if (description && !early_described(d, devices, n)) {
        return FALSE;
    }
    while (at < end) {
        FerryLongHeader h;
        size_t body = at + FERRY_COMMAND_HEADER_SIZE, length, size;

        if (data[at] == FERRY_SECTION_COMMAND &&
            ferry_command_fit(data + at, end - at, &size) == FITS_YES) {
            length = size - FERRY_COMMAND_HEADER_SIZE;
        } else if (data[at] == FERRY_SECTION_FULL &&
                   ferry_long_header_fit(data + at, end - at, &h) == FITS_YES) {
            body = at + h.length;
            if (description ? i == n || !look_up(d, &devices[i], &h, body, end, &length)
                            : !measure(d, &h, body, end, &length)) {
                return FALSE;
            }
            i++;
            size = h.length + length + FERRY_SECTION_FOOTER_SIZE;
        } else {
            lost(d, at, "no section begins here", NULL);
            return FALSE;
        }
        if (!add_span(d, at, body, length)) {
            return FALSE;
        }
        at += size;
    }
    return !description || i == n;
}

static FerryDecoderStep accept_spans(FerryDecoder *d)
{
    for (unsigned i = 0; i < d->spans->len; i++) {
        const FerryDecoderSpan *s = &g_array_index(d->spans, FerryDecoderSpan, i);
        const uint8_t *p = d->device->data + s->at;
        FerryLongHeader h;

        if (p[0] == FERRY_SECTION_FULL) {
            g_assert(ferry_long_header_fit(p, s->body - s->at, &h) == FITS_YES);
            if (ferry_decoder_remember(d, d->device_at + s->at, &h) == STEP_BAD) {
                return STEP_BAD;
            }
        }
    }
    g_clear_error(&d->split_error);
    d->n_given = 0;
    d->place = PLACE_GIVING;
    return STEP_ON;
}

/* Whether the sections that were split off are those that @description lists. */
static gboolean names_fit(const FerryDecoder *d, const FerryDescription *description)
{
    const FerryDescribedDevice *devices = ferry_description_get_devices(description);
    size_t n = ferry_description_get_n_devices(description), next = d->early->len;

    for (unsigned i = 0; i < d->spans->len; i++) {
        const FerryDecoderSpan *s = &g_array_index(d->spans, FerryDecoderSpan, i);
        const uint8_t *p = d->device->data + s->at;
        FerryLongHeader h;

        if (p[0] == FERRY_SECTION_COMMAND) {
            continue;
        }
        g_assert(ferry_long_header_fit(p, s->body - s->at, &h) == FITS_YES);
        if (next >= n || !same_device(&devices[next++], h.idstr, h.idlen, h.instance_id)) {
            return FALSE;
        }
    }
    return next == n;
}

/* Whether @description is about this device state at all: its first device is the first one. */
static gboolean is_ours(const FerryDecoder *d, size_t end, const FerryDescription *description)
{
    size_t first = d->early->len;
    FerryLongHeader h;

    return first < ferry_description_get_n_devices(description) &&
           ferry_long_header_fit(d->device->data, end, &h) == FITS_YES &&
           same_device(&ferry_description_get_devices(description)[first], h.idstr, h.idlen,
                       h.instance_id);
}

static FerryDecoderStep accept_end(FerryDecoder *d, const FerryDecoderEnd *e)
{
    ferry_decoder_give_back(d, e->end);
    d->described = TRUE;
    d->end = *e;
    return accept_spans(d);
}

/* Something that looks like the end of the stream is whole. STEP_MORE: it is not the end. A guest
 * decides about bytes of device state, so what only looks like an end must not pass: the text has
 * to list the very sections before it. (An empty text is believed, as QEMU does.) */
static FerryDecoderStep try_end(FerryDecoder *d, const FerryDecoderEnd *e)
{
    size_t text = e->mark + FERRY_DESCRIPTION_HEADER_SIZE;
    g_autoptr(FerryDescription) description = NULL;
    g_autoptr(GError) error = NULL;

    if (e->end == text) {
        return split(d, e->mark, NULL) ? accept_end(d, e) : STEP_MORE;
    }
    description =
        ferry_description_parse((const char *)d->device->data + text, e->end - text, &error);
    if (!description) {
        g_clear_error(&d->split_error);
        g_propagate_prefixed_error(&d->split_error, g_steal_pointer(&error), "byte %" PRIu64 ": ",
                                   d->device_at + text);
        return STEP_MORE;
    }
    if (split(d, e->mark, description)) {
        return accept_end(d, e);
    }
    if (split(d, e->mark, NULL)) {
        if (names_fit(d, description)) {
            return accept_end(d, e);
        }
        lost(d, 0, "the description lists other sections", NULL);
    }
    return is_ours(d, e->mark, description)
               ? ferry_decoder_fail(d, g_steal_pointer(&d->split_error))
               : STEP_MORE;
}

/* Tries those that are whole at @length bytes, in the order in which they became whole. */
static FerryDecoderStep try_ends(FerryDecoder *d, size_t length)
{
    for (;;) {
        unsigned first = G_MAXUINT;
        FerryDecoderEnd e;
        FerryDecoderStep step;

        for (unsigned i = 0; i < d->ends->len; i++) {
            const FerryDecoderEnd *x = &g_array_index(d->ends, FerryDecoderEnd, i);

            if (x->end <= length && (first == G_MAXUINT ||
                                     x->end < g_array_index(d->ends, FerryDecoderEnd, first).end)) {
                first = i;
            }
        }
        if (first == G_MAXUINT) {
            return STEP_MORE;
        }
        e = g_array_index(d->ends, FerryDecoderEnd, first);
        g_array_remove_index(d->ends, first);
        step = try_end(d, &e);
        if (step != STEP_MORE) {
            return step;
        }
    }
}

/* Before an end mark there is nothing, a footer or a command. */
static gboolean mark_fits(const FerryDecoder *d, size_t mark)
{
    const uint8_t *data = d->device->data;
    size_t size;

    return mark == 0 || (mark >= 5 && data[mark - 5] == FERRY_SECTION_FOOTER) ||
           (mark >= 5 && data[mark - 5] == FERRY_SECTION_COMMAND &&
            ferry_command_fit(data + mark - 5, 5, &size) == FITS_YES) ||
           (mark >= 9 && data[mark - 9] == FERRY_SECTION_COMMAND &&
            ferry_command_fit(data + mark - 9, 9, &size) == FITS_YES && size == 9);
}

/* The next end mark with a description's header behind it, from d->scanned on. Where no footer is
 * before it, the text must at least begin: a missing footer is to be found at once. *out_known is
 * how many bytes it took to see that. */
static gboolean find_mark(FerryDecoder *d, size_t *out_mark, size_t *out_known)
{
    const uint8_t *data = d->device->data;
    size_t length = d->device->len;

    while (d->scanned + FERRY_DESCRIPTION_HEADER_SIZE <= length) {
        const uint8_t *six =
            memchr(data + d->scanned + 1, FERRY_SECTION_DESCRIPTION, length - d->scanned - 5);
        size_t mark, known;

        if (!six) {
            d->scanned = length - 5;
            return FALSE;
        }
        mark = (size_t)(six - data) - 1;
        known = mark + FERRY_DESCRIPTION_HEADER_SIZE;
        d->scanned = mark + 1;
        if (data[mark] != FERRY_SECTION_EOF) {
            continue;
        }
        if (!mark_fits(d, mark)) {
            if (known == length) {
                d->scanned = mark;
                return FALSE;
            }
            if (data[known++] != '{') {
                continue;
            }
        }
        *out_mark = mark;
        *out_known = known;
        return TRUE;
    }
    return FALSE;
}

/* The order is that of the channel's bytes, however they were pushed. */
FerryDecoderStep ferry_decoder_tail(FerryDecoder *d)
{
    FerryDecoderStep step;
    size_t mark, known;

    ferry_decoder_absorb(d, G_MAXSIZE);
    if (d->device->len >= 2 && d->device->data[0] == FERRY_SECTION_EOF &&
        d->device->data[1] != FERRY_SECTION_DESCRIPTION) {
        return ferry_decoder_bad(d, d->device_at + 1, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "section type 0x%02x where the description must be",
                                 d->device->data[1]);
    }
    while (find_mark(d, &mark, &known)) {
        FerryDecoderEnd e = {.mark = mark,
                             .end = mark + FERRY_DESCRIPTION_HEADER_SIZE +
                                    ferry_get_be32(d->device->data + mark + 2)};

        step = try_ends(d, known);
        if (step != STEP_MORE) {
            return step;
        }
        if (++d->n_ends > FERRY_DECODER_ENDS_MAX) {
            return ferry_decoder_bad(d, d->device_at + mark, FERRY_PROTOCOL_ERROR_LIMIT,
                                     "device state looks like its end too often");
        }
        g_array_append_val(d->ends, e);
    }
    step = try_ends(d, d->device->len);
    if (step != STEP_MORE) {
        return step;
    }
    return d->pos < d->n || d->carried ? ferry_decoder_full(d) : STEP_MORE;
}

gboolean ferry_decoder_end_undescribed(FerryDecoder *d)
{
    size_t length = d->device->len;

    if (!d->options.description_optional || length == 0 ||
        d->device->data[length - 1] != FERRY_SECTION_EOF || !split(d, length - 1, NULL)) {
        return FALSE;
    }
    d->described = FALSE;
    return accept_spans(d) == STEP_ON;
}

FerryDecoderStep ferry_decoder_give(FerryDecoder *d, FerryStreamEvent *ev)
{
    const uint8_t *data = d->device->data;

    if (d->n_given < d->spans->len) {
        const FerryDecoderSpan *s = &g_array_index(d->spans, FerryDecoderSpan, d->n_given);

        d->n_given++;
        if (data[s->at] == FERRY_SECTION_COMMAND) {
            return ferry_decoder_command(d, d->device_at + s->at, ferry_get_be16(data + s->at + 1),
                                         (unsigned)s->length, data + s->body, ev);
        }
        ferry_decoder_fill_device(d, s, FALSE, ev);
        return STEP_EVENT;
    }
    d->place = PLACE_AFTER_END;
    if (!d->described) {
        return STEP_ON;
    }
    ev->type = FERRY_STREAM_DESCRIPTION;
    ev->stream_offset = d->device_at + d->end.mark;
    ev->description.text = (const char *)data + d->end.mark + FERRY_DESCRIPTION_HEADER_SIZE;
    ev->description.length = d->end.end - d->end.mark - FERRY_DESCRIPTION_HEADER_SIZE;
    return STEP_EVENT;
}
