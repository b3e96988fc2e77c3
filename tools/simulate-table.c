/* All runs in one table: policies side by side, medians over seeds. */
#include <json-glib/json-glib.h>
#include <stdlib.h>
#include <string.h>
#include "tools/format.h"
#include "tools/simulate.h"

typedef enum { ROUNDS, TIME, DOWNTIME, SENT, TIMES_RAM, TIMES_R, TIMES_RK, N_METRICS } Metric;
static const char *const members[N_METRICS] = {
    [ROUNDS] = "rounds",           [TIME] = "total_ms",
    [DOWNTIME] = "downtime_ms",    [SENT] = "wire_bytes",
    [TIMES_RAM] = "amplification", [TIMES_R] = "ratio_clairvoyant", /* these two of the bounds */
    [TIMES_RK] = "ratio_causal",
};

/* A policy under one combination of everything else. */
typedef struct {
    char *title, *policy; /* title: the combination */
    unsigned runs, done;
    GArray *values[N_METRICS]; /* double */
    char *verdict, *bound;     /* of the first seed that has one */
    gboolean differ;           /* verdicts of others do */
} Row;

struct FerrySimulateTable {
    GPtrArray *rows;
    GHashTable *by_name;
    GHashTable *outcomes; /* counts */
    GString *errors;      /* of runs that failed, a line each */
};

static void row_free(void *data)
{
    Row *row = data;

    g_free(row->title);
    g_free(row->policy);
    g_free(row->verdict);
    g_free(row->bound);
    for (unsigned i = 0; i < N_METRICS; i++) {
        g_array_unref(row->values[i]);
    }
    g_free(row);
}

FerrySimulateTable *ferry_simulate_table_new(void)
{
    FerrySimulateTable *t = g_new0(FerrySimulateTable, 1);

    t->rows = g_ptr_array_new_with_free_func(row_free);
    t->by_name = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    t->errors = g_string_new(NULL);
    t->outcomes = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    return t;
}

void ferry_simulate_table_free(FerrySimulateTable *t)
{
    if (t) {
        g_hash_table_unref(t->by_name);
        g_hash_table_unref(t->outcomes);
        g_string_free(t->errors, TRUE);
        g_ptr_array_unref(t->rows);
        g_free(t);
    }
}

/* Ids end with seed and policy. */
static Row *row_of(FerrySimulateTable *t, const char *id, const char *policy)
{
    const char *seed = g_strrstr(id, "seed=");
    g_autofree char *title = g_strndup(id, seed ? (gsize)(seed - id) : 0);
    g_autofree char *name = g_strdup_printf("%s\n%s", title, policy);
    Row *row = g_hash_table_lookup(t->by_name, name);

    if (!row) {
        row = g_new0(Row, 1);
        row->title = g_strdup(g_strchomp(title));
        row->policy = g_strdup(policy);
        for (unsigned i = 0; i < N_METRICS; i++) {
            row->values[i] = g_array_new(FALSE, FALSE, sizeof(double));
        }
        g_hash_table_insert(t->by_name, g_steal_pointer(&name), row);
        g_ptr_array_add(t->rows, row);
    }
    return row;
}

static const char *text_of(JsonObject *from, const char *member)
{
    return json_object_get_string_member_with_default(from, member, NULL);
}

static void note_verdict(Row *row, char **known, const char *said)
{
    if (!*known) {
        *known = g_strdup(said);
    } else if (said && strcmp(*known, said) != 0) {
        row->differ = TRUE;
    }
}

