#include "engine/parameters.h"
#include <stddef.h>
#include <string.h>
#include "engine/compress.h"
#include "protocol/ram.h"

/* Who may set a parameter. */
typedef enum {
    LIMIT, /* at any time */
    BUILT, /* while no migration runs */
    FIXED, /* QEMU's, for something that is not built yet: listed, and only its default is taken */
    OLD,   /* as BUILT, and not listed: QEMU removed it in 9.1 */
    GONE,  /* as FIXED, and not listed: QEMU removed it in 9.1 */
} Kind;

/* One of the words that a TEXT may be; the field has its value. */
typedef struct {
    const char *word; /* NULL ends the list */
    uint64_t value;
    gboolean built;
} Choice;

typedef struct {
    const char *name;
    FerryParameterType type;
    Kind kind;
    uint64_t number, minimum, maximum; /* the default and its range */
    const char *text;                  /* the default of a TEXT */
    size_t field;                      /* in FerrySettings; LIMIT and BUILT only */
    const char *unit;
    const Choice *choices; /* NULL: any text */
} Spec;

#define FIELD(member) offsetof(FerrySettings, member)
#define TIMEOUT_MAX_MS (30ull * 86400 * 1000)
#define BYTES_MAX ((uint64_t)INT64_MAX /* what JSON carries */)
#define NUMBER(name, kind, default, minimum, maximum, member, unit)                                \
    {                                                                                              \
        name, FERRY_PARAMETER_NUMBER, kind, default, minimum, maximum, NULL, FIELD(member), unit,  \
            NULL                                                                                   \
    }
#define TEXT(name, kind, default, member)                                                          \
    {                                                                                              \
        name, FERRY_PARAMETER_TEXT, kind, 0, 0, 0, default, FIELD(member), NULL, NULL              \
    }
#define BOOL(name, kind, default, member)                                                          \
    {                                                                                              \
        name, FERRY_PARAMETER_BOOL, kind, default, FALSE, TRUE, NULL, FIELD(member), "", NULL      \
    }
#define FIXED_NUMBER(name, kind, default)                                                          \
    {                                                                                              \
        name, FERRY_PARAMETER_NUMBER, kind, default, default, default, NULL, 0, NULL, NULL         \
    }
#define FIXED_BOOL(name, kind, default)                                                            \
    {                                                                                              \
        name, FERRY_PARAMETER_BOOL, kind, default, default, default, NULL, 0, NULL, NULL           \
    }
#define FIXED_TEXT(name, default)                                                                  \
    {                                                                                              \
        name, FERRY_PARAMETER_TEXT, FIXED, 0, 0, 0, default, 0, NULL, NULL                         \
    }

#define CHOICE(name, kind, default, choices, member)                                               \
    {                                                                                              \
        name, FERRY_PARAMETER_TEXT, kind, default, 0, 0, NULL, FIELD(member), NULL, choices        \
    }

static const Choice compressions[] = {
    {"none",   FERRY_MULTIFD_NONE,   TRUE },
    {"zlib",   FERRY_MULTIFD_ZLIB,   TRUE },
    {"zstd",   FERRY_MULTIFD_ZSTD,   TRUE },
    {"qpl",    FERRY_MULTIFD_QPL,    FALSE},
    {"uadk",   FERRY_MULTIFD_UADK,   FALSE},
    {"qatzip", FERRY_MULTIFD_QATZIP, FALSE},
    {NULL,     0,                    FALSE},
};
static const Choice zero_pages[] = {
    {"none",    FERRY_ZERO_PAGES_NONE,    TRUE },
    {"legacy",  FERRY_ZERO_PAGES_LEGACY,  TRUE },
    {"multifd", FERRY_ZERO_PAGES_MULTIFD, TRUE },
    {NULL,      0,                        FALSE},
};
static const Choice on_stall[] = {
    {"wait",     FERRY_ON_STALL_WAIT,     TRUE },
    {"pause",    FERRY_ON_STALL_PAUSE,    TRUE },
    {"throttle", FERRY_ON_STALL_THROTTLE, TRUE },
    {"cancel",   FERRY_ON_STALL_CANCEL,   TRUE },
    {NULL,       0,                       FALSE},
};
static const Choice compression[] = {
    {"fixed",    FALSE, TRUE },
    {"adaptive", TRUE,  TRUE },
    {NULL,       0,     FALSE},
};
static const Choice on_timeout[] = {
    {"pause",  FERRY_ON_STALL_PAUSE,  TRUE },
    {"cancel", FERRY_ON_STALL_CANCEL, TRUE },
    {NULL,     0,                     FALSE},
};

