/* One incoming migration's connections, in every order, among strangers who say nothing, too much
 * or the wrong thing: each costs itself alone. */
#include <glib/gstdio.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include "engine/error.h"
#include "engine/gather.h"
#include "protocol/wire.h"
#include "tests/fakes/expect.h"

#define MS 1000000ull
#define PATIENCE_NS (60000 * MS) /* for what must happen; reached only by a failure */
#define CLIENTS_MAX 256

static const uint8_t our_uuid[16] = "sixteen bytes..";

/* A gathering on a thread of its own; the connections are ours. */
typedef struct {
    char *directory;
    FerryAddress address;
    FerryInterrupt *interrupt;
    FerryListener *listener;
    FerryGatherOptions options;
    FerryGathering got;
    GError *error;
    gboolean ok;
    gint ended; /* atomic */
    pthread_t thread;
    pthread_mutex_t lock; /* drops, why */
    unsigned drops;
    GString *why;
    FerryChannel *clients[CLIENTS_MAX];
    unsigned n;
} Rig;

static void note(void *self, const char *peer, const GError *why)
{
    Rig *r = self;

    pthread_mutex_lock(&r->lock);
    r->drops++;
    g_string_append_printf(r->why, "%s: %s\n", peer, why->message);
    pthread_mutex_unlock(&r->lock);
}

static void *gather_thread(void *data)
{
    Rig *r = data;

    r->ok = ferry_gather(r->listener, &r->options, &r->got, &r->error);
    g_atomic_int_set(&r->ended, 1);
    return NULL;
}

static void begin(Rig *r, FerryGatherOptions options)
{
    g_autofree char *uri = NULL;

    memset(r, 0, sizeof *r);
    r->directory = g_dir_make_tmp("ferry-gather-XXXXXX", NULL);
    uri = g_strdup_printf("unix:%s/socket", r->directory);
    g_assert(ferry_address_parse(uri, &r->address, NULL));
    r->interrupt = ferry_interrupt_new(NULL);
    r->listener = ferry_listener_new(
        &r->address, &(FerryTransportOptions){.interrupt = r->interrupt}, &r->error);
    g_assert_no_error(r->error);
    r->options = options;
    r->options.dropped = note;
    r->options.dropped_self = r;
    pthread_mutex_init(&r->lock, NULL);
    r->why = g_string_new(NULL);
    g_assert(pthread_create(&r->thread, NULL, gather_thread, r) == 0);
}

static FerryChannel *call(Rig *r)
{
    GError *error = NULL;
    FerryChannel *channel =
        ferry_transport_connect(&r->address, ferry_now_ns() + PATIENCE_NS, NULL, &error);

    g_assert_no_error(error);
    g_assert(r->n < CLIENTS_MAX);
    r->clients[r->n++] = channel;
    return channel;
}

static void say(Rig *r, const void *bytes, size_t n)
{
    (void)ferry_channel_write_all(call(r), bytes, n, PATIENCE_NS, NULL);
}

static void say_main(Rig *r) { say(r, "QEVM\0\0\0\3 and more", 17); }

static void hello(uint8_t id, const uint8_t *uuid, uint8_t out[static FERRY_MULTIFD_HELLO_SIZE])
{
    FerryMultifdHello h = {.id = id};

    memcpy(h.uuid, uuid, sizeof h.uuid);
    ferry_multifd_hello_encode(&h, out);
}

static void say_channel(Rig *r, uint8_t id)
{
    uint8_t bytes[FERRY_MULTIFD_HELLO_SIZE + 1];

    hello(id, our_uuid, bytes);
    bytes[FERRY_MULTIFD_HELLO_SIZE] = (uint8_t)('a' + id);
    say(r, bytes, sizeof bytes);
}

static unsigned drops(Rig *r)
{
    pthread_mutex_lock(&r->lock);
    unsigned n = r->drops;
    pthread_mutex_unlock(&r->lock);
    return n;
}

static void await_drops(Rig *r, unsigned n)
{
    uint64_t until = ferry_now_ns() + PATIENCE_NS;

    while (drops(r) < n && !g_atomic_int_get(&r->ended) && ferry_now_ns() < until) {
        g_usleep(1000);
    }
    EXPECT(drops(r) >= n, "%u of %u", drops(r), n);
}

static void expect_byte(FerryChannel *channel, char expected)
{
    char byte = 0;
    gboolean ok = ferry_channel_read_all(channel, &byte, 1, ferry_now_ns() + PATIENCE_NS, NULL);

    EXPECT(ok && byte == expected, "'%c' instead of '%c'", byte, expected);
}

