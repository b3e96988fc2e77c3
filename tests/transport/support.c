#include "tests/transport/support.h"

#include <sys/socket.h>

uint64_t patience(void) { return ferry_now_ns() + PATIENCE_NS; }

gboolean kind_is_usable(const char *kind)
{
    return !g_str_equal(kind, "uring") || ferry_io_uring_usable(NULL);
}

FerryTransportOptions options_for(const char *kind, FerryInterrupt *interrupt)
{
    return (FerryTransportOptions){
        .io = g_str_equal(kind, "uring") ? FERRY_IO_URING : FERRY_IO_POLL, .interrupt = interrupt};
}

FerryChannel *channel_of_fd(const char *kind, int fd, FerryInterrupt *interrupt)
{
    FerryAddress address = {.type = FERRY_ADDRESS_FD, .fd = fd};
    FerryTransportOptions options = options_for(kind, interrupt);
    g_autoptr(GError) error = NULL;
    FerryChannel *channel = ferry_transport_connect(&address, patience(), &options, &error);

    if (channel == NULL) {
        g_error("%s", error->message);
    }
    return channel;
}

void connected(const char *kind, FerryInterrupt *interrupt, FerryChannel **out_a,
               FerryChannel **out_b)
{
    int fds[2];

    if (g_str_equal(kind, "pair")) {
        ferry_channel_pair(65536, interrupt, out_a, out_b);
        return;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0) {
        g_error("socketpair failed");
    }
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &(int){65536}, sizeof(int));
    setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &(int){65536}, sizeof(int));
    *out_a = channel_of_fd(kind, fds[0], interrupt);
    *out_b = channel_of_fd(kind, fds[1], interrupt);
}

FerryAddress parsed(const char *uri)
{
    FerryAddress address;
    g_autoptr(GError) error = NULL;

    if (!ferry_address_parse(uri, &address, &error)) {
        g_error("%s", error->message);
    }
    return address;
}

void fill(FerryChannel *channel)
{
    static const char bytes[4096];

    while (ferry_channel_write_all(channel, bytes, sizeof bytes, 0, NULL)) {
    }
}

unsigned open_fds(void)
{
    g_autoptr(GDir) dir = g_dir_open("/proc/self/fd", 0, NULL);
    unsigned n = 0;

    while (g_dir_read_name(dir) != NULL) {
        n++;
    }
    return n;
}

uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}
