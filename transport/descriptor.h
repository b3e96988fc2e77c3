/* Channels over a file descriptor: what poll.c and uring.c have in common, and the one wait that
 * connecting and accepting use too. */
#pragma once
#include <poll.h>
#include <signal.h>

#include "transport/channel.h"
#include "transport/transport.h"

G_BEGIN_DECLS

typedef enum {
    FERRY_MEDIUM_SOCKET,
    FERRY_MEDIUM_PIPE, /* pipes and character devices: may make a caller wait */
    FERRY_MEDIUM_FILE, /* files and disks: always ready; bytes move at the file's position */
} FerryMedium;

/* First member of the channels of poll.c and uring.c. */
typedef struct {
    int fd;
    FerryMedium medium;
    gboolean can_read, can_write;
    FerryInterrupt *interrupt; /* borrowed; may be NULL */
    gboolean is_tcp;
    gboolean drained; /* the last read took much, and all there was */
} FerryDescriptor;

/* Looks at @fd: open, and of a kind that carries ordered bytes? Does not take it. */
gboolean ferry_descriptor_init(FerryDescriptor *d, int fd, FerryInterrupt *interrupt,
                               GError **error);
/* Before and after a read into @iov. A reader that is quicker than its peer would fall asleep after
 * every few pages, and waking it costs the peer time: a connection that has just brought much, and
 * has nothing more, gets a moment to gather some. */
void ferry_descriptor_let_gather(FerryDescriptor *d);
void ferry_descriptor_note_read(FerryDescriptor *d, const struct iovec *iov, int n, gssize got);
/* Members of the channels' ops; @self begins with a FerryDescriptor. */
int ferry_descriptor_readable(void *self, uint64_t deadline_ns, GError **error);
gint64 ferry_descriptor_queued(void *self);
void ferry_descriptor_limit_queue(void *self, uint64_t bytes);
gboolean ferry_descriptor_shutdown_write(void *self, GError **error);
void ferry_descriptor_abort(void *self);
int ferry_descriptor_file(void *self);

/* Take @d->fd on success. */
FerryChannel *ferry_poll_channel_new(const FerryDescriptor *d, const char *description);
FerryChannel *ferry_uring_channel_new(const FerryDescriptor *d, const char *description,
                                      GError **error);
/* The one of the two that @options and the host ask for. Takes *@fd on success and sets it to -1.
 */
FerryChannel *ferry_descriptor_channel_new(FerryFd *fd, const char *description,
                                           const FerryTransportOptions *options, GError **error);
/* Is FERRY_IO one of the values it may have? */
gboolean ferry_io_choose(FerryIo wanted, FerryIo *out_io, GError **error);

/* TRUE when @fd has one of @events, or an error, or lost its peer. FALSE with INTERRUPTED or
 * TIMED_OUT. An @fd of -1 waits for these alone. */
gboolean ferry_wait(int fd, short events, const FerryInterrupt *interrupt, uint64_t deadline_ns,
                    GError **error);
/* FALSE with INTERRUPTED or TIMED_OUT. */
gboolean ferry_may_wait(const FerryInterrupt *interrupt, uint64_t deadline_ns, GError **error);
/* What the kernel said, as a FerryTransportError. */
void ferry_set_errno(GError **error, int errnum);

/* Keeps SIGPIPE from this thread while it writes to a pipe; sockets have MSG_NOSIGNAL instead. */
typedef struct {
    sigset_t old;
    gboolean was_pending;
} FerrySigpipe;
void ferry_sigpipe_hold(FerrySigpipe *s);
/* Swallows the signal if one came, and leaves errno alone. */
void ferry_sigpipe_release(FerrySigpipe *s);

G_END_DECLS
