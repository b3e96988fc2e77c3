#include "transport/media.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "transport/descriptor.h"

/* A unix socket whose backlog is full says so at once and offers nothing to wait for. */
#define BACKLOG_RETRY_NS ((uint64_t)10 * 1000 * 1000)

gboolean ferry_socket_is_any(const FerryAddress *address)
{
    return address->text[0] == '\0' || strcmp(address->text, "0") == 0;
}

struct addrinfo *ferry_socket_resolve(const FerryAddress *address, gboolean passive, GError **error)
{
    const char *host = ferry_socket_is_any(address) ? NULL : address->text;
    g_autofree char *port = g_strdup_printf("%u", address->port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC,
                             .ai_socktype = SOCK_STREAM,
                             .ai_flags =
                                 AI_NUMERICHOST | AI_NUMERICSERV | (passive ? AI_PASSIVE : 0)};
    struct addrinfo *list = NULL;
    int failed = getaddrinfo(host, port, &hints, &list);

    if (failed == EAI_NONAME) { /* not numbers: only now ask the resolver, which may take long */
        hints.ai_flags &= ~AI_NUMERICHOST;
        failed = getaddrinfo(host, port, &hints, &list);
    }
    if (failed != 0) {
        g_set_error(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_RESOLVE,
                    "cannot look up '%s': %s", address->text,
                    failed == EAI_SYSTEM ? g_strerror(errno) : gai_strerror(failed));
        return NULL;
    }
    return list;
}

gboolean ferry_socket_unix_address(const char *path, struct sockaddr_un *out_sun, GError **error)
{
    size_t length = strlen(path);

    if (length >= sizeof out_sun->sun_path) {
        g_set_error(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_ADDRESS,
                    "the path is too long for a socket (%zu bytes, at most %zu)", length,
                    sizeof out_sun->sun_path - 1);
        return FALSE;
    }
    *out_sun = (struct sockaddr_un){.sun_family = AF_UNIX};
    memcpy(out_sun->sun_path, path, length);
    return TRUE;
}

/* The answer of a connection in progress. */
static gboolean await_connection(int fd, const FerryInterrupt *interrupt, uint64_t deadline_ns,
                                 GError **error)
{
    int errnum = 0;
    socklen_t len = sizeof errnum;

    if (!ferry_wait(fd, POLLOUT, interrupt, deadline_ns, error)) {
        return FALSE;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &errnum, &len) < 0) {
        errnum = errno;
    }
    if (errnum != 0) {
        ferry_set_errno(error, errnum);
        return FALSE;
    }
    return TRUE;
}

/* Leaves the backlog time to drain. */
static gboolean pause_for_backlog(const FerryInterrupt *interrupt, uint64_t deadline_ns,
                                  GError **error)
{
    uint64_t pause_ns = ferry_now_ns() + BACKLOG_RETRY_NS;

    if (!ferry_may_wait(interrupt, deadline_ns, error)) {
        return FALSE;
    }
    ferry_wait(-1, 0, interrupt, MIN(pause_ns, deadline_ns), NULL);
    return ferry_may_wait(interrupt, deadline_ns, error);
}

static gboolean connect_one(int fd, const struct sockaddr *sa, socklen_t len,
                            const FerryInterrupt *interrupt, uint64_t deadline_ns, GError **error)
{
    if (!ferry_may_wait(interrupt, FERRY_NO_DEADLINE, error)) {
        return FALSE;
    }
    while (connect(fd, sa, len) < 0) {
        switch (errno) {
        case EINPROGRESS:
        case EINTR: /* goes on in the background */
            return await_connection(fd, interrupt, deadline_ns, error);
        case EAGAIN:
            if (!pause_for_backlog(interrupt, deadline_ns, error)) {
                return FALSE;
            }
            break;
        case ENOENT:
            g_set_error_literal(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_REFUSED,
                                "no such socket (start the destination first)");
            return FALSE;
        default:
            ferry_set_errno(error, errno);
            return FALSE;
        }
    }
    return TRUE;
}

static int new_socket(int family, GError **error)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0) {
        ferry_set_errno(error, errno);
    }
    return fd;
}

/* The channels ask for non-blocking calls one by one. */
static void make_blocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK); }

/* Whether that is an address of this host: then what is sent there comes from it. Sends nothing. */
static gboolean is_here(const struct addrinfo *to)
{
    g_auto(FerryFd) fd = socket(to->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } here = {0}, there = {0};
    socklen_t n = sizeof here, m = sizeof there;

    if (fd < 0 || connect(fd, to->ai_addr, to->ai_addrlen) < 0 ||
        getsockname(fd, &here.any, &n) < 0 || getpeername(fd, &there.any, &m) < 0) {
        return FALSE;
    }
    return here.any.sa_family == AF_INET6
               ? memcmp(&here.v6.sin6_addr, &there.v6.sin6_addr, sizeof here.v6.sin6_addr) == 0
               : here.v4.sin_addr.s_addr == there.v4.sin_addr.s_addr;
}

/* Within a host nothing is lost and nothing is to be shared fairly: a congestion control that paces
 * itself (bbr) only costs, a third of the CPU time of a copy. The simplest one is always there. A
 * connection that began with another goes on pacing: this comes first. */
static void choose_congestion_control(int fd, const struct addrinfo *to)
{
    static const char name[] = "reno";

    if (is_here(to)) {
        setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, sizeof name - 1);
    }
}

static int connect_tcp(const FerryAddress *address, uint64_t deadline_ns,
                       const FerryInterrupt *interrupt, GError **error)
{
    struct addrinfo *list = ferry_socket_resolve(address, FALSE, error);
    g_autoptr(GError) first = NULL; /* the resolver's favourite says most about what is wrong */
    int connected = -1;

    if (list == NULL) {
        return -1;
    }
    for (struct addrinfo *ai = list; ai != NULL && connected < 0; ai = ai->ai_next) {
        GError **why = first == NULL ? &first : NULL;
        g_auto(FerryFd) fd = new_socket(ai->ai_family, why);
        if (fd >= 0) {
            choose_congestion_control(fd, ai);
        }
        if (fd >= 0 && connect_one(fd, ai->ai_addr, ai->ai_addrlen, interrupt, deadline_ns, why)) {
            connected = ferry_fd_steal(&fd);
        } else if (!ferry_may_wait(interrupt, deadline_ns, NULL)) {
            g_clear_error(&first);
            ferry_may_wait(interrupt, deadline_ns, &first);
            break;
        }
    }
    freeaddrinfo(list);
    if (connected < 0) {
        g_propagate_error(error, g_steal_pointer(&first));
        return -1;
    }
    setsockopt(connected, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    make_blocking(connected);
    return connected;
}

static int connect_unix(const FerryAddress *address, uint64_t deadline_ns,
                        const FerryInterrupt *interrupt, GError **error)
{
    g_auto(FerryFd) fd = -1;
    struct sockaddr_un sun;

    if (!ferry_socket_unix_address(address->text, &sun, error)) {
        return -1;
    }
    fd = new_socket(AF_UNIX, error);
    if (fd < 0 ||
        !connect_one(fd, (struct sockaddr *)&sun, sizeof sun, interrupt, deadline_ns, error)) {
        return -1;
    }
    make_blocking(fd);
    return ferry_fd_steal(&fd);
}

int ferry_socket_connect(const FerryAddress *address, uint64_t deadline_ns,
                         const FerryInterrupt *interrupt, GError **error)
{
    return address->type == FERRY_ADDRESS_TCP
               ? connect_tcp(address, deadline_ns, interrupt, error)
               : connect_unix(address, deadline_ns, interrupt, error);
}