static void note_run(FerrySimulateTable *t, JsonObject *run)
{
    Row *row = row_of(t, text_of(run, "id"), text_of(run, "policy"));
    const char *outcome = text_of(run, "outcome");
    JsonNode *bounds = json_object_get_member(run, "bounds");

    row->runs++;
    row->done += strcmp(outcome, "done") == 0;
    if (strcmp(outcome, "failed") == 0) {
        g_string_append_printf(t->errors, "%s: %s\n", text_of(run, "id"), text_of(run, "error"));
    }
    gpointer count = g_hash_table_lookup(t->outcomes, outcome);
    g_hash_table_insert(t->outcomes, g_strdup(outcome),
                        GUINT_TO_POINTER(GPOINTER_TO_UINT(count) + 1));
    for (unsigned i = 0; i < N_METRICS; i++) {
        JsonObject *from = i < TIMES_R ? run : bounds ? json_node_get_object(bounds) : NULL;
        if (from && json_object_has_member(from, members[i])) {
            double value = json_object_get_double_member(from, members[i]);
            g_array_append_val(row->values[i], value);
        }
    }
    note_verdict(row, &row->verdict, text_of(run, "first_verdict"));
    if (bounds) {
        note_verdict(row, &row->bound, text_of(json_node_get_object(bounds), "verdict"));
    }
}

void ferry_simulate_table_add(FerrySimulateTable *t, const char *text)
{
    g_auto(GStrv) lines = g_strsplit(text, "\n", -1);
    g_autoptr(JsonParser) parser = json_parser_new();

    for (char **line = lines; *line; line++) {
        if (g_str_has_prefix(*line, "{\"type\":\"run\"") &&
            json_parser_load_from_data(parser, *line, -1, NULL)) {
            note_run(t, json_node_get_object(json_parser_get_root(parser)));
        }
    }
}

unsigned ferry_simulate_table_count(const FerrySimulateTable *t, const char *outcome)
{
    return GPOINTER_TO_UINT(g_hash_table_lookup(t->outcomes, outcome));
}

const char *ferry_simulate_table_errors(const FerrySimulateTable *t) { return t->errors->str; }

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* "-": not known. */
static char *shown(const Row *row, Metric metric)
{
    GArray *values = row->values[metric];

    if (values->len == 0) {
        return g_strdup("-");
    }
    g_array_sort(values, compare);
    double value = (g_array_index(values, double, (values->len - 1) / 2) +
                    g_array_index(values, double, values->len / 2)) /
                   2;
    switch (metric) {
    case TIME:
    case DOWNTIME:
        return ferry_format_ms(value);
    case SENT:
        return ferry_format_bytes((uint64_t)value);
    case ROUNDS:
        return g_strdup_printf("%.0f", value);
    case TIMES_RAM:
    case TIMES_R:
    case TIMES_RK:
    case N_METRICS:
        break;
    }
    return g_strdup_printf("%.2f", value);
}

static void add_row(GString *text, const Row *row, int width)
{
    char *cells[N_METRICS];

    for (unsigned i = 0; i < N_METRICS; i++) {
        cells[i] = shown(row, (Metric)i);
    }
    g_string_append_printf(text, "%-*s %4u/%-4u %7s %11s %11s %11s %7s %7s %7s  %-8s %s%s\n", width,
                           row->policy, row->done, row->runs, cells[ROUNDS], cells[TIME],
                           cells[DOWNTIME], cells[SENT], cells[TIMES_RAM], cells[TIMES_R],
                           cells[TIMES_RK], row->verdict ? row->verdict : "-",
                           row->bound ? row->bound : "-", row->differ ? " (not all)" : "");
    for (unsigned i = 0; i < N_METRICS; i++) {
        g_free(cells[i]);
    }
}

static int policy_width(const FerrySimulateTable *t)
{
    gsize width = strlen("policy");

    for (guint i = 0; i < t->rows->len; i++) {
        width = MAX(width, strlen(((Row *)t->rows->pdata[i])->policy));
    }
    return (int)width;
}

char *ferry_simulate_table_text(const FerrySimulateTable *t)
{
    GString *text = g_string_new(NULL);
    int width = policy_width(t);
    const char *title = NULL;

    for (guint i = 0; i < t->rows->len; i++) {
        const Row *row = t->rows->pdata[i];
        if (!title || strcmp(title, row->title) != 0) {
            title = row->title;
            g_string_append_printf(
                text, "%s%s\n%-*s %-9s %7s %11s %11s %11s %7s %7s %7s  %-8s %s\n", i ? "\n" : "",
                title, width, "policy", "     done", "rounds", "time", "downtime", "data", "x RAM",
                "R/R*", "R/R_k", "verdict", "bound");
        }
        add_row(text, row, width);
    }
    return g_string_free(text, FALSE);
}
