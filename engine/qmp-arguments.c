#include "engine/qmp-arguments.h"
#include <string.h>

void *ferry_qmp_refuse(GError **error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    *error = g_error_new_valist(FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED, format, arguments);
    va_end(arguments);
    return NULL;
}

gboolean ferry_qmp_only(JsonObject *args, const char *const *known, GError **error)
{
    g_autoptr(GList) members = json_object_get_members(args);

    for (GList *l = members; l != NULL; l = l->next) {
        if (!g_strv_contains(known, l->data)) {
            ferry_qmp_refuse(error, "Parameter '%s' is unexpected", (const char *)l->data);
            return FALSE;
        }
    }
    return TRUE;
}

gboolean ferry_qmp_is_a(JsonNode *node, GType type)
{
    return JSON_NODE_HOLDS_VALUE(node) && json_node_get_value_type(node) == type;
}

gboolean ferry_qmp_get_string(JsonObject *args, const char *name, const char **out, GError **error)
{
    JsonNode *node = json_object_get_member(args, name);

    if (node != NULL && !ferry_qmp_is_a(node, G_TYPE_STRING)) {
        ferry_qmp_refuse(error, "Invalid parameter type for '%s', expected: string", name);
        return FALSE;
    }
    if (node != NULL) {
        *out = json_node_get_string(node);
    }
    return TRUE;
}

gboolean ferry_qmp_need_string(JsonObject *args, const char *name, const char **out, GError **error)
{
    *out = NULL;
    if (ferry_qmp_get_string(args, name, out, error) && *out == NULL) {
        ferry_qmp_refuse(error, "Parameter '%s' is missing", name);
    }
    return *out != NULL;
}

gboolean ferry_qmp_get_bool(JsonObject *args, const char *name, gboolean *out, GError **error)
{
    JsonNode *node = json_object_get_member(args, name);

    if (node != NULL && !ferry_qmp_is_a(node, G_TYPE_BOOLEAN)) {
        ferry_qmp_refuse(error, "Invalid parameter type for '%s', expected: boolean", name);
        return FALSE;
    }
    if (node != NULL) {
        *out = json_node_get_boolean(node);
    }
    return TRUE;
}

gboolean ferry_qmp_get_object(JsonNode *node, const char *name, JsonObject **out, GError **error)
{
    if (node == NULL || !JSON_NODE_HOLDS_OBJECT(node)) {
        ferry_qmp_refuse(error, "Invalid parameter type for '%s', expected: object", name);
        return FALSE;
    }
    *out = json_node_get_object(node);
    return TRUE;
}

JsonArray *ferry_qmp_need_list(JsonObject *args, const char *name, GError **error)
{
    JsonNode *node = json_object_get_member(args, name);

    if (node == NULL) {
        return ferry_qmp_refuse(error, "Parameter '%s' is missing", name);
    }
    if (!JSON_NODE_HOLDS_ARRAY(node)) {
        return ferry_qmp_refuse(error, "Invalid parameter type for '%s', expected: array", name);
    }
    return json_node_get_array(node);
}

/* Where to: "uri", or "channels" as QEMU has it since 8.2. */

static char *inet_uri(JsonObject *addr, GError **error)
{
    g_auto(FerryAddress) address = {.type = FERRY_ADDRESS_TCP};
    const char *host, *port;
    guint64 number;

    if (!ferry_qmp_need_string(addr, "host", &host, error) ||
        !ferry_qmp_need_string(addr, "port", &port, error)) {
        return NULL;
    }
    if (!g_ascii_string_to_unsigned(port, 10, 0, 65535, &number, NULL)) {
        return ferry_qmp_refuse(error, "Parameter 'port' is not a port: '%s'", port);
    }
    address.text = g_strdup(host);
    address.port = (uint16_t)number;
    return ferry_address_to_uri(&address);
}

static char *addr_uri(JsonObject *addr, GError **error)
{
    const char *transport, *type = "", *path;

    if (!ferry_qmp_need_string(addr, "transport", &transport, error) ||
        !ferry_qmp_get_string(addr, "type", &type, error)) {
        return NULL;
    }
    if (strcmp(transport, "socket") == 0 && strcmp(type, "inet") == 0) {
        return inet_uri(addr, error);
    }
    if (strcmp(transport, "socket") == 0 && strcmp(type, "unix") == 0) {
        return ferry_qmp_need_string(addr, "path", &path, error) ? g_strdup_printf("unix:%s", path)
                                                                 : NULL;
    }
    if (strcmp(transport, "file") == 0) {
        gint64 offset = json_object_get_int_member_with_default(addr, "offset", 0);
        return ferry_qmp_need_string(addr, "filename", &path, error)
                   ? g_strdup_printf("file:%s,offset=%" G_GINT64_FORMAT, path, offset)
                   : NULL;
    }
    return ferry_qmp_refuse(error, "Channels of transport '%s' %s are not built yet: use 'uri'",
                            transport, type);
}

/* g_free */
char *ferry_qmp_get_uri(JsonObject *args, GError **error)
{
    const char *uri = NULL, *type;
    JsonObject *channel, *addr;
    JsonArray *channels;

    if (!ferry_qmp_get_string(args, "uri", &uri, error)) {
        return NULL;
    }
    if (json_object_has_member(args, "channels") == (uri != NULL)) {
        return ferry_qmp_refuse(error, uri != NULL
                                           ? "Parameters 'uri' and 'channels' exclude each other"
                                           : "Parameter 'uri' is missing");
    }
    if (uri != NULL) {
        return g_strdup(uri);
    }
    channels = ferry_qmp_need_list(args, "channels", error);
    if (channels == NULL) {
        return NULL;
    }
    if (json_array_get_length(channels) != 1) {
        return ferry_qmp_refuse(error, "Parameter 'channels' expects one channel");
    }
    if (!ferry_qmp_get_object(json_array_get_element(channels, 0), "channels", &channel, error) ||
        !ferry_qmp_need_string(channel, "channel-type", &type, error) ||
        !ferry_qmp_get_object(json_object_get_member(channel, "addr"), "addr", &addr, error)) {
        return NULL;
    }
    if (strcmp(type, "main") != 0) {
        return ferry_qmp_refuse(error, "Parameter 'channel-type' does not accept value '%s'", type);
    }
    return addr_uri(addr, error);
}
