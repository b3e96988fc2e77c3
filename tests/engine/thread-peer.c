/* A source, and a destination that is slow, silent, hostile, or as a stock QEMU is. Whatever it
 * says, the guest ends where it should, soon, and the error names the reason. */
#include <stdio.h>
#include <string.h>
#include "protocol/extension.h"
#include "tests/engine/peer-half.h"
#include "tests/fakes/expect.h"

#define DEVICES "registers" /* the device's name */
#define END "\"devices\""   /* in the description of the stream */

/* Plays until the source has sent this, and leaves unanswered what came with it. */
static void play_until(Half *h, const char *what)
{
    uint64_t until = ferry_now_ns() + PATIENCE_NS;

    while (half_hear(h, ferry_now_ns() + MS), !half_has(h, what) && ferry_now_ns() < until) {
        while (half_find_ping(h, FERRY_PING_ALIVE)) {
            half_say(h, FERRY_RETURN_PONG, FERRY_PING_ALIVE);
        }
    }
    EXPECT(half_has(h, what), "'%s' was not sent", what);
}

/* The source never gets what it would need to switch over, so it rests; it writes a page now and
 * then, which the sockets of a peer that has gone to sleep would take for a long time. */
static void a_silent_destination_is_found_out_while_the_guest_hardly_writes(void)
{
    Half h;
    FerryLimits limits = half_limits();

    limits.downtime_limit_ns = 1;
    half_begin_source(&h, (FerrySourceOptions){.io_timeout_ns = 300 * MS}, limits);
    half_answer(&h, FERRY_PING_HELLO, FERRY_PONG_HELLO_ANSWER);
    half_answer(&h, FERRY_PING_ALIVE, FERRY_PING_ALIVE);
    half_await_end(&h);
    half_expect_failed(&h, "silent");
    half_clear(&h);
}

/* What a gather was sent too fast is waited for, which under a low limit takes long. The source
 * must not look dead meanwhile. */
static void a_low_limit_is_not_silence(void)
{
    Half h;
    FerryLimits limits = half_limits();
    uint64_t begin_ns, last_ns, longest_ns = 0;

    limits.max_bandwidth = HALF_PAGES * 4096;
    limits.downtime_limit_ns = 1;
    half_begin_source(&h, (FerrySourceOptions){.io_timeout_ns = 400 * MS}, limits);
    half_answer(&h, FERRY_PING_HELLO, FERRY_PONG_HELLO_ANSWER);
    begin_ns = last_ns = ferry_now_ns();
    while (ferry_now_ns() - begin_ns < 3000 * MS) {
        guint before = h.heard->len;
        half_play(&h);
        if (h.heard->len > before) {
            longest_ns = MAX(longest_ns, ferry_now_ns() - last_ns);
            last_ns = ferry_now_ns();
        }
    }
    EXPECT(longest_ns < 400 * MS, "nothing for %.0f ms", (double)longest_ns / 1e6);
    EXPECT(ferry_source_cancel(h.source), "too late");
    half_await_end(&h);
    EXPECT(g_error_matches(h.error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_CANCELLED), "%s",
           error_text(h.error));
    half_clear(&h);
}

/* Flushes of nothing, which a resting source makes, are no measurements. */
static void the_link_is_measured_while_the_source_rests(void)
{
    Half h;
    FerryProgress p = {0};
    FerryLimits limits = half_limits();

    limits.max_bandwidth = HALF_PAGES * 4096;
    limits.downtime_limit_ns = 1;
    half_begin_source(&h, (FerrySourceOptions){0}, limits);
    half_answer(&h, FERRY_PING_HELLO, FERRY_PONG_HELLO_ANSWER);
    while (p.dirty_syncs < 4) {
        half_play(&h);
        ferry_source_get_progress(h.source, &p);
    }
    EXPECT(p.uncapped_bytes_per_second > 0, "no rate after 3 rounds");
    half_join(&h);
    half_clear(&h);
}

static FerryDecision go_slower(void *self, const FerryRound *round)
{
    (void)self;
    (void)round;
    return (FerryDecision){.verdict = FERRY_VERDICT_ANOTHER_ROUND, .throttle_percent = 30};
}

/* Every end takes the throttle off: also one after which the guest runs here again by hand. */
static void no_end_leaves_a_throttle(void)
{
    Half h;
    FerryLimits limits = half_limits();

    static const FerryPolicyOps slower = {.name = "slower", .decide = go_slower};

    limits.policy.ops = &slower;
    half_begin_source(&h, (FerrySourceOptions){.no_return_path = TRUE}, limits);
    while (counting_guest_throttle(h.guest) == 0) {
        half_play(&h);
    }
    limits.policy.ops = &ferry_policy_ferry;
    limits.downtime_limit_ns = 60000 * MS;
    ferry_source_set_limits(h.source, &limits);
    half_await_end(&h);
    EXPECT(h.ok, "%s", error_text(h.error));
    EXPECT(counting_guest_throttle(h.guest) == 0, "%u %%", counting_guest_throttle(h.guest));
    half_clear(&h);
}

static const struct {
    FerryReturnType type;
    uint32_t value;
} once_only[] = {
    {FERRY_RETURN_PONG,           FERRY_PONG_HELLO_ANSWER},
    {FERRY_RETURN_PONG,           FERRY_PING_ALIVE       },
    {FERRY_RETURN_SWITCHOVER_ACK, 0                      },
};

