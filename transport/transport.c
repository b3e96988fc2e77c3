#include "transport/transport.h"

#include <fcntl.h>

#include "transport/descriptor.h"
#include "transport/interrupt.h"
#include "transport/media.h"

static const FerryTransportOptions default_options = {.io = FERRY_IO_AUTO};

gboolean ferry_io_choose(FerryIo wanted, FerryIo *out_io, GError **error)
{
    const char *value = wanted == FERRY_IO_AUTO ? g_getenv("FERRY_IO") : NULL;

    *out_io = wanted;
    if (g_strcmp0(value, "uring") == 0) {
        *out_io = FERRY_IO_URING;
    } else if (g_strcmp0(value, "poll") == 0) {
        *out_io = FERRY_IO_POLL;
    } else if (value != NULL) {
        g_set_error(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_UNSUPPORTED,
                    "FERRY_IO is '%s'; it may be 'uring' or 'poll'", value);
        return FALSE;
    }
    return TRUE;
}

FerryChannel *ferry_descriptor_channel_new(FerryFd *fd, const char *description,
                                           const FerryTransportOptions *options, GError **error)
{
    FerryDescriptor d;
    FerryChannel *channel = NULL;
    g_autofree char *reason = NULL;
    FerryIo io;

    if (!ferry_io_choose(options->io, &io, error) ||
        !ferry_descriptor_init(&d, *fd, options->interrupt, error)) {
        return NULL;
    }
    if (io != FERRY_IO_POLL && ferry_io_uring_usable(&reason)) {
        channel = ferry_uring_channel_new(&d, description, io == FERRY_IO_URING ? error : NULL);
    } else if (io == FERRY_IO_URING) {
        g_set_error_literal(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_UNSUPPORTED,
                            reason);
    }
    if (channel == NULL && io != FERRY_IO_URING) {
        channel = ferry_poll_channel_new(&d, description);
    }
    if (channel != NULL) {
        *fd = -1;
    }
    return channel;
}

/* fd: is checked before it is taken, so a wrong number closes nothing. */
static FerryChannel *take_fd(const FerryAddress *address, gboolean to_write, const char *uri,
                             const FerryTransportOptions *options, GError **error)
{
    FerryDescriptor looked;
    FerryFd fd = address->fd;

    if (!ferry_descriptor_init(&looked, fd, options->interrupt, error)) {
        return NULL;
    }
    if (to_write ? !looked.can_write : !looked.can_read) {
        g_set_error(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_UNSUPPORTED,
                    "the descriptor is not open for %s", to_write ? "writing" : "reading");
        return NULL;
    }
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    return ferry_descriptor_channel_new(&fd, uri, options, error);
}

static FerryChannel *open_file(const FerryAddress *address, gboolean to_write, const char *uri,
                               const FerryTransportOptions *options, GError **error)
{
    g_auto(FerryFd) fd = ferry_file_open(address, to_write, error);

    return fd < 0 ? NULL : ferry_descriptor_channel_new(&fd, uri, options, error);
}

static FerryChannel *start_command(const FerryAddress *address, const char *uri,
                                   const FerryTransportOptions *options, GError **error)
{
    g_auto(FerryFd) fd = -1;
    FerryChild child;
    FerryChannel *inner;

    if (!ferry_exec_start(address->text, &child, &fd, error)) {
        return NULL;
    }
    inner = ferry_descriptor_channel_new(&fd, uri, options, error);
    if (inner == NULL) {
        ferry_exec_give_up(&child);
        return NULL;
    }
    return ferry_exec_channel_new(&child, inner, options->interrupt);
}

/* fd, exec and file, which know no difference between connecting and listening but the direction.
 */
static FerryChannel *open_single(const FerryAddress *address, gboolean to_write, const char *uri,
                                 const FerryTransportOptions *options, GError **error)
{
    switch (address->type) {
    case FERRY_ADDRESS_FD:
        return take_fd(address, to_write, uri, options, error);
    case FERRY_ADDRESS_EXEC:
        return start_command(address, uri, options, error);
    case FERRY_ADDRESS_FILE:
        return open_file(address, to_write, uri, options, error);
    case FERRY_ADDRESS_TCP:
    case FERRY_ADDRESS_UNIX:
        break;
    }
    g_assert_not_reached();
}

