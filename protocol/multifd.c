#include "protocol/multifd.h"
#include <inttypes.h>
#include "protocol/wire.h"

/* Where things are in a packet's header. */
#define AT_FLAGS 8
#define AT_PAGES_ALLOC 12
#define AT_NORMAL_PAGES 16
#define AT_PAYLOAD 20
#define AT_PACKET_NUM 24
#define AT_ZERO_PAGES 32
#define AT_IDSTR 64
#define IDSTR_SIZE 256
#define AT_OFFSETS 320

#define HELLO_USED 25 /* reserved bytes follow */

#define SEEN_SLOTS 1024 /* a power of two, twice the most pages of a packet */
G_STATIC_ASSERT(SEEN_SLOTS == 2 * (FERRY_MULTIFD_PACKET_BYTES >> 10));

static const struct {
    FerryMultifdMethod method;
    const char *name;
} methods[] = {
    {FERRY_MULTIFD_NONE,   "none"  },
    {FERRY_MULTIFD_ZLIB,   "zlib"  },
    {FERRY_MULTIFD_ZSTD,   "zstd"  },
    {FERRY_MULTIFD_QPL,    "qpl"   },
    {FERRY_MULTIFD_UADK,   "uadk"  },
    {FERRY_MULTIFD_QATZIP, "qatzip"},
};

const char *ferry_multifd_method_name(FerryMultifdMethod method)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(methods); i++) {
        if (methods[i].method == method) {
            return methods[i].name;
        }
    }
    g_assert_not_reached();
}

