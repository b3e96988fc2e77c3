#include "tools/vm/options.h"
#include <string.h>
#include "tools/vm/error.h"
#include "tools/vm/size.h"

#define MIN_RAM (UINT64_C(1) << 20)
#define MAX_RAM (UINT64_C(512) << 30)
#define MAX_RING_ENTRIES 65536

typedef gboolean (*Handler)(Options *o, const char *value, GError **error);

G_GNUC_PRINTF(2, 3) static gboolean wrong(GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    if (error != NULL) {
        *error = g_error_new_valist(VM_ERROR, VM_ERROR_USAGE, format, args);
    }
    va_end(args);
    return FALSE;
}

static void replace(char **field, const char *value)
{
    g_free(*field);
    *field = g_strdup(value);
}

static gboolean set_help(Options *o, const char *value, GError **error)
{
    (void)value, (void)error;
    o->help = TRUE;
    return TRUE;
}

static gboolean set_version(Options *o, const char *value, GError **error)
{
    (void)value, (void)error;
    o->version = TRUE;
    return TRUE;
}

static gboolean set_memory(Options *o, const char *value, GError **error)
{
    const char *size = g_str_has_prefix(value, "size=") ? value + 5 : value;
    uint64_t bytes;

    if (!size_parse(size, 1 << 20, &bytes)) {
        return wrong(error, "'%s' is no size (N in MiB, or with a suffix K M G)", value);
    }
    if (bytes < MIN_RAM || bytes > MAX_RAM || bytes % 4096 != 0) {
        return wrong(error, "'%s': RAM is 1M to 512G, in whole pages of 4K", value);
    }
    o->ram_bytes = bytes;
    return TRUE;
}

static gboolean set_smp(Options *o, const char *value, GError **error)
{
    const char *count = g_str_has_prefix(value, "cpus=") ? value + 5 : value;
    uint64_t n;

    if (!number_parse(count, 1, WORKLOAD_MAX_VCPUS, &n)) {
        return wrong(error, "'%s': there can be 1 to %d vCPUs", value, WORKLOAD_MAX_VCPUS);
    }
    o->n_vcpus = (unsigned)n;
    return TRUE;
}

static gboolean set_ring(Options *o, const char *value, GError **error)
{
    uint64_t n;

    if (!number_parse(value, 0, MAX_RING_ENTRIES, &n) || (n & (n - 1)) != 0 ||
        (n != 0 && n < 1024)) {
        return wrong(error, "dirty-ring-size=%s: 0, or a power of two from 1024 to %d", value,
                     MAX_RING_ENTRIES);
    }
    o->dirty_ring_entries = (uint32_t)n;
    return TRUE;
}

