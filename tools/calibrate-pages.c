/* What a page takes to be looked at, sent and packed; CPU time of one thread. */
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include "engine/compress.h"
#include "engine/page.h"
#include "protocol/xbzrle.h"
#include "tools/calibrate.h"

#define PAGE 4096u
#define PACKET_PAGES 128u
#define PACKED_PAGES 512u  /* of each content */
#define SENT_PAGES 16384u  /* more than caches hold */
#define SEND_PAGES 16u     /* at once: less than a socket's buffer */
#define ENOUGH_NS 40000000 /* for one figure */

static const char *const contents[] = {
    [FERRY_CALIBRATE_TEXT] = "text",
    [FERRY_CALIBRATE_COUNTERS] = "counters",
    [FERRY_CALIBRATE_RANDOM] = "random",
};

const char *ferry_calibrate_content_name(FerryCalibrateContent content)
{
    return contents[content];
}

static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void fill_text(uint8_t *to, size_t n, uint64_t *state)
{
    static const char *const words[] = {"page",   "guest ",   "the ",   " of ", "0x7f",  "memory ",
                                        "source", " is not ", "return", "\n",   " = 0;", "while ",
                                        "int ",   "->next",   "struct", "\t\t"};
    size_t at = 0;

    while (at < n) {
        const char *word = words[next_random(state) % G_N_ELEMENTS(words)];
        size_t length = MIN(strlen(word), n - at);
        memcpy(to + at, word, length);
        at += length;
    }
}

static uint8_t *fill(FerryCalibrateContent content, size_t n_pages)
{
    size_t n = n_pages * PAGE;
    uint8_t *memory = g_malloc(n);
    uint64_t state = 88172645463325252u;

    if (content == FERRY_CALIBRATE_TEXT) {
        fill_text(memory, n, &state);
        return memory;
    }
    for (size_t at = 0; at < n; at += 8) {
        uint64_t word = content == FERRY_CALIBRATE_COUNTERS ? at / 8 : next_random(&state);
        memcpy(memory + at, &word, 8);
    }
    return memory;
}

uint64_t ferry_calibrate_page_ns(void)
{
    g_autofree uint8_t *memory = fill(FERRY_CALIBRATE_RANDOM, SENT_PAGES);
    g_autofree uint8_t *back = g_malloc(SEND_PAGES * PAGE);
    uint64_t ns = 0, pages = 0;
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
        return 0;
    }
    for (size_t first = 0; first < SENT_PAGES && ns < ENOUGH_NS; first += SEND_PAGES) {
        uint64_t zero, begin = cpu_ns();
        ferry_page_zero_run(memory + first * PAGE, SEND_PAGES, &zero);
        ssize_t n = send(fds[0], memory + first * PAGE, SEND_PAGES * PAGE, MSG_DONTWAIT);
        ns += cpu_ns() - begin;
        pages += n > 0 ? (size_t)n / PAGE : 0;
        for (ssize_t got = 1; n > 0 && got > 0; n -= got) {
            got = read(fds[1], back, MIN((size_t)n, SEND_PAGES * PAGE));
        }
    }
    close(fds[0]);
    close(fds[1]);
    return pages ? ns / pages : 0;
}

static void add(GArray *to, FerryCalibratePacked packed, uint64_t ns, uint64_t pages, uint64_t wire)
{
    packed.page_ns = ns / pages;
    packed.wire_permille = (unsigned)(wire * 1000 / (pages * PAGE));
    g_array_append_val(to, packed);
}

static void pack(GArray *to, FerrySimCodecKind kind, int level, FerryCalibrateContent content)
{
    g_autoptr(FerryCompressor) compressor = ferry_compressor_new(
        kind == FERRY_SIM_CODEC_ZLIB ? FERRY_MULTIFD_ZLIB : FERRY_MULTIFD_ZSTD, level);
    g_autofree uint8_t *memory = fill(content, PACKED_PAGES);
    g_autofree uint8_t *out = g_malloc(ferry_compressor_bound(compressor, PACKET_PAGES * PAGE));
    uint64_t ns = 0, pages = 0, wire = 0;

    for (size_t first = 0; first < PACKED_PAGES && ns < ENOUGH_NS; first += PACKET_PAGES) {
        struct iovec in = {memory + first * PAGE, PACKET_PAGES * PAGE};
        uint64_t begin = cpu_ns();
        wire += ferry_compressor_packet(compressor, &in, 1, out);
        ns += cpu_ns() - begin;
        pages += PACKET_PAGES;
    }
    add(to, (FerryCalibratePacked){.kind = kind, .level = level, .content = content}, ns, pages,
        wire);
}

/* A byte in each 128 differs from what was sent before. */
static void pack_delta(GArray *to)
{
    g_autofree uint8_t *old = fill(FERRY_CALIBRATE_RANDOM, PACKED_PAGES);
    g_autofree uint8_t *now = g_memdup2(old, PACKED_PAGES * PAGE);
    uint64_t wire = 0;
    uint8_t out[PAGE];

    for (size_t at = 0; at < PACKED_PAGES * PAGE; at += 128) {
        now[at] ^= 0xff;
    }
    uint64_t begin = cpu_ns();
    for (size_t page = 0; page < PACKED_PAGES; page++) {
        gssize n = ferry_xbzrle_encode(old + page * PAGE, now + page * PAGE, PAGE, out, sizeof out);
        wire += n < 0 ? PAGE : (uint64_t)n;
        memcpy(old + page * PAGE, now + page * PAGE, PAGE); /* what the cache keeps */
    }
    add(to,
        (FerryCalibratePacked){.kind = FERRY_SIM_CODEC_XBZRLE, .content = FERRY_CALIBRATE_RANDOM},
        cpu_ns() - begin, PACKED_PAGES, wire);
}

GArray *ferry_calibrate_packed(void)
{
    static const int zlib[] = {1, 6}, zstd[] = {-5, 1, 3, 7};
    GArray *all = g_array_new(FALSE, FALSE, sizeof(FerryCalibratePacked));

    for (unsigned content = 0; content < FERRY_CALIBRATE_N_CONTENTS; content++) {
        for (gsize i = 0; i < G_N_ELEMENTS(zlib); i++) {
            pack(all, FERRY_SIM_CODEC_ZLIB, zlib[i], content);
        }
        for (gsize i = 0; i < G_N_ELEMENTS(zstd); i++) {
            pack(all, FERRY_SIM_CODEC_ZSTD, zstd[i], content);
        }
    }
    pack_delta(all);
    return all;
}
