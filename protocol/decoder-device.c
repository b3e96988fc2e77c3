#include "protocol/decoder-private.h"
#include <inttypes.h>

void ferry_decoder_absorb(FerryDecoder *d, size_t most)
{
    size_t room = d->options.max_device_bytes -
                  MIN(d->options.max_device_bytes, d->device_bytes + d->device->len);
    size_t carried = MIN(d->carried, room), m;

    if (carried) {
        g_byte_array_append(d->device, d->carry, (guint)carried);
        ferry_decoder_take(d, carried);
    }
    m = MIN(MIN(room - carried, most), d->n - d->pos);
    if (m) {
        g_byte_array_append(d->device, d->in + d->pos, (guint)m);
        d->pos += m;
    }
}

/* Of what goes back, at most an unfinished header came with an earlier push. */
void ferry_decoder_give_back(FerryDecoder *d, size_t end)
{
    size_t excess = d->device->len - end;
    size_t pushed = MIN(excess, d->pos);

    g_assert(d->carried == 0 && excess - pushed <= sizeof d->carry);
    d->pos -= pushed;
    d->carried = excess - pushed;
    memcpy(d->carry, d->device->data + end, d->carried);
    g_byte_array_set_size(d->device, (guint)end);
}

FerryDecoderStep ferry_decoder_full(FerryDecoder *d)
{
    return ferry_decoder_bad(d, d->device_at, FERRY_PROTOCOL_ERROR_LIMIT,
                             "device state is larger than %zu bytes", d->options.max_device_bytes);
}

void ferry_decoder_begin_device(FerryDecoder *d)
{
    d->device_at = ferry_decoder_here(d);
    g_byte_array_set_size(d->device, 0);
    d->scanned = 0;
}

gboolean ferry_decoder_find_footer(const FerryDecoder *d, size_t from, size_t end, uint32_t id,
                                   size_t *out_at)
{
    const uint8_t *data = d->device->data, *p;

    while (from + FERRY_SECTION_FOOTER_SIZE <= end) {
        p = memchr(data + from, FERRY_SECTION_FOOTER, end - from - 4);
        if (!p) {
            return FALSE;
        }
        from = (size_t)(p - data);
        if (ferry_get_be32(p + 1) == id) {
            *out_at = from;
            return TRUE;
        }
        from++;
    }
    return FALSE;
}

FerryDecoderStep ferry_decoder_remember(FerryDecoder *d, uint64_t at, const FerryLongHeader *h)
{
    char *key =
        g_strdup_printf("%.*s/%" PRIu32, (int)h->idlen, (const char *)h->idstr, h->instance_id);

    if (!g_hash_table_add(d->seen, key)) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "device section '%.*s' instance %" PRIu32 " comes twice",
                                 (int)h->idlen, (const char *)h->idstr, h->instance_id);
    }
    if (g_hash_table_size(d->seen) > FERRY_DECODER_SECTIONS_MAX) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_LIMIT, "more than %d device sections",
                                 FERRY_DECODER_SECTIONS_MAX);
    }
    return STEP_ON;
}

void ferry_decoder_fill_device(FerryDecoder *d, const FerryDecoderSpan *s, gboolean early,
                               FerryStreamEvent *ev)
{
    FerryLongHeader h;
    const uint8_t *p = d->device->data + s->at;

    g_assert(ferry_long_header_fit(p, s->body - s->at, &h) == FITS_YES);
    memcpy(d->idstr, h.idstr, h.idlen);
    d->idstr[h.idlen] = '\0';
    ev->type = FERRY_STREAM_DEVICE;
    ev->stream_offset = d->device_at + s->at;
    ev->device.idstr = d->idstr;
    ev->device.section_id = h.section_id;
    ev->device.instance_id = h.instance_id;
    ev->device.version_id = h.version_id;
    ev->device.body = d->device->data + s->body;
    ev->device.length = s->length;
    ev->device.early = early;
}