static const Spec specs[] = {
    NUMBER("max-bandwidth", LIMIT, 128u << 20, 0, BYTES_MAX, max_bandwidth, "bytes/s"),
    NUMBER("downtime-limit", LIMIT, 300, 0, 2000000, downtime_limit_ms, "ms"),
    NUMBER("avail-switchover-bandwidth", LIMIT, 0, 0, BYTES_MAX, avail_switchover_bandwidth,
           "bytes/s"),
    NUMBER("throttle-trigger-threshold", LIMIT, 50, 1, 100, throttle_trigger_threshold, "%"),
    NUMBER("cpu-throttle-initial", LIMIT, 20, 1, 99, cpu_throttle_initial, "%"),
    NUMBER("cpu-throttle-increment", LIMIT, 10, 1, 99, cpu_throttle_increment, "%"),
    NUMBER("max-cpu-throttle", LIMIT, 99, 1, 99, max_cpu_throttle, "%"),
    TEXT("x-ferry-policy", LIMIT, "ferry", policy),
    CHOICE("x-ferry-on-stall", LIMIT, FERRY_ON_STALL_WAIT, on_stall, on_stall),
    NUMBER("x-ferry-timeout", LIMIT, 0, 0, TIMEOUT_MAX_MS, timeout_ms, "ms"),
    CHOICE("x-ferry-compression", BUILT, FALSE, compression, adaptive_compression),
    CHOICE("x-ferry-on-timeout", LIMIT, FERRY_ON_STALL_CANCEL, on_timeout, on_timeout),
    NUMBER("x-ferry-io-timeout-ms", BUILT, 10000, 100, 3600000, io_timeout_ms, "ms"),
    NUMBER("x-ferry-dirty-chunk", BUILT, 0, 0, 1u << 30, dirty_chunk_bytes, "bytes"),
    TEXT("x-ferry-record", BUILT, "", record),
    TEXT("x-ferry-fault", BUILT, "", fault),
    FIXED_NUMBER("announce-initial", FIXED, 50),
    FIXED_NUMBER("announce-max", FIXED, 550),
    FIXED_NUMBER("announce-rounds", FIXED, 5),
    FIXED_NUMBER("announce-step", FIXED, 100),
    BOOL("cpu-throttle-tailslow", LIMIT, FALSE, cpu_throttle_tailslow),
    NUMBER("multifd-channels", BUILT, 2, 1, FERRY_MULTIFD_CHANNELS_MAX, multifd_channels,
           "channels"),
    CHOICE("multifd-compression", BUILT, FERRY_MULTIFD_NONE, compressions, multifd_compression),
    NUMBER("multifd-zlib-level", BUILT, 1, 0, FERRY_ZLIB_LEVEL_MAX, multifd_zlib_level, "(level)"),
    NUMBER("multifd-zstd-level", BUILT, 1, 0, FERRY_ZSTD_LEVEL_MAX, multifd_zstd_level, "(level)"),
    CHOICE("zero-page-detection", BUILT, FERRY_ZERO_PAGES_MULTIFD, zero_pages, zero_pages),
    NUMBER("xbzrle-cache-size", BUILT, 64u << 20, FERRY_PAGE_SIZE, 1ull << 62, xbzrle_cache_size,
           "bytes"),
    FIXED_NUMBER("multifd-qatzip-level", FIXED, 1),
    FIXED_NUMBER("max-postcopy-bandwidth", FIXED, 0),
    FIXED_TEXT("tls-creds", ""),
    FIXED_TEXT("tls-hostname", ""),
    FIXED_TEXT("tls-authz", ""),
    FIXED_NUMBER("x-checkpoint-delay", FIXED, 20000),
    FIXED_NUMBER("x-vcpu-dirty-limit-period", FIXED, 1000),
    FIXED_NUMBER("vcpu-dirty-limit", FIXED, 1),
    FIXED_TEXT("mode", "normal"),
    FIXED_BOOL("direct-io", FIXED, FALSE),
    NUMBER("compress-level", OLD, 1, 0, FERRY_ZLIB_LEVEL_MAX, compress_level, "(level)"),
    FIXED_NUMBER("compress-threads", GONE, 8),
    FIXED_NUMBER("decompress-threads", GONE, 2),
    FIXED_BOOL("compress-wait-thread", GONE, TRUE),
    FIXED_BOOL("block-incremental", GONE, FALSE),
};

