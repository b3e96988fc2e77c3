/* A guest's monitor, a ferry-vm's or a QEMU's, is asked how it writes its memory. */
#include <string.h>
#include "tools/predict.h"
#include "tools/qmp-client.h"
#include "tools/report.h"

#define POLL_US 50000
#define MIB 1048576.0
#define RAM_PAGES_MAX (UINT64_C(1) << 28)

typedef struct {
    FerryQmpClient *client;
    double timeout_s;
    gboolean has_ms;  /* calc-time-unit, since QEMU 8.2 */
    const char *mode; /* NULL: nothing is said of it */
} Monitor;

static JsonObject *call(Monitor *m, const char *command, JsonNode *arguments, JsonNode **out_owner,
                        GError **error)
{
    JsonNode *node = ferry_qmp_client_call(m->client, command, arguments, error);

    if (node && !JSON_NODE_HOLDS_OBJECT(node)) {
        g_set_error(error, FERRY_QMP_CLIENT_ERROR, FERRY_QMP_CLIENT_ERROR_PROTOCOL,
                    "%s: the answer is no object", command);
        g_clear_pointer(&node, json_node_unref);
    }
    *out_owner = node;
    return node ? json_node_get_object(node) : NULL;
}

/* A number of a monitor's, which may say anything. */
static double number(JsonObject *object, const char *path, double most)
{
    double x = ferry_report_number(object, path, 0);

    return x >= 0 ? MIN(x, most) : 0;
}

static gboolean ask_version(Monitor *m, FerryPredictGuest *out, GError **error)
{
    g_autoptr(JsonNode) owner = NULL;
    JsonObject *answer = call(m, "query-version", NULL, &owner, error);

    if (!answer) {
        return FALSE;
    }
    int major = (int)number(answer, "qemu.major", 99),
        minor = (int)number(answer, "qemu.minor", 99);
    if (g_str_has_prefix(ferry_report_text(answer, "package", ""), "ferry")) {
        g_strlcpy(out->program, "ferry", sizeof out->program);
        g_strlcpy(out->policy, "ferry", sizeof out->policy);
    } else {
        g_snprintf(out->program, sizeof out->program, "QEMU %d.%d", major, minor);
        g_strlcpy(out->policy, major < 8 ? "qemu-7.2" : "qemu", sizeof out->policy);
    }
    m->has_ms = major > 8 || (major == 8 && minor >= 2);
    return TRUE;
}

static gboolean ask_capability(Monitor *m, const char *name, gboolean *out_on, GError **error)
{
    g_autoptr(JsonNode) node =
        ferry_qmp_client_call(m->client, "query-migrate-capabilities", NULL, error);
    JsonArray *list = node && JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;

    *out_on = FALSE;
    for (guint i = 0; list && i < json_array_get_length(list); i++) {
        JsonNode *element = json_array_get_element(list, i);
        JsonObject *one = JSON_NODE_HOLDS_OBJECT(element) ? json_node_get_object(element) : NULL;
        if (one && strcmp(ferry_report_text(one, "capability", ""), name) == 0) {
            *out_on = ferry_report_flag(one, "state");
        }
    }
    return node != NULL;
}

static gboolean ask_parameters(Monitor *m, FerryPredictGuest *out, GError **error)
{
    g_autoptr(JsonNode) owner = NULL;
    JsonObject *answer = call(m, "query-migrate-parameters", NULL, &owner, error);
    const char *policy;
    gboolean auto_converge;

    if (!answer || !ask_capability(m, "auto-converge", &auto_converge, error)) {
        return FALSE;
    }
    out->max_bandwidth = (uint64_t)number(answer, "max-bandwidth", 1e15);
    out->switchover_bandwidth = (uint64_t)number(answer, "avail-switchover-bandwidth", 1e15);
    out->downtime_limit_ms = (uint64_t)number(answer, "downtime-limit", 2e6);
    policy = ferry_report_text(answer, "x-ferry-policy", "");
    if (policy[0]) {
        g_strlcpy(out->policy, policy, sizeof out->policy);
    }
    if (auto_converge) {
        out->throttle_initial = (unsigned)number(answer, "cpu-throttle-initial", 99);
        out->throttle_increment = (unsigned)number(answer, "cpu-throttle-increment", 99);
        out->throttle_max = (unsigned)number(answer, "max-cpu-throttle", 99);
        out->throttle_trigger = (unsigned)number(answer, "throttle-trigger-threshold", 100);
    }
    return TRUE;
}

