/* Device sections before the end of ram (QEMU: early_setup). No length, and the description is far
 * away: such a section ends at the first footer with its id that has something behind it which can
 * follow a section. */
#include "protocol/decoder-private.h"

#define PIECE 4096 /* such a section is usually tiny, the push behind it large */

FerryDecoderStep ferry_decoder_begin_early(FerryDecoder *d)
{
    const uint8_t *p = ferry_decoder_peek(d, 6);
    FerryLongHeader h;
    FerryDecoderStep step;

    p = p ? ferry_decoder_peek(d, 6 + (size_t)p[5] + 8) : NULL;
    if (!p) {
        return STEP_MORE;
    }
    if (ferry_long_header_fit(p, 6 + (size_t)p[5] + 8, &h) != FITS_YES) {
        return ferry_decoder_bad(d, ferry_decoder_here(d), FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "FULL section: its name is empty or not text");
    }
    step = ferry_decoder_remember(d, ferry_decoder_here(d), &h);
    if (step != STEP_ON) {
        return step;
    }
    ferry_decoder_begin_device(d);
    g_byte_array_append(d->device, p, (guint)h.length);
    ferry_decoder_take(d, h.length);
    d->scanned = d->early_header = h.length;
    d->place = PLACE_EARLY;
    return STEP_ON;
}

/* What can follow an early section. */
static FerryFit early_follows(const FerryDecoder *d, const uint8_t *p, size_t n)
{
    FerryLongHeader h;
    size_t size;

    if (n == 0) {
        return FITS_MORE;
    }
    switch (p[0]) {
    case FERRY_SECTION_START:
    case FERRY_SECTION_FULL:
        return ferry_long_header_fit(p, n, &h);
    case FERRY_SECTION_PART:
    case FERRY_SECTION_END:
        if (d->ram != RAM_OPEN) {
            return FITS_NO;
        }
        return n < 5 ? FITS_MORE : ferry_get_be32(p + 1) == d->ram_id ? FITS_YES : FITS_NO;
    case FERRY_SECTION_COMMAND:
        return ferry_command_fit(p, n, &size);
    default:
        return FITS_NO;
    }
}

static FerryDecoderStep give_early(FerryDecoder *d, size_t footer, FerryStreamEvent *ev)
{
    FerryDecoderSpan span = {.at = 0, .body = d->early_header, .length = footer - d->early_header};
    FerryDescribedDevice device = {.body_bytes = span.length};

    ferry_decoder_give_back(d, footer + FERRY_SECTION_FOOTER_SIZE);
    d->device_bytes += d->device->len;
    ferry_decoder_fill_device(d, &span, TRUE, ev);
    device.idstr = g_strdup(d->idstr);
    device.instance_id = ev->device.instance_id;
    g_array_append_val(d->early, device);
    d->place = PLACE_SECTION;
    return STEP_EVENT;
}

FerryDecoderStep ferry_decoder_early(FerryDecoder *d, FerryStreamEvent *ev)
{
    for (;;) {
        size_t before = d->device->len, footer;
        uint32_t id = ferry_get_be32(d->device->data + 1);
        FerryFit fit = FITS_NO;

        while (ferry_decoder_find_footer(d, d->scanned, d->device->len, id, &footer)) {
            size_t next = footer + FERRY_SECTION_FOOTER_SIZE;

            d->scanned = footer;
            fit = early_follows(d, d->device->data + next, d->device->len - next);
            if (fit == FITS_YES) {
                return give_early(d, footer, ev);
            }
            if (fit == FITS_MORE) {
                break;
            }
            d->scanned = footer + 1;
        }
        if (fit != FITS_MORE) { /* a footer may have begun in the last four bytes */
            d->scanned = MAX(d->scanned, MAX(d->early_header + 4, d->device->len) - 4);
        }
        ferry_decoder_absorb(d, PIECE);
        if (d->device->len == before) {
            return d->pos < d->n || d->carried ? ferry_decoder_full(d) : STEP_MORE;
        }
    }
}