gboolean ferry_multifd_method_find(const char *name, FerryMultifdMethod *out_method)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(methods); i++) {
        if (strcmp(methods[i].name, name) == 0) {
            *out_method = methods[i].method;
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean bad(GError **error, FerryProtocolError code, const char *format, ...)
    G_GNUC_PRINTF(3, 4);
static gboolean bad(GError **error, FerryProtocolError code, const char *format, ...)
{
    g_autofree char *message = NULL;
    va_list args;

    va_start(args, format);
    message = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, FERRY_PROTOCOL_ERROR, (int)code, message);
    return FALSE;
}

static void put_start(uint8_t *out)
{
    ferry_put_be32(out, FERRY_MULTIFD_MAGIC);
    ferry_put_be32(out + 4, FERRY_MULTIFD_VERSION);
}

static gboolean check_start(const uint8_t *bytes, const char *what, GError **error)
{
    if (ferry_get_be32(bytes) != FERRY_MULTIFD_MAGIC) {
        return bad(error, FERRY_PROTOCOL_ERROR_MAGIC, "multifd %s: magic is 0x%08" PRIx32, what,
                   ferry_get_be32(bytes));
    }
    if (ferry_get_be32(bytes + 4) != FERRY_MULTIFD_VERSION) {
        return bad(error, FERRY_PROTOCOL_ERROR_UNSUPPORTED,
                   "multifd %s: version %" PRIu32 " is not supported (only 1 is)", what,
                   ferry_get_be32(bytes + 4));
    }
    return TRUE;
}

void ferry_multifd_hello_encode(const FerryMultifdHello *hello,
                                uint8_t out[static FERRY_MULTIFD_HELLO_SIZE])
{
    memset(out, 0, FERRY_MULTIFD_HELLO_SIZE);
    put_start(out);
    memcpy(out + 8, hello->uuid, sizeof hello->uuid);
    out[24] = hello->id;
}

gboolean ferry_multifd_hello_decode(const uint8_t bytes[static FERRY_MULTIFD_HELLO_SIZE],
                                    FerryMultifdHello *out_hello, GError **error)
{
    if (!check_start(bytes, "hello", error)) {
        return FALSE;
    }
    for (unsigned i = HELLO_USED; i < FERRY_MULTIFD_HELLO_SIZE; i++) {
        if (bytes[i]) {
            return bad(error, FERRY_PROTOCOL_ERROR_MALFORMED,
                       "multifd hello: reserved byte %u is 0x%02x", i, bytes[i]);
        }
    }
    memcpy(out_hello->uuid, bytes + 8, sizeof out_hello->uuid);
    out_hello->id = bytes[24];
    return TRUE;
}

size_t ferry_multifd_packet_encode(const FerryMultifdPacket *packet, const uint64_t *offsets,
                                   unsigned page_bits, uint8_t *out)
{
    size_t size = ferry_multifd_header_size(page_bits);
    unsigned max = ferry_multifd_pages_max(page_bits);
    uint32_t n = packet->normal_pages + packet->zero_pages;
    uint32_t flags = packet->sync ? FERRY_MULTIFD_SYNC : 0;

    g_assert(packet->normal_pages <= max && packet->zero_pages <= max - packet->normal_pages);
    memset(out, 0, size);
    put_start(out);
    ferry_put_be64(out + AT_PACKET_NUM, packet->packet_num);
    if (n) {
        flags |= packet->method;
        ferry_put_be32(out + AT_PAGES_ALLOC, max);
        ferry_put_be32(out + AT_NORMAL_PAGES, packet->normal_pages);
        ferry_put_be32(out + AT_PAYLOAD, packet->normal_pages ? packet->payload_bytes : 0);
        ferry_put_be32(out + AT_ZERO_PAGES, packet->zero_pages);
        memcpy(out + AT_IDSTR, packet->idstr, strlen(packet->idstr));
        for (uint32_t i = 0; i < n; i++) {
            ferry_put_be64(out + AT_OFFSETS + 8 * (size_t)i, offsets[i]);
        }
    }
    ferry_put_be32(out + AT_FLAGS, flags);
    return size;
}

static gboolean decode_flags(uint32_t flags, FerryMultifdPacket *p, GError **error)
{
    uint32_t method = flags & ~FERRY_MULTIFD_SYNC;

    if (flags & FERRY_MULTIFD_DEVICE_STATE) {
        return bad(error, FERRY_PROTOCOL_ERROR_UNSUPPORTED,
                   "multifd packet: device state is not supported (flags 0x%" PRIx32 ")", flags);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(methods); i++) {
        if (methods[i].method == method) {
            p->method = methods[i].method;
            p->sync = (flags & FERRY_MULTIFD_SYNC) != 0;
            return TRUE;
        }
    }
    return bad(error, FERRY_PROTOCOL_ERROR_MALFORMED, "multifd packet: flags 0x%" PRIx32, flags);
}

static gboolean decode_counts(const uint8_t *bytes, unsigned max, FerryMultifdPacket *p,
                              GError **error)
{
    uint32_t alloc = ferry_get_be32(bytes + AT_PAGES_ALLOC);

    p->normal_pages = ferry_get_be32(bytes + AT_NORMAL_PAGES);
    p->zero_pages = ferry_get_be32(bytes + AT_ZERO_PAGES);
    if (alloc > max) {
        return bad(error, FERRY_PROTOCOL_ERROR_MALFORMED,
                   "multifd packet: room for %" PRIu32 " pages (at most %u)", alloc, max);
    }
    if (p->normal_pages > alloc || p->zero_pages > alloc - p->normal_pages) {
        return bad(error, FERRY_PROTOCOL_ERROR_MALFORMED,
                   "multifd packet: %" PRIu32 " pages and %" PRIu32
                   " zero pages, but room for %" PRIu32,
                   p->normal_pages, p->zero_pages, alloc);
    }
    return TRUE;
}

/* What a peer may announce, and so make us wait for and keep. */
static gboolean decode_payload(uint32_t bytes, unsigned page_bits, FerryMultifdPacket *p,
                               GError **error)
{
    uint32_t pages = p->normal_pages << page_bits;

    p->payload_bytes = bytes;
    if (p->normal_pages == 0) {
        p->payload_bytes = 0;
        return TRUE;
    }
    if (p->method == FERRY_MULTIFD_NONE ? bytes == 0 || bytes == pages
                                        : bytes > 0 && bytes <= 2 * pages) {
        return TRUE;
    }
    return bad(error, FERRY_PROTOCOL_ERROR_MALFORMED,
               "multifd packet: a payload of %" PRIu32 " bytes for %" PRIu32
               " pages with method %s",
               bytes, p->normal_pages, ferry_multifd_method_name(p->method));
}

static gboolean decode_idstr(const uint8_t *bytes, FerryMultifdPacket *p, GError **error)
{
    size_t n = strnlen((const char *)bytes, IDSTR_SIZE);

    if (n == IDSTR_SIZE || !ferry_name_valid(bytes, n)) {
        return bad(error, FERRY_PROTOCOL_ERROR_MALFORMED,
                   "multifd packet: its block's name is empty, not text or not terminated");
    }
    memcpy(p->idstr, bytes, n);
    memset(p->idstr + n, 0, sizeof p->idstr - n);
    return TRUE;
}

/* The same page twice in a packet would make its content depend on an order that nobody promised.
 * A table of what was seen; a peer who aims at one slot costs at most pages squared. */
static gboolean decode_offsets(const uint8_t *bytes, unsigned page_bits,
                               const FerryMultifdPacket *p, uint64_t *out, GError **error)
{
    uint32_t n = p->normal_pages + p->zero_pages;
    uint16_t seen[SEEN_SLOTS]; /* index + 1 */

    memset(seen, 0, sizeof seen);
    for (uint32_t i = 0; i < n; i++) {
        uint64_t offset = ferry_get_be64(bytes + 8 * (size_t)i);
        unsigned slot = (unsigned)(offset >> page_bits) % SEEN_SLOTS;

        if (offset & (((uint64_t)1 << page_bits) - 1)) {
            return bad(error, FERRY_PROTOCOL_ERROR_MALFORMED,
                       "multifd packet: block '%s': offset 0x%" PRIx64 " is not a page's", p->idstr,
                       offset);
        }
        for (; seen[slot]; slot = (slot + 1) % SEEN_SLOTS) {
            if (out[seen[slot] - 1] == offset) {
                return bad(error, FERRY_PROTOCOL_ERROR_MALFORMED,
                           "multifd packet: block '%s': page at 0x%" PRIx64 " comes twice",
                           p->idstr, offset);
            }
        }
        out[i] = offset;
        seen[slot] = (uint16_t)(i + 1);
    }
    return TRUE;
}

gboolean ferry_multifd_packet_decode(const uint8_t *bytes, unsigned page_bits,
                                     FerryMultifdPacket *out_packet, uint64_t *out_offsets,
                                     GError **error)
{
    FerryMultifdPacket p = {.packet_num = ferry_get_be64(bytes + AT_PACKET_NUM)};

    if (!check_start(bytes, "packet", error) ||
        !decode_flags(ferry_get_be32(bytes + AT_FLAGS), &p, error) ||
        !decode_counts(bytes, ferry_multifd_pages_max(page_bits), &p, error) ||
        !decode_payload(ferry_get_be32(bytes + AT_PAYLOAD), page_bits, &p, error)) {
        return FALSE;
    }
    if (p.normal_pages + p.zero_pages > 0 &&
        (!decode_idstr(bytes + AT_IDSTR, &p, error) ||
         !decode_offsets(bytes + AT_OFFSETS, page_bits, &p, out_offsets, error))) {
        return FALSE;
    }
    *out_packet = p;
    return TRUE;
}
