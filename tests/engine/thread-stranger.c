/* A destination that keeps whatever guest a source has: what its keeper hears, in which order, and
 * what the source is told when. */
#include <stdio.h>
#include <string.h>
#include "protocol/extension.h"
#include "tests/engine/stranger-rig.h"
#include "tests/fakes/expect.h"

#define HEARD "machine:virt-9.9 block:strange:1048576 list cpu:10 globalstate:23 "

static void a_stock_source_is_told_when_all_is_kept(void)
{
    for (unsigned way_back = 0; way_back < 2; way_back++) {
        Rig r;
        rig_begin(&r, (FerryDestinationOptions){0}, 0, NULL);
        rig_add_whole(&r, way_back);
        rig_flush(&r);
        if (way_back) {
            rig_expect_said(&r, FERRY_RETURN_SHUT, 0);
        }
        rig_join(&r);
        EXPECT(r.ok, "%s", r.error ? r.error->message : "");
        rig_expect_diary(&r, HEARD "complete ");
        EXPECT(r.memory[0] == 0x22 && r.memory[RIG_PAGE] == 0x11 && r.memory[2 * RIG_PAGE] == 0,
               "RAM");
        rig_end(&r);
    }
}

static void leave_to_switch_over_is_given_once(void)
{
    Rig r;

    rig_begin(&r, (FerryDestinationOptions){.switchover_ack = TRUE}, 0, NULL);
    rig_add_head(&r);
    rig_add_command(&r, FERRY_COMMAND_OPEN_RETURN_PATH);
    rig_add_ping(&r, 1);
    rig_add_command(&r, FERRY_COMMAND_OPEN_RETURN_PATH);
    rig_add_ping(&r, 2);
    rig_flush(&r);
    rig_expect_said(&r, FERRY_RETURN_SWITCHOVER_ACK, 0);
    rig_expect_said(&r, FERRY_RETURN_PONG, 1);
    rig_expect_said(&r, FERRY_RETURN_PONG, 2);
    ferry_channel_shutdown_write(r.peer, NULL);
    rig_expect_refused(&r);
    rig_expect_error(&r, "");
    rig_end(&r);
}

/* What the keeper cannot keep, the source keeps. */
static void a_keeper_that_refuses_is_heard(void)
{
    static const char *const words[] = {"machine", "block", "list", "cpu", "complete"};

    for (unsigned i = 0; i < G_N_ELEMENTS(words); i++) {
        Rig r;
        rig_begin(&r, (FerryDestinationOptions){0}, 0, words[i]);
        rig_add_whole(&r, TRUE);
        rig_flush(&r);
        if (i > 0) {
            rig_expect_refused(&r);
        } else {
            rig_join(&r);
        }
        rig_expect_error(&r, "not kept: ");
        rig_expect_error(&r, words[i]);
        EXPECT(g_str_has_suffix(r.diary->str, " discard "), "%s", r.diary->str);
        rig_end(&r);
    }
}

static void a_cut_stream_is_discarded(void)
{
    Rig r;

    rig_begin(&r, (FerryDestinationOptions){0}, 0, NULL);
    rig_add_whole(&r, TRUE);
    g_byte_array_set_size(r.out, r.out->len - 1);
    rig_flush(&r);
    ferry_channel_shutdown_write(r.peer, NULL);
    rig_expect_refused(&r);
    rig_expect_error(&r, "description");
    rig_expect_diary(&r, "machine:virt-9.9 block:strange:1048576 list discard ");
    rig_end(&r);
}

/* It runs the guest on when it is told nothing: then it is not kept here, too. */
static void a_stock_source_that_cannot_be_told_keeps_its_guest(void)
{
    Rig r;

    rig_begin(&r, (FerryDestinationOptions){0}, 0, NULL);
    rig_add_whole(&r, TRUE);
    g_byte_array_set_size(r.out, r.out->len - 1);
    rig_flush(&r);
    rig_add(&r, "", 1); /* the last byte, and nobody listens behind it */
    rig_flush(&r);
    ferry_channel_free(g_steal_pointer(&r.peer));
    rig_join(&r);
    if (!r.ok) { /* or it was faster than we were */
        EXPECT(g_str_has_suffix(r.diary->str, "complete discard "), "%s", r.diary->str);
    }
    rig_end(&r);
}

