#include "transport/media.h"

#include <errno.h>
#include <poll.h>
#include <spawn.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "transport/descriptor.h"
#include "transport/interrupt.h"
#include "transport/wrap.h"

#define SECOND_NS ((uint64_t)1000 * 1000 * 1000)
/* The command may have a slow link or disk behind it when its input ends. */
#define FINISH_NS (10 * SECOND_NS)
/* Between SIGTERM and SIGKILL. */
#define GRACE_NS (SECOND_NS / 2)
/* Between the end of its output and the end of the command. */
#define VERDICT_NS SECOND_NS

typedef struct {
    FerryChild child;
    FerryChannel *inner;
    FerryInterrupt *interrupt;
} ExecChannel;

static void reap(FerryChild *child)
{
    siginfo_t info;

    while (waitid(P_PIDFD, (id_t)child->pidfd, &info, WEXITED) < 0 && errno == EINTR) {
    }
    ferry_fd_clear(&child->pidfd);
}

static gboolean await_exit(const FerryChild *child, const FerryInterrupt *interrupt,
                           uint64_t wait_ns)
{
    return ferry_wait(child->pidfd, POLLIN, interrupt, ferry_now_ns() + wait_ns, NULL);
}

void ferry_exec_give_up(FerryChild *child)
{
    pidfd_send_signal(child->pidfd, SIGTERM, NULL, 0);
    if (!await_exit(child, NULL, GRACE_NS)) {
        pidfd_send_signal(child->pidfd, SIGKILL, NULL, 0);
    }
    reap(child);
}

/* Signals as a shell expects them, and no descriptor but the three standard ones. */
static int spawn_shell(const char *command, int end, pid_t *out_pid)
{
    char *argv[] = {"sh", "-c", (char *)command, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none, pipe;
    int failed;

    sigemptyset(&none);
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, end, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, end, STDOUT_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setsigmask(&attr, &none);
    posix_spawnattr_setsigdefault(&attr, &pipe);
    failed = posix_spawn(out_pid, "/bin/sh", &actions, &attr, argv, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    return failed;
}

gboolean ferry_exec_start(const char *command, FerryChild *out_child, FerryFd *out_fd,
                          GError **error)
{
    int ends[2];
    g_auto(FerryFd) ours = -1;
    g_auto(FerryFd) theirs = -1;
    FerryChild child = {.pidfd = -1};
    int failed;

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
        ferry_set_errno(error, errno);
        return FALSE;
    }
    ours = ends[0];
    theirs = ends[1];
    failed = spawn_shell(command, theirs, &child.pid);
    if (failed) {
        g_set_error(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_IO, "/bin/sh: %s",
                    g_strerror(failed));
        return FALSE;
    }
    child.pidfd = pidfd_open(child.pid, 0);
    if (child.pidfd < 0) {
        ferry_set_errno(error, errno);
        kill(child.pid, SIGKILL);
        waitpid(child.pid, NULL, 0);
        return FALSE;
    }
    *out_child = child;
    *out_fd = ferry_fd_steal(&ours);
    return TRUE;
}

/* FALSE when the command is known to have failed. Leaves it to be reaped, so that the reading and
 * the writing thread may both ask. */
static gboolean check_status(ExecChannel *e, uint64_t deadline_ns, GError **error)
{
    siginfo_t info = {0};

    ferry_wait(e->child.pidfd, POLLIN, e->interrupt, MIN(deadline_ns, ferry_now_ns() + VERDICT_NS),
               NULL);
    if (waitid(P_PIDFD, (id_t)e->child.pidfd, &info, WEXITED | WNOWAIT | WNOHANG) < 0 ||
        info.si_pid == 0 || (info.si_code == CLD_EXITED && info.si_status == 0)) {
        return TRUE;
    }
    if (info.si_code == CLD_EXITED) {
        g_set_error(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_CLOSED,
                    "the command exited with status %d%s", info.si_status,
                    info.si_status == 127 ? " (not found)" : "");
    } else {
        g_set_error(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_CLOSED,
                    "the command was ended by signal %d (%s)", info.si_status,
                    g_strsignal(info.si_status));
    }
    return FALSE;
}

/* A closed connection is explained by the command's status, where that says more. */
static gssize explain(ExecChannel *e, gssize moved, GError *why, uint64_t deadline_ns,
                      GError **error)
{
    gboolean closed =
        moved == 0 || g_error_matches(why, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_CLOSED);

    if (closed && !check_status(e, deadline_ns, error)) {
        g_clear_error(&why);
        return -1;
    }
    if (why != NULL) {
        g_propagate_error(error, why);
    }
    return moved;
}

static gssize exec_readv(void *self, const struct iovec *iov, int n, uint64_t deadline_ns,
                         GError **error)
{
    ExecChannel *e = self;
    GError *why = NULL;
    gssize moved = ferry_channel_pass_readv(e->inner, iov, n, deadline_ns, &why);

    return moved > 0 ? moved : explain(e, moved, why, deadline_ns, error);
}

static gssize exec_writev(void *self, const struct iovec *iov, int n, uint64_t deadline_ns,
                          GError **error)
{
    ExecChannel *e = self;
    GError *why = NULL;
    gssize moved = ferry_channel_pass_writev(e->inner, iov, n, deadline_ns, &why);

    return moved > 0 ? moved : explain(e, moved, why, deadline_ns, error);
}

static int exec_readable(void *self, uint64_t deadline_ns, GError **error)
{
    ExecChannel *e = self;

    return ferry_channel_pass_readable(e->inner, deadline_ns, error);
}

static gboolean exec_shutdown_write(void *self, GError **error)
{
    ExecChannel *e = self;

    return ferry_channel_pass_shutdown_write(e->inner, error);
}

static void exec_abort(void *self)
{
    ExecChannel *e = self;

    ferry_channel_abort(e->inner);
}

static void exec_close(void *self)
{
    ExecChannel *e = self;

    ferry_channel_free(e->inner); /* the command reads end of file */
    if (await_exit(&e->child, e->interrupt, FINISH_NS)) {
        reap(&e->child);
    } else {
        ferry_exec_give_up(&e->child);
    }
    g_free(e);
}

static const FerryChannelOps exec_ops = {
    .name = "exec",
    .readv = exec_readv,
    .writev = exec_writev,
    .readable = exec_readable,
    .shutdown_write = exec_shutdown_write,
    .close = exec_close,
    .abort = exec_abort,
};

FerryChannel *ferry_exec_channel_new(const FerryChild *child, FerryChannel *inner,
                                     FerryInterrupt *interrupt)
{
    ExecChannel *e = g_new0(ExecChannel, 1);

    e->child = *child;
    e->inner = inner;
    e->interrupt = interrupt;
    return ferry_channel_wrap(inner, &exec_ops, e);
}
