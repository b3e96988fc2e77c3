/* Finding a thread that can be borrowed, in a process of its own: who is killed in between leaves
 * nobody with foreign registers. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "dirtylog/dirtylog.h"
#include "dirtylog/inject.h"
#include "dirtylog/maps.h"

#define THREADS_TRIED 64
#define STOP_PATIENCE_US 500000 /* for one thread to stop; one in a driver may not */
#define STOP_POLL_US 50
#define CODE_AT_ONCE 4096

static char *read_proc(pid_t pid, const char *file)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/%s", (int)pid, file);
    char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) ? text : NULL;
}

static uint64_t find_in(int memory, const FerryMapping *m)
{
    uint8_t code[CODE_AT_ONCE];

    for (uint64_t at = m->start; at < m->end; at += CODE_AT_ONCE) {
        if (pread(memory, code, sizeof code, (off_t)at) != (ssize_t)sizeof code) {
            return 0;
        }
        for (unsigned i = 0; i + 1 < sizeof code; i++) {
            if (code[i] == 0x0f && code[i + 1] == 0x05) {
                return at + i;
            }
        }
    }
    return 0;
}

uint64_t ferry_inject_find_syscall(pid_t pid)
{
    g_autofree char *maps = read_proc(pid, "maps");
    g_autofree char *path = g_strdup_printf("/proc/%d/mem", (int)pid);
    int memory = open(path, O_RDONLY | O_CLOEXEC);
    uint64_t found = 0;
    FerryMapping m;

    if (memory < 0) {
        return 0;
    }
    errno = ENOENT;
    for (unsigned pass = 0; pass < 2 && !found; pass++) { /* the vDSO is small and has one */
        for (const char *at = maps ? maps : ""; !found && ferry_maps_next(&at, &m);) {
            gboolean vdso = m.name_bytes == 6 && memcmp(m.name, "[vdso]", 6) == 0;
            if (m.executable && vdso == (pass == 0) && m.start < INT64_MAX) {
                found = find_in(memory, &m);
            }
        }
    }
    close(memory);
    return found;
}

/* The number behind "@name:" in a status file; -1: none. */
static int status_number(const char *status, const char *name)
{
    const char *at = status ? strstr(status, name) : NULL;

    return at ? atoi(at + strlen(name)) : -1;
}

typedef struct {
    pid_t pid, threads[THREADS_TRIED];
    unsigned n_threads;
    uint64_t syscall_at;
    gboolean filtered; /* seccomp would see our system call */
} Target;

static int by_id(const void *a, const void *b)
{
    return *(const pid_t *)a < *(const pid_t *)b ? -1 : 1;
}

/* Its threads, the first one first. */
static void list_threads(Target *t)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task", (int)t->pid);
    DIR *directory = opendir(path);
    struct dirent *entry;

    while (directory && t->n_threads < THREADS_TRIED && (entry = readdir(directory))) {
        if (g_ascii_isdigit(entry->d_name[0])) {
            t->threads[t->n_threads++] = atoi(entry->d_name);
        }
    }
    if (directory) {
        closedir(directory);
    }
    qsort(t->threads, t->n_threads, sizeof *t->threads, by_id);
}

static gboolean look(Target *t, GError **error)
{
    g_autofree char *status = read_proc(t->pid, "status");
    int tracer = status_number(status, "\nTracerPid:");

    if (!status) {
        g_set_error(error, FERRY_DIRTY_LOG_ERROR, FERRY_DIRTY_LOG_ERROR_INVALID,
                    "there is no process %d", (int)t->pid);
        return FALSE;
    }
    if (tracer > 0) {
        g_set_error(error, FERRY_DIRTY_LOG_ERROR, FERRY_DIRTY_LOG_ERROR_UNSUPPORTED,
                    "process %d is traced already, by process %d (a debugger?)", (int)t->pid,
                    tracer);
        return FALSE;
    }
    if (status_number(status, "\nVmSize:") < 0) {
        g_set_error(error, FERRY_DIRTY_LOG_ERROR, FERRY_DIRTY_LOG_ERROR_UNSUPPORTED,
                    "process %d has no memory: it has ended, or is the kernel's", (int)t->pid);
        return FALSE;
    }
    t->filtered = status_number(status, "\nSeccomp:") > 0;
    list_threads(t);
    t->syscall_at = ferry_inject_find_syscall(t->pid);
    return TRUE; /* if its memory may not be read, ptrace will say so better */
}

