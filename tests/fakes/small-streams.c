#include "tests/fakes/small-streams.h"
#include <string.h>
#include "engine/compress.h"
#include "protocol/multifd.h"
#include "protocol/wire.h"
#include "tests/protocol/sample.h"

#define PAGE (1u << STREAMS_PAGE_BITS)
#define CONFIGURATION "H C 05 \"configuration/uuid 00000001 000102030405060708090a0b0c0d0e0f O P "
#define LIST                                                                                       \
    "S 0000000000009004 \"pc.ram 0000000000004000 \"pc.bios 0000000000001000 "                     \
    "\"/rom@etc/acpi/rsdp 0000000000004000 "
#define FLUSH "0000000000000200 "
#define BIOS "0000000000000008 \"pc.bios "
#define EARLY "0400000007 \"early/one 00000000 00000001 0102030405 7e00000007 "
#define DEVICES                                                                                    \
    "0400000028 \"timer 00000000 00000003 000102030405060708 7e00000028 "                          \
    "0400000029 \"dma 00000001 00000001 7e000000290600000006 7e00000029 "

static void add(GByteArray *out, const char *words)
{
    g_autoptr(GByteArray) more = sample_assemble(words, STREAMS_PAGE_BITS);

    g_byte_array_append(out, more->data, more->len);
}

static void fill(uint8_t *page, unsigned seed)
{
    for (unsigned i = 0; i < PAGE; i++) {
        page[i] = (uint8_t)(seed * 31 + i / 7);
    }
}

static void add_page(GByteArray *out, unsigned seed)
{
    uint8_t page[PAGE];

    fill(page, seed);
    g_byte_array_append(out, page, PAGE);
}

static void add_end(GByteArray *out)
{
    static const char text[] =
        "{\"page_size\": 1024, \"devices\": ["
        "{\"name\": \"early/one\", \"instance_id\": 0, \"fields\": [{\"name\": \"data\", "
        "\"size\": 5}]}, {\"name\": \"timer\", \"instance_id\": 0, \"fields\": [{\"name\": "
        "\"data\", \"size\": 3, \"array_len\": 3}]}, {\"name\": \"dma\", \"instance_id\": 1, "
        "\"fields\": [{\"name\": \"data\", \"size\": 10}]}]}";
    uint8_t bytes[FERRY_DESCRIPTION_HEADER_SIZE];

    add(out, DEVICES);
    g_byte_array_append(out, bytes, (guint)ferry_end_encode(sizeof text - 1, bytes));
    g_byte_array_append(out, (const uint8_t *)text, sizeof text - 1);
}

static void make_plain(Streams *s)
{
    add(s->main, CONFIGURATION EARLY LIST "E F R B Q Z E F R E F P R " BIOS);
    add_page(s->main, 3);
    add(s->main, "0000000000000822 00 E F X Q E F 08000b0000 ");
    add_end(s->main);
}

/* COMPRESS_PAGE: be32 length, then the page. */
static void add_packed(GByteArray *out, FerryMultifdMethod method, unsigned seed)
{
    g_autoptr(FerryPageCodec) codec = ferry_page_codec_new(method, 1);
    uint8_t page[PAGE], packed[4 + FERRY_PAGE_CODEC_BOUND(PAGE)];

    fill(page, seed);
    size_t n = ferry_page_codec_encode(codec, page, PAGE, packed + 4);
    ferry_put_be32(packed, (uint32_t)n);
    g_byte_array_append(out, packed, 4 + (guint)n);
}

static void make_delta(Streams *s)
{
    add(s->main, CONFIGURATION EARLY LIST "E F R B Q Z E F R ");
    add(s->main, "0000000000000060 01 0008 0002414283020143 ");  /* a named base, two runs */
    add(s->main, "0000000000000840 \"pc.ram 01 0004 05025859 "); /* of a zero page */
    add(s->main, "0000000000000520 ");                           /* COMPRESS_PAGE, continued */
    add_packed(s->main, FERRY_MULTIFD_ZLIB, 4);
    add(s->main, "0000000000000100 \"pc.bios ");
    add_packed(s->main, FERRY_MULTIFD_ZSTD, 5);
    add(s->main, "E F X E F ");
    add_end(s->main);
}

