#include "tools/vm/serial.h"
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "tools/vm/error.h"

enum { THR = 0, IER, FCR, LCR, MCR, LSR, MSR, SCR };
#define LCR_DIVISOR_LATCH 0x80
#define MCR_LOOP 0x10
#define LSR_TRANSMITTER_EMPTY 0x60
#define MSR_CARRIER 0xb0 /* carrier, ready, clear to send */

typedef struct {
    uint8_t ier, lcr, mcr, scr, dll, dlm, fcr;
} Registers;

struct Serial {
    GMutex lock;
    Registers registers;
    int fd;
};

Serial *serial_new(int fd)
{
    Serial *serial = g_new0(Serial, 1);

    g_mutex_init(&serial->lock);
    serial->fd = fd;
    serial->registers = (Registers){.dll = 12, .mcr = 0x08};
    return serial;
}

static void transmit(Serial *serial, uint8_t byte)
{
    ssize_t written;

    if (serial->fd < 0) {
        return;
    }
    do {
        written = write(serial->fd, &byte, 1);
    } while (written < 0 && errno == EINTR);
    if (written != 1) {
        g_printerr("ferry-vm: serial output ends here: %s\n", g_strerror(errno));
        close(serial->fd);
        serial->fd = -1;
    }
}

void serial_write(Serial *serial, uint16_t port, uint8_t value)
{
    Registers *r = &serial->registers;
    gboolean latch;

    g_mutex_lock(&serial->lock);
    latch = (r->lcr & LCR_DIVISOR_LATCH) != 0;
    switch (port - SERIAL_PORT) {
    case THR:
        if (latch) {
            r->dll = value;
        } else if (!(r->mcr & MCR_LOOP)) {
            transmit(serial, value);
        }
        break;
    case IER:
        if (latch) {
            r->dlm = value;
        } else {
            r->ier = value & 0x0f;
        }
        break;
    case FCR:
        r->fcr = value & 0xc9;
        break;
    case LCR:
        r->lcr = value;
        break;
    case MCR:
        r->mcr = value & 0x1f;
        break;
    case SCR:
        r->scr = value;
        break;
    default: /* LSR and MSR are read-only */
        break;
    }
    g_mutex_unlock(&serial->lock);
}

static uint8_t register_value(const Registers *r, unsigned offset)
{
    gboolean latch = (r->lcr & LCR_DIVISOR_LATCH) != 0;

    switch (offset) {
    case THR:
        return latch ? r->dll : 0;
    case IER:
        return latch ? r->dlm : r->ier;
    case FCR: /* reads as IIR: no interrupt pending, and whether FIFOs are on */
        return 0x01 | (r->fcr & 1 ? 0xc0 : 0);
    case LCR:
        return r->lcr;
    case MCR:
        return r->mcr;
    case LSR:
        return LSR_TRANSMITTER_EMPTY;
    case MSR:
        return MSR_CARRIER;
    default:
        return r->scr;
    }
}

uint8_t serial_read(Serial *serial, uint16_t port)
{
    uint8_t value;

    g_mutex_lock(&serial->lock);
    value = register_value(&serial->registers, port - SERIAL_PORT);
    g_mutex_unlock(&serial->lock);
    return value;
}

gboolean serial_save(void *self, GByteArray *body, GError **error)
{
    Serial *serial = self;

    (void)error;
    g_mutex_lock(&serial->lock);
    g_byte_array_append(body, (const uint8_t *)&serial->registers, sizeof serial->registers);
    g_mutex_unlock(&serial->lock);
    return TRUE;
}

gboolean serial_load(void *self, const uint8_t *body, size_t length, uint32_t version,
                     GError **error)
{
    Serial *serial = self;
    Registers r;

    (void)version; /* there is one so far */
    if (length != sizeof r) {
        g_set_error(error, VM_ERROR, VM_ERROR_STATE, "%zu bytes, not %zu", length, sizeof r);
        return FALSE;
    }
    memcpy(&r, body, sizeof r);
    if ((r.ier & ~0x0f) != 0 || (r.mcr & ~0x1f) != 0 || (r.fcr & ~0xc9) != 0) {
        g_set_error(error, VM_ERROR, VM_ERROR_STATE, "a register has bits that do not exist");
        return FALSE;
    }
    g_mutex_lock(&serial->lock);
    serial->registers = r;
    g_mutex_unlock(&serial->lock);
    return TRUE;
}

void serial_free(Serial *serial)
{
    if (serial == NULL) {
        return;
    }
    if (serial->fd >= 0) {
        close(serial->fd);
    }
    g_mutex_clear(&serial->lock);
    g_free(serial);
}
