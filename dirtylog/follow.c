#include "dirtylog/follow.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "dirtylog/dirtylog.h"
#include "dirtylog/follow-private.h"

struct FerryFollow {
    int socket;
    pid_t tracer, command; /* 0: the command has not begun, or has ended */
    gboolean begun;
};

typedef union {
    struct cmsghdr header;
    char room[CMSG_SPACE(sizeof(int))];
} Control;

gboolean ferry_follow_send(int socket, const void *message, gsize bytes, int fd)
{
    struct iovec data = {.iov_base = (void *)(uintptr_t)message, .iov_len = bytes};
    Control control = {0};
    struct msghdr header = {.msg_iov = &data, .msg_iovlen = 1};

    if (fd >= 0) {
        header.msg_control = &control;
        header.msg_controllen = sizeof control;
        control.header = (struct cmsghdr){
            .cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    }
    return sendmsg(socket, &header, MSG_NOSIGNAL) == (ssize_t)bytes;
}

gboolean ferry_follow_receive(int socket, void *message, gsize bytes, int *out_fd)
{
    struct iovec data = {.iov_base = message, .iov_len = bytes};
    Control control = {0};
    struct msghdr header = {.msg_iov = &data,
                            .msg_iovlen = 1,
                            .msg_control = &control,
                            .msg_controllen = sizeof control};
    ssize_t n;

    do {
        n = recvmsg(socket, &header, MSG_CMSG_CLOEXEC);
    } while (n < 0 && errno == EINTR);
    *out_fd = -1;
    if (header.msg_controllen >= CMSG_LEN(sizeof(int)) && control.header.cmsg_type == SCM_RIGHTS) {
        memcpy(out_fd, CMSG_DATA(&control.header), sizeof *out_fd);
    }
    return n == (ssize_t)bytes;
}

FerryFollow *ferry_follow_new(char *const *command, GError **error)
{
    FerryFollow *follow;
    int sockets[2];
    pid_t tracer = -1;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) == 0) {
        tracer = fork();
        if (tracer == 0) {
            close(sockets[0]);
            ferry_follow_trace(sockets[1], command);
        }
        close(sockets[1]);
    }
    if (tracer < 0) {
        g_set_error(error, FERRY_DIRTY_LOG_ERROR, FERRY_DIRTY_LOG_ERROR_IOCTL,
                    "no process to trace with: %s", g_strerror(errno));
        return NULL;
    }
    follow = g_new0(FerryFollow, 1);
    follow->socket = sockets[0];
    follow->tracer = tracer;
    return follow;
}

int ferry_follow_fd(const FerryFollow *follow) { return follow->socket; }

FerryFollowEvent ferry_follow_next(FerryFollow *follow)
{
    FerryFollowEvent event;
    int fd;

    if (!ferry_follow_receive(follow->socket, &event, sizeof event, &fd)) {
        return (FerryFollowEvent){.kind = FERRY_FOLLOW_END, .uffd = -1};
    }
    event.uffd = fd;
    if (!follow->begun) { /* the first one is the command's */
        follow->begun = TRUE;
        follow->command = event.pid;
    }
    if (event.kind == FERRY_FOLLOW_EXITED) {
        follow->command = 0;
    }
    return event;
}

void ferry_follow_go_on(FerryFollow *follow) { ferry_follow_send(follow->socket, "", 1, -1); }

void ferry_follow_signal(const FerryFollow *follow, int number)
{
    if (follow->command > 0) {
        kill(follow->command, number);
    }
}

void ferry_follow_free(FerryFollow *follow)
{
    if (!follow) {
        return;
    }
    close(follow->socket);
    while (waitpid(follow->tracer, NULL, 0) < 0 && errno == EINTR) {
    }
    g_free(follow);
}