/* One packet of @pages from page @first on, with @zeros zero pages behind them. */
static void add_packet(Streams *s, unsigned channel, FerryCompressor *compressor, unsigned first,
                       unsigned pages, unsigned zeros, gboolean sync)
{
    GByteArray *out = s->channels[channel];
    FerryMultifdPacket packet = {
        .method = s->method, .sync = sync, .normal_pages = pages, .zero_pages = zeros};
    g_autofree uint8_t *payload = g_malloc(MAX(pages, 1) * PAGE);
    uint64_t offsets[8];
    uint8_t header[FERRY_MULTIFD_HEADER_MAX];

    for (unsigned i = 0; i < pages + zeros; i++) {
        offsets[i] = (uint64_t)(first + i) * PAGE;
    }
    for (unsigned i = 0; i < pages; i++) {
        fill(payload + i * PAGE, 100 * channel + first + i);
    }
    packet.payload_bytes = pages * PAGE;
    if (pages + zeros) {
        strcpy(packet.idstr, "pc.ram");
    } else {
        packet.method = FERRY_MULTIFD_NONE;
    }
    if (compressor && pages) {
        struct iovec in = {payload, pages * PAGE};
        uint8_t *packed = g_malloc(ferry_compressor_bound(compressor, pages * PAGE));
        packet.payload_bytes = (uint32_t)ferry_compressor_packet(compressor, &in, 1, packed);
        g_free(g_steal_pointer(&payload));
        payload = packed;
    }
    size_t n = ferry_multifd_packet_encode(&packet, offsets, STREAMS_PAGE_BITS, header);
    g_byte_array_append(out, header, (guint)n);
    g_byte_array_append(out, payload, packet.payload_bytes);
}

static void make_multifd(Streams *s, FerryMultifdMethod method)
{
    s->n_channels = 2;
    s->method = method;
    add(s->main, CONFIGURATION EARLY LIST FLUSH "E F R " BIOS);
    add_page(s->main, 3);
    add(s->main, FLUSH "E F R E F R 0000000000000002 \"pc.bios 00 " FLUSH "E F X " FLUSH "E F ");
    add_end(s->main);
    for (unsigned i = 0; i < s->n_channels; i++) {
        g_autoptr(FerryCompressor) compressor =
            method == FERRY_MULTIFD_NONE ? NULL : ferry_compressor_new(method, 1);

        s->channels[i] = g_byte_array_new();
        add_packet(s, i, NULL, 0, 0, 0, TRUE);
        add_packet(s, i, compressor, 4 * i, 3, 1, FALSE);
        add_packet(s, i, NULL, 0, 0, 0, TRUE);
        add_packet(s, i, compressor, 8 + 2 * i, 2, 0, FALSE);
        add_packet(s, i, NULL, 4 * i, 0, 1, FALSE);
        add_packet(s, i, NULL, 0, 0, 0, TRUE);
        add_packet(s, i, NULL, 0, 0, 0, TRUE);
    }
}

Streams *streams_new(int which)
{
    static const char *const names[] = {"plain", "delta", "multifd", "zlib", "zstd"};
    Streams *s = g_new0(Streams, 1);

    s->name = names[which];
    s->main = g_byte_array_new();
    switch (which) {
    case STREAMS_PLAIN:
        make_plain(s);
        break;
    case STREAMS_DELTA:
        make_delta(s);
        break;
    default:
        make_multifd(s, which == STREAMS_MULTIFD ? FERRY_MULTIFD_NONE
                        : which == STREAMS_ZLIB  ? FERRY_MULTIFD_ZLIB
                                                 : FERRY_MULTIFD_ZSTD);
        break;
    }
    return s;
}

ReceivedInput streams_input(const Streams *s)
{
    ReceivedInput input = {
        .main = {s->main->data, s->main->len},
        .n_channels = s->n_channels,
        .page_bits = STREAMS_PAGE_BITS,
        .method = s->method,
        .max_ram_bytes = 1 << 20,
    };

    for (unsigned i = 0; i < s->n_channels; i++) {
        input.channels[i] = (ReceivedBytes){s->channels[i]->data, s->channels[i]->len};
    }
    return input;
}

void streams_free(Streams *s)
{
    for (unsigned i = 0; i < s->n_channels; i++) {
        g_byte_array_unref(s->channels[i]);
    }
    g_byte_array_unref(s->main);
    g_free(s);
}
