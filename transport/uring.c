/* Bytes moved by io_uring: one ring per direction, so that a reader and a writer thread never
 * meet, and one system call for a transfer that need not wait.
 *
 * A transfer is one request. While it waits, a second request watches the interrupt; that one
 * stays in the ring from call to call. When the wait ends early the transfer is cancelled, and its
 * completion is taken in before the caller gets its buffers back: it may have moved bytes after
 * all, and then that is the result. */
#include "transport/descriptor.h"

#include <errno.h>
#include <limits.h>
#include <liburing.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "transport/interrupt.h"

/* A request's address is its user_data, so every completion finds the request it ends. */
typedef struct {
    gboolean pending;
    int result; /* once it is not pending */
} Request;

enum { RING_ENTRIES = 4 }; /* one of each request below, and one to spare */

typedef struct {
    struct io_uring ring;
    gboolean ready;
    int broken; /* -errno: the kernel refused to enter the ring, which stays unused from then on */
    Request transfer, watch, cancel;
    struct msghdr msg; /* read by the kernel while the transfer is pending */
} Direction;

typedef struct {
    FerryDescriptor d; /* first: the shared ops look at it */
    Direction in, out;
} UringChannel;

static struct io_uring_sqe *add(Direction *dir, Request *request)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&dir->ring);

    g_assert(sqe != NULL && !request->pending);
    request->pending = TRUE;
    return sqe;
}

static void reap(Direction *dir)
{
    struct io_uring_cqe *cqe;

    while (io_uring_peek_cqe(&dir->ring, &cqe) == 0) {
        Request *request = io_uring_cqe_get_data(cqe);
        request->result = cqe->res;
        request->pending = FALSE;
        io_uring_cqe_seen(&dir->ring, cqe);
    }
}

/* Submits what was added and takes in what has completed, waiting for one if nothing has. May
 * return early. FALSE: the ring is broken. */
static gboolean enter(Direction *dir, uint64_t deadline_ns)
{
    uint64_t now_ns = deadline_ns == FERRY_NO_DEADLINE ? 0 : ferry_now_ns();
    uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    struct __kernel_timespec left = {.tv_sec = (int64_t)(left_ns / 1000000000),
                                     .tv_nsec = (int64_t)(left_ns % 1000000000)};
    struct io_uring_cqe *cqe;
    int result = io_uring_submit_and_wait_timeout(
        &dir->ring, &cqe, 1, deadline_ns == FERRY_NO_DEADLINE ? NULL : &left, NULL);

    switch (result) {
    case -EAGAIN: /* no memory for a request just now */
    case -EBUSY:
        g_usleep(1000);
        break;
    case -ETIME: /* also after a signal: callers look at the clock themselves */
    case -EINTR:
        break;
    default:
        if (result < 0) {
            dir->broken = result;
        }
    }
    reap(dir);
    return dir->broken == 0;
}

/* Asks the kernel to end @request, and waits until it has. */
static void cancel(Direction *dir, Request *request)
{
    struct io_uring_sqe *sqe;

    if (dir->broken) {
        return;
    }
    sqe = add(dir, &dir->cancel);
    io_uring_prep_cancel(sqe, request, 0);
    io_uring_sqe_set_data(sqe, &dir->cancel);
    while ((request->pending || dir->cancel.pending) && enter(dir, FERRY_NO_DEADLINE)) {
    }
}

/* Until the transfer has ended and been taken in, whatever happens: its memory is the caller's. */
static void take_back(UringChannel *u, Direction *dir)
{
    cancel(dir, &dir->transfer);
    /* In a broken ring, what was added last was never submitted. */
    if (dir->transfer.pending && io_uring_sq_ready(&dir->ring) > (dir->cancel.pending ? 1U : 0U)) {
        dir->transfer.pending = FALSE;
        dir->transfer.result = dir->broken;
    }
    while (dir->transfer.pending) { /* nobody to ask, but the end of the connection ends it, too */
        ferry_descriptor_abort(&u->d);
        g_usleep(1000);
        reap(dir);
    }
}

/* The kernel takes the watch out when the thread that added it ends; then it is added again. */
static void keep_watch(UringChannel *u, Direction *dir)
{
    if (u->d.interrupt != NULL && !dir->watch.pending) {
        struct io_uring_sqe *sqe = add(dir, &dir->watch);
        io_uring_prep_poll_add(sqe, ferry_interrupt_get_fd(u->d.interrupt), POLLIN);
        io_uring_sqe_set_data(sqe, &dir->watch);
    }
}

