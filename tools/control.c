/* The verbs that talk to a running migration through its monitor: status, set, cancel, continue,
 * resolve. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/ferry.h"
#include "tools/format.h"
#include "tools/qmp-client.h"
#include "tools/report.h"
#include "tools/verb.h"

typedef struct {
    char *qmp;
    double timeout_s;
    gboolean json, watch;
    double interval_s;
    char *owner;
} Options;

static void options_clear(Options *o)
{
    g_free(o->qmp);
    g_free(o->owner);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Options, options_clear)

#define OPTIONS_DEFAULT                                                                            \
    {                                                                                              \
        .timeout_s = 5, .interval_s = 0.5                                                          \
    }
#define COMMON_ENTRIES(o)                                                                          \
    {"qmp",    0, 0, G_OPTION_ARG_STRING, &(o).qmp, "the monitor: unix:PATH or tcp:HOST:PORT",     \
     "ADDRESS"},                                                                                   \
        {"timeout",                                                                                \
         0,                                                                                        \
         0,                                                                                        \
         G_OPTION_ARG_DOUBLE,                                                                      \
         &(o).timeout_s,                                                                           \
         "longest wait for an answer in seconds, 5 unless given",                                  \
         "S"},                                                                                     \
    {                                                                                              \
        "json", 0, 0, G_OPTION_ARG_NONE, &(o).json, "the answer as JSON", NULL                     \
    }

/* NULL: *out_status is what to exit with; said already. */
static FerryQmpClient *open_monitor(const char *verb, const Options *o, FerryExit *out_status)
{
    g_autoptr(GError) error = NULL;
    FerryQmpClient *client;

    if (!o->qmp || !(o->timeout_s > 0 && o->timeout_s < 1e6)) {
        *out_status = ferry_verb_fail(verb, FERRY_EXIT_USAGE, FALSE,
                                      !o->qmp ? "--qmp is missing: unix:PATH or tcp:HOST:PORT"
                                              : "--timeout must be above 0");
        return NULL;
    }
    client = ferry_qmp_client_new(o->qmp, (uint64_t)(o->timeout_s * 1e9), &error);
    if (!client) {
        FerryExit status =
            g_error_matches(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_ADDRESS)
                ? FERRY_EXIT_USAGE
                : FERRY_EXIT_FAILED;
        *out_status = ferry_verb_fail(verb, status, o->json, "%s", error->message);
    }
    return client;
}

/* An object of one member, which it takes. */
static JsonNode *object_of(const char *key, JsonNode *value)
{
    g_autoptr(JsonObject) object = json_object_new();
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);

    json_object_set_member(object, key, value);
    json_node_set_object(node, object);
    return node;
}

static JsonNode *string_node(const char *text)
{
    return json_node_init_string(json_node_alloc(), text);
}

/* A command whose answer says nothing but that it was obeyed. */
static FerryExit command(const char *verb, const Options *o, const char *name, JsonNode *arguments)
{
    g_autoptr(JsonNode) owned = arguments;
    g_autoptr(GError) error = NULL;
    FerryExit status;
    g_autoptr(FerryQmpClient) client = open_monitor(verb, o, &status);

    if (!client) {
        return status;
    }
    if (!ferry_qmp_client_do(client, name, g_steal_pointer(&owned), &error)) {
        return ferry_verb_fail(verb, FERRY_EXIT_FAILED, o->json, "%s", error->message);
    }
    if (o->json) {
        ferry_verb_print_json(object_of("status", string_node("completed")), TRUE);
    }
    return FERRY_EXIT_DONE;
}

FerryExit ferry_verb_cancel(int argc, char **argv)
{
    g_auto(Options) o = OPTIONS_DEFAULT;
    const GOptionEntry entries[] = {COMMON_ENTRIES(o), G_OPTION_ENTRY_NULL};

    return ferry_verb_parse(&argc, &argv, entries, NULL,
                            "Ends a migration; the guest runs on at the source.", 0, 0)
               ? command("cancel", &o, "migrate_cancel", NULL)
               : FERRY_EXIT_USAGE;
}

