#include "protocol/decoder-private.h"
#include <inttypes.h>

/* Payload bytes of a command that pre-copy knows, or -1. */
static int command_payload(unsigned id)
{
    switch (id) {
    case FERRY_COMMAND_OPEN_RETURN_PATH:
    case FERRY_COMMAND_SWITCHOVER_START:
        return 0;
    case FERRY_COMMAND_PING:
        return 4;
    default:
        return -1;
    }
}

FerryFit ferry_command_fit(const uint8_t *p, size_t n, size_t *out_size)
{
    int payload;

    if (n < FERRY_COMMAND_HEADER_SIZE) {
        return FITS_MORE;
    }
    payload = command_payload(ferry_get_be16(p + 1));
    if (payload != (int)ferry_get_be16(p + 3)) {
        return FITS_NO;
    }
    *out_size = FERRY_COMMAND_HEADER_SIZE + (size_t)payload;
    return n >= *out_size ? FITS_YES : FITS_MORE;
}

static FerryDecoderStep refuse_command(FerryDecoder *d, uint64_t at, unsigned id, unsigned length)
{
    const char *name = ferry_command_name(id);

    if (command_payload(id) >= 0) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED, "command %s has length %u",
                                 name, length);
    }
    switch (id) {
    case FERRY_COMMAND_POSTCOPY_ADVISE:
    case FERRY_COMMAND_POSTCOPY_LISTEN:
    case FERRY_COMMAND_POSTCOPY_RUN:
    case FERRY_COMMAND_POSTCOPY_RAM_DISCARD:
    case FERRY_COMMAND_PACKAGED:
    case FERRY_COMMAND_POSTCOPY_RESUME:
    case FERRY_COMMAND_RECV_BITMAP:
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_UNSUPPORTED,
                                 "postcopy is not supported (command %s)", name);
    case FERRY_COMMAND_ENABLE_COLO:
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_UNSUPPORTED,
                                 "colo is not supported (command %s)", name);
    default:
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED, "command %u is %s", id,
                                 name);
    }
}

FerryDecoderStep ferry_decoder_command(FerryDecoder *d, uint64_t at, unsigned id, unsigned length,
                                       const uint8_t *payload, FerryStreamEvent *ev)
{
    if (command_payload(id) != (int)length) {
        return refuse_command(d, at, id, length);
    }
    if (id == FERRY_COMMAND_PING && !d->return_path) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "command ping before open-return-path");
    }
    d->return_path |= id == FERRY_COMMAND_OPEN_RETURN_PATH;
    memcpy(d->payload, payload, length);
    ev->type = FERRY_STREAM_COMMAND;
    ev->stream_offset = at;
    ev->command =
        (FerryCommand){.id = (FerryCommandId)id, .length = (uint16_t)length, .payload = d->payload};
    return STEP_EVENT;
}

FerryDecoderStep ferry_decoder_walk_command(FerryDecoder *d, FerryStreamEvent *ev)
{
    uint64_t at = ferry_decoder_here(d);
    const uint8_t *p = ferry_decoder_peek(d, FERRY_COMMAND_HEADER_SIZE);
    unsigned id, length;
    FerryDecoderStep step;

    if (!p) {
        return STEP_MORE;
    }
    id = ferry_get_be16(p + 1);
    length = ferry_get_be16(p + 3);
    if (command_payload(id) != (int)length) {
        return refuse_command(d, at, id, length); /* without waiting for its payload */
    }
    p = ferry_decoder_peek(d, FERRY_COMMAND_HEADER_SIZE + (size_t)length);
    if (!p) {
        return STEP_MORE;
    }
    step = ferry_decoder_command(d, at, id, length, p + FERRY_COMMAND_HEADER_SIZE, ev);
    if (step == STEP_EVENT) {
        ferry_decoder_take(d, FERRY_COMMAND_HEADER_SIZE + (size_t)length);
    }
    return step;
}