static gboolean set_accel(Options *o, const char *value, GError **error)
{
    g_auto(GStrv) words = g_strsplit(value, ",", -1);
    const char *name = words[0] == NULL ? "" : words[0];

    name = g_str_has_prefix(name, "accel=") ? name + 6 : name;
    o->dirty_ring_entries = 0;
    if (g_str_equal(name, "kvm")) {
        o->accel = ACCEL_KVM;
    } else if (g_str_equal(name, "process")) {
        o->accel = ACCEL_PROCESS;
    } else {
        return wrong(error, "'%s' is not offered (known: kvm, process)", name);
    }
    for (char **word = words[0] == NULL ? words : words + 1; *word != NULL; word++) {
        if (o->accel != ACCEL_KVM || !g_str_has_prefix(*word, "dirty-ring-size=")) {
            return wrong(error, "unknown key '%s'", *word);
        }
        if (!set_ring(o, strchr(*word, '=') + 1, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean set_enable_kvm(Options *o, const char *value, GError **error)
{
    (void)value;
    return set_accel(o, "kvm", error);
}

static gboolean set_machine(Options *o, const char *value, GError **error)
{
    g_auto(GStrv) words = g_strsplit(value, ",", -1);

    for (char **word = words; *word != NULL; word++) {
        const char *type = g_str_has_prefix(*word, "type=") ? *word + 5 : *word;
        if (g_str_has_prefix(*word, "accel=")) {
            if (!set_accel(o, *word + 6, error)) {
                return FALSE;
            }
        } else if (word != words || *type == '\0' || strchr(type, '=') != NULL) {
            return wrong(error, "'%s' is not offered (known: a type's name, accel=)", *word);
        } else if (strlen(type) > 255) {
            return wrong(error, "a type's name has at most 255 bytes");
        } else {
            replace(&o->machine, type);
        }
    }
    return TRUE;
}

static gboolean set_serial(Options *o, const char *value, GError **error)
{
    if (g_str_has_prefix(value, "file:") && value[5] != '\0') {
        o->serial = SERIAL_FILE;
        replace(&o->serial_path, value + 5);
    } else if (g_str_equal(value, "stdio")) {
        o->serial = SERIAL_STDIO;
    } else if (g_str_equal(value, "none") || g_str_equal(value, "null")) {
        o->serial = SERIAL_NONE;
    } else {
        return wrong(error, "'%s' is not offered (known: file:PATH, stdio, none)", value);
    }
    return TRUE;
}

static gboolean is_word(const char *word, const char *name, const char *value)
{
    g_autofree char *with = g_strdup_printf("%s=%s", name, value);

    return g_str_equal(word, with);
}

/* unix:PATH and, in any order, server=on (or server) and wait=off (or nowait). */
static gboolean set_qmp(Options *o, const char *value, GError **error)
{
    g_auto(GStrv) words = g_strsplit(value, ",", -1);
    gboolean server = FALSE, no_wait = FALSE;

    if (words[0] == NULL || !g_str_has_prefix(words[0], "unix:") || words[0][5] == '\0') {
        return wrong(error, "'%s' is not offered (known: unix:PATH,server=on,wait=off)", value);
    }
    for (char **word = words + 1; *word != NULL; word++) {
        if (g_str_equal(*word, "server") || is_word(*word, "server", "on")) {
            server = TRUE;
        } else if (g_str_equal(*word, "nowait") || is_word(*word, "wait", "off")) {
            no_wait = TRUE;
        } else if (g_str_equal(*word, "wait") || is_word(*word, "wait", "on")) {
            return wrong(error, "wait=on is not offered: say wait=off");
        } else {
            return wrong(error, "'%s' is not offered (known: server=on, wait=off)", *word);
        }
    }
    if (!server || !no_wait) {
        return wrong(error, "%s is not offered: say %s", server ? "wait=on" : "server=off",
                     server ? "wait=off" : "server=on");
    }
    replace(&o->qmp_path, words[0] + 5);
    return TRUE;
}

static gboolean set_incoming(Options *o, const char *value, GError **error)
{
    (void)error; /* the URI is judged by those who open it */
    replace(&o->incoming, value);
    return TRUE;
}

static gboolean set_paused(Options *o, const char *value, GError **error)
{
    (void)value, (void)error;
    o->start_paused = TRUE;
    return TRUE;
}

static gboolean set_mem_path(Options *o, const char *value, GError **error)
{
    (void)error;
    replace(&o->mem_path, value);
    return TRUE;
}

static gboolean set_boot_sector(Options *o, const char *value, GError **error)
{
    (void)error;
    replace(&o->boot_sector, value);
    return TRUE;
}

static gboolean set_workload(Options *o, const char *value, GError **error)
{
    o->has_workload = TRUE;
    replace(&o->workload_text, value);
    return workload_parse(value, &o->workload, error);
}

static gboolean accept_none(Options *o, const char *value, GError **error)
{
    (void)o;
    if (!g_str_equal(value, "none")) {
        return wrong(error, "'%s' is not offered (known: none)", value);
    }
    return TRUE;
}

static gboolean accept_cpu(Options *o, const char *value, GError **error)
{
    (void)o;
    if (!g_str_equal(value, "host") && !g_str_equal(value, "max")) {
        return wrong(error, "'%s' is not offered (known: host, max)", value);
    }
    return TRUE;
}

static gboolean set_uuid(Options *o, const char *value, GError **error)
{
    unsigned n = 0;

    if (!g_uuid_string_is_valid(value)) {
        return wrong(error, "'%s' is no UUID", value);
    }
    for (const char *at = value; n < sizeof o->uuid; at += 2, n++) {
        at += *at == '-';
        o->uuid[n] = (uint8_t)(g_ascii_xdigit_value(at[0]) << 4 | g_ascii_xdigit_value(at[1]));
    }
    o->has_uuid = TRUE;
    return TRUE;
}

static gboolean accept(Options *o, const char *value, GError **error)
{
    (void)o, (void)value, (void)error;
    return TRUE;
}

static gboolean set_nographic(Options *o, const char *value, GError **error)
{
    (void)value, (void)error;
    if (o->serial == SERIAL_UNSET) {
        o->serial = SERIAL_STDIO;
    }
    return TRUE;
}

static const struct {
    const char *name;
    gboolean has_value;
    Handler handler;
} known[] = {
    {"h",              FALSE, set_help       },
    {"help",           FALSE, set_help       },
    {"version",        FALSE, set_version    },
    {"m",              TRUE,  set_memory     },
    {"smp",            TRUE,  set_smp        },
    {"accel",          TRUE,  set_accel      },
    {"enable-kvm",     FALSE, set_enable_kvm },
    {"machine",        TRUE,  set_machine    },
    {"M",              TRUE,  set_machine    },
    {"serial",         TRUE,  set_serial     },
    {"qmp",            TRUE,  set_qmp        },
    {"incoming",       TRUE,  set_incoming   },
    {"S",              FALSE, set_paused     },
    {"mem-path",       TRUE,  set_mem_path   },
    {"boot-sector",    TRUE,  set_boot_sector},
    {"workload",       TRUE,  set_workload   },
    {"nographic",      FALSE, set_nographic  },
    {"display",        TRUE,  accept_none    },
    {"vga",            TRUE,  accept_none    },
    {"net",            TRUE,  accept_none    },
    {"nic",            TRUE,  accept_none    },
    {"monitor",        TRUE,  accept_none    },
    {"parallel",       TRUE,  accept_none    },
    {"cpu",            TRUE,  accept_cpu     },
    {"uuid",           TRUE,  set_uuid       },
    {"name",           TRUE,  accept         },
    {"nodefaults",     FALSE, accept         },
    {"no-user-config", FALSE, accept         },
};

static gboolean parse_one(Options *o, int argc, char *const *argv, int *i, GError **error)
{
    const char *argument = argv[*i];
    const char *name = argument[0] != '-' ? NULL : argument + (argument[1] == '-' ? 2 : 1);

    for (size_t k = 0; name != NULL && k < G_N_ELEMENTS(known); k++) {
        if (!g_str_equal(name, known[k].name)) {
            continue;
        }
        if (known[k].has_value && ++*i >= argc) {
            return wrong(error, "%s: a value is missing", argument);
        }
        if (!known[k].handler(o, known[k].has_value ? argv[*i] : NULL, error)) {
            g_prefix_error(error, "%s: ", argument);
            return FALSE;
        }
        return TRUE;
    }
    return wrong(error, "%s: unknown option (-help lists all)", argument);
}

/* What no single option can say. */
static gboolean check_whole(const Options *o, GError **error)
{
    if (o->boot_sector != NULL && o->has_workload) {
        return wrong(error, "-boot-sector and -workload: one of them can run");
    }
    if (o->boot_sector != NULL && o->accel == ACCEL_PROCESS) {
        return wrong(error, "-boot-sector needs -accel kvm: a process runs only -workload");
    }
    if (o->boot_sector == NULL && !o->has_workload && o->incoming == NULL) {
        return wrong(error, "nothing to run: say -workload, -boot-sector or -incoming");
    }
    return TRUE;
}

gboolean options_parse(int argc, char *const *argv, Options *out, GError **error)
{
    g_auto(Options) o = {.ram_bytes = 128u << 20, .n_vcpus = 1};

    o.machine = g_strdup("ferry-vm");
    for (int i = 1; i < argc; i++) {
        if (!parse_one(&o, argc, argv, &i, error)) {
            return FALSE;
        }
    }
    if (!o.help && !o.version && !check_whole(&o, error)) {
        return FALSE;
    }
    *out = o;
    o = (Options){0};
    return TRUE;
}

void options_clear(Options *o)
{
    g_free(o->machine);
    g_free(o->serial_path);
    g_free(o->mem_path);
    g_free(o->boot_sector);
    g_free(o->qmp_path);
    g_free(o->incoming);
    g_free(o->workload_text);
    *o = (Options){0};
}

const char *accel_name(uint32_t accel)
{
    return accel == ACCEL_KVM ? "kvm" : accel == ACCEL_PROCESS ? "process" : "unknown";
}
