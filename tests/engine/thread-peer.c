/* One engine, and a peer that is played byte by byte: slow, silent, hostile, or as a stock QEMU is.
 * Whatever the peer says, the guest ends where it should, soon, and the error names the reason. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "engine/guest-private.h"
#include "engine/ram-send.h"
#include "protocol/extension.h"
#include "protocol/return-path.h"
#include "protocol/stream.h"
#include "protocol/wire.h"
#include "tests/fakes/counting-guest.h"
#include "tests/fakes/expect.h"

#define PAGES 64ull
#define MS 1000000ull
#define PATIENCE_NS (60000 * MS) /* for what must happen; reached only by a failure */

static const char *text(const GError *error) { return error ? error->message : "success"; }

/* An engine with its guest on a thread of its own; the peer's end of the channel is ours. */
typedef struct {
    CountingGuest *guest;
    FerryInterrupt *interrupt;
    FerrySource *source;           /* one of the two */
    FerryDestination *destination; /* or the other */
    FerryChannel *peer;
    GByteArray *heard; /* what the engine sent */
    guint looked;      /* how much of it find_ping() is done with */
    pthread_t thread;
    GError *error;
    gboolean ok;
    gint ended; /* atomic */
} Half;

static void *engine_thread(void *data)
{
    Half *h = data;

    h->ok = h->source ? ferry_source_run(h->source, &h->error)
                      : ferry_destination_run(h->destination, &h->error);
    g_atomic_int_set(&h->ended, 1);
    return NULL;
}

static void start(Half *h) { g_assert(pthread_create(&h->thread, NULL, engine_thread, h) == 0); }

static FerryChannel *half_init(Half *h)
{
    FerryChannel *ours;

    memset(h, 0, sizeof *h);
    h->guest = counting_guest_new(PAGES, 1, 1);
    h->interrupt = ferry_interrupt_new(NULL);
    h->heard = g_byte_array_new();
    ferry_channel_pair(1 << 20, h->interrupt, &ours, &h->peer);
    return ours;
}

static FerryLimits quick(void)
{
    FerryLimits limits = FERRY_LIMITS_DEFAULT;
    limits.max_bandwidth = 0;
    limits.downtime_limit_ns = 60000 * MS;
    return limits;
}

static void begin_source(Half *h, FerrySourceOptions options, FerryLimits limits)
{
    FerryChannel *ours = half_init(h);

    h->source =
        ferry_source_new(counting_guest_describe(h->guest), ours, h->interrupt, &options, &limits);
    counting_guest_run(h->guest);
    counting_guest_await_writes(h->guest);
    start(h);
}

/* @fault: of the destination's end; NULL = none. */
static void begin_destination(Half *h, FerryDestinationOptions options, const FerryFault *fault)
{
    FerryChannel *ours = half_init(h);

    if (fault) {
        ours = ferry_channel_fault(ours, fault, h->interrupt);
    }
    h->destination =
        ferry_destination_new(counting_guest_describe(h->guest), ours, h->interrupt, &options);
    start(h);
}

static void join(Half *h)
{
    ferry_channel_free(g_steal_pointer(&h->peer));
    pthread_join(h->thread, NULL);
}

/* The engine ends by itself, while the peer's end stays open. */
static void await_end(Half *h)
{
    uint8_t bytes[4096];

    for (uint64_t until = ferry_now_ns() + PATIENCE_NS;
         !g_atomic_int_get(&h->ended) && ferry_now_ns() < until;) {
        if (ferry_channel_readable(h->peer, ferry_now_ns() + MS, NULL) > 0 &&
            ferry_channel_read(h->peer, bytes, sizeof bytes, 0, NULL) <= 0) {
            g_usleep(1000);
        }
    }
    EXPECT(g_atomic_int_get(&h->ended), "no end while the peer is there");
    join(h);
}

static void half_clear(Half *h)
{
    ferry_source_free(h->source);
    ferry_destination_free(h->destination);
    counting_guest_free(h->guest);
    ferry_interrupt_free(h->interrupt);
    g_byte_array_unref(h->heard);
    g_clear_error(&h->error);
}

