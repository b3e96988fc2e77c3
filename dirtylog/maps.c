#include "dirtylog/maps.h"

#include <string.h>

static gboolean hex(const char **at, char end, uint64_t *out)
{
    const char *begin = *at;
    uint64_t value = 0;

    for (; g_ascii_isxdigit(**at); (*at)++) {
        if (value >> 60) {
            return FALSE;
        }
        value = value << 4 | (uint64_t)g_ascii_xdigit_value(**at);
    }
    if (*at == begin || **at != end) {
        return FALSE;
    }
    (*at)++;
    *out = value;
    return TRUE;
}

/* Offset, device and inode, which are between permissions and name. */
static const char *skip_fields(const char *at, const char *end)
{
    for (unsigned field = 0; field < 3; field++) {
        while (at < end && *at == ' ') {
            at++;
        }
        while (at < end && *at != ' ') {
            at++;
        }
    }
    while (at < end && *at == ' ') {
        at++;
    }
    return at;
}

gboolean ferry_maps_next(const char **at, FerryMapping *out)
{
    const char *p = *at, *end = strchr(p, '\n');
    FerryMapping m = {0};

    if (!end || !hex(&p, '-', &m.start) || !hex(&p, ' ', &m.end) || m.start >= m.end ||
        end - p < 4) {
        return FALSE;
    }
    m.writable = p[1] == 'w';
    m.executable = p[2] == 'x';
    m.shared = p[3] == 's';
    m.name = skip_fields(p + 4, end);
    m.name_bytes = (gsize)(end - m.name);
    *out = m;
    *at = end + 1;
    return TRUE;
}

static gboolean begins(const FerryMapping *m, const char *with)
{
    return m->name_bytes >= strlen(with) && memcmp(m->name, with, strlen(with)) == 0;
}

gboolean ferry_maps_is_memory(const FerryMapping *m)
{
    static const char *const kernel[] = {"[vdso]", "[vvar", "[vsyscall]", "[uprobes]",
                                         "anon_inode:"};
    static const char *const devices[] = {"/dev/shm/", "/dev/zero", "/dev/hugepages"};

    if (!m->writable) {
        return FALSE;
    }
    for (gsize i = 0; i < G_N_ELEMENTS(kernel); i++) {
        if (begins(m, kernel[i])) {
            return FALSE;
        }
    }
    for (gsize i = 0; i < G_N_ELEMENTS(devices); i++) {
        if (begins(m, devices[i])) {
            return TRUE;
        }
    }
    return !begins(m, "/dev/");
}