/* The whole set is there, each in its place, and nothing of what it said is lost. */
static void expect_complete(Rig *r)
{
    char bytes[17];

    pthread_join(r->thread, NULL);
    EXPECT(r->ok, "%s", r->error ? r->error->message : "?");
    if (!r->ok) {
        return;
    }
    EXPECT(ferry_channel_read_all(r->got.main, bytes, sizeof bytes, ferry_now_ns() + PATIENCE_NS,
                                  NULL) &&
               memcmp(bytes, "QEVM\0\0\0\3 and more", sizeof bytes) == 0,
           "main begins otherwise");
    EXPECT(r->got.n_multifd == r->options.multifd_channels, "%u", r->got.n_multifd);
    for (unsigned i = 0; i < r->got.n_multifd; i++) {
        expect_byte(r->got.multifd[i], (char)('a' + i));
    }
}

static void expect_failed(Rig *r, const char *why)
{
    pthread_join(r->thread, NULL);
    EXPECT(!r->ok && r->error && strstr(r->error->message, why), "'%s' is not in: %s", why,
           r->error ? r->error->message : "success");
}

static void expect_drop(Rig *r, const char *why)
{
    pthread_mutex_lock(&r->lock);
    EXPECT(strstr(r->why->str, why), "'%s' is not in: %s", why, r->why->str);
    pthread_mutex_unlock(&r->lock);
}

static void end(Rig *r)
{
    ferry_gathering_clear(&r->got);
    for (unsigned i = 0; i < r->n; i++) {
        ferry_channel_free(r->clients[i]);
    }
    ferry_listener_free(r->listener);
    ferry_interrupt_free(r->interrupt);
    ferry_address_clear(&r->address);
    g_rmdir(r->directory);
    g_free(r->directory);
    g_string_free(r->why, TRUE);
    g_clear_error(&r->error);
    pthread_mutex_destroy(&r->lock);
}

/* The next arrangement of @order in lexical order; FALSE behind the last. */
static gboolean next_order(unsigned *order, unsigned n)
{
    unsigned i = n - 1, j = n - 1;

    while (i > 0 && order[i - 1] > order[i]) {
        i--;
    }
    if (i == 0) {
        return FALSE;
    }
    while (order[j] < order[i - 1]) {
        j--;
    }
    for (unsigned k = order[i - 1], once = 1; once--;) {
        order[i - 1] = order[j];
        order[j] = k;
    }
    for (j = n - 1; i < j; i++, j--) {
        unsigned k = order[i];
        order[i] = order[j];
        order[j] = k;
    }
    return TRUE;
}

static void every_order_gives_the_same_set(void)
{
    for (unsigned channels = 0; channels <= 4; channels++) {
        unsigned order[5] = {0, 1, 2, 3, 4}, seen = 0;
        do {
            Rig r;
            begin(&r, (FerryGatherOptions){.multifd_channels = channels, .uuid = our_uuid});
            for (unsigned i = 0; i <= channels; i++) {
                if (order[i] == 0) {
                    say_main(&r);
                } else {
                    say_channel(&r, (uint8_t)(order[i] - 1));
                }
            }
            expect_complete(&r);
            end(&r);
            seen++;
        } while (next_order(order, channels + 1));
        printf("ok: %u channels in %u orders\n", channels, seen);
    }
}

static void the_wrong_ones_are_dropped_alone(void)
{
    uint8_t bytes[FERRY_MULTIFD_HELLO_SIZE];
    Rig r;

    begin(&r, (FerryGatherOptions){.multifd_channels = 2, .uuid = our_uuid});
    say(&r, "GET / HTTP/1.1\r\n\r\n", 18);
    await_drops(&r, 1);
    expect_drop(&r, "begins with 0x47455420");
    hello(2, our_uuid, bytes);
    say(&r, bytes, sizeof bytes);
    await_drops(&r, 2);
    expect_drop(&r, "channel 2, but there are 2");
    hello(0, (const uint8_t *)"someone else's..", bytes);
    say(&r, bytes, sizeof bytes);
    await_drops(&r, 3);
    expect_drop(&r, "another UUID");
    hello(0, our_uuid, bytes);
    bytes[7] = 2;
    say(&r, bytes, sizeof bytes);
    await_drops(&r, 4);
    expect_drop(&r, "version");
    hello(0, our_uuid, bytes);
    bytes[FERRY_MULTIFD_HELLO_SIZE - 1] = 1;
    say(&r, bytes, sizeof bytes);
    await_drops(&r, 5);
    ferry_channel_shutdown_write(call(&r), NULL);
    await_drops(&r, 6);
    expect_drop(&r, "after 0 of 4 bytes");
    say_channel(&r, 1);
    say_channel(&r, 1);
    await_drops(&r, 7);
    expect_drop(&r, "channel 1 is here already");
    say_main(&r);
    say_main(&r);
    await_drops(&r, 8);
    expect_drop(&r, "a second main channel");
    say_channel(&r, 0);
    expect_complete(&r);
    EXPECT(r.drops == 8, "%u: %s", r.drops, r.why->str);
    end(&r);
}

static void without_multifd_a_channel_is_dropped(void)
{
    Rig r;

    begin(&r, (FerryGatherOptions){0});
    say_channel(&r, 0);
    await_drops(&r, 1);
    expect_drop(&r, "multifd is not switched on here");
    say_main(&r);
    expect_complete(&r);
    end(&r);
}

