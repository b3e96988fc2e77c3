#include "trace/header.h"

/* Members that are strings, and where they belong. */
typedef struct {
    const char *name;
    size_t place;
} Text;
static const Text texts[] = {
    {"method",     G_STRUCT_OFFSET(FerryTraceHeader, method)    },
    {"host",       G_STRUCT_OFFSET(FerryTraceHeader, host)      },
    {"guest",      G_STRUCT_OFFSET(FerryTraceHeader, guest)     },
    {"tool",       G_STRUCT_OFFSET(FerryTraceHeader, tool)      },
    {"workload",   G_STRUCT_OFFSET(FerryTraceHeader, workload)  },
    {"licence",    G_STRUCT_OFFSET(FerryTraceHeader, licence)   },
    {"provenance", G_STRUCT_OFFSET(FerryTraceHeader, provenance)},
};

/* Integers of 64 bits; 0 is not written. */
static const Text integers[] = {
    {"interval_ns",        G_STRUCT_OFFSET(FerryTraceHeader, interval_ns)       },
    {"start_wall_ns",      G_STRUCT_OFFSET(FerryTraceHeader, start_wall_ns)     },
    {"start_monotonic_ns", G_STRUCT_OFFSET(FerryTraceHeader, start_monotonic_ns)},
    {"seed",               G_STRUCT_OFFSET(FerryTraceHeader, seed)              },
};

static void add_blocks(GString *text, const FerryTraceBlock *blocks, unsigned n)
{
    g_string_append_c(text, '[');
    for (unsigned i = 0; i < n; i++) {
        g_string_append(text, i ? ",\n  {" : "{");
        ferry_trace_json_add_string(text, "name", blocks[i].name);
        ferry_trace_json_add_integer(text, "pages", blocks[i].pages);
        if (blocks[i].page_bytes) {
            ferry_trace_json_add_integer(text, "page_bytes", blocks[i].page_bytes);
        }
        ferry_trace_json_add_string(text, "backing", blocks[i].backing);
        if (blocks[i].gpa != UINT64_MAX) {
            ferry_trace_json_add_integer(text, "gpa", blocks[i].gpa);
        }
        g_string_append_c(text, '}');
    }
    g_string_append_c(text, ']');
}

char *ferry_trace_blocks_to_json(const FerryTraceBlock *blocks, unsigned n)
{
    GString *text = g_string_new(NULL);

    add_blocks(text, blocks, n);
    return g_string_free(text, FALSE);
}

char *ferry_trace_header_to_json(const FerryTraceHeader *h)
{
    GString *text = g_string_new("{");

    ferry_trace_json_add_integer(text, "page_bytes", h->page_bytes);
    for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++) {
        ferry_trace_json_add_string(text, texts[i].name,
                                    G_STRUCT_MEMBER(char *, h, texts[i].place));
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(integers); i++) {
        uint64_t value = G_STRUCT_MEMBER(uint64_t, h, integers[i].place);

        if (value) {
            ferry_trace_json_add_integer(text, integers[i].name, value);
        }
    }
    if (h->n_vcpu) {
        ferry_trace_json_add_integer(text, "n_vcpu", h->n_vcpu);
    }
    g_string_append(text, ", \"blocks\": ");
    add_blocks(text, (const FerryTraceBlock *)(const void *)h->blocks->data, h->blocks->len);
    g_string_append_c(text, '}');
    return g_string_free(text, FALSE);
}

static gboolean read_block(JsonObject *object, FerryTraceBlock *out, GError **error)
{
    uint64_t page_bytes = 0;

    *out = (FerryTraceBlock){.pages = UINT64_MAX, .gpa = UINT64_MAX};
    if (!ferry_trace_json_string(object, "name", &out->name, error) ||
        !ferry_trace_json_string(object, "backing", &out->backing, error) ||
        !ferry_trace_json_integer(object, "pages", FERRY_TRACE_PAGES_MAX, &out->pages, error) ||
        !ferry_trace_json_integer(object, "page_bytes", UINT32_MAX, &page_bytes, error) ||
        !ferry_trace_json_integer(object, "gpa", G_MAXINT64, &out->gpa, error)) {
        return FALSE;
    }
    out->page_bytes = (uint32_t)page_bytes;
    return (out->name && out->pages != UINT64_MAX) ||
           ferry_trace_json_refuse(error, "no name or no pages");
}

