/* tcp: and unix: addresses. */
#include "transport/transport.h"
#include "transport/media.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <glib/gstdio.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/transport/support.h"

#define EXPECT_CODE(code)                                                                          \
    cr_expect(g_error_matches(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_##code), "%s",   \
              error ? error->message : "no error");                                                \
    g_clear_error(&error)

static FerryListener *listen_on(const char *uri, const char *kind, GError **error)
{
    g_auto(FerryAddress) address = parsed(uri);
    FerryTransportOptions options = options_for(kind, NULL);

    return ferry_listener_new(&address, &options, error);
}

static FerryChannel *connect_to(const char *uri, const char *kind, uint64_t deadline_ns,
                                GError **error)
{
    g_auto(FerryAddress) address = parsed(uri);
    FerryTransportOptions options = options_for(kind, NULL);

    return ferry_transport_connect(&address, deadline_ns, &options, error);
}

static gboolean has_ipv6(void)
{
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    gboolean has = fd >= 0 && bind(fd, (struct sockaddr *)&any, sizeof any) == 0;

    close(fd);
    return has;
}

typedef struct {
    char kind[8], listen[24], connect[24], peer[16];
    gboolean ipv6;
} Row;

ParameterizedTestParameters(socket, connects_both_ends)
{
    static Row rows[] = {
        {"uring", "tcp:127.0.0.1:0", "tcp:127.0.0.1:%u", "tcp:127.0.0.1:", FALSE},
        {"poll",  "tcp:127.0.0.1:0", "tcp:127.0.0.1:%u", "tcp:127.0.0.1:", FALSE},
        {"uring", "tcp:[::1]:0",     "tcp:[::1]:%u",     "tcp:[::1]:",     TRUE },
        {"poll",  "tcp:[::1]:0",     "tcp:[::1]:%u",     "tcp:[::1]:",     TRUE },
        {"poll",  "tcp::0",          "tcp:127.0.0.1:%u", "tcp:127.0.0.1:", FALSE},
        {"poll",  "tcp::0",          "tcp:[::1]:%u",     "tcp:[::1]:",     TRUE },
        {"poll",  "tcp:0:0",         "tcp:0:%u",         "tcp:",           FALSE},
        {"poll",  "tcp:0:0",         "tcp::%u",          "tcp:",           FALSE},
        {"poll",  "tcp:localhost:0", "tcp:localhost:%u", "tcp:",           FALSE},
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Row *row, socket, connects_both_ends)
{
    unsigned before = open_fds();
    g_autoptr(GError) error = NULL;
    char bytes[5] = "";

    if (!kind_is_usable(row->kind) || (row->ipv6 && !has_ipv6())) {
        cr_skip_test("not here");
    }
    {
        g_autoptr(FerryListener) listener = listen_on(row->listen, row->kind, &error);
        g_auto(FerryAddress) bound = parsed(ferry_listener_get_uri(listener));
        g_autofree char *uri = NULL;
        g_autoptr(FerryChannel) a = NULL;
        g_autoptr(FerryChannel) b = NULL;

        cr_assert_gt(bound.port, 0, "port 0 is replaced by the real one");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        uri = g_strdup_printf(row->connect, bound.port);
#pragma GCC diagnostic pop
        a = connect_to(uri, row->kind, patience(), &error);
        cr_assert_not_null(a, "%s", error ? error->message : "");
        b = ferry_listener_accept(listener, patience(), &error);
        cr_assert_not_null(b, "%s", error ? error->message : "");
        cr_expect_str_eq(ferry_channel_get_description(a), uri);
        cr_expect(g_str_has_prefix(ferry_channel_get_description(b), row->peer), "%s",
                  ferry_channel_get_description(b));
        cr_expect_str_eq(ferry_channel_get_io(b), row->kind);
        cr_assert(ferry_channel_write_all(a, "there", 5, PATIENCE_NS, &error));
        cr_assert(ferry_channel_read_all(b, bytes, 5, patience(), &error));
        cr_assert(ferry_channel_write_all(b, "back", 4, PATIENCE_NS, &error));
        cr_assert(ferry_channel_read_all(a, bytes, 4, patience(), &error));
        cr_expect_arr_eq(bytes, "backe", 5);
    }
    cr_expect_eq(open_fds(), before);
}

Test(socket, errors_name_the_address_and_what_is_wrong)
{
    g_autoptr(GError) error = NULL;
    g_autofree char *uri = NULL;
    {
        g_autoptr(FerryListener) listener = listen_on("tcp:127.0.0.1:0", "poll", &error);
        uri = g_strdup(ferry_listener_get_uri(listener));
        cr_expect_null(listen_on(uri, "poll", &error));
        EXPECT_CODE(ADDRESS);
    }
    cr_expect_null(connect_to(uri, "poll", patience(), &error));
    cr_expect_not_null(strstr(error->message, uri), "%s", error->message);
    cr_expect(g_str_has_prefix(error->message, "connect tcp:127.0.0.1:"), "%s", error->message);
    cr_expect_not_null(strstr(error->message, "connection refused"), "%s", error->message);
    EXPECT_CODE(REFUSED);
    cr_expect_null(connect_to("tcp:no-such-host.invalid:1", "poll", patience(), &error));
    cr_expect_not_null(strstr(error->message, "no-such-host.invalid"), "%s", error->message);
    EXPECT_CODE(RESOLVE);
    cr_expect_null(listen_on("tcp:192.0.2.1:0", "poll", &error)); /* for documentation only */
    EXPECT_CODE(ADDRESS);
    cr_expect_null(connect_to("unix:/nonexistent/socket", "poll", patience(), &error));
    EXPECT_CODE(REFUSED);
}

/* A socket that listens but whose backlog is full. */
static int full_listener(const char *path, FerryFd *waiting)
{
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    g_strlcpy(sun.sun_path, path, sizeof sun.sun_path);
    *waiting = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(fd, (struct sockaddr *)&sun, sizeof sun) < 0 || listen(fd, 0) < 0 ||
        connect(*waiting, (struct sockaddr *)&sun, sizeof sun) < 0) {
        cr_assert_fail("no listener");
    }
    return fd;
}

Test(socket, connect_and_accept_end_at_the_deadline)
{
    g_autofree char *dir = g_dir_make_tmp("ferry-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "s", NULL);
    g_autofree char *uri = g_strdup_printf("unix:%s", path);
    g_autoptr(GError) error = NULL;
    g_auto(FerryFd) waiting = -1;
    FerryFd full = full_listener(path, &waiting);
    g_autoptr(FerryListener) listener = listen_on("tcp:127.0.0.1:0", "poll", &error);

    cr_expect_null(connect_to(uri, "poll", ferry_now_ns() + 15 * MS, &error));
    EXPECT_CODE(TIMED_OUT);
    cr_expect_null(ferry_listener_accept(listener, ferry_now_ns() + 3 * MS, &error));
    EXPECT_CODE(TIMED_OUT);
    cr_expect_null(ferry_listener_accept(listener, 0, &error));
    EXPECT_CODE(TIMED_OUT);
    ferry_fd_clear(&full);
    g_unlink(path);
    g_rmdir(dir);
}

Test(socket, unix_socket_is_private_and_goes_away)
{
    g_autofree char *dir = g_dir_make_tmp("ferry-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "s", NULL);
    g_autofree char *uri = g_strdup_printf("unix:%s", path);
    g_autoptr(GError) error = NULL;
    unsigned before = open_fds();
    struct stat st;
    {
        g_autoptr(FerryListener) listener = listen_on(uri, "poll", &error);
        g_autoptr(FerryChannel) a = connect_to(uri, "poll", patience(), &error);
        g_autoptr(FerryChannel) b = ferry_listener_accept(listener, patience(), &error);
        g_autofree char *peer = g_strdup_printf("%s (process %d)", uri, (int)getpid());

        cr_assert_not_null(b, "%s", error ? error->message : "");
        cr_assert_eq(lstat(path, &st), 0);
        cr_expect_eq(st.st_mode & 0777, 0600);
        cr_expect_str_eq(ferry_listener_get_uri(listener), uri);
        cr_expect_str_eq(ferry_channel_get_description(b), peer);
        cr_expect_eq(ferry_channel_queued(a), -1);
    }
    cr_expect_eq(lstat(path, &st), -1);
    cr_expect_eq(open_fds(), before);
    g_rmdir(dir);
}

Test(socket, stale_unix_socket_is_replaced_but_nothing_else)
{
    g_autofree char *dir = g_dir_make_tmp("ferry-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "s", NULL);
    g_autofree char *uri = g_strdup_printf("unix:%s", path);
    g_autoptr(GError) error = NULL;
    FerryFd waiting;
    FerryFd old = full_listener(path, &waiting);

    cr_expect_null(listen_on(uri, "poll", &error), "somebody listens, though busy");
    EXPECT_CODE(ADDRESS);
    ferry_fd_clear(&old);
    ferry_fd_clear(&waiting);
    {
        g_autoptr(FerryListener) listener = listen_on(uri, "poll", &error);
        g_autoptr(FerryListener) second = NULL;
        cr_assert_not_null(listener, "%s", error ? error->message : "");
        second = listen_on(uri, "poll", &error);
        cr_expect_null(second);
        EXPECT_CODE(ADDRESS);
        g_unlink(path); /* what stands there in the end is another's */
        cr_assert(g_file_set_contents(path, "precious", -1, NULL));
    }
    cr_expect_null(listen_on(uri, "poll", &error));
    EXPECT_CODE(ADDRESS);
    cr_expect(g_file_test(path, G_FILE_TEST_EXISTS));
    g_unlink(path);
    g_rmdir(dir);
}

Test(socket, unix_path_that_is_too_long_is_refused)
{
    g_autofree char *path = g_strnfill(108, 'x');
    g_autofree char *uri = g_strdup_printf("unix:%s", path);
    g_autoptr(GError) error = NULL;

    cr_expect_null(connect_to(uri, "poll", patience(), &error));
    EXPECT_CODE(ADDRESS);
    cr_expect_null(listen_on(uri, "poll", &error));
    EXPECT_CODE(ADDRESS);
}

typedef struct {
    char kind[8];
} Kind;

static Kind kinds[] = {{"uring"}, {"poll"}};

static void tcp_pair(const char *kind, FerryChannel **a, FerryChannel **b)
{
    g_autoptr(FerryListener) listener = listen_on("tcp:127.0.0.1:0", kind, NULL);

    *a = connect_to(ferry_listener_get_uri(listener), kind, patience(), NULL);
    *b = ferry_listener_accept(listener, patience(), NULL);
    cr_assert(*a != NULL && *b != NULL);
}

ParameterizedTestParameters(socket, peer_that_resets_is_closed)
{
    return cr_make_param_array(Kind, kinds, G_N_ELEMENTS(kinds));
}

ParameterizedTest(Kind *row, socket, peer_that_resets_is_closed)
{
    g_autoptr(FerryChannel) a = NULL;
    g_autoptr(FerryChannel) b = NULL;
    g_autoptr(GError) error = NULL;
    char byte;

    if (!kind_is_usable(row->kind)) {
        cr_skip_test("not here");
    }
    tcp_pair(row->kind, &a, &b);
    cr_assert(ferry_channel_write_all(a, "unread", 6, PATIENCE_NS, &error));
    cr_assert_eq(ferry_channel_readable(b, patience(), &error), 1);
    ferry_channel_free(g_steal_pointer(&b));
    cr_expect_eq(ferry_channel_read(a, &byte, 1, patience(), &error), -1);
    EXPECT_CODE(CLOSED);
    cr_expect_not(ferry_channel_write_all(a, "x", 1, PATIENCE_NS, &error));
    EXPECT_CODE(CLOSED);
}

/* What waits in this kernel because the other one has no room. */
ParameterizedTestParameters(socket, tcp_knows_what_is_queued)
{
    return cr_make_param_array(Kind, kinds, G_N_ELEMENTS(kinds));
}

ParameterizedTest(Kind *row, socket, tcp_knows_what_is_queued)
{
    g_autoptr(FerryChannel) a = NULL;
    g_autoptr(FerryChannel) b = NULL;
    static char bytes[1 << 16];
    gint64 queued;

    if (!kind_is_usable(row->kind)) {
        cr_skip_test("not here");
    }
    tcp_pair(row->kind, &a, &b);
    fill(a);
    queued = ferry_channel_queued(a);
    cr_expect_gt(queued, 0);
    cr_expect_leq((uint64_t)queued, ferry_channel_bytes_written(a));
    while (ferry_channel_bytes_read(b) < ferry_channel_bytes_written(a)) {
        cr_assert_gt(ferry_channel_read(b, bytes, sizeof bytes, patience(), NULL), 0);
    }
    for (uint64_t end = patience(); ferry_channel_queued(a) != 0 && ferry_now_ns() < end;) {
        g_usleep(1000); /* the last acknowledgement */
    }
    cr_expect_eq(ferry_channel_queued(a), 0);
}

ParameterizedTestParameters(socket, tcp_queue_can_be_limited)
{
    return cr_make_param_array(Kind, kinds, G_N_ELEMENTS(kinds));
}

ParameterizedTest(Kind *row, socket, tcp_queue_can_be_limited)
{
    static const FerryFault none = {.position = UINT64_MAX};
    g_autoptr(FerryChannel) a = NULL;
    g_autoptr(FerryChannel) b = NULL;
    gint64 limited, unlimited;

    if (!kind_is_usable(row->kind)) {
        cr_skip_test("not here");
    }
    tcp_pair(row->kind, &a, &b);
    a = ferry_channel_fault(ferry_channel_ratelimit(a, 0, NULL), &none, NULL);
    ferry_channel_limit_queue(a, 1 << 16);
    fill(a);
    limited = ferry_channel_queued(a);
    cr_expect_leq(limited, 3 << 16); /* what is sent at once comes on top */
    ferry_channel_limit_queue(a, 0);
    fill(a);
    unlimited = ferry_channel_queued(a);
    cr_expect_gt(unlimited, limited + (1 << 16), "%ld, %ld", (long)unlimited, (long)limited);
}

/* Where both ends are on this host, whatever its sockets get otherwise. */
Test(socket, does_not_pace_within_a_host)
{
    static const char *const uris[] = {"tcp:127.0.0.1:0", "tcp:[::1]:0"};

    for (unsigned i = 0; i < (has_ipv6() ? 2 : 1); i++) {
        GError *error = NULL;
        char name[16] = "";
        socklen_t length = sizeof name;
        FerryListener *listener = listen_on(uris[i], "poll", &error);

        cr_assert_not_null(listener, "%s", error ? error->message : "");
        g_auto(FerryAddress) address = parsed(ferry_listener_get_uri(listener));
        int fd = ferry_socket_connect(&address, ferry_now_ns() + 10000000000u, NULL, &error);
        cr_assert_geq(fd, 0, "%s", error ? error->message : "");
        cr_assert_eq(getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &length), 0);
        cr_expect_str_eq(name, "reno");
        close(fd);
        ferry_listener_free(listener);
    }
}
