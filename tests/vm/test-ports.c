#include "tools/vm/ports.h"
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <fcntl.h>
#include <unistd.h>

typedef struct {
    Serial *serial;
    Ports *ports;
    int out; /* what the guest printed */
} Board;

static Board board(void)
{
    int ends[2];
    Board b;

    cr_assert_eq(pipe(ends), 0);
    b.out = ends[0];
    b.serial = serial_new(ends[1]);
    b.ports = ports_new(b.serial);
    return b;
}

static void board_clear(Board *b)
{
    ports_free(b->ports);
    serial_free(b->serial);
    close(b->out);
}

Test(ports, com1_prints_what_is_transmitted_and_nothing_else)
{
    Board b = board();
    char text[8] = "";

    ports_write(b.ports, 0x3fb, 1, 0x83); /* divisor latch on: port 0x3f8 is the divisor */
    ports_write(b.ports, 0x3f8, 1, 0x01);
    ports_write(b.ports, 0x3f9, 1, 0x02);
    cr_expect_eq(ports_read(b.ports, 0x3f8, 1), 0x01);
    cr_expect_eq(ports_read(b.ports, 0x3f9, 1), 0x02);
    ports_write(b.ports, 0x3fb, 1, 0x03);
    ports_write(b.ports, 0x3f8, 1, 'o');
    ports_write(b.ports, 0x3ff, 1, 'x'); /* scratch */
    ports_write(b.ports, 0x3f8, 1, 'k');
    cr_expect_eq(ports_read(b.ports, 0x3fd, 1) & 0x60, 0x60);
    cr_expect_eq(ports_read(b.ports, 0x3ff, 1), 'x');
    cr_expect_eq(read(b.out, text, sizeof text), 2);
    cr_expect_str_eq(text, "ok");
    board_clear(&b);
}

Test(ports, a20_is_open_by_the_keyboard_controller)
{
    Board b = board();

    cr_expect_eq(ports_read(b.ports, 0x64, 1) & 2, 0); /* takes commands at any time */
    ports_write(b.ports, 0x64, 1, 0xd0);
    cr_expect_eq(ports_read(b.ports, 0x64, 1) & 1, 1);
    cr_expect_eq(ports_read(b.ports, 0x60, 1) & 2, 2);
    cr_expect_eq(ports_read(b.ports, 0x64, 1) & 1, 0);
    cr_expect(ports_write(b.ports, 0x64, 1, 0xd1));
    cr_expect(ports_write(b.ports, 0x60, 1, 0xdf));
    board_clear(&b);
}

Test(ports, a20_is_open_by_system_control)
{
    Board b = board();
    uint32_t value = ports_read(b.ports, 0x92, 1);

    cr_expect_eq(value & 3, 2);
    cr_expect(ports_write(b.ports, 0x92, 1, value));
    board_clear(&b);
}

Test(ports, every_way_to_reset_is_seen)
{
    Board b = board();

    cr_expect_not(ports_write(b.ports, 0x64, 1, 0xfe));
    cr_expect_not(ports_write(b.ports, 0x92, 1, 0x01));
    cr_expect_not(ports_write(b.ports, 0xcf9, 1, 0x06));
    board_clear(&b);
}

Test(ports, pci_configuration_finds_nothing_and_resets_nothing)
{
    Board b = board();

    cr_expect(ports_write(b.ports, 0xcf8, 4, 0x80000604));
    cr_expect_eq(ports_read(b.ports, 0xcfc, 4), UINT32_MAX);
    cr_expect_eq(ports_read(b.ports, 0xcfc, 2), UINT16_MAX);
    board_clear(&b);
}

Test(ports, state_moves_to_another_machine)
{
    Board a = board(), b = board();
    g_autoptr(GByteArray) serial = g_byte_array_new(), ports = g_byte_array_new();

    ports_write(a.ports, 0x3fb, 1, 0x80);
    ports_write(a.ports, 0x3f8, 1, 0x55);
    ports_write(a.ports, 0x64, 1, 0xd0);
    ports_write(a.ports, 0x70, 1, 0x8a);
    cr_assert(serial_save(a.serial, serial, NULL) && ports_save(a.ports, ports, NULL));
    cr_assert(serial_load(b.serial, serial->data, serial->len, 1, NULL));
    cr_assert(ports_load(b.ports, ports->data, ports->len, 1, NULL));
    cr_expect_eq(ports_read(b.ports, 0x3f8, 1), 0x55);
    cr_expect_eq(ports_read(b.ports, 0x64, 1) & 1, 1);
    cr_expect_eq(ports_read(b.ports, 0x70, 1), 0x0a);
    board_clear(&a);
    board_clear(&b);
}

typedef struct {
    uint8_t bytes[8];
    unsigned length;
} Body;

ParameterizedTestParameters(ports, impossible_serial_state_is_refused)
{
    static Body rows[] = {
        {{0},                      0},
        {{0},                      6},
        {{0},                      8},
        {{0x10},                   7},
        {{0, 0, 0x20},             7},
        {{0, 0, 0, 0, 0, 0, 0x02}, 7}
    };
    return cr_make_param_array(Body, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Body *row, ports, impossible_serial_state_is_refused)
{
    Board b = board();
    const uint8_t right[7] = {0};

    cr_expect(serial_load(b.serial, right, sizeof right, 1, NULL));
    cr_expect_not(serial_load(b.serial, row->bytes, row->length, 1, NULL));
    board_clear(&b);
}
