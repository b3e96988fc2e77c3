/* COM1, as much of a 16550 as output needs. What the guest writes is in the file before the vCPU
 * goes on, so nothing is pending at a handover. Any thread. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

#define SERIAL_PORT 0x3f8u

typedef struct Serial Serial;
/* Takes @fd; -1: output goes nowhere. */
Serial *serial_new(int fd);
void serial_write(Serial *serial, uint16_t port, uint8_t value);
uint8_t serial_read(Serial *serial, uint16_t port);
/* Device "serial", version 1: the registers IER LCR MCR SCR DLL DLM FCR, a byte each. */
gboolean serial_save(void *self, GByteArray *body, GError **error);
gboolean serial_load(void *self, const uint8_t *body, size_t length, uint32_t version,
                     GError **error);
void serial_free(Serial *serial);

G_END_DECLS
