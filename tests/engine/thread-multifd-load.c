/* Packets on several channels at once become memory; barriers hold; whatever is wrong on one
 * channel ends all of them, names it, and has put nothing. */
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include "engine/compress.h"
#include "engine/error.h"
#include "engine/multifd-load.h"
#include "tests/fakes/expect.h"
#include "transport/transport.h"

#define MS 1000000ull
#define PATIENCE_NS (60000 * MS) /* for what must happen; reached only by a failure */
#define PAGES 512u
#define PAGE 4096u
#define CHANNELS 4u

/* A loader, and the source's ends of its channels. */
typedef struct {
    uint8_t *host; /* of block "pc.ram" */
    FerryMemory *memory;
    FerryRamLoader *ram;
    FerryInterrupt *interrupt;
    FerryMultifdLoader *loader;
    FerryChannel *peers[CHANNELS];
    FerryCompressor *compressors[CHANNELS];
    unsigned n, page_bits;
    FerryMultifdMethod method;
    GError *error;
} Rig;

static void begin_with(Rig *r, unsigned n, FerryMultifdMethod method, FerryMultifdMethod expected,
                       gboolean any, uint64_t timeout_ns)
{
    FerryChannel *ours[CHANNELS];

    memset(r, 0, sizeof *r);
    r->n = n;
    r->page_bits = 12;
    r->method = method;
    r->host = g_malloc0(PAGES * PAGE);
    r->memory = ferry_memory_new();
    ferry_memory_add(r->memory, "pc.ram", r->host, PAGES * PAGE, NULL);
    r->ram = ferry_ram_loader_new(r->memory);
    g_assert(ferry_ram_loader_block(r->ram, "pc.ram", PAGES * PAGE, NULL));
    g_assert(ferry_ram_loader_list_end(r->ram, 12, NULL));
    r->interrupt = ferry_interrupt_new(NULL);
    for (unsigned i = 0; i < n; i++) {
        ferry_channel_pair(2 << 20, r->interrupt, &ours[i], &r->peers[i]);
        r->compressors[i] = method ? ferry_compressor_new(method, 1) : NULL;
    }
    FerryMultifdLoadOptions options = {
        .channels = ours,
        .n = n,
        .ram = r->ram,
        .interrupt = r->interrupt,
        .any_method = any,
        .method = expected,
        .timeout_ns = timeout_ns,
    };
    r->loader = ferry_multifd_loader_new(&options);
    g_assert(ferry_multifd_loader_start(r->loader, 12, NULL));
}

static void begin(Rig *r, unsigned n, FerryMultifdMethod method)
{
    begin_with(r, n, method, method, FALSE, PATIENCE_NS);
}

static void end(Rig *r)
{
    for (unsigned i = 0; i < r->n; i++) {
        ferry_compressor_free(r->compressors[i]);
    }
    ferry_multifd_loader_free(r->loader);
    for (unsigned i = 0; i < r->n; i++) {
        ferry_channel_free(r->peers[i]);
    }
    ferry_ram_loader_free(r->ram);
    ferry_memory_free(r->memory);
    ferry_interrupt_free(r->interrupt);
    g_free(r->host);
    g_clear_error(&r->error);
}

static void fill(uint8_t *page, unsigned seed)
{
    for (unsigned i = 0; i < PAGE; i++) {
        page[i] = (uint8_t)(seed * 31 + i / 16 + 1);
    }
}

static void write_all(Rig *r, unsigned channel, const void *bytes, size_t n)
{
    (void)ferry_channel_write_all(r->peers[channel], bytes, n, PATIENCE_NS, NULL);
}

typedef struct {
    unsigned first, step, normal, zero; /* pages first, first + step, ... */
    unsigned seed;
    gboolean sync;
} Pages;

