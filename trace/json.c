#include "trace/json.h"
#include <string.h>

/* json-glib recurses, makes a tree of about a kilobyte for each block, and takes more than JSON:
 * what it is given is looked over first. */
#define DEPTH_MAX 32u
#define VALUES_MAX (512u << 10)
#define INTEGER_DIGITS_MAX 18u

gboolean ferry_trace_json_refuse(GError **error, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    g_autofree char *text = g_strdup_vprintf(format, arguments);
    va_end(arguments);
    g_set_error_literal(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_FORMAT, text);
    return FALSE;
}

/* Past the digits at @i. */
static size_t digits(const char *text, size_t length, size_t i)
{
    while (i < length && g_ascii_isdigit(text[i])) {
        i++;
    }
    return i;
}

/* Past the number that begins at @i; 0: it is none, or an integer that does not fit 63 bits. */
static size_t number(const char *text, size_t length, size_t i)
{
    size_t begin = text[i] == '-' ? i + 1 : i, end = digits(text, length, begin);
    gboolean whole = TRUE;

    if (end == begin || (text[begin] == '0' && end > begin + 1)) {
        return 0;
    }
    size_t n_digits = end - begin;
    if (end < length && text[end] == '.') {
        size_t from = end + 1;
        whole = FALSE;
        if ((end = digits(text, length, from)) == from) {
            return 0;
        }
    }
    if (end < length && (text[end] == 'e' || text[end] == 'E')) {
        size_t from = end + 1;
        whole = FALSE;
        from += from < length && (text[from] == '+' || text[from] == '-');
        if ((end = digits(text, length, from)) == from) {
            return 0;
        }
    }
    if (end < length && (g_ascii_isalpha(text[end]) || text[end] == '.')) {
        return 0;
    }
    if (whole && n_digits > INTEGER_DIGITS_MAX &&
        (n_digits > INTEGER_DIGITS_MAX + 1 ||
         strncmp(text + begin, "9223372036854775807", INTEGER_DIGITS_MAX + 1) > 0)) {
        return 0;
    }
    return end;
}

/* Past the string that begins at @i; 0: it does not end, or has what a string may not have. */
static size_t string(const char *text, size_t length, size_t i)
{
    for (i++; i < length && (unsigned char)text[i] >= 0x20; i++) {
        if (text[i] == '"') {
            return i + 1;
        }
        if (text[i] == '\\') {
            i++;
        }
    }
    return 0;
}

static gboolean look_over(const char *text, size_t length, GError **error)
{
    unsigned depth = 0, values = 0;

    for (size_t i = 0, next; i < length; i = next) {
        char c = text[i];

        next = i + 1;
        if (c == '"') {
            next = string(text, length, i);
        } else if (c == '-' || g_ascii_isdigit(c)) {
            next = number(text, length, i);
        } else if (c == '{' || c == '[') {
            values++;
            depth++;
        } else if (c == '}' || c == ']') {
            depth--; /* below 0 it is more than DEPTH_MAX */
        } else if (c == ',') {
            values++;
        } else if (!strchr(" \t\r\n:", c) && !g_ascii_islower(c)) {
            next = 0;
        }
        if (next == 0) {
            return ferry_trace_json_refuse(
                error, "JSON, byte %zu: no value that JSON has, or no integer below 2^63", i);
        }
        if (depth > DEPTH_MAX || values > VALUES_MAX) {
            return ferry_trace_json_refuse(error,
                                           "JSON, byte %zu: unbalanced, nested more than %u deep, "
                                           "or more than %u values",
                                           i, DEPTH_MAX, VALUES_MAX);
        }
    }
    return TRUE;
}

JsonParser *ferry_trace_json_parse(const char *text, size_t length, GError **error)
{
    g_autoptr(JsonParser) parser = NULL;
    g_autoptr(GError) syntax = NULL;

    if (length > FERRY_TRACE_JSON_MAX) {
        ferry_trace_json_refuse(error, "JSON of more than %u bytes", FERRY_TRACE_JSON_MAX);
        return NULL;
    }
    if (length == 0 || !g_utf8_validate_len(text, length, NULL)) {
        ferry_trace_json_refuse(error, "JSON: not UTF-8");
        return NULL;
    }
    if (!look_over(text, length, error)) {
        return NULL;
    }
    parser = json_parser_new_immutable();
    if (!json_parser_load_from_data(parser, text, (gssize)length, &syntax)) {
        ferry_trace_json_refuse(error, "JSON: %s", syntax->message);
        return NULL;
    }
    if (!json_parser_get_root(parser)) {
        ferry_trace_json_refuse(error, "JSON: nothing in it");
        return NULL;
    }
    return g_steal_pointer(&parser);
}

gboolean ferry_trace_json_integer(JsonObject *object, const char *name, uint64_t most,
                                  uint64_t *out, GError **error)
{
    JsonNode *node = json_object_get_member(object, name);

    if (!node) {
        return TRUE;
    }
    if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_INT64 ||
        json_node_get_int(node) < 0 || (uint64_t)json_node_get_int(node) > most) {
        return ferry_trace_json_refuse(error, "%s: not an integer from 0 to %" G_GUINT64_FORMAT,
                                       name, most);
    }
    *out = (uint64_t)json_node_get_int(node);
    return TRUE;
}

gboolean ferry_trace_json_string(JsonObject *object, const char *name, char **out, GError **error)
{
    JsonNode *node = json_object_get_member(object, name);

    if (!node) {
        return TRUE;
    }
    if (!JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_STRING ||
        !g_utf8_validate(json_node_get_string(node), -1, NULL)) { /* escapes may make anything */
        return ferry_trace_json_refuse(error, "%s: not a string", name);
    }
    g_free(*out);
    *out = g_strdup(json_node_get_string(node));
    return TRUE;
}

static void add_text(GString *text, const char *value)
{
    g_string_append_c(text, '"');
    for (; *value; value++) {
        unsigned char c = (unsigned char)*value;

        if (c == '"' || c == '\\') {
            g_string_append_c(text, '\\');
            g_string_append_c(text, (char)c);
        } else if (c < 0x20) {
            g_string_append_printf(text, "\\u%04x", c);
        } else {
            g_string_append_c(text, (char)c);
        }
    }
    g_string_append_c(text, '"');
}

static void add_name(GString *text, const char *name)
{
    if (text->len > 0 && text->str[text->len - 1] != '{') {
        g_string_append(text, ", ");
    }
    add_text(text, name);
    g_string_append(text, ": ");
}

void ferry_trace_json_add_integer(GString *text, const char *name, uint64_t value)
{
    add_name(text, name);
    g_string_append_printf(text, "%" G_GUINT64_FORMAT, value);
}

void ferry_trace_json_add_string(GString *text, const char *name, const char *value)
{
    if (value) {
        g_autofree char *valid = g_utf8_make_valid(value, -1); /* paths may be any bytes */

        add_name(text, name);
        add_text(text, valid);
    }
}
