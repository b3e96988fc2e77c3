#include "transport/media.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "transport/descriptor.h"
#include "transport/interrupt.h"

struct FerryListenSockets {
    struct pollfd fds[FERRY_LISTEN_SOCKETS_MAX + 1]; /* one more: the interrupt of an accept */
    int n;
    char *path; /* of the unix socket */
    struct stat made;
};

/* "127.0.0.1:4444", "[::1]:4444"; the IPv4 peer of a dual-stack socket as IPv4. */
static char *name_of(const struct sockaddr_storage *ss)
{
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)ss;
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)ss;
    char host[INET6_ADDRSTRLEN] = "";

    if (ss->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr)) {
        inet_ntop(AF_INET, &v6->sin6_addr.s6_addr[12], host, sizeof host);
        return g_strdup_printf("tcp:%s:%u", host, ntohs(v6->sin6_port));
    }
    if (ss->ss_family == AF_INET6) {
        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host);
        return g_strdup_printf("tcp:[%s]:%u", host, ntohs(v6->sin6_port));
    }
    inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host);
    return g_strdup_printf("tcp:%s:%u", host, ntohs(v4->sin_port));
}

static void add_socket(FerryListenSockets *sockets, FerryFd *fd)
{
    sockets->fds[sockets->n++] = (struct pollfd){.fd = ferry_fd_steal(fd), .events = POLLIN};
}

/* -1 with errno. */
static int listen_at(const struct addrinfo *ai)
{
    g_auto(FerryFd) fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)ai->ai_addr;
    int only = ai->ai_family == AF_INET6 && !IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr);

    if (fd < 0) {
        return -1;
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (ai->ai_family == AF_INET6) { /* the any-address takes IPv4 as well */
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only, sizeof only);
    }
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, SOMAXCONN) < 0) {
        int saved = errno;
        ferry_fd_clear(&fd);
        errno = saved;
        return -1;
    }
    return ferry_fd_steal(&fd);
}

/* All addresses of @family in @list, or the first alone. Those that this host lacks are left out:
 * a host name may stand for several. */
static gboolean listen_at_each(FerryListenSockets *sockets, const struct addrinfo *list, int family,
                               gboolean first_alone, GError **error)
{
    for (const struct addrinfo *ai = list; ai != NULL && sockets->n < FERRY_LISTEN_SOCKETS_MAX;
         ai = ai->ai_next) {
        g_auto(FerryFd) fd = -1;

        if (ai->ai_family != family || (first_alone && sockets->n > 0)) {
            continue;
        }
        fd = listen_at(ai);
        if (fd >= 0) {
            add_socket(sockets, &fd);
        } else if (errno != EADDRNOTAVAIL && errno != EAFNOSUPPORT) {
            g_set_error_literal(error, FERRY_TRANSPORT_ERROR,
                                errno == EADDRINUSE ? FERRY_TRANSPORT_ERROR_ADDRESS
                                                    : FERRY_TRANSPORT_ERROR_IO,
                                g_strerror(errno));
            return FALSE;
        }
    }
    return TRUE;
}

/* IPv6 first: its any-address serves IPv4, too. */
static gboolean listen_tcp(FerryListenSockets *sockets, const FerryAddress *address, char **out_uri,
                           GError **error)
{
    struct addrinfo *list = ferry_socket_resolve(address, TRUE, error);
    gboolean first_alone = ferry_socket_is_any(address) || address->port == 0;
    struct sockaddr_storage bound = {0};
    socklen_t len = sizeof bound;
    gboolean listening;

    if (list == NULL) {
        return FALSE;
    }
    listening = listen_at_each(sockets, list, AF_INET6, first_alone, error) &&
                listen_at_each(sockets, list, AF_INET, first_alone, error);
    freeaddrinfo(list);
    if (!listening) {
        return FALSE;
    }
    if (sockets->n == 0) {
        g_set_error_literal(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_ADDRESS,
                            "not an address of this host");
        return FALSE;
    }
    getsockname(sockets->fds[0].fd, (struct sockaddr *)&bound, &len);
    *out_uri = name_of(&bound);
    return TRUE;
}

/* Removes what a process left behind that listens no more; everything else at the path stays. */
static gboolean remove_stale(const struct sockaddr_un *sun, GError **error)
{
    g_auto(FerryFd) fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct stat st;

    if (lstat(sun->sun_path, &st) < 0) {
        return TRUE; /* it went away meanwhile, or bind will say */
    }
    if (!S_ISSOCK(st.st_mode)) {
        g_set_error_literal(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_ADDRESS,
                            "the path exists and is not a socket");
        return FALSE;
    }
    if (fd < 0 || connect(fd, (const struct sockaddr *)sun, sizeof *sun) == 0 ||
        errno != ECONNREFUSED) {
        g_set_error_literal(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_ADDRESS,
                            "another process listens there");
        return FALSE;
    }
    if (unlink(sun->sun_path) < 0 && errno != ENOENT) {
        g_set_error(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_ADDRESS,
                    "cannot remove the old socket: %s", g_strerror(errno));
        return FALSE;
    }
    return TRUE;
}