/* Without MSG_WAITALL: each call ends with the first bytes, as in poll.c. */
static void add_transfer(UringChannel *u, Direction *dir, const struct iovec *iov, int n)
{
    struct io_uring_sqe *sqe = add(dir, &dir->transfer);
    gboolean out = dir == &u->out;

    if (u->d.medium == FERRY_MEDIUM_SOCKET) {
        dir->msg = (struct msghdr){.msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)n};
        if (out) {
            io_uring_prep_sendmsg(sqe, u->d.fd, &dir->msg, MSG_NOSIGNAL);
        } else {
            io_uring_prep_recvmsg(sqe, u->d.fd, &dir->msg, 0);
        }
    } else { /* offset -1: at the file's position */
        if (out) {
            io_uring_prep_writev(sqe, u->d.fd, iov, (unsigned)n, (uint64_t)-1);
        } else {
            io_uring_prep_readv(sqe, u->d.fd, iov, (unsigned)n, (uint64_t)-1);
        }
    }
    io_uring_sqe_set_data(sqe, &dir->transfer);
}

/* One request from its submission to its accounted end: bytes, or -errno. */
static int run(UringChannel *u, Direction *dir, const struct iovec *iov, int n,
               uint64_t deadline_ns)
{
    keep_watch(u, dir);
    add_transfer(u, dir, iov, n);
    while (enter(dir, deadline_ns) && dir->transfer.pending) {
        if (!ferry_may_wait(u->d.interrupt, deadline_ns, NULL)) {
            break;
        }
        keep_watch(u, dir);
    }
    if (dir->transfer.pending) {
        take_back(u, dir);
    }
    return dir->transfer.result;
}

static int run_without_sigpipe(UringChannel *u, Direction *dir, const struct iovec *iov, int n,
                               uint64_t deadline_ns)
{
    FerrySigpipe sigpipe;
    int result;

    if (dir != &u->out || u->d.medium != FERRY_MEDIUM_PIPE) {
        return run(u, dir, iov, n, deadline_ns);
    }
    ferry_sigpipe_hold(&sigpipe);
    result = run(u, dir, iov, n, deadline_ns);
    ferry_sigpipe_release(&sigpipe);
    return result;
}

static gssize transfer(UringChannel *u, Direction *dir, const struct iovec *iov, int n,
                       uint64_t deadline_ns, GError **error)
{
    short direction = dir == &u->out ? POLLOUT : POLLIN;

    n = MIN(n, IOV_MAX);
    for (;;) {
        int result;

        if (!ferry_interrupt_check(u->d.interrupt, error)) {
            return -1;
        }
        result = dir->broken ? dir->broken : run_without_sigpipe(u, dir, iov, n, deadline_ns);
        if (result >= 0) {
            return result;
        }
        if (result == -EAGAIN) { /* the descriptor came with O_NONBLOCK set */
            if (!ferry_wait(u->d.fd, direction, u->d.interrupt, deadline_ns, error)) {
                return -1;
            }
        } else if (result == -ECANCELED || result == -EINTR) {
            if (!ferry_may_wait(u->d.interrupt, deadline_ns, error)) {
                return -1;
            }
        } else {
            ferry_set_errno(error, -result);
            return -1;
        }
    }
}

static gssize uring_readv(void *self, const struct iovec *iov, int n, uint64_t deadline_ns,
                          GError **error)
{
    UringChannel *u = self;
    gssize got;

    ferry_descriptor_let_gather(&u->d);
    got = transfer(u, &u->in, iov, n, deadline_ns, error);
    ferry_descriptor_note_read(&u->d, iov, n, got);
    return got;
}

static gssize uring_writev(void *self, const struct iovec *iov, int n, uint64_t deadline_ns,
                           GError **error)
{
    UringChannel *u = self;

    return transfer(u, &u->out, iov, n, deadline_ns, error);
}

static void direction_clear(Direction *dir)
{
    if (!dir->ready) {
        return;
    }
    if (dir->watch.pending) {
        cancel(dir, &dir->watch);
    }
    g_assert(!dir->transfer.pending);
    io_uring_queue_exit(&dir->ring);
}

