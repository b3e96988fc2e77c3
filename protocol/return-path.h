/* What the destination says back, on the reverse direction of the main channel: be16 type, be16
 * length, payload. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

typedef enum {
    FERRY_RETURN_SHUT = 1, /* be32 status, 0 = good; once, at the end */
    FERRY_RETURN_PONG = 2, /* the ping's value */
    FERRY_RETURN_REQ_PAGES_ID = 3,
    FERRY_RETURN_REQ_PAGES = 4,
    FERRY_RETURN_RECV_BITMAP = 5,
    FERRY_RETURN_RESUME_ACK = 6,
    FERRY_RETURN_SWITCHOVER_ACK = 7,
} FerryReturnType;

typedef struct {
    FerryReturnType type;
    uint32_t value; /* SHUT: status, PONG: value */
} FerryReturnMessage;

#define FERRY_RETURN_MESSAGE_MAX 8 /* of those that we send */

/* SHUT, PONG and SWITCHOVER_ACK. */
size_t ferry_return_message_encode(const FerryReturnMessage *m,
                                   uint8_t out[static FERRY_RETURN_MESSAGE_MAX]);

/* Collects bytes into messages; the input is hostile. */
typedef struct {
    uint8_t bytes[8];
    size_t have;
    uint64_t offset;
} FerryReturnDecoder;

typedef enum { FERRY_RETURN_MORE, FERRY_RETURN_DONE, FERRY_RETURN_BAD } FerryReturnDecode;

/* Zero-initialise the decoder. Takes what it needs from *@bytes and *@n (both are moved on). On
 * DONE *@out_message is filled in. Messages that only postcopy has, unknown types and wrong lengths
 * are BAD (FERRY_PROTOCOL_ERROR). */
FerryReturnDecode ferry_return_decoder_step(FerryReturnDecoder *decoder, const uint8_t **bytes,
                                            size_t *n, FerryReturnMessage *out_message,
                                            GError **error);

G_END_DECLS
