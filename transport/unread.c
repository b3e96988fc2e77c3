#include "transport/lobby.h"

#include <string.h>

#include "transport/wrap.h"

typedef struct {
    FerryChannel *inner;
    size_t done, n;
    uint8_t bytes[FERRY_LOBBY_BYTES_MAX];
} Unread;

/* What was put back comes alone: the caller takes what it gets, and asks again. */
static gssize unread_readv(void *self, const struct iovec *iov, int n, uint64_t deadline_ns,
                           GError **error)
{
    Unread *u = self;
    size_t moved = 0;

    if (u->done == u->n) {
        return ferry_channel_pass_readv(u->inner, iov, n, deadline_ns, error);
    }
    for (int i = 0; i < n && u->done < u->n; i++) {
        size_t part = MIN(iov[i].iov_len, u->n - u->done);
        if (part > 0) {
            memcpy(iov[i].iov_base, u->bytes + u->done, part);
        }
        u->done += part;
        moved += part;
    }
    return (gssize)moved;
}

static int unread_readable(void *self, uint64_t deadline_ns, GError **error)
{
    Unread *u = self;

    return u->done < u->n ? 1 : ferry_channel_pass_readable(u->inner, deadline_ns, error);
}

static gssize unread_writev(void *self, const struct iovec *iov, int n, uint64_t deadline_ns,
                            GError **error)
{
    Unread *u = self;

    return ferry_channel_pass_writev(u->inner, iov, n, deadline_ns, error);
}

static void unread_limit_queue(void *self, uint64_t bytes)
{
    Unread *u = self;

    ferry_channel_limit_queue(u->inner, bytes);
}

static gint64 unread_queued(void *self)
{
    Unread *u = self;

    return ferry_channel_queued(u->inner);
}

static gboolean unread_shutdown_write(void *self, GError **error)
{
    Unread *u = self;

    return ferry_channel_pass_shutdown_write(u->inner, error);
}

static void unread_abort(void *self)
{
    Unread *u = self;

    ferry_channel_abort(u->inner);
}

static void unread_close(void *self)
{
    Unread *u = self;

    ferry_channel_free(u->inner);
    g_free(u);
}

static const FerryChannelOps unread_ops = {
    .name = "unread",
    .readv = unread_readv,
    .writev = unread_writev,
    .readable = unread_readable,
    .queued = unread_queued,
    .limit_queue = unread_limit_queue,
    .shutdown_write = unread_shutdown_write,
    .close = unread_close,
    .abort = unread_abort,
};

FerryChannel *ferry_channel_unread(FerryChannel *channel, const uint8_t *bytes, size_t n)
{
    g_return_val_if_fail(n <= FERRY_LOBBY_BYTES_MAX, channel);
    Unread *u = g_new0(Unread, 1);

    u->inner = channel;
    u->n = n;
    if (n > 0) {
        memcpy(u->bytes, bytes, n);
    }
    return ferry_channel_wrap(channel, &unread_ops, u);
}