static gboolean read_blocks(FerryTraceHeader *h, JsonNode *node, GError **error)
{
    guint before = h->blocks->len;
    JsonArray *array = node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;
    guint n = array ? json_array_get_length(array) : 0;
    const FerryTraceBlock *all;
    gboolean good = TRUE;

    if (!array) {
        return ferry_trace_json_refuse(error, "blocks: not an array");
    }
    if (n > FERRY_TRACE_BLOCKS_AT_ONCE || n > FERRY_TRACE_BLOCKS_MAX - before) {
        return ferry_trace_json_refuse(error, "more than %u blocks, or %u together",
                                       FERRY_TRACE_BLOCKS_AT_ONCE, FERRY_TRACE_BLOCKS_MAX);
    }
    uint64_t pages_before = ferry_trace_header_pages(h);
    for (guint i = 0; good && i < n; i++) {
        JsonNode *element = json_array_get_element(array, i);
        FerryTraceBlock block = {0};

        good = JSON_NODE_HOLDS_OBJECT(element)
                   ? read_block(json_node_get_object(element), &block, error)
                   : ferry_trace_json_refuse(error, "not an object");
        if (!good) {
            g_prefix_error(error, "block %u: ", i);
        }
        g_array_append_val(h->blocks, block);
    }
    all = (const FerryTraceBlock *)(const void *)h->blocks->data;
    good = good && ferry_trace_blocks_check(n ? all + before : NULL, n, pages_before, error);
    if (good && ferry_trace_blocks_names(all, h->blocks->len) > FERRY_TRACE_NAMES_MAX) {
        good = ferry_trace_json_refuse(error, "names of more than 64 MiB together");
    }
    if (!good) {
        g_array_set_size(h->blocks, before);
    }
    return good;
}

gboolean ferry_trace_blocks_from_json(FerryTraceHeader *h, const char *text, size_t length,
                                      unsigned *out_n, GError **error)
{
    guint before = h->blocks->len;
    g_autoptr(JsonParser) parser = ferry_trace_json_parse(text, length, error);

    if (!parser || !read_blocks(h, json_parser_get_root(parser), error)) {
        return FALSE;
    }
    *out_n = h->blocks->len - before;
    return TRUE;
}

FerryTraceHeader *ferry_trace_header_from_json(const char *text, size_t length, GError **error)
{
    g_autoptr(JsonParser) parser = ferry_trace_json_parse(text, length, error);
    g_autoptr(FerryTraceHeader) h = ferry_trace_header_new();
    JsonNode *root = parser ? json_parser_get_root(parser) : NULL;
    uint64_t page_bytes = 0, n_vcpu = 0;

    if (!parser) {
        return NULL;
    }
    if (!JSON_NODE_HOLDS_OBJECT(root)) {
        ferry_trace_json_refuse(error, "not an object");
        return NULL;
    }
    JsonObject *object = json_node_get_object(root);
    for (unsigned i = 0; i < G_N_ELEMENTS(texts); i++) {
        if (!ferry_trace_json_string(object, texts[i].name, G_STRUCT_MEMBER_P(h, texts[i].place),
                                     error)) {
            return NULL;
        }
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(integers); i++) {
        if (!ferry_trace_json_integer(object, integers[i].name, G_MAXINT64,
                                      G_STRUCT_MEMBER_P(h, integers[i].place), error)) {
            return NULL;
        }
    }
    if (!ferry_trace_json_integer(object, "page_bytes", 1u << 30, &page_bytes, error) ||
        !ferry_trace_json_integer(object, "n_vcpu", UINT32_MAX, &n_vcpu, error)) {
        return NULL;
    }
    h->page_bytes = (uint32_t)page_bytes;
    h->n_vcpu = (unsigned)n_vcpu;
    if (!read_blocks(h, json_object_get_member(object, "blocks"), error) ||
        !ferry_trace_header_check(h, error)) {
        return NULL;
    }
    return g_steal_pointer(&h);
}
