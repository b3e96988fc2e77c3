/* A multifd sender beside a guest that writes: what it was given arrives, a page never twice
 * without a barrier between, SYNC as often as something waits for it; a channel that fails and a
 * cancel end it at once. */
#include <stdio.h>
#include <string.h>
#include "engine/ram-send.h"
#include "tests/engine/content.h"
#include "tests/engine/multifd-peer.h"

#define PAGES 400 /* of each of two blocks */
#define ROUNDS 3
static _Alignas(4096) uint8_t from[2][PAGES * 4096], to[2][PAGES * 4096];
static uint8_t content[sizeof from];
static unsigned failures;

typedef struct {
    unsigned channels;
    FerryMultifdMethod method;
    FerryZeroPages zero_pages;
    gboolean per_round, zero_in_packets, writer, adaptive;
} Case;

typedef struct {
    FerryInterrupt *interrupt;
    FerrySourceOptions options;
    FerryDialect dialect;
    FerryMemory *source, *destination;
    FerryChannel *main;
    FerryRamSender *sender;
    Peer peer;
    FerryChannel *unread[4]; /* the other ends of channels that nobody reads */
} Rig;

#define check(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s: ", #condition);                                                   \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fputc('\n', stderr);                                                                   \
            failures++;                                                                            \
        }                                                                                          \
    } while (0)

static FerryMemory *blocks(uint8_t m[2][PAGES * 4096])
{
    FerryMemory *memory = ferry_memory_new();

    ferry_memory_add(memory, "pc.ram", m[0], PAGES * 4096, NULL);
    ferry_memory_add(memory, "/rom@etc/acpi/tables", m[1], PAGES * 4096, NULL);
    return memory;
}

static void rig_up(Rig *r, const Case *c)
{
    static const uint8_t uuid[16] = {0x11, [15] = 0x22};
    FerryChannel *theirs;

    memset(to, 0, sizeof to);
    r->interrupt = peer_interrupt = ferry_interrupt_new(NULL);
    r->source = blocks(from);
    r->destination = blocks(to);
    r->peer.per_round = c->per_round;
    r->peer.method = c->method;
    r->peer.n_channels = c->channels;
    r->options = (FerrySourceOptions){.zero_pages = c->zero_pages,
                                      .multifd_channels = c->channels,
                                      .multifd_method = c->method,
                                      .multifd_level = 1,
                                      .multifd_adaptive = c->adaptive,
                                      .connect = peer_connect,
                                      .connect_self = &r->peer};
    r->dialect =
        (FerryDialect){.flush_per_round = c->per_round, .zero_in_packets = c->zero_in_packets};
    ferry_channel_pair(64 << 10, r->interrupt, &r->main, &theirs);
    r->main = ferry_channel_ratelimit(r->main, 0, r->interrupt);
    FerryRamSetup setup = {.memory = r->source,
                           .channel = r->main,
                           .options = &r->options,
                           .dialect = &r->dialect,
                           .uuid = uuid,
                           .progress_ns = 30000000000ull};
    r->sender = ferry_ram_sender_new(&setup);
    peer_begin(&r->peer, r->destination, theirs);
}

static void rig_down(Rig *r)
{
    ferry_ram_sender_stop(r->sender);
    ferry_ram_sender_free(r->sender);
    ferry_channel_free(r->main);
    peer_end(&r->peer);
    for (unsigned i = 0; r->unread[i]; i++) {
        ferry_channel_free(r->unread[i]);
    }
    ferry_memory_free(r->source);
    ferry_memory_free(r->destination);
    ferry_interrupt_free(r->interrupt);
}

/* The guest: one page after another, until it is paused. Its name is known to the sanitizer. */
static gint paused;
static void write_once(uint64_t *state)
{
    unsigned page = (unsigned)(content_next(state) % (2 * PAGES));
    uint8_t *bytes = from[page / PAGES] + (size_t)(page % PAGES) * 4096;

    if (content_next(state) % 4 == 0) {
        memset(bytes, 0, 4096);
    } else {
        bytes[content_next(state) % 4096] = (uint8_t)*state;
    }
}

static void *guest_thread(void *data)
{
    uint64_t state = 12345;

    (void)data;
    while (!g_atomic_int_get(&paused)) {
        write_once(&state);
        g_usleep(20);
    }
    return NULL;
}

/* Pages of one round, in runs as they come from a bitmap: every @step-th run of some length. */
static gboolean send_round(FerryRamSender *s, unsigned step, gboolean last, GError **error)
{
    for (unsigned block = 0; block < 2; block++) {
        for (uint64_t first = 0, n, run = 0; first < PAGES; first += n, run++) {
            n = MIN(step == 1 ? 128 : 1 + run % 7, PAGES - first);
            if (run % step != 0) {
                continue;
            }
            while (!ferry_ram_sender_has_room(s, n)) {
                if (!ferry_ram_sender_flush(s, error)) {
                    return FALSE;
                }
            }
            if (!ferry_ram_sender_pages(s, block, first, n, last, error)) {
                return FALSE;
            }
        }
    }
    return ferry_ram_sender_end_round(s, last, error) &&
           ferry_ram_sender_end_section(s, last, error) && ferry_ram_sender_drain(s, error);
}

