#include "tools/format.h"

#include <errno.h>
#include <math.h>
#include <string.h>

typedef struct {
    const char *suffix;
    uint64_t unit, per; /* the number is multiplied by unit / per */
} Suffix;

/* Bits are counted in eighths of a byte. */
static const Suffix sizes[] = {
    {"",    1,          1},
    {"B",   1,          1},
    {"K",   1u << 10,   1},
    {"KiB", 1u << 10,   1},
    {"M",   1u << 20,   1},
    {"MiB", 1u << 20,   1},
    {"G",   1u << 30,   1},
    {"GiB", 1u << 30,   1},
    {"T",   1ull << 40, 1},
    {"TiB", 1ull << 40, 1},
};
static const Suffix bits[] = {
    {"bit/s",  1,          8},
    {"kbit/s", 1000,       8},
    {"Mbit/s", 1000000,    8},
    {"Gbit/s", 1000000000, 8},
};
static const Suffix times[] = {
    {"",   1,    1},
    {"ms", 1,    1},
    {"s",  1000, 1},
};
static const Suffix fine_times[] = {
    {"ns",  1,           1},
    {"us",  1000,        1},
    {"ms",  1000000,     1},
    {"s",   1000000000,  1},
    {"min", 60000000000, 1},
};

static const Suffix *find(const Suffix *table, size_t n, const char *suffix, size_t length)
{
    for (size_t i = 0; i < n; i++) {
        if (strlen(table[i].suffix) == length &&
            g_ascii_strncasecmp(table[i].suffix, suffix, length) == 0) {
            return &table[i];
        }
    }
    return NULL;
}

/* Splits @text into a number and a suffix; FALSE when it does not begin with a digit. */
static gboolean split(const char *text, uint64_t *out_whole, double *out_fraction,
                      const char **out_suffix)
{
    char *end;
    guint64 whole;

    if (!g_ascii_isdigit(text[0])) {
        return FALSE;
    }
    errno = 0;
    whole = g_ascii_strtoull(text, &end, 10);
    if (errno == ERANGE) {
        return FALSE;
    }
    *out_fraction = 0;
    if (*end == '.') {
        double scale = 0.1;
        if (!g_ascii_isdigit(end[1])) {
            return FALSE;
        }
        for (end++; g_ascii_isdigit(*end); end++, scale /= 10) {
            *out_fraction += scale * (*end - '0');
        }
    }
    *out_whole = whole;
    *out_suffix = end;
    return TRUE;
}

static gboolean scale(uint64_t whole, double fraction, const Suffix *s, uint64_t *out)
{
    uint64_t product, rest;

    if (__builtin_mul_overflow(whole, s->unit, &product)) {
        return FALSE;
    }
    rest = (uint64_t)floor(fraction * (double)s->unit + 1e-6);
    if (__builtin_add_overflow(product, rest, &product) || product / s->per > G_MAXINT64) {
        return FALSE;
    }
    *out = product / s->per;
    return TRUE;
}

static gboolean refuse(const char *text, const char *forms, GError **error)
{
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "'%s' is not %s", text, forms);
    return FALSE;
}

static gboolean parse(const char *text, const Suffix *table, size_t n, const char *forms,
                      uint64_t *out, GError **error)
{
    uint64_t whole;
    double fraction;
    const char *suffix;
    const Suffix *s;

    if (!split(text, &whole, &fraction, &suffix)) {
        return refuse(text, forms, error);
    }
    s = find(table, n, suffix, strlen(suffix));
    if (!s || (fraction > 0 && *suffix == 0)) {
        return refuse(text, forms, error);
    }
    if (!scale(whole, fraction, s, out)) {
        return refuse(text, "a number that fits in 63 bits", error);
    }
    return TRUE;
}

gboolean ferry_parse_size(const char *text, uint64_t *out_bytes, GError **error)
{
    return parse(text, sizes, G_N_ELEMENTS(sizes), "a size (4096, 512M, 512MiB, 1.5G)", out_bytes,
                 error);
}

gboolean ferry_parse_rate(const char *text, uint64_t *out_bytes_per_second, GError **error)
{
    static const char forms[] = "a rate (500M, 500MiB/s, 800Mbit/s, 1Gbit/s)";
    g_autofree char *size = NULL;

    if (g_str_has_suffix(text, "bit/s")) {
        return parse(text, bits, G_N_ELEMENTS(bits), forms, out_bytes_per_second, error);
    }
    size = g_str_has_suffix(text, "/s") ? g_strndup(text, strlen(text) - 2) : g_strdup(text);
    return parse(size, sizes, G_N_ELEMENTS(sizes), forms, out_bytes_per_second, error);
}

gboolean ferry_parse_ms(const char *text, uint64_t *out_ms, GError **error)
{
    return parse(text, times, G_N_ELEMENTS(times), "a time (300, 300ms, 1.5s)", out_ms, error);
}

gboolean ferry_parse_ns(const char *text, uint64_t *out_ns, GError **error)
{
    g_autofree char *with_unit =
        *text && g_ascii_isdigit(text[strlen(text) - 1]) ? g_strconcat(text, "ms", NULL) : NULL;

    return parse(with_unit ? with_unit : text, fine_times, G_N_ELEMENTS(fine_times),
                 "a time (300, 0.2, 300ms, 200us, 1.5s, 10min)", out_ns, error);
}

char *ferry_format_bytes(uint64_t bytes)
{
    static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes / 1024;
    size_t i = 0;

    if (bytes < 1024) {
        return g_strdup_printf("%u B", (unsigned)bytes);
    }
    for (; value >= 1023.95 && i + 1 < G_N_ELEMENTS(units); i++) {
        value /= 1024;
    }
    return g_strdup_printf("%.1f %s", value, units[i]);
}

char *ferry_format_rate(uint64_t bytes_per_second)
{
    g_autofree char *bytes = ferry_format_bytes(bytes_per_second);

    return g_strdup_printf("%s/s", bytes);
}

char *ferry_format_bandwidth_words(uint64_t bytes_per_second)
{
    g_autofree char *rate = ferry_format_rate(bytes_per_second);

    return g_strdup_printf("%s (%.0f Mbit/s)", rate, (double)bytes_per_second * 8 / 1e6);
}

char *ferry_format_ms(double ms)
{
    return ms < 1000 ? g_strdup_printf("%.1f ms", ms) : g_strdup_printf("%.2f s", ms / 1000);
}