static gboolean hear(Half *h, uint64_t until_ns)
{
    uint8_t bytes[4096];
    gssize n = ferry_channel_readable(h->peer, until_ns, NULL) > 0
                   ? ferry_channel_read(h->peer, bytes, sizeof bytes, until_ns, NULL)
                   : 0;

    if (n > 0) {
        g_byte_array_append(h->heard, bytes, (guint)n);
    }
    return n > 0;
}

/* NULL too while nothing was heard: the array has no bytes to point at then. */
static const uint8_t *find(const Half *h, guint from, const void *what, size_t size)
{
    return from < h->heard->len ? memmem(h->heard->data + from, h->heard->len - from, what, size)
                                : NULL;
}

static gboolean has(const Half *h, const char *what)
{
    return find(h, 0, what, strlen(what)) != NULL;
}

/* Whether this PING is in what was heard, and not behind what was found before. */
static gboolean find_ping(Half *h, uint32_t value)
{
    uint8_t ping[FERRY_COMMAND_HEADER_SIZE + 4];
    size_t n = ferry_ping_encode(value, ping);
    const uint8_t *found = find(h, h->looked, ping, n);

    if (found) {
        h->looked = (guint)(found - h->heard->data) + (guint)n;
    }
    return found != NULL;
}

static gboolean await_ping(Half *h, uint32_t value)
{
    for (uint64_t until = ferry_now_ns() + PATIENCE_NS;
         !g_atomic_int_get(&h->ended) && ferry_now_ns() < until;) {
        if (find_ping(h, value)) {
            return TRUE;
        }
        (void)hear(h, ferry_now_ns() + 10 * MS);
    }
    EXPECT(FALSE, "PING 0x%x did not come", value);
    return FALSE;
}

static void say(Half *h, FerryReturnType type, uint32_t value)
{
    uint8_t bytes[FERRY_RETURN_MESSAGE_MAX];
    FerryReturnMessage m = {.type = type, .value = value};

    (void)ferry_channel_write_all(h->peer, bytes, ferry_return_message_encode(&m, bytes),
                                  PATIENCE_NS, NULL);
}

static void answer(Half *h, uint32_t ping, uint32_t pong)
{
    if (await_ping(h, ping)) {
        say(h, FERRY_RETURN_PONG, pong);
    }
}

/* Takes what the source says for a moment, and answers what a live destination answers. */
static void play(Half *h)
{
    (void)hear(h, ferry_now_ns() + MS);
    while (find_ping(h, FERRY_PING_ALIVE)) {
        say(h, FERRY_RETURN_PONG, FERRY_PING_ALIVE);
    }
}

#define DEVICES "registers" /* the device's name */
#define END "\"devices\""   /* in the description of the stream */

/* Plays until the source has sent this, and leaves unanswered what came with it. */
static void play_until(Half *h, const char *what)
{
    uint64_t until = ferry_now_ns() + PATIENCE_NS;

    while (hear(h, ferry_now_ns() + MS), !has(h, what) && ferry_now_ns() < until) {
        while (find_ping(h, FERRY_PING_ALIVE)) {
            say(h, FERRY_RETURN_PONG, FERRY_PING_ALIVE);
        }
    }
    EXPECT(has(h, what), "'%s' was not sent", what);
}

static void expect_failed(Half *h, const char *why)
{
    EXPECT(!h->ok && h->error && h->error->domain == FERRY_ENGINE_ERROR &&
               h->error->code == FERRY_ENGINE_ERROR_PEER,
           "%s", text(h->error));
    EXPECT(strstr(text(h->error), why) != NULL, "'%s' is not in: %s", why, text(h->error));
    if (h->source) {
        EXPECT(counting_guest_is_running(h->guest), "the guest does not run");
        EXPECT(counting_guest_throttle(h->guest) == 0, "it is throttled");
    } else {
        EXPECT(!counting_guest_is_running(h->guest), "a guest runs");
        EXPECT(counting_guest_is_zero(h->guest), "something is left in memory");
    }
}

/* The source never gets what it would need to switch over, so it rests; it writes a page now and
 * then, which the sockets of a peer that has gone to sleep would take for a long time. */