/* A packet with its payload. */
static GByteArray *packet_of(Rig *r, unsigned channel, Pages what)
{
    GByteArray *out = g_byte_array_new();
    uint64_t offsets[FERRY_MULTIFD_PACKET_BYTES / PAGE];
    FerryMultifdPacket packet = {.method = what.normal + what.zero ? r->method : 0,
                                 .sync = what.sync,
                                 .normal_pages = what.normal,
                                 .zero_pages = what.zero,
                                 .idstr = "pc.ram"};
    g_autofree uint8_t *pages = g_malloc0((size_t)MAX(what.normal, 1) * PAGE);
    struct iovec in = {.iov_base = pages, .iov_len = (size_t)what.normal * PAGE};
    g_autofree uint8_t *coded = NULL;

    for (unsigned i = 0; i < what.normal + what.zero; i++) {
        offsets[i] = (uint64_t)(what.first + i * what.step) * PAGE;
        if (i < what.normal) {
            fill(pages + (size_t)i * PAGE, what.first + i * what.step + what.seed);
        }
    }
    if (r->method && what.normal) {
        coded = g_malloc(ferry_compressor_bound(r->compressors[channel], in.iov_len));
        in.iov_len = ferry_compressor_packet(r->compressors[channel], &in, 1, coded);
        in.iov_base = coded;
    }
    packet.payload_bytes = (uint32_t)in.iov_len;
    g_byte_array_set_size(out, (guint)ferry_multifd_header_size(r->page_bits));
    ferry_multifd_packet_encode(&packet, offsets, r->page_bits, out->data);
    if (what.normal) {
        g_byte_array_append(out, in.iov_base, (guint)in.iov_len);
    }
    return out;
}

static void send(Rig *r, unsigned channel, Pages what)
{
    g_autoptr(GByteArray) packet = packet_of(r, channel, what);
    write_all(r, channel, packet->data, packet->len);
}

static void sync_all(Rig *r)
{
    for (unsigned i = 0; i < r->n; i++) {
        send(r, i, (Pages){.sync = TRUE});
    }
}

static void expect_barrier(Rig *r)
{
    gboolean ok = ferry_multifd_loader_barrier(r->loader, &r->error);
    EXPECT(ok, "%s", r->error ? r->error->message : "?");
    g_clear_error(&r->error);
}

static void expect_page(const Rig *r, unsigned page, unsigned seed)
{
    uint8_t expected[PAGE];
    fill(expected, page + seed);
    EXPECT(memcmp(r->host + (size_t)page * PAGE, expected, PAGE) == 0, "page %u", page);
}

static gboolean is_zero(const Rig *r, unsigned first, unsigned n)
{
    for (size_t i = (size_t)first * PAGE; i < (size_t)(first + n) * PAGE; i++) {
        if (r->host[i]) {
            return FALSE;
        }
    }
    return TRUE;
}

/* Pages change hands between the channels from round to round; the last round's content stands. */
static void rounds_become_memory(FerryMultifdMethod method, gboolean any)
{
    Rig r;

    begin_with(&r, CHANNELS, method, any ? FERRY_MULTIFD_ZLIB : method, any, PATIENCE_NS);
    for (unsigned round = 0; round < 5; round++) {
        for (unsigned i = 0; i < CHANNELS; i++) {
            unsigned share = (i + round) % CHANNELS * (PAGES / CHANNELS);
            send(&r, i, (Pages){share, 1, 100, 0, round * 1000, FALSE});
            send(&r, i, (Pages){share + 100, 2, 10, 4, round * 1000, FALSE});
        }
        sync_all(&r);
        expect_barrier(&r);
        for (unsigned i = 0; i < CHANNELS; i++) {
            unsigned share = i * (PAGES / CHANNELS);
            for (unsigned p = 0; p < 110; p++) {
                expect_page(&r, share + (p < 100 ? p : 100 + (p - 100) * 2), round * 1000);
            }
            EXPECT(is_zero(&r, share + 120, 8) && is_zero(&r, share + 101, 1), "round %u", round);
        }
    }
    EXPECT(ferry_multifd_loader_end(r.loader, &r.error), "%s", r.error->message);
    FerryMultifdLoaded counts = ferry_multifd_loader_counts(r.loader);
    EXPECT(counts.packets == 5 * CHANNELS * 3, "%u", (unsigned)counts.packets);
    EXPECT(counts.normal_pages == 5 * CHANNELS * 110, "%u", (unsigned)counts.normal_pages);
    EXPECT(counts.zero_pages == 5 * CHANNELS * 4, "%u", (unsigned)counts.zero_pages);
    EXPECT(counts.coded_pages == (method ? counts.normal_pages : 0), "%u",
           (unsigned)counts.coded_pages);
    end(&r);
    printf("ok: rounds with %s\n", ferry_multifd_method_name(method));
}

