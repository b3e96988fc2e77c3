/* x-ferry-record, x-ferry-record-stop and x-ferry-query-record: Ferry's own. */
#include <string.h>
#include "engine/qmp-arguments.h"
#include "engine/qmp-private.h"

/* A whole number of milliseconds from 1 on; *out_ms is left alone when nothing is said. */
static gboolean get_ms(JsonObject *args, const char *name, uint64_t max, uint64_t *out_ms,
                       GError **error)
{
    JsonNode *node = json_object_get_member(args, name);

    if (node == NULL) {
        return TRUE;
    }
    if (!ferry_qmp_is_a(node, G_TYPE_INT64)) {
        return ferry_qmp_refuse(error, "Invalid parameter type for '%s', expected: integer",
                                name) != NULL;
    }
    if (json_node_get_int(node) < 1 || (uint64_t)json_node_get_int(node) > max) {
        return ferry_qmp_refuse(error, "%s is out of range[1, %" G_GUINT64_FORMAT "].", name,
                                max) != NULL;
    }
    *out_ms = (uint64_t)json_node_get_int(node);
    return TRUE;
}

JsonNode *ferry_qmp_record(FerryQmp *qmp, JsonObject *args, GError **error)
{
    uint64_t interval_ms = 100, duration_ms = 0;
    gboolean while_connected = FALSE;
    FerryRecorderOptions o = {0};

    if (!FERRY_QMP_ONLY(args, error, "file", "interval-ms", "duration-ms", "content", "workload",
                        "licence", "provenance", "while-connected") ||
        !ferry_qmp_need_string(args, "file", &o.file, error) ||
        !get_ms(args, "interval-ms", FERRY_RECORD_MS_MAX, &interval_ms, error) ||
        !get_ms(args, "duration-ms", INT64_MAX / 1000000, &duration_ms, error) ||
        !ferry_qmp_get_bool(args, "content", &o.content, error) ||
        !ferry_qmp_get_bool(args, "while-connected", &while_connected, error) ||
        !ferry_qmp_get_string(args, "workload", &o.workload, error) ||
        !ferry_qmp_get_string(args, "licence", &o.licence, error) ||
        !ferry_qmp_get_string(args, "provenance", &o.provenance, error)) {
        return NULL;
    }
    if (o.file[0] == '\0') {
        return ferry_qmp_refuse(error, "Parameter 'file' is empty");
    }
    o.interval_ns = interval_ms * 1000000;
    o.duration_ns = duration_ms * 1000000;
    o.paused = strcmp(qmp->ops->status(qmp->self), "running") != 0;
    if (!ferry_recorder_start(qmp->recorder, &o, error)) {
        return NULL;
    }
    qmp->recording = while_connected ? qmp->asking : 0;
    return ferry_qmp_nothing();
}

JsonNode *ferry_qmp_record_stop(FerryQmp *qmp, JsonObject *args, GError **error)
{
    FerryRecording now;

    (void)args;
    ferry_recorder_get(qmp->recorder, &now);
    if (now.status == FERRY_RECORD_NONE) {
        return ferry_qmp_refuse(error, "No dirty pages are being recorded");
    }
    ferry_recorder_stop(qmp->recorder, FERRY_RECORD_END_DONE);
    return ferry_qmp_nothing();
}

JsonNode *ferry_qmp_query_record(FerryQmp *qmp, JsonObject *args, GError **error)
{
    JsonObject *object = json_object_new();
    FerryRecording now;

    (void)args;
    (void)error;
    ferry_recorder_get(qmp->recorder, &now);
    json_object_set_string_member(object, "status", ferry_record_status_name(now.status));
    if (now.status == FERRY_RECORD_NONE) {
        return ferry_qmp_object(object);
    }
    json_object_set_int_member(object, "interval-ms", (gint64)(now.interval_ns / 1000000));
    json_object_set_double_member(object, "length-ms", (double)now.length_ns / 1e6);
    json_object_set_int_member(object, "frames", (gint64)now.frames);
    json_object_set_int_member(object, "late-frames", (gint64)now.late_frames);
    json_object_set_int_member(object, "pages", (gint64)now.pages);
    json_object_set_int_member(object, "bytes", (gint64)now.bytes);
    json_object_set_double_member(object, "frame-ms", (double)now.frame_ns / 1e6);
    json_object_set_double_member(object, "longest-frame-ms", (double)now.longest_frame_ns / 1e6);
    json_object_set_int_member(object, "cpu-permille", now.cpu_permille);
    if (now.status == FERRY_RECORD_ENDED) {
        json_object_set_string_member(object, "ended", ferry_record_end_name(now.end));
    }
    if (now.error[0] != '\0') {
        json_object_set_string_member(object, "error", now.error);
    }
    return ferry_qmp_object(object);
}