/* A source that listens for as long as something comes would never do anything else. */
static void a_destination_that_talks_on_is_refused(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(once_only); i++) {
        Half h;
        FerryLimits limits = half_limits();
        limits.downtime_limit_ns = 1;
        half_begin_source(&h, (FerrySourceOptions){0}, limits);
        half_answer(&h, FERRY_PING_HELLO, FERRY_PONG_HELLO_ANSWER);
        (void)half_await_ping(&h, FERRY_PING_ALIVE);
        for (unsigned n = 0; n < 3; n++) {
            half_say(&h, once_only[i].type, once_only[i].value);
        }
        half_await_end(&h);
        half_expect_failed(&h, "broke the protocol");
        half_clear(&h);
    }
}

/* A stock QEMU answers every PING with itself once it has taken in what came before, starts the
 * guest at the end of the stream, and hangs up when a device refuses its state. */
static void a_stock_destination_that_refuses_a_device_gets_no_guest(void)
{
    for (unsigned says_so = 0; says_so < 2; says_so++) {
        Half h;
        half_begin_source(&h, (FerrySourceOptions){0}, half_limits());
        half_answer(&h, FERRY_PING_HELLO, FERRY_PING_HELLO);
        play_until(&h, DEVICES);
        if (says_so) {
            half_say(&h, FERRY_RETURN_SHUT, 1);
            half_await_end(&h);
        } else {
            half_join(&h);
        }
        half_expect_failed(&h, says_so ? "refused" : "closed the connection");
        EXPECT(!half_has(&h, END), "it got the end of the stream");
        half_clear(&h);
    }
}

static void a_stock_destination_gets_the_guest(void)
{
    Half h;

    half_begin_source(&h, (FerrySourceOptions){0}, half_limits());
    half_answer(&h, FERRY_PING_HELLO, FERRY_PING_HELLO);
    play_until(&h, END);
    half_say(&h, FERRY_RETURN_SHUT, 0);
    half_await_end(&h);
    EXPECT(h.ok, "%s", error_text(h.error));
    EXPECT(!counting_guest_is_running(h.guest), "it would run twice");
    half_clear(&h);
}

/* Said before the end it is no good end, whenever it is looked at. */
static void an_early_good_end_is_none(void)
{
    Half h;

    half_begin_source(&h, (FerrySourceOptions){0}, half_limits());
    half_answer(&h, FERRY_PING_HELLO, FERRY_PING_HELLO);
    play_until(&h, DEVICES);
    half_say(&h, FERRY_RETURN_SHUT, 0);
    half_await_end(&h);
    half_expect_failed(&h, "before the end");
    half_clear(&h);
}

/* Every way a destination can fail says where it was and that it was the destination's doing. */
static void a_failure_names_the_destination(void)
{
    static const uint8_t nonsense[] = {0, 99, 0, 0};

    for (unsigned i = 0; i < 3; i++) {
        Half h;
        half_begin_source(&h, (FerrySourceOptions){.io_timeout_ns = 300 * MS}, half_limits());
        (void)half_await_ping(&h, FERRY_PING_HELLO);
        if (i == 0) {
            (void)ferry_channel_write_all(h.peer, nonsense, sizeof nonsense, PATIENCE_NS, NULL);
        }
        if (i == 1) {
            half_join(&h);
        } else {
            half_await_end(&h); /* the third says nothing at all */
        }
        half_expect_failed(&h, "destination");
        EXPECT(strstr(error_text(h.error), "to pair") != NULL, "where? %s", error_text(h.error));
        half_clear(&h);
    }
}

static FerryDecision go_round(void *self, const FerryRound *round)
{
    (void)self;
    (void)round;
    return (FerryDecision){.verdict = FERRY_VERDICT_ANOTHER_ROUND};
}

/* A budget that is never met, in rounds of microseconds: for a week, perhaps. */
static void endless_rounds_take_no_endless_memory(void)
{
    Half h;
    FerryProgress p = {0};
    FerryLimits limits = half_limits();
    static const FerryPolicyOps never = {.name = "never", .decide = go_round};

    limits.policy.ops = &never;
    half_begin_source(&h, (FerrySourceOptions){0}, limits);
    half_answer(&h, FERRY_PING_HELLO, FERRY_PONG_HELLO_ANSWER);
    while (p.rounds < 3 * FERRY_ROUNDS_KEPT) {
        half_play(&h);
        ferry_source_get_progress(h.source, &p);
    }
    g_autoptr(GArray) rounds = ferry_source_get_rounds(h.source);
    unsigned last = g_array_index(rounds, FerryRoundReport, rounds->len - 1).number;
    EXPECT(rounds->len == FERRY_ROUNDS_KEPT, "%u", rounds->len);
    EXPECT(last >= p.rounds, "%u of %u", last, p.rounds);
    for (unsigned i = 0; i < rounds->len; i++) {
        unsigned number = g_array_index(rounds, FerryRoundReport, i).number;
        EXPECT(number == last - rounds->len + 1 + i, "%u at %u", number, i);
    }
    half_join(&h);
    half_clear(&h);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    a_silent_destination_is_found_out_while_the_guest_hardly_writes();
    a_low_limit_is_not_silence();
    the_link_is_measured_while_the_source_rests();
    no_end_leaves_a_throttle();
    a_destination_that_talks_on_is_refused();
    a_stock_destination_gets_the_guest();
    a_stock_destination_that_refuses_a_device_gets_no_guest();
    an_early_good_end_is_none();
    a_failure_names_the_destination();
    endless_rounds_take_no_endless_memory();
    printf("%u failures\n", failures);
    return failures != 0;
}
