/* The process that traces a command. It does nothing but wait: for what it traces, and for the end
 * of who asked, with which it ends as well; the kernel then lets go what is traced. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dirtylog/follow-private.h"

#define OPTIONS                                                                                    \
    (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |      \
     PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT)
#define KCMP_MEMORY 1 /* KCMP_VM */

typedef struct {
    int socket;
    pid_t command;
    int failed;       /* readable: the command could not be started, and why */
    GHashTable *seen; /* threads that have stopped before, as a set */
    GHashTable *own;  /* processes whose memory was told of, likewise */
} Tracer;

/* The asker has gone: nothing is stopped in the middle of anything. */
static void leave(void) { _exit(0); }

static void tell(const Tracer *t, const FerryFollowEvent *event, gboolean wait)
{
    char go_on;
    int none;

    if (!ferry_follow_send(t->socket, event, sizeof *event, event->uffd) ||
        (wait && !ferry_follow_receive(t->socket, &go_on, sizeof go_on, &none))) {
        leave();
    }
}

static gboolean is_filtered(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/status", (int)pid);
    g_autofree char *status = NULL;
    const char *line;

    return g_file_get_contents(path, &status, NULL, NULL) &&
           (line = strstr(status, "\nSeccomp:")) != NULL && atoi(line + strlen("\nSeccomp:")) > 0;
}

static void read_name(pid_t pid, char out[static 16])
{
    g_autofree char *path = g_strdup_printf("/proc/%d/comm", (int)pid);
    g_autofree char *name = NULL;

    if (g_file_get_contents(path, &name, NULL, NULL)) {
        g_strlcpy(out, g_strchomp(name), 16);
    }
}

/* @pid is stopped and has a memory that nobody was told of. */
static void tell_memory(const Tracer *t, pid_t pid)
{
    FerryFollowEvent event = {.kind = FERRY_FOLLOW_MEMORY, .pid = pid, .uffd = -1};
    uint64_t syscall_at = ferry_inject_find_syscall(pid);
    gboolean filtered = is_filtered(pid);

    read_name(pid, event.name);
    if (filtered && ptrace(PTRACE_SETOPTIONS, pid, 0, OPTIONS | PTRACE_O_SUSPEND_SECCOMP) < 0) {
        event.failure =
            (FerryInjectFailure){"it has a seccomp filter, which only root may suspend", errno};
    } else if (syscall_at == 0) {
        event.failure = (FerryInjectFailure){"its code cannot be read", errno};
    } else {
        event.uffd = ferry_inject_stopped(pid, pid, syscall_at, &event.failure);
    }
    if (filtered) {
        ptrace(PTRACE_SETOPTIONS, pid, 0, OPTIONS);
    }
    event.kind = event.uffd >= 0 ? FERRY_FOLLOW_MEMORY : FERRY_FOLLOW_UNTRACKED;
    if (event.uffd >= 0) {
        g_hash_table_add(t->own, GINT_TO_POINTER(pid));
    }
    tell(t, &event, event.uffd >= 0);
    if (event.uffd >= 0) {
        close(event.uffd);
    }
}

static pid_t status_id(pid_t tid, const char *name)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/status", (int)tid);
    g_autofree char *status = NULL;
    const char *line;

    return g_file_get_contents(path, &status, NULL, NULL) && (line = strstr(status, name)) != NULL
               ? atoi(line + strlen(name))
               : 0;
}

/* Whether a thread that was just made has a memory of its own: no thread of the same process, no
 * child of vfork. Where the kernel cannot compare, the second userfaultfd is refused later. */
static gboolean has_own_memory(pid_t tid)
{
    return status_id(tid, "\nTgid:") == tid &&
           syscall(SYS_kcmp, tid, status_id(tid, "\nPPid:"), KCMP_MEMORY, 0, 0) != 0;
}

/* What the thread is continued with. */
static enum __ptrace_request stopped_anew(Tracer *t, pid_t tid, int number)
{
    gboolean is_new = g_hash_table_add(t->seen, GINT_TO_POINTER(tid));

    if (is_new && has_own_memory(tid)) {
        tell_memory(t, tid);
        return PTRACE_CONT;
    }
    /* With a stopping signal's number it is one of a process that is to stand still. */
    return number == SIGTRAP ? PTRACE_CONT : PTRACE_LISTEN;
}