/* Unlike QEMU from 9.0 on, which only notes the first time a page is said to be zero. */
static void zero_pages_clear_what_was_there(void)
{
    Rig r;

    begin(&r, 2, FERRY_MULTIFD_NONE);
    send(&r, 0, (Pages){0, 1, 128, 0, 7, FALSE});
    sync_all(&r);
    expect_barrier(&r);
    send(&r, 1, (Pages){0, 2, 0, 64, 0, FALSE});
    sync_all(&r);
    expect_barrier(&r);
    for (unsigned p = 0; p < 128; p += 2) {
        EXPECT(is_zero(&r, p, 1), "page %u", p);
        expect_page(&r, p + 1, 7);
    }
    end(&r);
}

/* QEMU up to 8.2: a SYNC that met a queued job rides on it, and in the end there is one more packet
 * with nothing in it. */
static void sync_on_data_and_an_empty_packet_are_fine(void)
{
    Rig r;

    begin(&r, 2, FERRY_MULTIFD_NONE);
    send(&r, 0, (Pages){0, 1, 3, 0, 1, TRUE});
    send(&r, 0, (Pages){0, 1, 3, 0, 2, FALSE}); /* behind the barrier */
    send(&r, 1, (Pages){.sync = TRUE});
    expect_barrier(&r);
    sync_all(&r);
    expect_barrier(&r);
    expect_page(&r, 0, 2);
    EXPECT(ferry_multifd_loader_end(r.loader, &r.error), "%s", r.error->message);
    send(&r, 0, (Pages){0});
    ferry_channel_shutdown_write(r.peers[0], NULL);
    ferry_channel_shutdown_write(r.peers[1], NULL);
    ferry_multifd_loader_stop(r.loader, PATIENCE_NS);
    EXPECT(ferry_multifd_loader_check(r.loader, &r.error), "%s", r.error->message);
    end(&r);
}

/* The guest may run by then. */
static void nothing_is_put_after_the_end(void)
{
    Rig r;

    begin(&r, 1, FERRY_MULTIFD_NONE);
    sync_all(&r);
    expect_barrier(&r);
    EXPECT(ferry_multifd_loader_end(r.loader, &r.error), "%s", r.error->message);
    send(&r, 0, (Pages){0, 1, 3, 0, 1, FALSE});
    ferry_multifd_loader_stop(r.loader, PATIENCE_NS);
    EXPECT(is_zero(&r, 0, PAGES), "a page was put");
    end(&r);
}

static void expect_error(Rig *r, gboolean ok, const char *why)
{
    EXPECT(!ok && r->error && strstr(r->error->message, why), "'%s' is not in: %s", why,
           r->error ? r->error->message : "success");
}

/* Waits for what main would meet anywhere: its interrupt. */
static void await_failure(Rig *r, const char *why)
{
    uint64_t until = ferry_now_ns() + PATIENCE_NS;

    while (!ferry_interrupt_is_raised(r->interrupt) && ferry_now_ns() < until) {
        g_usleep(1000);
    }
    EXPECT(ferry_interrupt_is_raised(r->interrupt), "main hears nothing of '%s'", why);
    expect_error(r, ferry_multifd_loader_check(r->loader, &r->error), why);
    EXPECT(r->error && g_str_has_prefix(r->error->message, "multifd channel 1 (pair"), "%s",
           r->error ? r->error->message : "");
    g_clear_error(&r->error);
    expect_error(r, ferry_multifd_loader_barrier(r->loader, &r->error), why);
    EXPECT(is_zero(r, 0, PAGES), "'%s': something was put", why);
}

static const struct {
    unsigned at; /* of the packet's header: what is broken there */
    uint8_t bytes[8];
    unsigned n;
    const char *why;
} breaks[] = {
    {0,   {0x11, 0x22, 0x33, 0x45},             4, "magic"                                     },
    {7,   {2},                                  1, "version"                                   },
    {11,  {0x40},                               1, "device state"                              },
    {11,  {0x06},                               1, "flags"                                     },
    {11,  {0x02},                               1, "compression 'zlib', but 'none' is expected"},
    {11,  {0x08},                               1, "compression 'qpl' is not supported"        },
    {14,  {0x01},                               1, "room for"                                  },
    {64,  {'P'},                                1, "'Pc.ram' was not announced"                },
    {320, {0x00, 0x00, 0x00, 0x00, 0x00, 0x20}, 6, "at 0x200000, but it has 0x200000 bytes"    },
    {320, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, 6, "at 0xffffffffffff0000"                     },
    {335, {0x01},                               1, "not a page's"                              },
    {334, {0x00},                               1, "comes twice"                               },
};

