/* What every kind of channel does alike. */
#include "transport/channel.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "tests/transport/support.h"

typedef struct {
    char kind[8];
} Row;

static Row rows[] = {{"uring"}, {"poll"}, {"pair"}};

#define EACH_KIND(name)                                                                            \
    ParameterizedTestParameters(channel, name)                                                     \
    {                                                                                              \
        return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));                                 \
    }                                                                                              \
    ParameterizedTest(Row *row, channel, name)

#define CONNECTED(interrupt)                                                                       \
    g_autoptr(FerryChannel) a = NULL;                                                              \
    g_autoptr(FerryChannel) b = NULL;                                                              \
    g_autoptr(GError) error = NULL;                                                                \
    if (!kind_is_usable(row->kind)) {                                                              \
        cr_skip_test("not here");                                                                  \
    }                                                                                              \
    connected(row->kind, interrupt, &a, &b)

#define EXPECT_CODE(code)                                                                          \
    cr_expect(g_error_matches(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_##code), "%s",   \
              error ? error->message : "no error");                                                \
    g_clear_error(&error)

EACH_KIND(carries_bytes_and_counts_them)
{
    char bytes[6] = "";
    CONNECTED(NULL);

    cr_assert(ferry_channel_write_all(a, "hello", 5, PATIENCE_NS, &error));
    cr_assert(ferry_channel_write_all(a, "", 0, PATIENCE_NS, &error));
    cr_assert_eq(ferry_channel_read(b, bytes, 2, patience(), &error), 2);
    cr_assert(ferry_channel_read_all(b, bytes + 2, 3, patience(), &error));
    cr_assert(ferry_channel_read_all(b, bytes, 0, patience(), &error));
    cr_expect_str_eq(bytes, "hello");
    cr_expect_eq(ferry_channel_bytes_written(a), 5);
    cr_expect_eq(ferry_channel_bytes_read(b), 5);
    cr_expect_eq(ferry_channel_bytes_read(a), 0);
    cr_expect_str_eq(ferry_channel_get_io(a), row->kind);
    cr_expect(ferry_channel_can_read(a));
}

EACH_KIND(ends_after_the_last_byte)
{
    char bytes[4];
    CONNECTED(NULL);

    cr_assert(ferry_channel_write_all(a, "ab", 2, PATIENCE_NS, &error));
    cr_assert(ferry_channel_shutdown_write(a, &error));
    cr_expect_eq(ferry_channel_readable(b, 0, &error), 1);
    cr_expect_not(ferry_channel_read_all(b, bytes, 4, patience(), &error));
    cr_expect_not_null(strstr(error->message, "2 of 4 bytes"), "%s", error->message);
    cr_expect(g_str_has_prefix(error->message, ferry_channel_get_description(b)));
    EXPECT_CODE(CLOSED);
    cr_expect_eq(ferry_channel_readable(b, 0, &error), 1);
    cr_expect_eq(ferry_channel_read(b, bytes, 4, patience(), &error), 0);
    cr_assert(ferry_channel_write_all(b, "cd", 2, PATIENCE_NS, &error)); /* the way back lives */
    cr_assert(ferry_channel_read_all(a, bytes, 2, patience(), &error));
}

EACH_KIND(refuses_writes_once_the_peer_is_gone)
{
    CONNECTED(NULL);

    ferry_channel_free(g_steal_pointer(&b));
    cr_expect_not(ferry_channel_write_all(a, "x", 1, PATIENCE_NS, &error)); /* and no SIGPIPE */
    EXPECT_CODE(CLOSED);
}

EACH_KIND(read_ends_at_the_deadline)
{
    char byte;
    CONNECTED(NULL);

    cr_expect_eq(ferry_channel_readable(b, 0, &error), 0);
    cr_expect_eq(ferry_channel_readable(b, ferry_now_ns() + 5 * MS, &error), 0);
    cr_expect_eq(ferry_channel_read(b, &byte, 1, ferry_now_ns() + 5 * MS, &error), -1);
    EXPECT_CODE(TIMED_OUT);
    cr_expect_eq(ferry_channel_read(b, &byte, 1, 0, &error), -1);
    EXPECT_CODE(TIMED_OUT);
    cr_assert(ferry_channel_write_all(a, "x", 1, PATIENCE_NS, &error)); /* nothing is left behind */
    cr_assert_eq(ferry_channel_read(b, &byte, 1, 0, &error), 1);
    cr_expect_eq(byte, 'x');
}

EACH_KIND(write_ends_at_the_deadline_and_loses_nothing)
{
    static char bytes[1 << 20];
    uint64_t written, read = 0;
    CONNECTED(NULL);

    fill(a);
    cr_expect_not(ferry_channel_write_all(a, bytes, sizeof bytes, 5 * MS, &error));
    EXPECT_CODE(TIMED_OUT);
    written = ferry_channel_bytes_written(a);
    ferry_channel_free(g_steal_pointer(&a));
    for (gssize n = 1; n > 0; read += (uint64_t)n) {
        n = ferry_channel_read(b, bytes, sizeof bytes, patience(), &error);
        cr_assert_geq(n, 0);
    }
    cr_expect_eq(read, written);
}

EACH_KIND(interrupt_holds_until_it_is_lowered)
{
    char byte;
    g_autoptr(FerryInterrupt) interrupt = ferry_interrupt_new(NULL);
    CONNECTED(interrupt);

    cr_assert(ferry_channel_write_all(a, "x", 1, PATIENCE_NS, &error));
    cr_expect_not(ferry_interrupt_is_raised(interrupt));
    ferry_interrupt_raise(interrupt);
    ferry_interrupt_raise(interrupt);
    cr_expect(ferry_interrupt_is_raised(interrupt));
    cr_expect_eq(ferry_channel_read(b, &byte, 1, patience(), &error), -1);
    EXPECT_CODE(INTERRUPTED);
    cr_expect_not(ferry_channel_write_all(a, "x", 1, PATIENCE_NS, &error));
    EXPECT_CODE(INTERRUPTED);
    cr_expect_eq(ferry_channel_readable(b, patience(), &error), -1);
    EXPECT_CODE(INTERRUPTED);
    ferry_interrupt_lower(interrupt);
    cr_expect_eq(ferry_channel_read(b, &byte, 1, patience(), &error), 1);
    cr_expect_eq(ferry_channel_read(b, &byte, 1, ferry_now_ns() + 3 * MS, &error), -1);
    EXPECT_CODE(TIMED_OUT);
    ferry_interrupt_raise(interrupt);
    cr_expect_eq(ferry_channel_read(b, &byte, 1, patience(), &error), -1);
    EXPECT_CODE(INTERRUPTED);
    ferry_channel_free(g_steal_pointer(&a)); /* before the interrupt */
    ferry_channel_free(g_steal_pointer(&b));
}

EACH_KIND(abort_ends_both_directions)
{
    char byte;
    CONNECTED(NULL);

    ferry_channel_abort(a);
    cr_expect_eq(ferry_channel_read(b, &byte, 1, patience(), &error), 0);
    cr_expect_eq(ferry_channel_read(a, &byte, 1, patience(), &error), 0);
    cr_expect_not(ferry_channel_write_all(a, "x", 1, PATIENCE_NS, &error));
    EXPECT_CODE(CLOSED);
}

/* More elements than one system call takes, empty ones among them, in more bytes than fit. */
EACH_KIND(gathers_and_scatters_any_number_of_elements)
{
    enum { N = 2500 };
    static char out[N], in[N];
    struct iovec iov[2 * N], before[2 * N], back[2 * N];
    CONNECTED(NULL);

    for (int i = 0; i < N; i++) {
        out[i] = (char)(i * 7 + i / 256);
        iov[2 * i] = back[2 * i] = (struct iovec){NULL, 0};
        iov[2 * i + 1] = (struct iovec){out + i, 1};
        back[2 * i + 1] = (struct iovec){in + i, 1};
    }
    memcpy(before, iov, sizeof iov);
    cr_assert(ferry_channel_writev_all(a, iov, 2 * N, PATIENCE_NS, &error));
    cr_expect_arr_eq(iov, before, sizeof iov);
    for (int done = 0; done < N;) {
        gssize n = ferry_channel_readv(b, back + 2 * done, 2 * (N - done), patience(), &error);
        cr_assert_gt(n, 0);
        done += (int)n;
    }
    cr_expect_arr_eq(in, out, N);
}

EACH_KIND(short_transfers_on_either_side_change_nothing)
{
    enum { N = 99 }; /* a unix socket counts a whole buffer for each short write */
    FerryFault shorten = {.kind = FERRY_FAULT_SHORT, .position = 10};
    char out[N], in[N];
    struct iovec iov[] = {
        {out,      40    },
        {out + 40, 1     },
        {NULL,     0     },
        {out + 41, N - 41}
    };
    CONNECTED(NULL);

    for (int i = 0; i < N; i++) {
        out[i] = (char)(i * 31);
    }
    a = ferry_channel_fault(a, &shorten, NULL);
    shorten.on_read = TRUE;
    b = ferry_channel_fault(b, &shorten, NULL);
    cr_assert(ferry_channel_writev_all(a, iov, 4, PATIENCE_NS, &error));
    cr_assert(ferry_channel_read_all(b, in, N, patience(), &error));
    cr_expect_arr_eq(in, out, N);
    cr_expect_eq(ferry_channel_bytes_written(a), N);
    cr_expect_eq(ferry_channel_bytes_read(b), N);
    cr_expect_str_eq(ferry_channel_get_io(a), row->kind);
}

EACH_KIND(rate_limit_lets_every_byte_through)
{
    enum { N = 30000 };
    static char out[N], in[N];
    CONNECTED(NULL);

    memset(out, 'r', N);
    a = ferry_channel_ratelimit(a, 1 << 20, NULL);
    cr_assert(ferry_channel_write_all(a, out, N, 0, &error), "held back is not stuck");
    cr_assert(ferry_channel_read_all(b, in, N, patience(), &error));
    cr_expect_arr_eq(in, out, N);
    cr_expect_gt(ferry_channel_ratelimit_waited_ns(a), 0);
    ferry_channel_ratelimit_set(a, 0);
    cr_assert(ferry_channel_write_all(a, out, N, PATIENCE_NS, &error));
    cr_assert(ferry_channel_read_all(b, in, N, patience(), &error));
    cr_assert(ferry_channel_write_all(b, "way back", 8, PATIENCE_NS, &error));
    cr_assert(ferry_channel_read_all(a, in, 8, patience(), &error));
}

static gssize write_nothing(void *self, const struct iovec *iov, int n, uint64_t deadline_ns,
                            GError **error)
{
    (void)self, (void)iov, (void)n, (void)deadline_ns;
    g_set_error_literal(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_IO, "no");
    return -1;
}

static void close_nothing(void *self) { (void)self; }

/* What an embedder's ops may leave out. */
Test(channel, with_few_members_says_what_it_cannot_do)
{
    static const FerryChannelOps ops = {
        .name = "mine", .writev = write_nothing, .close = close_nothing};
    g_autoptr(FerryChannel) c =
        ferry_channel_ratelimit(ferry_channel_new(&ops, NULL, "tape:0"), 0, NULL);
    g_autoptr(GError) error = NULL;
    char byte;

    cr_expect_not(ferry_channel_can_read(c));
    cr_expect_str_eq(ferry_channel_get_io(c), "mine");
    cr_expect_eq(ferry_channel_queued(c), -1);
    cr_expect(ferry_channel_shutdown_write(c, NULL));
    ferry_channel_abort(c);
    cr_expect_eq(ferry_channel_read(c, &byte, 1, 0, &error), -1);
    EXPECT_CODE(UNSUPPORTED);
    cr_expect_eq(ferry_channel_readable(c, 0, &error), -1);
    EXPECT_CODE(UNSUPPORTED);
    cr_expect_not(ferry_channel_write_all(c, "x", 1, 0, &error));
    cr_expect_str_eq(error->message, "tape:0: no", "one prefix, however many wrappers");
}
