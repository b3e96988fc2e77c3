/* Bytes moved with sendmsg and recvmsg (readv, writev on pipes and files), tried first and waited
 * for in poll when they would block. */
#include "transport/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/interrupt.h"

typedef struct {
    FerryDescriptor d; /* first: the shared ops look at it */
    gboolean made_nonblocking;
} PollChannel;

static gssize try_read(const FerryDescriptor *d, const struct iovec *iov, int n)
{
    struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n};

    return d->medium == FERRY_MEDIUM_SOCKET ? recvmsg(d->fd, &msg, MSG_DONTWAIT)
                                            : readv(d->fd, iov, n);
}

static gssize try_write(const FerryDescriptor *d, const struct iovec *iov, int n)
{
    struct msghdr msg = {.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n};
    FerrySigpipe sigpipe;
    gssize moved;

    switch (d->medium) {
    case FERRY_MEDIUM_SOCKET:
        return sendmsg(d->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
    case FERRY_MEDIUM_PIPE:
        ferry_sigpipe_hold(&sigpipe);
        moved = writev(d->fd, iov, n);
        ferry_sigpipe_release(&sigpipe);
        return moved;
    case FERRY_MEDIUM_FILE:
        return writev(d->fd, iov, n);
    }
    g_assert_not_reached();
}

static gssize transfer(const FerryDescriptor *d, short direction, const struct iovec *iov, int n,
                       uint64_t deadline_ns, GError **error)
{
    n = MIN(n, IOV_MAX);
    for (;;) {
        gssize moved;

        if (!ferry_interrupt_check(d->interrupt, error)) {
            return -1;
        }
        moved = direction == POLLOUT ? try_write(d, iov, n) : try_read(d, iov, n);
        if (moved >= 0) {
            return moved;
        }
        if (errno == EAGAIN) {
            if (!ferry_wait(d->fd, direction, d->interrupt, deadline_ns, error)) {
                return -1;
            }
        } else if (errno != EINTR) {
            ferry_set_errno(error, errno);
            return -1;
        }
    }
}

static gssize poll_readv(void *self, const struct iovec *iov, int n, uint64_t deadline_ns,
                         GError **error)
{
    FerryDescriptor *d = self;
    gssize got;

    ferry_descriptor_let_gather(d);
    got = transfer(d, POLLIN, iov, n, deadline_ns, error);
    ferry_descriptor_note_read(d, iov, n, got);
    return got;
}

static gssize poll_writev(void *self, const struct iovec *iov, int n, uint64_t deadline_ns,
                          GError **error)
{
    return transfer(self, POLLOUT, iov, n, deadline_ns, error);
}

static void poll_close(void *self)
{
    PollChannel *p = self;

    if (p->made_nonblocking) { /* others may share the pipe or the terminal */
        fcntl(p->d.fd, F_SETFL, fcntl(p->d.fd, F_GETFL) & ~O_NONBLOCK);
    }
    close(p->d.fd);
    g_free(p);
}

#define SHARED_OPS                                                                                 \
    .name = "poll", .queued = ferry_descriptor_queued,                                             \
    .limit_queue = ferry_descriptor_limit_queue,                                                   \
    .shutdown_write = ferry_descriptor_shutdown_write, .close = poll_close,                        \
    .abort = ferry_descriptor_abort, .file = ferry_descriptor_file
static const FerryChannelOps both_ways = {SHARED_OPS, .readv = poll_readv, .writev = poll_writev,
                                          .readable = ferry_descriptor_readable};
static const FerryChannelOps read_only = {SHARED_OPS, .readv = poll_readv,
                                          .readable = ferry_descriptor_readable};
static const FerryChannelOps write_only = {SHARED_OPS, .writev = poll_writev};

FerryChannel *ferry_poll_channel_new(const FerryDescriptor *d, const char *description)
{
    PollChannel *p = g_new0(PollChannel, 1);
    int flags = fcntl(d->fd, F_GETFL);

    p->d = *d;
    if (d->medium == FERRY_MEDIUM_PIPE && !(flags & O_NONBLOCK)) { /* no MSG_DONTWAIT for these */
        p->made_nonblocking = fcntl(d->fd, F_SETFL, flags | O_NONBLOCK) == 0;
    }
    return ferry_channel_new(!d->can_read    ? &write_only
                             : !d->can_write ? &read_only
                                             : &both_ways,
                             p, description);
}
