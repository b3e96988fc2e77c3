#include "bench/two-ends.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/ferry.h"

#define PIECE (1u << 20)

void bench_die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static void check(gboolean good, const char *what)
{
    if (!good) {
        bench_die(what, g_strerror(errno));
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_median(double *values, unsigned n)
{
    qsort(values, n, sizeof *values, compare);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

char *bench_congestion_control(void)
{
    char *text = NULL;

    return g_file_get_contents("/proc/sys/net/ipv4/tcp_congestion_control", &text, NULL, NULL)
               ? g_strstrip(text)
               : g_strdup("unknown");
}

static uint8_t *map(uint64_t bytes, uint64_t seed)
{
    uint64_t *words = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    check(words != MAP_FAILED, "guest memory");
    for (uint64_t i = 0; i < bytes / sizeof *words; i++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        words[i] = seed;
    }
    return (uint8_t *)words;
}

void bench_memory_init(BenchMemory *memory, uint64_t bytes)
{
    memory->bytes = bytes;
    memory->source = map(bytes, 88172645463325252u);
    memory->destination = map(bytes, 1181783497276652981u);
}

/* ---- the plain copy ---- */

static void socket_send(int fd, const BenchMemory *memory)
{
    char done;

    for (uint64_t at = 0; at < memory->bytes;) {
        ssize_t n = send(fd, memory->source + at, MIN(PIECE, memory->bytes - at), MSG_NOSIGNAL);
        check(n > 0, "send");
        at += (uint64_t)n;
    }
    check(recv(fd, &done, 1, 0) == 1, "the other side's answer");
}

static void socket_receive(int fd, const BenchMemory *memory)
{
    for (uint64_t at = 0; at < memory->bytes;) {
        ssize_t n = recv(fd, memory->destination + at, MIN(PIECE, memory->bytes - at), 0);
        check(n > 0, "recv");
        at += (uint64_t)n;
    }
    check(send(fd, "", 1, MSG_NOSIGNAL) == 1, "send");
}

const BenchContender bench_socket = {"socket", socket_send, socket_receive};

/* ---- Ferry ---- */

static gboolean guest_pause(void *self, FerryPauseReason why, gboolean *out_was_running,
                            GError **error)
{
    (void)self;
    (void)why;
    (void)error;
    *out_was_running = TRUE;
    return TRUE;
}

static gboolean guest_resume(void *self, GError **error)
{
    (void)self;
    (void)error;
    return TRUE;
}

static const FerryGuestOps guest_ops = {.pause = guest_pause, .resume = guest_resume};

static FerryGuest *make_guest(uint8_t *host, uint64_t bytes)
{
    g_autoptr(GError) error = NULL;
    FerryGuest *guest = ferry_guest_new("bench", &guest_ops, NULL);

    if (!ferry_memory_add(ferry_guest_memory(guest), "ram", host, bytes, &error)) {
        bench_die("guest", error->message);
    }
    return guest;
}

static FerryChannel *make_channel(int fd, FerryInterrupt *interrupt)
{
    g_autoptr(GError) error = NULL;
    FerryAddress address = {.type = FERRY_ADDRESS_FD, .fd = dup(fd)};
    FerryTransportOptions options = {.interrupt = interrupt};
    FerryChannel *channel =
        ferry_transport_connect(&address, ferry_now_ns() + 1000000000, &options, &error);

    if (!channel) {
        bench_die("channel", error->message);
    }
    return channel;
}

static void ferry_send(int fd, const BenchMemory *memory)
{
    static const FerryLimits limits = {.downtime_limit_ns = 300000000}; /* no max_bandwidth */
    g_autoptr(GError) error = NULL;
    uint64_t pages = memory->bytes / 4096;
    FerryDirtyMarks *marks = ferry_dirty_marks_new(&pages, 1);
    g_autoptr(FerryInterrupt) interrupt = ferry_interrupt_new(NULL);
    g_autoptr(FerryGuest) guest = make_guest(memory->source, memory->bytes);
    g_autoptr(FerrySource) source = NULL;

    ferry_guest_set_dirty_log(guest, ferry_dirty_log_marks_new(marks));
    source = ferry_source_new(guest, make_channel(fd, interrupt), interrupt, NULL, &limits);
    if (!ferry_source_run(source, &error)) {
        bench_die("source", error->message);
    }
    g_clear_pointer(&source, ferry_source_free);
    g_clear_pointer(&guest, ferry_guest_free);
    ferry_dirty_marks_free(marks);
}

static void ferry_receive(int fd, const BenchMemory *memory)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(FerryInterrupt) interrupt = ferry_interrupt_new(NULL);
    g_autoptr(FerryGuest) guest = make_guest(memory->destination, memory->bytes);
    g_autoptr(FerryDestination) destination =
        ferry_destination_new(guest, make_channel(fd, interrupt), interrupt, NULL);

    if (!ferry_destination_run(destination, &error)) {
        bench_die("destination", error->message);
    }
}

const BenchContender bench_ferry = {"ferry", ferry_send, ferry_receive};

/* ---- the measurement ---- */

static uint64_t cpu_ns(void)
{
    struct rusage usage;

    check(getrusage(RUSAGE_SELF, &usage) == 0, "getrusage");
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000 +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
}

static uint64_t anon_bytes(void)
{
    g_autofree char *text = NULL;
    const char *at;

    check(g_file_get_contents("/proc/self/status", &text, NULL, NULL), "/proc/self/status");
    at = strstr(text, "RssAnon:");
    return at ? g_ascii_strtoull(at + strlen("RssAnon:"), NULL, 10) << 10 : 0;
}

typedef struct {
    gint stop; /* atomic */
    uint64_t largest;
} Watch;

static gpointer watch(gpointer data)
{
    Watch *w = data;

    while (!g_atomic_int_get(&w->stop)) {
        uint64_t now = anon_bytes();
        w->largest = MAX(w->largest, now);
        g_usleep(1000);
    }
    return NULL;
}

/* One side's cost: CPU time, and how much its own memory grew at most. */
static void measure(void (*side)(int fd, const BenchMemory *memory), int fd,
                    const BenchMemory *memory, gboolean watch_memory, uint64_t *out_cpu_ns,
                    uint64_t *out_anon_bytes)
{
    Watch w = {0};
    GThread *thread = NULL;
    uint64_t anon, cpu = cpu_ns();

    if (watch_memory) {
        thread = g_thread_new("watch", watch, &w);
        g_usleep(20000); /* the thread's own memory is there already */
    }
    anon = watch_memory ? anon_bytes() : 0;
    side(fd, memory);
    *out_cpu_ns = cpu_ns() - cpu;
    if (thread) {
        g_atomic_int_set(&w.stop, 1);
        g_thread_join(thread);
    }
    *out_anon_bytes = w.largest > anon ? w.largest - anon : 0;
}

static void nodelay(int fd)
{
    check(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)) == 0, "TCP_NODELAY");
}

