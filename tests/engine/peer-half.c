#include "tests/engine/peer-half.h"
#include <stdio.h>
#include <string.h>
#include "protocol/extension.h"
#include "protocol/stream.h"
#include "tests/fakes/expect.h"

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
    h->guest = counting_guest_new(HALF_PAGES, 1, 1);
    h->interrupt = ferry_interrupt_new(NULL);
    h->heard = g_byte_array_new();
    ferry_channel_pair(1 << 20, h->interrupt, &ours, &h->peer);
    return ours;
}

FerryLimits half_limits(void)
{
    FerryLimits limits = FERRY_LIMITS_DEFAULT;
    limits.max_bandwidth = 0;
    limits.downtime_limit_ns = 60000 * MS;
    return limits;
}

void half_begin_source(Half *h, FerrySourceOptions options, FerryLimits limits)
{
    FerryChannel *ours = half_init(h);

    h->source =
        ferry_source_new(counting_guest_describe(h->guest), ours, h->interrupt, &options, &limits);
    counting_guest_run(h->guest);
    counting_guest_await_writes(h->guest);
    start(h);
}

void half_begin_destination(Half *h, FerryDestinationOptions options, const FerryFault *fault)
{
    FerryChannel *ours = half_init(h);

    if (fault) {
        ours = ferry_channel_fault(ours, fault, h->interrupt);
    }
    h->destination =
        ferry_destination_new(counting_guest_describe(h->guest), ours, h->interrupt, &options);
    start(h);
}

void half_join(Half *h)
{
    ferry_channel_free(g_steal_pointer(&h->peer));
    pthread_join(h->thread, NULL);
}

void half_await_end(Half *h)
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
    half_join(h);
}

void half_clear(Half *h)
{
    ferry_source_free(h->source);
    ferry_destination_free(h->destination);
    counting_guest_free(h->guest);
    ferry_interrupt_free(h->interrupt);
    g_byte_array_unref(h->heard);
    g_clear_error(&h->error);
}

gboolean half_hear(Half *h, uint64_t until_ns)
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

const uint8_t *half_find(const Half *h, guint from, const void *what, size_t size)
{
    return from < h->heard->len ? memmem(h->heard->data + from, h->heard->len - from, what, size)
                                : NULL;
}

gboolean half_has(const Half *h, const char *what)
{
    return half_find(h, 0, what, strlen(what)) != NULL;
}

gboolean half_find_ping(Half *h, uint32_t value)
{
    uint8_t ping[FERRY_COMMAND_HEADER_SIZE + 4];
    size_t n = ferry_ping_encode(value, ping);
    const uint8_t *found = half_find(h, h->looked, ping, n);

    if (found) {
        h->looked = (guint)(found - h->heard->data) + (guint)n;
    }
    return found != NULL;
}

gboolean half_await_ping(Half *h, uint32_t value)
{
    for (uint64_t until = ferry_now_ns() + PATIENCE_NS;
         !g_atomic_int_get(&h->ended) && ferry_now_ns() < until;) {
        if (half_find_ping(h, value)) {
            return TRUE;
        }
        (void)half_hear(h, ferry_now_ns() + 10 * MS);
    }
    EXPECT(FALSE, "PING 0x%x did not come", value);
    return FALSE;
}

void half_say(Half *h, FerryReturnType type, uint32_t value)
{
    uint8_t bytes[FERRY_RETURN_MESSAGE_MAX];
    FerryReturnMessage m = {.type = type, .value = value};

    (void)ferry_channel_write_all(h->peer, bytes, ferry_return_message_encode(&m, bytes),
                                  PATIENCE_NS, NULL);
}

void half_answer(Half *h, uint32_t ping, uint32_t pong)
{
    if (half_await_ping(h, ping)) {
        half_say(h, FERRY_RETURN_PONG, pong);
    }
}

void half_play(Half *h)
{
    (void)half_hear(h, ferry_now_ns() + MS);
    while (half_find_ping(h, FERRY_PING_ALIVE)) {
        half_say(h, FERRY_RETURN_PONG, FERRY_PING_ALIVE);
    }
}

void half_expect_failed(Half *h, const char *why)
{
    EXPECT(!h->ok && h->error && h->error->domain == FERRY_ENGINE_ERROR &&
               h->error->code == FERRY_ENGINE_ERROR_PEER,
           "%s", error_text(h->error));
    EXPECT(strstr(error_text(h->error), why) != NULL, "'%s' is not in: %s", why,
           error_text(h->error));
    if (h->source) {
        EXPECT(counting_guest_is_running(h->guest), "the guest does not run");
        EXPECT(counting_guest_throttle(h->guest) == 0, "it is throttled");
    } else {
        EXPECT(!counting_guest_is_running(h->guest), "a guest runs");
        EXPECT(counting_guest_is_zero(h->guest), "something is left in memory");
    }
}
