/* Bytes that were read too early can be read again, in front of the rest. */
#include "transport/lobby.h"

#include <criterion/criterion.h>

#include "tests/transport/support.h"

Test(unread, comes_before_the_rest_whatever_the_pieces)
{
    for (size_t piece = 1; piece <= 12; piece++) {
        FerryChannel *peer, *inner;
        char bytes[12] = "";
        size_t done = 0;

        ferry_channel_pair(4096, NULL, &peer, &inner);
        g_autoptr(FerryChannel) channel = ferry_channel_unread(inner, (const uint8_t *)"QEVM", 4);
        cr_assert_eq(ferry_channel_readable(channel, 0, NULL), 1, "with nothing from the peer");
        cr_assert(ferry_channel_write_all(peer, " and so", 7, PATIENCE_NS, NULL));
        while (done < 11) {
            size_t room = MIN(piece, sizeof bytes - 1 - done);
            struct iovec iov[] = {
                {.iov_base = bytes + done,     .iov_len = 1       },
                {.iov_base = bytes + done + 1, .iov_len = room - 1}
            };
            gssize n = ferry_channel_readv(channel, iov, room > 1 ? 2 : 1, patience(), NULL);
            cr_assert_gt(n, 0);
            done += (size_t)n;
        }
        cr_expect_str_eq(bytes, "QEVM and so");
        cr_expect_eq(ferry_channel_bytes_read(channel), 11, "what was put back counts");
        cr_expect_eq(ferry_channel_readable(channel, 0, NULL), 0);
        ferry_channel_free(peer);
        cr_expect_eq(ferry_channel_read(channel, bytes, 1, patience(), NULL), 0);
    }
}

Test(unread, the_other_direction_passes)
{
    FerryChannel *peer, *inner;
    char byte = 0;

    ferry_channel_pair(4096, NULL, &peer, &inner);
    g_autoptr(FerryChannel) channel = ferry_channel_unread(inner, NULL, 0);
    cr_assert(ferry_channel_write_all(channel, "x", 1, PATIENCE_NS, NULL));
    cr_assert_eq(ferry_channel_read(peer, &byte, 1, patience(), NULL), 1);
    cr_expect_eq(byte, 'x');
    cr_expect(ferry_channel_shutdown_write(channel, NULL));
    cr_expect_eq(ferry_channel_read(peer, &byte, 1, patience(), NULL), 0);
    cr_expect_str_eq(ferry_channel_get_io(channel), "pair");
    ferry_channel_abort(channel);
    ferry_channel_free(peer);
}
