/* Is a level that follows the link as good as the best fixed one?
 *
 * The pages of FILE that are not zero go over CHANNELS multifd channels (socket pairs) to readers
 * that together take MIB_PER_SECOND (0: all they get) and throw it away; in turn with each level of
 * the ladder fixed, and adaptive from level 1 on. Wall time until everything is read, and CPU time
 * of the process. One JSON line per case on stdout, a table for people on stderr. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "engine/compress.h"
#include "engine/multifd-send.h"
#include "engine/page.h"
#include "engine/precopy/level.h"
#include "protocol/ram.h"

#define CHANNELS_MAX 16u
#define READ_BYTES 65536
#define REPEATS_MAX 99

static FerryMemory *memory;
static uint64_t n_pages, *pages; /* that are not zero */
static FerryMultifdMethod method;
static unsigned n_channels;
static double bytes_per_ns;       /* 0: no limit */
static uint64_t begin_ns, n_read; /* n_read: atomic */

static void die(const char *what, const char *why)
{
    fprintf(stderr, "bench-adapt: %s: %s\n", what, why);
    exit(1);
}

/* Reads no more than the link would have brought by now. */
static void *read_all(void *data)
{
    uint8_t *bytes = g_malloc(READ_BYTES);
    int fd = *(int *)data;
    ssize_t n;

    while ((n = read(fd, bytes, READ_BYTES)) > 0) {
        uint64_t all = __atomic_add_fetch(&n_read, (uint64_t)n, __ATOMIC_RELAXED);
        uint64_t due = bytes_per_ns > 0 ? begin_ns + (uint64_t)((double)all / bytes_per_ns) : 0;
        uint64_t now = ferry_now_ns();
        if (due > now) {
            g_usleep((due - now) / 1000);
        }
    }
    close(fd);
    g_free(bytes);
    return NULL;
}

static FerryChannel *connect_reader(FerryInterrupt *interrupt, int *out_fd)
{
    g_autoptr(GError) error = NULL;
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
        die("socketpair", g_strerror(errno));
    }
    FerryAddress address = {.type = FERRY_ADDRESS_FD, .fd = fds[0]};
    FerryTransportOptions options = {.interrupt = interrupt};
    FerryChannel *channel =
        ferry_transport_connect(&address, ferry_now_ns() + 1000000000, &options, &error);
    if (!channel) {
        die("channel", error->message);
    }
    *out_fd = fds[1];
    return channel;
}

static void send_all(FerryMultifdSend *send)
{
    FerryMultifdJob job = {.n = 0};
    g_autoptr(GError) error = NULL;

    for (uint64_t i = 0; i < n_pages; i++) {
        job.pages[job.n++] = pages[i];
        if (job.n < FERRY_MULTIFD_JOB_PAGES && i + 1 < n_pages) {
            continue;
        }
        while (!ferry_multifd_send_has_room(send)) {
            if (ferry_multifd_send_wait(send, FERRY_MULTIFD_ROOM, ferry_now_ns() + 1000000000,
                                        &error) < 0) {
                die("channel", error->message);
            }
        }
        ferry_multifd_send_job(send, &job);
        job.n = 0;
    }
    while (ferry_multifd_send_wait(send, FERRY_MULTIFD_IDLE, ferry_now_ns() + 1000000000, &error) <
           1) {
        if (error) {
            die("channel", error->message);
        }
    }
}

