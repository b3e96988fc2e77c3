#include "tools/demo-link.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/ferry.h"

#define PIECE (64u << 10)
#define HELD_BYTES (256 << 10) /* of the receiving socket */
#define PATIENCE_NS (30 * G_GUINT64_CONSTANT(1000000000))

struct FerryDemoLink {
    char *uri, *to;
    uint64_t bytes_per_second;
    FerryFd listener;
    FerryInterrupt *interrupt;
    GThread *thread;
    FerryChannel *source, *destination; /* the thread's own */
};

/* Until the end of the stream or a failure; either way the reader learns that no more comes. The
 * other direction goes on: what was said last must still arrive. */
static void pass_on(FerryChannel *from, FerryChannel *to)
{
    g_autofree char *buffer = g_malloc(PIECE);
    gssize n;

    while ((n = ferry_channel_read(from, buffer, PIECE, FERRY_NO_DEADLINE, NULL)) > 0 &&
           ferry_channel_write_all(to, buffer, (size_t)n, PATIENCE_NS, NULL)) {
    }
    ferry_channel_shutdown_write(to, NULL);
}

static gpointer pass_back(gpointer data)
{
    FerryDemoLink *link = data;

    pass_on(link->destination, link->source);
    return NULL;
}

static FerryChannel *connect_there(FerryDemoLink *link)
{
    FerryTransportOptions options = {.io = FERRY_IO_POLL, .interrupt = link->interrupt};
    g_auto(FerryAddress) address = {0};
    FerryChannel *channel = NULL;

    if (ferry_address_parse(link->to, &address, NULL)) {
        channel = ferry_transport_connect(&address, ferry_now_ns() + PATIENCE_NS, &options, NULL);
    }
    return channel ? ferry_channel_ratelimit(channel, link->bytes_per_second, link->interrupt)
                   : NULL;
}

static FerryChannel *accept_here(FerryDemoLink *link)
{
    FerryTransportOptions options = {.io = FERRY_IO_POLL, .interrupt = link->interrupt};
    FerryAddress address = {.type = FERRY_ADDRESS_FD,
                            .fd = accept4(link->listener, NULL, NULL, SOCK_CLOEXEC)};

    return address.fd < 0 ? NULL : ferry_transport_connect(&address, 0, &options, NULL);
}

/* What goes wrong here the two guests see as a link that broke. */
static gpointer serve(gpointer data)
{
    FerryDemoLink *link = data;
    GThread *back;

    link->source = accept_here(link);
    link->destination = link->source ? connect_there(link) : NULL;
    if (link->destination) {
        back = g_thread_new("link-back", pass_back, link);
        pass_on(link->source, link->destination);
        g_thread_join(back);
    }
    g_clear_pointer(&link->source, ferry_channel_free);
    g_clear_pointer(&link->destination, ferry_channel_free);
    return NULL;
}

/* The listening socket; *out_uri (g_free) is where. -1: errno says why. */
static int listen_here(const char *socket_path, char **out_uri)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr *address = socket_path ? (struct sockaddr *)&un : (struct sockaddr *)&in;
    socklen_t length = socket_path ? sizeof un : sizeof in;
    g_auto(FerryFd) fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (socket_path &&
        g_strlcpy(un.sun_path, socket_path, sizeof un.sun_path) >= sizeof un.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &(int){HELD_BYTES}, sizeof(int)) < 0 ||
        bind(fd, address, length) < 0 || listen(fd, 1) < 0 ||
        getsockname(fd, address, &length) < 0) {
        return -1;
    }
    *out_uri = socket_path ? g_strdup_printf("unix:%s", socket_path)
                           : g_strdup_printf("tcp:127.0.0.1:%u", ntohs(in.sin_port));
    return ferry_fd_steal(&fd);
}

FerryDemoLink *ferry_demo_link_new(const char *socket_path, const char *to,
                                   uint64_t bytes_per_second, GError **error)
{
    g_autoptr(FerryInterrupt) interrupt = ferry_interrupt_new(error);
    g_autofree char *uri = NULL;
    FerryDemoLink *link;
    int fd;

    if (!interrupt) {
        return NULL;
    }
    fd = listen_here(socket_path, &uri);
    if (fd < 0) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno), "the link: %s",
                    g_strerror(errno));
        return NULL;
    }
    link = g_new0(FerryDemoLink, 1);
    link->uri = g_steal_pointer(&uri);
    link->to = g_strdup(to);
    link->bytes_per_second = bytes_per_second;
    link->listener = fd;
    link->interrupt = g_steal_pointer(&interrupt);
    link->thread = g_thread_new("link", serve, link);
    return link;
}

const char *ferry_demo_link_uri(const FerryDemoLink *link) { return link->uri; }

void ferry_demo_link_free(FerryDemoLink *link)
{
    if (!link) {
        return;
    }
    ferry_interrupt_raise(link->interrupt);
    shutdown(link->listener, SHUT_RDWR); /* wakes the thread's accept */
    g_thread_join(link->thread);
    ferry_fd_clear(&link->listener);
    ferry_interrupt_free(link->interrupt);
    g_free(link->uri);
    g_free(link->to);
    g_free(link);
}
