/* What a destination says back. First byte: how long the pieces are. */
#include "tests/fuzz/fuzz.h"
#include "protocol/return-path.h"
#include "protocol/stream.h"

static void decode(const uint8_t *data, size_t size, size_t piece, GString *out)
{
    FerryReturnDecoder decoder = {0};
    g_autoptr(GError) error = NULL;

    for (size_t at = 0; at < size; at += piece) {
        size_t n = MIN(piece, size - at);
        g_autofree uint8_t *own = g_memdup2(data + at, n);
        const uint8_t *p = own;
        FerryReturnMessage m;
        FerryReturnDecode answer;

        while ((answer = ferry_return_decoder_step(&decoder, &p, &n, &m, &error)) ==
               FERRY_RETURN_DONE) {
            uint8_t again[FERRY_RETURN_MESSAGE_MAX];
            size_t length = ferry_return_message_encode(&m, again);

            g_string_append_len(out, (const char *)again, (gssize)length);
        }
        if (answer == FERRY_RETURN_BAD) {
            g_assert(error->domain == FERRY_PROTOCOL_ERROR);
            g_string_append(out, error->message);
            return;
        }
        g_assert(n == 0);
    }
    /* what is not a whole message yet */
    g_string_append_len(out, (const char *)decoder.bytes, (gssize)decoder.have);
    g_assert(out->len == size); /* and what was a message encodes to the same bytes */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GString) whole = g_string_new(NULL);
    g_autoptr(GString) pieces = g_string_new(NULL);

    if (size < 1) {
        return 0;
    }
    decode(data + 1, size - 1, size, whole);
    decode(data + 1, size - 1, 1 + data[0] % 16, pieces);
    g_assert(g_string_equal(whole, pieces));
    return 0;
}