static gboolean send_all(Rig *r, const Case *c, GError **error)
{
    pthread_t guest;
    gboolean ok =
        ferry_ram_sender_connect(r->sender, error) && ferry_ram_sender_start(r->sender, error);

    g_atomic_int_set(&paused, !c->writer);
    pthread_create(&guest, NULL, guest_thread, NULL);
    for (unsigned round = 0; ok && round < ROUNDS; round++) {
        ok = send_round(r->sender, round + 1, FALSE, error);
    }
    g_atomic_int_set(&paused, TRUE);
    pthread_join(guest, NULL);
    return ok && send_round(r->sender, 1, TRUE, error);
}

static void arrives(const Case *c)
{
    g_autofree Rig *r = g_new0(Rig, 1);
    g_autoptr(GError) error = NULL;
    unsigned zeros = 0;

    memcpy(from, content, sizeof from);
    rig_up(r, c);
    gboolean ok = send_all(r, c, &error);
    check(ok, "%s", error ? error->message : "");
    FerryRamCounts counts = ferry_ram_sender_counts(r->sender);
    uint64_t written = ferry_ram_sender_bytes_written(r->sender);
    check(ferry_ram_sender_is_idle(r->sender), "after a drain");
    rig_down(r);
    check(!r->peer.failure[0], "%s", r->peer.failure);
    check(memcmp(from, to, sizeof from) == 0, "memory differs");
    check(r->peer.at_end, "no END section");
    for (unsigned i = 0; i < c->channels; i++) {
        check(r->peer.channels[i].syncs == r->peer.barriers, "channel %u: %u SYNC, %u barriers", i,
              r->peer.channels[i].syncs, r->peer.barriers);
    }
    check(r->peer.barriers == 1 + ROUNDS + 1, "%u", r->peer.barriers);
    check(r->peer.pages == ferry_ram_counts_pages(&counts), "%u arrived", r->peer.pages);
    zeros = r->peer.zero_packet_pages + r->peer.zero_records;
    check(zeros == counts.zero_pages, "%u", zeros);
    check(c->zero_pages != FERRY_ZERO_PAGES_NONE || zeros == 0, "%u", zeros);
    check((r->peer.zero_packet_pages > 0) ==
              (c->zero_in_packets && c->zero_pages == FERRY_ZERO_PAGES_MULTIFD),
          "%u in packets", r->peer.zero_packet_pages);
    check(counts.multifd_bytes < written, "all bytes");
    check(c->method == FERRY_MULTIFD_NONE || c->adaptive ||
              counts.coded_bytes < counts.coded_pages * FERRY_PAGE_SIZE * 3 / 4,
          "nothing was compressed");
}

/* What stands on main alone must not be overtaken by what a channel brings in the next round. */
static void zero_pages_alone_are_a_round(void)
{
    Case c = {2, FERRY_MULTIFD_NONE, FERRY_ZERO_PAGES_LEGACY, TRUE, TRUE, FALSE, FALSE};
    g_autofree Rig *r = g_new0(Rig, 1);
    g_autoptr(GError) error = NULL;

    memset(from, 0, sizeof from);
    rig_up(r, &c);
    gboolean ok =
        ferry_ram_sender_connect(r->sender, &error) && ferry_ram_sender_start(r->sender, &error);
    for (unsigned round = 0; ok && round < 4; round++) {
        memset(from[0], round % 2, 4096);
        ok = ferry_ram_sender_pages(r->sender, 0, 0, 1, round == 3, &error) &&
             ferry_ram_sender_end_round(r->sender, round == 3, &error) &&
             ferry_ram_sender_end_section(r->sender, round == 3, &error) &&
             ferry_ram_sender_drain(r->sender, &error);
    }
    check(ok, "%s", error ? error->message : "");
    rig_down(r);
    check(!r->peer.failure[0], "%s", r->peer.failure);
    check(memcmp(from, to, sizeof from) == 0, "memory differs");
}

/* A round that has only ZERO records, then the same pages on the channels: only a barrier keeps
 * these from being overtaken. */
static void zero_no_more(gboolean per_round)
{
    Case c = {2, FERRY_MULTIFD_NONE, FERRY_ZERO_PAGES_LEGACY, per_round, FALSE, FALSE, FALSE};
    g_autofree Rig *r = g_new0(Rig, 1);

    memset(from, 0, sizeof from);
    rig_up(r, &c);
    check(ferry_ram_sender_connect(r->sender, NULL) && ferry_ram_sender_start(r->sender, NULL) &&
              send_round(r->sender, 1, FALSE, NULL),
          "zeros");
    memset(from, 7, sizeof from);
    check(send_round(r->sender, 1, TRUE, NULL), "no zeros");
    rig_down(r);
    check(!r->peer.failure[0], "%s", r->peer.failure);
    check(r->peer.zero_records == 2 * PAGES && r->peer.barriers == 3, "%u", r->peer.barriers);
    check(memcmp(from, to, sizeof from) == 0, "memory differs");
}