FerryExit ferry_verb_continue(int argc, char **argv)
{
    g_auto(Options) o = OPTIONS_DEFAULT;
    const GOptionEntry entries[] = {COMMON_ENTRIES(o), G_OPTION_ENTRY_NULL};

    return ferry_verb_parse(&argc, &argv, entries, NULL,
                            "Goes on from the pause that the capability pause-before-switchover "
                            "asks for.",
                            0, 0)
               ? command("continue", &o, "migrate-continue",
                         object_of("state", string_node("pre-switchover")))
               : FERRY_EXIT_USAGE;
}

FerryExit ferry_verb_resolve(int argc, char **argv)
{
    g_auto(Options) o = OPTIONS_DEFAULT;
    const GOptionEntry entries[] = {
        COMMON_ENTRIES(o),
        {"owner", 0, 0, G_OPTION_ARG_STRING, &o.owner,
             "who runs the guest: 'here', the side of this monitor, or 'there', the other one", "here|there"},
        G_OPTION_ENTRY_NULL,
    };

    if (!ferry_verb_parse(&argc, &argv, entries, NULL,
                          "Decides a handover in doubt, where both sides hold the whole guest and "
                          "neither runs it.\nSay 'here' only if the other side is known not to run "
                          "it: its process is gone, or it\nwas resolved as 'there'.",
                          0, 0)) {
        return FERRY_EXIT_USAGE;
    }
    if (!o.owner || (strcmp(o.owner, "here") != 0 && strcmp(o.owner, "there") != 0)) {
        return ferry_verb_fail("resolve", FERRY_EXIT_USAGE, FALSE,
                               "--owner must be 'here' or 'there'");
    }
    return command("resolve", &o, "x-ferry-resolve", object_of("owner", string_node(o.owner)));
}

typedef struct {
    const char *status;
    FerryExit exit;
} End;

/* The statuses that a migration does not leave by itself. */
static const End ends[] = {
    {"completed",        FERRY_EXIT_DONE     },
    {"failed",           FERRY_EXIT_FAILED   },
    {"cancelled",        FERRY_EXIT_CANCELLED},
    {"x-ferry-in-doubt", FERRY_EXIT_IN_DOUBT },
};
static const End stalled = {"failed", FERRY_EXIT_NOT_CONVERGED};

static const End *find_end(JsonObject *answer)
{
    const char *status = ferry_report_text(answer, "status", "none");
    const char *outcome = ferry_report_text(answer, "x-ferry.outcome", "");

    if (strcmp(outcome, "stalled") == 0 || strcmp(outcome, "timed-out") == 0) {
        return &stalled;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(ends); i++) {
        if (strcmp(ends[i].status, status) == 0) {
            return &ends[i];
        }
    }
    return NULL;
}

/* Asks until the migration has ended; *out_answer is the last answer. */
static const End *watch(FerryQmpClient *client, const Options *o, JsonNode **out_answer,
                        GError **error)
{
    gboolean terminal = isatty(STDERR_FILENO);
    const End *end = NULL;

    while (!end) {
        g_autoptr(JsonNode) answer = ferry_qmp_client_call(client, "query-migrate", NULL, error);
        JsonObject *object = answer ? json_node_get_object(answer) : NULL;
        if (!object) {
            break;
        }
        end = find_end(object);
        if (terminal) {
            g_autofree char *line = ferry_report_progress_line(object);
            fprintf(stderr, "\r%s\033[K%s", line, end ? "\n" : "");
        }
        if (end) {
            *out_answer = g_steal_pointer(&answer);
            return end;
        }
        if (o->json) {
            ferry_verb_print_json(g_steal_pointer(&answer), FALSE);
        }
        g_usleep((gulong)(o->interval_s * 1e6));
    }
    return end;
}

