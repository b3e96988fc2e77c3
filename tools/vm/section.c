#include "tools/vm/section.h"
#include <string.h>
#include "tools/vm/error.h"

void section_put32(GByteArray *body, uint32_t value)
{
    uint32_t be = GUINT32_TO_BE(value);

    g_byte_array_append(body, (const uint8_t *)&be, sizeof be);
}

void section_put64(GByteArray *body, uint64_t value)
{
    uint64_t be = GUINT64_TO_BE(value);

    g_byte_array_append(body, (const uint8_t *)&be, sizeof be);
}

void section_put_part(GByteArray *body, const void *bytes, size_t length)
{
    section_put32(body, (uint32_t)length);
    g_byte_array_append(body, bytes, (guint)length);
}

static gboolean take(SectionReader *reader, const char *what, void *out, size_t length,
                     GError **error)
{
    if (reader->left < length) {
        g_set_error(error, VM_ERROR, VM_ERROR_STATE, "%s: %zu bytes wanted, %zu left", what, length,
                    reader->left);
        return FALSE;
    }
    memcpy(out, reader->at, length);
    reader->at += length;
    reader->left -= length;
    return TRUE;
}

gboolean section_get32(SectionReader *reader, const char *what, uint32_t *out, GError **error)
{
    uint32_t be;

    if (!take(reader, what, &be, sizeof be, error)) {
        return FALSE;
    }
    *out = GUINT32_FROM_BE(be);
    return TRUE;
}

gboolean section_get64(SectionReader *reader, const char *what, uint64_t *out, GError **error)
{
    uint64_t be;

    if (!take(reader, what, &be, sizeof be, error)) {
        return FALSE;
    }
    *out = GUINT64_FROM_BE(be);
    return TRUE;
}

gboolean section_get_part(SectionReader *reader, const char *what, void *out, size_t length,
                          GError **error)
{
    return section_get_part_up_to(reader, what, out, length, length, NULL, error);
}

gboolean section_get_part_up_to(SectionReader *reader, const char *what, void *out, size_t minimum,
                                size_t maximum, size_t *out_length, GError **error)
{
    uint32_t length;

    if (!section_get32(reader, what, &length, error)) {
        return FALSE;
    }
    if (length < minimum || length > maximum) {
        g_set_error(error, VM_ERROR, VM_ERROR_STATE, "%s: %u bytes, not %zu to %zu", what, length,
                    minimum, maximum);
        return FALSE;
    }
    if (!take(reader, what, out, length, error)) {
        return FALSE;
    }
    if (out_length != NULL) {
        *out_length = length;
    }
    return TRUE;
}

gboolean section_end(const SectionReader *reader, GError **error)
{
    if (reader->left != 0) {
        g_set_error(error, VM_ERROR, VM_ERROR_STATE, "%zu bytes too many", reader->left);
        return FALSE;
    }
    return TRUE;
}
