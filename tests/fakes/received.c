#include "tests/fakes/received.h"
#include <string.h>
#include "engine/capture.h"
#include "protocol/return-path.h"
#include "transport/transport.h"

#define PATIENCE_NS 20000000000ull /* nothing is waited for when every channel has ended */
#define LAST_WORDS 4096            /* of what goes back; else an answer is shorter than its PING */

/* The peer's end holds all bytes and the end of stream. */
static FerryChannel *fill(const ReceivedBytes *bytes, size_t room, FerryInterrupt *interrupt,
                          FerryChannel **out_peer)
{
    FerryChannel *ours;

    ferry_channel_pair(bytes->length + room, interrupt, &ours, out_peer);
    if (bytes->length) {
        g_assert(ferry_channel_write_all(*out_peer, bytes->bytes, bytes->length, 0, NULL));
    }
    g_assert(ferry_channel_shutdown_write(*out_peer, NULL));
    return ours;
}

static void hear(FerryChannel *peer, GByteArray *heard)
{
    uint8_t bytes[4096];
    gssize n;

    while ((n = ferry_channel_read(peer, bytes, sizeof bytes, 0, NULL)) > 0) {
        g_byte_array_append(heard, bytes, (guint)n);
    }
}

static char *describe_ram(FerryCapture *capture)
{
    const FerryMemory *memory = ferry_guest_memory(ferry_capture_guest(capture));
    GString *text = g_string_new(NULL);

    for (unsigned i = 0; i < ferry_memory_n_blocks(memory); i++) {
        const FerryMemoryBlock *block = ferry_memory_block(memory, i);
        g_autofree char *sum = ferry_capture_sha256(capture, i);

        g_string_append_printf(text, "%" G_GUINT64_FORMAT " %s\n", block->length, sum);
    }
    return g_string_free(text, FALSE);
}

void receive_all(const ReceivedInput *input, Received *out)
{
    g_autoptr(FerryInterrupt) interrupt = ferry_interrupt_new(NULL);
    FerryCaptureOptions kept = {.max_ram_bytes = input->max_ram_bytes};
    g_autoptr(FerryCapture) capture = ferry_capture_new(&kept, NULL);
    FerryChannel *main_peer, *peers[RECEIVED_CHANNELS_MAX], *channels[RECEIVED_CHANNELS_MAX];
    FerryChannel *channel = fill(&input->main, LAST_WORDS, interrupt, &main_peer);
    FerryDestinationOptions options = {
        .io_timeout_ns = PATIENCE_NS,
        .page_bits = input->page_bits,
        .description_optional = input->description_optional,
        .multifd = channels,
        .n_multifd = input->n_channels,
        .any_method = input->any_method,
        .multifd_method = input->method,
    };

    memset(out, 0, sizeof *out);
    out->heard = g_byte_array_new();
    for (unsigned i = 0; i < input->n_channels; i++) {
        channels[i] = fill(&input->channels[i], 1, interrupt, &peers[i]);
    }
    FerryDestination *destination =
        ferry_destination_new(ferry_capture_guest(capture), channel, interrupt, &options);
    out->ok = ferry_destination_run(destination, &out->error);
    g_assert(out->ok == (out->error == NULL));
    ferry_destination_free(destination);
    if (out->ok) {
        out->ram = describe_ram(capture);
    }
    hear(main_peer, out->heard);
    ferry_channel_free(main_peer);
    for (unsigned i = 0; i < input->n_channels; i++) {
        ferry_channel_free(peers[i]);
    }
}

int received_shut(const Received *r)
{
    FerryReturnDecoder decoder = {0};
    const uint8_t *bytes = r->heard->data;
    size_t left = r->heard->len;
    FerryReturnMessage message;
    int shut = -1;

    while (ferry_return_decoder_step(&decoder, &bytes, &left, &message, NULL) ==
           FERRY_RETURN_DONE) {
        g_assert(shut == -1);
        if (message.type == FERRY_RETURN_SHUT) {
            shut = (int)message.value;
        }
    }
    g_assert(left == 0 && decoder.have == 0);
    return shut;
}

void received_clear(Received *r)
{
    g_clear_error(&r->error);
    g_clear_pointer(&r->ram, g_free);
    g_clear_pointer(&r->heard, g_byte_array_unref);
}
