#include "protocol/stream.h"
#include <string.h>
#include "protocol/wire.h"

/* Not G_DEFINE_QUARK: its static variable is a data race between two threads' first errors. */
GQuark ferry_protocol_error_quark(void)
{
    return g_quark_from_static_string("ferry-protocol-error-quark");
}

size_t ferry_stream_header_encode(uint8_t out[static FERRY_STREAM_HEADER_SIZE])
{
    ferry_put_be32(out, FERRY_STREAM_MAGIC);
    ferry_put_be32(out + 4, FERRY_STREAM_VERSION);
    return FERRY_STREAM_HEADER_SIZE;
}

static size_t put_subsection(uint8_t *out, const char *name)
{
    size_t n = 1;

    out[0] = FERRY_SECTION_SUBSECTION;
    n += ferry_put_name(out + n, name);
    ferry_put_be32(out + n, 1);
    return n + 4;
}

size_t ferry_configuration_encode(const FerryConfiguration *c,
                                  uint8_t out[static FERRY_CONFIGURATION_MAX])
{
    size_t length = strlen(c->machine);
    size_t n = 5 + length;

    g_assert(length >= 1 && c->n_capabilities <= FERRY_CAPABILITIES_MAX);
    out[0] = FERRY_SECTION_CONFIGURATION;
    ferry_put_be32(out + 1, (uint32_t)length);
    memcpy(out + 5, c->machine, length);
    if (c->page_bits) {
        n += put_subsection(out + n, FERRY_CONFIGURATION_PAGE_BITS);
        ferry_put_be32(out + n, c->page_bits);
        n += 4;
    }
    if (c->n_capabilities) {
        n += put_subsection(out + n, FERRY_CONFIGURATION_CAPABILITIES);
        ferry_put_be32(out + n, c->n_capabilities);
        n += 4;
        for (unsigned i = 0; i < c->n_capabilities; i++) {
            n += ferry_put_name(out + n, c->capabilities[i]);
        }
    }
    if (c->has_uuid) {
        n += put_subsection(out + n, FERRY_CONFIGURATION_UUID);
        memcpy(out + n, c->uuid, sizeof c->uuid);
        n += sizeof c->uuid;
    }
    return n;
}

size_t ferry_section_header_encode(const FerrySectionHeader *h,
                                   uint8_t out[static FERRY_SECTION_HEADER_MAX])
{
    size_t n = 5;

    out[0] = (uint8_t)h->type;
    ferry_put_be32(out + 1, h->section_id);
    if (h->type == FERRY_SECTION_PART || h->type == FERRY_SECTION_END) {
        return n;
    }
    g_assert(h->type == FERRY_SECTION_START || h->type == FERRY_SECTION_FULL);
    n += ferry_put_name(out + n, h->idstr);
    ferry_put_be32(out + n, h->instance_id);
    ferry_put_be32(out + n + 4, h->version_id);
    return n + 8;
}

size_t ferry_section_footer_encode(uint32_t section_id,
                                   uint8_t out[static FERRY_SECTION_FOOTER_SIZE])
{
    out[0] = FERRY_SECTION_FOOTER;
    ferry_put_be32(out + 1, section_id);
    return FERRY_SECTION_FOOTER_SIZE;
}

size_t ferry_command_encode(const FerryCommand *c, uint8_t *out)
{
    out[0] = FERRY_SECTION_COMMAND;
    ferry_put_be16(out + 1, (uint16_t)c->id);
    ferry_put_be16(out + 3, c->length);
    if (c->length) {
        memcpy(out + FERRY_COMMAND_HEADER_SIZE, c->payload, c->length);
    }
    return FERRY_COMMAND_HEADER_SIZE + (size_t)c->length;
}

size_t ferry_ping_encode(uint32_t value, uint8_t out[static FERRY_COMMAND_HEADER_SIZE + 4])
{
    uint8_t payload[4];
    FerryCommand ping = {.id = FERRY_COMMAND_PING, .length = sizeof payload, .payload = payload};

    ferry_put_be32(payload, value);
    return ferry_command_encode(&ping, out);
}

size_t ferry_end_encode(uint32_t length, uint8_t out[static FERRY_DESCRIPTION_HEADER_SIZE])
{
    out[0] = FERRY_SECTION_EOF;
    out[1] = FERRY_SECTION_DESCRIPTION;
    ferry_put_be32(out + 2, length);
    return FERRY_DESCRIPTION_HEADER_SIZE;
}

const char *ferry_command_name(unsigned id)
{
    static const char *const names[] = {
        [FERRY_COMMAND_INVALID] = "invalid",
        [FERRY_COMMAND_OPEN_RETURN_PATH] = "open-return-path",
        [FERRY_COMMAND_PING] = "ping",
        [FERRY_COMMAND_POSTCOPY_ADVISE] = "postcopy-advise",
        [FERRY_COMMAND_POSTCOPY_LISTEN] = "postcopy-listen",
        [FERRY_COMMAND_POSTCOPY_RUN] = "postcopy-run",
        [FERRY_COMMAND_POSTCOPY_RAM_DISCARD] = "postcopy-ram-discard",
        [FERRY_COMMAND_PACKAGED] = "packaged",
        [FERRY_COMMAND_ENABLE_COLO] = "enable-colo",
        [FERRY_COMMAND_POSTCOPY_RESUME] = "postcopy-resume",
        [FERRY_COMMAND_RECV_BITMAP] = "recv-bitmap",
        [FERRY_COMMAND_SWITCHOVER_START] = "switchover-start",
    };

    return id < G_N_ELEMENTS(names) ? names[id] : "unknown";
}

gboolean ferry_name_valid(const uint8_t *name, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (name[i] < 0x20 || name[i] == 0x7f) {
            return FALSE;
        }
    }
    return n > 0 && g_utf8_validate((const char *)name, (gssize)n, NULL);
}
