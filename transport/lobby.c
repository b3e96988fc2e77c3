#include "transport/lobby.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "transport/descriptor.h"
#include "transport/interrupt.h"
#include "transport/media.h"

/* Nobody is sent away sooner to make room: a source's first bytes may be on their way. */
#define STAY_NS 100000000ull

typedef struct {
    int fd;
    char *peer;
    uint64_t since_ns, heard_ns;
    size_t n, needed;
    gboolean enough; /* is said */
    uint8_t bytes[FERRY_LOBBY_BYTES_MAX];
} Caller;

struct FerryLobby {
    FerryListener *listener;
    FerryListenSockets *sockets; /* NULL: the listener gives one channel only */
    const FerryTransportOptions *transport;
    FerryLobbyOptions options;
    Caller callers[FERRY_LOBBY_WAITING_MAX];
    unsigned n;
};

FerryLobby *ferry_lobby_new(FerryListener *listener, const FerryLobbyOptions *options)
{
    FerryLobby *l = g_new0(FerryLobby, 1);

    g_assert(options->first_bytes > 0 && options->first_bytes <= FERRY_LOBBY_BYTES_MAX);
    l->listener = listener;
    l->sockets = ferry_listener_get_sockets(listener, &l->transport);
    l->options = *options;
    return l;
}

gboolean ferry_lobby_is_single(const FerryLobby *l) { return l->sockets == NULL; }

/* Forgets the caller; its descriptor is closed unless it was taken. */
static void forget(FerryLobby *l, unsigned i)
{
    ferry_fd_clear(&l->callers[i].fd);
    g_free(l->callers[i].peer);
    l->n--; /* the others stay in the order in which they came: who came first is heard first */
    memmove(&l->callers[i], &l->callers[i + 1], (l->n - i) * sizeof *l->callers);
}

static void drop(FerryLobby *l, unsigned i, const GError *why)
{
    if (l->options.dropped) {
        l->options.dropped(l->options.self, l->callers[i].peer, why);
    }
    forget(l, i);
}

static void drop_silent(FerryLobby *l, unsigned i, const char *format)
{
    g_autoptr(GError) why = NULL;

    g_set_error(&why, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_TIMED_OUT, format,
                l->callers[i].n, l->callers[i].needed);
    drop(l, i, why);
}

/* Afterwards it has said enough, goes on waiting, or was dropped. */
static void hear(FerryLobby *l, unsigned i)
{
    Caller *c = &l->callers[i];
    g_autoptr(GError) why = NULL;

    for (;;) {
        ssize_t n = recv(c->fd, c->bytes + c->n, c->needed - c->n, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            return;
        }
        if (n <= 0) {
            ferry_set_errno(&why, n == 0 ? EPIPE : errno);
            g_prefix_error(&why, "after %zu of %zu bytes: ", c->n, c->needed);
            drop(l, i, why);
            return;
        }
        c->n += (size_t)n;
        c->heard_ns = ferry_now_ns();
        if (c->n < c->needed) {
            continue;
        }
        if (!l->options.judge(l->options.self, c->bytes, c->n, &c->needed, &why)) {
            drop(l, i, why);
            return;
        }
        g_assert(c->needed <= FERRY_LOBBY_BYTES_MAX);
        c->enough = c->n >= c->needed;
        if (c->enough) {
            return;
        }
    }
}

static unsigned most_silent(const FerryLobby *l)
{
    unsigned found = 0;

    for (unsigned i = 1; i < l->n; i++) {
        if (l->callers[i].heard_ns < l->callers[found].heard_ns) {
            found = i;
        }
    }
    return found;
}

/* Everybody who stands at the door, as far as there is room. */
static gboolean let_in(FerryLobby *l, GError **error)
{
    if (l->n == FERRY_LOBBY_WAITING_MAX) {
        drop_silent(l, most_silent(l),
                    "too many connections wait, and it said only %zu of %zu bytes");
    }
    while (l->n < FERRY_LOBBY_WAITING_MAX) {
        g_autoptr(GError) why = NULL;
        Caller *c = &l->callers[l->n];
        char *peer = NULL;
        int fd = ferry_listen_sockets_accept(l->sockets, l->transport->interrupt, 0, &peer, &why);

        if (fd < 0 &&
            g_error_matches(why, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_TIMED_OUT)) {
            return TRUE;
        }
        if (fd < 0 && l->n > 0 &&
            !g_error_matches(why, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_INTERRUPTED)) {
            drop(l, most_silent(l), why); /* out of descriptors or memory: room for the next */
            return TRUE;
        }
        if (fd < 0) {
            g_propagate_error(error, g_steal_pointer(&why));
            return FALSE;
        }
        *c = (Caller){.fd = fd, .peer = peer, .needed = l->options.first_bytes};
        c->since_ns = c->heard_ns = ferry_now_ns();
        l->n++;
    }
    return TRUE;
}

static void drop_late(FerryLobby *l)
{
    uint64_t now_ns = ferry_now_ns();

    for (unsigned i = l->n; i-- > 0;) {
        if (now_ns - l->callers[i].since_ns >= l->options.patience_ns) {
            drop_silent(l, i, "it said only %zu of %zu bytes in the time it had");
        }
    }
}

