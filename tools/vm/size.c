#include "tools/vm/size.h"
#include <string.h>

gboolean size_parse(const char *text, uint64_t unit, uint64_t *out_bytes)
{
    static const char suffixes[] = "BKMGT";
    char *end = NULL;
    uint64_t number;
    const char *suffix;

    if (!g_ascii_isdigit(text[0])) {
        return FALSE;
    }
    number = g_ascii_strtoull(text, &end, 10);
    if (*end != '\0') {
        suffix = strchr(suffixes, g_ascii_toupper(*end));
        if (suffix == NULL || end[1] != '\0') {
            return FALSE;
        }
        unit = UINT64_C(1) << (10 * (suffix - suffixes));
    }
    if (number > (uint64_t)INT64_MAX / unit) {
        return FALSE;
    }
    *out_bytes = number * unit;
    return TRUE;
}

gboolean number_parse(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *out)
{
    guint64 number;

    if (!g_ascii_string_to_unsigned(text, 10, minimum, maximum, &number, NULL)) {
        return FALSE;
    }
    *out = number;
    return TRUE;
}
