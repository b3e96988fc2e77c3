/* A destination with multifd: where main waits for the channels. */
#include <stdio.h>
#include <string.h>
#include "protocol/multifd.h"
#include "tests/engine/stranger-rig.h"
#include "tests/fakes/expect.h"

static void send_packet(Rig *r, unsigned channel, unsigned page, int fill, gboolean sync)
{
    uint8_t header[FERRY_MULTIFD_HEADER_MAX], content[RIG_PAGE];
    uint64_t offset = (uint64_t)page * RIG_PAGE;
    FerryMultifdPacket packet = {.sync = sync, .payload_bytes = RIG_PAGE, .idstr = "strange"};

    packet.normal_pages = fill > 0;
    packet.zero_pages = fill == 0;
    if (fill < 0) { /* nothing but SYNC */
        packet.idstr[0] = '\0';
    }
    memset(content, fill, sizeof content);
    (void)ferry_channel_write_all(r->channels[channel], header,
                                  ferry_multifd_packet_encode(&packet, &offset, 12, header),
                                  PATIENCE_NS, NULL);
    if (fill > 0) {
        (void)ferry_channel_write_all(r->channels[channel], content, RIG_PAGE, PATIENCE_NS, NULL);
    }
}

static void sync_channels(Rig *r)
{
    for (unsigned i = 0; i < RIG_CHANNELS; i++) {
        send_packet(r, i, 0, -1, TRUE);
    }
}

/* One page wanders over the channels and main, once per barrier; what came last stands. */
static void barriers_order_what_comes(gboolean per_round)
{
    Rig r;

    rig_begin(&r, (FerryDestinationOptions){0}, RIG_CHANNELS, NULL);
    rig_add_beginning(&r, TRUE, per_round);
    sync_channels(&r);
    rig_flush(&r);
    for (unsigned round = 1; round < 40; round++) {
        rig_add_section(&r, FERRY_SECTION_PART, RIG_RAM_ID, NULL);
        if (round % 3 == 2) {
            rig_add_page(&r, 5 * RIG_PAGE, (int)round);
        } else {
            send_packet(&r, round % 3, 5, (int)round, FALSE);
        }
        rig_add_page(&r, 6 * RIG_PAGE, (int)round); /* another page, at the same time */
        sync_channels(&r);
        rig_add_section_end(&r, per_round);
        rig_flush(&r);
    }
    send_packet(&r, 0, 7, 0x77, TRUE); /* SYNC rides on data: QEMU up to 8.2 */
    send_packet(&r, 1, 6, 0, FALSE);
    send_packet(&r, 1, 0, -1, TRUE);
    rig_add_section(&r, FERRY_SECTION_END, RIG_RAM_ID, NULL);
    rig_add_section_end(&r, per_round);
    rig_add_end(&r);
    rig_flush(&r);
    send_packet(&r, 0, 0, -1, FALSE); /* and ends with a packet of nothing */
    rig_expect_said(&r, FERRY_RETURN_SHUT, 0);
    for (unsigned i = 0; i < RIG_CHANNELS; i++) {
        ferry_channel_shutdown_write(r.channels[i], NULL);
    }
    rig_join(&r);
    EXPECT(r.ok, "%s", r.error ? r.error->message : "");
    EXPECT(r.memory[5 * RIG_PAGE] == 39 && r.memory[6 * RIG_PAGE - 1] == 39, "%u",
           r.memory[5 * RIG_PAGE]);
    EXPECT(r.memory[6 * RIG_PAGE] == 0 && r.memory[7 * RIG_PAGE - 1] == 0, "not cleared");
    EXPECT(r.memory[7 * RIG_PAGE] == 0x77, "not there");
    FerryProgress p;
    ferry_destination_get_progress(r.destination, &p);
    EXPECT(p.normal_pages == 39 + 39 + 1 && p.zero_pages == 1, "%u", (unsigned)p.normal_pages);
    EXPECT(p.multifd_bytes > 40 * 1344 && p.sent_bytes > p.multifd_bytes, "bytes");
    rig_end(&r);
}

