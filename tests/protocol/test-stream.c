#include "protocol/stream.h"
#include <criterion/criterion.h>
#include <string.h>

#define EXPECT_WIRE(out, n, wire)                                                                  \
    do {                                                                                           \
        cr_expect_eq(n, sizeof wire - 1);                                                          \
        cr_expect_arr_eq(out, wire, sizeof wire - 1);                                              \
    } while (0)

/* Bytes of a QEMU 7.2 source. */
Test(stream, begins_as_qemu_begins)
{
    FerryConfiguration c = {.machine = "pc-i440fx-7.2"};
    FerrySectionHeader start = {
        .type = FERRY_SECTION_START, .section_id = 2, .idstr = "ram", .version_id = 4};
    uint8_t out[FERRY_CONFIGURATION_MAX];
    size_t n = ferry_stream_header_encode(out);

    EXPECT_WIRE(out, n, "QEVM\0\0\0\3");
    n = ferry_configuration_encode(&c, out);
    EXPECT_WIRE(out, n, "\7\0\0\0\xdpc-i440fx-7.2");
    n = ferry_section_header_encode(&start, out);
    EXPECT_WIRE(out, n, "\1\0\0\0\2\3ram\0\0\0\0\0\0\0\4");
    n = ferry_section_footer_encode(2, out);
    EXPECT_WIRE(out, n, "\x7e\0\0\0\2");
}

Test(stream, later_sections_have_only_an_id)
{
    FerrySectionHeader part = {.type = FERRY_SECTION_PART, .section_id = 0x01020304};
    FerrySectionHeader end = {.type = FERRY_SECTION_END, .section_id = UINT32_MAX};
    uint8_t out[FERRY_SECTION_HEADER_MAX];
    size_t n = ferry_section_header_encode(&part, out);

    EXPECT_WIRE(out, n, "\2\1\2\3\4");
    n = ferry_section_header_encode(&end, out);
    EXPECT_WIRE(out, n, "\3\xff\xff\xff\xff");
}

Test(stream, configuration_carries_its_subsections)
{
    FerryConfiguration c = {.machine = "virt",
                            .page_bits = 12,
                            .n_capabilities = 1,
                            .capabilities = {"mapped-ram"},
                            .has_uuid = TRUE,
                            .uuid = "0123456789abcde"};
    uint8_t out[FERRY_CONFIGURATION_MAX];
    size_t n = ferry_configuration_encode(&c, out);

    EXPECT_WIRE(out, n,
                "\7\0\0\0\4virt"
                "\5\x1e"
                "configuration/target-page-bits\0\0\0\1\0\0\0\xc"
                "\5\x1a"
                "configuration/capabilities\0\0\0\1\0\0\0\1\xamapped-ram"
                "\5\x12"
                "configuration/uuid\0\0\0\1"
                "0123456789abcde\0");
}

Test(stream, the_largest_configuration_fits)
{
    FerryConfiguration c = {
        .page_bits = 16, .n_capabilities = FERRY_CAPABILITIES_MAX, .has_uuid = TRUE};
    uint8_t out[FERRY_CONFIGURATION_MAX];

    memset(c.machine, 'm', FERRY_MACHINE_MAX);
    for (unsigned i = 0; i < FERRY_CAPABILITIES_MAX; i++) {
        memset(c.capabilities[i], 'c', sizeof c.capabilities[i] - 1);
    }
    cr_expect_leq(ferry_configuration_encode(&c, out), sizeof out);
}

Test(stream, commands_carry_length_and_payload)
{
    FerryCommand open = {.id = FERRY_COMMAND_OPEN_RETURN_PATH};
    uint8_t out[FERRY_COMMAND_HEADER_SIZE + 4];
    size_t n = ferry_command_encode(&open, out);

    EXPECT_WIRE(out, n, "\x8\0\1\0\0");
    n = ferry_ping_encode(0xfe770001, out);
    EXPECT_WIRE(out, n, "\x8\0\2\0\4\xfe\x77\0\1");
}

Test(stream, ends_with_mark_and_length_of_description)
{
    uint8_t out[FERRY_DESCRIPTION_HEADER_SIZE];
    size_t n = ferry_end_encode(0x184a2, out);

    EXPECT_WIRE(out, n, "\0\6\0\1\x84\xa2");
}

Test(stream, commands_have_names)
{
    cr_expect_str_eq(ferry_command_name(FERRY_COMMAND_PING), "ping");
    cr_expect_str_eq(ferry_command_name(FERRY_COMMAND_SWITCHOVER_START), "switchover-start");
    cr_expect_str_eq(ferry_command_name(12), "unknown");
    cr_expect_str_eq(ferry_command_name(UINT32_MAX), "unknown");
}
