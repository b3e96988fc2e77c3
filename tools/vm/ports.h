/* The I/O ports of the machine, seen from a vCPU. Interrupt controllers and timers are the
 * kernel's; COM1 is serial.h; the rest answers so that a PC boot sector finds A20 open whichever
 * way it opens it, and nothing else there. No port writes guest memory. Any thread. */
#pragma once
#include <glib.h>
#include "tools/vm/serial.h"

G_BEGIN_DECLS

typedef struct Ports Ports;
/* Borrows @serial. */
Ports *ports_new(Serial *serial);
/* FALSE: the write resets the machine. @size: 1, 2 or 4 bytes. */
gboolean ports_write(Ports *ports, uint16_t port, unsigned size, uint32_t value);
uint32_t ports_read(Ports *ports, uint16_t port, unsigned size);
/* Device "ports", version 1: last command of the keyboard controller, CMOS index, a byte each. */
gboolean ports_save(void *self, GByteArray *body, GError **error);
gboolean ports_load(void *self, const uint8_t *body, size_t length, uint32_t version,
                    GError **error);
void ports_free(Ports *ports);

G_END_DECLS
