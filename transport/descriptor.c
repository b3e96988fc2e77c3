#include "transport/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "transport/interrupt.h"
#include "transport/iov.h"

#define GATHER_NS 50000  /* the kernel adds as much; 100 KiB come in it at 1 GB/s */
#define GATHER_MIN 16384 /* bytes; less is conversation, not pages */

void ferry_fd_clear(FerryFd *fd)
{
    if (*fd >= 0) {
        close(*fd);
        *fd = -1;
    }
}

void ferry_set_errno(GError **error, int errnum)
{
    FerryTransportError code = FERRY_TRANSPORT_ERROR_IO;
    const char *text = g_strerror(errnum);

    switch (errnum) {
    case ECONNREFUSED:
        code = FERRY_TRANSPORT_ERROR_REFUSED;
        text = "connection refused (nobody listens there; start the destination first)";
        break;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN:
    case EHOSTDOWN:
        code = FERRY_TRANSPORT_ERROR_NO_ROUTE;
        break;
    case ETIMEDOUT:
        code = FERRY_TRANSPORT_ERROR_TIMED_OUT;
        break;
    case EPIPE:
        code = FERRY_TRANSPORT_ERROR_CLOSED;
        text = "the peer closed the connection";
        break;
    case ECONNRESET:
    case ECONNABORTED:
        code = FERRY_TRANSPORT_ERROR_CLOSED;
        text = "the peer reset the connection";
        break;
    default:
        break;
    }
    g_set_error_literal(error, FERRY_TRANSPORT_ERROR, (gint)code, text);
}

gboolean ferry_may_wait(const FerryInterrupt *interrupt, uint64_t deadline_ns, GError **error)
{
    if (!ferry_interrupt_check(interrupt, error)) {
        return FALSE;
    }
    if (deadline_ns != FERRY_NO_DEADLINE && ferry_now_ns() >= deadline_ns) {
        g_set_error_literal(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_TIMED_OUT,
                            "the deadline passed");
        return FALSE;
    }
    return TRUE;
}

gboolean ferry_wait(int fd, short events, const FerryInterrupt *interrupt, uint64_t deadline_ns,
                    GError **error)
{
    struct pollfd fds[] = {
        {.fd = fd,                                .events = events},
        {.fd = ferry_interrupt_get_fd(interrupt), .events = POLLIN}
    };

    for (;;) {
        uint64_t now_ns = deadline_ns == FERRY_NO_DEADLINE ? 0 : ferry_now_ns();
        uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
        struct timespec left = {.tv_sec = (time_t)(left_ns / 1000000000),
                                .tv_nsec = (long)(left_ns % 1000000000)};
        int n =
            ppoll(fds, G_N_ELEMENTS(fds), deadline_ns == FERRY_NO_DEADLINE ? NULL : &left, NULL);

        if (n < 0 && errno != EINTR) {
            ferry_set_errno(error, errno);
            return FALSE;
        }
        if (!ferry_interrupt_check(interrupt, error)) {
            return FALSE;
        }
        if (n > 0 && fds[0].revents != 0) {
            return TRUE;
        }
        if (!ferry_may_wait(NULL, deadline_ns, error)) {
            return FALSE;
        }
    }
}

/* The kinds of socket that promise ordered bytes to one peer. */
static gboolean look_at_socket(int fd, GError **error)
{
    int type = 0, listening = 0;
    socklen_t len = sizeof type;

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM) {
        g_set_error_literal(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_UNSUPPORTED,
                            "not a stream socket");
        return FALSE;
    }
    len = sizeof listening;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening) {
        g_set_error_literal(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_UNSUPPORTED,
                            "a listening socket; a connected one is needed");
        return FALSE;
    }
    return TRUE;
}

static gboolean speaks_tcp(int fd)
{
    int protocol = 0;
    socklen_t len = sizeof protocol;

    return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) == 0 && protocol == IPPROTO_TCP;
}