FerryExit ferry_verb_status(int argc, char **argv)
{
    g_auto(Options) o = OPTIONS_DEFAULT;
    g_autoptr(FerryQmpClient) client = NULL;
    g_autoptr(JsonNode) answer = NULL;
    g_autoptr(GError) error = NULL;
    const End *end = NULL;
    FerryExit status;
    const GOptionEntry entries[] = {
        COMMON_ENTRIES(o),
        {"watch",    0, 0, G_OPTION_ARG_NONE,   &o.watch,
             "follow it to its end; the exit status says how it ended", NULL},
        {"interval", 0, 0, G_OPTION_ARG_DOUBLE, &o.interval_s,
             "seconds between two looks, 0.5 unless given",             "S" },
        G_OPTION_ENTRY_NULL,
    };

    if (!ferry_verb_parse(&argc, &argv, entries, NULL,
                          "Says how a migration is doing, in the words and units of QEMU's 'info "
                          "migrate';\n--json has the keys of query-migrate.",
                          0, 0)) {
        return FERRY_EXIT_USAGE;
    }
    if (!(o.interval_s >= 0.01 && o.interval_s <= 3600)) {
        return ferry_verb_fail("status", FERRY_EXIT_USAGE, FALSE, "--interval is 0.01 to 3600 s");
    }
    if (!(client = open_monitor("status", &o, &status))) {
        return status;
    }
    if (o.watch) {
        end = watch(client, &o, &answer, &error);
    } else {
        answer = ferry_qmp_client_call(client, "query-migrate", NULL, &error);
    }
    if (!answer) {
        return ferry_verb_fail("status", FERRY_EXIT_FAILED, o.json, "%s", error->message);
    }
    if (o.json) {
        ferry_verb_print_json(json_node_copy(answer), TRUE);
    } else {
        ferry_report_print_status(json_node_get_object(answer), stdout);
    }
    return end ? end->exit : FERRY_EXIT_DONE;
}

/* ---- set ---- */

/* "on" or "off" for the capability @name; NULL: there is no such capability. */
static JsonObject *find_capability(JsonArray *capabilities, const char *name)
{
    for (unsigned i = 0; i < json_array_get_length(capabilities); i++) {
        JsonObject *one = json_array_get_object_element(capabilities, i);
        if (strcmp(ferry_report_text(one, "capability", ""), name) == 0) {
            return one;
        }
    }
    return NULL;
}

static gboolean parse_bool(const char *text, gboolean *out, GError **error)
{
    if (strcmp(text, "on") == 0 || strcmp(text, "true") == 0) {
        *out = TRUE;
    } else if (strcmp(text, "off") == 0 || strcmp(text, "false") == 0) {
        *out = FALSE;
    } else {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "'%s' is not on or off", text);
        return FALSE;
    }
    return TRUE;
}

/* A number with the suffixes that fit what @name measures. */
static gboolean parse_number(const char *name, const char *text, uint64_t *out, GError **error)
{
    if (g_str_has_suffix(name, "bandwidth")) {
        return ferry_parse_rate(text, out, error);
    }
    if (strcmp(name, "downtime-limit") == 0 || strcmp(name, "x-ferry-timeout") == 0 ||
        g_str_has_suffix(name, "-ms")) {
        return ferry_parse_ms(text, out, error);
    }
    return ferry_parse_size(text, out, error);
}

/* The value of the type that the monitor's own value of @name has; NULL: @text is none. */
static JsonNode *parameter_value(const char *name, JsonNode *now, const char *text, GError **error)
{
    JsonNode *node = json_node_alloc();
    GType type = now ? json_node_get_value_type(now) : G_TYPE_INT64;
    uint64_t number;
    gboolean on;

    if (type == G_TYPE_STRING) {
        return json_node_init_string(node, text);
    }
    if (type == G_TYPE_BOOLEAN && parse_bool(text, &on, error)) {
        return json_node_init_boolean(node, on);
    }
    if (type != G_TYPE_BOOLEAN && parse_number(name, text, &number, error)) {
        return json_node_init_int(node, (gint64)number);
    }
    json_node_unref(node);
    return NULL;
}

static gboolean set_capability(FerryQmpClient *client, const char *name, const char *text,
                               GError **error)
{
    g_autoptr(JsonBuilder) builder = json_builder_new();
    gboolean on;

    if (!parse_bool(text, &on, error)) {
        return FALSE;
    }
    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "capabilities");
    json_builder_begin_array(builder);
    json_builder_begin_object(builder);
    json_builder_set_member_name(builder, "capability");
    json_builder_add_string_value(builder, name);
    json_builder_set_member_name(builder, "state");
    json_builder_add_boolean_value(builder, on);
    json_builder_end_object(builder);
    json_builder_end_array(builder);
    json_builder_end_object(builder);
    return ferry_qmp_client_do(client, "migrate-set-capabilities", ferry_verb_build(builder),
                               error);
}

