/* What does compressing pages cost: by the library alone, by Ferry, and by Ferry when it chooses?
 *
 * The pages of FILE that are not zero go 128 a packet, shared by THREADS threads, and each packet
 * is decoded by the thread that encoded it. Cases: stream  the library, a page at a time, one
 * stream per thread with a flush per packet, as QEMU packet  the library, each packet whole: a
 * frame, or input in one piece always  Ferry's compressor for every packet chosen  Ferry's
 * compressor, raw packets where content seems incompressible Wall time of all threads and the CPU
 * time of both halves; no sockets. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "engine/compress.h"
#include "engine/page.h"
#include "protocol/ram.h"

#define PAGES 128u
#define THREADS_MAX 64u

typedef enum { STREAM, PACKET, ALWAYS, CHOSEN, N_WAYS } Way;
static const char *const way_names[] = {"stream", "packet", "always", "chosen"};

static const uint8_t *memory;
static uint32_t *pages; /* that are not zero */
static unsigned n_pages;
static FerryMultifdMethod method;
static int level;

typedef struct {
    Way way;
    gboolean decode;
    FerryCompressor *compressor;
    FerryDecompressor *decompressor;
    z_stream zlib;
    ZSTD_CCtx *zstd;
    size_t bound, wire_bytes, raw_packets;
    uint8_t *wire, *back;
    double cpu[2];
} Worker;

static unsigned next_packet; /* taken by whoever is free */

