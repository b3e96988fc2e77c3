/* A mapped-ram file. First byte: options; the rest is the file. Whole and chopped the stream must
 * give the same events, and of its blocks nothing is read but what is in the file. */
#include "tests/fuzz/fuzz.h"
#include <sys/mman.h>
#include <unistd.h>
#include "engine/error.h"
#include "engine/mapped-load.h"
#include "tests/protocol/sample.h"

#define BLOCK_MAX (1u << 20)

static void read_block(int fd, uint64_t bytes, const FerryStreamEvent *ev)
{
    FerryMappedBlock block = {ev->block.idstr, ev->block.used_length, ev->block.mapped};
    g_autofree uint8_t *host = NULL;
    g_autoptr(GError) error = NULL;
    FerryBitmap present;

    if (block.used_length > BLOCK_MAX) {
        return;
    }
    if (!ferry_mapped_read_bitmap(fd, bytes, &block, &present, &error)) {
        g_assert(error->domain == FERRY_ENGINE_ERROR);
        return;
    }
    host = g_malloc0(block.used_length);
    g_assert(ferry_mapped_read_pages(fd, &block, &present, host, NULL, NULL));
    ferry_bitmap_clear(&present);
}

static void read_file(int fd, const uint8_t *data, size_t size, const FerryDecoderOptions *options)
{
    g_autoptr(FerryDecoder) decoder = ferry_decoder_new(options);
    FerryStreamEvent ev;

    for (uint64_t at = 0; at < size;) {
        FerryDecode answer;

        ferry_decoder_push(decoder, data + at, size - at);
        at = size;
        while ((answer = ferry_decoder_step(decoder, &ev, NULL)) == FERRY_DECODE_EVENT) {
            if (ev.type == FERRY_STREAM_RAM_BLOCK && ev.block.is_mapped) {
                read_block(fd, size, &ev);
                at = ferry_decoder_jump(decoder);
            }
        }
        if (answer == FERRY_DECODE_BAD) {
            return;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FerryDecoderOptions options = {.max_device_bytes = 1 << 16, .mapped_allowed = TRUE};
    g_autofree char *whole = NULL, *pieces = NULL;
    int fd;

    if (size < 1) {
        return 0;
    }
    options.page_bits = data[0] & 1 ? SAMPLE_PAGE_BITS : 12;
    whole = sample_events(data + 1, size - 1, &options, 0, 0);
    pieces = sample_events(data + 1, size - 1, &options, data[0] & 2 ? 7 : 600, 1u + data[0]);
    g_assert_cmpstr(whole, ==, pieces);

    fd = memfd_create("fuzz", MFD_CLOEXEC);
    g_assert(fd >= 0 && write(fd, data + 1, size - 1) == (ssize_t)(size - 1));
    read_file(fd, data + 1, size - 1, &options);
    close(fd);
    return 0;
}
