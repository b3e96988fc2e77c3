#include "transport/transport.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "tests/transport/support.h"

typedef struct {
    char kind[8];
    uint64_t position;
} Row;

static Row rows[] = {
    {"uring", 0},
    {"uring", 3},
    {"poll",  0},
    {"poll",  3},
    {"pair",  0},
    {"pair",  3},
    {"pair",  6},
};

#define EACH_ROW(name)                                                                             \
    ParameterizedTestParameters(fault, name)                                                       \
    {                                                                                              \
        return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));                                 \
    }                                                                                              \
    ParameterizedTest(Row *row, fault, name)

/* @a is the end with the fault. */
#define FAULTY(...)                                                                                \
    FerryFault fault = {.position = row->position, __VA_ARGS__};                                   \
    g_autoptr(FerryChannel) a = NULL;                                                              \
    g_autoptr(FerryChannel) b = NULL;                                                              \
    g_autoptr(GError) error = NULL;                                                                \
    char bytes[7] = "";                                                                            \
    if (!kind_is_usable(row->kind)) {                                                              \
        cr_skip_test("not here");                                                                  \
    }                                                                                              \
    connected(row->kind, NULL, &a, &b);                                                            \
    a = ferry_channel_fault(a, &fault, NULL)

#define EXPECT_CODE(code)                                                                          \
    cr_expect(g_error_matches(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_##code), "%s",   \
              error ? error->message : "no error");                                                \
    g_clear_error(&error)

EACH_ROW(cut_ends_both_ways_at_the_position)
{
    FAULTY(.kind = FERRY_FAULT_CUT);
    gboolean all = ferry_channel_write_all(a, "abcdef", 6, PATIENCE_NS, &error);

    cr_expect_eq(all, row->position == 6);
    if (!all) {
        EXPECT_CODE(CLOSED);
    }
    cr_expect_eq(ferry_channel_read(a, bytes, 1, patience(), &error), -1);
    EXPECT_CODE(CLOSED);
    cr_expect_eq(ferry_channel_readable(a, 0, &error), 1);
    cr_expect_not(ferry_channel_shutdown_write(a, &error));
    EXPECT_CODE(CLOSED);
    if (row->position > 0) {
        cr_assert(ferry_channel_read_all(b, bytes, row->position, patience(), &error));
    }
    cr_expect_eq(ferry_channel_read(b, bytes, 1, patience(), &error), 0);
    cr_expect_not(ferry_channel_write_all(b, "x", 1, PATIENCE_NS, &error));
    EXPECT_CODE(CLOSED);
}

EACH_ROW(cut_on_read_ends_both_ways_at_the_position)
{
    FAULTY(.kind = FERRY_FAULT_CUT, .on_read = TRUE);

    if (row->position > 0) {
        cr_assert(ferry_channel_write_all(b, "abcdef", 6, PATIENCE_NS, &error));
        cr_assert(ferry_channel_read_all(a, bytes, row->position, patience(), &error));
    }
    cr_expect_eq(ferry_channel_read(a, bytes, 1, patience(), &error), -1);
    EXPECT_CODE(CLOSED);
    cr_expect_not(ferry_channel_write_all(a, "x", 1, PATIENCE_NS, &error));
    EXPECT_CODE(CLOSED);
    cr_expect_eq(ferry_channel_read(b, bytes, 1, patience(), &error), 0);
}

EACH_ROW(stall_moves_nothing_from_the_position_on)
{
    FAULTY(.kind = FERRY_FAULT_STALL);

    cr_expect_not(ferry_channel_write_all(a, "abcdefg", 7, 2 * MS, &error));
    EXPECT_CODE(TIMED_OUT);
    cr_expect_eq(ferry_channel_bytes_written(a), row->position);
    cr_assert(ferry_channel_write_all(b, "x", 1, PATIENCE_NS, &error)); /* this way only */
    cr_assert(ferry_channel_read_all(a, bytes, 1, patience(), &error));
}

EACH_ROW(stall_on_read_moves_nothing_from_the_position_on)
{
    FAULTY(.kind = FERRY_FAULT_STALL, .on_read = TRUE);

    cr_assert(ferry_channel_write_all(b, "abcdefg", 7, PATIENCE_NS, &error));
    cr_expect_not(ferry_channel_read_all(a, bytes, 7, ferry_now_ns() + 2 * MS, &error));
    EXPECT_CODE(TIMED_OUT);
    cr_expect_eq(ferry_channel_bytes_read(a), row->position);
    cr_expect_eq(ferry_channel_readable(a, ferry_now_ns() + 2 * MS, &error), 0);
}

EACH_ROW(black_hole_swallows_writes_from_the_position_on)
{
    FAULTY(.kind = FERRY_FAULT_BLACK_HOLE);

    cr_expect(ferry_channel_write_all(a, "abcdefg", 7, PATIENCE_NS, &error));
    cr_expect_eq(ferry_channel_bytes_written(a), 7);
    if (row->position > 0) {
        cr_assert(ferry_channel_read_all(b, bytes, row->position, patience(), &error));
        cr_expect(strncmp(bytes, "abcdefg", row->position) == 0);
    }
    cr_expect_eq(ferry_channel_readable(b, 0, &error), 0);
}

EACH_ROW(black_hole_on_read_waits)
{
    FAULTY(.kind = FERRY_FAULT_BLACK_HOLE, .on_read = TRUE);

    cr_assert(ferry_channel_write_all(b, "abcdefg", 7, PATIENCE_NS, &error));
    cr_expect_not(ferry_channel_read_all(a, bytes, 7, ferry_now_ns() + 2 * MS, &error));
    EXPECT_CODE(TIMED_OUT);
    cr_expect_eq(ferry_channel_bytes_read(a), row->position);
}

EACH_ROW(flip_inverts_one_bit_of_the_byte_at_the_position)
{
    const char sent[] = "ABCDEFG";
    char expected[] = "ABCDEFG";
    FAULTY(.kind = FERRY_FAULT_FLIP);

    expected[row->position] ^= 1;
    cr_assert(ferry_channel_write_all(a, sent, 7, PATIENCE_NS, &error));
    cr_assert(ferry_channel_read_all(b, bytes, 7, patience(), &error));
    cr_expect_arr_eq(bytes, expected, 7);
    cr_expect_str_eq(sent, "ABCDEFG", "the caller's bytes stay as they are");
}

EACH_ROW(flip_on_read_inverts_one_bit_of_the_byte_at_the_position)
{
    char expected[] = "ABCDEFG";
    FAULTY(.kind = FERRY_FAULT_FLIP, .on_read = TRUE);

    expected[row->position] ^= 1;
    cr_assert(ferry_channel_write_all(b, "ABCDEFG", 7, PATIENCE_NS, &error));
    cr_assert(ferry_channel_read_all(a, bytes, 7, patience(), &error));
    cr_expect_arr_eq(bytes, expected, 7);
}
