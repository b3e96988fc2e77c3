/* ferry record --qmp: a machine of Ferry's records itself; this asks it to, waits, and shows how
 * far it is. When this dies the recording ends with its connection. */
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/ferry.h"
#include "tools/format.h"
#include "tools/qmp-client.h"
#include "tools/record.h"
#include "tools/watch.h"

#define NS_PER_MS (G_GUINT64_CONSTANT(1000000))
#define ANSWER_NS (G_GUINT64_CONSTANT(5000000000))
#define LOOK_MS 200
#define END_MS 10 /* between looks once it was told to stop */

typedef struct {
    const FerryRecordOptions *options;
    FerryQmpClient *client;
    char *path;         /* as the machine finds it, too */
    ino_t inode_before; /* of what is at path; 0: nothing */
    gboolean stopping;
} Source;

static void close_source(void *self)
{
    Source *s = self;

    ferry_qmp_client_free(s->client);
    g_free(s->path);
    g_free(s);
}

static void *open_source(const FerryRecordOptions *o, GError **error)
{
    struct stat before;
    Source *s;

    if (o->interval_ns % NS_PER_MS != 0 || o->duration_ns % NS_PER_MS != 0) {
        g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                            "with --qmp, --interval and --duration are whole milliseconds");
        return NULL;
    }
    s = g_new0(Source, 1);
    s->options = o;
    s->path = g_canonicalize_filename(o->file, NULL);
    s->inode_before = stat(s->path, &before) == 0 ? before.st_ino : 0;
    s->client = ferry_qmp_client_new(o->qmp, ANSWER_NS, error);
    if (s->client == NULL) {
        close_source(s);
        return NULL;
    }
    return s;
}

static gboolean ask(Source *s, GError **error)
{
    const FerryRecordOptions *o = s->options;
    JsonObject *object = json_object_new();
    JsonNode *arguments = json_node_new(JSON_NODE_OBJECT);

    json_object_set_string_member(object, "file", s->path);
    json_object_set_int_member(object, "interval-ms", (gint64)(o->interval_ns / NS_PER_MS));
    if (o->duration_ns > 0) {
        json_object_set_int_member(object, "duration-ms", (gint64)(o->duration_ns / NS_PER_MS));
    }
    json_object_set_boolean_member(object, "content", o->content);
    json_object_set_boolean_member(object, "while-connected", TRUE);
    if (o->licence != NULL) {
        json_object_set_string_member(object, "licence", o->licence);
    }
    if (o->provenance != NULL) {
        json_object_set_string_member(object, "provenance", o->provenance);
    }
    json_node_take_object(arguments, object);
    return ferry_qmp_client_do(s->client, "x-ferry-record", arguments, error);
}

static void show(JsonObject *now)
{
    double seconds = json_object_get_double_member_with_default(now, "length-ms", 0) / 1e3;
    gint64 pages = json_object_get_int_member_with_default(now, "pages", 0);
    gint64 late = json_object_get_int_member_with_default(now, "late-frames", 0);
    gint64 bytes = json_object_get_int_member_with_default(now, "bytes", 0);
    g_autofree char *size = ferry_format_bytes((uint64_t)MAX(bytes, 0));
    g_autofree char *line = NULL;

    if (!ferry_watch_can_show()) {
        return;
    }
    if (seconds <= 0) {
        ferry_watch_show("reading contents ...");
        return;
    }
    line = g_strdup_printf("%.1f s, %.0f pages/s, %" G_GINT64_FORMAT " late frames, %s", seconds,
                           (double)pages / seconds, late, size);
    ferry_watch_show(line);
}

static uint64_t count(JsonObject *now, const char *name)
{
    return (uint64_t)MAX(json_object_get_int_member_with_default(now, name, 0), 0);
}

static uint64_t from_ms(JsonObject *now, const char *name)
{
    return (uint64_t)(MAX(json_object_get_double_member_with_default(now, name, 0), 0) * 1e6);
}