static JsonNode *calc_arguments(const Monitor *m, double seconds)
{
    g_autoptr(JsonBuilder) b = json_builder_new();

    json_builder_begin_object(b);
    json_builder_set_member_name(b, "calc-time");
    json_builder_add_int_value(b, (gint64)(m->has_ms ? seconds * 1000 + 0.5 : seconds + 0.5));
    if (m->has_ms) {
        json_builder_set_member_name(b, "calc-time-unit");
        json_builder_add_string_value(b, "millisecond");
    }
    if (m->mode) {
        json_builder_set_member_name(b, "mode");
        json_builder_add_string_value(b, m->mode);
    }
    json_builder_end_object(b);
    return json_builder_get_root(b);
}

/* Until the answer is there; free *out_owner. */
static JsonObject *await(Monitor *m, double seconds, JsonNode **out_owner, GError **error)
{
    gint64 until = g_get_monotonic_time() + (gint64)((seconds + m->timeout_s) * 1e6);

    for (;;) {
        JsonObject *answer = call(m, "query-dirty-rate", NULL, out_owner, error);
        const char *status = answer ? ferry_report_text(answer, "status", "") : "";
        if (!answer || strcmp(status, "measured") == 0) {
            return answer;
        }
        const char *why = ferry_report_text(answer, "x-ferry.error", "");
        if (why[0] || g_get_monotonic_time() > until) {
            g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                        "the guest's dirty rate was not measured: %s",
                        why[0] ? why : "it takes too long");
            g_clear_pointer(out_owner, json_node_unref);
            return NULL;
        }
        g_clear_pointer(out_owner, json_node_unref);
        g_usleep(POLL_US);
    }
}

static void take_windows(JsonArray *windows, FerryWriteCurve *curve)
{
    for (guint i = 0; i < json_array_get_length(windows) && i < FERRY_CURVE_WINDOWS; i++) {
        JsonNode *element = json_array_get_element(windows, i);
        if (JSON_NODE_HOLDS_OBJECT(element)) {
            JsonObject *window = json_node_get_object(element);
            curve->windows[curve->n_windows].seconds = number(window, "ms", 1e9) / 1000;
            curve->windows[curve->n_windows++].pages = number(window, "pages", 1e15);
        }
    }
}

/* A whole curve of ours; of QEMU one more window, where it says whole MiB/s, rounded down. */
static gboolean measure(Monitor *m, double seconds, FerryPredictGuest *out, GError **error)
{
    g_autoptr(JsonNode) owner = NULL;
    FerryObserved *o = &out->observed;
    JsonObject *answer, *more;

    if (!ferry_qmp_client_do(m->client, "calc-dirty-rate", calc_arguments(m, seconds), error) ||
        !(answer = await(m, seconds, &owner, error))) {
        return FALSE;
    }
    JsonNode *node = json_object_get_member(answer, "x-ferry");
    more = node && JSON_NODE_HOLDS_OBJECT(node) ? json_node_get_object(node) : NULL;
    JsonNode *windows = more ? json_object_get_member(more, "windows") : NULL;
    if (windows && JSON_NODE_HOLDS_ARRAY(windows)) {
        double sampled = number(more, "sampled-pages", 1e15);
        double zero = number(more, "sampled-zero-pages", sampled);
        o->ram_pages = (uint64_t)(number(more, "ram-bytes", 1e17) / FERRY_WORKLOAD_PAGE);
        o->zero_pages = sampled > 0 ? (uint64_t)(zero / sampled * (double)o->ram_pages) : 0;
        out->knows_zeros = sampled > 0;
        take_windows(json_node_get_array(windows), &o->curves[o->n_curves++]);
        return TRUE;
    }
    double mib = number(answer, "dirty-rate", 1e9);
    FerryWriteCurve *curve = &o->curves[0];
    o->n_curves = 1;
    curve->windows[curve->n_windows].seconds = m->has_ms ? seconds : (double)(int)(seconds + 0.5);
    curve->windows[curve->n_windows].pages = (mib > 0 ? mib + 0.5 : 0.25) * MIB /
                                             FERRY_WORKLOAD_PAGE *
                                             curve->windows[curve->n_windows].seconds;
    curve->n_windows++;
    return TRUE;
}