static void uring_close(void *self)
{
    UringChannel *u = self;

    direction_clear(&u->in);
    direction_clear(&u->out);
    close(u->d.fd);
    g_free(u);
}

#define SHARED_OPS                                                                                 \
    .name = "uring", .queued = ferry_descriptor_queued,                                            \
    .limit_queue = ferry_descriptor_limit_queue,                                                   \
    .shutdown_write = ferry_descriptor_shutdown_write, .close = uring_close,                       \
    .abort = ferry_descriptor_abort, .file = ferry_descriptor_file
static const FerryChannelOps both_ways = {SHARED_OPS, .readv = uring_readv, .writev = uring_writev,
                                          .readable = ferry_descriptor_readable};
static const FerryChannelOps read_only = {SHARED_OPS, .readv = uring_readv,
                                          .readable = ferry_descriptor_readable};
static const FerryChannelOps write_only = {SHARED_OPS, .writev = uring_writev};

static gboolean set_up(struct io_uring *ring, GError **error)
{
    int result = io_uring_queue_init(RING_ENTRIES, ring, 0);
    const char *why = "";

    if (result == 0) {
        return TRUE;
    }
    if (result == -EPERM || result == -EACCES) {
        why = " (forbidden by seccomp or kernel.io_uring_disabled)";
    } else if (result == -ENOSYS) {
        why = " (this kernel has none, or seccomp hides it)";
    } else if (result == -ENOMEM) {
        why = " (RLIMIT_MEMLOCK)";
    }
    g_set_error(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_UNSUPPORTED,
                "io_uring_setup: %s%s", g_strerror(-result), why);
    return FALSE;
}

static gboolean direction_init(Direction *dir, gboolean wanted, GError **error)
{
    if (!wanted) {
        return TRUE;
    }
    dir->ready = set_up(&dir->ring, error);
    if (dir->ready) {
        io_uring_ring_dontfork(&dir->ring);
    }
    return dir->ready;
}

FerryChannel *ferry_uring_channel_new(const FerryDescriptor *d, const char *description,
                                      GError **error)
{
    UringChannel *u = g_new0(UringChannel, 1);

    u->d = *d;
    if (!direction_init(&u->in, d->can_read, error) ||
        !direction_init(&u->out, d->can_write, error)) {
        direction_clear(&u->in);
        g_free(u);
        return NULL;
    }
    return ferry_channel_new(!d->can_read    ? &write_only
                             : !d->can_write ? &read_only
                                             : &both_ways,
                             u, description);
}

/* NULL, or what this kernel lacks. */
static const char *lacks(struct io_uring *ring)
{
    static const int opcodes[] = {IORING_OP_SENDMSG, IORING_OP_RECVMSG,  IORING_OP_READV,
                                  IORING_OP_WRITEV,  IORING_OP_POLL_ADD, IORING_OP_ASYNC_CANCEL};
    const unsigned features =
        IORING_FEAT_NODROP | IORING_FEAT_FAST_POLL | IORING_FEAT_EXT_ARG | IORING_FEAT_RW_CUR_POS;
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    const char *lacking = NULL;

    if ((ring->features & features) != features) {
        lacking = "io_uring of this kernel is too old (Linux 5.11 is needed)";
    } else if (probe == NULL) {
        lacking = "io_uring cannot be probed (io_uring_register is forbidden)";
    } else {
        for (unsigned i = 0; i < G_N_ELEMENTS(opcodes); i++) {
            if (!io_uring_opcode_supported(probe, opcodes[i])) {
                lacking = "io_uring of this kernel lacks an operation for sockets or files";
            }
        }
    }
    io_uring_free_probe(probe);
    return lacking;
}

gboolean ferry_io_uring_usable(char **out_reason)
{
    g_autoptr(GError) error = NULL;
    struct io_uring ring;
    const char *lacking;

    if (!set_up(&ring, &error)) {
        if (out_reason != NULL) {
            *out_reason = g_strdup(error->message);
        }
        return FALSE;
    }
    lacking = lacks(&ring);
    io_uring_queue_exit(&ring);
    if (lacking != NULL && out_reason != NULL) {
        *out_reason = g_strdup(lacking);
    }
    return lacking == NULL;
}
