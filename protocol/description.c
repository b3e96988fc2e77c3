#include "protocol/description.h"
#include <inttypes.h>
#include <string.h>
#include <json-glib/json-glib.h>
#include "protocol/decoder-private.h"

/* json-glib recurses and builds a tree, so what it is given is bounded first. A pc with one vCPU
 * has a description of 100 KB and about 5000 values, nested 12 deep. */
#define DEPTH_MAX 64
#define TEXT_MAX ((size_t)32 << 20)
#define VALUES_MAX (512u << 10)

struct FerryDescription {
    GArray *devices; /* of FerryDescribedDevice */
    GStringChunk *names;
};

static void append_string(GString *out, const char *s)
{
    g_string_append_c(out, '"');
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;

        if (c == '"' || c == '\\') {
            g_string_append_c(out, '\\');
            g_string_append_c(out, (char)c);
        } else if (c < 0x20) {
            g_string_append_printf(out, "\\u%04x", c);
        } else {
            g_string_append_c(out, (char)c);
        }
    }
    g_string_append_c(out, '"');
}

char *ferry_description_write(unsigned page_size, const FerryDescribedDevice *devices, size_t n,
                              size_t *out_length)
{
    GString *out = g_string_new(NULL);

    g_string_append_printf(out, "{\"page_size\": %u, \"devices\": [", page_size);
    for (size_t i = 0; i < n; i++) {
        g_string_append(out, i ? ", {\"name\": " : "{\"name\": ");
        append_string(out, devices[i].idstr);
        g_string_append_printf(
            out,
            ", \"instance_id\": %" PRIu32 ", \"size\": %" PRIu64
            ", \"fields\": [{\"name\": \"data\", \"size\": %" PRIu64 ", \"type\": \"buffer\"}]}",
            devices[i].instance_id, devices[i].body_bytes, devices[i].body_bytes);
    }
    g_string_append(out, "]}");
    *out_length = out->len;
    return g_string_free(out, FALSE);
}

static gboolean refuse(GError **error, const char *why)
{
    g_set_error(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_MALFORMED, "description: %s",
                why);
    return FALSE;
}

static gboolean limit(GError **error, const char *why)
{
    g_set_error(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_LIMIT, "description: %s", why);
    return FALSE;
}

/* Before any parser sees the text: bounds of length, nesting and number of values. */
static gboolean check_bounds(const char *text, size_t length, GError **error)
{
    unsigned depth = 0, values = 0;
    gboolean in_string = FALSE;

    if (length > TEXT_MAX) {
        return limit(error, "too long");
    }
    for (size_t i = 0; i < length; i++) {
        char c = text[i];

        if (in_string) {
            if (c == '\\') {
                i++;
            } else if (c == '"') {
                in_string = FALSE;
            }
        } else if (c == '"') {
            in_string = TRUE;
        } else if (c == '{' || c == '[') {
            values++;
            if (++depth > DEPTH_MAX) {
                return limit(error, "nested too deep");
            }
        } else if (c == '}' || c == ']') {
            if (depth-- == 0) {
                return refuse(error, "unbalanced brackets");
            }
        } else if (c == ',') {
            values++;
        } else if (c == '/' || c == '#' || c == '\'') {
            /* json-glib knows comments, and a quote inside one is none */
            return refuse(error, "not JSON");
        }
        if (values > VALUES_MAX) {
            return limit(error, "too many values");
        }
    }
    return TRUE;
}

static gboolean get_number(JsonObject *object, const char *key, uint64_t max, uint64_t *out)
{
    JsonNode *node = json_object_get_member(object, key);
    gint64 value;

    if (!node || !JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_INT64) {
        return FALSE;
    }
    value = json_node_get_int(node);
    if (value < 0 || (uint64_t)value > max) {
        return FALSE;
    }
    *out = (uint64_t)value;
    return TRUE;
}

static const char *get_string(JsonObject *object, const char *key)
{
    JsonNode *node = json_object_get_member(object, key);

    if (!node || !JSON_NODE_HOLDS_VALUE(node) || json_node_get_value_type(node) != G_TYPE_STRING) {
        return NULL;
    }
    return json_node_get_string(node);
}

static JsonArray *get_array(JsonObject *object, const char *key)
{
    JsonNode *node = json_object_get_member(object, key);

    return node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
}

static JsonObject *get_element(JsonArray *array, guint i)
{
    JsonNode *node = json_array_get_element(array, i);

    return JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
}

