/* From an address to channels. */
#pragma once
#include "transport/address.h"
#include "transport/channel.h"

G_BEGIN_DECLS

/* How bytes are moved; both behave the same. */
typedef enum {
    /* The environment variable FERRY_IO (uring, poll; another value is an error), else uring where
     * it is allowed. */
    FERRY_IO_AUTO,
    FERRY_IO_URING, /* io_uring or an error */
    FERRY_IO_POLL,  /* poll, sendmsg, recvmsg */
} FerryIo;

typedef struct {
    FerryIo io;
    FerryInterrupt *interrupt; /* borrowed, must outlive the channels; NULL: none */
} FerryTransportOptions;

/* FALSE where io_uring may not be used; *out_reason (g_free; may be NULL) then says why. */
gboolean ferry_io_uring_usable(char **out_reason);

/* Connects (tcp, unix), takes over (fd: also closes it in the end), starts (exec: /bin/sh -c, its
 * standard input and output) or creates (file: truncated to the offset, then written from there;
 * mode 0600). Errors name address and which of refused, no route, timed out, unresolvable it was.
 * Looking up a name cannot be interrupted; the deadline is checked afterwards. @options may be
 * NULL.
 *
 * The end of an exec channel: a command that exits with another status than 0 gives
 * FERRY_TRANSPORT_ERROR_CLOSED where a good one gives end of stream. Freeing the channel closes
 * the command's standard input and waits for it, up to 10 s (not at all once the interrupt is
 * raised), then ends it with SIGTERM and SIGKILL. */
FerryChannel *ferry_transport_connect(const FerryAddress *address, uint64_t deadline_ns,
                                      const FerryTransportOptions *options, GError **error);

typedef struct FerryListener FerryListener;
/* tcp and unix listen; fd, exec and file are opened here and give exactly one channel, at the
 * first accept. An existing unix socket that nobody listens on any more is replaced; ours has mode
 * 0600. A host name with several addresses listens on all of them, with port 0 on the first. */
FerryListener *ferry_listener_new(const FerryAddress *address, const FerryTransportOptions *options,
                                  GError **error);
/* The address really bound: port 0 is replaced. Owned by the listener. */
const char *ferry_listener_get_uri(const FerryListener *listener);
FerryChannel *ferry_listener_accept(FerryListener *listener, uint64_t deadline_ns, GError **error);
/* Stops listening; removes the unix socket it made. Accepted channels live on. */
void ferry_listener_free(FerryListener *listener);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryListener, ferry_listener_free)

/* Two connected ends in memory, each with @capacity bytes of buffer per direction. For tests and
 * for embedders that move a guest inside one process. */
void ferry_channel_pair(size_t capacity, FerryInterrupt *interrupt, FerryChannel **out_a,
                        FerryChannel **out_b);

/* A wrapper that holds writes to a rate, as a token bucket: what an idle channel saves up is
 * worth 100 ms, and big writes are released in pieces of 10 ms. Time that a write is held back
 * does not count against its deadline. Takes @channel. */
FerryChannel *ferry_channel_ratelimit(FerryChannel *channel, uint64_t bytes_per_second,
                                      FerryInterrupt *interrupt);
/* A wrapper that holds writes to the rate that @limited has, both together. Each may be freed first
 * and be used by a thread of its own. Takes @channel. */
FerryChannel *ferry_channel_ratelimit_join(FerryChannel *channel, FerryChannel *limited);
/* Any thread; on a channel made by ferry_channel_ratelimit or _join. 0 = no limit. */
void ferry_channel_ratelimit_set(FerryChannel *channel, uint64_t bytes_per_second);
/* Time that writes to this channel have spent being held back, ns. Any thread. */
uint64_t ferry_channel_ratelimit_waited_ns(const FerryChannel *channel);

/* A wrapper that misbehaves on purpose, for tests. Takes @channel. Counted on bytes written
 * (or read) since it was made; all but CUT act on that direction only (wrap twice for both). */
typedef enum {
    FERRY_FAULT_CUT,        /* when the position is reached the connection is closed both ways */
    FERRY_FAULT_STALL,      /* from the position on nothing moves: waits until the deadline */
    FERRY_FAULT_BLACK_HOLE, /* writes succeed and are thrown away, reads wait */
    FERRY_FAULT_FLIP,       /* one bit of the byte at the position is inverted */
    FERRY_FAULT_SHORT,      /* every call moves one byte only, from the position on */
} FerryFaultKind;
typedef struct {
    FerryFaultKind kind;
    gboolean on_read; /* counts and acts on bytes read; else written */
    uint64_t position;
} FerryFault;
FerryChannel *ferry_channel_fault(FerryChannel *channel, const FerryFault *fault,
                                  FerryInterrupt *interrupt);

/* A file descriptor that closes itself: g_auto(FerryFd) fd = -1; */
typedef int FerryFd;
static inline int ferry_fd_steal(FerryFd *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}
void ferry_fd_clear(FerryFd *fd);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(FerryFd, ferry_fd_clear)

G_END_DECLS
