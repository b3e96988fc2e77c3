#include "protocol/wire.h"
#include <criterion/criterion.h>

Test(wire, numbers_are_big_endian)
{
    static const uint8_t wire[] = {1, 2, 3, 4, 5, 6, 7, 8};
    uint8_t out[8];

    ferry_put_be16(out, 0x0102);
    cr_expect_arr_eq(out, wire, 2);
    ferry_put_be32(out, 0x01020304);
    cr_expect_arr_eq(out, wire, 4);
    ferry_put_be64(out, 0x0102030405060708);
    cr_expect_arr_eq(out, wire, 8);
    cr_expect_eq(ferry_get_be16(wire), 0x0102);
    cr_expect_eq(ferry_get_be32(wire), 0x01020304);
    cr_expect_eq(ferry_get_be64(wire), 0x0102030405060708);
}

Test(wire, numbers_need_no_alignment)
{
    uint8_t out[16] = {0};

    for (size_t i = 0; i < 8; i++) {
        ferry_put_be64(out + i, UINT64_MAX - i);
        cr_expect_eq(ferry_get_be64(out + i), UINT64_MAX - i);
    }
}

Test(wire, a_name_has_one_byte_of_length)
{
    char longest[256];
    uint8_t out[256];

    cr_expect_eq(ferry_put_name(out, "ram"), 4);
    cr_expect_arr_eq(out, "\3ram", 4);
    memset(longest, 'x', 255);
    longest[255] = '\0';
    cr_expect_eq(ferry_put_name(out, longest), 256);
    cr_expect_eq(out[0], 255);
}