static double seconds(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static size_t encode_zlib(Worker *w, const struct iovec *in, unsigned n)
{
    w->zlib.next_out = w->wire;
    w->zlib.avail_out = (uInt)w->bound;
    for (unsigned i = 0; i < n; i++) {
        w->zlib.next_in = in[i].iov_base;
        w->zlib.avail_in = (uInt)in[i].iov_len;
        deflate(&w->zlib, i + 1 < n ? Z_NO_FLUSH : Z_SYNC_FLUSH);
    }
    return w->bound - w->zlib.avail_out;
}

static size_t encode_zstd(Worker *w, const struct iovec *in, unsigned n)
{
    ZSTD_outBuffer out = {w->wire, w->bound, 0};

    for (unsigned i = 0; i < n; i++) {
        ZSTD_inBuffer piece = {in[i].iov_base, in[i].iov_len, 0};
        ZSTD_compressStream2(w->zstd, &out, &piece, i + 1 < n ? ZSTD_e_continue : ZSTD_e_flush);
    }
    return out.pos;
}

/* Raw packets are gathered as a socket's buffer would gather them. */
static size_t encode_ferry(Worker *w, const struct iovec *in, unsigned n)
{
    struct iovec out[FERRY_RAW_PIECES_MAX(PAGES)];
    size_t bytes, at = 0;

    if (w->way == ALWAYS || !ferry_compressor_seems_incompressible(w->compressor, in, n)) {
        return ferry_compressor_packet(w->compressor, in, n, w->wire);
    }
    unsigned pieces = ferry_compressor_raw_packet(w->compressor, in, n, out, &bytes);
    for (unsigned i = 0; i < pieces; i++) {
        memcpy(w->wire + at, out[i].iov_base, out[i].iov_len);
        at += out[i].iov_len;
    }
    w->raw_packets++;
    return bytes;
}

static size_t encode(Worker *w, const struct iovec *pieces, unsigned n)
{
    struct iovec whole = pieces[0];
    unsigned joined = 1;

    if (w->way == STREAM) {
        return method == FERRY_MULTIFD_ZLIB ? encode_zlib(w, pieces, n) : encode_zstd(w, pieces, n);
    }
    if (w->way != PACKET) {
        return encode_ferry(w, pieces, n);
    }
    while (joined < n && (uint8_t *)whole.iov_base + whole.iov_len == pieces[joined].iov_base) {
        whole.iov_len += pieces[joined++].iov_len;
    }
    if (joined < n) {
        return method == FERRY_MULTIFD_ZLIB ? encode_zlib(w, pieces, n) : encode_zstd(w, pieces, n);
    }
    return method == FERRY_MULTIFD_ZLIB
               ? encode_zlib(w, &whole, 1)
               : ZSTD_compress2(w->zstd, w->wire, w->bound, whole.iov_base, whole.iov_len);
}

static void *work(void *data)
{
    Worker *w = data;
    struct iovec in[PAGES], out = {w->back, 0};
    g_autoptr(GError) error = NULL;
    unsigned first;

    while ((first = __atomic_fetch_add(&next_packet, PAGES, __ATOMIC_RELAXED)) < n_pages) {
        unsigned n = MIN(PAGES, n_pages - first);
        for (unsigned i = 0; i < n; i++) {
            in[i].iov_base = (uint8_t *)memory + (size_t)pages[first + i] * FERRY_PAGE_SIZE;
            in[i].iov_len = FERRY_PAGE_SIZE;
        }
        double begin = seconds(CLOCK_THREAD_CPUTIME_ID);
        size_t bytes = encode(w, in, n);
        double middle = seconds(CLOCK_THREAD_CPUTIME_ID);
        w->cpu[0] += middle - begin;
        w->wire_bytes += bytes;
        if (w->decode) {
            out.iov_len = (size_t)n * FERRY_PAGE_SIZE;
            if (!ferry_decompressor_packet(w->decompressor, w->wire, bytes, &out, 1, &error)) {
                fprintf(stderr, "bench-compress: %s\n", error->message);
                exit(1);
            }
            w->cpu[1] += seconds(CLOCK_THREAD_CPUTIME_ID) - middle;
        }
    }
    return NULL;
}

static void worker_init(Worker *w, Way way, gboolean decode)
{
    *w = (Worker){.way = way, .decode = decode};
    w->compressor = ferry_compressor_new(method, level);
    w->decompressor = ferry_decompressor_new(method);
    w->zstd = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(w->zstd, ZSTD_c_compressionLevel, level);
    deflateInit(&w->zlib, level);
    w->bound = ferry_compressor_bound(w->compressor, PAGES * FERRY_PAGE_SIZE) + 1024;
    w->wire = g_malloc(w->bound);
    w->back = g_malloc(PAGES * FERRY_PAGE_SIZE);
    memset(w->wire, 1, w->bound);
    memset(w->back, 1, PAGES * FERRY_PAGE_SIZE);
}

static void worker_clear(Worker *w)
{
    ferry_compressor_free(w->compressor);
    ferry_decompressor_free(w->decompressor);
    ZSTD_freeCCtx(w->zstd);
    deflateEnd(&w->zlib);
    g_free(w->wire);
    g_free(w->back);
}

static void measure(Way way, gboolean decode, unsigned n)
{
    Worker workers[THREADS_MAX], sum = {0};
    pthread_t threads[THREADS_MAX];

    for (unsigned i = 0; i < n; i++) {
        worker_init(&workers[i], way, decode);
    }
    next_packet = 0;
    double begin = seconds(CLOCK_MONOTONIC);
    for (unsigned i = 0; i < n; i++) {
        if (pthread_create(&threads[i], NULL, work, &workers[i]) != 0) {
            perror("bench-compress");
            exit(1);
        }
    }
    for (unsigned i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
        sum.cpu[0] += workers[i].cpu[0];
        sum.cpu[1] += workers[i].cpu[1];
        sum.wire_bytes += workers[i].wire_bytes;
        sum.raw_packets += workers[i].raw_packets;
    }
    double wall = seconds(CLOCK_MONOTONIC) - begin, in = (double)n_pages * FERRY_PAGE_SIZE;
    for (unsigned i = 0; i < n; i++) {
        worker_clear(&workers[i]);
    }
    printf("{\"bench\": \"compress\", \"case\": \"%s\", \"decoded\": %s, \"threads\": %u, "
           "\"bytes\": %.0f, \"wire_bytes\": %zu, \"raw_packets\": %zu, \"wall_s\": %.4f, "
           "\"encode_cpu_s\": %.4f, \"decode_cpu_s\": %.4f}\n",
           way_names[way], decode ? "true" : "false", n, in, sum.wire_bytes, sum.raw_packets, wall,
           sum.cpu[0], sum.cpu[1]);
    fprintf(
        stderr,
        "%-7s %-9s wall %7.1f ms, CPU %7.1f ms encoding, %6.1f ms decoding, ratio %.3f, %zu raw\n",
        way_names[way], decode ? "both" : "encode", wall * 1e3, sum.cpu[0] * 1e3, sum.cpu[1] * 1e3,
        in / (double)sum.wire_bytes, sum.raw_packets);
}

static void load(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;

    if (fd < 0 || fstat(fd, &info) != 0 ||
        (memory = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0)) ==
            MAP_FAILED) {
        fprintf(stderr, "bench-compress: %s: %s\n", path, g_strerror(errno));
        exit(1);
    }
    close(fd);
    unsigned all = (unsigned)((size_t)info.st_size / FERRY_PAGE_SIZE);
    pages = g_new(uint32_t, all);
    for (unsigned i = 0; i < all; i++) {
        if (!ferry_page_is_zero(memory + (size_t)i * FERRY_PAGE_SIZE)) {
            pages[n_pages++] = i;
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 5 || !ferry_multifd_method_find(argv[2], &method) ||
        (method != FERRY_MULTIFD_ZLIB && method != FERRY_MULTIFD_ZSTD)) {
        fputs("usage: bench-compress FILE zlib|zstd LEVEL THREADS\n", stderr);
        return 2;
    }
    level = CLAMP(atoi(argv[3]), 0,
                  method == FERRY_MULTIFD_ZLIB ? FERRY_ZLIB_LEVEL_MAX : FERRY_ZSTD_LEVEL_MAX);
    unsigned threads = (unsigned)CLAMP(atoi(argv[4]), 1, (int)THREADS_MAX);
    load(argv[1]);
    for (Way way = STREAM; way < N_WAYS; way++) {
        measure(way, FALSE, threads);
        measure(way, TRUE, threads);
    }
    g_free(pages);
    return 0;
}
