#include "dirtylog/inject.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dirtylog/pagemap-abi.h"

#ifdef __x86_64__

#define CODE_SEGMENT_64 0x33
#define EVENT_OF(status) ((status) >> 16)
#define SYSCALL_STOP (SIGTRAP | 0x80)

typedef struct {
    pid_t tid;
    uint64_t syscall_at;
    struct user_regs_struct registers; /* as they were */
    uint64_t mask;                     /* of signals, as it was */
    int held_signal;                   /* that came meanwhile and cannot be blocked; 0: none */
} Borrowed;

/* What the kernel and the C library share about restartable sequences (rseq(2)). */
typedef struct {
    uint32_t version, flags;
    uint64_t start, length, abort;
} CriticalSection;

static int failed(FerryInjectFailure *failure, const char *what, int error)
{
    *failure = (FerryInjectFailure){.what = what, .error = error};
    return -1;
}

static gboolean wait_stop(pid_t tid, int *out_status)
{
    int status;

    while (waitpid(tid, &status, __WALL) < 0) {
        if (errno != EINTR) {
            return FALSE;
        }
    }
    *out_status = status;
    return WIFSTOPPED(status);
}

/* To a stop on the way back to user mode (PTRACE_EVENT_STOP): a thread that is continued from there
 * restarts a system call that it was in, if its registers say so. */
static gboolean to_event_stop(Borrowed *b)
{
    int status;

    if (ptrace(PTRACE_INTERRUPT, b->tid, 0, 0) < 0 || ptrace(PTRACE_CONT, b->tid, 0, 0) < 0) {
        return FALSE;
    }
    for (;;) {
        if (!wait_stop(b->tid, &status)) {
            return FALSE;
        }
        if (EVENT_OF(status) == PTRACE_EVENT_STOP) {
            return TRUE;
        }
        if (EVENT_OF(status) == 0 && WSTOPSIG(status) != SYSCALL_STOP) {
            b->held_signal = WSTOPSIG(status);
        }
        if (ptrace(PTRACE_CONT, b->tid, 0, 0) < 0) {
            return FALSE;
        }
    }
}

static gboolean read_memory(pid_t tid, uint64_t at, void *to, size_t n)
{
    struct iovec local = {.iov_base = to, .iov_len = n};
    struct iovec remote = {.iov_base = (void *)(uintptr_t)at, .iov_len = n};

    return process_vm_readv(tid, &local, 1, &remote, 1, 0) == (ssize_t)n;
}

/* A thread inside a restartable sequence goes on where the kernel would send it after any other
 * interruption: when it runs elsewhere in between, the kernel forgets the sequence. */
static void leave_critical_section(Borrowed *b)
{
    struct __ptrace_rseq_configuration where = {0};
    CriticalSection section;
    uint64_t pointer;

    if (ptrace(PTRACE_GET_RSEQ_CONFIGURATION, b->tid, sizeof where, &where) <= 0 ||
        where.rseq_abi_pointer == 0 ||
        !read_memory(b->tid, where.rseq_abi_pointer + 8, &pointer, sizeof pointer) ||
        pointer == 0 || !read_memory(b->tid, pointer, &section, sizeof section)) {
        return;
    }
    if (b->registers.rip - section.start < section.length) {
        b->registers.rip = section.abort;
    }
}

static gboolean signals_wait(pid_t tid)
{
    siginfo_t info;
    struct __ptrace_peeksiginfo_args own = {.nr = 1}, shared = {.nr = 1, .flags = 1};

    return ptrace(PTRACE_PEEKSIGINFO, tid, &own, &info) != 0 ||
           ptrace(PTRACE_PEEKSIGINFO, tid, &shared, &info) != 0;
}

/* Some waits end with EINTR also when they are merely stopped, signal(7) has the list, and programs
 * may not expect that who use no signals. If none is there, the wait begins anew. */
static void wait_anew(Borrowed *b)
{
    static const unsigned waits[] = {
        SYS_epoll_wait, SYS_epoll_pwait,  SYS_epoll_pwait2, SYS_semop,           SYS_semtimedop,
        SYS_msgrcv,     SYS_io_getevents, SYS_msgsnd,       SYS_rt_sigtimedwait,
    };

    if ((int64_t)b->registers.rax != -EINTR || signals_wait(b->tid)) {
        return;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(waits); i++) {
        if (b->registers.orig_rax == waits[i]) {
            b->registers.rax = b->registers.orig_rax;
            b->registers.orig_rax = UINT64_MAX;
            b->registers.rip -= 2; /* the length of the instruction */
        }
    }
}