static gboolean bind_unix(int fd, const struct sockaddr_un *sun, GError **error)
{
    const struct sockaddr *sa = (const struct sockaddr *)sun;

    /* The file takes its mode from the socket: no moment with a wider one, no umask to change. */
    if (fchmod(fd, 0600) < 0) {
        ferry_set_errno(error, errno);
        return FALSE;
    }
    if (bind(fd, sa, sizeof *sun) == 0) {
        return TRUE;
    }
    if (errno == EADDRINUSE) {
        if (!remove_stale(sun, error)) {
            return FALSE;
        }
        if (bind(fd, sa, sizeof *sun) == 0) {
            return TRUE;
        }
    }
    ferry_set_errno(error, errno);
    return FALSE;
}

static gboolean listen_unix(FerryListenSockets *sockets, const FerryAddress *address,
                            char **out_uri, GError **error)
{
    g_auto(FerryFd) fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct sockaddr_un sun;

    if (!ferry_socket_unix_address(address->text, &sun, error)) {
        return FALSE;
    }
    if (fd < 0) {
        ferry_set_errno(error, errno);
        return FALSE;
    }
    if (!bind_unix(fd, &sun, error)) {
        return FALSE;
    }
    sockets->path = g_strdup(address->text);
    if (lstat(sockets->path, &sockets->made) < 0 || listen(fd, SOMAXCONN) < 0) {
        ferry_set_errno(error, errno);
        return FALSE;
    }
    add_socket(sockets, &fd);
    *out_uri = ferry_address_to_uri(address);
    return TRUE;
}

FerryListenSockets *ferry_listen_sockets_new(const FerryAddress *address, char **out_uri,
                                             GError **error)
{
    FerryListenSockets *sockets = g_new0(FerryListenSockets, 1);
    gboolean listening = address->type == FERRY_ADDRESS_TCP
                             ? listen_tcp(sockets, address, out_uri, error)
                             : listen_unix(sockets, address, out_uri, error);

    if (!listening) {
        ferry_listen_sockets_free(sockets);
        return NULL;
    }
    return sockets;
}

static char *peer_name(const FerryListenSockets *sockets, int fd,
                       const struct sockaddr_storage *peer)
{
    struct ucred cred = {0};
    socklen_t len = sizeof cred;

    if (sockets->path == NULL) {
        return name_of(peer);
    }
    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len); /* a unix peer has no other name */
    return g_strdup_printf("unix:%s (process %d)", sockets->path, (int)cred.pid);
}

/* -1 with errno EAGAIN: nobody there after all. */
static int accept_ready(FerryListenSockets *sockets, char **out_peer)
{
    for (int i = 0; i < sockets->n; i++) {
        struct sockaddr_storage peer = {0};
        socklen_t len = sizeof peer;
        int fd;

        if (sockets->fds[i].revents == 0) {
            continue;
        }
        fd = accept4(sockets->fds[i].fd, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC);
        if (fd >= 0) {
            if (sockets->path == NULL) {
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
            }
            *out_peer = peer_name(sockets, fd, &peer);
            return fd;
        }
        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED && errno != EPROTO) {
            return -1;
        }
    }
    errno = EAGAIN;
    return -1;
}

static gboolean poll_all(FerryListenSockets *sockets, uint64_t deadline_ns, GError **error)
{
    uint64_t now_ns = ferry_now_ns();
    uint64_t left_ns = deadline_ns > now_ns ? deadline_ns - now_ns : 0;
    struct timespec left = {.tv_sec = (time_t)(left_ns / 1000000000),
                            .tv_nsec = (long)(left_ns % 1000000000)};

    if (ppoll(sockets->fds, (nfds_t)sockets->n + 1, deadline_ns == FERRY_NO_DEADLINE ? NULL : &left,
              NULL) < 0) {
        for (int i = 0; i < sockets->n; i++) {
            sockets->fds[i].revents = 0;
        }
        if (errno != EINTR) {
            ferry_set_errno(error, errno);
            return FALSE;
        }
    }
    return TRUE;
}

int ferry_listen_sockets_accept(FerryListenSockets *sockets, const FerryInterrupt *interrupt,
                                uint64_t deadline_ns, char **out_peer, GError **error)
{
    sockets->fds[sockets->n] =
        (struct pollfd){.fd = ferry_interrupt_get_fd(interrupt), .events = POLLIN};
    for (;;) {
        int fd;

        if (!poll_all(sockets, deadline_ns, error) || !ferry_interrupt_check(interrupt, error)) {
            return -1;
        }
        fd = accept_ready(sockets, out_peer);
        if (fd >= 0) {
            return fd;
        }
        if (errno != EAGAIN) {
            ferry_set_errno(error, errno);
            return -1;
        }
        if (!ferry_may_wait(NULL, deadline_ns, error)) {
            return -1;
        }
    }
}

unsigned ferry_listen_sockets_poll(const FerryListenSockets *sockets,
                                   struct pollfd out[static FERRY_LISTEN_SOCKETS_MAX])
{
    for (int i = 0; i < sockets->n; i++) {
        out[i] = (struct pollfd){.fd = sockets->fds[i].fd, .events = POLLIN};
    }
    return (unsigned)sockets->n;
}

void ferry_listen_sockets_free(FerryListenSockets *sockets)
{
    struct stat st;

    if (sockets == NULL) {
        return;
    }
    if (sockets->path != NULL && lstat(sockets->path, &st) == 0 &&
        st.st_dev == sockets->made.st_dev && st.st_ino == sockets->made.st_ino) {
        unlink(sockets->path);
    }
    for (int i = 0; i < sockets->n; i++) {
        close(sockets->fds[i].fd);
    }
    g_free(sockets->path);
    g_free(sockets);
}
