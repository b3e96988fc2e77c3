/* What bench/throughput needs in C: guest memory with known content, and what its parts cost.
 *
 *   fill FILE MIB CONTENT          makes FILE: "mixed" (a quarter zero, half text, a quarter
 * random, in shuffled runs of 1 MiB), "random" or "zero" copy FROM TO BYTES CONNECTIONS a plain
 * socket copy of so many bytes out of one file into another, over the TCP loopback, sender and
 * receiver of a process each
 *
 * Files are mapped and touched before anything is measured; what copy finds is a line of JSON. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <glib.h>

#define MIB (1u << 20)
#define THREADS_MAX 64u

static void check(gboolean good, const char *what)
{
    if (!good) {
        fprintf(stderr, "bench-throughput-parts: %s: %s\n", what, g_strerror(errno));
        exit(1);
    }
}

static double seconds(clockid_t clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* @bytes 0: as long as it is. */
static uint8_t *map(const char *path, size_t bytes, size_t *out_bytes)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct stat info;

    check(fd >= 0 && fstat(fd, &info) == 0, path);
    if (bytes > 0) {
        check(ftruncate(fd, (off_t)bytes) == 0, path);
    }
    *out_bytes = bytes > 0 ? bytes : (size_t)info.st_size;
    void *at = mmap(NULL, *out_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
    check(at != MAP_FAILED, path);
    close(fd);
    return at;
}

/* ---- fill ---- */

static uint64_t random_state = 88172645463325252u;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static void fill_random(uint8_t *to, size_t n)
{
    for (size_t i = 0; i < n; i += sizeof(uint64_t)) {
        uint64_t word = next_random() * 2685821657736338717u;
        memcpy(to + i, &word, sizeof word);
    }
}

#define WORDS 4096u

/* Words of an invented language, few of them frequent; numbers; lines. zstd's level 1 makes about a
 * third of it. */
static void fill_text(uint8_t *to, size_t n)
{
    static char words[WORDS][12];
    char token[32];

    for (unsigned w = 0; w < WORDS && !words[WORDS - 1][0]; w++) {
        unsigned length = 2 + (unsigned)(next_random() % 9);
        for (unsigned i = 0; i < length; i++) {
            words[w][i] = (i % 2 ? "aeiou" : "tnsrl")[next_random() % 5];
        }
    }
    for (size_t i = 0; i < n;) {
        uint64_t r = next_random();
        double u = (double)(r >> 40) / (double)(1u << 24);
        unsigned rank = (unsigned)(u * u * u * (WORDS - 1));
        int length = r % 16 == 0
                         ? snprintf(token, sizeof token, "%u\n", (unsigned)(r >> 20) % 10000)
                         : snprintf(token, sizeof token, "%s ", words[rank]);
        size_t take = MIN((size_t)length, n - i);
        memcpy(to + i, token, take);
        i += take;
    }
}

static int fill(const char *path, const char *mib, const char *content)
{
    size_t bytes, n = (size_t)g_ascii_strtoull(mib, NULL, 10);
    uint8_t *memory = map(path, n * MIB, &bytes);
    g_autofree unsigned *kind = g_new(unsigned, n);

    for (size_t i = 0; i < n; i++) {
        kind[i] = strcmp(content, "mixed") == 0    ? (unsigned)(i * 4 / n)
                  : strcmp(content, "random") == 0 ? 3
                                                   : 0;
    }
    for (size_t i = n; i > 1; i--) {
        size_t k = next_random() % i;
        unsigned other = kind[k];
        kind[k] = kind[i - 1];
        kind[i - 1] = other;
    }
    for (size_t i = 0; i < n; i++) {
        uint8_t *at = memory + i * MIB;
        if (kind[i] == 0) {
            memset(at, 0, MIB);
        } else if (kind[i] == 3) {
            fill_random(at, MIB);
        } else {
            fill_text(at, MIB);
        }
    }
    return 0;
}

/* ---- copy ---- */

typedef struct {
    uint8_t *memory;
    size_t bytes;
    int fd;
} Part;

static void *send_part(void *data)
{
    Part *p = data;
    char done;

    for (size_t at = 0; at < p->bytes;) {
        ssize_t n = send(p->fd, p->memory + at, MIN(MIB, p->bytes - at), MSG_NOSIGNAL);
        check(n > 0, "send");
        at += (size_t)n;
    }
    check(recv(p->fd, &done, 1, 0) == 1, "the other side's answer");
    return NULL;
}

static void *receive_part(void *data)
{
    Part *p = data;

    for (size_t at = 0; at < p->bytes;) {
        ssize_t n = recv(p->fd, p->memory + at, MIN(MIB, p->bytes - at), 0);
        check(n > 0, "recv");
        at += (size_t)n;
    }
    check(send(p->fd, "", 1, MSG_NOSIGNAL) == 1, "send");
    return NULL;
}