static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* @adaptive: from @level on. Seconds. */
static double measure(int level, gboolean adaptive)
{
    g_autoptr(FerryInterrupt) interrupt = ferry_interrupt_new(NULL);
    FerryChannel *main_channel, *peer;
    pthread_t readers[CHANNELS_MAX];
    int fds[CHANNELS_MAX];

    ferry_channel_pair(4096, interrupt, &main_channel, &peer);
    main_channel = ferry_channel_ratelimit(main_channel, 0, interrupt);
    FerryMultifdSendOptions options = {.memory = memory,
                                       .method = method,
                                       .level = level,
                                       .adaptive = adaptive,
                                       .limited = main_channel,
                                       .progress_ns = 60000000000ull};
    FerryMultifdSend *send = ferry_multifd_send_new(&options);
    double cpu = cpu_seconds();
    n_read = 0;
    begin_ns = ferry_now_ns();
    for (unsigned i = 0; i < n_channels; i++) {
        if (!ferry_multifd_send_add(send, connect_reader(interrupt, &fds[i]), NULL) ||
            pthread_create(&readers[i], NULL, read_all, &fds[i]) != 0) {
            die("channel", "no thread or no hello");
        }
    }
    send_all(send);
    uint64_t wire = ferry_multifd_send_bytes_written(send);
    ferry_multifd_send_stop(send);
    ferry_multifd_send_free(send); /* closes: the readers come to the end */
    for (unsigned i = 0; i < n_channels; i++) {
        pthread_join(readers[i], NULL);
    }
    double wall = (double)(ferry_now_ns() - begin_ns) / 1e9;
    cpu = cpu_seconds() - cpu;
    ferry_channel_free(main_channel);
    ferry_channel_free(peer);
    printf("{\"bench\": \"adapt\", \"level\": %d, \"adaptive\": %s, \"wall_s\": %.3f, "
           "\"cpu_s\": %.3f, \"bytes\": %" G_GUINT64_FORMAT ", \"wire_bytes\": %" G_GUINT64_FORMAT
           "}\n",
           level, adaptive ? "true" : "false", wall, cpu, n_pages * FERRY_PAGE_SIZE, wire);
    fprintf(stderr, "%-8s %4d %8.3f s, CPU %7.3f s, %7.1f MiB on the wire\n",
            adaptive ? "adaptive" : "fixed", level, wall, cpu, (double)wire / 1048576);
    return wall;
}

static void load(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat info;
    g_autoptr(GError) error = NULL;

    if (fd < 0 || fstat(fd, &info) != 0) {
        die(path, g_strerror(errno));
    }
    uint64_t all = (uint64_t)info.st_size / FERRY_PAGE_SIZE;
    uint8_t *host =
        mmap(NULL, (size_t)info.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    memory = ferry_memory_new();
    if (host == MAP_FAILED ||
        !ferry_memory_add(memory, "ram", host, all * FERRY_PAGE_SIZE, &error)) {
        die(path, error ? error->message : g_strerror(errno));
    }
    close(fd);
    pages = g_new(uint64_t, all);
    for (uint64_t i = 0; i < all; i++) {
        if (!ferry_page_is_zero(host + i * FERRY_PAGE_SIZE)) {
            pages[n_pages++] = i;
        }
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    double walls[FERRY_LEVEL_STEPS_MAX][REPEATS_MAX], best = G_MAXDOUBLE, worst = 0;
    unsigned steps = 1, repeats;

    if (argc < 5 || argc > 7 || !ferry_multifd_method_find(argv[2], &method) ||
        (method != FERRY_MULTIFD_ZLIB && method != FERRY_MULTIFD_ZSTD)) {
        fputs("usage: bench-adapt FILE zlib|zstd CHANNELS MIB_PER_SECOND [REPEATS [HARDEST]]\n",
              stderr);
        return 2;
    }
    n_channels = (unsigned)CLAMP(atoi(argv[3]), 1, (int)CHANNELS_MAX);
    bytes_per_ns = g_ascii_strtod(argv[4], NULL) * 1048576 / 1e9;
    repeats = argc > 5 ? (unsigned)CLAMP(atoi(argv[5]), 1, REPEATS_MAX) : 1;
    steps = ferry_compress_step_of(method, argc > 6 ? atoi(argv[6]) : 100) + 1;
    load(argv[1]);
    for (unsigned i = 0; i < repeats; i++) { /* step 0's place is adaptive's */
        walls[0][i] = measure(1, TRUE);
        for (unsigned step = 1; step < steps; step++) {
            walls[step][i] = measure(ferry_compress_step_level(method, step), FALSE);
        }
    }
    for (unsigned step = 0; step < steps; step++) {
        qsort(walls[step], repeats, sizeof(double), compare);
        best = step ? MIN(best, walls[step][repeats / 2]) : best;
        worst = step ? MAX(worst, walls[step][repeats / 2]) : worst;
    }
    double wall = walls[0][repeats / 2];
    printf("{\"bench\": \"adapt\", \"method\": \"%s\", \"channels\": %u, "
           "\"mib_per_second\": %s, \"to_best\": %.3f, \"to_worst\": %.3f}\n",
           argv[2], n_channels, argv[4], wall / best, wall / worst);
    fprintf(stderr, "adaptive / best fixed level %.3f, / worst %.3f\n", wall / best, wall / worst);
    ferry_memory_free(memory);
    g_free(pages);
    return 0;
}
