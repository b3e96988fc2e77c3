/* An interrupt from another thread ends every kind of wait, and a channel may be handed from a
 * thread that ends to another. One argument: the kind of channel. */
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/transport/support.h"

typedef struct {
    const char *what;
    FerryInterrupt *interrupt;
    FerryChannel *channel;
    FerryListener *listener;
    const FerryAddress *address;
    const char *kind;
    GError *error;
    gboolean returned_good;
} Wait;

typedef void (*WaitFunc)(Wait *w);

static void wait_in_read(Wait *w)
{
    char byte;

    w->returned_good = ferry_channel_read(w->channel, &byte, 1, FERRY_NO_DEADLINE, &w->error) >= 0;
}

static void wait_in_readable(Wait *w)
{
    w->returned_good = ferry_channel_readable(w->channel, FERRY_NO_DEADLINE, &w->error) >= 0;
}

/* Also where the buffer is full, or the rate is low. */
static void wait_in_write(Wait *w)
{
    static const char bytes[1 << 20];

    w->returned_good =
        ferry_channel_write_all(w->channel, bytes, sizeof bytes, FERRY_NO_DEADLINE, &w->error);
}

static void wait_in_accept(Wait *w)
{
    FerryChannel *c = ferry_listener_accept(w->listener, FERRY_NO_DEADLINE, &w->error);

    w->returned_good = c != NULL;
    ferry_channel_free(c);
}

static void wait_in_connect(Wait *w)
{
    FerryTransportOptions options = options_for(w->kind, w->interrupt);
    FerryChannel *c = ferry_transport_connect(w->address, FERRY_NO_DEADLINE, &options, &w->error);

    w->returned_good = c != NULL;
    ferry_channel_free(c);
}

static void *raise_soon(void *interrupt)
{
    g_usleep(20000); /* most likely the wait has begun; if not, it must not begin */
    ferry_interrupt_raise(interrupt);
    return NULL;
}

static gboolean is_interrupted(Wait *w, WaitFunc func)
{
    gboolean interrupted;
    pthread_t thread;

    pthread_create(&thread, NULL, raise_soon, w->interrupt);
    func(w);
    pthread_join(thread, NULL);
    interrupted =
        g_error_matches(w->error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_INTERRUPTED);
    if (w->returned_good || !interrupted) {
        fprintf(stderr, "%s: %s\n", w->what, w->error ? w->error->message : "did not fail");
    }
    g_clear_error(&w->error);
    return interrupted && !w->returned_good;
}

static gboolean channels(const char *kind)
{
    static const struct {
        const char *what;
        WaitFunc func;
        gboolean full, limited, stalled;
    } cases[] = {
        {"read",                  wait_in_read,     FALSE, FALSE, FALSE},
        {"readable",              wait_in_readable, FALSE, FALSE, FALSE},
        {"write on a full one",   wait_in_write,    TRUE,  FALSE, FALSE},
        {"write at a low rate",   wait_in_write,    FALSE, TRUE,  FALSE},
        {"write that is stalled", wait_in_write,    FALSE, FALSE, TRUE },
    };
    gboolean good = TRUE;

    for (unsigned i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autoptr(FerryInterrupt) interrupt = ferry_interrupt_new(NULL);
        FerryFault stall = {.kind = FERRY_FAULT_STALL};
        Wait w = {.what = cases[i].what, .interrupt = interrupt, .kind = kind};
        g_autoptr(FerryChannel) peer = NULL;
        g_autoptr(FerryChannel) channel = NULL;

        connected(kind, interrupt, &channel, &peer);
        if (cases[i].full) {
            fill(channel);
        }
        if (cases[i].limited) {
            channel = ferry_channel_ratelimit(channel, 1, interrupt);
        }
        if (cases[i].stalled) {
            channel = ferry_channel_fault(channel, &stall, interrupt);
        }
        w.channel = channel;
        good &= is_interrupted(&w, cases[i].func);
        ferry_channel_free(g_steal_pointer(&channel));
        ferry_channel_free(g_steal_pointer(&peer));
    }
    return good;
}