static void the_first_hello_gives_the_uuid(void)
{
    uint8_t bytes[FERRY_MULTIFD_HELLO_SIZE];
    Rig r;

    begin(&r, (FerryGatherOptions){.multifd_channels = 2});
    say_channel(&r, 0);
    hello(1, (const uint8_t *)"someone else's..", bytes);
    say(&r, bytes, sizeof bytes);
    await_drops(&r, 1);
    say_channel(&r, 1);
    say_main(&r);
    expect_complete(&r);
    EXPECT(memcmp(r.got.uuid, our_uuid, 16) == 0, "another");
    end(&r);
}

/* They keep nobody waiting, and go when their time is over. */
static void the_silent_and_the_slow_are_dropped_alone(void)
{
    uint8_t bytes[FERRY_MULTIFD_HELLO_SIZE];
    FerryChannel *slow;
    Rig r;

    begin(&r, (FerryGatherOptions){.multifd_channels = 1, .hello_ns = 200 * MS});
    (void)call(&r);
    slow = call(&r);
    hello(0, our_uuid, bytes);
    for (unsigned i = 0; i < sizeof bytes && drops(&r) < 2; i++) {
        if (i == 3) {
            say_channel(&r, 0); /* a good one is served meanwhile */
        }
        (void)ferry_channel_write_all(slow, bytes + i, 1, PATIENCE_NS, NULL);
        g_usleep(20000);
    }
    await_drops(&r, 2);
    expect_drop(&r, "it said only 0 of 4 bytes");
    expect_drop(&r, " of 64 bytes in the time it had");
    say_main(&r);
    expect_complete(&r);
    end(&r);
}

static void a_flood_does_not_keep_the_good_one_out(void)
{
    Rig r;

    begin(&r, (FerryGatherOptions){.multifd_channels = 1});
    for (unsigned i = 0; i < CLIENTS_MAX - 2; i++) {
        (void)call(&r);
    }
    say_main(&r);
    say_channel(&r, 0);
    expect_complete(&r);
    expect_drop(&r, "too many connections wait");
    end(&r);
}

static void an_incomplete_set_ends_and_says_what_is_missing(void)
{
    Rig r;

    begin(&r, (FerryGatherOptions){.multifd_channels = 4, .complete_ns = 100 * MS});
    say_channel(&r, 1);
    say_channel(&r, 3);
    expect_failed(&r, "3 of 5 connections");
    EXPECT(r.error && strstr(r.error->message, "main and multifd channels 0, 2"), "%s",
           r.error ? r.error->message : "");
    end(&r);
}

/* Nobody has come who was kept, so that no time runs. */
static void strangers_do_not_start_the_clock(void)
{
    Rig r;

    begin(&r, (FerryGatherOptions){.complete_ns = 1});
    say(&r, "rubbish", 7);
    await_drops(&r, 1);
    g_usleep(20000);
    say_main(&r);
    expect_complete(&r);
    end(&r);
}

static void an_interrupt_ends_it(void)
{
    Rig r;

    begin(&r, (FerryGatherOptions){.multifd_channels = 1});
    say_channel(&r, 0);
    (void)call(&r);
    ferry_interrupt_raise(r.interrupt);
    expect_failed(&r, "interrupted");
    end(&r);
}

static void a_medium_with_one_channel_is_taken_as_it_is(void)
{
    for (unsigned channels = 0; channels < 2; channels++) {
        FerryGatherOptions options = {.multifd_channels = channels};
        g_auto(FerryGathering) got = {0};
        g_autoptr(GError) error = NULL;
        int fds[2];
        g_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
        g_auto(FerryAddress) address = {.type = FERRY_ADDRESS_FD, .fd = fds[0]};
        g_autoptr(FerryListener) listener = ferry_listener_new(&address, NULL, &error);
        g_auto(FerryFd) other = fds[1];
        gboolean ok = ferry_gather(listener, &options, &got, &error);
        EXPECT(ok == (channels == 0), "%s", error ? error->message : "accepted");
        EXPECT(ok || strstr(error->message, "one channel only"), "%s", error->message);
        EXPECT(!ok || send(other, "x", 1, 0) == 1, "not connected");
        if (ok) {
            expect_byte(got.main, 'x');
        }
    }
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    every_order_gives_the_same_set();
    the_wrong_ones_are_dropped_alone();
    without_multifd_a_channel_is_dropped();
    the_first_hello_gives_the_uuid();
    the_silent_and_the_slow_are_dropped_alone();
    a_flood_does_not_keep_the_good_one_out();
    an_incomplete_set_ends_and_says_what_is_missing();
    strangers_do_not_start_the_clock();
    an_interrupt_ends_it();
    a_medium_with_one_channel_is_taken_as_it_is();
    printf("%u failures\n", failures);
    return failures != 0;
}