static void a_flush_in_the_wrong_place_is_refused(void)
{
    Rig r;

    rig_begin(&r, (FerryDestinationOptions){0}, RIG_CHANNELS, NULL);
    rig_add_beginning(&r, TRUE, FALSE);
    sync_channels(&r);
    rig_add_section(&r, FERRY_SECTION_PART, RIG_RAM_ID, NULL);
    rig_add_section_end(&r, TRUE);
    rig_flush(&r);
    rig_expect_refused(&r);
    rig_expect_error(&r, "FLUSH from a source whose START section had none");
    EXPECT(g_str_has_suffix(r.diary->str, " discard "), "%s", r.diary->str);
    rig_end(&r);
}

/* Main waits for a byte while a channel goes wrong: the source hears of it at once. */
static void a_channel_that_fails_ends_main(void)
{
    Rig r;

    rig_begin(&r, (FerryDestinationOptions){0}, RIG_CHANNELS, NULL);
    rig_add_beginning(&r, TRUE, FALSE);
    sync_channels(&r);
    rig_flush(&r);
    send_packet(&r, 1, RIG_BLOCK_PAGES, 1, FALSE); /* behind the last page */
    rig_expect_refused(&r);
    rig_expect_error(&r, "multifd channel 1 (pair");
    rig_expect_error(&r, "at 0x100000, but it has 0x100000 bytes");
    rig_end(&r);
}

static void a_barrier_that_is_never_reached_ends_by_the_deadline(void)
{
    for (unsigned per_round = 0; per_round < 2; per_round++) {
        Rig r;
        rig_begin(&r, (FerryDestinationOptions){.io_timeout_ns = 100 * MS}, RIG_CHANNELS, NULL);
        rig_add_beginning(&r, TRUE, per_round);
        send_packet(&r, 0, 0, -1, TRUE);
        rig_flush(&r);
        rig_expect_refused(&r);
        rig_expect_error(&r, "no SYNC from channel 1 in the time it had");
        rig_end(&r);
    }
}

static void an_end_without_a_barrier_is_refused(void)
{
    Rig r;

    rig_begin(&r, (FerryDestinationOptions){0}, RIG_CHANNELS, NULL);
    rig_add_beginning(&r, TRUE, TRUE);
    sync_channels(&r);
    rig_flush(&r);
    send_packet(&r, 0, 1, 1, FALSE);
    for (FerryProgress p = {0}; p.normal_pages == 0;) { /* until the page was seen */
        rig_add_ping(&r, 1);
        rig_flush(&r);
        rig_expect_said(&r, FERRY_RETURN_PONG, 1);
        g_usleep(25000);
        ferry_destination_get_progress(r.destination, &p);
    }
    rig_add_section(&r, FERRY_SECTION_END, RIG_RAM_ID, NULL);
    rig_add_section_end(&r, FALSE);
    rig_flush(&r);
    rig_expect_refused(&r);
    rig_expect_error(&r, "channel 0: pages behind the last barrier");
    rig_end(&r);
}

static void a_cancel_ends_a_barrier(void)
{
    Rig r;

    rig_begin(&r, (FerryDestinationOptions){0}, RIG_CHANNELS, NULL);
    rig_add_beginning(&r, TRUE, TRUE);
    rig_flush(&r);
    g_usleep(50000);
    EXPECT(ferry_destination_cancel(r.destination), "too late");
    rig_join(&r);
    EXPECT(g_error_matches(r.error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_CANCELLED), "%s",
           r.error ? r.error->message : "success");
    EXPECT(g_str_has_suffix(r.diary->str, "discard "), "%s", r.diary->str);
    rig_end(&r);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    barriers_order_what_comes(FALSE);
    barriers_order_what_comes(TRUE);
    a_flush_in_the_wrong_place_is_refused();
    a_channel_that_fails_ends_main();
    a_barrier_that_is_never_reached_ends_by_the_deadline();
    an_end_without_a_barrier_is_refused();
    a_cancel_ends_a_barrier();
    printf("%u failures\n", failures);
    return failures != 0;
}