static gboolean borrow(Borrowed *b, FerryInjectFailure *failure)
{
    uint64_t all = UINT64_MAX;

    if (!to_event_stop(b)) {
        failed(failure, "the process ended", 0);
        return FALSE;
    }
    if (ptrace(PTRACE_GETREGS, b->tid, 0, &b->registers) < 0 ||
        ptrace(PTRACE_GETSIGMASK, b->tid, sizeof b->mask, &b->mask) < 0) {
        failed(failure, "reading a thread's registers", errno);
        return FALSE;
    }
    if (b->registers.cs != CODE_SEGMENT_64) {
        failed(failure, "it is a 32-bit program, and only 64-bit ones can be recorded", 0);
        return FALSE;
    }
    leave_critical_section(b);
    wait_anew(b);
    if (ptrace(PTRACE_SETSIGMASK, b->tid, sizeof all, &all) < 0) {
        failed(failure, "PTRACE_SETSIGMASK", errno);
        return FALSE;
    }
    return TRUE;
}

static gboolean give_back(Borrowed *b)
{
    if (!to_event_stop(b) || ptrace(PTRACE_SETREGS, b->tid, 0, &b->registers) < 0 ||
        ptrace(PTRACE_SETSIGMASK, b->tid, sizeof b->mask, &b->mask) < 0) {
        return FALSE;
    }
    if (b->held_signal) {
        syscall(SYS_tkill, b->tid, b->held_signal);
    }
    return TRUE;
}

/* The thread makes one system call. FALSE: it is gone. */
static gboolean call(Borrowed *b, long number, uint64_t first, long *out_result)
{
    struct user_regs_struct registers = b->registers;
    struct __ptrace_syscall_info info = {0};

    registers.rip = b->syscall_at;
    registers.rax = (uint64_t)number;
    registers.orig_rax = UINT64_MAX; /* it is in no system call: nothing is restarted */
    registers.rdi = first;
    if (ptrace(PTRACE_SETREGS, b->tid, 0, &registers) < 0) {
        return FALSE;
    }
    while (info.op != PTRACE_SYSCALL_INFO_EXIT) {
        int status;

        if (ptrace(PTRACE_SYSCALL, b->tid, 0, 0) < 0 || !wait_stop(b->tid, &status)) {
            return FALSE;
        }
        if (EVENT_OF(status) == 0 && WSTOPSIG(status) != SYSCALL_STOP) {
            b->held_signal = WSTOPSIG(status);
        } else if (EVENT_OF(status) == 0 &&
                   ptrace(PTRACE_GET_SYSCALL_INFO, b->tid, sizeof info, &info) < 0) {
            return FALSE;
        }
    }
    *out_result = (long)info.exit.rval;
    return TRUE;
}

static int fetch(pid_t pid, int remote, FerryInjectFailure *failure)
{
    int process = pidfd_open(pid, 0), fd;

    if (process < 0) {
        return failed(failure, "pidfd_open", errno);
    }
    fd = pidfd_getfd(process, remote, 0);
    if (fd < 0) {
        failed(failure, "pidfd_getfd", errno);
    }
    close(process);
    return fd;
}

int ferry_inject_stopped(pid_t pid, pid_t tid, uint64_t syscall_at, FerryInjectFailure *out_failure)
{
    Borrowed b = {.tid = tid, .syscall_at = syscall_at};
    long remote, closed;
    int fd = -1;

    *out_failure = (FerryInjectFailure){0};
    if (!borrow(&b, out_failure)) {
        return -1;
    }
    /* "User mode only" needs no privilege there; see pagemap.c why nothing is missed. */
    if (!call(&b, SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY, &remote)) {
        return failed(out_failure, "the process ended", 0);
    }
    if (remote < 0) {
        failed(out_failure,
               remote == -EMFILE ? "it has no free file descriptor"
                                 : "userfaultfd inside the process",
               (int)-remote);
    } else {
        fd = fetch(pid, (int)remote, out_failure);
        if (!call(&b, SYS_close, (uint64_t)remote, &closed)) {
            failed(out_failure, "the process ended", 0);
        }
    }
    if (!give_back(&b)) {
        failed(out_failure, "the process ended", 0);
    }
    if (out_failure->what && fd >= 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

#else

int ferry_inject_stopped(pid_t pid, pid_t tid, uint64_t syscall_at, FerryInjectFailure *out_failure)
{
    (void)pid;
    (void)tid;
    (void)syscall_at;
    *out_failure = (FerryInjectFailure){.what = "processes can be recorded on x86-64 only"};
    return -1;
}

#endif