/* What may happen next by itself: somebody's time is over, or a place may be given away. */
static uint64_t next_event_ns(const FerryLobby *l, gboolean may_enter, uint64_t deadline_ns)
{
    for (unsigned i = 0; i < l->n; i++) {
        deadline_ns = MIN(deadline_ns, l->callers[i].since_ns + l->options.patience_ns);
    }
    return may_enter ? deadline_ns
                     : MIN(deadline_ns, l->callers[most_silent(l)].heard_ns + STAY_NS);
}

/* FALSE: an error, or the deadline. @out_heard: per caller, who has something to say. */
static gboolean wait(FerryLobby *l, uint64_t deadline_ns, gboolean *out_door,
                     gboolean out_heard[static FERRY_LOBBY_WAITING_MAX], GError **error)
{
    struct pollfd fds[1 + FERRY_LISTEN_SOCKETS_MAX + FERRY_LOBBY_WAITING_MAX];
    gboolean may_enter = l->n < FERRY_LOBBY_WAITING_MAX ||
                         ferry_now_ns() - l->callers[most_silent(l)].heard_ns >= STAY_NS;
    unsigned doors = may_enter ? ferry_listen_sockets_poll(l->sockets, fds + 1) : 0;
    uint64_t until_ns = next_event_ns(l, may_enter, deadline_ns), now_ns = ferry_now_ns();
    uint64_t left_ns = until_ns > now_ns ? until_ns - now_ns : 0;
    struct timespec left = {.tv_sec = (time_t)(left_ns / 1000000000),
                            .tv_nsec = (long)(left_ns % 1000000000)};

    fds[0] =
        (struct pollfd){.fd = ferry_interrupt_get_fd(l->transport->interrupt), .events = POLLIN};
    for (unsigned i = 0; i < l->n; i++) {
        fds[1 + doors + i] = (struct pollfd){.fd = l->callers[i].fd, .events = POLLIN};
    }
    if (ppoll(fds, 1 + doors + l->n, until_ns == FERRY_NO_DEADLINE ? NULL : &left, NULL) < 0) {
        if (errno != EINTR) {
            ferry_set_errno(error, errno);
            return FALSE;
        }
        for (unsigned i = 0; i < 1 + doors + l->n; i++) {
            fds[i].revents = 0;
        }
    }
    if (!ferry_may_wait(l->transport->interrupt, deadline_ns, error)) {
        return FALSE;
    }
    *out_door = FALSE;
    for (unsigned i = 0; i < doors; i++) {
        *out_door |= fds[1 + i].revents != 0;
    }
    for (unsigned i = 0; i < l->n; i++) {
        out_heard[i] = fds[1 + doors + i].revents != 0;
    }
    return TRUE;
}

static int ready_caller(const FerryLobby *l)
{
    for (unsigned i = 0; i < l->n; i++) {
        if (l->callers[i].enough) {
            return (int)i;
        }
    }
    return -1;
}

/* The one who has said enough as a channel. */
static FerryChannel *take(FerryLobby *l, unsigned i, uint8_t *out_bytes, size_t *out_n,
                          GError **error)
{
    Caller *c = &l->callers[i];
    FerryChannel *channel = ferry_descriptor_channel_new(&c->fd, c->peer, l->transport, error);

    if (channel != NULL) {
        memcpy(out_bytes, c->bytes, c->n);
        *out_n = c->n;
    }
    forget(l, i);
    return channel;
}

static FerryChannel *next_caller(FerryLobby *l, uint64_t deadline_ns, uint8_t *out_bytes,
                                 size_t *out_n, GError **error)
{
    gboolean door, heard[FERRY_LOBBY_WAITING_MAX];

    while (ready_caller(l) < 0) {
        if (!wait(l, deadline_ns, &door, heard, error)) {
            return NULL;
        }
        /* From the end: who is dropped makes those move down who were heard already. */
        for (unsigned i = l->n; i-- > 0;) {
            if (heard[i]) {
                hear(l, i);
            }
        }
        if (ready_caller(l) < 0) {
            drop_late(l);
            if (door && !let_in(l, error)) {
                return NULL;
            }
        }
    }
    return take(l, (unsigned)ready_caller(l), out_bytes, out_n, error);
}

FerryChannel *ferry_lobby_next(FerryLobby *l, uint64_t deadline_ns,
                               uint8_t out_bytes[static FERRY_LOBBY_BYTES_MAX], size_t *out_n,
                               GError **error)
{
    FerryChannel *channel;

    if (l->sockets == NULL) {
        *out_n = 0;
        return ferry_listener_accept(l->listener, deadline_ns, error);
    }
    channel = next_caller(l, deadline_ns, out_bytes, out_n, error);
    if (channel == NULL) {
        g_prefix_error(error, "accept %s: ", ferry_listener_get_uri(l->listener));
    }
    return channel;
}

void ferry_lobby_free(FerryLobby *l)
{
    if (l == NULL) {
        return;
    }
    while (l->n > 0) {
        forget(l, l->n - 1);
    }
    g_free(l);
}
