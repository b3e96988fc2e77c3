/* QEMU lets through a tenth of the rate every 100 ms and sleeps in between; this spreads the same
 * amount evenly. */
#include "transport/transport.h"

#include "transport/bucket.h"
#include "transport/interrupt.h"
#include "transport/iov.h"
#include "transport/wrap.h"

/* One for all channels that are held to it together. */
typedef struct {
    gint users;             /* atomic */
    FerryWaitable waitable; /* guards the bucket */
    FerryBucket bucket;
} Limit;

typedef struct {
    FerryChannel *inner;
    Limit *limit;
    uint64_t waited_ns; /* atomic */
} RateLimit;

/* Takes as many of @want bytes as may go, after the wait for the first. What another channel is
 * about to write is taken already. 0 = the interrupt was raised. */
static uint64_t await_grant(Limit *l, uint64_t want, GError **error)
{
    uint64_t granted, at_ns = 0;
    gboolean may;

    ferry_waitable_lock(&l->waitable);
    may = ferry_interrupt_check(l->waitable.interrupt, error);
    granted = may ? ferry_bucket_grant(&l->bucket, want, ferry_now_ns(), &at_ns) : 0;
    while (may && granted == 0) {
        /* Either the time has come or the rate was changed: both mean asking again. */
        ferry_waitable_wait(&l->waitable, at_ns, NULL);
        may = ferry_interrupt_check(l->waitable.interrupt, error);
        granted = may ? ferry_bucket_grant(&l->bucket, want, ferry_now_ns(), &at_ns) : 0;
    }
    ferry_bucket_take(&l->bucket, granted);
    ferry_waitable_unlock(&l->waitable);
    return granted;
}

static void give_back(Limit *l, uint64_t bytes)
{
    if (bytes > 0) {
        ferry_waitable_lock(&l->waitable);
        ferry_bucket_give_back(&l->bucket, bytes);
        ferry_waitable_unlock(&l->waitable);
    }
}

static gssize ratelimit_writev(void *self, const struct iovec *iov, int n, uint64_t deadline_ns,
                               GError **error)
{
    RateLimit *r = self;
    struct iovec part[FERRY_IOV_PART];
    size_t want = ferry_iov_bytes(iov, n);
    uint64_t since_ns = ferry_now_ns(), waited_ns;
    size_t granted = await_grant(r->limit, want, error);
    gssize moved;

    waited_ns = ferry_now_ns() - since_ns;
    __atomic_fetch_add(&r->waited_ns, waited_ns, __ATOMIC_RELAXED);
    if (granted == 0) {
        return -1;
    }
    if (granted < want) {
        n = ferry_iov_cut(iov, n, 0, granted, part, FERRY_IOV_PART);
        iov = part;
    }
    moved = ferry_channel_pass_writev(r->inner, iov, n, ferry_deadline_add(deadline_ns, waited_ns),
                                      error);
    give_back(r->limit, granted - (uint64_t)MAX(moved, 0));
    return moved;
}

static gssize ratelimit_readv(void *self, const struct iovec *iov, int n, uint64_t deadline_ns,
                              GError **error)
{
    RateLimit *r = self;

    return ferry_channel_pass_readv(r->inner, iov, n, deadline_ns, error);
}

static int ratelimit_readable(void *self, uint64_t deadline_ns, GError **error)
{
    RateLimit *r = self;

    return ferry_channel_pass_readable(r->inner, deadline_ns, error);
}

static void ratelimit_limit_queue(void *self, uint64_t bytes)
{
    RateLimit *r = self;

    ferry_channel_limit_queue(r->inner, bytes);
}

static gint64 ratelimit_queued(void *self)
{
    RateLimit *r = self;

    return ferry_channel_queued(r->inner);
}

static gboolean ratelimit_shutdown_write(void *self, GError **error)
{
    RateLimit *r = self;

    return ferry_channel_pass_shutdown_write(r->inner, error);
}

static void ratelimit_abort(void *self)
{
    RateLimit *r = self;

    ferry_channel_abort(r->inner);
}

static void ratelimit_close(void *self)
{
    RateLimit *r = self;

    ferry_channel_free(r->inner);
    if (g_atomic_int_dec_and_test(&r->limit->users)) {
        ferry_waitable_clear(&r->limit->waitable);
        g_free(r->limit);
    }
    g_free(r);
}

static const FerryChannelOps ratelimit_ops = {
    .name = "ratelimit",
    .readv = ratelimit_readv,
    .writev = ratelimit_writev,
    .readable = ratelimit_readable,
    .queued = ratelimit_queued,
    .limit_queue = ratelimit_limit_queue,
    .shutdown_write = ratelimit_shutdown_write,
    .close = ratelimit_close,
    .abort = ratelimit_abort,
};

static FerryChannel *wrap(FerryChannel *channel, Limit *limit)
{
    RateLimit *r = g_new0(RateLimit, 1);

    g_atomic_int_inc(&limit->users);
    r->inner = channel;
    r->limit = limit;
    return ferry_channel_wrap(channel, &ratelimit_ops, r);
}

FerryChannel *ferry_channel_ratelimit(FerryChannel *channel, uint64_t bytes_per_second,
                                      FerryInterrupt *interrupt)
{
    Limit *limit = g_new0(Limit, 1);

    ferry_waitable_init(&limit->waitable, interrupt);
    ferry_bucket_init(&limit->bucket, bytes_per_second, ferry_now_ns());
    return wrap(channel, limit);
}

FerryChannel *ferry_channel_ratelimit_join(FerryChannel *channel, FerryChannel *limited)
{
    g_return_val_if_fail(limited->ops == &ratelimit_ops, channel);
    return wrap(channel, ((RateLimit *)limited->self)->limit);
}

void ferry_channel_ratelimit_set(FerryChannel *channel, uint64_t bytes_per_second)
{
    Limit *limit;

    g_return_if_fail(channel->ops == &ratelimit_ops);
    limit = ((RateLimit *)channel->self)->limit;
    ferry_waitable_lock(&limit->waitable);
    ferry_bucket_set_rate(&limit->bucket, bytes_per_second, ferry_now_ns());
    ferry_waitable_wake(&limit->waitable);
    ferry_waitable_unlock(&limit->waitable);
}

uint64_t ferry_channel_ratelimit_waited_ns(const FerryChannel *channel)
{
    const RateLimit *r;

    g_return_val_if_fail(channel->ops == &ratelimit_ops, 0);
    r = channel->self;
    return __atomic_load_n(&r->waited_ns, __ATOMIC_RELAXED);
}
