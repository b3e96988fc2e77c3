/* The main channel. First byte: options and how to chop; the rest is the stream. Whole and chopped
 * must give the same events. */
#include "tests/fuzz/fuzz.h"
#include <string.h>
#include "tests/protocol/sample.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FerryDecoderOptions options = {.max_device_bytes = 1 << 16};
    g_autofree char *whole = NULL, *pieces = NULL;

    if (size < 1) {
        return 0;
    }
    options.page_bits = data[0] & 1 ? SAMPLE_PAGE_BITS : 12;
    options.commands_after_end = (data[0] & 2) != 0;
    options.description_optional = (data[0] & 4) != 0;
    whole = sample_events(data + 1, size - 1, &options, 0, 0);
    pieces = sample_events(data + 1, size - 1, &options, data[0] & 8 ? 7 : 600, 1u + data[0]);
    g_assert_cmpstr(whole, ==, pieces);
    return 0;
}
