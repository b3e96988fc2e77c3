/* calc-dirty-rate and query-dirty-rate: QEMU's, with the whole curve under "x-ferry". */
#include <string.h>
#include "engine/qmp-private.h"
#include "engine/qmp-arguments.h"

static gboolean get_unit(JsonObject *args, gboolean *out_ms, GError **error)
{
    const char *unit = "second";

    if (!ferry_qmp_get_string(args, "calc-time-unit", &unit, error)) {
        return FALSE;
    }
    *out_ms = strcmp(unit, "millisecond") == 0;
    return *out_ms || strcmp(unit, "second") == 0 ||
           ferry_qmp_refuse(error, "Parameter 'calc-time-unit' does not accept value '%s'", unit);
}

static gboolean get_time(JsonObject *args, uint64_t *out_ms, GError **error)
{
    JsonNode *node = json_object_get_member(args, "calc-time");
    gboolean in_ms = FALSE;

    if (node == NULL) {
        return ferry_qmp_refuse(error, "Parameter 'calc-time' is missing") != NULL;
    }
    if (!ferry_qmp_is_a(node, G_TYPE_INT64)) {
        return ferry_qmp_refuse(
                   error, "Invalid parameter type for 'calc-time', expected: integer") != NULL;
    }
    if (!get_unit(args, &in_ms, error)) {
        return FALSE;
    }
    gint64 n = json_node_get_int(node), unit = in_ms ? 1 : 1000;
    if (n < 0 || n > FERRY_DIRTY_RATE_MS_MAX / unit || n * unit < FERRY_DIRTY_RATE_MS_MIN) {
        return ferry_qmp_refuse(error, "calc-time is out of range[%d, %d].",
                                in_ms ? FERRY_DIRTY_RATE_MS_MIN : 1,
                                (int)(FERRY_DIRTY_RATE_MS_MAX / unit)) != NULL;
    }
    *out_ms = (uint64_t)(n * unit);
    return TRUE;
}

/* QEMU measures by page-sampling when nothing is said; this by the dirty log, and says so. */
static gboolean check_mode(JsonObject *args, GError **error)
{
    const char *mode = "dirty-bitmap";

    if (!ferry_qmp_get_string(args, "mode", &mode, error)) {
        return FALSE;
    }
    if (strcmp(mode, "page-sampling") == 0 || strcmp(mode, "dirty-ring") == 0) {
        return ferry_qmp_refuse(error, "mode %s is not built yet: dirty-bitmap is", mode) != NULL;
    }
    if (strcmp(mode, "dirty-bitmap") != 0) {
        return ferry_qmp_refuse(error, "Parameter 'mode' does not accept value '%s'", mode) != NULL;
    }
    return !json_object_has_member(args, "sample-pages") ||
           ferry_qmp_refuse(error, "sample-pages is used only in page-sampling mode") != NULL;
}

JsonNode *ferry_qmp_calc_dirty_rate(FerryQmp *qmp, JsonObject *args, GError **error)
{
    uint64_t calc_ms = 0;

    return FERRY_QMP_ONLY(args, error, "calc-time", "calc-time-unit", "sample-pages", "mode") &&
                   get_time(args, &calc_ms, error) && check_mode(args, error) &&
                   ferry_dirty_rate_meter_start(qmp->dirty_rate, calc_ms, error)
               ? ferry_qmp_nothing()
               : NULL;
}

static JsonObject *describe(const FerryDirtyRate *rate)
{
    JsonObject *object = json_object_new();
    JsonArray *windows = json_array_new();

    for (unsigned i = 0; i < rate->n_windows; i++) {
        JsonObject *window = json_object_new();
        json_object_set_double_member(window, "ms", (double)rate->windows[i].ns / 1e6);
        json_object_set_int_member(window, "pages", (gint64)rate->windows[i].pages);
        json_array_add_object_element(windows, window);
    }
    json_object_set_array_member(object, "windows", windows);
    json_object_set_int_member(object, "page-size", FERRY_PAGE_SIZE);
    if (rate->status == FERRY_DIRTY_RATE_MEASURED) {
        json_object_set_int_member(object, "ram-bytes", (gint64)rate->ram_bytes);
        json_object_set_int_member(object, "sampled-pages", (gint64)rate->sampled_pages);
        json_object_set_int_member(object, "sampled-zero-pages", (gint64)rate->zero_pages);
    }
    if (rate->error[0] != '\0') {
        json_object_set_string_member(object, "error", rate->error);
    }
    return object;
}

/* MiB/s, rounded down as QEMU's is. */
static gint64 mib_per_second(const FerryDirtyRate *rate)
{
    double ns = (double)rate->windows[rate->n_windows - 1].ns;
    double bytes = (double)rate->windows[rate->n_windows - 1].pages * FERRY_PAGE_SIZE;

    return (gint64)(bytes / (1 << 20) / (ns / 1e9));
}

JsonNode *ferry_qmp_query_dirty_rate(FerryQmp *qmp, JsonObject *args, GError **error)
{
    JsonObject *object;
    FerryDirtyRate rate;
    gboolean in_ms;

    if (!FERRY_QMP_ONLY(args, error, "calc-time-unit") || !get_unit(args, &in_ms, error)) {
        return NULL;
    }
    ferry_dirty_rate_meter_get(qmp->dirty_rate, &rate);
    object = json_object_new();
    json_object_set_string_member(object, "status", ferry_dirty_rate_status_name(rate.status));
    json_object_set_int_member(object, "sample-pages", 0);
    if (rate.status == FERRY_DIRTY_RATE_MEASURED) {
        json_object_set_int_member(object, "dirty-rate", mib_per_second(&rate));
    }
    json_object_set_string_member(object, "mode", "dirty-bitmap");
    json_object_set_int_member(object, "start-time", (gint64)(rate.start_ns / 1000000000));
    json_object_set_int_member(object, "calc-time",
                               (gint64)(in_ms ? rate.calc_ms : rate.calc_ms / 1000));
    json_object_set_string_member(object, "calc-time-unit", in_ms ? "millisecond" : "second");
    json_object_set_object_member(object, "x-ferry", describe(&rate));
    return ferry_qmp_object(object);
}
