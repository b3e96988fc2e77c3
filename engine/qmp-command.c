#include "engine/qmp-private.h"
#include <string.h>
#include "engine/qmp-arguments.h"

/* Commands. Each answers with a node or sets the error. */

static JsonNode *migrate(FerryQmp *qmp, JsonObject *args, GError **error)
{
    static const char *const unbuilt[] = {"resume", "blk", "inc"};
    g_autofree char *uri = NULL;
    gboolean detach = TRUE;

    if (!FERRY_QMP_ONLY(args, error, "uri", "channels", "detach", "resume", "blk", "inc") ||
        !ferry_qmp_get_bool(args, "detach", &detach, error)) {
        return NULL;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(unbuilt); i++) {
        gboolean on = FALSE;
        if (!ferry_qmp_get_bool(args, unbuilt[i], &on, error)) {
            return NULL;
        }
        if (on) {
            return ferry_qmp_refuse(error, "Parameter '%s' is not built yet", unbuilt[i]);
        }
    }
    uri = ferry_qmp_get_uri(args, error);
    return uri != NULL && ferry_migration_start(qmp->migration, uri, error) ? ferry_qmp_nothing()
                                                                            : NULL;
}

static JsonNode *migrate_incoming(FerryQmp *qmp, JsonObject *args, GError **error)
{
    g_autofree char *uri = NULL;
    gboolean exit_on_error = TRUE;

    if (!FERRY_QMP_ONLY(args, error, "uri", "channels", "exit-on-error") ||
        !ferry_qmp_get_bool(args, "exit-on-error", &exit_on_error, error)) {
        return NULL;
    }
    uri = ferry_qmp_get_uri(args, error);
    if (uri == NULL) {
        return NULL;
    }
    if (strcmp(qmp->ops->status(qmp->self), "inmigrate") != 0) {
        return ferry_qmp_refuse(error, "'-incoming' was not specified on the command line");
    }
    if (qmp->ops->exit_on_error != NULL) { /* before anything can fail */
        qmp->ops->exit_on_error(qmp->self, exit_on_error);
    }
    return ferry_migration_incoming(qmp->migration, uri, g_atomic_int_get(&qmp->start_paused),
                                    error)
               ? ferry_qmp_nothing()
               : NULL;
}

static JsonNode *migrate_cancel(FerryQmp *qmp, JsonObject *args, GError **error)
{
    (void)args;
    return ferry_migration_cancel(qmp->migration, error) ? ferry_qmp_nothing() : NULL;
}

static JsonNode *migrate_continue(FerryQmp *qmp, JsonObject *args, GError **error)
{
    const char *state;

    if (!FERRY_QMP_ONLY(args, error, "state") ||
        !ferry_qmp_need_string(args, "state", &state, error)) {
        return NULL;
    }
    if (strcmp(state, ferry_status_name(FERRY_STATUS_PRE_SWITCHOVER)) != 0) {
        return ferry_qmp_refuse(error, "Migration not in expected state: %s",
                                ferry_status_name(ferry_migration_get_status(qmp->migration)));
    }
    return ferry_migration_continue(qmp->migration, error) ? ferry_qmp_nothing() : NULL;
}

static gboolean read_setting(JsonNode *value, FerrySetting *setting, GError **error)
{
    FerryParameterType type;
    const char *expected = NULL;

    if (!ferry_parameter_type(setting->name, &type)) {
        return ferry_qmp_refuse(error, "Parameter '%s' is unexpected", setting->name) != NULL;
    }
    switch (type) {
    case FERRY_PARAMETER_NUMBER:
        if (!ferry_qmp_is_a(value, G_TYPE_INT64) || json_node_get_int(value) < 0) {
            expected = "integer, 0 or more";
        } else {
            setting->number = (uint64_t)json_node_get_int(value);
        }
        break;
    case FERRY_PARAMETER_BOOL:
        if (!ferry_qmp_is_a(value, G_TYPE_BOOLEAN)) {
            expected = "boolean";
        } else {
            setting->number = json_node_get_boolean(value) != FALSE;
        }
        break;
    case FERRY_PARAMETER_TEXT:
        if (JSON_NODE_HOLDS_NULL(value)) { /* QEMU's other word for the default */
            setting->text = "";
        } else if (!ferry_qmp_is_a(value, G_TYPE_STRING)) {
            expected = "string";
        } else {
            setting->text = json_node_get_string(value);
        }
        break;
    }
    if (expected != NULL) {
        ferry_qmp_refuse(error, "Invalid parameter type for '%s', expected: %s", setting->name,
                         expected);
    }
    return expected == NULL;
}

static JsonNode *migrate_set_parameters(FerryQmp *qmp, JsonObject *args, GError **error)
{
    g_autoptr(GList) members = json_object_get_members(args);
    g_autoptr(GArray) settings = g_array_new(FALSE, FALSE, sizeof(FerrySetting));

    for (GList *l = members; l != NULL; l = l->next) {
        FerrySetting setting = {.name = l->data};
        if (!read_setting(json_object_get_member(args, setting.name), &setting, error)) {
            return NULL;
        }
        g_array_append_val(settings, setting);
    }
    return ferry_migration_set_parameters(qmp->migration, (const FerrySetting *)settings->data,
                                          settings->len, error)
               ? ferry_qmp_nothing()
               : NULL;
}