static void a_silent_destination_is_found_out_while_the_guest_hardly_writes(void)
{
    Half h;
    FerryLimits limits = quick();

    limits.downtime_limit_ns = 1;
    begin_source(&h, (FerrySourceOptions){.io_timeout_ns = 300 * MS}, limits);
    answer(&h, FERRY_PING_HELLO, FERRY_PONG_HELLO_ANSWER);
    answer(&h, FERRY_PING_ALIVE, FERRY_PING_ALIVE);
    await_end(&h);
    expect_failed(&h, "silent");
    half_clear(&h);
}

/* What a gather was sent too fast is waited for, which under a low limit takes long. The source
 * must not look dead meanwhile. */
static void a_low_limit_is_not_silence(void)
{
    Half h;
    FerryLimits limits = quick();
    uint64_t begin_ns, last_ns, longest_ns = 0;

    limits.max_bandwidth = PAGES * 4096;
    limits.downtime_limit_ns = 1;
    begin_source(&h, (FerrySourceOptions){.io_timeout_ns = 400 * MS}, limits);
    answer(&h, FERRY_PING_HELLO, FERRY_PONG_HELLO_ANSWER);
    begin_ns = last_ns = ferry_now_ns();
    while (ferry_now_ns() - begin_ns < 3000 * MS) {
        guint before = h.heard->len;
        play(&h);
        if (h.heard->len > before) {
            longest_ns = MAX(longest_ns, ferry_now_ns() - last_ns);
            last_ns = ferry_now_ns();
        }
    }
    EXPECT(longest_ns < 400 * MS, "nothing for %.0f ms", (double)longest_ns / 1e6);
    EXPECT(ferry_source_cancel(h.source), "too late");
    await_end(&h);
    EXPECT(g_error_matches(h.error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_CANCELLED), "%s",
           text(h.error));
    half_clear(&h);
}

/* Flushes of nothing, which a resting source makes, are no measurements. */
static void the_link_is_measured_while_the_source_rests(void)
{
    Half h;
    FerryProgress p = {0};
    FerryLimits limits = quick();

    limits.max_bandwidth = PAGES * 4096;
    limits.downtime_limit_ns = 1;
    begin_source(&h, (FerrySourceOptions){0}, limits);
    answer(&h, FERRY_PING_HELLO, FERRY_PONG_HELLO_ANSWER);
    while (p.dirty_syncs < 4) {
        play(&h);
        ferry_source_get_progress(h.source, &p);
    }
    EXPECT(p.uncapped_bytes_per_second > 0, "no rate after 3 rounds");
    join(&h);
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
    FerryLimits limits = quick();

    static const FerryPolicyOps slower = {.name = "slower", .decide = go_slower};

    limits.policy.ops = &slower;
    begin_source(&h, (FerrySourceOptions){.no_return_path = TRUE}, limits);
    while (counting_guest_throttle(h.guest) == 0) {
        play(&h);
    }
    limits.policy.ops = &ferry_policy_ferry;
    limits.downtime_limit_ns = 60000 * MS;
    ferry_source_set_limits(h.source, &limits);
    await_end(&h);
    EXPECT(h.ok, "%s", text(h.error));
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
        FerryLimits limits = quick();
        limits.downtime_limit_ns = 1;
        begin_source(&h, (FerrySourceOptions){0}, limits);
        answer(&h, FERRY_PING_HELLO, FERRY_PONG_HELLO_ANSWER);
        (void)await_ping(&h, FERRY_PING_ALIVE);
        for (unsigned n = 0; n < 3; n++) {
            say(&h, once_only[i].type, once_only[i].value);
        }
        await_end(&h);
        expect_failed(&h, "broke the protocol");
        half_clear(&h);
    }
}

/* A stock QEMU answers every PING with itself once it has taken in what came before, starts the
 * guest at the end of the stream, and hangs up when a device refuses its state. */
static void a_stock_destination_that_refuses_a_device_gets_no_guest(void)
{
    for (unsigned says_so = 0; says_so < 2; says_so++) {
        Half h;
        begin_source(&h, (FerrySourceOptions){0}, quick());
        answer(&h, FERRY_PING_HELLO, FERRY_PING_HELLO);
        play_until(&h, DEVICES);
        if (says_so) {
            say(&h, FERRY_RETURN_SHUT, 1);
            await_end(&h);
        } else {
            join(&h);
        }
        expect_failed(&h, says_so ? "refused" : "closed the connection");
        EXPECT(!has(&h, END), "it got the end of the stream");
        half_clear(&h);
    }
}