static void stopped(Tracer *t, pid_t tid, int status)
{
    enum __ptrace_request request = PTRACE_CONT;
    int pass_on = 0;

    switch (status >> 16) {
    case PTRACE_EVENT_EXEC:
        g_hash_table_add(t->seen, GINT_TO_POINTER(tid));
        tell_memory(t, tid);
        break;
    case PTRACE_EVENT_EXIT:
        if (g_hash_table_contains(t->own, GINT_TO_POINTER(tid))) {
            tell(t, &(FerryFollowEvent){.kind = FERRY_FOLLOW_LEAVING, .pid = tid, .uffd = -1},
                 TRUE);
        }
        break;
    case PTRACE_EVENT_STOP:
        request = stopped_anew(t, tid, WSTOPSIG(status));
        break;
    case 0:
        pass_on = WSTOPSIG(status);
        break;
    default: /* a fork; the child stops by itself */
        break;
    }
    ptrace(request, tid, 0, (uintptr_t)pass_on);
}

static void ended(Tracer *t, pid_t tid, int status)
{
    FerryFollowEvent event = {
        .kind = FERRY_FOLLOW_EXITED, .pid = tid, .uffd = -1, .status = status};
    int why;

    g_hash_table_remove(t->seen, GINT_TO_POINTER(tid));
    g_hash_table_remove(t->own, GINT_TO_POINTER(tid));
    if (tid != t->command) {
        return;
    }
    if (read(t->failed, &why, sizeof why) == (ssize_t)sizeof why) {
        event.kind = FERRY_FOLLOW_FAILED;
        event.failure = (FerryInjectFailure){"it cannot be started", why};
    }
    tell(t, &event, FALSE);
}

static void begin_command(char *const *command, const sigset_t *mask, int go, int failed)
{
    sigset_t usual = *mask;
    char byte;
    int why;

    sigdelset(&usual, SIGINT);
    sigdelset(&usual, SIGTERM);
    sigdelset(&usual, SIGHUP);
    sigprocmask(SIG_SETMASK, &usual, NULL);
    signal(SIGPIPE, SIG_DFL);
    if (read(go, &byte, 1) == 1) {
        execvp(command[0], command);
        why = errno;
        if (write(failed, &why, sizeof why) < 0) {
            _exit(126);
        }
    }
    _exit(127);
}

static void start(Tracer *t, char *const *command, const sigset_t *mask)
{
    FerryFollowEvent event = {.kind = FERRY_FOLLOW_FAILED, .uffd = -1};
    int go[2], why[2];

    if (pipe2(go, O_CLOEXEC) < 0 || pipe2(why, O_CLOEXEC | O_NONBLOCK) < 0) {
        event.failure = (FerryInjectFailure){"pipe", errno};
    } else if ((t->command = fork()) == 0) {
        close(go[1]);
        begin_command(command, mask, go[0], why[1]);
    } else if (t->command < 0) {
        event.failure = (FerryInjectFailure){"fork", errno};
    } else if (ptrace(PTRACE_SEIZE, t->command, 0, (uintptr_t)OPTIONS) < 0) {
        event.failure = (FerryInjectFailure){"PTRACE_SEIZE", errno};
    } else {
        g_hash_table_add(t->seen, GINT_TO_POINTER(t->command));
        t->failed = why[0];
        if (write(go[1], "", 1) == 1) {
            close(go[0]);
            close(go[1]);
            return;
        }
        event.failure = (FerryInjectFailure){"pipe", errno};
    }
    tell(t, &event, FALSE);
    leave(); /* the child, if there is one, reads the end of its pipe */
}

void ferry_follow_trace(int socket, char *const *command)
{
    Tracer t = {.socket = socket,
                .seen = g_hash_table_new(NULL, NULL),
                .own = g_hash_table_new(NULL, NULL)};
    struct pollfd fds[2] = {
        {.fd = socket, .events = POLLIN},
        {.events = POLLIN           }
    };
    struct signalfd_siginfo said;
    sigset_t all, mask, children;

    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &mask);
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    signal(SIGCHLD, SIG_DFL);
    fds[1].fd = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    start(&t, command, &mask);
    for (;;) {
        int status;
        pid_t tid = waitpid(-1, &status, __WALL | WNOHANG);

        if (tid > 0 && WIFSTOPPED(status)) {
            stopped(&t, tid, status);
        } else if (tid > 0) {
            ended(&t, tid, status);
        } else if (tid < 0 && errno == ECHILD) {
            leave(); /* all have ended: the asker reads the end of the socket */
        } else {
            while (poll(fds, G_N_ELEMENTS(fds), -1) < 0 && errno == EINTR) {
            }
            while (read(fds[1].fd, &said, sizeof said) > 0) {
            }
        }
        if (fds[0].revents & (POLLHUP | POLLERR)) {
            leave();
        }
    }
}
