/* A whole receive. Byte 0: how many channels (0 to 2), the size of a page, what is allowed; then
 * two be24, the lengths of the channels' bytes, which follow; the rest is main. Whatever comes, it
 * ends, one side is told the truth, and memory stays within the limit. */
#include "tests/fuzz/fuzz.h"
#include "tests/fakes/received.h"

#define HEADER 7

static size_t read_be24(const uint8_t *p) { return (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2]; }

static ReceivedBytes cut_off(const uint8_t **data, size_t *size, size_t length)
{
    ReceivedBytes bytes = {.bytes = *data, .length = MIN(length, *size)};

    *data += bytes.length;
    *size -= bytes.length;
    return bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const FerryMultifdMethod methods[] = {FERRY_MULTIFD_NONE, FERRY_MULTIFD_ZLIB,
                                                 FERRY_MULTIFD_ZSTD, FERRY_MULTIFD_NONE};
    g_auto(Received) received = {0};
    ReceivedInput input = {.max_ram_bytes = 16 << 20};
    size_t lengths[2];
    int shut;

    if (size < HEADER) {
        return 0;
    }
    input.n_channels = MIN(data[0] & 3u, 2u);
    input.page_bits = data[0] & 4 ? 10 : 12;
    input.description_optional = (data[0] & 8) != 0;
    input.any_method = (data[0] & 16) != 0;
    input.method = methods[data[0] >> 6];
    lengths[0] = read_be24(data + 1);
    lengths[1] = read_be24(data + 4);
    data += HEADER;
    size -= HEADER;
    for (unsigned i = 0; i < input.n_channels; i++) {
        input.channels[i] = cut_off(&data, &size, lengths[i]);
    }
    input.main = cut_off(&data, &size, size);
    receive_all(&input, &received);
    shut = received_shut(&received);
    g_assert(received.ok ? shut != 1 : shut != 0);
    return 0;
}
