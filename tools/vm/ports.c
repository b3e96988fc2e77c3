#include "tools/vm/ports.h"
#include <stdatomic.h>
#include "tools/vm/error.h"

#define KEYBOARD_DATA 0x60
#define KEYBOARD_COMMAND 0x64
#define CMOS_INDEX 0x70
#define CMOS_DATA 0x71
#define SYSTEM_CONTROL 0x92
#define PCI_ADDRESS 0xcf8
#define RESET_CONTROL 0xcf9

#define READ_OUTPUT_PORT 0xd0
#define PULSE_RESET 0xfe
#define OUTPUT_PORT 0x03 /* A20 open, no reset */
#define CMOS_STATUS_A 0x0a
#define CMOS_STATUS_B 0x0b

struct Ports {
    Serial *serial;
    _Atomic uint8_t keyboard_command, cmos_index;
};

Ports *ports_new(Serial *serial)
{
    Ports *ports = g_new0(Ports, 1);

    ports->serial = serial;
    return ports;
}

static gboolean is_serial(uint16_t port) { return port >= SERIAL_PORT && port < SERIAL_PORT + 8; }

static gboolean write_byte(Ports *ports, uint16_t port, uint8_t value)
{
    if (is_serial(port)) {
        serial_write(ports->serial, port, value);
        return TRUE;
    }
    switch (port) {
    case KEYBOARD_COMMAND:
        ports->keyboard_command = value;
        return value != PULSE_RESET;
    case CMOS_INDEX:
        ports->cmos_index = value & 0x7f;
        return TRUE;
    case SYSTEM_CONTROL:
        return (value & 1) == 0;
    case RESET_CONTROL:
        return (value & 4) == 0;
    default:
        return TRUE;
    }
}

static uint8_t cmos_value(uint8_t index)
{
    switch (index) {
    case CMOS_STATUS_A:
        return 0x26; /* no update in progress */
    case CMOS_STATUS_B:
        return 0x02; /* 24 hours, BCD */
    default:
        return 0;
    }
}

static uint8_t read_byte(Ports *ports, uint16_t port)
{
    if (is_serial(port)) {
        return serial_read(ports->serial, port);
    }
    switch (port) {
    case KEYBOARD_DATA:
        return atomic_exchange(&ports->keyboard_command, 0) == READ_OUTPUT_PORT ? OUTPUT_PORT : 0;
    case KEYBOARD_COMMAND: /* never busy; data only where a command asked for some */
        return ports->keyboard_command == READ_OUTPUT_PORT ? 0x1d : 0x1c;
    case CMOS_INDEX:
        return ports->cmos_index;
    case CMOS_DATA:
        return cmos_value(ports->cmos_index);
    case SYSTEM_CONTROL:
        return 0x02;
    default:
        return 0xff;
    }
}

gboolean ports_write(Ports *ports, uint16_t port, unsigned size, uint32_t value)
{
    if (port == PCI_ADDRESS && size == 4) {
        return TRUE; /* its second byte is not the reset control */
    }
    for (unsigned i = 0; i < size; i++) {
        if (!write_byte(ports, (uint16_t)(port + i), (uint8_t)(value >> (8 * i)))) {
            return FALSE;
        }
    }
    return TRUE;
}

uint32_t ports_read(Ports *ports, uint16_t port, unsigned size)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < size; i++) {
        value |= (uint32_t)read_byte(ports, (uint16_t)(port + i)) << (8 * i);
    }
    return value;
}

gboolean ports_save(void *self, GByteArray *body, GError **error)
{
    Ports *ports = self;
    const uint8_t bytes[] = {ports->keyboard_command, ports->cmos_index};

    (void)error;
    g_byte_array_append(body, bytes, sizeof bytes);
    return TRUE;
}

gboolean ports_load(void *self, const uint8_t *body, size_t length, uint32_t version,
                    GError **error)
{
    Ports *ports = self;

    (void)version; /* there is one so far */
    if (length != 2 || body[1] > 0x7f) {
        g_set_error(error, VM_ERROR, VM_ERROR_STATE, "not two bytes, or no such CMOS index");
        return FALSE;
    }
    ports->keyboard_command = body[0];
    ports->cmos_index = body[1];
    return TRUE;
}

void ports_free(Ports *ports) { g_free(ports); }