static void run_threads(void *(*run)(void *), void *items, size_t size, unsigned n)
{
    pthread_t threads[THREADS_MAX];

    for (unsigned i = 1; i < n; i++) {
        check(pthread_create(&threads[i], NULL, run, (uint8_t *)items + i * size) == 0, "thread");
    }
    run(items);
    for (unsigned i = 1; i < n; i++) {
        pthread_join(threads[i], NULL);
    }
}

static void connect_parts(Part *out, Part *in, unsigned n, const char *congestion)
{
    struct sockaddr_in where = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof where;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    check(listener >= 0 && bind(listener, (struct sockaddr *)&where, length) == 0 &&
              listen(listener, (int)n) == 0 &&
              getsockname(listener, (struct sockaddr *)&where, &length) == 0,
          "listen");
    for (unsigned i = 0; i < n; i++) {
        out[i].fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        check(setsockopt(out[i].fd, IPPROTO_TCP, TCP_CONGESTION, congestion,
                         (socklen_t)strlen(congestion)) == 0,
              congestion);
        check(connect(out[i].fd, (struct sockaddr *)&where, sizeof where) == 0, "connect");
        in[i].fd = accept(listener, NULL, NULL);
        check(in[i].fd >= 0, "accept");
    }
    close(listener);
}

/* The receiving process; says when it is ready. */
static void receiver(Part *in, unsigned n, uint8_t *to, size_t to_bytes, double *out_cpu)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (size_t i = 0; i < to_bytes; i += 4096) {
        to[i] = 0; /* the mapping is inherited, its page tables are not */
    }
    check(send(in[0].fd, "", 1, MSG_NOSIGNAL) == 1, "ready");
    double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    run_threads(receive_part, in, sizeof *in, n);
    *out_cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    _exit(0);
}

static void measure_copy(Part *out, Part *in, unsigned n, uint8_t *to, size_t to_bytes)
{
    double *cpu = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    size_t bytes = 0;
    char ready;

    check(cpu != MAP_FAILED, "memory");
    pid_t child = fork();
    check(child >= 0, "fork");
    if (child == 0) {
        receiver(in, n, to, to_bytes, &cpu[1]);
    }
    check(recv(out[0].fd, &ready, 1, 0) == 1, "ready");
    cpu[0] = seconds(CLOCK_PROCESS_CPUTIME_ID);
    double wall = seconds(CLOCK_MONOTONIC);
    run_threads(send_part, out, sizeof *out, n);
    wall = seconds(CLOCK_MONOTONIC) - wall;
    cpu[0] = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu[0];
    check(waitpid(child, NULL, 0) == child, "wait");
    for (unsigned i = 0; i < n; i++) {
        bytes += out[i].bytes;
    }
    printf("{\"bench\": \"throughput\", \"case\": \"copy\", \"bytes\": %zu, \"connections\": %u, "
           "\"wall_s\": %.4f, \"source_cpu_s\": %.4f, \"destination_cpu_s\": %.4f}\n",
           bytes, n, wall, cpu[0], cpu[1]);
}

static int copy(const char *from_path, const char *to_path, const char *wanted, const char *count,
                const char *congestion)
{
    unsigned n = (unsigned)g_ascii_strtoull(count, NULL, 10);
    size_t bytes = (size_t)g_ascii_strtoull(wanted, NULL, 10), from_bytes, to_bytes;
    uint8_t *from = map(from_path, 0, &from_bytes), *to = map(to_path, 0, &to_bytes);
    Part out[THREADS_MAX], in[THREADS_MAX];

    bytes = MIN(bytes, MIN(from_bytes, to_bytes));
    if (n == 0 || n > THREADS_MAX || bytes / n == 0) {
        fputs("copy: 1 to 64 connections, and a byte for each\n", stderr);
        return 2;
    }
    for (unsigned i = 0; i < n; i++) {
        size_t begin = bytes / n * i, end = i + 1 < n ? begin + bytes / n : bytes;
        out[i] = (Part){.memory = from + begin, .bytes = end - begin};
        in[i] = (Part){.memory = to + begin, .bytes = end - begin};
    }
    connect_parts(out, in, n, congestion);
    measure_copy(out, in, n, to, to_bytes);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "fill") == 0) {
        return fill(argv[2], argv[3], argv[4]);
    }
    if (argc == 7 && strcmp(argv[1], "copy") == 0) {
        return copy(argv[2], argv[3], argv[4], argv[5], argv[6]);
    }
    fputs("usage: bench-throughput-parts fill FILE MIB mixed|random|zero\n"
          "       bench-throughput-parts copy FROM TO BYTES CONNECTIONS CONGESTION\n",
          stderr);
    return 2;
}