typedef struct {
    const char *name;
    gboolean built, on; /* the default */
    size_t field;
} Capability;

/* QEMU's default for return-path is off. Without it a source cannot know whether the destination
 * has the guest, so ours is on; off is honoured. */
static const Capability capabilities[] = {
    {"return-path",             TRUE,  TRUE,  FIELD(return_path)            },
    {"events",                  TRUE,  FALSE, FIELD(events)                 },
    {"auto-converge",           TRUE,  FALSE, FIELD(auto_converge)          },
    {"pause-before-switchover", TRUE,  FALSE, FIELD(pause_before_switchover)},
    {"x-ferry-verify",          TRUE,  FALSE, FIELD(verify)                 },
    {"multifd",                 TRUE,  FALSE, FIELD(multifd)                },
    {"xbzrle",                  TRUE,  FALSE, FIELD(xbzrle)                 },
    {"compress",                TRUE,  FALSE, FIELD(compress)               },
    {"postcopy-ram",            FALSE, FALSE, 0                             },
    {"postcopy-blocktime",      FALSE, FALSE, 0                             },
    {"postcopy-preempt",        FALSE, FALSE, 0                             },
    {"rdma-pin-all",            FALSE, FALSE, 0                             },
    {"mapped-ram",              TRUE,  FALSE, FIELD(mapped_ram)             },
    {"validate-uuid",           TRUE,  FALSE, FIELD(validate_uuid)          },
    {"switchover-ack",          TRUE,  FALSE, FIELD(switchover_ack)         },
    {"zero-copy-send",          FALSE, FALSE, 0                             },
    {"x-colo",                  FALSE, FALSE, 0                             },
    {"block",                   FALSE, FALSE, 0                             },
    {"dirty-bitmaps",           FALSE, FALSE, 0                             },
    {"background-snapshot",     FALSE, FALSE, 0                             },
    {"dirty-limit",             FALSE, FALSE, 0                             },
    {"late-block-activate",     FALSE, FALSE, 0                             },
    {"release-ram",             FALSE, FALSE, 0                             },
    {"x-ignore-shared",         FALSE, FALSE, 0                             },
    {"zero-blocks",             FALSE, FALSE, 0                             },
};

static uint64_t *number_of(const FerrySettings *settings, const Spec *spec)
{
    return (uint64_t *)((char *)settings + spec->field);
}

static char *text_of(const FerrySettings *settings, const Spec *spec)
{
    return (char *)settings + spec->field;
}

static gboolean has_field(const Spec *spec) { return spec->kind != FIXED && spec->kind != GONE; }

static gboolean is_free_text(const Spec *spec)
{
    return spec->type == FERRY_PARAMETER_TEXT && spec->choices == NULL;
}

static const Spec *find_spec(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(specs); i++) {
        if (strcmp(specs[i].name, name) == 0) {
            return &specs[i];
        }
    }
    return NULL;
}