static void add_up(JsonObject *now, FerryTraceTotals *out)
{
    const char *ended = json_object_get_string_member_with_default(now, "ended", "");

    out->frames = count(now, "frames");
    out->pages_written = count(now, "pages");
    out->late_frames = count(now, "late-frames");
    out->length_ns = from_ms(now, "length-ms");
    out->capture_ns_per_frame = from_ms(now, "frame-ms");
    out->capture_cpu_permille = (unsigned)count(now, "cpu-permille");
    out->ended = strcmp(ended, "done") == 0         ? "done"
                 : strcmp(ended, "guest-gone") == 0 ? "guest-gone"
                                                    : "interrupted";
}

/* A machine that ends makes the trace whole before it closes its monitor. */
static gboolean is_whole(const Source *s, FerryTraceTotals *out)
{
    g_autoptr(FerryTraceFile) file = NULL;
    g_autoptr(FerryTraceReader) reader = NULL;
    FerryTraceInput input;
    struct stat now;

    if (stat(s->path, &now) < 0 || now.st_ino == s->inode_before ||
        (file = ferry_trace_file_open(s->path, NULL)) == NULL) {
        return FALSE;
    }
    input = ferry_trace_file_input(file);
    reader = ferry_trace_reader_new(&input, NULL);
    return reader != NULL && ferry_trace_reader_totals(reader, out);
}

typedef enum { GOES_ON, OVER, FAILED } State;

static State look(const Source *s, FerryTraceTotals *out, GError **error)
{
    g_autoptr(GError) local = NULL;
    g_autoptr(JsonNode) node =
        ferry_qmp_client_call(s->client, "x-ferry-query-record", NULL, &local);
    JsonObject *now;
    const char *status;

    if (node == NULL) {
        if (local->domain == FERRY_TRANSPORT_ERROR && is_whole(s, out)) {
            return OVER;
        }
        g_propagate_prefixed_error(error, g_steal_pointer(&local),
                                   "what was recorded may be in %s.part: ", s->path);
        return FAILED;
    }
    if (!JSON_NODE_HOLDS_OBJECT(node)) {
        g_set_error_literal(error, FERRY_QMP_CLIENT_ERROR, FERRY_QMP_CLIENT_ERROR_PROTOCOL,
                            "x-ferry-query-record: the answer is no object");
        return FAILED;
    }
    now = json_node_get_object(node);
    status = json_object_get_string_member_with_default(now, "status", "");
    if (strcmp(status, "starting") == 0 || strcmp(status, "recording") == 0) {
        show(now);
        return GOES_ON;
    }
    if (strcmp(status, "ended") != 0) {
        g_set_error(error, FERRY_QMP_CLIENT_ERROR, FERRY_QMP_CLIENT_ERROR_ANSWER, "%s",
                    json_object_get_string_member_with_default(
                        now, "error", "the recording is not there any more"));
        return FAILED;
    }
    add_up(now, out);
    return OVER;
}

/* Until the next look, or a signal: then the recording is told to stop. If that fails, the next
 * look says why. */
static void rest(Source *s)
{
    struct pollfd fd = {.fd = s->stopping ? -1 : s->options->stop_fd, .events = POLLIN};

    if (poll(&fd, 1, s->stopping ? END_MS : LOOK_MS) > 0) {
        s->stopping = TRUE;
        (void)ferry_qmp_client_do(s->client, "x-ferry-record-stop", NULL, NULL);
    }
}

static gboolean drive(void *self, FerryTraceTotals *out_totals, GError **error)
{
    Source *s = self;
    State state;

    if (!ask(s, error)) {
        if (error != NULL && strstr((*error)->message, "has not been found") != NULL) {
            g_prefix_error(error, "this is no machine of Ferry's; --pid records a QEMU: ");
        }
        return FALSE;
    }
    while ((state = look(s, out_totals, error)) == GOES_ON) {
        rest(s);
    }
    ferry_watch_wipe();
    return state == OVER;
}

const FerryRecordOps ferry_record_qmp = {
    .open = open_source,
    .drive = drive,
    .close = close_source,
};
