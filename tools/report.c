#include "tools/report.h"

#include <string.h>

#include "tools/format.h"

#define MIB 1048576.0

static JsonNode *lookup(JsonObject *object, const char *path)
{
    g_auto(GStrv) keys = g_strsplit(path, ".", -1);
    JsonNode *node = NULL;

    for (unsigned i = 0; keys[i]; i++) {
        node = object ? json_object_get_member(object, keys[i]) : NULL;
        object = node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
    }
    return node;
}

double ferry_report_number(JsonObject *answer, const char *path, double otherwise)
{
    JsonNode *node = lookup(answer, path);

    return node && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_double(node) : otherwise;
}

const char *ferry_report_text(JsonObject *answer, const char *path, const char *otherwise)
{
    JsonNode *node = lookup(answer, path);

    return node && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING
               ? json_node_get_string(node)
               : otherwise;
}

gboolean ferry_report_flag(JsonObject *answer, const char *path)
{
    JsonNode *node = lookup(answer, path);

    return node && JSON_NODE_HOLDS_VALUE(node) && json_node_get_boolean(node);
}

JsonObject *ferry_report_object(JsonObject *answer, const char *path)
{
    JsonNode *node = lookup(answer, path);

    return node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

JsonArray *ferry_report_rounds(JsonObject *answer)
{
    JsonNode *node = lookup(answer, "x-ferry.rounds");

    return node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
}

/* Bytes/s; until the first round has ended, its average so far. */
static double rate_of(JsonObject *answer)
{
    double rate = ferry_report_number(answer, "ram.mbps", 0) * 1e6 / 8;
    double ms = ferry_report_number(answer, "total-time", 0);

    return rate > 0 || ms <= 0 ? rate
                               : ferry_report_number(answer, "ram.transferred", 0) / ms * 1000;
}

char *ferry_report_progress_line(JsonObject *answer)
{
    double total = ferry_report_number(answer, "ram.total", 0);
    double left = ferry_report_number(answer, "ram.remaining", 0);
    double rate = rate_of(answer);
    double dirty = ferry_report_number(answer, "ram.dirty-pages-rate", 0) *
                   ferry_report_number(answer, "ram.page-size", 4096);
    double downtime = ferry_report_number(answer, "expected-downtime", -1);
    double finish = ferry_report_number(answer, "x-ferry.forecast.finish_ms", -1);
    double throttle = ferry_report_number(answer, "cpu-throttle-percentage", 0);
    GString *line = g_string_new(NULL);

    if (total <= 0) {
        g_string_append(line, ferry_report_text(answer, "status", "no migration"));
        return g_string_free(line, FALSE);
    }
    g_string_append_printf(
        line, "%3.0f %%  %.0f MiB sent  %.0f MiB/s  dirty %.0f MiB/s  round %.0f",
        100 * (total - left) / total, ferry_report_number(answer, "ram.transferred", 0) / MIB,
        rate / MIB, dirty / MIB, ferry_report_number(answer, "ram.dirty-sync-count", 0));
    if (finish >= 0) {
        g_string_append_printf(line, "  %.1f s to go", finish / 1000);
    } else if (left < 86400 * rate) {
        g_string_append_printf(line, "  %.1f s left", left / rate);
    }
    if (downtime >= 0) {
        g_string_append_printf(line, "  downtime %.0f ms", downtime);
    }
    if (throttle > 0) {
        g_string_append_printf(line, "  throttled %.0f %%", throttle);
    }
    if (strcmp(ferry_report_text(answer, "x-ferry.forecast.outlook", ""), "stalls") == 0) {
        g_string_append_printf(line, "  stalls: %.0f ms at best",
                               ferry_report_number(answer, "x-ferry.forecast.floor_ms", 0));
    }
    return g_string_free(line, FALSE);
}

typedef struct {
    const char *path, *label, *unit;
    double divisor;
} Word;

/* In the order and the units of QEMU's "info migrate". */
static const Word words[] = {
    {"total-time",              "total time",              "ms",      1   },
    {"expected-downtime",       "expected downtime",       "ms",      1   },
    {"downtime",                "downtime",                "ms",      1   },
    {"setup-time",              "setup",                   "ms",      1   },
    {"ram.transferred",         "transferred ram",         "kbytes",  1024},
    {"ram.mbps",                "throughput",              "mbps",    1   },
    {"ram.remaining",           "remaining ram",           "kbytes",  1024},
    {"ram.total",               "total ram",               "kbytes",  1024},
    {"ram.duplicate",           "duplicate",               "pages",   1   },
    {"ram.normal",              "normal",                  "pages",   1   },
    {"ram.normal-bytes",        "normal bytes",            "kbytes",  1024},
    {"ram.dirty-sync-count",    "dirty sync count",        "",        1   },
    {"ram.page-size",           "page size",               "kbytes",  1024},
    {"ram.pages-per-second",    "pages-per-second",        "pages/s", 1   },
    {"ram.dirty-pages-rate",    "dirty pages rate",        "pages/s", 1   },
    {"cpu-throttle-percentage", "cpu throttle percentage", "%",       1   },
};

void ferry_report_print_status(JsonObject *answer, FILE *out)
{
    const char *reason = ferry_report_text(answer, "error-desc", NULL), *verdict;

    fprintf(out, "%-24s %s\n", "Migration status:", ferry_report_text(answer, "status", "none"));
    if (reason) {
        fprintf(out, "%-24s %s\n", "error:", reason);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(words); i++) {
        const Word *w = &words[i];
        double value = ferry_report_number(answer, w->path, -1);
        g_autofree char *label = g_strconcat(w->label, ":", NULL);
        if (value >= 0) {
            fprintf(out, "%-24s %.*f %s\n", label, strcmp(w->unit, "mbps") == 0 ? 2 : 0,
                    value / w->divisor, w->unit);
        }
    }
    verdict = ferry_report_text(answer, "x-ferry.forecast.verdict", NULL);
    if (verdict) {
        fprintf(out, "%-24s %s\n", "verdict:", verdict);
    }
    ferry_report_print_rounds(answer, out);
    ferry_report_print_downtime(answer, out);
}

typedef struct {
    const char *key, *label;
} Part;

static const Part parts[] = {
    {"pause",        "pause the guest"         },
    {"last_round",   "last round"              },
    {"device_state", "device state"            },
    {"verify",       "verify all RAM"          },
    {"load",         "load at the destination" },
    {"start",        "start at the destination"},
    {"total",        "downtime"                },
};

void ferry_report_print_downtime(JsonObject *answer, FILE *out)
{
    if (ferry_report_number(answer, "x-ferry.downtime.total_ms", 0) <= 0) {
        return;
    }
    fprintf(out, "\n%-26s %12s %12s\n", "", "predicted", "measured");
    for (size_t i = 0; i < G_N_ELEMENTS(parts); i++) {
        g_autofree char *predicted = g_strdup_printf("x-ferry.predicted.%s_ms", parts[i].key);
        g_autofree char *measured = g_strdup_printf("x-ferry.downtime.%s_ms", parts[i].key);
        fprintf(out, "%-26s %9.1f ms %9.1f ms\n", parts[i].label,
                ferry_report_number(answer, predicted, 0),
                ferry_report_number(answer, measured, 0));
    }
}

void ferry_report_print_amplification(JsonObject *answer, FILE *out)
{
    double bytes = ferry_report_number(answer, "x-ferry.amplification.bytes", 0);

    if (bytes > 0) {
        fprintf(out, "Sent %.2f times the guest's memory in bytes, %.2f times in pages", bytes,
                ferry_report_number(answer, "x-ferry.amplification.pages", 0));
        if (ferry_report_number(answer, "x-ferry.throttled_ms", 0) > 0) {
            fprintf(out, "; throttling took %.0f ms of the guest's time",
                    ferry_report_number(answer, "x-ferry.throttled_ms", 0));
        }
        fputc('\n', out);
    }
}
