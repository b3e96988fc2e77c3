#include "transport/channel.h"

#include <time.h>
#include <unistd.h>

#include "transport/iov.h"
#include "transport/wrap.h"

/* Not G_DEFINE_QUARK: its static variable is a data race between two threads' first errors. */
GQuark ferry_transport_error_quark(void)
{
    return g_quark_from_static_string("ferry-transport-error-quark");
}

uint64_t ferry_now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t ferry_deadline_add(uint64_t a_ns, uint64_t b_ns)
{
    return b_ns < FERRY_NO_DEADLINE - a_ns ? a_ns + b_ns : FERRY_NO_DEADLINE;
}

FerryChannel *ferry_channel_new(const FerryChannelOps *ops, void *self, const char *description)
{
    FerryChannel *channel = g_new0(FerryChannel, 1);

    channel->ops = ops;
    channel->self = self;
    channel->description = g_strdup(description);
    return channel;
}

FerryChannel *ferry_channel_wrap(FerryChannel *inner, const FerryChannelOps *ops, void *self)
{
    FerryChannel *channel = ferry_channel_new(ops, self, inner->description);

    channel->inner = inner;
    return channel;
}

gssize ferry_channel_pass_readv(FerryChannel *inner, const struct iovec *iov, int n,
                                uint64_t deadline_ns, GError **error)
{
    if (inner->ops->readv == NULL) {
        g_set_error_literal(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_UNSUPPORTED,
                            "cannot be read");
        return -1;
    }
    return inner->ops->readv(inner->self, iov, n, deadline_ns, error);
}

gssize ferry_channel_pass_writev(FerryChannel *inner, const struct iovec *iov, int n,
                                 uint64_t deadline_ns, GError **error)
{
    if (inner->ops->writev == NULL) {
        g_set_error_literal(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_UNSUPPORTED,
                            "cannot be written");
        return -1;
    }
    return inner->ops->writev(inner->self, iov, n, deadline_ns, error);
}

int ferry_channel_pass_readable(FerryChannel *inner, uint64_t deadline_ns, GError **error)
{
    if (inner->ops->readable == NULL) {
        g_set_error_literal(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_UNSUPPORTED,
                            "cannot tell whether data is there");
        return -1;
    }
    return inner->ops->readable(inner->self, deadline_ns, error);
}

gboolean ferry_channel_pass_shutdown_write(FerryChannel *inner, GError **error)
{
    return inner->ops->shutdown_write == NULL || inner->ops->shutdown_write(inner->self, error);
}

gssize ferry_channel_readv(FerryChannel *channel, const struct iovec *iov, int n,
                           uint64_t deadline_ns, GError **error)
{
    gssize moved;

    while (n > 0 && iov->iov_len == 0) {
        iov++;
        n--;
    }
    g_return_val_if_fail(n > 0, -1);
    moved = ferry_channel_pass_readv(channel, iov, n, deadline_ns, error);
    if (moved < 0) {
        g_prefix_error(error, "%s: ", channel->description);
        return -1;
    }
    __atomic_fetch_add(&channel->bytes_read, (uint64_t)moved, __ATOMIC_RELAXED);
    return moved;
}

gssize ferry_channel_read(FerryChannel *channel, void *buffer, size_t n, uint64_t deadline_ns,
                          GError **error)
{
    struct iovec iov = {.iov_base = buffer, .iov_len = n};

    return ferry_channel_readv(channel, &iov, 1, deadline_ns, error);
}

gboolean ferry_channel_read_all(FerryChannel *channel, void *buffer, size_t n, uint64_t deadline_ns,
                                GError **error)
{
    for (size_t done = 0; done < n;) {
        gssize moved =
            ferry_channel_read(channel, (char *)buffer + done, n - done, deadline_ns, error);
        if (moved < 0) {
            return FALSE;
        }
        if (moved == 0) {
            g_set_error(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_CLOSED,
                        "%s: the peer closed the connection after %zu of %zu bytes",
                        channel->description, done, n);
            return FALSE;
        }
        done += (size_t)moved;
    }
    return TRUE;
}

/* Everything from byte *skip of iov[0] on, as far as one call takes it; moves *skip on. */
static gboolean write_some(FerryChannel *channel, const struct iovec *iov, int n, size_t *skip,
                           uint64_t deadline_ns, GError **error)
{
    struct iovec part[FERRY_IOV_PART];
    gssize moved;

    if (*skip > 0) { /* inside an element: the caller's array cannot say so, ours can */
        n = ferry_iov_cut(iov, n, *skip, G_MAXSSIZE, part, FERRY_IOV_PART);
        iov = part;
    }
    moved = ferry_channel_pass_writev(channel, iov, n, deadline_ns, error);
    if (moved < 0) {
        return FALSE;
    }
    __atomic_fetch_add(&channel->bytes_written, (uint64_t)moved, __ATOMIC_RELAXED);
    *skip += (size_t)moved;
    return TRUE;
}