/* GO or ABORT come when everything is kept; RUNNING says that it is. */
static void a_ferry_source_decides(void)
{
    for (unsigned go = 0; go < 2; go++) {
        Rig r;
        rig_begin(&r, (FerryDestinationOptions){0}, 0, NULL);
        rig_add_head(&r);
        rig_add_command(&r, FERRY_COMMAND_OPEN_RETURN_PATH);
        rig_add_ping(&r, FERRY_PING_HELLO);
        rig_flush(&r);
        rig_expect_said(&r, FERRY_RETURN_PONG, FERRY_PONG_HELLO_ANSWER);
        rig_add_start(&r, FALSE);
        rig_add_section(&r, FERRY_SECTION_END, RIG_RAM_ID, NULL);
        rig_add_section_end(&r, FALSE);
        rig_add_end(&r);
        rig_flush(&r);
        rig_expect_said(&r, FERRY_RETURN_PONG, FERRY_PONG_LOADED);
        rig_add_ping(&r, go ? FERRY_PING_GO : FERRY_PING_ABORT);
        rig_flush(&r);
        if (go) {
            rig_expect_said(&r, FERRY_RETURN_PONG, FERRY_PONG_RUNNING);
        }
        rig_expect_said(&r, FERRY_RETURN_SHUT, !go);
        ferry_channel_free(g_steal_pointer(&r.peer));
        rig_join(&r);
        EXPECT(r.ok == (go == 1), "%s", r.error ? r.error->message : "");
        rig_expect_diary(&r, go ? HEARD "complete " : HEARD "complete discard ");
        rig_end(&r);
    }
}

/* Without multifd a FLUSH means nothing: QEMU 8.1.0 sends it all the same. */
static void a_flush_without_multifd_is_ignored(void)
{
    Rig r;

    rig_begin(&r, (FerryDestinationOptions){0}, 0, NULL);
    rig_add_beginning(&r, FALSE, TRUE);
    rig_add_section(&r, FERRY_SECTION_END, RIG_RAM_ID, NULL);
    rig_add_section_end(&r, TRUE);
    rig_add_end(&r);
    rig_flush(&r);
    rig_join(&r);
    EXPECT(r.ok, "%s", r.error ? r.error->message : "");
    rig_end(&r);
}

/* A byte now and then is silence; commands of a source that rests are not. */
static void a_byte_now_and_then_is_silence(void)
{
    Rig r;

    rig_begin(&r, (FerryDestinationOptions){.io_timeout_ns = 200 * MS}, 0, NULL);
    rig_add_beginning(&r, TRUE, FALSE);
    rig_flush(&r);
    for (unsigned i = 0; i < 10; i++) {
        g_usleep(50000);
        rig_add_ping(&r, i);
        rig_flush(&r);
        rig_expect_said(&r, FERRY_RETURN_PONG, i);
    }
    rig_add_section(&r, FERRY_SECTION_PART, RIG_RAM_ID, NULL);
    rig_add_page(&r, 0, 1);
    for (unsigned i = 0; i < 2000 && ferry_channel_readable(r.peer, 0, NULL) == 0; i++) {
        (void)ferry_channel_write_all(r.peer, r.out->data + i, 1, PATIENCE_NS, NULL);
        g_usleep(5000);
    }
    rig_expect_refused(&r);
    rig_expect_error(&r, "deadline");
    rig_end(&r);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    a_stock_source_is_told_when_all_is_kept();
    leave_to_switch_over_is_given_once();
    a_keeper_that_refuses_is_heard();
    a_cut_stream_is_discarded();
    a_stock_source_that_cannot_be_told_keeps_its_guest();
    a_ferry_source_decides();
    a_flush_without_multifd_is_ignored();
    a_byte_now_and_then_is_silence();
    printf("%u failures\n", failures);
    return failures != 0;
}
