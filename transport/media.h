/* One medium each: from an address to a channel or, for sockets, to a listening socket. */
#pragma once
#include <poll.h>

#include "transport/transport.h"

G_BEGIN_DECLS

/* socket.c. The descriptor of a connection to @address (tcp or unix), or -1. */
int ferry_socket_connect(const FerryAddress *address, uint64_t deadline_ns,
                         const FerryInterrupt *interrupt, GError **error);

/* listener.c: the sockets that one address listens on. */
typedef struct FerryListenSockets FerryListenSockets;
/* @out_uri (g_free): the address really bound. */
FerryListenSockets *ferry_listen_sockets_new(const FerryAddress *address, char **out_uri,
                                             GError **error);
/* The descriptor of the next connection, or -1. @out_peer (g_free) names the other end. */
int ferry_listen_sockets_accept(FerryListenSockets *sockets, const FerryInterrupt *interrupt,
                                uint64_t deadline_ns, char **out_peer, GError **error);
/* Fills in what to poll for the next connection; how many elements. */
#define FERRY_LISTEN_SOCKETS_MAX 8 /* addresses of one host name */
unsigned ferry_listen_sockets_poll(const FerryListenSockets *sockets,
                                   struct pollfd out[static FERRY_LISTEN_SOCKETS_MAX]);
/* Removes the unix socket it made, unless another has taken its place. */
void ferry_listen_sockets_free(FerryListenSockets *sockets);

/* transport.c. NULL: a listener that gives one channel only. *out_options is the listener's. */
FerryListenSockets *ferry_listener_get_sockets(const FerryListener *listener,
                                               const FerryTransportOptions **out_options);

/* Parts that connecting and listening share, in socket.c. */
struct addrinfo;
struct sockaddr_un;
/* An empty host or 0. */
gboolean ferry_socket_is_any(const FerryAddress *address);
/* The addresses of @address (tcp), to be freed with freeaddrinfo. */
struct addrinfo *ferry_socket_resolve(const FerryAddress *address, gboolean passive,
                                      GError **error);
/* FERRY_TRANSPORT_ERROR_ADDRESS when the path is too long for a socket. */
gboolean ferry_socket_unix_address(const char *path, struct sockaddr_un *out_sun, GError **error);

/* file.c. A regular file or a device: to write, made if need be and cut at the offset; to read,
 * from the offset on. -1 on error. */
int ferry_file_open(const FerryAddress *address, gboolean to_write, GError **error);

/* exec.c. Runs @command with one end of a socket pair as its standard input and output; @inner is
 * to be made from *@out_fd and handed to ferry_exec_channel_new, or the child to be given up. */
typedef struct {
    int pid, pidfd;
} FerryChild;
gboolean ferry_exec_start(const char *command, FerryChild *out_child, FerryFd *out_fd,
                          GError **error);
/* Takes @child and @inner. */
FerryChannel *ferry_exec_channel_new(const FerryChild *child, FerryChannel *inner,
                                     FerryInterrupt *interrupt);
void ferry_exec_give_up(FerryChild *child);

G_END_DECLS
