#include "protocol/ram.h"
#include <criterion/criterion.h>

#define EXPECT_WIRE(out, n, wire)                                                                  \
    do {                                                                                           \
        cr_expect_eq(n, sizeof wire - 1);                                                          \
        cr_expect_arr_eq(out, wire, sizeof wire - 1);                                              \
    } while (0)

/* Bytes of a QEMU 7.2 source. */
Test(ram, block_list_of_a_pc)
{
    FerryRamHeader total = {.offset = 0x2082000, .flags = FERRY_RAM_MEM_SIZE};
    uint8_t out[FERRY_RAM_HEADER_MAX];
    size_t n = ferry_ram_header_encode(&total, out);

    EXPECT_WIRE(out, n, "\0\0\0\0\2\x8\x20\4");
    n = ferry_ram_block_encode("pc.ram", 0x2000000, out);
    EXPECT_WIRE(out, n, "\6pc.ram\0\0\0\0\2\0\0\0");
}

Test(ram, first_page_of_a_block_carries_its_name)
{
    FerryRamHeader h = {.flags = FERRY_RAM_PAGE, .idstr = "pc.ram"};
    uint8_t out[FERRY_RAM_HEADER_MAX];
    size_t n = ferry_ram_header_encode(&h, out);

    EXPECT_WIRE(out, n, "\0\0\0\0\0\0\0\x8\6pc.ram");
}

Test(ram, continued_zero_page_takes_nine_bytes)
{
    FerryRamHeader h = {.offset = 0x1000, .flags = FERRY_RAM_ZERO | FERRY_RAM_CONTINUE};
    uint8_t out[FERRY_RAM_HEADER_MAX];
    size_t n = ferry_ram_header_encode(&h, out);

    EXPECT_WIRE(out, n, "\0\0\0\0\0\0\x10\x22\0");
}

Test(ram, named_zero_page_ends_with_its_fill_byte)
{
    FerryRamHeader h = {.offset = 0x3000, .flags = FERRY_RAM_ZERO, .idstr = "r"};
    uint8_t out[FERRY_RAM_HEADER_MAX];
    size_t n = ferry_ram_header_encode(&h, out);

    EXPECT_WIRE(out, n, "\0\0\0\0\0\0\x30\2\1r\0");
}

Test(ram, continued_page_is_eight_bytes_and_the_page)
{
    FerryRamHeader h = {.offset = 0xfedcba9876543000, .flags = FERRY_RAM_PAGE | FERRY_RAM_CONTINUE};
    uint8_t out[FERRY_RAM_HEADER_MAX];
    size_t n = ferry_ram_header_encode(&h, out);

    EXPECT_WIRE(out, n, "\xfe\xdc\xba\x98\x76\x54\x30\x28");
}

/* Bytes of a QEMU 7.2 source. */
Test(ram, xbzrle_ends_with_its_length)
{
    FerryRamHeader h = {
        .offset = 0x400000, .flags = FERRY_RAM_XBZRLE | FERRY_RAM_CONTINUE, .length = 8};
    uint8_t out[FERRY_RAM_HEADER_MAX];
    size_t n = ferry_ram_header_encode(&h, out);

    EXPECT_WIRE(out, n, "\0\0\0\0\0\x40\0\x60\1\0\x8");
    h = (FerryRamHeader){.flags = FERRY_RAM_XBZRLE, .idstr = "r", .length = 0xffff};
    n = ferry_ram_header_encode(&h, out);
    EXPECT_WIRE(out, n, "\0\0\0\0\0\0\0\x40\1r\1\xff\xff");
}

Test(ram, compressed_page_ends_with_its_length)
{
    FerryRamHeader h = {
        .offset = 0x5000, .flags = FERRY_RAM_COMPRESS_PAGE | FERRY_RAM_CONTINUE, .length = 0x123};
    uint8_t out[FERRY_RAM_HEADER_MAX];
    size_t n = ferry_ram_header_encode(&h, out);

    EXPECT_WIRE(out, n, "\0\0\0\0\0\0\x51\x20\0\0\1\x23");
    h = (FerryRamHeader){.flags = FERRY_RAM_COMPRESS_PAGE, .idstr = "r", .length = 1};
    n = ferry_ram_header_encode(&h, out);
    EXPECT_WIRE(out, n, "\0\0\0\0\0\0\1\0\1r\0\0\0\1");
}

Test(ram, marks_are_bare)
{
    FerryRamHeader end = {.flags = FERRY_RAM_EOS}, flush = {.flags = FERRY_RAM_MULTIFD_FLUSH};
    uint8_t out[FERRY_RAM_HEADER_MAX];
    size_t n = ferry_ram_header_encode(&end, out);

    EXPECT_WIRE(out, n, "\0\0\0\0\0\0\0\x10");
    n = ferry_ram_header_encode(&flush, out);
    EXPECT_WIRE(out, n, "\0\0\0\0\0\0\2\0");
}
