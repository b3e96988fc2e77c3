#include "protocol/decoder-private.h"
#include <inttypes.h>

FerryDecoderStep ferry_decoder_header(FerryDecoder *d, FerryStreamEvent *ev)
{
    const uint8_t *p = ferry_decoder_peek(d, 4);

    if (!p) {
        return STEP_MORE;
    }
    if (ferry_get_be32(p) != FERRY_STREAM_MAGIC) {
        return ferry_decoder_bad(d, 0, FERRY_PROTOCOL_ERROR_MAGIC,
                                 "not a migration stream (magic 0x%08" PRIx32 ")",
                                 ferry_get_be32(p));
    }
    p = ferry_decoder_peek(d, FERRY_STREAM_HEADER_SIZE);
    if (!p) {
        return STEP_MORE;
    }
    if (ferry_get_be32(p + 4) != FERRY_STREAM_VERSION) {
        return ferry_decoder_bad(d, 4, FERRY_PROTOCOL_ERROR_UNSUPPORTED,
                                 "stream version %" PRIu32 " is not supported (only 3 is)",
                                 ferry_get_be32(p + 4));
    }
    ev->type = FERRY_STREAM_HEADER;
    ev->stream_offset = 0;
    ferry_decoder_take(d, FERRY_STREAM_HEADER_SIZE);
    d->place = PLACE_CONFIGURATION;
    return STEP_EVENT;
}

FerryDecoderStep ferry_decoder_configuration(FerryDecoder *d)
{
    uint64_t at = ferry_decoder_here(d);
    const uint8_t *p = ferry_decoder_peek(d, 1);
    uint32_t length;

    if (!p) {
        return STEP_MORE;
    }
    if (p[0] != FERRY_SECTION_CONFIGURATION) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "configuration is missing (section type 0x%02x)", p[0]);
    }
    p = ferry_decoder_peek(d, 5);
    if (!p) {
        return STEP_MORE;
    }
    length = ferry_get_be32(p + 1);
    if (length == 0 || length > FERRY_MACHINE_MAX) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "configuration: machine name has length %" PRIu32, length);
    }
    p = ferry_decoder_peek(d, 5 + (size_t)length);
    if (!p) {
        return STEP_MORE;
    }
    if (!ferry_name_valid(p + 5, length)) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "configuration: machine name is not text");
    }
    memcpy(d->configuration.machine, p + 5, length);
    d->section_at = at;
    ferry_decoder_take(d, 5 + (size_t)length);
    d->place = PLACE_SUBSECTION;
    return STEP_ON;
}

/* Sizes of pages that some target of QEMU's has. */
static gboolean is_page_size(uint32_t bits)
{
    return bits == 10 || (bits >= 12 && bits <= 14) || bits == 16;
}

static FerryDecoderStep page_bits_subsection(FerryDecoder *d, uint64_t at, size_t n)
{
    const uint8_t *p = ferry_decoder_peek(d, n + 4);
    uint32_t bits;

    if (!p) {
        return STEP_MORE;
    }
    bits = ferry_get_be32(p + n);
    if (d->configuration.page_bits) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "configuration: target-page-bits twice");
    }
    if (!is_page_size(bits)) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "configuration: target-page-bits is %" PRIu32, bits);
    }
    d->configuration.page_bits = bits;
    ferry_decoder_take(d, n + 4);
    return STEP_ON;
}

static FerryDecoderStep uuid_subsection(FerryDecoder *d, uint64_t at, size_t n)
{
    const uint8_t *p = ferry_decoder_peek(d, n + sizeof d->configuration.uuid);

    if (!p) {
        return STEP_MORE;
    }
    if (d->configuration.has_uuid) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "configuration: uuid twice");
    }
    d->configuration.has_uuid = TRUE;
    memcpy(d->configuration.uuid, p + n, sizeof d->configuration.uuid);
    ferry_decoder_take(d, n + sizeof d->configuration.uuid);
    return STEP_ON;
}

static gboolean is_named(const uint8_t *p, size_t n, const char *name)
{
    return n == strlen(name) && memcmp(p, name, n) == 0;
}

/* QEMU announces those that change the block list; of these only mapped-ram is spoken, and only
 * where the stream is a file. */