void ferry_settings_init(FerrySettings *settings)
{
    memset(settings, 0, sizeof *settings);
    for (unsigned i = 0; i < G_N_ELEMENTS(specs); i++) {
        if (!has_field(&specs[i])) {
            continue;
        }
        if (is_free_text(&specs[i])) {
            g_strlcpy(text_of(settings, &specs[i]), specs[i].text, FERRY_SETTING_TEXT_MAX);
        } else {
            *number_of(settings, &specs[i]) = specs[i].number;
        }
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(capabilities); i++) {
        if (capabilities[i].built) {
            *(gboolean *)((char *)settings + capabilities[i].field) = capabilities[i].on;
        }
    }
}

void ferry_settings_get_limits(const FerrySettings *settings, FerryLimits *out_limits)
{
    const char *why;

    *out_limits = (FerryLimits){
        .max_bandwidth = settings->max_bandwidth,
        .downtime_limit_ns = settings->downtime_limit_ms * 1000000,
        .avail_switchover_bandwidth = settings->avail_switchover_bandwidth,
        .auto_converge = settings->auto_converge,
        .cpu_throttle_initial = (unsigned)settings->cpu_throttle_initial,
        .cpu_throttle_increment = (unsigned)settings->cpu_throttle_increment,
        .max_cpu_throttle = (unsigned)settings->max_cpu_throttle,
        .throttle_trigger_threshold = (unsigned)settings->throttle_trigger_threshold,
        .cpu_throttle_tailslow = settings->cpu_throttle_tailslow != 0,
        .on_stall = (FerryOnStall)settings->on_stall,
        .timeout = {.timeout_ns = settings->timeout_ms * 1000000,
                    .pause = settings->on_timeout == FERRY_ON_STALL_PAUSE},
    };
    (void)ferry_policy_parse(settings->policy, &out_limits->policy, &why); /* checked when set */
}

static gboolean refuse(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
static gboolean refuse(GError **error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    if (error != NULL) {
        *error =
            g_error_new_valist(FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED, format, arguments);
    }
    va_end(arguments);
    return FALSE;
}

gboolean ferry_settings_set_capability(FerrySettings *settings, const char *name, gboolean on,
                                       GError **error)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(capabilities); i++) {
        const Capability *c = &capabilities[i];
        if (strcmp(c->name, name) != 0) {
            continue;
        }
        if (!c->built) {
            return on ? refuse(error, "Capability '%s' is not built yet", name) : TRUE;
        }
        *(gboolean *)((char *)settings + c->field) = on != FALSE;
        if (c->field == FIELD(return_path)) {
            settings->return_path_asked = on != FALSE;
        }
        return TRUE;
    }
    return refuse(error, "Parameter 'capability' does not accept value '%s'", name);
}

gboolean ferry_settings_nth_capability(const FerrySettings *settings, unsigned index,
                                       const char **out_name, gboolean *out_on)
{
    if (index >= G_N_ELEMENTS(capabilities)) {
        return FALSE;
    }
    *out_name = capabilities[index].name;
    *out_on = capabilities[index].built &&
              *(const gboolean *)((const char *)settings + capabilities[index].field);
    return TRUE;
}

static gboolean check_text(const Spec *spec, const char *text, GError **error)
{
    FerryFault fault;
    FerryPolicy policy;
    const char *why;

    if (strlen(text) >= FERRY_SETTING_TEXT_MAX) {
        return refuse(error, "Parameter '%s' is longer than %d bytes", spec->name,
                      FERRY_SETTING_TEXT_MAX - 1);
    }
    if (spec->field == FIELD(policy) && !ferry_policy_parse(text, &policy, &why)) {
        return refuse(error, "Parameter '%s': '%s': %s", spec->name, text, why);
    }
    if (spec->field == FIELD(fault) && *text != '\0') {
        return ferry_fault_parse(text, &fault, error);
    }
    return TRUE;
}

