/* Members of JSON objects that files bring: taken if they are what they should be. */
#include <string.h>
#include "engine/ferry.h"
#include "tools/figures-read.h"

#define TEXT_MAX_BYTES 4096u

gboolean ferry_result_bad(GError **error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    if (error) {
        *error =
            g_error_new_valist(FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED, format, arguments);
    }
    va_end(arguments);
    return FALSE;
}

/* The text of member @name, "" without one. */
gboolean ferry_result_text(JsonObject *object, const char *name, char **out, GError **error)
{
    JsonNode *node = json_object_get_member(object, name);
    const char *text = "";

    if (node) {
        if (json_node_get_value_type(node) != G_TYPE_STRING) {
            return ferry_result_bad(error, "'%s' is no text", name);
        }
        text = json_node_get_string(node);
        if (strlen(text) > TEXT_MAX_BYTES) {
            return ferry_result_bad(error, "'%s' is longer than %u bytes", name, TEXT_MAX_BYTES);
        }
    }
    g_free(*out);
    *out = g_strdup(text);
    return TRUE;
}

/* Every number that has a name of its own is at least 0. */
gboolean ferry_result_number(JsonObject *object, const char *name, double *out, GError **error)
{
    const char *dot = strchr(name, '.');
    JsonNode *node;

    if (dot) {
        g_autofree char *outer = g_strndup(name, (size_t)(dot - name));
        node = json_object_get_member(object, outer);
        if (!node || JSON_NODE_HOLDS_NULL(node)) {
            return TRUE;
        }
        if (!JSON_NODE_HOLDS_OBJECT(node)) {
            return ferry_result_bad(error, "'%s' is no object", outer);
        }
        return ferry_result_number(json_node_get_object(node), dot + 1, out, error);
    }
    node = json_object_get_member(object, name);
    if (!node || JSON_NODE_HOLDS_NULL(node)) {
        return TRUE;
    }
    GType type = JSON_NODE_HOLDS_VALUE(node) ? json_node_get_value_type(node) : G_TYPE_NONE;
    if (type != G_TYPE_INT64 && type != G_TYPE_DOUBLE) {
        return ferry_result_bad(error, "'%s' is no number", name);
    }
    double value = json_node_get_double(node);
    if (!(value >= 0 && value < 1e30)) {
        return ferry_result_bad(error, "'%s' is negative or beyond all bounds", name);
    }
    *out = value;
    return TRUE;
}

char *ferry_result_command(JsonNode *arguments)
{
    g_autoptr(GString) line = g_string_new(NULL);
    JsonArray *array = json_node_get_array(arguments);

    for (guint i = 0; i < json_array_get_length(array); i++) {
        const char *word = json_node_get_string(json_array_get_element(array, i));
        gboolean is_plain = word && *word &&
                            word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                              "0123456789-_./:,=+@%")] == '\0';
        g_autofree char *quoted = is_plain ? g_strdup(word) : g_shell_quote(word ? word : "");
        g_string_append_printf(line, "%s%s", i ? " " : "", quoted);
    }
    return g_string_free(g_steal_pointer(&line), FALSE);
}

gboolean ferry_result_take_command(JsonObject *object, char **out, GError **error)
{
    JsonNode *node = json_object_get_member(object, "command");

    g_free(*out);
    *out = NULL;
    if (!node) {
        *out = g_strdup("");
        return TRUE;
    }
    gboolean is_good = JSON_NODE_HOLDS_ARRAY(node);
    for (guint i = 0; is_good && i < json_array_get_length(json_node_get_array(node)); i++) {
        JsonNode *word = json_array_get_element(json_node_get_array(node), i);
        is_good = JSON_NODE_HOLDS_VALUE(word) && json_node_get_value_type(word) == G_TYPE_STRING;
    }
    *out = is_good ? ferry_result_command(node) : g_strdup("");
    return is_good || ferry_result_bad(error, "'command' is no array of texts");
}

/* Text and numbers as the file has them; FALSE of what is neither. */
char *ferry_result_scalar(JsonNode *node)
{
    if (!JSON_NODE_HOLDS_VALUE(node)) {
        return NULL;
    }
    switch (json_node_get_value_type(node)) {
    case G_TYPE_STRING:
        return g_strndup(json_node_get_string(node), TEXT_MAX_BYTES);
    case G_TYPE_INT64:
        return g_strdup_printf("%" G_GINT64_FORMAT, json_node_get_int(node));
    case G_TYPE_DOUBLE:
        return g_strdup_printf("%.10g", json_node_get_double(node));
    case G_TYPE_BOOLEAN:
        return g_strdup(json_node_get_boolean(node) ? "true" : "false");
    default:
        return NULL;
    }
}