/* A field's size already covers what is nested in it; array_len repeats it. */
static gboolean add_field(JsonObject *field, uint64_t *bytes, GError **error)
{
    uint64_t size, elements = 1, total;

    if (!field || !get_number(field, "size", G_MAXINT64, &size)) {
        return refuse(error, "a field without a size");
    }
    if (json_object_has_member(field, "array_len") &&
        !get_number(field, "array_len", G_MAXINT64, &elements)) {
        return refuse(error, "a field with a bad array_len");
    }
    if (__builtin_mul_overflow(size, elements, &total) ||
        __builtin_add_overflow(*bytes, total, bytes)) {
        return refuse(error, "sizes overflow");
    }
    return TRUE;
}

/* Adds what @object (a device or a subsection) takes on the wire. Recursion is bounded by
 * check_bounds(). */
static gboolean add_body(JsonObject *object, uint64_t *bytes, GError **error)
{
    JsonArray *fields = get_array(object, "fields");
    JsonArray *subsections = get_array(object, "subsections");

    if (!fields) {
        return refuse(error, "a device or subsection without fields");
    }
    for (guint i = 0; i < json_array_get_length(fields); i++) {
        if (!add_field(get_element(fields, i), bytes, error)) {
            return FALSE;
        }
    }
    for (guint i = 0; subsections && i < json_array_get_length(subsections); i++) {
        JsonObject *subsection = get_element(subsections, i);
        const char *name = subsection ? get_string(subsection, "vmsd_name") : NULL;

        /* type, length of the name, name, version; then the body */
        if (!name || __builtin_add_overflow(*bytes, 1 + 1 + strlen(name) + 4, bytes)) {
            return refuse(error, "a subsection without a name");
        }
        if (!add_body(subsection, bytes, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean add_device(FerryDescription *d, JsonObject *object, GError **error)
{
    FerryDescribedDevice device = {0};
    const char *name = object ? get_string(object, "name") : NULL;
    uint64_t instance;

    if (!name || strlen(name) > FERRY_IDSTR_MAX ||
        !get_number(object, "instance_id", G_MAXUINT32, &instance)) {
        return refuse(error, "a device without name or instance_id");
    }
    /* Escapes let a parser make bytes that the text itself could not hold. */
    if (!ferry_name_valid((const uint8_t *)name, strlen(name))) {
        return refuse(error, "a device's name is empty or not text");
    }
    if (!add_body(object, &device.body_bytes, error)) {
        g_prefix_error(error, "device '%s': ", name);
        return FALSE;
    }
    device.idstr = g_string_chunk_insert(d->names, name);
    device.instance_id = (uint32_t)instance;
    g_array_append_val(d->devices, device);
    return TRUE;
}

FerryDescription *ferry_description_parse(const char *text, size_t length, GError **error)
{
    g_autoptr(FerryDescription) d = NULL;
    g_autoptr(JsonParser) parser = NULL;
    g_autoptr(GError) syntax = NULL;
    JsonArray *devices;
    JsonNode *root;

    if (length == 0 || text[0] != '{' || text[length - 1] != '}') {
        refuse(error, "not a JSON object");
        return NULL;
    }
    if (!check_bounds(text, length, error)) {
        return NULL;
    }
    parser = json_parser_new_immutable();
    if (!json_parser_load_from_data(parser, text, (gssize)length, &syntax)) {
        refuse(error, syntax->message);
        return NULL;
    }
    root = json_parser_get_root(parser);
    devices = root && JSON_NODE_HOLDS_OBJECT(root)
                  ? get_array(json_node_get_object(root), "devices")
                  : NULL;
    if (!devices) {
        refuse(error, "no list of devices");
        return NULL;
    }
    d = g_new0(FerryDescription, 1);
    d->devices = g_array_new(FALSE, FALSE, sizeof(FerryDescribedDevice));
    d->names = g_string_chunk_new(1024);
    for (guint i = 0; i < json_array_get_length(devices); i++) {
        if (!add_device(d, get_element(devices, i), error)) {
            return NULL;
        }
    }
    return g_steal_pointer(&d);
}

size_t ferry_description_get_n_devices(const FerryDescription *description)
{
    return description->devices->len;
}

const FerryDescribedDevice *ferry_description_get_devices(const FerryDescription *description)
{
    return (const FerryDescribedDevice *)(void *)description->devices->data;
}

void ferry_description_free(FerryDescription *description)
{
    if (!description) {
        return;
    }
    g_array_unref(description->devices);
    g_string_chunk_free(description->names);
    g_free(description);
}
