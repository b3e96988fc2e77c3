#include "tools/record-qemu.h"

#include <string.h>

#include "tools/format.h"

#define COMMAND_LINE_MAX 1000u
#define MIB (UINT64_C(1) << 20)
#define DEFAULT_RAM (128 * MIB) /* QEMU's, without -m */

/* A block of the guest's, by the command line. */
typedef struct {
    char name[64];
    char path[256]; /* of the file or directory it is in; "": anonymous */
    uint64_t bytes;
} Backend;

static char *read_proc(int pid, const char *file, gsize *out_bytes)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/%s", pid, file);
    char *text = NULL;

    *out_bytes = 0;
    if (!g_file_get_contents(path, &text, out_bytes, NULL)) {
        return g_strdup("");
    }
    return text;
}

/* As for -m: megabytes, unless a unit says otherwise. */
static uint64_t parse_size(const char *text)
{
    g_autofree char *with_unit = NULL;
    uint64_t bytes = 0;

    if (*text && g_ascii_isdigit(text[strlen(text) - 1])) {
        with_unit = g_strconcat(text, "M", NULL);
    }
    return ferry_parse_size(with_unit ? with_unit : text, &bytes, NULL) ? bytes : 0;
}

/* The value of @key in "a,key=value,b=c"; NULL: there is none. */
static char *value_of(const char *list, const char *key)
{
    g_auto(GStrv) parts = g_strsplit(list, ",", -1);

    for (unsigned i = 0; parts[i]; i++) {
        if (g_str_has_prefix(parts[i], key) && parts[i][strlen(key)] == '=') {
            return g_strdup(parts[i] + strlen(key) + 1);
        }
    }
    return NULL;
}

static void add_backend(GArray *backends, const char *id, uint64_t bytes, const char *path)
{
    Backend b = {.bytes = bytes};

    if (id && bytes) {
        g_strlcpy(b.name, id, sizeof b.name);
        g_strlcpy(b.path, path ? path : "", sizeof b.path);
        g_array_append_val(backends, b);
    }
}

static void read_object(GArray *backends, const char *object)
{
    g_autofree char *id = value_of(object, "id"), *size = value_of(object, "size");
    g_autofree char *path = value_of(object, "mem-path");
    uint64_t bytes = 0;

    /* Here a number without a unit counts bytes. */
    if (g_str_has_prefix(object, "memory-backend-") && size &&
        ferry_parse_size(size, &bytes, NULL)) {
        add_backend(backends, id, bytes, path);
    }
}

static const char *text_member(JsonObject *object, const char *name)
{
    JsonNode *node = json_object_get_member(object, name);

    return node && JSON_NODE_HOLDS_VALUE(node) ? json_node_get_string(node) : NULL;
}

/* As libvirt gives it. */
static void read_json_object(GArray *backends, const char *text)
{
    g_autoptr(JsonParser) parser = json_parser_new();
    JsonNode *root;
    JsonObject *object;
    const char *type;

    if (!json_parser_load_from_data(parser, text, -1, NULL) ||
        !(root = json_parser_get_root(parser)) || !JSON_NODE_HOLDS_OBJECT(root)) {
        return;
    }
    object = json_node_get_object(root);
    type = text_member(object, "qom-type");
    if (type && g_str_has_prefix(type, "memory-backend-")) {
        JsonNode *size = json_object_get_member(object, "size");
        gint64 bytes = size && JSON_NODE_HOLDS_VALUE(size) ? json_node_get_int(size) : 0;

        add_backend(backends, text_member(object, "id"), bytes > 0 ? (uint64_t)bytes : 0,
                    text_member(object, "mem-path"));
    }
}