/* A second tells how much there is to send; what is written seldom matters as long as that takes.
 */
static gboolean measure_ferry(Monitor *m, double seconds, uint64_t bytes_per_second,
                              FerryPredictGuest *out, GError **error)
{
    FerryObserved *o = &out->observed;
    double first = seconds > 0 ? seconds : 1, pass = 0;

    m->mode = "dirty-bitmap";
    if (!measure(m, first, out, error)) {
        return FALSE;
    }
    if (seconds == 0 && bytes_per_second) {
        pass = (double)(o->ram_pages - MIN(o->zero_pages, o->ram_pages)) * FERRY_WORKLOAD_PAGE /
               (double)bytes_per_second;
    }
    if (pass > 2 * first) { /* the longer look says all that the first one did */
        *o = (FerryObserved){0};
        return measure(m, MIN(pass, 5), out, error);
    }
    return measure(m, first, out, error);
}

/* A QEMU 7.2 without KVM does not survive being asked for its bitmap; then pages are sampled. */
static gboolean choose_mode(Monitor *m, GError **error)
{
    g_autoptr(JsonNode) owner = NULL;
    JsonObject *kvm = call(m, "query-kvm", NULL, &owner, error);

    m->mode = kvm && ferry_report_flag(kvm, "enabled") ? "dirty-bitmap" : "page-sampling";
    return kvm != NULL;
}

/* Each time another window. */
static gboolean measure_qemu(Monitor *m, double seconds, uint64_t bytes_per_second,
                             FerryPredictGuest *out, GError **error)
{
    static const double finer[] = {0.05, 0.2, 1};
    g_autoptr(JsonNode) owner = NULL;
    JsonObject *memory = call(m, "query-memory-size-summary", NULL, &owner, error);

    if (!memory || !choose_mode(m, error)) {
        return FALSE;
    }
    double bytes = number(memory, "base-memory", 1e17) + number(memory, "plugged-memory", 1e17);
    out->observed.ram_pages = (uint64_t)(bytes / FERRY_WORKLOAD_PAGE);
    if (seconds == 0) { /* as long as a first pass takes, about */
        seconds = bytes_per_second ? CLAMP(bytes / (double)bytes_per_second, 2, 8) : 4;
    }
    for (unsigned i = 0; m->has_ms && i < G_N_ELEMENTS(finer) && finer[i] < seconds / 2; i++) {
        if (!measure(m, finer[i], out, error)) {
            return FALSE;
        }
    }
    return measure(m, MAX(seconds / 2, 1), out, error) && measure(m, MAX(seconds, 2), out, error);
}

gboolean ferry_predict_ask(const char *address, double timeout_s, double measure_s,
                           uint64_t bytes_per_second, FerryPredictGuest *out_guest, GError **error)
{
    g_autoptr(FerryQmpClient) client =
        ferry_qmp_client_new(address, (uint64_t)(timeout_s * 1e9), error);
    Monitor m = {.client = client, .timeout_s = timeout_s};
    FerryPredictGuest guest = {0};

    if (!client || !ask_version(&m, &guest, error) || !ask_parameters(&m, &guest, error)) {
        return FALSE;
    }
    gboolean is_qemu = g_str_has_prefix(guest.program, "QEMU");
    uint64_t rate = bytes_per_second ? bytes_per_second : guest.max_bandwidth;
    if (!(is_qemu ? measure_qemu : measure_ferry)(&m, measure_s, rate, &guest, error)) {
        return FALSE;
    }
    ferry_observed_tidy(&guest.observed);
    if (guest.observed.ram_pages == 0 || guest.observed.ram_pages > RAM_PAGES_MAX ||
        guest.observed.curves[0].n_windows == 0) {
        g_set_error(error, FERRY_QMP_CLIENT_ERROR, FERRY_QMP_CLIENT_ERROR_PROTOCOL,
                    "the monitor tells of no memory, of more than 1 TiB, or of no writes");
        return FALSE;
    }
    *out_guest = guest;
    return TRUE;
}
