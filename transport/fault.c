#include "transport/transport.h"

#include "transport/descriptor.h"
#include "transport/iov.h"
#include "transport/wrap.h"

typedef struct {
    FerryChannel *inner;
    FerryFault fault;
    FerryInterrupt *interrupt;
    uint64_t moved; /* bytes of the counted direction, by its thread alone */
    gboolean cut;   /* atomic: both threads look */
} Fault;

static gboolean check_cut(Fault *f, GError **error)
{
    if (__atomic_load_n(&f->cut, __ATOMIC_SEQ_CST)) {
        g_set_error_literal(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_CLOSED,
                            "the connection was cut");
        return FALSE;
    }
    return TRUE;
}

static void count(Fault *f, uint64_t bytes)
{
    f->moved += bytes;
    if (f->fault.kind == FERRY_FAULT_CUT && f->moved >= f->fault.position) {
        __atomic_store_n(&f->cut, TRUE, __ATOMIC_SEQ_CST);
        ferry_channel_abort(f->inner);
    }
}

/* The most that the next transfer of the counted direction may move. */
static size_t limit(const Fault *f)
{
    if (f->moved < f->fault.position) {
        return (size_t)MIN(f->fault.position - f->moved, (uint64_t)G_MAXSSIZE);
    }
    switch (f->fault.kind) {
    case FERRY_FAULT_SHORT:
        return 1;
    case FERRY_FAULT_FLIP: /* the byte at the position goes alone */
        return f->moved == f->fault.position ? 1 : G_MAXSSIZE;
    case FERRY_FAULT_CUT:
    case FERRY_FAULT_STALL:
    case FERRY_FAULT_BLACK_HOLE:
        return G_MAXSSIZE;
    }
    g_assert_not_reached();
}

static gboolean reached(const Fault *f, FerryFaultKind kind)
{
    return f->fault.kind == kind && f->moved >= f->fault.position;
}

static gboolean flips_now(const Fault *f)
{
    return f->fault.kind == FERRY_FAULT_FLIP && f->moved == f->fault.position;
}

static gssize stall(const Fault *f, uint64_t deadline_ns, GError **error)
{
    ferry_wait(-1, 0, f->interrupt, deadline_ns, error); /* nothing to wait for: it fails */
    return -1;
}

static gssize fault_readv(void *self, const struct iovec *iov, int n, uint64_t deadline_ns,
                          GError **error)
{
    Fault *f = self;
    struct iovec part[FERRY_IOV_PART];
    gssize moved;

    if (!check_cut(f, error)) {
        return -1;
    }
    if (f->fault.on_read) {
        if (reached(f, FERRY_FAULT_STALL) || reached(f, FERRY_FAULT_BLACK_HOLE)) {
            return stall(f, deadline_ns, error);
        }
        n = ferry_iov_cut(iov, n, 0, limit(f), part, FERRY_IOV_PART);
        iov = part;
    }
    moved = ferry_channel_pass_readv(f->inner, iov, n, deadline_ns, error);
    if (f->fault.on_read && moved > 0) {
        if (flips_now(f)) {
            *(uint8_t *)iov->iov_base ^= 1;
        }
        count(f, (uint64_t)moved);
        return moved;
    }
    if (moved <= 0 && __atomic_load_n(&f->cut, __ATOMIC_SEQ_CST)) {
        g_clear_error(error);
        check_cut(f, error);
        return -1;
    }
    return moved;
}

static gssize fault_writev(void *self, const struct iovec *iov, int n, uint64_t deadline_ns,
                           GError **error)
{
    Fault *f = self;
    struct iovec part[FERRY_IOV_PART];
    uint8_t flipped;
    gssize moved;

    if (!check_cut(f, error)) {
        return -1;
    }
    if (!f->fault.on_read) {
        if (reached(f, FERRY_FAULT_STALL)) {
            return stall(f, deadline_ns, error);
        }
        if (reached(f, FERRY_FAULT_BLACK_HOLE)) {
            return (gssize)ferry_iov_bytes(iov, n);
        }
        n = ferry_iov_cut(iov, n, 0, limit(f), part, FERRY_IOV_PART);
        iov = part;
        if (flips_now(f)) {
            flipped = *(uint8_t *)part[0].iov_base ^ 1;
            part[0].iov_base = &flipped;
        }
    }
    moved = ferry_channel_pass_writev(f->inner, iov, n, deadline_ns, error);
    if (!f->fault.on_read && moved > 0) {
        count(f, (uint64_t)moved);
    }
    return moved;
}

static int fault_readable(void *self, uint64_t deadline_ns, GError **error)
{
    Fault *f = self;
    GError *why = NULL;

    if (__atomic_load_n(&f->cut, __ATOMIC_SEQ_CST)) {
        return 1; /* a read fails at once */
    }
    if (!f->fault.on_read ||
        !(reached(f, FERRY_FAULT_STALL) || reached(f, FERRY_FAULT_BLACK_HOLE))) {
        return ferry_channel_pass_readable(f->inner, deadline_ns, error);
    }
    stall(f, deadline_ns, &why);
    if (g_error_matches(why, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_TIMED_OUT)) {
        g_clear_error(&why);
        return 0;
    }
    g_propagate_error(error, why);
    return -1;
}

static void fault_limit_queue(void *self, uint64_t bytes)
{
    Fault *f = self;

    ferry_channel_limit_queue(f->inner, bytes);
}

static gint64 fault_queued(void *self)
{
    Fault *f = self;

    return ferry_channel_queued(f->inner);
}

static gboolean fault_shutdown_write(void *self, GError **error)
{
    Fault *f = self;

    return check_cut(f, error) && ferry_channel_pass_shutdown_write(f->inner, error);
}

static void fault_abort(void *self)
{
    Fault *f = self;

    ferry_channel_abort(f->inner);
}

static void fault_close(void *self)
{
    Fault *f = self;

    ferry_channel_free(f->inner);
    g_free(f);
}

static const FerryChannelOps fault_ops = {
    .name = "fault",
    .readv = fault_readv,
    .writev = fault_writev,
    .readable = fault_readable,
    .queued = fault_queued,
    .limit_queue = fault_limit_queue,
    .shutdown_write = fault_shutdown_write,
    .close = fault_close,
    .abort = fault_abort,
};

FerryChannel *ferry_channel_fault(FerryChannel *channel, const FerryFault *fault,
                                  FerryInterrupt *interrupt)
{
    Fault *f = g_new0(Fault, 1);

    f->inner = channel;
    f->fault = *fault;
    f->interrupt = interrupt;
    count(f, 0); /* a cut at position 0 is due */
    return ferry_channel_wrap(channel, &fault_ops, f);
}
