/* A destination, and a source that says too much, too early or the wrong thing, or does not listen.
 * Whatever it says, no guest is lost, and the error names the reason. */
#include <stdio.h>
#include <string.h>
#include "protocol/extension.h"
#include "protocol/stream.h"
#include "protocol/wire.h"
#include "tests/engine/peer-half.h"
#include "tests/fakes/expect.h"

/* All that a source says to a Ferry before GO. */
static GByteArray *record_stream(void)
{
    Half h;
    GByteArray *stream;

    half_begin_source(&h, (FerrySourceOptions){0}, half_limits());
    half_answer(&h, FERRY_PING_HELLO, FERRY_PONG_HELLO_ANSWER);
    for (FerryProgress p = {0}; p.phase != FERRY_PHASE_LOADING;) {
        half_play(&h);
        ferry_source_get_progress(h.source, &p);
    }
    while (half_hear(&h, 0)) {
    }
    stream = g_byte_array_ref(h.heard);
    half_join(&h);
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

    while (!half_find(h, 0, bytes, n) && ferry_now_ns() < until) {
        (void)half_hear(h, ferry_now_ns() + MS);
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
    half_begin_destination(&h, (FerryDestinationOptions){0}, NULL);
    send(&h, both);
    half_await_end(&h);
    EXPECT(g_error_matches(h.error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_UNSURE) &&
               strstr(error_text(h.error), "GO before"),
           "%s", error_text(h.error));
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
    half_begin_destination(&h, (FerryDestinationOptions){0}, NULL);
    send(&h, twice);
    half_await_end(&h);
    half_expect_failed(&h, "second greeting");
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
    half_begin_destination(&h, (FerryDestinationOptions){.io_timeout_ns = 300 * MS}, &fault);
    send(&h, stream);
    for (FerryProgress p = {0}; p.sent_bytes < stream->len; g_usleep(1000)) {
        ferry_destination_get_progress(h.destination, &p);
    }
    send_ping(&h, FERRY_PING_ABORT);
    half_await_end(&h);
    half_expect_failed(&h, "took the guest back");
    half_clear(&h);
}

/* A QEMU that hears of it runs the guest on; a Ferry has let it go for good. */
static void a_guest_that_cannot_start_here_is_not_lost(const GByteArray *stream)
{
    FerryDestinationOptions options = {.record_path = "/nonexistent/record"};
    g_autoptr(GByteArray) stock = without_hello(stream);
    Half h;

    half_begin_destination(&h, options, NULL);
    send(&h, stock);
    await_word(&h, FERRY_RETURN_SHUT, 1);
    half_await_end(&h);
    EXPECT(g_error_matches(h.error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_GUEST), "%s",
           error_text(h.error));
    EXPECT(counting_guest_is_zero(h.guest), "something is left in memory");
    half_clear(&h);

    half_begin_destination(&h, options, NULL);
    send(&h, stream);
    await_word(&h, FERRY_RETURN_PONG, FERRY_PONG_LOADED);
    send_ping(&h, FERRY_PING_GO);
    half_await_end(&h);
    EXPECT(g_error_matches(h.error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_UNSURE), "%s",
           error_text(h.error));
    EXPECT(strstr(error_text(h.error), "neither released") == NULL, "%s", error_text(h.error));
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

    half_begin_destination(&h, (FerryDestinationOptions){.io_timeout_ns = 2 * PATIENCE_NS}, NULL);
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
    half_join(&h);
    EXPECT(g_error_matches(h.error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_CANCELLED), "%s",
           error_text(h.error));
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
    half_begin_destination(
        &h, (FerryDestinationOptions){.notify = note_iterate, .notify_self = &active}, NULL);
    send(&h, list);
    half_await_end(&h);
    half_expect_failed(&h, "RAM block 'rom'");
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
    destinations();
    printf("%u failures\n", failures);
    return failures != 0;
}
