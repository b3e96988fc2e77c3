#include "tools/transfer.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "protocol/multifd.h"

gboolean ferry_parse_uuid(const char *text, uint8_t out_uuid[16], GError **error)
{
    const char *p = text;

    if (!g_uuid_string_is_valid(text)) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "'%s' is not a UUID", text);
        return FALSE;
    }
    for (unsigned i = 0; i < 16; i++) {
        p += *p == '-';
        out_uuid[i] = (uint8_t)(g_ascii_xdigit_value(p[0]) << 4 | g_ascii_xdigit_value(p[1]));
        p += 2;
    }
    return TRUE;
}

char *ferry_format_uuid(const uint8_t u[16])
{
    return g_strdup_printf("%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                           u[0], u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11],
                           u[12], u[13], u[14], u[15]);
}

gboolean ferry_parse_method(const char *option, const char *text, FerryMultifdMethod *out_method,
                            GError **error)
{
    FerryMultifdMethod method;
    gboolean known = ferry_multifd_method_find(text, &method);

    if (!known || (method != FERRY_MULTIFD_NONE && method != FERRY_MULTIFD_ZLIB &&
                   method != FERRY_MULTIFD_ZSTD)) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "%s: '%s' %s none, zlib, zstd",
                    option, text, known ? "is not spoken here, but" : "is none of");
        return FALSE;
    }
    *out_method = method;
    return TRUE;
}

void ferry_json_add_string(JsonBuilder *b, const char *key, const char *value)
{
    json_builder_set_member_name(b, key);
    if (value) {
        json_builder_add_string_value(b, value);
    } else {
        json_builder_add_null_value(b);
    }
}

void ferry_json_add_int(JsonBuilder *b, const char *key, uint64_t value)
{
    json_builder_set_member_name(b, key);
    json_builder_add_int_value(b, (gint64)value);
}

void ferry_json_add_ms(JsonBuilder *b, const char *key, uint64_t ns)
{
    json_builder_set_member_name(b, key);
    json_builder_add_double_value(b, (double)ns / 1e6);
}

uint64_t ferry_cpu_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void ferry_transfer_event(const char *event, ...)
{
    g_autoptr(JsonBuilder) b = json_builder_new();
    const char *key;
    va_list words;

    json_builder_begin_object(b);
    ferry_json_add_string(b, "event", event);
    va_start(words, event);
    while ((key = va_arg(words, const char *))) {
        ferry_json_add_string(b, key, va_arg(words, const char *));
    }
    va_end(words);
    json_builder_end_object(b);
    ferry_verb_print_json(ferry_verb_build(b), FALSE);
}

void ferry_transfer_phase(const FerryProgress *p)
{
    g_autoptr(JsonBuilder) b = json_builder_new();

    json_builder_begin_object(b);
    ferry_json_add_string(b, "event", "phase");
    ferry_json_add_string(b, "phase", ferry_phase_name(p->phase));
    ferry_json_add_int(b, "ram_bytes", p->ram_total_bytes);
    ferry_json_add_int(b, "transferred_bytes", p->sent_bytes);
    json_builder_end_object(b);
    ferry_verb_print_json(ferry_verb_build(b), FALSE);
}

static FerryExit judge(FerryWatchReason reason, gboolean began, const GError *error,
                       const char **out_status)
{
    if (g_error_matches(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_UNSURE)) {
        *out_status = "in-doubt";
        return FERRY_EXIT_IN_DOUBT;
    }
    if (reason == FERRY_WATCH_SIGNAL) {
        *out_status = "cancelled";
        return FERRY_EXIT_CANCELLED;
    }
    *out_status = began || reason == FERRY_WATCH_TIME ? "failed" : "refused";
    return began || reason == FERRY_WATCH_TIME ? FERRY_EXIT_FAILED : FERRY_EXIT_REFUSED;
}

FerryExit ferry_transfer_fail(const char *verb, gboolean json, FerryWatchReason reason,
                              gboolean began, const GError *error)
{
    const char *status;
    FerryExit code = judge(reason, began, error, &status);
    const char *message = code == FERRY_EXIT_CANCELLED ? "cancelled"
                          : code != FERRY_EXIT_IN_DOUBT && reason == FERRY_WATCH_TIME
                              ? "not done within --max-time"
                              : error->message;

    fprintf(stderr, "ferry %s: %s\n", verb, message);
    if (json) {
        g_autoptr(JsonBuilder) b = json_builder_new();
        json_builder_begin_object(b);
        ferry_json_add_string(b, "status", status);
        ferry_json_add_string(b, "error", message);
        json_builder_end_object(b);
        ferry_verb_print_json(ferry_verb_build(b), FALSE);
    }
    return code;
}
