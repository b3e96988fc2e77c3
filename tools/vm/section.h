/* The bytes of a device section: big-endian numbers, and parts, each a big-endian 32-bit length and
 * as many bytes. A part that holds a struct of <linux/kvm.h> is that struct as x86 lays it out
 * (little-endian, and frozen, since it is the kernel's interface). */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

void section_put32(GByteArray *body, uint32_t value);
void section_put64(GByteArray *body, uint64_t value);
void section_put_part(GByteArray *body, const void *bytes, size_t length);

/* Reads what another machine wrote; never past the end. Borrows the bytes. */
typedef struct {
    const uint8_t *at;
    size_t left;
} SectionReader;
/* VM_ERROR_STATE names @what. */
gboolean section_get32(SectionReader *reader, const char *what, uint32_t *out, GError **error);
gboolean section_get64(SectionReader *reader, const char *what, uint64_t *out, GError **error);
/* Exactly @length bytes. */
gboolean section_get_part(SectionReader *reader, const char *what, void *out, size_t length,
                          GError **error);
/* Between @minimum and @maximum bytes; @out has room for the maximum, *out_length says how many. */
gboolean section_get_part_up_to(SectionReader *reader, const char *what, void *out, size_t minimum,
                                size_t maximum, size_t *out_length, GError **error);
/* Nothing may follow. */
gboolean section_end(const SectionReader *reader, GError **error);

G_END_DECLS