static gboolean set_one(FerryQmpClient *client, JsonObject *parameters, JsonArray *capabilities,
                        const char *name, const char *text, GError **error)
{
    JsonNode *value;

    if (find_capability(capabilities, name)) {
        return set_capability(client, name, text, error);
    }
    /* A name the monitor does not list is sent all the same: its refusal says more than ours. */
    value = parameter_value(name, json_object_get_member(parameters, name), text, error);
    return value &&
           ferry_qmp_client_do(client, "migrate-set-parameters", object_of(name, value), error);
}

static void print_all(JsonObject *parameters, JsonArray *capabilities)
{
    g_autoptr(GList) names = json_object_get_members(parameters);

    for (GList *l = names; l; l = l->next) {
        const char *name = l->data;
        JsonNode *value = json_object_get_member(parameters, name);
        g_autofree char *text = json_to_string(value, FALSE);
        g_autofree char *rate =
            g_str_has_suffix(name, "bandwidth")
                ? ferry_format_bandwidth_words((uint64_t)json_node_get_int(value))
                : NULL;
        printf("%-32s %s%s%s\n", name, text, rate ? " bytes/s, " : "", rate ? rate : "");
    }
    for (unsigned i = 0; i < json_array_get_length(capabilities); i++) {
        JsonObject *one = json_array_get_object_element(capabilities, i);
        printf("%-32s %s\n", ferry_report_text(one, "capability", ""),
               ferry_report_flag(one, "state") ? "on" : "off");
    }
}

static void print_all_json(JsonNode *parameters, JsonNode *capabilities)
{
    g_autoptr(JsonObject) object = json_object_new();
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);

    json_object_set_member(object, "parameters", json_node_copy(parameters));
    json_object_set_member(object, "capabilities", json_node_copy(capabilities));
    json_node_set_object(node, object);
    ferry_verb_print_json(node, TRUE);
}

static FerryExit run_set(FerryQmpClient *client, const Options *o, const char *name,
                         const char *text)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(JsonNode) parameters = NULL;
    g_autoptr(JsonNode) capabilities = NULL;

    parameters = ferry_qmp_client_call(client, "query-migrate-parameters", NULL, &error);
    if (parameters) {
        capabilities = ferry_qmp_client_call(client, "query-migrate-capabilities", NULL, &error);
    }
    if (!capabilities || !JSON_NODE_HOLDS_OBJECT(parameters) ||
        !JSON_NODE_HOLDS_ARRAY(capabilities)) {
        return ferry_verb_fail("set", FERRY_EXIT_FAILED, o->json, "%s",
                               error ? error->message : "the monitor's answer makes no sense");
    }
    if (!name && o->json) {
        print_all_json(parameters, capabilities);
    } else if (!name) {
        print_all(json_node_get_object(parameters), json_node_get_array(capabilities));
    } else if (!set_one(client, json_node_get_object(parameters), json_node_get_array(capabilities),
                        name, text, &error)) {
        FerryExit status = error->domain == G_OPTION_ERROR ? FERRY_EXIT_USAGE : FERRY_EXIT_FAILED;
        return ferry_verb_fail("set", status, o->json, "%s: %s", name, error->message);
    } else if (o->json) {
        ferry_verb_print_json(object_of("status", string_node("completed")), TRUE);
    }
    return FERRY_EXIT_DONE;
}

FerryExit ferry_verb_set(int argc, char **argv)
{
    g_auto(Options) o = OPTIONS_DEFAULT;
    const GOptionEntry entries[] = {COMMON_ENTRIES(o), G_OPTION_ENTRY_NULL};
    g_autoptr(FerryQmpClient) client = NULL;
    FerryExit status;

    if (!ferry_verb_parse(&argc, &argv, entries, "[NAME VALUE]",
                          "Sets a parameter or a capability of a migration by its QEMU name, also "
                          "while it runs:\n  max-bandwidth 500MiB/s, downtime-limit 100ms, "
                          "auto-converge on.\nWithout NAME it prints all of them.",
                          0, 2)) {
        return FERRY_EXIT_USAGE;
    }
    if (argc == 2) {
        return ferry_verb_fail("set", FERRY_EXIT_USAGE, FALSE, "a VALUE for '%s' is missing",
                               argv[1]);
    }
    if (!(client = open_monitor("set", &o, &status))) {
        return status;
    }
    return run_set(client, &o, argc > 1 ? argv[1] : NULL, argc > 1 ? argv[2] : NULL);
}
