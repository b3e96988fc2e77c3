/* io_uring or poll, and what happens where io_uring is forbidden. */
#include "transport/transport.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/transport/support.h"

/* As container runtimes do by default. For this process, that is this test, and for good. */
static void forbid_io_uring(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = G_N_ELEMENTS(code), .filter = code};

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0) {
        cr_skip_test("no seccomp here");
    }
}

static FerryChannel *channel_with(FerryIo io, int fd, GError **error)
{
    FerryAddress address = {.type = FERRY_ADDRESS_FD, .fd = fd};
    FerryTransportOptions options = {.io = io};

    return ferry_transport_connect(&address, patience(), &options, error);
}

Test(io_choice, falls_back_to_poll_where_io_uring_is_forbidden)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(FerryChannel) a = NULL;
    g_autoptr(FerryChannel) b = NULL;
    g_autofree char *reason = NULL;
    char byte = 0;
    int fds[2];

    g_unsetenv("FERRY_IO");
    forbid_io_uring();
    cr_expect_not(ferry_io_uring_usable(&reason));
    cr_expect_str_eq(reason, "io_uring_setup: Operation not permitted "
                             "(forbidden by seccomp or kernel.io_uring_disabled)");
    cr_expect_not(ferry_io_uring_usable(NULL));
    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    cr_expect_null(channel_with(FERRY_IO_URING, fds[0], &error));
    cr_expect(g_error_matches(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_UNSUPPORTED));
    cr_expect_not_null(strstr(error->message, reason), "%s", error->message);
    g_clear_error(&error);
    a = channel_with(FERRY_IO_AUTO, fds[0], &error);
    b = channel_with(FERRY_IO_AUTO, fds[1], &error);
    cr_assert(a != NULL && b != NULL);
    cr_expect_str_eq(ferry_channel_get_io(a), "poll");
    cr_assert(ferry_channel_write_all(a, "x", 1, PATIENCE_NS, &error));
    cr_assert(ferry_channel_read_all(b, &byte, 1, patience(), &error));
    cr_expect_eq(byte, 'x');
}

Test(io_choice, automatic_follows_the_environment)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(FerryChannel) a = NULL;
    g_autoptr(FerryChannel) b = NULL;
    FerryAddress address = {.type = FERRY_ADDRESS_TCP, .text = (char *)"127.0.0.1"};
    int fds[2];

    cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    g_setenv("FERRY_IO", "fast", TRUE);
    cr_expect_null(channel_with(FERRY_IO_AUTO, fds[0], &error));
    cr_expect(g_error_matches(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_UNSUPPORTED));
    cr_expect_null(ferry_listener_new(&address, NULL, NULL));
    g_setenv("FERRY_IO", "poll", TRUE);
    a = channel_with(FERRY_IO_AUTO, fds[0], NULL);
    cr_expect_str_eq(ferry_channel_get_io(a), "poll");
    if (ferry_io_uring_usable(NULL)) { /* what the caller says comes first */
        b = channel_with(FERRY_IO_URING, fds[1], NULL);
        cr_expect_str_eq(ferry_channel_get_io(b), "uring");
    }
}
