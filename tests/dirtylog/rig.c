#include "tests/dirtylog/rig.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/dirtylog/writers.h"

#define HUGE_BYTES (UINT64_C(2) << 20)
#define RING_BYTES (8u << 10) /* 512 entries: they fill up */
static const uint64_t slot_pages[] = {32768, 32768 + 16};
#define N_PAGES (UINT64_C(65536) + 16)

struct RigPrivate {
    void *mapping;
    size_t mapping_bytes;
    FerryDirtyMarks *marks;
    Guest *guest;
    Writers *writers;
    pid_t child;
    int child_socket;
    pthread_t disturbed, disturber; /* who made the rig; who sends it signals */
    gboolean disturbing;            /* atomic */
};

static void die(const char *what)
{
    fprintf(stderr, "rig: %s: %s\n", what, g_strerror(errno));
    exit(1);
}

/* Aligned for huge pages. @fd: -1 for private memory. */
static void *map(int fd, size_t bytes, void **out_mapping, size_t *out_bytes)
{
    int flags = fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
    uint8_t *mapping =
        mmap(NULL, bytes + HUGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t *memory;

    if (mapping == MAP_FAILED) {
        die("mmap");
    }
    memory = mapping + (HUGE_BYTES - (uintptr_t)mapping % HUGE_BYTES) % HUGE_BYTES;
    if (mmap(memory, bytes, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0) == MAP_FAILED) {
        die("mmap");
    }
    madvise(memory, bytes, MADV_HUGEPAGE);
    *out_mapping = mapping;
    *out_bytes = bytes + HUGE_BYTES;
    return memory;
}

static gboolean add_guest(Rig *rig, void *memory, unsigned n_vcpus, uint32_t ring_bytes,
                          uint64_t seed, GError **error)
{
    rig->p->guest = guest_new(memory, rig->control, slot_pages, G_N_ELEMENTS(slot_pages), n_vcpus,
                              ring_bytes, GUEST_RANDOM, seed, error);
    return rig->p->guest != NULL;
}

/* Tracking by userfaultfd does not need KVM: without it the threads write alone. */
static void add_guest_if_possible(Rig *rig, void *memory, uint64_t seed)
{
    g_autoptr(GError) error = NULL;

    if (!add_guest(rig, memory, 1, 0, seed, &error)) {
        printf("# without a vCPU: %s\n", error->message);
    }
}

static gboolean kvm_bitmap(Rig *rig, uint64_t seed, GError **error)
{
    if (!add_guest(rig, rig->memory, 1, 0, seed, error)) {
        return FALSE;
    }
    rig->log =
        ferry_dirty_log_kvm_bitmap_new(guest_vm_fd(rig->p->guest), guest_slots(rig->p->guest),
                                       G_N_ELEMENTS(slot_pages), &rig->n_pages, 1, error);
    return rig->log != NULL;
}

static gboolean kvm_manual(Rig *rig, uint64_t seed, GError **error)
{
    if (!kvm_bitmap(rig, seed, error)) {
        return FALSE;
    }
    if (strcmp(ferry_dirty_log_get_name(rig->log), "kvm-bitmap") != 0) {
        g_set_error(error, FERRY_DIRTY_LOG_ERROR, FERRY_DIRTY_LOG_ERROR_UNSUPPORTED,
                    "KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2");
        return FALSE;
    }
    return TRUE;
}

static gboolean kvm_plain(Rig *rig, uint64_t seed, GError **error)
{
    if (!kvm_bitmap(rig, seed, error)) {
        return FALSE;
    }
    /* A GET after manual protect was in use must clear again. */
    if (!ferry_dirty_log_start(rig->log, error)) {
        return FALSE;
    }
    ferry_dirty_log_stop(rig->log);
    ferry_dirty_log_kvm_bitmap_set_plain(rig->log);
    return TRUE;
}

static gboolean kvm_ring(Rig *rig, uint64_t seed, GError **error)
{
    Guest *g;

    if (!add_guest(rig, rig->memory, 2, RING_BYTES, seed, error)) {
        return FALSE;
    }
    g = rig->p->guest;
    rig->log = ferry_dirty_log_kvm_ring_new(guest_vm_fd(g), guest_vcpu_fds(g), 2, RING_BYTES,
                                            guest_slots(g), G_N_ELEMENTS(slot_pages), &rig->n_pages,
                                            1, error);
    guest_set_ring_log(g, rig->log);
    return rig->log != NULL;
}

static void *disturb(void *arg)
{
    Rig *rig = arg;
    g_autoptr(GRand) random = g_rand_new_with_seed(1);

    while (__atomic_load_n(&rig->p->disturbing, __ATOMIC_RELAXED)) {
        pthread_kill(rig->p->disturbed, SIGUSR1);
        guest_disturb(rig->p->guest);
        g_usleep((gulong)g_rand_int_range(random, 0, 100));
    }
    return NULL;
}

static gboolean kvm_ring_signals(Rig *rig, uint64_t seed, GError **error)
{
    if (!kvm_ring(rig, seed, error)) {
        return FALSE;
    }
    rig->p->disturbed = pthread_self();
    rig->p->disturbing = TRUE;
    if (pthread_create(&rig->p->disturber, NULL, disturb, rig) != 0) {
        die("a thread");
    }
    return TRUE;
}

/* Each stop is whole, all threads rest, before it ends. Returns the child's wait status. */
static int stop_and_continue(pid_t child)
{
    int status;

    for (;;) {
        if (kill(child, SIGSTOP) < 0 || waitpid(child, &status, WUNTRACED) != child) {
            die("stopping a child");
        }
        if (!WIFSTOPPED(status)) {
            return status;
        }
        kill(child, SIGCONT);
        g_usleep(500);
    }
}

/* Here the process parts: the child is the one that goes on. */
static gboolean kvm_ring_stops(Rig *rig, uint64_t seed, GError **error)
{
    pid_t child;
    int status;

    fflush(stdout);
    child = fork();
    if (child < 0) {
        die("fork");
    }
    if (child > 0) {
        status = stop_and_continue(child);
        _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    return kvm_ring(rig, seed, error);
}

static gboolean marks(Rig *rig, uint64_t seed, GError **error)
{
    static const WriterKind kinds[] = {WRITER_MARKS, WRITER_MARKS};

    (void)seed;
    (void)error;
    rig->p->marks = ferry_dirty_marks_new(&rig->n_pages, 1);
    rig->p->writers = writers_new(rig->memory, rig->control, rig->p->marks, 0, kinds, 2);
    rig->log = ferry_dirty_log_marks_new(rig->p->marks);
    return TRUE;
}

static gboolean combined(Rig *rig, uint64_t seed, GError **error)
{
    static const WriterKind kinds[] = {WRITER_MARKS};
    FerryDirtyLog *logs[2];

    if (!kvm_bitmap(rig, seed, error)) {
        return FALSE;
    }
    rig->p->marks = ferry_dirty_marks_new(&rig->n_pages, 1);
    rig->p->writers = writers_new(rig->memory, rig->control, rig->p->marks, 1, kinds, 1);
    logs[0] = rig->log;
    logs[1] = ferry_dirty_log_marks_new(rig->p->marks);
    rig->log = ferry_dirty_log_combined_new(logs, 2);
    return TRUE;
}

static gboolean pagemap_own(Rig *rig, uint64_t seed, GError **error)
{
    static const WriterKind kinds[] = {WRITER_DISCARD, WRITER_KERNEL};
    FerryPagemapRegion region = {.address = (uintptr_t)rig->memory, .n_pages = rig->n_pages};

    rig->log = ferry_dirty_log_pagemap_new(0, -1, &region, 1, error);
    if (!rig->log) {
        return FALSE;
    }
    add_guest_if_possible(rig, rig->memory, seed);
    rig->p->writers = writers_new(rig->memory, rig->control, NULL, 1, kinds, 2);
    return TRUE;
}

/* Sends a descriptor and an address to the other end. */
static void send_fd(int to, int fd, uint64_t address)
{
    char room[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec iov = {&address, sizeof address};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    if (sendmsg(to, &m, 0) < 0) {
        die("sendmsg");
    }
}

static int receive_fd(int from, uint64_t *out_address)
{
    int fd = -1;
    char room[CMSG_SPACE(sizeof fd)];
    struct iovec iov = {out_address, sizeof *out_address};
    struct msghdr m = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof room};

    if (recvmsg(from, &m, MSG_CMSG_CLOEXEC) == sizeof *out_address && CMSG_FIRSTHDR(&m)) {
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof fd);
    }
    return fd;
}

/* The other process: maps the shared memory at an address of its own and does as it is told. */
G_NORETURN static void be_other_process(Rig *rig, int memory_fd, int socket, uint64_t seed)
{
    static const WriterKind kinds[] = {WRITER_USER, WRITER_KERNEL};
    void *mapping, *memory;
    size_t bytes;
    char command;
    int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    memory = map(memory_fd, rig->n_pages * GUEST_PAGE, &mapping, &bytes);
    add_guest_if_possible(rig, memory, seed);
    fflush(stdout);
    rig->p->writers = writers_new(memory, rig->control, NULL, 1, kinds, 2);
    if (uffd < 0) {
        _exit(77); /* the parent finds its socket closed */
    }
    send_fd(socket, uffd, (uintptr_t)memory);
    close(uffd);
    while (read(socket, &command, 1) == 1) {
        if (command == 'r') {
            rig_run(rig);
        } else {
            rig_pause(rig);
        }
        if (write(socket, "k", 1) != 1) {
            break;
        }
    }
    rig_pause(rig);
    _exit(0);
}

static gboolean pagemap_other(Rig *rig, uint64_t seed, GError **error)
{
    FerryPagemapRegion region = {.n_pages = rig->n_pages};
    size_t bytes = rig->n_pages * GUEST_PAGE;
    int memory_fd = memfd_create("guest", MFD_CLOEXEC), sockets[2], uffd;

    if (memory_fd < 0 || ftruncate(memory_fd, (off_t)bytes) < 0 ||
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0) {
        die("setting up");
    }
    munmap(rig->p->mapping, rig->p->mapping_bytes);
    rig->memory = map(memory_fd, bytes, &rig->p->mapping, &rig->p->mapping_bytes);
    rig->p->child = fork();
    if (rig->p->child == 0) {
        rig->p->child_socket = -1;
        rig->p->child = 0;
        close(sockets[0]);
        be_other_process(rig, memory_fd, sockets[1], seed);
    }
    close(memory_fd);
    close(sockets[1]);
    rig->p->child_socket = sockets[0];
    uffd = receive_fd(sockets[0], &region.address);
    if (uffd < 0) {
        g_set_error(error, FERRY_DIRTY_LOG_ERROR, FERRY_DIRTY_LOG_ERROR_UNSUPPORTED,
                    "no userfaultfd from the other process");
        return FALSE;
    }
    rig->log = ferry_dirty_log_pagemap_new(rig->p->child, uffd, &region, 1, error);
    return rig->log != NULL;
}

static const struct {
    const char *name;
    gboolean (*set_up)(Rig *rig, uint64_t seed, GError **error);
} rigs[] = {
    {"kvm-bitmap",       kvm_manual      },
    {"kvm-plain",        kvm_plain       },
    {"kvm-ring",         kvm_ring        },
    {"kvm-ring-signals", kvm_ring_signals},
    {"kvm-ring-stops",   kvm_ring_stops  },
    {"pagemap-own",      pagemap_own     },
    {"pagemap-other",    pagemap_other   },
    {"marks",            marks           },
    {"combined",         combined        },
};

Rig *rig_new(const char *name, uint64_t seed, GError **error)
{
    g_autoptr(Rig) rig = g_new0(Rig, 1);

    rig->p = g_new0(struct RigPrivate, 1);
    rig->p->child_socket = -1;
    rig->n_pages = N_PAGES;
    rig->memory = map(-1, N_PAGES * GUEST_PAGE, &rig->p->mapping, &rig->p->mapping_bytes);
    rig->control =
        mmap(NULL, GUEST_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (rig->control == MAP_FAILED) {
        die("mmap");
    }
    rig->control->n_pages = N_PAGES;
    memset(rig->control->over, 0xff, sizeof rig->control->over);
    for (unsigned i = 0; i < G_N_ELEMENTS(rigs); i++) {
        if (strcmp(name, rigs[i].name) == 0) {
            return rigs[i].set_up(rig, seed, error) ? g_steal_pointer(&rig) : NULL;
        }
    }
    g_set_error(error, FERRY_DIRTY_LOG_ERROR, FERRY_DIRTY_LOG_ERROR_INVALID, "no log '%s'", name);
    return NULL;
}

static void command(const Rig *rig, char what)
{
    char answer;

    if (write(rig->p->child_socket, &what, 1) != 1 || read(rig->p->child_socket, &answer, 1) != 1) {
        die("the other process is gone");
    }
}

void rig_run(Rig *rig)
{
    if (rig->p->child_socket >= 0) {
        command(rig, 'r');
    }
    if (rig->p->guest) {
        guest_run(rig->p->guest);
    }
    if (rig->p->writers) {
        writers_run(rig->p->writers);
    }
}

void rig_pause(Rig *rig)
{
    if (rig->p->child_socket >= 0) {
        command(rig, 'p');
    }
    if (rig->p->guest) {
        guest_pause(rig->p->guest);
    }
    if (rig->p->writers) {
        writers_pause(rig->p->writers);
    }
}

void rig_free(Rig *rig)
{
    if (!rig) {
        return;
    }
    if (rig->p->disturbing) {
        __atomic_store_n(&rig->p->disturbing, FALSE, __ATOMIC_RELAXED);
        pthread_join(rig->p->disturber, NULL);
    }
    writers_free(rig->p->writers);
    if (rig->p->guest) {
        guest_pause(rig->p->guest);
    }
    ferry_dirty_log_free(rig->log);
    guest_free(rig->p->guest);
    ferry_dirty_marks_free(rig->p->marks);
    if (rig->p->child_socket >= 0) {
        close(rig->p->child_socket);
    }
    if (rig->p->child > 0) {
        waitpid(rig->p->child, NULL, 0);
    }
    munmap(rig->p->mapping, rig->p->mapping_bytes);
    if (rig->control && rig->control != MAP_FAILED) {
        munmap(rig->control, GUEST_PAGE);
    }
    g_free(rig->p);
    g_free(rig);
}