static JsonNode *migrate_set_capabilities(FerryQmp *qmp, JsonObject *args, GError **error)
{
    g_autoptr(GArray) settings = g_array_new(FALSE, FALSE, sizeof(FerrySetting));
    JsonArray *list;

    if (!FERRY_QMP_ONLY(args, error, "capabilities") ||
        (list = ferry_qmp_need_list(args, "capabilities", error)) == NULL) {
        return NULL;
    }
    for (guint i = 0; i < json_array_get_length(list); i++) {
        FerrySetting setting = {0};
        gboolean on = FALSE;
        JsonObject *one;
        if (!ferry_qmp_get_object(json_array_get_element(list, i), "capabilities", &one, error) ||
            !FERRY_QMP_ONLY(one, error, "capability", "state") ||
            !ferry_qmp_need_string(one, "capability", &setting.name, error) ||
            !ferry_qmp_get_bool(one, "state", &on, error)) {
            return NULL;
        }
        if (!json_object_has_member(one, "state")) {
            return ferry_qmp_refuse(error, "Parameter 'state' is missing");
        }
        setting.number = on != FALSE;
        g_array_append_val(settings, setting);
    }
    return ferry_migration_set_capabilities(qmp->migration, (const FerrySetting *)settings->data,
                                            settings->len, error)
               ? ferry_qmp_nothing()
               : NULL;
}

static JsonNode *query_migrate(FerryQmp *qmp, JsonObject *args, GError **error)
{
    (void)args;
    (void)error;
    return ferry_qmp_query_migrate(qmp->migration);
}

static JsonNode *query_migrate_parameters(FerryQmp *qmp, JsonObject *args, GError **error)
{
    JsonObject *object = json_object_new();
    FerryParameter p;

    (void)args;
    (void)error;
    for (unsigned i = 0; ferry_migration_get_parameter(qmp->migration, i, &p); i++) {
        switch (p.type) {
        case FERRY_PARAMETER_NUMBER:
            json_object_set_int_member(object, p.name, (gint64)p.number);
            break;
        case FERRY_PARAMETER_BOOL:
            json_object_set_boolean_member(object, p.name, p.number != 0);
            break;
        case FERRY_PARAMETER_TEXT:
            json_object_set_string_member(object, p.name, p.text);
            break;
        }
    }
    return ferry_qmp_object(object);
}

