#include "tools/peer.h"

#include <string.h>

#define POLL_US 20000

static gboolean refuse(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
static gboolean refuse(GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED, "the destination: %s", text);
    return FALSE;
}

static JsonObject *as_object(JsonNode *node)
{
    return node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

static const char *text_of(JsonObject *object, const char *key)
{
    JsonNode *node = object ? json_object_get_member(object, key) : NULL;

    return node && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_STRING
               ? json_node_get_string(node)
               : NULL;
}

/* -1: there is none. */
static gint64 number_of(JsonObject *object, const char *key)
{
    JsonNode *node = object ? json_object_get_member(object, key) : NULL;

    return node && JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == G_TYPE_INT64
               ? json_node_get_int(node)
               : -1;
}

static gboolean is_true(JsonNode *node)
{
    if (!node || !JSON_NODE_HOLDS_VALUE(node)) {
        return FALSE;
    }
    if (json_node_get_value_type(node) == G_TYPE_STRING) { /* as compat-props have it */
        const char *text = json_node_get_string(node);
        return strcmp(text, "on") == 0 || strcmp(text, "true") == 0 || strcmp(text, "yes") == 0;
    }
    return json_node_get_value_type(node) == G_TYPE_BOOLEAN && json_node_get_boolean(node);
}

/* The element of a list of objects where @key is @value. */
static JsonObject *find(JsonNode *list, const char *key, const char *value)
{
    JsonArray *array = list && JSON_NODE_HOLDS_ARRAY(list) ? json_node_get_array(list) : NULL;

    for (guint i = 0; array && i < json_array_get_length(array); i++) {
        JsonObject *object = as_object(json_array_get_element(array, i));
        const char *text = text_of(object, key);
        if (text && strcmp(text, value) == 0) {
            return object;
        }
    }
    return NULL;
}

/* What "migration" has for @property where nothing overrides it. *out_known: it has it at all. */
static gboolean default_of(JsonNode *properties, const char *property, gboolean *out_known)
{
    JsonObject *object = find(properties, "name", property);

    *out_known = object != NULL;
    return object && is_true(json_object_get_member(object, "default-value"));
}

/* What the machine type makes of it. */
static gboolean value_of(JsonNode *compat, JsonNode *properties, const char *property)
{
    JsonArray *array = json_node_get_array(compat);
    gboolean known, value = default_of(properties, property, &known);

    for (guint i = 0; known && i < json_array_get_length(array); i++) {
        JsonObject *object = as_object(json_array_get_element(array, i));
        const char *type = text_of(object, "qom-type"), *name = text_of(object, "property");
        if (type && name && strcmp(type, "migration") == 0 && strcmp(name, property) == 0) {
            value = is_true(json_object_get_member(object, "value"));
        }
    }
    return value;
}

gboolean ferry_peer_dialect(const char *version, const char *machine, JsonNode *machines,
                            JsonNode *properties, FerryDialect *out_dialect, GError **error)
{
    JsonObject *entry = find(machines, "name", machine);
    JsonNode *compat = entry ? json_object_get_member(entry, "compat-props") : NULL;
    gboolean known;

    (void)default_of(properties, "multifd-flush-after-each-section", &known);
    if (!known || !compat || !JSON_NODE_HOLDS_ARRAY(compat)) {
        return ferry_dialect_for(machine, version, out_dialect, error);
    }
    /* A distributor's machine types say it here, too. */
    if (!ferry_dialect_for("none", version, out_dialect, error)) {
        return FALSE;
    }
    out_dialect->flush_per_round =
        !value_of(compat, properties, "multifd-flush-after-each-section");
    out_dialect->switchover_start = value_of(compat, properties, "send-switchover-start");
    return TRUE;
}

static JsonNode *arguments(const char *key, const char *text, const char *key2, const char *text2)
{
    g_autoptr(JsonBuilder) b = json_builder_new();

    json_builder_begin_object(b);
    ferry_json_add_string(b, key, text);
    if (key2) {
        ferry_json_add_string(b, key2, text2);
    }
    json_builder_end_object(b);
    return ferry_verb_build(b);
}

static gboolean ask_version(FerryQmpClient *client, FerryPeer *p, GError **error)
{
    g_autoptr(JsonNode) answer = ferry_qmp_client_call(client, "query-version", NULL, error);
    JsonObject *object = as_object(answer), *qemu;

    if (!answer) {
        return FALSE;
    }
    qemu = object && json_object_has_member(object, "qemu")
               ? as_object(json_object_get_member(object, "qemu"))
               : NULL;
    if (number_of(qemu, "major") < 0 || number_of(qemu, "minor") < 0) {
        return refuse(error, "query-version says no version");
    }
    p->version = g_strdup_printf("%" G_GINT64_FORMAT ".%" G_GINT64_FORMAT ".%" G_GINT64_FORMAT,
                                 number_of(qemu, "major"), number_of(qemu, "minor"),
                                 MAX(number_of(qemu, "micro"), 0));
    return TRUE;
}

static gboolean ask_machine(FerryQmpClient *client, FerryPeer *p, GError **error)
{
    g_autoptr(JsonNode) answer = ferry_qmp_client_call(
        client, "qom-get", arguments("path", "/machine", "property", "type"), error);

    if (!answer) {
        return FALSE;
    }
    if (!JSON_NODE_HOLDS_VALUE(answer) || json_node_get_value_type(answer) != G_TYPE_STRING ||
        !g_str_has_suffix(json_node_get_string(answer), "-machine")) {
        return refuse(error, "/machine has no type");
    }
    p->machine = g_strndup(json_node_get_string(answer),
                           strlen(json_node_get_string(answer)) - strlen("-machine"));
    return TRUE;
}

/* Binaries that do not know these questions are old enough to be known by their version. */
static gboolean ask_dialect(FerryQmpClient *client, FerryPeer *p, GError **error)
{
    g_autoptr(JsonBuilder) b = json_builder_new();

    json_builder_begin_object(b);
    json_builder_set_member_name(b, "compat-props");
    json_builder_add_boolean_value(b, TRUE);
    json_builder_end_object(b);
    g_autoptr(JsonNode) machines =
        ferry_qmp_client_call(client, "query-machines", ferry_verb_build(b), NULL);
    g_autoptr(JsonNode) properties = ferry_qmp_client_call(
        client, "qom-list-properties", arguments("typename", "migration", NULL, NULL), NULL);
    return ferry_peer_dialect(p->version, p->machine, machines, properties, &p->dialect, error);
}

static gboolean ask_multifd(FerryQmpClient *client, FerryPeer *p, GError **error)
{
    g_autoptr(JsonNode) capabilities =
        ferry_qmp_client_call(client, "query-migrate-capabilities", NULL, error);
    g_autoptr(JsonNode) parameters =
        capabilities ? ferry_qmp_client_call(client, "query-migrate-parameters", NULL, error)
                     : NULL;
    JsonObject *multifd = find(capabilities, "capability", "multifd");
    JsonObject *object = as_object(parameters);

    if (!parameters) {
        return FALSE;
    }
    p->multifd = multifd && is_true(json_object_get_member(multifd, "state"));
    gint64 channels = number_of(object, "multifd-channels");
    const char *method = text_of(object, "multifd-compression");
    p->multifd_channels = channels > 0 && channels <= 255 ? (unsigned)channels : 0;
    p->multifd_compression = g_strdup(method ? method : "none");
    return !p->multifd || p->multifd_channels > 0 ||
           refuse(error, "multifd is on, but it does not say with how many channels");
}

static gboolean ask_uuid(FerryQmpClient *client, FerryPeer *p, GError **error)
{
    g_autoptr(JsonNode) answer = ferry_qmp_client_call(client, "query-uuid", NULL, error);
    const char *uuid = text_of(as_object(answer), "UUID");

    if (!answer) {
        return FALSE;
    }
    if (uuid && strcmp(uuid, "00000000-0000-0000-0000-000000000000") != 0) {
        p->uuid = g_strdup(uuid);
    }
    return TRUE;
}

static char *ask_status(FerryQmpClient *client, GError **error)
{
    g_autoptr(JsonNode) answer = ferry_qmp_client_call(client, "query-status", NULL, error);
    const char *status = text_of(as_object(answer), "status");

    return answer ? g_strdup(status ? status : "unknown") : NULL;
}

gboolean ferry_peer_ask(FerryQmpClient *client, FerryPeer *out_peer, GError **error)
{
    g_autofree char *status = ask_status(client, error);
    g_auto(FerryPeer) p = {0};

    if (!status) {
        return FALSE;
    }
    if (strcmp(status, "inmigrate") != 0) {
        return refuse(error, "its guest is '%s'; it does not wait for a migration", status);
    }
    if (!ask_version(client, &p, error) || !ask_machine(client, &p, error) ||
        !ask_dialect(client, &p, error) || !ask_multifd(client, &p, error) ||
        !ask_uuid(client, &p, error)) {
        return FALSE;
    }
    *out_peer = p;
    p = (FerryPeer){0};
    return TRUE;
}

void ferry_peer_clear(FerryPeer *p)
{
    g_free(p->version);
    g_free(p->machine);
    g_free(p->uuid);
    g_free(p->multifd_compression);
}

gboolean ferry_peer_run(FerryQmpClient *client, const char *state, uint64_t timeout_ns,
                        GError **error)
{
    uint64_t deadline_ns = ferry_now_ns() + timeout_ns;
    gboolean told = FALSE;

    while (ferry_now_ns() < deadline_ns) {
        g_autofree char *status = ask_status(client, error);
        if (!status) {
            return FALSE;
        }
        if (strcmp(status, state) == 0) {
            return TRUE;
        }
        /* While it still says "inmigrate" it would remember the order, and not say so. */
        if (!told && strcmp(status, "inmigrate") != 0) {
            if (!ferry_qmp_client_do(client, "cont", NULL, error)) {
                return FALSE;
            }
            told = TRUE;
        }
        g_usleep(POLL_US);
    }
    return refuse(error, "its guest is not '%s' in time", state);
}