static void what_is_wrong_is_refused_before_anything_is_put(void)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(breaks); i++) {
        Rig r;
        begin(&r, 2, FERRY_MULTIFD_NONE);
        g_autoptr(GByteArray) packet = packet_of(&r, 1, (Pages){0, 1, 3, 0, 1, FALSE});
        memcpy(packet->data + breaks[i].at, breaks[i].bytes, breaks[i].n);
        if (breaks[i].bytes[0] == 2 || breaks[i].bytes[0] == 8) {
            packet->data[22] = 0x10; /* a size that the method may have */
        }
        write_all(&r, 1, packet->data, packet->len);
        await_failure(&r, breaks[i].why);
        EXPECT(strstr(r.error->message, "packet at byte 64: "), "%s", r.error->message);
        end(&r);
    }
}

static void channels_must_agree_on_the_method(void)
{
    Rig r;

    begin_with(&r, 2, FERRY_MULTIFD_ZSTD, FERRY_MULTIFD_NONE, TRUE, PATIENCE_NS);
    send(&r, 0, (Pages){0, 1, 0, 1, 0, FALSE});
    sync_all(&r);
    expect_barrier(&r);
    r.method = FERRY_MULTIFD_NONE;
    send(&r, 1, (Pages){0, 1, 1, 0, 0, FALSE});
    await_failure(&r, "compression 'none', but 'zstd' is expected");
    EXPECT(strstr(r.error->message, "packet at byte 1408: "), "%s", r.error->message);
    r.method = FERRY_MULTIFD_ZSTD;
    end(&r);
}

static void broken_data_is_refused(FerryMultifdMethod method)
{
    Rig r;

    begin(&r, 2, method);
    g_autoptr(GByteArray) packet = packet_of(&r, 1, (Pages){0, 1, 3, 0, 1, FALSE});
    memset(packet->data + ferry_multifd_header_size(12), 0xaa, 8);
    write_all(&r, 1, packet->data, packet->len);
    await_failure(&r, "");
    end(&r);
}

static void a_channel_that_ends_inside_a_packet_is_refused(void)
{
    for (unsigned cut = 1; cut < 3; cut++) {
        Rig r;
        begin(&r, 2, FERRY_MULTIFD_NONE);
        g_autoptr(GByteArray) packet = packet_of(&r, 1, (Pages){0, 1, 3, 0, 1, FALSE});
        write_all(&r, 1, packet->data, cut * 1000);
        ferry_channel_shutdown_write(r.peers[1], NULL);
        while (!ferry_interrupt_is_raised(r.interrupt)) {
            g_usleep(1000);
        }
        expect_error(&r, ferry_multifd_loader_check(r.loader, &r.error), "inside a packet");
        end(&r);
    }
}

/* A byte now and then is silence; a pause between two packets is not. */
static void silence_inside_a_packet_ends_it(void)
{
    Rig r;

    begin_with(&r, 2, FERRY_MULTIFD_NONE, FERRY_MULTIFD_NONE, FALSE, 200 * MS);
    g_autoptr(GByteArray) packet = packet_of(&r, 1, (Pages){0, 1, 3, 0, 1, FALSE});
    g_usleep(400000);
    EXPECT(!ferry_interrupt_is_raised(r.interrupt), "too early");
    for (unsigned i = 0; i < 1000 && !ferry_interrupt_is_raised(r.interrupt); i++) {
        write_all(&r, 1, packet->data + i, 1);
        g_usleep(5000);
    }
    await_failure(&r, "deadline");
    end(&r);
}