static JsonNode *query_migrate_capabilities(FerryQmp *qmp, JsonObject *args, GError **error)
{
    g_autoptr(JsonBuilder) b = json_builder_new();
    const char *name;
    gboolean on;

    (void)args;
    (void)error;
    json_builder_begin_array(b);
    for (unsigned i = 0; ferry_migration_nth_capability(qmp->migration, i, &name, &on); i++) {
        json_builder_begin_object(b);
        json_builder_set_member_name(b, "state");
        json_builder_add_boolean_value(b, on);
        json_builder_set_member_name(b, "capability");
        json_builder_add_string_value(b, name);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
    return json_builder_get_root(b);
}

static JsonNode *query_status(FerryQmp *qmp, JsonObject *args, GError **error)
{
    const char *status = qmp->ops->status(qmp->self);
    JsonObject *object = json_object_new();

    (void)args;
    (void)error;
    json_object_set_string_member(object, "status", status);
    json_object_set_boolean_member(object, "running", strcmp(status, "running") == 0);
    return ferry_qmp_object(object);
}

/* QEMU's number says which commands, capabilities and keys a script may expect: those of 10.0, the
 * first with "device" for every migration and without those that 9.1 removed. */
static JsonNode *version(void)
{
    JsonObject *qemu = json_object_new(), *object = json_object_new();

    json_object_set_int_member(qemu, "micro", 0);
    json_object_set_int_member(qemu, "minor", 0);
    json_object_set_int_member(qemu, "major", 10);
    json_object_set_object_member(object, "qemu", qemu);
    json_object_set_string_member(object, "package", "ferry " FERRY_VERSION);
    return ferry_qmp_object(object);
}

JsonNode *ferry_qmp_greeting(void)
{
    JsonObject *inner = json_object_new(), *outer = json_object_new();

    json_object_set_member(inner, "version", version());
    json_object_set_array_member(inner, "capabilities", json_array_new());
    json_object_set_object_member(outer, "QMP", inner);
    return ferry_qmp_object(outer);
}

static JsonNode *query_version(FerryQmp *qmp, JsonObject *args, GError **error)
{
    (void)qmp;
    (void)args;
    (void)error;
    return version();
}

/* A guest without a name, as QEMU without -name. */
static JsonNode *query_name(FerryQmp *qmp, JsonObject *args, GError **error)
{
    (void)qmp;
    (void)args;
    (void)error;
    return ferry_qmp_nothing();
}

static JsonNode *query_uuid(FerryQmp *qmp, JsonObject *args, GError **error)
{
    JsonObject *object = json_object_new();
    uint8_t uuid[16] = {0}; /* that of a guest without */
    char text[37], *at = text;

    (void)args;
    (void)error;
    (void)ferry_guest_get_uuid(qmp->migration->guest, uuid);
    for (unsigned i = 0; i < sizeof uuid; i++) {
        at += g_snprintf(at, 4, i == 4 || i == 6 || i == 8 || i == 10 ? "-%02x" : "%02x", uuid[i]);
    }
    json_object_set_string_member(object, "UUID", text);
    return ferry_qmp_object(object);
}

static JsonNode *stop(FerryQmp *qmp, JsonObject *args, GError **error)
{
    (void)args;
    return qmp->ops->stop(qmp->self, error) ? ferry_qmp_nothing() : NULL;
}

static JsonNode *cont(FerryQmp *qmp, JsonObject *args, GError **error)
{
    (void)args;
    return ferry_migration_may_run(qmp->migration, error) && qmp->ops->cont(qmp->self, error)
               ? ferry_qmp_nothing()
               : NULL;
}

static JsonNode *quit(FerryQmp *qmp, JsonObject *args, GError **error)
{
    JsonObject *data = json_object_new();

    (void)args;
    (void)error;
    json_object_set_boolean_member(data, "guest", FALSE);
    json_object_set_string_member(data, "reason", "host-qmp-quit");
    ferry_qmp_send_event(qmp, "SHUTDOWN", ferry_qmp_object(data));
    qmp->quit_asked = TRUE;
    return ferry_qmp_nothing();
}

static JsonNode *human_monitor_command(FerryQmp *qmp, JsonObject *args, GError **error)
{
    (void)qmp;
    (void)args;
    return ferry_qmp_refuse(
        error, "human-monitor-command: there is no human monitor, use the QMP command");
}

static JsonNode *x_ferry_resolve(FerryQmp *qmp, JsonObject *args, GError **error)
{
    const char *owner;

    if (!FERRY_QMP_ONLY(args, error, "owner") ||
        !ferry_qmp_need_string(args, "owner", &owner, error)) {
        return NULL;
    }
    if (strcmp(owner, "here") != 0 && strcmp(owner, "there") != 0) {
        return ferry_qmp_refuse(error, "Parameter 'owner' does not accept value '%s'", owner);
    }
    return ferry_migration_resolve(qmp->migration, strcmp(owner, "here") == 0, error)
               ? ferry_qmp_nothing()
               : NULL;
}

static JsonNode *query_commands(FerryQmp *qmp, JsonObject *args, GError **error);

static const FerryQmpCommand commands[] = {
    {"migrate",                    migrate,                    TRUE },
    {"migrate-incoming",           migrate_incoming,           TRUE },
    {"migrate_cancel",             migrate_cancel,             FALSE},
    {"migrate-continue",           migrate_continue,           TRUE },
    {"migrate-set-parameters",     migrate_set_parameters,     TRUE },
    {"migrate-set-capabilities",   migrate_set_capabilities,   TRUE },
    {"query-migrate",              query_migrate,              FALSE},
    {"query-migrate-parameters",   query_migrate_parameters,   FALSE},
    {"query-migrate-capabilities", query_migrate_capabilities, FALSE},
    {"query-status",               query_status,               FALSE},
    {"query-version",              query_version,              FALSE},
    {"query-name",                 query_name,                 FALSE},
    {"query-uuid",                 query_uuid,                 FALSE},
    {"query-commands",             query_commands,             FALSE},
    {"stop",                       stop,                       FALSE},
    {"cont",                       cont,                       FALSE},
    {"quit",                       quit,                       FALSE},
    {"human-monitor-command",      human_monitor_command,      TRUE },
    {"calc-dirty-rate",            ferry_qmp_calc_dirty_rate,  TRUE },
    {"query-dirty-rate",           ferry_qmp_query_dirty_rate, TRUE },
    {"x-ferry-resolve",            x_ferry_resolve,            TRUE },
    {"x-ferry-record",             ferry_qmp_record,           TRUE },
    {"x-ferry-record-stop",        ferry_qmp_record_stop,      FALSE},
    {"x-ferry-query-record",       ferry_qmp_query_record,     FALSE},
};

static JsonNode *query_commands(FerryQmp *qmp, JsonObject *args, GError **error)
{
    JsonArray *list = json_array_new();
    JsonNode *node = json_node_new(JSON_NODE_ARRAY);

    (void)qmp;
    (void)args;
    (void)error;
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        JsonObject *one = json_object_new();
        json_object_set_string_member(one, "name", commands[i].name);
        json_array_add_object_element(list, one);
    }
    json_node_take_array(node, list);
    return node;
}

const FerryQmpCommand *ferry_qmp_find_command(const char *name)
{
    for (unsigned i = 0; i < G_N_ELEMENTS(commands); i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}
