/* JSON lines of results, as docs/results.md says, and those of bench/convergence. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tools/figures-read.h"

#define LINE_MAX_BYTES (64u << 20)
#define NESTED_MAX 16u

/* Members of a run that say which one it is, or are shown as words: no parameters. */
static const char *const not_parameters[] = {
    "type",      "id",       "kind",    "command",       "seed",          "policy",
    "trace",     "workload", "outcome", "downtime",      "first_verdict", "bounds",
    "length_ms", "error",    "bench",   "trace_repeats",
};

static gboolean is_parameter(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(not_parameters); i++) {
        if (strcmp(name, not_parameters[i]) == 0) {
            return FALSE;
        }
    }
    for (unsigned i = 0; i < FERRY_N_RUN_VALUES; i++) {
        if (strcmp(name, ferry_run_value_name(i)) == 0) {
            return i == FERRY_RUN_LIMIT_MS || i == FERRY_RUN_BANDWIDTH || i == FERRY_RUN_RAM_BYTES;
        }
    }
    return strlen(name) <= 64;
}

/* Ids are made of the options that were given: "bandwidth=64M seed=1". One that is not made so says
 * nothing of them. */
static gboolean was_given(const FerryResultRun *run, const char *name)
{
    const char *unit;
    g_autofree char *plain = ferry_result_plain_name(name, &unit);
    g_autofree char *option = g_strconcat(g_strdelimit(plain, "_", '-'), "=", NULL);
    size_t n = strlen(option);

    if (!strchr(run->id, '=') || g_str_has_prefix(name, "workload") || strcmp(name, "trace") == 0) {
        return TRUE;
    }
    for (const char *at = run->id; at; at = strchr(at, ' ')) {
        at += *at == ' ';
        if (strncmp(at, option, n) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* Takes @value. */
static void add_parameter(FerryResults *results, FerryResultRun *run, const char *name, char *value)
{
    char *own = g_hash_table_lookup(results->parameter_names, name);

    if (!own) {
        own = g_strdup(name);
        g_ptr_array_add(results->parameters, own);
        g_hash_table_insert(results->parameter_names, own, own);
    }
    g_hash_table_replace(run->parameters, g_strdup(name), value);
    if (was_given(run, name)) {
        g_hash_table_replace(run->given, own, value);
    }
}

/* "uniform,size=64M,rate=2000": each of its own is a parameter as well. */
static void split_model(FerryResults *results, FerryResultRun *run)
{
    g_auto(GStrv) words = g_strsplit(run->input, ",", 32);

    for (char **word = words; *word; word++) {
        char *equals = strchr(*word, '=');
        if (word == words) {
            add_parameter(results, run, "workload", g_strdup(*word));
        } else if (equals && equals != *word) {
            g_autofree char *name =
                g_strdup_printf("workload.%.*s", (int)MIN(equals - *word, 48), *word);
            add_parameter(results, run, name, g_strdup(equals + 1));
        }
    }
}

static void take_parameters(FerryResults *results, FerryResultRun *run, JsonObject *object)
{
    g_autoptr(GList) names = json_object_get_members(object);

    for (GList *name = names; name; name = name->next) {
        char *value = is_parameter(name->data)
                          ? ferry_result_scalar(json_object_get_member(object, name->data))
                          : NULL;
        if (value) {
            add_parameter(results, run, name->data, value);
        }
    }
    if (json_object_has_member(object, "workload")) {
        split_model(results, run);
    } else if (*run->input) {
        add_parameter(results, run, "trace", g_path_get_basename(run->input));
    }
}

static FerryResultRun *find_run(FerryResults *results, const char *id)
{
    unsigned file = results->files->len - 1;
    g_autofree char *key = g_strdup_printf("%u %s", file, id);
    FerryResultRun *run = g_hash_table_lookup(results->by_id, key);

    if (!run) {
        run = ferry_result_run_new(id, file);
        g_ptr_array_add(results->runs, run);
        g_hash_table_insert(results->by_id, g_steal_pointer(&key), run);
    }
    return run;
}

static FerryResultRun *run_of(FerryResults *results, JsonObject *object, GError **error)
{
    g_autofree char *id = NULL;

    if (!ferry_result_text(object, "id", &id, error)) {
        return NULL;
    }
    if (*id == '\0') {
        ferry_result_bad(error, "there is no 'id'");
        return NULL;
    }
    return find_run(results, id);
}

static gboolean take_run(FerryResults *results, JsonObject *object, GError **error)
{
    FerryResultRun *run = run_of(results, object, error);

    if (!run) {
        return FALSE;
    }
    if (run->is_known) {
        return ferry_result_bad(error, "there is a run '%s' already", run->id);
    }
    if (!ferry_result_text(object, "kind", &run->kind, error) ||
        !ferry_result_text(object, "policy", &run->policy, error) ||
        !ferry_result_text(object, json_object_has_member(object, "trace") ? "trace" : "workload",
                           &run->input, error) ||
        !ferry_result_text(object, "outcome", &run->outcome, error) ||
        !ferry_result_text(object, "error", &run->why, error) ||
        !ferry_result_take_command(object, &run->command, error)) {
        return FALSE;
    }
    for (unsigned i = 0; i < FERRY_N_RUN_VALUES; i++) {
        if (!ferry_result_number(object, ferry_run_value_name(i), &run->values[i], error)) {
            return FALSE;
        }
    }
    JsonNode *seed = json_object_get_member(object, "seed");
    run->seed = seed ? ferry_result_scalar(seed) : NULL;
    take_parameters(results, run, object);
    run->is_known = TRUE;
    return TRUE;
}

static gboolean take_round(FerryResults *results, JsonObject *object, GError **error)
{
    FerryResultRun *run = run_of(results, object, error);
    FerryResultRound round;

    if (!run) {
        return FALSE;
    }
    for (unsigned i = 0; i < FERRY_N_ROUND_VALUES; i++) {
        round.values[i] = NAN;
        if (!ferry_result_number(object, ferry_round_value_name(i), &round.values[i], error)) {
            return FALSE;
        }
    }
    if (isnan(round.values[FERRY_ROUND_NUMBER]) || isnan(round.values[FERRY_ROUND_T_MS])) {
        return ferry_result_bad(error, "a round needs 'number' and 't_ms'");
    }
    g_array_append_val(run->rounds, round);
    return TRUE;
}

static gboolean take_point(JsonNode *node, double out[4])
{
    JsonArray *point = JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;

    for (guint i = 0; i < 4; i++) {
        if (!point || json_array_get_length(point) < 4 ||
            !JSON_NODE_HOLDS_VALUE(json_array_get_element(point, i))) {
            return FALSE;
        }
        JsonNode *value = json_array_get_element(point, i);
        GType type = json_node_get_value_type(value);
        out[i] = json_node_get_double(value);
        if ((type != G_TYPE_INT64 && type != G_TYPE_DOUBLE) || !(out[i] >= 0 && out[i] < 1e30)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean take_bound(FerryResults *results, JsonObject *object, GError **error)
{
    FerryResultBound *bound = ferry_result_bound_new();
    JsonNode *series = json_object_get_member(object, "series");
    double point[4];

    g_ptr_array_add(results->bounds, bound);
    if (!ferry_result_text(object, "trace", &bound->trace, error) ||
        !ferry_result_take_command(object, &bound->command, error) ||
        !ferry_result_number(object, "bandwidth_bytes_per_second", &bound->bandwidth, error)) {
        return FALSE;
    }
    if (!series || !JSON_NODE_HOLDS_ARRAY(series)) {
        return !series || ferry_result_bad(error, "'series' is no array");
    }
    for (guint i = 0; i < json_array_get_length(json_node_get_array(series)); i++) {
        if (!take_point(json_array_get_element(json_node_get_array(series), i), point)) {
            return ferry_result_bad(error,
                                    "element %u of 'series' is not [t_ms, low, high, causal]", i);
        }
        g_array_append_vals(bound->series, point, 1);
    }
    return TRUE;
}

static gboolean take_sweep(FerryResults *results, JsonObject *object, GError **error)
{
    g_autofree char *command = NULL;

    if (!ferry_result_take_command(object, &command, error)) {
        return FALSE;
    }
    if (*command) {
        g_ptr_array_add(results->sweeps, g_steal_pointer(&command));
        g_hash_table_add(results->swept, GUINT_TO_POINTER(results->files->len));
    }
    return TRUE;
}

static gboolean take_host(FerryResults *results, JsonObject *object, GError **error)
{
    g_autofree char *host = NULL, *kernel = NULL;
    double cpus = NAN, wall_ms = NAN, cpu_ms = NAN;

    if (!ferry_result_text(object, "host", &host, error) ||
        !ferry_result_text(object, "kernel", &kernel, error) ||
        !ferry_result_number(object, "cpus", &cpus, error) ||
        !ferry_result_number(object, "wall_ms", &wall_ms, error) ||
        !ferry_result_number(object, "cpu_ms", &cpu_ms, error)) {
        return FALSE;
    }
    g_ptr_array_add(results->hosts,
                    g_strdup_printf("%s, %s, %.0f processors: %.1f s, %.1f s of CPU time", host,
                                    kernel, cpus, wall_ms / 1000, cpu_ms / 1000));
    return TRUE;
}

static char *word_of(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);
    char *text = node ? ferry_result_scalar(node) : NULL;

    return text ? text : g_strdup("");
}

/* A line of bench/convergence, under our names. */
static gboolean take_convergence(FerryResults *results, JsonObject *object, GError **error)
{
    g_autofree char *load = word_of(object, "load"), *link = word_of(object, "link_mib");
    g_autofree char *limit = word_of(object, "limit_ms"), *number = word_of(object, "run");
    g_autofree char *contender = word_of(object, "contender"), *id = NULL;
    double link_mib = NAN, limit_ms = NAN;
    static const struct {
        const char *name;
        FerryRunValue value;
    } same[] = {
        {"total_ms",    FERRY_RUN_TOTAL_MS   },
        {"downtime_ms", FERRY_RUN_DOWNTIME_MS},
        {"limit_ms",    FERRY_RUN_LIMIT_MS   },
        {"bytes",       FERRY_RUN_WIRE_BYTES },
        {"rounds",      FERRY_RUN_ROUNDS     }
    };

    if (*contender == '\0' || !ferry_result_number(object, "link_mib", &link_mib, error) ||
        !ferry_result_number(object, "limit_ms", &limit_ms, error)) {
        return *contender != '\0' || ferry_result_bad(error, "there is no 'contender'");
    }
    id = g_strdup_printf("load=%s bandwidth=%sM downtime-limit=%s run=%s policy=%s", load, link,
                         limit, number, contender);
    FerryResultRun *run = find_run(results, id);
    if (run->is_known) {
        return ferry_result_bad(error, "there is a run '%s' already", id);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(same); i++) {
        if (!ferry_result_number(object, same[i].name, &run->values[same[i].value], error)) {
            return FALSE;
        }
    }
    JsonNode *completed = json_object_get_member(object, "completed");
    gboolean is_done = completed && json_node_get_value_type(completed) == G_TYPE_BOOLEAN &&
                       json_node_get_boolean(completed);
    run->values[FERRY_RUN_BANDWIDTH] = link_mib * 1048576;
    run->kind = g_strdup("live");
    run->policy = g_steal_pointer(&contender);
    run->input = g_steal_pointer(&load);
    run->outcome = g_strdup(is_done ? "done" : "unfinished");
    run->why = g_strdup("");
    run->command = g_strdup("");
    add_parameter(results, run, "bandwidth_bytes_per_second",
                  g_strdup_printf("%.10g", link_mib * 1048576));
    add_parameter(results, run, "downtime_limit_ms", g_strdup(limit));
    add_parameter(results, run, "load", g_strdup(run->input));
    run->is_known = TRUE;
    return TRUE;
}

static gboolean take_object(FerryResults *results, JsonObject *object, GError **error)
{
    static const struct {
        const char *type;
        gboolean (*take)(FerryResults *results, JsonObject *object, GError **error);
    } types[] = {
        {"run",   take_run  },
        {"round", take_round},
        {"bound", take_bound},
        {"sweep", take_sweep},
        {"host",  take_host }
    };
    g_autofree char *type = NULL;

    if (!ferry_result_text(object, "type", &type, error)) {
        return FALSE;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(types); i++) {
        if (strcmp(type, types[i].type) == 0) {
            return types[i].take(results, object, error);
        }
    }
    if (json_object_has_member(object, "bench")) {
        return json_object_has_member(object, "contender")
                   ? take_convergence(results, object, error)
                   : TRUE;
    }
    return ferry_result_bad(
        error, *type ? "the type '%.64s' is none of docs/results.md's" : "there is no 'type'%s",
        type);
}

/* The parser recurses: how deep is known before. */
static gboolean is_flat(const char *line, size_t n)
{
    unsigned depth = 0;
    gboolean is_text = FALSE;

    for (size_t i = 0; i < n; i++) {
        if (is_text && line[i] == '\\') {
            i++;
        } else if (is_text) {
            is_text = line[i] != '"';
        } else if (line[i] == '"') {
            is_text = TRUE;
        } else if (line[i] == '[' || line[i] == '{') {
            if (++depth > NESTED_MAX) {
                return FALSE;
            }
        } else if ((line[i] == ']' || line[i] == '}') && depth > 0) {
            depth--;
        }
    }
    return TRUE;
}

static gboolean take_line(FerryResults *results, JsonParser *parser, const char *line, size_t n,
                          GError **error)
{
    if (memchr(line, '\0', n) || !g_utf8_validate(line, (gssize)n, NULL)) {
        return ferry_result_bad(error, "it is not UTF-8");
    }
    if (!is_flat(line, n)) {
        return ferry_result_bad(error, "it is nested deeper than %u", NESTED_MAX);
    }
    if (!json_parser_load_from_data(parser, line, (gssize)n, error)) {
        return FALSE;
    }
    JsonNode *root = json_parser_get_root(parser);
    if (!root || !JSON_NODE_HOLDS_OBJECT(root)) {
        return ferry_result_bad(error, "it is no JSON object");
    }
    return take_object(results, json_node_get_object(root), error);
}

static gboolean take_lines(FerryResults *results, FILE *file, const char *path, GError **error)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    char *line = NULL;
    size_t room = 0;
    gboolean is_good = TRUE;
    uint64_t number = 0;
    ssize_t n;

    while (is_good && (n = getline(&line, &room, file)) >= 0) {
        number++;
        if (n > (ssize_t)LINE_MAX_BYTES) {
            is_good = ferry_result_bad(error, "it has more than %u bytes", LINE_MAX_BYTES);
        } else if (line[strspn(line, " \t\r\n")] != '\0' || memchr(line, '\0', (size_t)n)) {
            is_good = take_line(results, parser, line, (size_t)n, error);
        }
    }
    free(line);
    if (!is_good) {
        g_prefix_error(error, "%s, line %" G_GUINT64_FORMAT ": ", path, number);
    } else if (ferror(file)) {
        is_good = ferry_result_bad(error, "%s: %s", path, g_strerror(errno));
    }
    return is_good;
}

gboolean ferry_results_read(FerryResults *results, const char *path, GError **error)
{
    FILE *file = fopen(path, "re");
    gboolean is_good;

    if (!file) {
        return ferry_result_bad(error, "%s: %s", path, g_strerror(errno));
    }
    g_ptr_array_add(results->files, g_strdup(path));
    is_good = take_lines(results, file, path, error);
    fclose(file);
    return is_good;
}