static gboolean set_number(FerrySettings *settings, const Spec *spec, uint64_t number,
                           GError **error)
{
    if (number < spec->minimum || number > spec->maximum) {
        return refuse(error,
                      "Parameter '%s' expects an integer in the range of %" G_GUINT64_FORMAT
                      " to %" G_GUINT64_FORMAT " %s",
                      spec->name, spec->minimum, spec->maximum, spec->unit);
    }
    if (spec->field == FIELD(dirty_chunk_bytes) && number > 0 &&
        number < FERRY_DIRTY_LOG_CHUNK_MIN) {
        return refuse(error, "Parameter '%s' expects 0 or at least %u bytes", spec->name,
                      FERRY_DIRTY_LOG_CHUNK_MIN);
    }
    if ((spec->field == FIELD(dirty_chunk_bytes) || spec->field == FIELD(xbzrle_cache_size)) &&
        (number & (number - 1)) != 0) {
        return refuse(error, "Parameter '%s' expects a power of two", spec->name);
    }
    *number_of(settings, spec) = number;
    return TRUE;
}

static gboolean set_choice(FerrySettings *settings, const Spec *spec, const char *word,
                           GError **error)
{
    for (const Choice *c = spec->choices; c->word != NULL; c++) {
        if (strcmp(c->word, word) != 0) {
            continue;
        }
        if (!c->built) {
            return refuse(error, "Parameter '%s': '%s' is not built yet", spec->name, word);
        }
        *number_of(settings, spec) = c->value;
        return TRUE;
    }
    return refuse(error, "Parameter '%s' does not accept value '%s'", spec->name, word);
}

gboolean ferry_settings_set_parameter(FerrySettings *settings, const char *name, uint64_t number,
                                      const char *text, gboolean running, GError **error)
{
    const Spec *spec = find_spec(name);

    if (spec == NULL) {
        return refuse(error, "Parameter '%s' is unexpected", name);
    }
    if (spec->type == FERRY_PARAMETER_TEXT && text == NULL) {
        return refuse(error, "Invalid parameter type for '%s', expected: string", name);
    }
    if (!has_field(spec)) {
        gboolean same = spec->type == FERRY_PARAMETER_TEXT ? strcmp(text, spec->text) == 0
                                                           : number == spec->number;
        return same ? TRUE
                    : refuse(error, "Parameter '%s' is not built yet: only its default is accepted",
                             name);
    }
    if (running && spec->kind != LIMIT) {
        return refuse(error, "Parameter '%s' cannot change while a migration is in progress", name);
    }
    if (spec->type != FERRY_PARAMETER_TEXT) {
        return set_number(settings, spec, number, error);
    }
    if (spec->choices != NULL) {
        return set_choice(settings, spec, text, error);
    }
    if (!check_text(spec, text, error)) {
        return FALSE;
    }
    g_strlcpy(text_of(settings, spec), text, FERRY_SETTING_TEXT_MAX);
    return TRUE;
}

static const char *word_of(const FerrySettings *settings, const Spec *spec)
{
    const Choice *c = spec->choices;

    while (c->value != *number_of(settings, spec)) {
        c++;
    }
    return c->word;
}

gboolean ferry_settings_nth_parameter(const FerrySettings *settings, unsigned index,
                                      FerryParameter *out_parameter)
{
    const Spec *spec = index < G_N_ELEMENTS(specs) ? &specs[index] : NULL;

    if (spec == NULL || spec->kind >= OLD) { /* those stand at the end */
        return FALSE;
    }
    *out_parameter = (FerryParameter){
        .name = spec->name, .type = spec->type, .minimum = spec->minimum, .maximum = spec->maximum};
    if (spec->choices != NULL) {
        g_strlcpy(out_parameter->text, word_of(settings, spec), sizeof out_parameter->text);
    } else if (spec->type == FERRY_PARAMETER_TEXT) {
        g_strlcpy(out_parameter->text, has_field(spec) ? text_of(settings, spec) : spec->text,
                  sizeof out_parameter->text);
    } else {
        out_parameter->number = has_field(spec) ? *number_of(settings, spec) : spec->number;
    }
    return TRUE;
}

gboolean ferry_parameter_type(const char *name, FerryParameterType *out_type)
{
    const Spec *spec = find_spec(name);

    if (spec == NULL) {
        return FALSE;
    }
    *out_type = spec->type;
    return TRUE;
}
