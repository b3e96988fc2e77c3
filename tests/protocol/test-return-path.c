#include "protocol/return-path.h"
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <string.h>
#include "protocol/stream.h"

/* Bytes of a QEMU 7.2 destination: PONG 1, SHUT 0. */
Test(return_path, messages_are_qemus)
{
    FerryReturnMessage pong = {.type = FERRY_RETURN_PONG, .value = 1};
    FerryReturnMessage shut = {.type = FERRY_RETURN_SHUT};
    FerryReturnMessage ack = {.type = FERRY_RETURN_SWITCHOVER_ACK};
    uint8_t out[FERRY_RETURN_MESSAGE_MAX];

    cr_expect_eq(ferry_return_message_encode(&pong, out), 8);
    cr_expect_arr_eq(out, "\0\2\0\4\0\0\0\1", 8);
    cr_expect_eq(ferry_return_message_encode(&shut, out), 8);
    cr_expect_arr_eq(out, "\0\1\0\4\0\0\0\0", 8);
    cr_expect_eq(ferry_return_message_encode(&ack, out), 4);
    cr_expect_arr_eq(out, "\0\7\0\0", 4);
}

Test(return_path, messages_come_out_however_they_are_cut)
{
    static const uint8_t wire[] = "\0\2\0\4\xfe\x77\0\1\0\7\0\0\0\1\0\4\0\0\0\1";
    static const FerryReturnMessage expected[] = {
        {FERRY_RETURN_PONG,           0xfe770001},
        {FERRY_RETURN_SWITCHOVER_ACK, 0         },
        {FERRY_RETURN_SHUT,           1         },
    };

    for (size_t piece = 1; piece < sizeof wire; piece++) {
        FerryReturnDecoder decoder = {0};
        unsigned got = 0;

        for (size_t at = 0; at < sizeof wire - 1; at += piece) {
            size_t n = MIN(piece, sizeof wire - 1 - at);
            const uint8_t *p = wire + at;
            FerryReturnMessage m;

            while (ferry_return_decoder_step(&decoder, &p, &n, &m, NULL) == FERRY_RETURN_DONE) {
                cr_assert_lt(got, G_N_ELEMENTS(expected));
                cr_expect_eq(m.type, expected[got].type);
                cr_expect_eq(m.value, expected[got].value);
                got++;
            }
            cr_expect_eq(n, 0, "everything is taken");
        }
        cr_expect_eq(got, 3, "pieces of %zu", piece);
        cr_expect_eq(decoder.offset, sizeof wire - 1);
    }
}

Test(return_path, half_a_message_is_no_message)
{
    FerryReturnDecoder decoder = {0};
    const uint8_t *p = (const uint8_t *)"\0\1\0\4\0\0\0";
    FerryReturnMessage m;
    size_t n = 7;

    cr_expect_eq(ferry_return_decoder_step(&decoder, &p, &n, &m, NULL), FERRY_RETURN_MORE);
    cr_expect_eq(n, 0);
    cr_expect_eq(decoder.have, 7, "finds a cut");
    p = NULL;
    cr_expect_eq(ferry_return_decoder_step(&decoder, &p, &n, &m, NULL), FERRY_RETURN_MORE);
}

typedef struct {
    char what[48];
    uint8_t wire[4];
    FerryProtocolError code;
} Row;

ParameterizedTestParameters(return_path, refuses)
{
    static Row rows[] = {
        {"M54 type 0",               {0, 0, 0, 4},     FERRY_PROTOCOL_ERROR_MALFORMED  },
        {"M54 type 8",               {0, 8, 0, 0},     FERRY_PROTOCOL_ERROR_MALFORMED  },
        {"M54 type 65535",           {255, 255, 0, 0}, FERRY_PROTOCOL_ERROR_MALFORMED  },
        {"M54 shut of length 3",     {0, 1, 0, 3},     FERRY_PROTOCOL_ERROR_MALFORMED  },
        {"M54 pong of length 65535", {0, 2, 255, 255}, FERRY_PROTOCOL_ERROR_MALFORMED  },
        {"M54 ack of length 1",      {0, 7, 0, 1},     FERRY_PROTOCOL_ERROR_MALFORMED  },
        {"M54 request of pages",     {0, 3, 0, 14},    FERRY_PROTOCOL_ERROR_UNSUPPORTED},
        {"M54 same block's pages",   {0, 4, 0, 12},    FERRY_PROTOCOL_ERROR_UNSUPPORTED},
        {"M54 received bitmap",      {0, 5, 0, 7},     FERRY_PROTOCOL_ERROR_UNSUPPORTED},
        {"M54 resume ack",           {0, 6, 0, 4},     FERRY_PROTOCOL_ERROR_UNSUPPORTED},
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Row *row, return_path, refuses)
{
    FerryReturnDecoder decoder = {0};
    FerryReturnMessage m;

    for (int again = 0; again < 2; again++) { /* refused once is refused for ever */
        g_autoptr(GError) error = NULL;
        const uint8_t *p = row->wire;
        size_t n = again ? 0 : sizeof row->wire;

        cr_assert_eq(ferry_return_decoder_step(&decoder, &p, &n, &m, &error), FERRY_RETURN_BAD);
        cr_expect(g_error_matches(error, FERRY_PROTOCOL_ERROR, (int)row->code), "%s", row->what);
        cr_expect(strstr(error->message, "return path byte 0"), "%s", error->message);
    }
}
