#include "transport/iov.h"

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

typedef struct {
    char what[40];
    size_t skip, max;
    int out_n;
    int n;
    size_t first_at, first_len, last_len;
} Row;

/* Of the elements "abcd", "", "efg", "h", whose bytes are at 0, 4, 4 and 7. */
ParameterizedTestParameters(iov, cut)
{
    static Row rows[] = {
        {"everything",               0, 99, 9, 3, 0, 4, 1},
        {"nothing",                  0, 0,  9, 0, 0, 0, 0},
        {"the first byte",           0, 1,  9, 1, 0, 1, 1},
        {"ends with an element",     0, 4,  9, 1, 0, 4, 4},
        {"ends inside an element",   0, 5,  9, 2, 0, 4, 1},
        {"begins inside an element", 2, 99, 9, 3, 2, 2, 1},
        {"begins with an element",   4, 99, 9, 2, 4, 3, 1},
        {"inside one element",       5, 1,  9, 1, 5, 1, 1},
        {"room for two",             1, 99, 2, 2, 1, 3, 3},
        {"from the end",             8, 99, 9, 0, 0, 0, 0},
    };
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Row *row, iov, cut)
{
    char bytes[] = "abcdefgh";
    struct iovec iov[] =
        {
            {bytes,     4},
            {bytes + 4, 0},
            {bytes + 4, 3},
            {bytes + 7, 1}
    },
                 out[9];

    cr_assert_eq(ferry_iov_cut(iov, 4, row->skip, row->max, out, row->out_n), row->n, "%s",
                 row->what);
    if (row->n > 0) {
        cr_expect_eq((char *)out[0].iov_base, bytes + row->first_at, "%s", row->what);
        cr_expect_eq(out[0].iov_len, row->first_len, "%s", row->what);
        cr_expect_eq(out[row->n - 1].iov_len, row->last_len, "%s", row->what);
    }
}

Test(iov, sum_does_not_wrap_around)
{
    struct iovec iov[] = {
        {NULL, 3        },
        {NULL, G_MAXSIZE},
        {NULL, 5        }
    };

    cr_expect_eq(ferry_iov_bytes(iov, 0), 0);
    cr_expect_eq(ferry_iov_bytes(iov, 1), 3);
    cr_expect_eq(ferry_iov_bytes(iov, 3), (size_t)G_MAXSSIZE);
}