static gboolean is_socket(const FerryAddress *address)
{
    return address->type == FERRY_ADDRESS_TCP || address->type == FERRY_ADDRESS_UNIX;
}

static FerryChannel *connect_socket(const FerryAddress *address, uint64_t deadline_ns,
                                    const char *uri, const FerryTransportOptions *options,
                                    GError **error)
{
    g_auto(FerryFd) fd = ferry_socket_connect(address, deadline_ns, options->interrupt, error);

    return fd < 0 ? NULL : ferry_descriptor_channel_new(&fd, uri, options, error);
}

FerryChannel *ferry_transport_connect(const FerryAddress *address, uint64_t deadline_ns,
                                      const FerryTransportOptions *options, GError **error)
{
    g_autofree char *uri = ferry_address_to_uri(address);
    FerryChannel *channel;

    if (options == NULL) {
        options = &default_options;
    }
    channel = is_socket(address) ? connect_socket(address, deadline_ns, uri, options, error)
                                 : open_single(address, TRUE, uri, options, error);
    if (channel == NULL) {
        g_prefix_error(error, "connect %s: ", uri);
    }
    return channel;
}

struct FerryListener {
    char *uri;
    FerryTransportOptions options;
    FerryListenSockets *sockets; /* tcp and unix */
    FerryChannel *single;        /* the others; NULL once it was handed over */
};

FerryListener *ferry_listener_new(const FerryAddress *address, const FerryTransportOptions *options,
                                  GError **error)
{
    g_autoptr(FerryListener) listener = g_new0(FerryListener, 1);
    g_autofree char *uri = ferry_address_to_uri(address);
    FerryIo io;

    listener->options = options != NULL ? *options : default_options;
    if (!ferry_io_choose(listener->options.io, &io, error)) { /* not only at the first accept */
        g_prefix_error(error, "listen %s: ", uri);
        return NULL;
    }
    if (is_socket(address)) {
        listener->sockets = ferry_listen_sockets_new(address, &listener->uri, error);
    } else {
        listener->uri = g_strdup(uri);
        listener->single = open_single(address, FALSE, uri, &listener->options, error);
    }
    if (listener->sockets == NULL && listener->single == NULL) {
        g_prefix_error(error, "listen %s: ", uri);
        return NULL;
    }
    return g_steal_pointer(&listener);
}

const char *ferry_listener_get_uri(const FerryListener *listener) { return listener->uri; }

FerryListenSockets *ferry_listener_get_sockets(const FerryListener *listener,
                                               const FerryTransportOptions **out_options)
{
    *out_options = &listener->options;
    return listener->sockets;
}

static FerryChannel *accept_socket(FerryListener *listener, uint64_t deadline_ns, GError **error)
{
    g_autofree char *peer = NULL;
    g_auto(FerryFd) fd = ferry_listen_sockets_accept(listener->sockets, listener->options.interrupt,
                                                     deadline_ns, &peer, error);

    return fd < 0 ? NULL : ferry_descriptor_channel_new(&fd, peer, &listener->options, error);
}

static FerryChannel *accept_single(FerryListener *listener, GError **error)
{
    if (!ferry_interrupt_check(listener->options.interrupt, error)) {
        return NULL;
    }
    if (listener->single == NULL) {
        g_set_error_literal(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_UNSUPPORTED,
                            "this kind of address gives one channel only");
        return NULL;
    }
    return g_steal_pointer(&listener->single);
}

FerryChannel *ferry_listener_accept(FerryListener *listener, uint64_t deadline_ns, GError **error)
{
    FerryChannel *channel = listener->sockets != NULL ? accept_socket(listener, deadline_ns, error)
                                                      : accept_single(listener, error);

    if (channel == NULL) {
        g_prefix_error(error, "accept %s: ", listener->uri);
    }
    return channel;
}

void ferry_listener_free(FerryListener *listener)
{
    if (listener == NULL) {
        return;
    }
    ferry_listen_sockets_free(listener->sockets);
    ferry_channel_free(listener->single);
    g_free(listener->uri);
    g_free(listener);
}