static void a_barrier_names_who_is_late(void)
{
    Rig r;

    begin_with(&r, 3, FERRY_MULTIFD_NONE, FERRY_MULTIFD_NONE, FALSE, 100 * MS);
    send(&r, 1, (Pages){.sync = TRUE});
    expect_error(&r, ferry_multifd_loader_barrier(r.loader, &r.error),
                 "barrier 1 of the multifd channels: no SYNC from channel 0, 2 in the time");
    end(&r);
    begin(&r, 2, FERRY_MULTIFD_NONE);
    sync_all(&r);
    expect_barrier(&r);
    ferry_channel_shutdown_write(r.peers[0], NULL);
    send(&r, 1, (Pages){.sync = TRUE});
    expect_error(&r, ferry_multifd_loader_barrier(r.loader, &r.error),
                 "barrier 2 of the multifd channels: no SYNC from channel 0: the source closed");
    end(&r);
}

static void *send_slowly(void *data)
{
    Rig *r = data;

    for (unsigned i = 0; i < 10; i++) {
        g_usleep(100000);
        send(r, 0, (Pages){i * 10, 1, 10, 0, 1, FALSE});
    }
    send(r, 0, (Pages){.sync = TRUE});
    return NULL;
}

static void a_slow_channel_is_waited_for(void)
{
    pthread_t thread;
    Rig r;

    begin_with(&r, 1, FERRY_MULTIFD_NONE, FERRY_MULTIFD_NONE, FALSE, 500 * MS);
    g_assert(pthread_create(&thread, NULL, send_slowly, &r) == 0);
    expect_barrier(&r);
    pthread_join(thread, NULL);
    end(&r);
}

static void an_end_needs_its_barrier(void)
{
    for (unsigned sync = 0; sync < 2; sync++) {
        uint64_t until = ferry_now_ns() + PATIENCE_NS;
        Rig r;
        begin(&r, 2, FERRY_MULTIFD_NONE);
        sync_all(&r);
        expect_barrier(&r);
        send(&r, 1, sync ? (Pages){.sync = TRUE} : (Pages){0, 1, 1, 0, 1, FALSE});
        while (ferry_multifd_loader_counts(r.loader).packets < 3 && ferry_now_ns() < until) {
            g_usleep(1000);
        }
        g_usleep(sync ? 50000 : 0); /* it is counted before it waits */
        expect_error(&r, ferry_multifd_loader_end(r.loader, &r.error),
                     sync ? "channel 1: SYNC behind" : "channel 1: pages behind");
        end(&r);
    }
}

static void *raise_soon(void *data)
{
    g_usleep(100000);
    ferry_interrupt_raise(((Rig *)data)->interrupt);
    return NULL;
}

static void an_interrupt_ends_a_barrier(void)
{
    pthread_t thread;
    Rig r;

    begin(&r, 2, FERRY_MULTIFD_NONE);
    send(&r, 0, (Pages){.sync = TRUE});
    g_assert(pthread_create(&thread, NULL, raise_soon, &r) == 0);
    expect_error(&r, ferry_multifd_loader_barrier(r.loader, &r.error), "interrupted");
    pthread_join(thread, NULL);
    g_clear_error(&r.error);
    EXPECT(ferry_multifd_loader_check(r.loader, &r.error), "that is nobody's error");
    end(&r);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    rounds_become_memory(FERRY_MULTIFD_NONE, FALSE);
    rounds_become_memory(FERRY_MULTIFD_ZLIB, FALSE);
    rounds_become_memory(FERRY_MULTIFD_ZSTD, FALSE);
    rounds_become_memory(FERRY_MULTIFD_ZSTD, TRUE);
    rounds_become_memory(FERRY_MULTIFD_NONE, TRUE);
    zero_pages_clear_what_was_there();
    sync_on_data_and_an_empty_packet_are_fine();
    nothing_is_put_after_the_end();
    what_is_wrong_is_refused_before_anything_is_put();
    channels_must_agree_on_the_method();
    broken_data_is_refused(FERRY_MULTIFD_ZLIB);
    broken_data_is_refused(FERRY_MULTIFD_ZSTD);
    a_channel_that_ends_inside_a_packet_is_refused();
    silence_inside_a_packet_ends_it();
    a_barrier_names_who_is_late();
    a_slow_channel_is_waited_for();
    an_end_needs_its_barrier();
    an_interrupt_ends_a_barrier();
    printf("%u failures\n", failures);
    return failures != 0;
}