/* A thread that does not stop in time is let go when this process ends. */
static gboolean stop(pid_t tid, gboolean filtered, FerryInjectFailure *failure)
{
    const uintptr_t options = PTRACE_O_TRACESYSGOOD | (filtered ? PTRACE_O_SUSPEND_SECCOMP : 0);
    const struct timespec pause = {.tv_nsec = STOP_POLL_US * 1000};

    if (ptrace(PTRACE_SEIZE, tid, 0, options) < 0 || ptrace(PTRACE_INTERRUPT, tid, 0, 0) < 0) {
        *failure = (FerryInjectFailure){"PTRACE_SEIZE", errno};
        return FALSE;
    }
    for (unsigned us = 0; us < STOP_PATIENCE_US; us += STOP_POLL_US) {
        int status, r = waitpid(tid, &status, __WALL | WNOHANG);

        if (r < 0 || (r > 0 && !WIFSTOPPED(status))) {
            *failure = (FerryInjectFailure){"the process ended", 0};
            return FALSE;
        }
        if (r > 0 && status >> 16 == PTRACE_EVENT_STOP) {
            return TRUE;
        }
        if (r > 0) { /* a signal on its way */
            ptrace(PTRACE_CONT, tid, 0, (uintptr_t)WSTOPSIG(status));
        }
        nanosleep(&pause, NULL);
    }
    *failure = (FerryInjectFailure){"none of its threads stops", 0};
    return FALSE;
}

static int inject(const Target *t, FerryInjectFailure *failure)
{
    int fd = -1;

    for (unsigned i = 0; i < t->n_threads; i++) {
        if (stop(t->threads[i], t->filtered, failure)) {
            fd = ferry_inject_stopped(t->pid, t->threads[i], t->syscall_at, failure);
            ptrace(PTRACE_DETACH, t->threads[i], 0, 0);
            return fd;
        }
        if (failure->error == EPERM && i == 0) {
            return -1;
        }
    }
    return fd;
}

typedef union {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int))];
} Control;

static void send_result(int socket, int fd, const FerryInjectFailure *failure)
{
    FerryInjectFailure copy = *failure;
    struct iovec data = {.iov_base = &copy, .iov_len = sizeof copy};
    Control control = {0};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1};

    if (fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        control.header = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    }
    sendmsg(socket, &message, MSG_NOSIGNAL);
}

static int receive_result(int socket, FerryInjectFailure *failure)
{
    struct iovec data = {.iov_base = failure, .iov_len = sizeof *failure};
    Control control = {0};
    struct msghdr message = {.msg_iov = &data,
                             .msg_iovlen = 1,
                             .msg_control = &control,
                             .msg_controllen = sizeof control};
    ssize_t n;
    int fd = -1;

    do {
        n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    if (n != (ssize_t)sizeof *failure) {
        *failure = (FerryInjectFailure){"the helper that borrows a thread was killed", 0};
        return -1;
    }
    if (message.msg_controllen >= CMSG_LEN(sizeof fd) && control.header.cmsg_type == SCM_RIGHTS) {
        memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
    }
    return fd;
}

static int ptrace_scope(void)
{
    g_autofree char *text = NULL;

    g_file_get_contents("/proc/sys/kernel/yama/ptrace_scope", &text, NULL, NULL);
    return text ? atoi(text) : 0;
}

static void explain(const Target *t, const FerryInjectFailure *failure, GError **error)
{
    int scope = ptrace_scope();
    g_autofree char *why = NULL;

    if (failure->error == EPERM && strcmp(failure->what, "PTRACE_SEIZE") == 0) {
        why = t->filtered ? g_strdup("it has a seccomp filter, which only root may suspend")
              : scope > 0
                  ? g_strdup_printf("not permitted: kernel.yama.ptrace_scope is %d, so this "
                                    "takes CAP_SYS_PTRACE",
                                    scope)
                  : g_strdup("not permitted: it is not ours, so this takes CAP_SYS_PTRACE");
    } else if (failure->error) {
        why = g_strdup_printf("%s: %s", failure->what, g_strerror(failure->error));
    } else {
        why = g_strdup(failure->what);
    }
    g_set_error(error, FERRY_DIRTY_LOG_ERROR, FERRY_DIRTY_LOG_ERROR_UNSUPPORTED, "process %d: %s",
                (int)t->pid, why);
}

int ferry_inject_userfaultfd(pid_t pid, GError **error)
{
    Target target = {.pid = pid};
    FerryInjectFailure failure = {"its threads are gone", 0};
    int sockets[2], fd;
    pid_t helper;

    if (!look(&target, error)) {
        return -1;
    }
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) < 0) {
        g_set_error(error, FERRY_DIRTY_LOG_ERROR, FERRY_DIRTY_LOG_ERROR_IOCTL, "socketpair: %s",
                    g_strerror(errno));
        return -1;
    }
    helper = fork();
    if (helper == 0) {
        sigset_t all;

        sigfillset(&all);
        sigprocmask(SIG_SETMASK, &all, NULL);
        setsid(); /* out of the reach of the terminal's signals */
        close(sockets[0]);
        send_result(sockets[1], inject(&target, &failure), &failure);
        _exit(0);
    }
    close(sockets[1]);
    if (helper < 0) {
        failure = (FerryInjectFailure){"fork", errno};
        fd = -1;
    } else {
        fd = receive_result(sockets[0], &failure);
        while (waitpid(helper, NULL, 0) < 0 && errno == EINTR) {
        }
    }
    close(sockets[0]);
    if (fd < 0) {
        explain(&target, &failure, error);
    }
    return fd;
}