static FerryDecoderStep take_capability(FerryDecoder *d, uint64_t at, const uint8_t *name, size_t n)
{
    FerryConfiguration *c = &d->configuration;

    if (!ferry_name_valid(name, n)) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "configuration: a capability's name is not text");
    }
    if (!is_named(name, n, FERRY_CAPABILITY_MAPPED_RAM)) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_UNSUPPORTED,
                                 "capability '%.*s' is not supported", (int)n, (const char *)name);
    }
    if (!d->options.mapped_allowed) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_UNSUPPORTED,
                                 "capability '%s' is not supported here: such a stream must be a "
                                 "file",
                                 FERRY_CAPABILITY_MAPPED_RAM);
    }
    if (d->mapped) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "configuration: capability '%s' twice",
                                 FERRY_CAPABILITY_MAPPED_RAM);
    }
    d->mapped = TRUE;
    memcpy(c->capabilities[c->n_capabilities], name, n);
    c->n_capabilities++;
    return STEP_ON;
}

static FerryDecoderStep capabilities_subsection(FerryDecoder *d, uint64_t at, size_t n)
{
    const uint8_t *p = ferry_decoder_peek(d, n + 4);
    FerryDecoderStep step;
    uint32_t count;

    if (!p) {
        return STEP_MORE;
    }
    count = ferry_get_be32(p + n);
    if (d->capabilities_seen) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "configuration: capabilities twice");
    }
    if (count > FERRY_CAPABILITIES_MAX) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "configuration: %" PRIu32 " capabilities", count);
    }
    n += 4;
    d->mapped = FALSE; /* an unfinished list begins again with the next push */
    d->configuration.n_capabilities = 0;
    for (uint32_t i = 0; i < count; i++) {
        p = ferry_decoder_peek(d, n + 1);
        p = p ? ferry_decoder_peek(d, n + 1 + p[n]) : NULL;
        if (!p) {
            return STEP_MORE;
        }
        step = take_capability(d, at, p + n + 1, p[n]);
        if (step != STEP_ON) {
            return step;
        }
        n += 1 + (size_t)p[n];
    }
    d->capabilities_seen = TRUE;
    ferry_decoder_take(d, n);
    return STEP_ON;
}

static FerryDecoderStep end_configuration(FerryDecoder *d, FerryStreamEvent *ev)
{
    const FerryConfiguration *c = &d->configuration;

    d->page_size = (uint64_t)1 << (c->page_bits ? c->page_bits : d->options.page_bits);
    d->place = PLACE_SECTION;
    ev->type = FERRY_STREAM_CONFIGURATION;
    ev->stream_offset = d->section_at;
    ev->configuration = *c;
    return STEP_EVENT;
}

/* The byte after the last subsection tells that it was the last: it stays where it is. */
FerryDecoderStep ferry_decoder_subsection(FerryDecoder *d, FerryStreamEvent *ev)
{
    uint64_t at = ferry_decoder_here(d);
    const uint8_t *p = ferry_decoder_peek(d, 1);
    size_t idlen, n;

    if (!p) {
        return STEP_MORE;
    }
    if (p[0] != FERRY_SECTION_SUBSECTION) {
        return end_configuration(d, ev);
    }
    p = ferry_decoder_peek(d, 2);
    if (!p) {
        return STEP_MORE;
    }
    idlen = p[1];
    n = 2 + idlen + 4;
    p = ferry_decoder_peek(d, n);
    if (!p) {
        return STEP_MORE;
    }
    if (!ferry_name_valid(p + 2, idlen)) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "configuration: a subsection's name is not text");
    }
    if (ferry_get_be32(p + 2 + idlen) != 1) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_UNSUPPORTED,
                                 "configuration: subsection '%.*s' has version %" PRIu32,
                                 (int)idlen, (const char *)p + 2, ferry_get_be32(p + 2 + idlen));
    }
    if (is_named(p + 2, idlen, FERRY_CONFIGURATION_PAGE_BITS)) {
        return page_bits_subsection(d, at, n);
    }
    if (is_named(p + 2, idlen, FERRY_CONFIGURATION_CAPABILITIES)) {
        return capabilities_subsection(d, at, n);
    }
    if (is_named(p + 2, idlen, FERRY_CONFIGURATION_UUID)) {
        return uuid_subsection(d, at, n);
    }
    return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                             "configuration: unknown subsection '%.*s'", (int)idlen,
                             (const char *)p + 2);
}