gboolean ferry_channel_writev_all(FerryChannel *channel, const struct iovec *iov, int n,
                                  uint64_t progress_ns, GError **error)
{
    size_t skip = 0; /* bytes of iov[0] that are written; whole elements are stepped over */

    for (;;) {
        while (n > 0 && skip >= iov->iov_len) {
            skip -= iov->iov_len;
            iov++;
            n--;
        }
        if (n <= 0) {
            return TRUE;
        }
        if (!write_some(channel, iov, n, &skip, ferry_deadline_add(ferry_now_ns(), progress_ns),
                        error)) {
            g_prefix_error(error, "%s: ", channel->description);
            return FALSE;
        }
    }
}

gboolean ferry_channel_write_all(FerryChannel *channel, const void *bytes, size_t n,
                                 uint64_t progress_ns, GError **error)
{
    struct iovec iov = {.iov_base = (void *)bytes, .iov_len = n};

    return ferry_channel_writev_all(channel, &iov, 1, progress_ns, error);
}

int ferry_channel_readable(FerryChannel *channel, uint64_t deadline_ns, GError **error)
{
    int readable = ferry_channel_pass_readable(channel, deadline_ns, error);

    if (readable < 0) {
        g_prefix_error(error, "%s: ", channel->description);
    }
    return readable;
}

void ferry_channel_limit_queue(FerryChannel *channel, uint64_t bytes)
{
    if (channel->ops->limit_queue != NULL) {
        channel->ops->limit_queue(channel->self, bytes);
    }
}

gint64 ferry_channel_queued(FerryChannel *channel)
{
    return channel->ops->queued != NULL ? channel->ops->queued(channel->self) : -1;
}

gboolean ferry_channel_shutdown_write(FerryChannel *channel, GError **error)
{
    if (!ferry_channel_pass_shutdown_write(channel, error)) {
        g_prefix_error(error, "%s: ", channel->description);
        return FALSE;
    }
    return TRUE;
}

void ferry_channel_abort(FerryChannel *channel)
{
    if (channel->ops->abort != NULL) {
        channel->ops->abort(channel->self);
    }
}

const char *ferry_channel_get_description(const FerryChannel *channel)
{
    return channel->description;
}

const char *ferry_channel_get_io(const FerryChannel *channel)
{
    while (channel->inner != NULL) {
        channel = channel->inner;
    }
    return channel->ops->name;
}

gboolean ferry_channel_can_read(const FerryChannel *channel)
{
    for (; channel != NULL; channel = channel->inner) {
        if (channel->ops->readv == NULL) {
            return FALSE;
        }
    }
    return TRUE;
}

int ferry_channel_get_file(const FerryChannel *channel)
{
    while (channel->inner != NULL) {
        channel = channel->inner;
    }
    return channel->ops->file != NULL ? channel->ops->file(channel->self) : -1;
}

static gboolean move(FerryChannel *channel, uint64_t to, int whence, uint64_t *out_position,
                     GError **error)
{
    int fd = ferry_channel_get_file(channel);
    off_t position = fd < 0 || to > G_MAXINT64 ? -1 : lseek(fd, (off_t)to, whence);

    if (position < 0) {
        g_set_error(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_UNSUPPORTED,
                    "%s: cannot go to byte %" G_GUINT64_FORMAT ": %s", channel->description, to,
                    fd < 0 ? "not a regular file" : "out of range");
        return FALSE;
    }
    *out_position = (uint64_t)position;
    return TRUE;
}

gboolean ferry_channel_tell(FerryChannel *channel, uint64_t *out_position, GError **error)
{
    return move(channel, 0, SEEK_CUR, out_position, error);
}

gboolean ferry_channel_seek(FerryChannel *channel, uint64_t position, GError **error)
{
    return move(channel, position, SEEK_SET, &position, error);
}

uint64_t ferry_channel_bytes_written(const FerryChannel *channel)
{
    return __atomic_load_n(&channel->bytes_written, __ATOMIC_RELAXED);
}

uint64_t ferry_channel_bytes_read(const FerryChannel *channel)
{
    return __atomic_load_n(&channel->bytes_read, __ATOMIC_RELAXED);
}

void ferry_channel_free(FerryChannel *channel)
{
    if (channel == NULL) {
        return;
    }
    channel->ops->close(channel->self);
    g_free(channel->description);
    g_free(channel);
}