gboolean ferry_descriptor_init(FerryDescriptor *d, int fd, FerryInterrupt *interrupt,
                               GError **error)
{
    struct stat st;
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0 || fstat(fd, &st) < 0) {
        g_set_error_literal(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_ADDRESS,
                            "not an open file descriptor");
        return FALSE;
    }
    *d = (FerryDescriptor){.fd = fd,
                           .interrupt = interrupt,
                           .can_read = (flags & O_ACCMODE) != O_WRONLY,
                           .can_write = (flags & O_ACCMODE) != O_RDONLY};
    switch (st.st_mode & S_IFMT) {
    case S_IFSOCK:
        d->medium = FERRY_MEDIUM_SOCKET;
        d->is_tcp = speaks_tcp(fd);
        return look_at_socket(fd, error);
    case S_IFIFO:
    case S_IFCHR:
        d->medium = FERRY_MEDIUM_PIPE;
        return TRUE;
    case S_IFREG:
    case S_IFBLK:
        d->medium = FERRY_MEDIUM_FILE;
        return TRUE;
    default:
        g_set_error_literal(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_UNSUPPORTED,
                            "neither a socket nor a pipe nor a file");
        return FALSE;
    }
}

void ferry_descriptor_let_gather(FerryDescriptor *d)
{
    if (d->drained) {
        nanosleep(&(struct timespec){.tv_nsec = GATHER_NS}, NULL);
    }
}

void ferry_descriptor_note_read(FerryDescriptor *d, const struct iovec *iov, int n, gssize got)
{
    d->drained =
        d->is_tcp && got >= GATHER_MIN && (gsize)got < ferry_iov_bytes(iov, MIN(n, IOV_MAX));
}

int ferry_descriptor_readable(void *self, uint64_t deadline_ns, GError **error)
{
    FerryDescriptor *d = self;
    GError *local = NULL;

    if (ferry_wait(d->fd, POLLIN, d->interrupt, deadline_ns, &local)) {
        return 1;
    }
    if (g_error_matches(local, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_TIMED_OUT)) {
        g_clear_error(&local);
        return 0;
    }
    g_propagate_error(error, local);
    return -1;
}

/* TCP alone: there SIOCOUTQ is what the peer has not acknowledged. A unix socket answers with the
 * memory its unread data takes, 768 for 10 bytes, which nobody can turn into bytes again. */
gint64 ferry_descriptor_queued(void *self)
{
    FerryDescriptor *d = self;
    int queued = 0;

    return d->is_tcp && ioctl(d->fd, SIOCOUTQ, &queued) == 0 ? queued : -1;
}

void ferry_descriptor_limit_queue(void *self, uint64_t bytes)
{
    FerryDescriptor *d = self;
    int most = bytes > 0 && bytes < INT_MAX ? (int)bytes : -1; /* -1: the host's setting */

    if (d->is_tcp) { /* a kernel that does not know it lets more wait: nothing is lost */
        (void)setsockopt(d->fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &most, sizeof most);
    }
}

gboolean ferry_descriptor_shutdown_write(void *self, GError **error)
{
    FerryDescriptor *d = self;
    int failed = 0;

    switch (d->medium) {
    case FERRY_MEDIUM_SOCKET:
        failed = shutdown(d->fd, SHUT_WR);
        break;
    case FERRY_MEDIUM_FILE: /* a write error that the page cache still hides shows up here */
        failed = fdatasync(d->fd);
        break;
    case FERRY_MEDIUM_PIPE:
        break;
    }
    if (failed) {
        /* Of a socket it can only say that the connection is gone. */
        ferry_set_errno(error, errno == ENOTCONN ? ECONNRESET : errno);
        return FALSE;
    }
    return TRUE;
}

void ferry_descriptor_abort(void *self)
{
    FerryDescriptor *d = self;

    if (d->medium == FERRY_MEDIUM_SOCKET) {
        shutdown(d->fd, SHUT_RDWR); /* fails only where there is no connection left to end */
    }
}

int ferry_descriptor_file(void *self)
{
    FerryDescriptor *d = self;
    struct stat st;

    return d->medium == FERRY_MEDIUM_FILE && fstat(d->fd, &st) == 0 && S_ISREG(st.st_mode) ? d->fd
                                                                                           : -1;
}

static gboolean sigpipe_is_pending(void)
{
    sigset_t pending;

    sigpending(&pending);
    return sigismember(&pending, SIGPIPE) == 1;
}

void ferry_sigpipe_hold(FerrySigpipe *s)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    s->was_pending = sigpipe_is_pending();
    pthread_sigmask(SIG_BLOCK, &set, &s->old);
}

void ferry_sigpipe_release(FerrySigpipe *s)
{
    static const struct timespec none = {0};
    int saved = errno;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    if (!s->was_pending) {
        while (sigtimedwait(&set, NULL, &none) < 0 && errno == EINTR) {
        }
    }
    pthread_sigmask(SIG_SETMASK, &s->old, NULL);
    errno = saved;
}
