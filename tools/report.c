#include "tools/report.h"

#include <string.h>

#include "tools/format.h"

#define MIB 1048576.0
#define ROUNDS_FIRST 10 /* shown when there are many */
#define ROUNDS_LAST 20

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
    GString *line = g_string_new(NULL);

    if (total <= 0) {
        g_string_append(line, ferry_report_text(answer, "status", "no migration"));
        return g_string_free(line, FALSE);
    }
    g_string_append_printf(
        line, "%3.0f %%  %.0f MiB sent  %.0f MiB/s  dirty %.0f MiB/s  round %.0f",
        100 * (total - left) / total, ferry_report_number(answer, "ram.transferred", 0) / MIB,
        rate / MIB, dirty / MIB, ferry_report_number(answer, "ram.dirty-sync-count", 0));
    if (left < 86400 * rate) {
        g_string_append_printf(line, "  %.1f s left", left / rate);
    }
    if (downtime >= 0) {
        g_string_append_printf(line, "  downtime %.0f ms", downtime);
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
    const char *reason = ferry_report_text(answer, "error-desc", NULL);

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
    ferry_report_print_rounds(answer, out);
    ferry_report_print_downtime(answer, out);
}

static void print_round(JsonObject *round, FILE *out)
{
    double predicted = ferry_report_number(round, "predicted_downtime_ms", -1);

    fprintf(out, "%5.0f %9.0f %8.0f %9.1f %9.1f %8.1f %9.0f %9.0f ",
            ferry_report_number(round, "number", 0), ferry_report_number(round, "normal_pages", 0),
            ferry_report_number(round, "zero_pages", 0),
            ferry_report_number(round, "sent_bytes", 0) / MIB,
            ferry_report_number(round, "duration_ms", 0),
            ferry_report_number(round, "bytes_per_second", 0) / MIB,
            ferry_report_number(round, "dirtied_pages", 0),
            ferry_report_number(round, "dirty_pages_per_second", 0));
    if (predicted >= 0) {
        fprintf(out, "%9.1f ms\n", predicted);
    } else {
        fprintf(out, "%12s\n", "-");
    }
}

void ferry_report_print_rounds(JsonObject *answer, FILE *out)
{
    JsonArray *rounds = ferry_report_rounds(answer);
    unsigned n = rounds ? json_array_get_length(rounds) : 0;

    if (n == 0) {
        return;
    }
    fprintf(out, "\n%5s %9s %8s %9s %9s %8s %9s %9s %12s\n", "round", "normal", "zero", "MiB", "ms",
            "MiB/s", "dirtied", "dirty/s", "predicted");
    fprintf(out, "%5s %9s %8s %9s %9s %8s %9s %9s %12s\n", "", "pages", "pages", "sent", "", "",
            "pages", "pages", "downtime");
    for (unsigned i = 0; i < n; i++) {
        if (n > ROUNDS_FIRST + ROUNDS_LAST && i == ROUNDS_FIRST) {
            i = n - ROUNDS_LAST;
            fprintf(out, "%5s (%u rounds are left out)\n", "...", i - ROUNDS_FIRST);
        }
        print_round(json_array_get_object_element(rounds, i), out);
    }
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