static void a_stock_destination_gets_the_guest(void)
{
    Half h;

    begin_source(&h, (FerrySourceOptions){0}, quick());
    answer(&h, FERRY_PING_HELLO, FERRY_PING_HELLO);
    play_until(&h, END);
    say(&h, FERRY_RETURN_SHUT, 0);
    await_end(&h);
    EXPECT(h.ok, "%s", text(h.error));
    EXPECT(!counting_guest_is_running(h.guest), "it would run twice");
    half_clear(&h);
}

/* Said before the end it is no good end, whenever it is looked at. */
static void an_early_good_end_is_none(void)
{
    Half h;

    begin_source(&h, (FerrySourceOptions){0}, quick());
    answer(&h, FERRY_PING_HELLO, FERRY_PING_HELLO);
    play_until(&h, DEVICES);
    say(&h, FERRY_RETURN_SHUT, 0);
    await_end(&h);
    expect_failed(&h, "before the end");
    half_clear(&h);
}

/* Every way a destination can fail says where it was and that it was the destination's doing. */
static void a_failure_names_the_destination(void)
{
    static const uint8_t nonsense[] = {0, 99, 0, 0};

    for (unsigned i = 0; i < 3; i++) {
        Half h;
        begin_source(&h, (FerrySourceOptions){.io_timeout_ns = 300 * MS}, quick());
        (void)await_ping(&h, FERRY_PING_HELLO);
        if (i == 0) {
            (void)ferry_channel_write_all(h.peer, nonsense, sizeof nonsense, PATIENCE_NS, NULL);
        }
        if (i == 1) {
            join(&h);
        } else {
            await_end(&h); /* the third says nothing at all */
        }
        expect_failed(&h, "destination");
        EXPECT(strstr(text(h.error), "to pair") != NULL, "where? %s", text(h.error));
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
    FerryLimits limits = quick();
    static const FerryPolicyOps never = {.name = "never", .decide = go_round};

    limits.policy.ops = &never;
    begin_source(&h, (FerrySourceOptions){0}, limits);
    answer(&h, FERRY_PING_HELLO, FERRY_PONG_HELLO_ANSWER);
    while (p.rounds < 3 * FERRY_ROUNDS_KEPT) {
        play(&h);
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
    join(&h);
    half_clear(&h);
}

/* All that a source says to a Ferry before GO. */
static GByteArray *record_stream(void)
{
    Half h;
    GByteArray *stream;

    begin_source(&h, (FerrySourceOptions){0}, quick());
    answer(&h, FERRY_PING_HELLO, FERRY_PONG_HELLO_ANSWER);
    for (FerryProgress p = {0}; p.phase != FERRY_PHASE_LOADING;) {
        play(&h);
        ferry_source_get_progress(h.source, &p);
    }
    while (hear(&h, 0)) {
    }
    stream = g_byte_array_ref(h.heard);
    join(&h);
    half_clear(&h);
    return stream;
}

static void send(Half *h, const GByteArray *bytes)
{
    (void)ferry_channel_write_all(h->peer, bytes->data, bytes->len, PATIENCE_NS, NULL);
}

static void send_ping(Half *h, uint32_t value)
{
    uint8_t ping[FERRY_COMMAND_HEADER_SIZE + 4];
    (void)ferry_channel_write_all(h->peer, ping, ferry_ping_encode(value, ping), PATIENCE_NS, NULL);
}

/* Until the destination has said this. */
static void await_word(Half *h, FerryReturnType type, uint32_t value)
{
    uint8_t bytes[FERRY_RETURN_MESSAGE_MAX];
    FerryReturnMessage m = {.type = type, .value = value};
    size_t n = ferry_return_message_encode(&m, bytes);
    uint64_t until = ferry_now_ns() + PATIENCE_NS;

    while (!find(h, 0, bytes, n) && ferry_now_ns() < until) {
        (void)hear(h, ferry_now_ns() + MS);
    }
    EXPECT(ferry_now_ns() < until, "0x%x was not said", value);
}

/* The same stream from a source that does not know us. */
static GByteArray *without_hello(const GByteArray *stream)
{
    uint8_t hello[FERRY_COMMAND_HEADER_SIZE + 4];
    size_t n = ferry_ping_encode(FERRY_PING_HELLO, hello);
    const uint8_t *at = memmem(stream->data, stream->len, hello, n);
    GByteArray *other = g_byte_array_new();

    g_byte_array_append(other, stream->data, (guint)(at - stream->data));
    g_byte_array_append(other, at + n, stream->len - (guint)(at - stream->data) - (guint)n);
    return other;
}

/* How long the part before the list of blocks is. */
static size_t before_ram(const GByteArray *stream)
{
    static const uint8_t ram[] = {
        FERRY_SECTION_START, 0, 0, 0, FERRY_RAM_SECTION_ID, 3, 'r', 'a', 'm'};
    const uint8_t *at = memmem(stream->data, stream->len, ram, sizeof ram);

    g_assert(at);
    return (size_t)(at - stream->data);
}

/* GO is worth something only as the answer to LOADED. Who says it before may have let the guest go,
 * so that it is not thrown away. */
static void go_before_loaded_is_refused(const GByteArray *stream)
{
    g_autoptr(GByteArray) both = g_byte_array_new();
    uint8_t go[FERRY_COMMAND_HEADER_SIZE + 4];
    Half h;

    g_byte_array_append(both, stream->data, stream->len);
    g_byte_array_append(both, go, (guint)ferry_ping_encode(FERRY_PING_GO, go));
    begin_destination(&h, (FerryDestinationOptions){0}, NULL);
    send(&h, both);
    await_end(&h);
    EXPECT(g_error_matches(h.error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_UNSURE) &&
               strstr(text(h.error), "GO before"),
           "%s", text(h.error));
    EXPECT(!counting_guest_is_running(h.guest), "it runs");
    half_clear(&h);
}

static void a_second_hello_is_refused(const GByteArray *stream)
{
    g_autoptr(GByteArray) once = without_hello(stream), twice = g_byte_array_new();
    uint8_t hello[FERRY_COMMAND_HEADER_SIZE + 4];
    guint before = 0;
    Half h;

    while (once->data[before] == stream->data[before]) {
        before++;
    }
    g_byte_array_append(twice, stream->data, before);
    for (unsigned i = 0; i < 2; i++) {
        g_byte_array_append(twice, hello, (guint)ferry_ping_encode(FERRY_PING_HELLO, hello));
    }
    begin_destination(&h, (FerryDestinationOptions){0}, NULL);
    send(&h, twice);
    await_end(&h);
    expect_failed(&h, "second greeting");
    half_clear(&h);
}

/* The source took the guest back and hung up before LOADED could reach it. */
static void an_abort_is_believed_though_loaded_cannot_be_said(const GByteArray *stream)
{
    uint8_t alive[FERRY_COMMAND_HEADER_SIZE + 4];
    size_t n = ferry_ping_encode(FERRY_PING_ALIVE, alive);
    FerryFault fault = {.kind = FERRY_FAULT_STALL, .position = FERRY_RETURN_MESSAGE_MAX};
    Half h;

    for (const uint8_t *at = stream->data, *end = at + stream->len;
         (at = memmem(at, (size_t)(end - at), alive, n)) != NULL; at += n) {
        fault.position += FERRY_RETURN_MESSAGE_MAX;
    }
    begin_destination(&h, (FerryDestinationOptions){.io_timeout_ns = 300 * MS}, &fault);
    send(&h, stream);
    for (FerryProgress p = {0}; p.sent_bytes < stream->len; g_usleep(1000)) {
        ferry_destination_get_progress(h.destination, &p);
    }
    send_ping(&h, FERRY_PING_ABORT);
    await_end(&h);
    expect_failed(&h, "took the guest back");
    half_clear(&h);
}

/* A QEMU that hears of it runs the guest on; a Ferry has let it go for good. */
static void a_guest_that_cannot_start_here_is_not_lost(const GByteArray *stream)
{
    FerryDestinationOptions options = {.record_path = "/nonexistent/record"};
    g_autoptr(GByteArray) stock = without_hello(stream);
    Half h;

    begin_destination(&h, options, NULL);
    send(&h, stock);
    await_word(&h, FERRY_RETURN_SHUT, 1);
    await_end(&h);
    EXPECT(g_error_matches(h.error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_GUEST), "%s",
           text(h.error));
    EXPECT(counting_guest_is_zero(h.guest), "something is left in memory");
    half_clear(&h);

    begin_destination(&h, options, NULL);
    send(&h, stream);
    await_word(&h, FERRY_RETURN_PONG, FERRY_PONG_LOADED);
    send_ping(&h, FERRY_PING_GO);
    await_end(&h);
    EXPECT(g_error_matches(h.error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_UNSURE), "%s",
           text(h.error));
    EXPECT(strstr(text(h.error), "neither released") == NULL, "%s", text(h.error));
    EXPECT(!counting_guest_is_zero(h.guest), "the only whole copy is gone");
    half_clear(&h);
}

static void *cancel_soon(void *data)
{
    g_usleep(200000);
    (void)ferry_destination_cancel(((Half *)data)->destination);
    return NULL;
}

/* A source that asks without end and never listens holds the destination up in its answers; a
 * cancel ends that, and the last word does not wait for it either. */
static void a_source_that_does_not_listen_cannot_hold_a_cancel(const GByteArray *stream)
{
    g_autoptr(GByteArray) pings = g_byte_array_new();
    uint8_t ping[FERRY_COMMAND_HEADER_SIZE + 4];
    pthread_t thread;
    Half h;

    begin_destination(&h, (FerryDestinationOptions){.io_timeout_ns = 2 * PATIENCE_NS}, NULL);
    (void)ferry_channel_write_all(h.peer, stream->data, before_ram(stream), PATIENCE_NS, NULL);
    for (unsigned i = 0; i < 1 << 18; i++) {
        g_byte_array_append(pings, ping, (guint)ferry_ping_encode(i & 0xffff, ping));
    }
    g_assert(pthread_create(&thread, NULL, cancel_soon, &h) == 0);
    (void)ferry_channel_write_all(h.peer, pings->data, pings->len, 1000 * MS, NULL);
    for (uint64_t until = ferry_now_ns() + PATIENCE_NS;
         !g_atomic_int_get(&h.ended) && ferry_now_ns() < until;) {
        g_usleep(1000);
    }
    EXPECT(g_atomic_int_get(&h.ended), "no end");
    pthread_join(thread, NULL);
    join(&h);
    EXPECT(g_error_matches(h.error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_CANCELLED), "%s",
           text(h.error));
    half_clear(&h);
}

static void note_iterate(void *self, const FerryProgress *progress)
{
    if (progress->phase == FERRY_PHASE_ITERATE) {
        *(gboolean *)self = TRUE;
    }
}

/* The list without its second block, and with the sum that fits. */
static void a_list_that_lacks_a_block_makes_nothing_active(const GByteArray *stream)
{
    g_autoptr(GByteArray) list = g_byte_array_new();
    size_t sum = before_ram(stream) + 6 + 3 + 8; /* behind the section's header */
    const uint8_t *rom = memmem(stream->data, stream->len, "\3rom", 4);
    gboolean active = FALSE;
    Half h;

    g_byte_array_append(list, stream->data, (guint)(rom - stream->data));
    ferry_put_be64(list->data + sum, ferry_get_be64(list->data + sum) - ferry_get_be64(rom + 4));
    g_byte_array_append(list, rom + 12, stream->len - list->len - 12);
    begin_destination(&h, (FerryDestinationOptions){.notify = note_iterate, .notify_self = &active},
                      NULL);
    send(&h, list);
    await_end(&h);
    expect_failed(&h, "RAM block 'rom'");
    EXPECT(!active, "active with a block missing");
    half_clear(&h);
}

static void destinations(void)
{
    g_autoptr(GByteArray) stream = record_stream();

    go_before_loaded_is_refused(stream);
    a_second_hello_is_refused(stream);
    an_abort_is_believed_though_loaded_cannot_be_said(stream);
    a_guest_that_cannot_start_here_is_not_lost(stream);
    a_source_that_does_not_listen_cannot_hold_a_cancel(stream);
    a_list_that_lacks_a_block_makes_nothing_active(stream);
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
    destinations();
    printf("%u failures\n", failures);
    return failures != 0;
}