static void a_channel_fails(FerryMultifdMethod method)
{
    Case c = {2, method, FERRY_ZERO_PAGES_NONE, TRUE, TRUE, FALSE, FALSE};
    g_autofree Rig *r = g_new0(Rig, 1);
    g_autoptr(GError) error = NULL;

    rig_up(r, &c);
    r->peer.stop_after_first = TRUE;
    check(!send_all(r, &c, &error), "a lost channel went unnoticed");
    check(error && error->domain == FERRY_TRANSPORT_ERROR &&
              strstr(error->message, "multifd channel 1"),
          "%s", error ? error->message : "");
    rig_down(r);
}

static void a_connection_fails(void)
{
    Case c = {2, FERRY_MULTIFD_NONE, FERRY_ZERO_PAGES_NONE, TRUE, TRUE, FALSE, FALSE};
    g_autofree Rig *r = g_new0(Rig, 1);
    g_autoptr(GError) error = NULL;

    rig_up(r, &c);
    r->peer.n_channels = 1;
    check(!ferry_ram_sender_connect(r->sender, &error), "connected to nobody");
    check(error && strstr(error->message, "multifd channel 1"), "%s", error ? error->message : "");
    rig_down(r);
}

/* Nobody reads: a channel takes 64 KiB, and all wait for ever but for the interrupt. */
static void *raise_soon(void *data)
{
    g_usleep(20000);
    ferry_interrupt_raise(data);
    return NULL;
}

static FerryChannel *connect_to_nobody(void *self, GError **error)
{
    FerryChannel **theirs = self, *ours;

    (void)error;
    while (*theirs) {
        theirs++;
    }
    ferry_channel_pair(64 << 10, peer_interrupt, &ours, theirs);
    return ours;
}

static void a_cancel_ends_it(gboolean limited)
{
    Case c = {3, FERRY_MULTIFD_NONE, FERRY_ZERO_PAGES_NONE, TRUE, TRUE, FALSE, FALSE};
    g_autofree Rig *r = g_new0(Rig, 1);
    g_autoptr(GError) error = NULL;
    pthread_t thread;

    rig_up(r, &c);
    r->options.connect = connect_to_nobody;
    r->options.connect_self = r->unread;
    if (limited) {
        ferry_channel_ratelimit_set(r->main, 1);
    }
    pthread_create(&thread, NULL, raise_soon, r->interrupt);
    check(!send_all(r, &c, &error), "sent to nobody");
    check(g_error_matches(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_INTERRUPTED), "%s",
          error ? error->message : "");
    pthread_join(thread, NULL);
    rig_down(r);
}

/* Freed in the middle of everything, without an interrupt. */
static void a_free_ends_it(void)
{
    Case c = {3, FERRY_MULTIFD_ZSTD, FERRY_ZERO_PAGES_NONE, TRUE, TRUE, FALSE, FALSE};
    g_autofree Rig *r = g_new0(Rig, 1);

    rig_up(r, &c);
    r->options.connect = connect_to_nobody;
    r->options.connect_self = r->unread;
    check(ferry_ram_sender_connect(r->sender, NULL), "connect");
    for (unsigned i = 0; i < 4; i++) {
        check(ferry_ram_sender_pages(r->sender, 0, 128 * i, 128, FALSE, NULL), "pages");
    }
    check(!ferry_ram_sender_is_idle(r->sender), "nothing is under way");
    rig_down(r);
}

int main(void)
{
    static const FerryMultifdMethod methods[] = {FERRY_MULTIFD_NONE, FERRY_MULTIFD_ZLIB,
                                                 FERRY_MULTIFD_ZSTD};
    static const unsigned channels[] = {1, 2, 4, 16};

    for (unsigned page = 0; page < 2 * PAGES; page++) {
        content_fill(content + (size_t)page * 4096, 4096, (Content)(page / 40 % N_CONTENTS), page);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(methods); i++) {
        for (unsigned k = 0; k < G_N_ELEMENTS(channels); k++) {
            Case c = {channels[k], methods[i], FERRY_ZERO_PAGES_MULTIFD, k % 2 == 0, TRUE,
                      TRUE,        FALSE};
            arrives(&c);
        }
        for (unsigned k = 1; i > 0 && k < 4; k += 2) {
            Case c = {k, methods[i], FERRY_ZERO_PAGES_MULTIFD, TRUE, TRUE, TRUE, TRUE};
            arrives(&c);
        }
        a_channel_fails(methods[i]);
    }
    for (unsigned i = 0; i < 8; i++) {
        Case c = {2,    FERRY_MULTIFD_NONE, (FerryZeroPages)(i % 3), i % 2 != 0, i > 3, i % 2 == 0,
                  FALSE};
        arrives(&c);
    }
    zero_pages_alone_are_a_round();
    zero_no_more(TRUE);
    zero_no_more(FALSE);
    a_connection_fails();
    a_cancel_ends_it(FALSE);
    a_cancel_ends_it(TRUE);
    a_free_ends_it();
    printf("%u failures\n", failures);
    return failures > 0;
}