/* Loopback drops what does not fit a backlog, so connecting there waits for ever. */
static gboolean full_tcp(int *out_fds, FerryAddress *address)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sin;

    for (unsigned i = 0; i < 4; i++) {
        out_fds[i] = socket(AF_INET, SOCK_STREAM | (i > 0 ? SOCK_NONBLOCK : 0), 0);
    }
    if (bind(out_fds[0], (struct sockaddr *)&sin, len) < 0 || listen(out_fds[0], 0) < 0 ||
        getsockname(out_fds[0], (struct sockaddr *)&sin, &len) < 0) {
        return FALSE;
    }
    for (unsigned i = 1; i < 4; i++) {
        (void)!connect(out_fds[i], (struct sockaddr *)&sin, len);
    }
    *address = (FerryAddress){
        .type = FERRY_ADDRESS_TCP, .text = (char *)"127.0.0.1", .port = ntohs(sin.sin_port)};
    return TRUE;
}

static gboolean sockets(const char *kind)
{
    g_autoptr(FerryInterrupt) of_accept = ferry_interrupt_new(NULL);
    g_autoptr(FerryInterrupt) of_connect = ferry_interrupt_new(NULL);
    FerryTransportOptions options = options_for(kind, of_accept);
    FerryAddress any = {.type = FERRY_ADDRESS_TCP, .text = (char *)"127.0.0.1"}, full;
    g_autoptr(FerryListener) listener = ferry_listener_new(&any, &options, NULL);
    Wait accepting = {.what = "accept", .interrupt = of_accept, .listener = listener};
    Wait connecting = {.what = "connect", .interrupt = of_connect, .address = &full, .kind = kind};
    int fds[4];
    gboolean good;

    if (listener == NULL || !full_tcp(fds, &full)) {
        return FALSE;
    }
    g_usleep(20000); /* for the backlog to be full */
    good = is_interrupted(&accepting, wait_in_accept);
    good &= is_interrupted(&connecting, wait_in_connect);
    for (unsigned i = 0; i < 4; i++) {
        close(fds[i]);
    }
    return good;
}

static void *read_one(void *channel)
{
    char byte = 0;

    return ferry_channel_read(channel, &byte, 1, patience(), NULL) == 1 ? channel : NULL;
}

/* A ring remembers who added a request, and drops it when that thread ends. */
static gboolean handed_over(const char *kind)
{
    g_autoptr(FerryInterrupt) interrupt = ferry_interrupt_new(NULL);
    g_autoptr(FerryChannel) a = NULL;
    g_autoptr(FerryChannel) b = NULL;
    Wait w = {.what = "read after another thread", .interrupt = interrupt, .kind = kind};
    gboolean good = TRUE;

    connected(kind, interrupt, &a, &b);
    for (unsigned i = 0; i < 10 && good; i++) {
        pthread_t thread;
        void *result = NULL;

        good = ferry_channel_write_all(b, "x", 1, PATIENCE_NS, NULL);
        pthread_create(&thread, NULL, read_one, a);
        pthread_join(thread, &result);
        good = good && result == a;
    }
    w.channel = a;
    good = good && is_interrupted(&w, wait_in_read);
    ferry_channel_free(g_steal_pointer(&a));
    ferry_channel_free(g_steal_pointer(&b));
    return good;
}

int main(int argc, char **argv)
{
    unsigned before = open_fds();
    gboolean good;

    if (argc != 2) {
        return 1;
    }
    if (!kind_is_usable(argv[1])) {
        return 77;
    }
    good = channels(argv[1]) & handed_over(argv[1]);
    good &= g_str_equal(argv[1], "pair") || sockets(argv[1]);
    if (open_fds() != before) {
        fprintf(stderr, "%u descriptors before, %u after\n", before, open_fds());
        good = FALSE;
    }
    return good ? 0 : 1;
}
