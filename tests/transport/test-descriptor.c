/* fd:, exec: and file: addresses. */
#include "transport/transport.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/transport/support.h"
#include "transport/descriptor.h"

typedef struct {
    char kind[8];
} Row;

static Row rows[] = {{"uring"}, {"poll"}};

#define EACH_KIND(name)                                                                            \
    ParameterizedTestParameters(descriptor, name)                                                  \
    {                                                                                              \
        return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));                                 \
    }                                                                                              \
    ParameterizedTest(Row *row, descriptor, name)

#define PREPARED                                                                                   \
    FerryTransportOptions options = options_for(row->kind, NULL);                                  \
    g_autoptr(GError) error = NULL;                                                                \
    char bytes[64] = "";                                                                           \
    if (!kind_is_usable(row->kind)) {                                                              \
        cr_skip_test("not here");                                                                  \
    }

#define EXPECT_CODE(code)                                                                          \
    cr_expect(g_error_matches(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_##code), "%s",   \
              error ? error->message : "no error");                                                \
    g_clear_error(&error)

static FerryChannel *connect_to(const char *uri, const FerryTransportOptions *options,
                                GError **error)
{
    g_auto(FerryAddress) address = parsed(uri);

    return ferry_transport_connect(&address, patience(), options, error);
}

static FerryListener *listen_on(const char *uri, const FerryTransportOptions *options,
                                GError **error)
{
    g_auto(FerryAddress) address = parsed(uri);

    return ferry_listener_new(&address, options, error);
}

EACH_KIND(pipe_carries_bytes_one_way)
{
    PREPARED
    int fds[2];
    g_autofree char *uri = NULL;
    g_autoptr(FerryChannel) in = NULL;
    g_autoptr(FerryChannel) out = NULL;
    g_autoptr(FerryListener) listener = NULL;

    cr_assert_eq(pipe(fds), 0);
    out = channel_of_fd(row->kind, fds[1], NULL);
    uri = g_strdup_printf("fd:%d", fds[0]);
    listener = listen_on(uri, &options, &error);
    cr_assert_not_null(listener);
    cr_expect_str_eq(ferry_listener_get_uri(listener), uri);
    in = ferry_listener_accept(listener, patience(), &error);
    cr_assert_not_null(in);
    cr_expect_null(ferry_listener_accept(listener, patience(), &error));
    EXPECT_CODE(UNSUPPORTED);
    cr_expect(ferry_channel_can_read(in));
    cr_expect_not(ferry_channel_can_read(out));
    cr_expect_eq(ferry_channel_queued(out), -1);
    cr_expect_eq(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
    cr_assert(ferry_channel_write_all(out, "through", 7, PATIENCE_NS, &error));
    cr_assert(ferry_channel_read_all(in, bytes, 7, patience(), &error));
    cr_expect_str_eq(bytes, "through");
    cr_expect_eq(ferry_channel_read(in, bytes, 1, ferry_now_ns() + 2 * MS, &error), -1);
    EXPECT_CODE(TIMED_OUT);
    cr_expect_not(ferry_channel_write_all(in, "x", 1, PATIENCE_NS, &error));
    EXPECT_CODE(UNSUPPORTED);
    ferry_channel_free(g_steal_pointer(&out));
    cr_expect_eq(ferry_channel_read(in, bytes, 1, patience(), &error), 0);
}

EACH_KIND(pipe_without_a_reader_raises_no_signal)
{
    PREPARED
    int fds[2];
    g_autoptr(FerryChannel) out = NULL;

    (void)options;
    cr_assert_eq(pipe(fds), 0);
    out = channel_of_fd(row->kind, fds[1], NULL);
    close(fds[0]);
    cr_expect_not(ferry_channel_write_all(out, bytes, 1, PATIENCE_NS, &error));
    EXPECT_CODE(CLOSED);
}

EACH_KIND(full_pipe_ends_at_the_deadline)
{
    PREPARED
    g_autoptr(FerryChannel) out = NULL;
    static char big[1 << 20];
    int fds[2];

    (void)options, (void)bytes;
    cr_assert_eq(pipe(fds), 0);
    out = channel_of_fd(row->kind, fds[1], NULL);
    cr_expect_not(ferry_channel_write_all(out, big, sizeof big, 3 * MS, &error));
    EXPECT_CODE(TIMED_OUT);
    cr_expect_gt(ferry_channel_bytes_written(out), 0);
    close(fds[0]);
}

/* The flag belongs to whoever else has the descriptor, too. */
EACH_KIND(nonblocking_flag_is_as_before_in_the_end)
{
    PREPARED
    for (int set = 0; set <= O_NONBLOCK; set += O_NONBLOCK) {
        g_autoptr(FerryChannel) in = NULL;
        int fds[2], other;

        cr_assert_eq(pipe2(fds, set), 0);
        other = dup(fds[0]);
        in = channel_of_fd(row->kind, fds[1], NULL);
        ferry_channel_free(g_steal_pointer(&in));
        {
            g_autofree char *uri = g_strdup_printf("fd:%d", fds[0]);
            g_autoptr(FerryListener) listener = listen_on(uri, &options, &error);
            in = ferry_listener_accept(listener, patience(), &error);
        }
        cr_expect_eq(ferry_channel_read(in, bytes, 1, patience(), &error), 0);
        ferry_channel_free(g_steal_pointer(&in));
        cr_expect_eq(fcntl(other, F_GETFL) & O_NONBLOCK, set);
        close(other);
    }
}

/* io_uring does not wait by itself where O_NONBLOCK is set. */
EACH_KIND(nonblocking_socket_waits_all_the_same)
{
    PREPARED
    int fds[2];
    g_autoptr(FerryChannel) a = NULL;

    (void)options;
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    a = channel_of_fd(row->kind, fds[0], NULL);
    cr_expect_eq(ferry_channel_read(a, bytes, 1, ferry_now_ns() + 3 * MS, &error), -1);
    EXPECT_CODE(TIMED_OUT);
    cr_assert_eq(write(fds[1], "x", 1), 1);
    cr_expect_eq(ferry_channel_read(a, bytes, 1, patience(), &error), 1);
    close(fds[1]);
}

EACH_KIND(unfit_descriptors_are_refused)
{
    PREPARED
    int datagram = socket(AF_INET, SOCK_DGRAM, 0), listening = socket(AF_INET, SOCK_STREAM, 0);
    int dir = open("/", O_RDONLY), reading = open("/dev/null", O_RDONLY);
    g_autofree char *datagram_uri = g_strdup_printf("fd:%d", datagram);
    g_autofree char *listening_uri = g_strdup_printf("fd:%d", listening);
    g_autofree char *dir_uri = g_strdup_printf("fd:%d", dir);
    g_autofree char *reading_uri = g_strdup_printf("fd:%d", reading);

    (void)bytes;
    cr_assert_eq(listen(listening, 1), 0);
    cr_expect_null(connect_to("fd:1000", &options, &error));
    EXPECT_CODE(ADDRESS);
    cr_expect_null(connect_to(datagram_uri, &options, &error));
    EXPECT_CODE(UNSUPPORTED);
    cr_expect_null(connect_to(listening_uri, &options, &error));
    EXPECT_CODE(UNSUPPORTED);
    cr_expect_null(connect_to(dir_uri, &options, &error));
    EXPECT_CODE(UNSUPPORTED);
    cr_expect_null(connect_to(reading_uri, &options, &error));
    EXPECT_CODE(UNSUPPORTED);
    cr_expect_eq(close(datagram) | close(listening) | close(dir) | close(reading), 0,
                 "what is refused stays open");
}

EACH_KIND(file_is_written_and_read_from_the_offset)
{
    PREPARED
    g_autofree char *dir = g_dir_make_tmp("ferry-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "f", NULL);
    g_autofree char *uri = g_strdup_printf("file:%s,offset=3", path);
    g_autofree char *contents = NULL;
    gsize length;
    struct stat st;

    cr_assert(g_file_set_contents(path, "0123456789", -1, NULL));
    {
        g_autoptr(FerryChannel) out = connect_to(uri, &options, &error);
        cr_assert_not_null(out);
        cr_expect_not(ferry_channel_can_read(out));
        cr_assert(ferry_channel_write_all(out, "abc", 3, PATIENCE_NS, &error));
        cr_assert(ferry_channel_write_all(out, "d", 1, PATIENCE_NS, &error));
        cr_assert(ferry_channel_shutdown_write(out, &error));
    }
    cr_assert(g_file_get_contents(path, &contents, &length, NULL));
    cr_expect_str_eq(contents, "012abcd", "cut at the offset, then written");
    {
        g_autoptr(FerryListener) listener = listen_on(uri, &options, &error);
        g_autoptr(FerryChannel) in = ferry_listener_accept(listener, 0, &error);
        cr_assert_not_null(in);
        cr_expect_eq(ferry_channel_readable(in, 0, &error), 1);
        cr_assert(ferry_channel_read_all(in, bytes, 4, patience(), &error));
        cr_expect_str_eq(bytes, "abcd");
        cr_expect_eq(ferry_channel_read(in, bytes, 1, patience(), &error), 0);
    }
    g_unlink(path);
    ferry_channel_free(connect_to(uri, &options, &error));
    cr_assert_eq(stat(path, &st), 0);
    cr_expect_eq(st.st_mode & 0777, 0600);
    g_unlink(path);
    cr_expect_null(listen_on(uri, &options, &error));
    EXPECT_CODE(ADDRESS);
    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_expect_null(listen_on(uri, &options, &error));
    EXPECT_CODE(UNSUPPORTED);
    g_unlink(path);
    g_rmdir(dir);
}

EACH_KIND(file_is_written_at_places)
{
    PREPARED
    g_autofree char *dir = g_dir_make_tmp("ferry-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(dir, "places", NULL);
    g_autofree char *uri = g_strdup_printf("file:%s,offset=3", path);
    g_autofree char *content = NULL;
    uint64_t at = 0;
    {
        g_autoptr(FerryChannel) out =
            ferry_channel_ratelimit(connect_to(uri, &options, &error), 0, NULL);

        cr_assert(ferry_channel_write_all(out, "head", 4, PATIENCE_NS, &error));
        cr_assert(ferry_channel_tell(out, &at, &error));
        cr_expect_eq(at, 7);
        cr_assert(ferry_channel_seek(out, 20, &error));
        memset(bytes, 'p', 4);
        cr_assert(ferry_channel_write_all(out, bytes, 4, PATIENCE_NS, &error));
        cr_assert(ferry_channel_seek(out, at, &error));
        cr_assert(ferry_channel_write_all(out, "tail", 4, PATIENCE_NS, &error));
        cr_expect_geq(ferry_channel_get_file(out), 0);
        cr_expect_not(ferry_channel_seek(out, (uint64_t)G_MAXINT64 + 1, &error));
        EXPECT_CODE(UNSUPPORTED);
    }
    cr_assert(g_file_get_contents(path, &content, &at, NULL));
    cr_expect_eq(at, 24);
    cr_expect_arr_eq(content, "\0\0\0headtail\0\0\0\0\0\0\0\0\0pppp", 24);
    g_unlink(path);
    g_rmdir(dir);
}

EACH_KIND(other_media_have_no_places)
{
    PREPARED
    g_autoptr(FerryChannel) c = connect_to("exec:cat", &options, &error);
    uint64_t at;

    cr_assert_not_null(c);
    cr_expect_eq(ferry_channel_get_file(c), -1);
    cr_expect_not(ferry_channel_tell(c, &at, &error));
    EXPECT_CODE(UNSUPPORTED);
    cr_expect_not(ferry_channel_seek(c, sizeof bytes, &error));
    EXPECT_CODE(UNSUPPORTED);
}

EACH_KIND(full_disk_is_an_error)
{
    PREPARED
    g_autoptr(FerryChannel) out = connect_to("file:/dev/full", &options, &error);

    cr_assert_not_null(out);
    cr_expect_not(ferry_channel_write_all(out, bytes, 1, PATIENCE_NS, &error));
    EXPECT_CODE(IO);
}

EACH_KIND(command_reads_and_writes)
{
    PREPARED
    unsigned before = open_fds();
    {
        g_autoptr(FerryChannel) c = connect_to("exec:tr a-z A-Z", &options, &error);
        cr_assert_not_null(c);
        cr_expect_str_eq(ferry_channel_get_io(c), row->kind);
        cr_expect_str_eq(ferry_channel_get_description(c), "exec:tr a-z A-Z");
        cr_assert(ferry_channel_write_all(c, "hello", 5, PATIENCE_NS, &error));
        cr_assert(ferry_channel_shutdown_write(c, &error));
        cr_assert(ferry_channel_read_all(c, bytes, 5, patience(), &error));
        cr_expect_str_eq(bytes, "HELLO");
        cr_expect_eq(ferry_channel_read(c, bytes, 1, patience(), &error), 0);
    }
    cr_expect_eq(open_fds(), before);
}

EACH_KIND(failing_command_says_its_status)
{
    PREPARED
    g_autoptr(FerryChannel) c = connect_to("exec:printf x; exit 3", &options, &error);

    cr_assert_not_null(c);
    cr_assert(ferry_channel_read_all(c, bytes, 1, patience(), &error));
    cr_expect_eq(ferry_channel_read(c, bytes, 1, patience(), &error), -1);
    cr_expect_not_null(strstr(error->message, "status 3"), "%s", error->message);
    EXPECT_CODE(CLOSED);
    cr_expect_not(ferry_channel_write_all(c, "x", 1, PATIENCE_NS, &error));
    cr_expect_not_null(strstr(error->message, "status 3"), "%s", error->message);
    EXPECT_CODE(CLOSED);
}

EACH_KIND(killed_command_says_its_signal)
{
    PREPARED
    g_autoptr(FerryListener) listener = listen_on("exec:kill -9 $$", &options, &error);
    g_autoptr(FerryChannel) c = ferry_listener_accept(listener, patience(), &error);

    cr_assert_not_null(c);
    cr_expect_eq(ferry_channel_read(c, bytes, 1, patience(), &error), -1);
    cr_expect_not_null(strstr(error->message, "signal 9"), "%s", error->message);
    EXPECT_CODE(CLOSED);
}

typedef struct {
    int domain;
    size_t asked, got;
    gboolean gathers;
} Gather;

ParameterizedTestParameters(descriptor, lets_gather_what_was_much_and_is_used_up)
{
    static Gather cases[] = {
        {AF_INET, 1 << 20, 100000,  TRUE },
        {AF_INET, 100000,  100000,  FALSE}, /* there may be more */
        {AF_INET, 1 << 20, 4096,    FALSE}, /* a conversation */
        {AF_UNIX, 1 << 20, 100000,  FALSE}, /* too small a buffer to wait for */
        {AF_INET, 1 << 20, 0,       FALSE}, /* the end */
        {AF_INET, 1 << 20, 1 << 20, FALSE},
    };
    return cr_make_param_array(Gather, cases, G_N_ELEMENTS(cases));
}

ParameterizedTest(Gather *c, descriptor, lets_gather_what_was_much_and_is_used_up)
{
    g_auto(FerryFd) fd = socket(c->domain, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct iovec iov[] = {
        {NULL, c->asked / 2           },
        {NULL, c->asked - c->asked / 2}
    };
    FerryDescriptor d;

    cr_assert(ferry_descriptor_init(&d, fd, NULL, NULL));
    cr_expect_not(d.drained);
    ferry_descriptor_note_read(&d, iov, 2, (gssize)c->got);
    cr_expect_eq(d.drained, c->gathers);
    ferry_descriptor_note_read(&d, iov, 2, -1);
    cr_expect_not(d.drained);
}

/* The command has three descriptors, whatever the program has open. */
EACH_KIND(command_inherits_nothing)
{
    PREPARED
    int leak = open("/dev/null", O_RDONLY);
    g_autoptr(FerryChannel) c =
        connect_to("exec:ls /proc/self/fd | grep -vx -e 0 -e 1 -e 2 | wc -l", &options, &error);

    cr_assert(leak != -1 && c != NULL);
    /* ls itself opens the directory, which is one more. */
    cr_assert_gt(ferry_channel_read(c, bytes, sizeof bytes, patience(), &error), 0);
    cr_expect_eq(atoi(bytes), 1, "%s", bytes);
    close(leak);
}

/* A child that does not end by itself is ended, at once where the interrupt is raised. */
EACH_KIND(interrupted_command_is_ended)
{
    g_autoptr(FerryInterrupt) interrupt = ferry_interrupt_new(NULL);
    PREPARED
    g_autoptr(FerryChannel) c = NULL;
    int pid;

    options.interrupt = interrupt;
    c = connect_to("exec:echo $$; exec sleep 1000", &options, &error);
    cr_assert_not_null(c);
    cr_assert_gt(ferry_channel_read(c, bytes, sizeof bytes - 1, patience(), &error), 0);
    pid = atoi(bytes);
    cr_assert_eq(kill(pid, 0), 0);
    ferry_interrupt_raise(interrupt);
    ferry_channel_free(g_steal_pointer(&c));
    cr_expect_eq(kill(pid, 0), -1, "neither running nor a zombie");
}
