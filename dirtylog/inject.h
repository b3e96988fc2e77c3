/* A userfaultfd from inside another process: one of its threads makes the system call for us. The
 * thread is stopped by ptrace for some ten microseconds with its registers and signal mask kept and
 * put back; a system call that it waited in is restarted as after a signal without a handler. Its
 * other threads run on. 64-bit programs on x86-64 only.
 *
 * What is left in the process: nothing. The descriptor is fetched with pidfd_getfd and closed there
 * at once, so the one that is returned is the last, and whatever is registered with it ends with
 * it, however its owner ends. A thread that forks in those microseconds hands a copy of the
 * descriptor to its child; it is close-on-exec. */
#pragma once
#include <glib.h>
#include <stdint.h>
#include <sys/types.h>

G_BEGIN_DECLS

/* Of the process @pid, which nobody may trace. -1: not permitted, or not possible, as the error
 * says. Done by a process of its own, which lives on for the moment that it takes if this one is
 * killed: a thread always gets its registers back. */
int ferry_inject_userfaultfd(pid_t pid, GError **error);

/* Where in the process @pid a syscall instruction lies; 0: nowhere, errno says why. */
uint64_t ferry_inject_find_syscall(pid_t pid);

typedef struct {
    const char *what; /* static; NULL: nothing failed */
    int error;        /* errno, or 0 */
} FerryInjectFailure;
/* The thread @tid of @pid is traced by the calling thread (PTRACE_SEIZE, PTRACE_O_TRACESYSGOOD) and
 * has stopped; it is left in a PTRACE_EVENT_STOP. The descriptor, or -1 and why. No memory is
 * allocated. */
int ferry_inject_stopped(pid_t pid, pid_t tid, uint64_t syscall_at,
                         FerryInjectFailure *out_failure);

G_END_DECLS
