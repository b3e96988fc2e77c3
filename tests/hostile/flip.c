/* M65: one bit inverted anywhere in what is not a page's content: refused, or taken with the very
 * RAM. Where a page goes is the exception: no format without checksums can tell a wrong address
 * from a right one, so there it must be refused or lie inside its block. */
#include <string.h>
#include "protocol/decoder.h"
#include "protocol/multifd.h"
#include "tests/fakes/expect.h"
#include "tests/fakes/small-streams.h"

typedef enum { STRONG, ADDRESS, CONTENT } Kind;

/* What each byte of main is. */
static uint8_t *map_main(const Streams *s)
{
    const FerryDecoderOptions options = {.page_bits = STREAMS_PAGE_BITS};
    g_autoptr(FerryDecoder) decoder = ferry_decoder_new(&options);
    uint8_t *kinds = g_malloc0(s->main->len);
    FerryStreamEvent e;

    ferry_decoder_push(decoder, s->main->data, s->main->len);
    while (ferry_decoder_step(decoder, &e, NULL) == FERRY_DECODE_EVENT) {
        if (e.type != FERRY_STREAM_PAGE && e.type != FERRY_STREAM_ZERO &&
            e.type != FERRY_STREAM_XBZRLE && e.type != FERRY_STREAM_COMPRESSED) {
            continue;
        }
        memset(kinds + e.stream_offset, ADDRESS, 8);
        if (e.type != FERRY_STREAM_ZERO) {
            memset(kinds + (e.page.data - s->main->data), CONTENT, e.page.length);
        }
    }
    return kinds;
}

/* What each byte of a channel is. */
static uint8_t *map_channel(const GByteArray *bytes)
{
    size_t header = ferry_multifd_header_size(STREAMS_PAGE_BITS);
    uint8_t *kinds = g_malloc0(bytes->len);

    for (size_t at = 0; at < bytes->len;) {
        FerryMultifdPacket packet;
        uint64_t offsets[512];

        g_assert(ferry_multifd_packet_decode(bytes->data + at, STREAMS_PAGE_BITS, &packet, offsets,
                                             NULL));
        memset(kinds + at + 320, ADDRESS, 8 * (packet.normal_pages + packet.zero_pages));
        if (packet.normal_pages == 0) { /* without pages it is one of QEMU 7.2's empty packets */
            memset(kinds + at + 32, ADDRESS, 4);
        }
        at += header;
        memset(kinds + at, CONTENT, packet.payload_bytes);
        at += packet.payload_bytes;
    }
    return kinds;
}

static void try_flip(const Streams *s, const ReceivedInput *input, uint8_t *bytes, size_t at,
                     unsigned bit, Kind kind, const char *ram)
{
    g_auto(Received) received = {0};

    bytes[at] ^= (uint8_t)(1u << bit);
    receive_all(input, &received);
    bytes[at] ^= (uint8_t)(1u << bit);
    if (!received.ok) {
        EXPECT(received_shut(&received) != 0, "%s: byte %zu bit %u", s->name, at, bit);
        return;
    }
    EXPECT(kind == ADDRESS || strcmp(ram, received.ram) == 0, "%s: byte %zu bit %u: other RAM:\n%s",
           s->name, at, bit, received.ram);
}

static gboolean is_padding(const GByteArray *bytes, guint at)
{
    return at > 16 && at + 16 < bytes->len && bytes->data[at] == 0 &&
           memcmp(bytes->data + at - 16, bytes->data + at - 15, 31) == 0;
}

static void flip_all(const Streams *s, const ReceivedInput *input, GByteArray *bytes,
                     const uint8_t *kinds, const char *ram)
{
    for (guint at = 0; at < bytes->len; at += is_padding(bytes, at) ? 97 : 1) {
        for (unsigned bit = 0; kinds[at] != CONTENT && bit < 8; bit++) {
            try_flip(s, input, bytes->data, at, bit, (Kind)kinds[at], ram);
        }
    }
}

static void flip_everywhere(const Streams *s)
{
    ReceivedInput input = streams_input(s);
    g_autofree uint8_t *kinds = map_main(s);
    g_auto(Received) right = {0};

    receive_all(&input, &right);
    g_assert(right.ok);
    if (s->method == FERRY_MULTIFD_NONE) { /* the others' main and second channel are the same */
        flip_all(s, &input, s->main, kinds, right.ram);
    }
    for (unsigned i = 0; i < (s->method == FERRY_MULTIFD_NONE ? s->n_channels : 1); i++) {
        g_autofree uint8_t *of_channel = map_channel(s->channels[i]);
        flip_all(s, &input, s->channels[i], of_channel, right.ram);
    }
}

int main(void)
{
    for (int which = 0; which < N_STREAMS; which++) {
        g_autoptr(Streams) s = streams_new(which);
        flip_everywhere(s);
    }
    return failures != 0;
}