/* What the arguments say of memory: backends, and the machine's own RAM if none is for that. */
static GArray *read_arguments(const char *arguments, gsize bytes)
{
    GArray *backends = g_array_new(FALSE, FALSE, sizeof(Backend));
    Backend own = {.name = "pc.ram", .bytes = DEFAULT_RAM};
    gboolean has_backend = FALSE;
    const char *end = arguments + bytes;

    for (const char *at = arguments, *next; at < end; at = next) {
        const char *option = at[0] == '-' && at[1] == '-' ? at + 1 : at;

        next = at + strlen(at) + 1;
        if (next >= end) {
            break;
        }
        if (strcmp(option, "-m") == 0) {
            g_autofree char *size = value_of(next, "size");
            g_auto(GStrv) parts = g_strsplit(next, ",", 2);
            own.bytes = parse_size(size ? size : parts[0]);
        } else if (strcmp(option, "-object") == 0) {
            (next[0] == '{' ? read_json_object : read_object)(backends, next);
        } else if (strcmp(option, "-M") == 0 || strcmp(option, "-machine") == 0) {
            g_autofree char *backend = value_of(next, "memory-backend");
            has_backend = has_backend || backend;
        } else if (strcmp(option, "-numa") == 0 && strstr(next, "memdev=")) {
            has_backend = TRUE;
        } else if (strcmp(option, "-mem-path") == 0) {
            g_strlcpy(own.path, next, sizeof own.path);
        }
    }
    if (!has_backend) {
        g_array_append_val(backends, own);
    }
    return backends;
}

static gboolean taken(const FerryRecordRange *ranges, unsigned n, const FerryMapping *m)
{
    for (unsigned i = 0; i < n; i++) {
        if (m->start < ranges[i].end && ranges[i].start < m->end) {
            return TRUE;
        }
    }
    return FALSE;
}

/* The mapping that suits a backend best: of its file, of its size, or else the largest. */
static gboolean find_mapping(const Backend *b, const char *maps, const FerryRecordRange *others,
                             unsigned n, FerryMapping *out)
{
    uint64_t best = 0;
    FerryMapping m;

    for (const char *at = maps; ferry_maps_next(&at, &m);) {
        uint64_t bytes = m.end - m.start, score;

        if (!ferry_maps_is_memory(&m) || bytes < b->bytes || taken(others, n, &m)) {
            continue;
        }
        score = 1 + (bytes == b->bytes) * 2 +
                (b->path[0] && m.name_bytes >= strlen(b->path) &&
                 memcmp(m.name, b->path, strlen(b->path)) == 0) *
                    4;
        if (score > best || (score == best && bytes > out->end - out->start)) {
            best = score;
            *out = m;
        }
    }
    return best > 0;
}

/* TRUE: out[n] is the backend's. */
static gboolean place(const Backend *b, const char *maps, FerryRecordRange *out, unsigned n)
{
    FerryMapping m = {0};

    if (!find_mapping(b, maps, out, n, &m)) {
        return FALSE;
    }
    out[n] = (FerryRecordRange){.start = m.start, .end = m.end};
    g_strlcpy(out[n].name, b->name, sizeof out[n].name);
    return TRUE;
}

unsigned ferry_record_qemu_blocks(const char *arguments, gsize bytes, const char *maps,
                                  FerryRecordRange out[FERRY_RECORD_QEMU_BLOCKS])
{
    g_autoptr(GArray) backends = read_arguments(arguments, bytes);
    const Backend any = {.name = "pc.ram", .bytes = 1};
    unsigned n = 0;

    for (unsigned i = 0; i < backends->len && n < FERRY_RECORD_QEMU_BLOCKS; i++) {
        const Backend *b = &g_array_index(backends, Backend, i);

        n += b->bytes > 0 && place(b, maps, out, n);
    }
    /* If the command line says nothing that fits: the largest mapping. */
    return n > 0 ? n : (unsigned)place(&any, maps, out, 0);
}

char *ferry_record_program(int pid)
{
    gsize bytes;
    char *name = read_proc(pid, "comm", &bytes);

    return g_strchomp(name);
}

char *ferry_record_command_line(int pid)
{
    gsize bytes;
    g_autofree char *text = read_proc(pid, "cmdline", &bytes);

    bytes = MIN(bytes, COMMAND_LINE_MAX);
    for (gsize i = 0; i < bytes; i++) {
        text[i] = text[i] ? text[i] : ' ';
    }
    text[bytes] = '\0';
    return g_utf8_make_valid(g_strchomp(text), -1);
}

unsigned ferry_record_qemu_find(int pid, FerryRecordRange out[FERRY_RECORD_QEMU_BLOCKS])
{
    gsize bytes, n;
    g_autofree char *arguments = read_proc(pid, "cmdline", &bytes);
    g_autofree char *maps = read_proc(pid, "maps", &n);
    g_autofree char *program = g_path_get_basename(arguments);

    if (!g_str_has_prefix(program, "qemu-system-") && strcmp(program, "qemu-kvm") != 0) {
        return 0;
    }
    return ferry_record_qemu_blocks(arguments, bytes, maps, out);
}
