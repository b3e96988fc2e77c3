#include "protocol/return-path.h"
#include <string.h>
#include "protocol/stream.h"
#include "protocol/wire.h"

#define HEADER_SIZE 4

/* Payload bytes of a message that pre-copy knows, or -1. */
static int payload_size(unsigned type)
{
    switch (type) {
    case FERRY_RETURN_SHUT:
    case FERRY_RETURN_PONG:
        return 4;
    case FERRY_RETURN_SWITCHOVER_ACK:
        return 0;
    default:
        return -1;
    }
}

size_t ferry_return_message_encode(const FerryReturnMessage *m,
                                   uint8_t out[static FERRY_RETURN_MESSAGE_MAX])
{
    int size = payload_size(m->type);

    g_assert(size >= 0);
    ferry_put_be16(out, (uint16_t)m->type);
    ferry_put_be16(out + 2, (uint16_t)size);
    if (size) {
        ferry_put_be32(out + HEADER_SIZE, m->value);
    }
    return HEADER_SIZE + (size_t)size;
}

/* Moves bytes over until the decoder has @want of them. */
static gboolean collect(FerryReturnDecoder *decoder, size_t want, const uint8_t **bytes, size_t *n)
{
    if (decoder->have < want) {
        size_t take = MIN(want - decoder->have, *n);

        if (take) { /* *bytes may be NULL when *n is 0 */
            memcpy(decoder->bytes + decoder->have, *bytes, take);
            *bytes += take;
        }
        *n -= take;
        decoder->have += take;
        decoder->offset += take;
    }
    return decoder->have >= want;
}

static FerryReturnDecode refuse(const FerryReturnDecoder *decoder, unsigned type, unsigned length,
                                GError **error)
{
    uint64_t at = decoder->offset - decoder->have;

    switch (type) {
    case FERRY_RETURN_REQ_PAGES_ID:
    case FERRY_RETURN_REQ_PAGES:
    case FERRY_RETURN_RECV_BITMAP:
    case FERRY_RETURN_RESUME_ACK:
        g_set_error(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_UNSUPPORTED,
                    "return path byte %" G_GUINT64_FORMAT ": message %u belongs to postcopy", at,
                    type);
        break;
    case FERRY_RETURN_SHUT:
    case FERRY_RETURN_PONG:
    case FERRY_RETURN_SWITCHOVER_ACK:
        g_set_error(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_MALFORMED,
                    "return path byte %" G_GUINT64_FORMAT ": message %u has length %u", at, type,
                    length);
        break;
    default:
        g_set_error(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_MALFORMED,
                    "return path byte %" G_GUINT64_FORMAT ": unknown message %u", at, type);
        break;
    }
    return FERRY_RETURN_BAD;
}

FerryReturnDecode ferry_return_decoder_step(FerryReturnDecoder *decoder, const uint8_t **bytes,
                                            size_t *n, FerryReturnMessage *out_message,
                                            GError **error)
{
    unsigned type, length;

    if (!collect(decoder, HEADER_SIZE, bytes, n)) {
        return FERRY_RETURN_MORE;
    }
    type = ferry_get_be16(decoder->bytes);
    length = ferry_get_be16(decoder->bytes + 2);
    if (payload_size(type) != (int)length) {
        /* The header stays collected, so that every later step refuses it again. */
        return refuse(decoder, type, length, error);
    }
    if (!collect(decoder, HEADER_SIZE + length, bytes, n)) {
        return FERRY_RETURN_MORE;
    }
    out_message->type = (FerryReturnType)type;
    out_message->value = length ? ferry_get_be32(decoder->bytes + HEADER_SIZE) : 0;
    decoder->have = 0;
    return FERRY_RETURN_DONE;
}