static void warm(uint8_t *memory, uint64_t bytes)
{
    check(madvise(memory, bytes, MADV_POPULATE_WRITE) == 0, "MADV_POPULATE_WRITE");
}

/* The child: says when it is ready, then what it cost. */
G_NORETURN static void be_destination(const BenchContender *contender, const BenchMemory *memory,
                                      int listener, int pipe_fd, gboolean watch_memory)
{
    uint64_t answer[2];
    int fd;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    warm(memory->destination, memory->bytes);
    check(write(pipe_fd, "", 1) == 1, "pipe");
    fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    check(fd >= 0, "accept");
    nodelay(fd);
    measure(contender->receive, fd, memory, watch_memory, &answer[0], &answer[1]);
    check(write(pipe_fd, answer, sizeof answer) == sizeof answer, "pipe");
    _exit(0);
}

static int listen_on_loopback(struct sockaddr_in *out_address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    socklen_t length = sizeof *out_address;

    *out_address =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    check(fd >= 0 && bind(fd, (struct sockaddr *)out_address, length) == 0 && listen(fd, 1) == 0 &&
              getsockname(fd, (struct sockaddr *)out_address, &length) == 0,
          "listening");
    return fd;
}

BenchCost bench_run(const BenchContender *contender, const BenchMemory *memory,
                    gboolean watch_memory)
{
    BenchCost cost = {0};
    struct sockaddr_in address;
    int listener = listen_on_loopback(&address), ends[2], fd, status;
    uint64_t begin_ns, answer[2];
    char ready;
    pid_t child = -1;

    check(pipe(ends) == 0 && (child = fork()) >= 0, "child");
    if (child == 0) {
        be_destination(contender, memory, listener, ends[1], watch_memory);
    }
    close(ends[1]);
    close(listener);
    warm(memory->source, memory->bytes);
    check(read(ends[0], &ready, 1) == 1, "child");
    begin_ns = ferry_now_ns();
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    check(fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0, "connect");
    nodelay(fd);
    measure(contender->send, fd, memory, watch_memory, &cost.cpu_ns[0], &cost.anon_bytes[0]);
    cost.wall_ns = ferry_now_ns() - begin_ns;
    check(read(ends[0], answer, sizeof answer) == sizeof answer, "destination");
    cost.cpu_ns[1] = answer[0];
    cost.anon_bytes[1] = answer[1];
    close(fd);
    close(ends[0]);
    waitpid(child, &status, 0);
    if (memcmp(memory->source, memory->destination, memory->bytes) != 0) {
        bench_die(contender->name, "the memories differ");
    }
    return cost;
}
