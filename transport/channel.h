/* Ordered bytes between two ends: one interface over sockets, pipes, files and memory.
 *
 * One thread may read a channel while another writes it; each direction belongs to one thread.
 * Every call that can wait takes a deadline (CLOCK_MONOTONIC, ns) and ends at once when the
 * channel's interrupt is raised. */
#pragma once
#include <glib.h>
#include <stdint.h>
#include <sys/uio.h>

G_BEGIN_DECLS

#define FERRY_TRANSPORT_ERROR (ferry_transport_error_quark())
GQuark ferry_transport_error_quark(void);
typedef enum {
    FERRY_TRANSPORT_ERROR_ADDRESS,     /* the URI or the path is wrong */
    FERRY_TRANSPORT_ERROR_RESOLVE,     /* no such host */
    FERRY_TRANSPORT_ERROR_REFUSED,     /* nobody listens there */
    FERRY_TRANSPORT_ERROR_NO_ROUTE,    /* host or network unreachable */
    FERRY_TRANSPORT_ERROR_TIMED_OUT,   /* the deadline passed */
    FERRY_TRANSPORT_ERROR_CLOSED,      /* the peer closed or reset the connection */
    FERRY_TRANSPORT_ERROR_INTERRUPTED, /* the interrupt was raised */
    FERRY_TRANSPORT_ERROR_UNSUPPORTED, /* this medium or host cannot do it */
    FERRY_TRANSPORT_ERROR_IO,          /* anything else the kernel says */
} FerryTransportError;

#define FERRY_NO_DEADLINE UINT64_MAX

/* Ends waits from another thread: once it is raised, every call that could wait fails with
 * FERRY_TRANSPORT_ERROR_INTERRUPTED, even where data is there. One interrupt serves any number of
 * channels and must outlive them. */
typedef struct FerryInterrupt FerryInterrupt;
/* NULL with an error when the process is out of file descriptors. */
FerryInterrupt *ferry_interrupt_new(GError **error);
void ferry_interrupt_raise(FerryInterrupt *interrupt);               /* any thread */
gboolean ferry_interrupt_is_raised(const FerryInterrupt *interrupt); /* any thread */
/* Waits are possible again: for a last word to the peer after a cancel. Only when no thread waits
 * and none can raise any more. NULL is allowed. */
void ferry_interrupt_lower(FerryInterrupt *interrupt);
void ferry_interrupt_free(FerryInterrupt *interrupt);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryInterrupt, ferry_interrupt_free)

/* One medium, or a wrapper of another channel. Threads as above. The callers below never pass an
 * empty @iov, nor one whose first element is empty. A deadline that has passed already still moves
 * what can be moved without waiting. */
typedef struct {
    const char *name;
    /* Move at least one byte, as many as are there. 0 = end of stream, -1 = error. NULL: no way
     * back. */
    gssize (*readv)(void *self, const struct iovec *iov, int n, uint64_t deadline_ns,
                    GError **error);
    /* Move at least one byte; -1 = error. Never raises SIGPIPE. NULL: cannot be written. */
    gssize (*writev)(void *self, const struct iovec *iov, int n, uint64_t deadline_ns,
                     GError **error);
    /* 1: a read would not wait (data or end), 0: the deadline passed, -1: error. A deadline of 0
     * asks without waiting. NULL: unknown, the caller must not ask. */
    int (*readable)(void *self, uint64_t deadline_ns, GError **error);
    /* Bytes written that the peer's kernel does not have yet. NULL or -1: unknown (only TCP and
     * the pair know). */
    gint64 (*queued)(void *self);
    /* ferry_channel_limit_queue(). NULL: cannot. */
    void (*limit_queue)(void *self, uint64_t bytes);
    /* No more writes: the peer reads end of stream. A file is then on the disk. NULL: closing
     * says it. */
    gboolean (*shutdown_write)(void *self, GError **error);
    /* Frees self. Called once. */
    void (*close)(void *self);
    /* Any thread, not after close: both directions end at once, here and for the peer. NULL:
     * cannot (pipes, files). */
    void (*abort)(void *self);
    /* The regular file at whose position bytes move; -1 or NULL: none. */
    int (*file)(void *self);
} FerryChannelOps;

typedef struct FerryChannel FerryChannel;
/* Takes @self. @description ("tcp:127.0.0.1:4444") is copied; it prefixes every error. */
FerryChannel *ferry_channel_new(const FerryChannelOps *ops, void *self, const char *description);
/* Some bytes (room for at least one is asked for); 0 = end of stream; -1 = error. */
gssize ferry_channel_readv(FerryChannel *channel, const struct iovec *iov, int n,
                           uint64_t deadline_ns, GError **error);
gssize ferry_channel_read(FerryChannel *channel, void *buffer, size_t n, uint64_t deadline_ns,
                          GError **error);
/* All bytes or an error; an end of stream before @n bytes is FERRY_TRANSPORT_ERROR_CLOSED. */
gboolean ferry_channel_read_all(FerryChannel *channel, void *buffer, size_t n, uint64_t deadline_ns,
                                GError **error);
/* All bytes or an error: short writes are continued here and nowhere else. The deadline is for
 * progress: it is the longest wait for the next byte to be taken, in ns from now. @iov is left as
 * it was. */
gboolean ferry_channel_writev_all(FerryChannel *channel, const struct iovec *iov, int n,
                                  uint64_t progress_ns, GError **error);
gboolean ferry_channel_write_all(FerryChannel *channel, const void *bytes, size_t n,
                                 uint64_t progress_ns, GError **error);
int ferry_channel_readable(FerryChannel *channel, uint64_t deadline_ns, GError **error);
gint64 ferry_channel_queued(FerryChannel *channel);
/* Any thread, not after free. Writes wait while so many bytes or more have yet to be sent, besides
 * those on their way; 0: as many as the kernel likes. For TCP; elsewhere nothing happens. */
void ferry_channel_limit_queue(FerryChannel *channel, uint64_t bytes);
gboolean ferry_channel_shutdown_write(FerryChannel *channel, GError **error);
/* Any thread. Ends both directions at once, so that the peer sees it too; where the medium cannot,
 * nothing happens before the channel is freed. */
void ferry_channel_abort(FerryChannel *channel);
const char *ferry_channel_get_description(const FerryChannel *channel);
/* "uring", "poll", "pair", ...: the way bytes move at the bottom; wrappers answer for what they
 * wrap. */
const char *ferry_channel_get_io(const FerryChannel *channel);
/* FALSE for media with no way back (a file, one direction of exec). */
gboolean ferry_channel_can_read(const FerryChannel *channel);
/* The regular file behind the channel, for what stands at places of it; -1 for other media. The
 * channel's own bytes move at its position, which the next two ask for and set; nothing else may
 * use the channel meanwhile. */
int ferry_channel_get_file(const FerryChannel *channel);
gboolean ferry_channel_tell(FerryChannel *channel, uint64_t *out_position, GError **error);
gboolean ferry_channel_seek(FerryChannel *channel, uint64_t position, GError **error);
/* Totals since the channel was made. Any thread. */
uint64_t ferry_channel_bytes_written(const FerryChannel *channel);
uint64_t ferry_channel_bytes_read(const FerryChannel *channel);
/* Closes at once; unread input makes a TCP peer see a reset. */
void ferry_channel_free(FerryChannel *channel);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryChannel, ferry_channel_free)

/* CLOCK_MONOTONIC, ns. */
uint64_t ferry_now_ns(void);

G_END_DECLS
