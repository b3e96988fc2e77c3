/* ferry demo: moves a running guest from one ferry-vm to another on this machine and shows what
 * happened, part by part. */
#include "tools/demo.h"

#include <glib/gstdio.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "engine/ferry.h"
#include "tools/demo-link.h"
#include "tools/demo-vm.h"
#include "tools/format.h"
#include "tools/report.h"
#include "tools/verb.h"

#define SECOND_NS G_GUINT64_CONSTANT(1000000000)
#define POLL_US 50000
#define STRETCH_NS SECOND_NS /* over which the guest's speed before and after is taken */
#define END_NS (10 * SECOND_NS)
/* The source minds its timeout itself, counted from the first page on; this is for one that hangs.
 */
#define LATE_NS (30 * SECOND_NS)

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

typedef struct {
    const FerryDemoOptions *options;
    FerryDemoResult result;
    FerryDemoVm *source, *destination;
    FerryDemoLink *link; /* NULL: they are connected directly */
    gboolean started;    /* the migration has begun */
    gboolean timed_out;
} Demo;

static void remove_directory(const char *directory)
{
    g_autoptr(GDir) dir = g_dir_open(directory, 0, NULL);
    const char *name;

    while (dir && (name = g_dir_read_name(dir))) {
        g_autofree char *path = g_build_filename(directory, name, NULL);
        g_unlink(path);
    }
    g_rmdir(directory);
}

void ferry_demo_result_clear(FerryDemoResult *result)
{
    g_clear_pointer(&result->source, json_node_unref);
    g_clear_pointer(&result->destination, json_node_unref);
    g_clear_pointer(&result->error, g_free);
    g_clear_pointer(&result->uri, g_free);
    g_clear_pointer(&result->directory, g_free);
}

static void demo_clear(Demo *demo)
{
    ferry_demo_vm_free(demo->source);
    ferry_demo_vm_free(demo->destination);
    ferry_demo_link_free(demo->link);
    if (demo->result.directory && demo->options->keep) {
        fprintf(stderr, "ferry demo: logs, serial output and memory are kept in %s\n",
                demo->result.directory);
    } else if (demo->result.directory) {
        remove_directory(demo->result.directory);
    }
    ferry_demo_result_clear(&demo->result);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Demo, demo_clear)

/* Guest memory in /dev/shm is never written to a disk; it is used where both guests fit. */
static char *make_directory(uint64_t memory_bytes, GError **error)
{
    struct statvfs shm;
    char *directory;

    if (statvfs("/dev/shm", &shm) == 0 &&
        (uint64_t)shm.f_bavail * shm.f_bsize > 2 * memory_bytes + (16u << 20)) {
        directory = g_strdup("/dev/shm/ferry-demo-XXXXXX");
        if (g_mkdtemp_full(directory, 0700)) {
            return directory;
        }
        g_free(directory);
    }
    return g_dir_make_tmp("ferry-demo-XXXXXX", error);
}

/* FALSE when interrupted before. */
static gboolean sleep_until(uint64_t end_ns)
{
    while (!interrupted && ferry_now_ns() < end_ns) {
        g_usleep(POLL_US);
    }
    return !interrupted;
}

static gboolean start_vms(Demo *demo, GError **error)
{
    const FerryDemoOptions *o = demo->options;
    g_autofree char *n_vcpus = g_strdup_printf("%u", o->n_vcpus);
    g_autofree char *program = ferry_demo_find_vm(error);
    /* The destination's last two words are left out at the source. */
    const char *arguments[] = {"-accel",    demo->result.accel, "-smp",  n_vcpus, "-workload",
                               o->workload, "-incoming",        "defer", NULL};

    if (!program) {
        return FALSE;
    }
    demo->destination = ferry_demo_vm_new(program, "destination", demo->result.directory, arguments,
                                          o->memory_bytes, error);
    arguments[6] = NULL;
    if (demo->destination) {
        demo->source = ferry_demo_vm_new(program, "source", demo->result.directory, arguments,
                                         o->memory_bytes, error);
    }
    return demo->source != NULL;
}

static gboolean set_up(Demo *demo, GError **error)
{
    static const char capabilities[] =
        "{\"capabilities\": [{\"capability\": \"x-ferry-verify\", \"state\": true}]}";
    const FerryDemoOptions *o = demo->options;
    /* What limits the rate is the link. */
    g_autofree char *limits = g_strdup_printf(
        "{\"max-bandwidth\": 0, \"downtime-limit\": %" G_GUINT64_FORMAT
        ", \"x-ferry-policy\": \"%s\", \"x-ferry-on-stall\": \"%s\", \"x-ferry-timeout\": "
        "%" G_GUINT64_FORMAT ", \"x-ferry-on-timeout\": \"%s\"}",
        o->downtime_limit_ms, o->policy, o->on_stall, o->timeout_ms, o->on_timeout);

    return ferry_demo_vm_do(demo->source, "migrate-set-capabilities", capabilities, error) &&
           ferry_demo_vm_do(demo->destination, "migrate-set-capabilities", capabilities, error) &&
           ferry_demo_vm_do(demo->source, "migrate-set-parameters", limits, error);
}

/* Lets the destination listen; *out_uri (g_free) is where. */
static gboolean listen_there(Demo *demo, char **out_uri, GError **error)
{
    gboolean tcp = strcmp(demo->options->transport, "tcp") == 0;
    g_autofree char *uri = tcp ? g_strdup("tcp:127.0.0.1:0")
                               : g_strdup_printf("unix:%s/there", demo->result.directory);
    g_autofree char *arguments = g_strdup_printf("{\"uri\": \"%s\"}", uri);
    g_autoptr(JsonNode) answer = NULL;
    JsonArray *addresses = NULL;
    JsonObject *object;

    if (!ferry_demo_vm_do(demo->destination, "migrate-incoming", arguments, error) ||
        !(answer = ferry_demo_vm_query(demo->destination, error))) {
        return FALSE;
    }
    if (!tcp) {
        *out_uri = g_steal_pointer(&uri);
        return TRUE;
    }
    object = json_node_get_object(answer);
    if (json_object_has_member(object, "socket-address")) {
        addresses = json_object_get_array_member(object, "socket-address");
    }
    if (!addresses || json_array_get_length(addresses) == 0) {
        g_set_error(error, FERRY_QMP_CLIENT_ERROR, FERRY_QMP_CLIENT_ERROR_PROTOCOL,
                    "the destination does not say where it listens");
        return FALSE;
    }
    *out_uri = g_strdup_printf(
        "tcp:127.0.0.1:%s",
        ferry_report_text(json_array_get_object_element(addresses, 0), "port", "0"));
    return TRUE;
}

/* result.uri is where the source shall connect to. */
static gboolean connect_both(Demo *demo, GError **error)
{
    const FerryDemoOptions *o = demo->options;
    g_autofree char *there = NULL;
    g_autofree char *here = strcmp(o->transport, "unix") == 0
                                ? g_strdup_printf("%s/link", demo->result.directory)
                                : NULL;

    if (!listen_there(demo, &there, error)) {
        return FALSE;
    }
    if (o->bandwidth == 0) {
        demo->result.uri = g_steal_pointer(&there);
        return TRUE;
    }
    demo->link = ferry_demo_link_new(here, there, o->bandwidth, error);
    if (demo->link) {
        demo->result.uri = g_strdup(ferry_demo_link_uri(demo->link));
    }
    return demo->link != NULL;
}

/* Pages per second that the guest of @vm writes. */
static double measure_speed(FerryDemoVm *vm)
{
    uint64_t begin_ns = ferry_now_ns(), begin = ferry_demo_vm_writes(vm);

    sleep_until(begin_ns + STRETCH_NS);
    return (double)(ferry_demo_vm_writes(vm) - begin) * 1e9 / (double)(ferry_now_ns() - begin_ns);
}

static gboolean has_ended(const char *status)
{
    static const char *const ends[] = {"completed", "failed", "cancelled", "x-ferry-in-doubt",
                                       NULL};

    return g_strv_contains(ends, status);
}

/* Follows the migration to its end; asks it to end early when interrupted or out of time. */
static gboolean follow(Demo *demo, GError **error)
{
    FerryDemoResult *r = &demo->result;
    uint64_t begin_ns = ferry_now_ns(), begin = ferry_demo_vm_writes(demo->source);
    uint64_t deadline_ns = begin_ns + 2 * demo->options->timeout_ms * 1000000 + LATE_NS;
    gboolean cancelling = FALSE;
    g_auto(FerryDemoShown) shown = {0};

    do {
        g_autoptr(JsonNode) answer = ferry_demo_vm_query(demo->source, error);
        uint64_t writes = ferry_demo_vm_writes(demo->source), now_ns = ferry_now_ns();
        if (!answer) {
            return FALSE;
        }
        g_clear_pointer(&r->source, json_node_unref);
        r->source = g_steal_pointer(&answer);
        r->status = ferry_report_text(json_node_get_object(r->source), "status", "none");
        ferry_demo_show_progress(demo->options, json_node_get_object(r->source), &shown);
        if (strcmp(r->status, "active") == 0 && now_ns > begin_ns) {
            r->speed.during = (double)(writes - begin) * 1e9 / (double)(now_ns - begin_ns);
        }
        demo->timed_out = demo->timed_out || now_ns > deadline_ns;
        if (!cancelling && (interrupted || demo->timed_out)) {
            /* Too late is no error: the next answer says how it ended. */
            ferry_demo_vm_do(demo->source, "migrate_cancel", NULL, NULL);
            cancelling = TRUE;
        }
        g_usleep(has_ended(r->status) ? 0 : POLL_US);
    } while (!has_ended(r->status));
    r->writes_at_source = ferry_demo_vm_writes(demo->source);
    return TRUE;
}

/* The destination has the guest: it must say so, and the guest must go on. */
static gboolean look_there(Demo *demo, GError **error)
{
    FerryDemoResult *r = &demo->result;
    uint64_t deadline_ns = ferry_now_ns() + END_NS;

    while (!r->destination) {
        g_autoptr(JsonNode) answer = ferry_demo_vm_query(demo->destination, error);
        if (!answer) {
            return FALSE;
        }
        if (has_ended(ferry_report_text(json_node_get_object(answer), "status", "none")) ||
            ferry_now_ns() > deadline_ns) {
            r->destination = g_steal_pointer(&answer);
        }
    }
    r->speed.after = measure_speed(demo->destination);
    r->writes_at_destination = ferry_demo_vm_writes(demo->destination);
    if (!interrupted && r->writes_at_destination <= r->writes_at_source) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_GUEST,
                    "the guest does not go on at the destination");
        return FALSE;
    }
    return TRUE;
}

static gboolean run(Demo *demo, GError **error)
{
    g_autofree char *arguments = NULL;

    demo->result.directory = make_directory(demo->options->memory_bytes, error);
    if (!demo->result.directory || !start_vms(demo, error) || !set_up(demo, error) ||
        !connect_both(demo, error)) {
        return FALSE;
    }
    ferry_demo_show_start(demo->options, &demo->result);
    demo->result.speed.before = measure_speed(demo->source);
    if (interrupted) {
        return TRUE;
    }
    arguments = g_strdup_printf("{\"uri\": \"%s\"}", demo->result.uri);
    if (!ferry_demo_vm_do(demo->source, "migrate", arguments, error)) {
        return FALSE;
    }
    demo->started = TRUE;
    return follow(demo, error) &&
           (strcmp(demo->result.status, "completed") != 0 || look_there(demo, error));
}

/* Why it took too long, from the last round's numbers. */
static char *explain_timeout(const Demo *demo)
{
    JsonObject *source = json_node_get_object(demo->result.source);
    double seconds = (double)demo->options->timeout_ms / 1000;
    const char *verdict = ferry_report_text(source, "x-ferry.forecast.verdict", NULL);
    g_autofree char *rate = NULL;
    g_autofree char *dirty = NULL;
    g_autofree char *downtime = NULL;

    /* Pages that are written all the time may wait for the last copy. */
    if (ferry_report_number(source, "x-ferry.unsent_pages", 0) > 0 &&
        ferry_report_number(source, "x-ferry.amplification.pages", 0) < 1) {
        return g_strdup_printf("the first pass over its memory took more than %.0f s: allow more "
                               "bandwidth or a longer --timeout",
                               seconds);
    }
    rate = ferry_format_rate(
        (uint64_t)ferry_report_number(source, "x-ferry.uncapped_bytes_per_second", 0));
    dirty = ferry_format_rate(
        (uint64_t)ferry_report_number(source, "x-ferry.dirty_pages_per_second", 0) * 4096);
    downtime = ferry_format_ms(ferry_report_number(source, "x-ferry.predicted_downtime_ms", 0));
    return g_strdup_printf(
        "it did not converge in %.0f s: the guest dirtied %s at last, the link "
        "takes %s, predicted downtime %s of at most %" G_GUINT64_FORMAT " ms; %s",
        seconds, dirty, rate, downtime, demo->options->downtime_limit_ms,
        verdict ? verdict : "allow more bandwidth or downtime, or a slower workload");
}

/* What the migration's end means for the exit status; errors are put in words. */
static FerryExit judge(Demo *demo, GError *error)
{
    FerryDemoResult *r = &demo->result;
    gboolean completed = g_strcmp0(r->status, "completed") == 0;
    const char *outcome;

    if (error) {
        r->status = "failed";
        r->error = g_strdup(error->message);
        return demo->started ? FERRY_EXIT_FAILED : FERRY_EXIT_REFUSED;
    }
    if (!r->status) {
        r->status = "cancelled";
    }
    if (completed && !ferry_report_flag(json_node_get_object(r->source), "x-ferry.verified")) {
        r->status = "failed";
        r->error = g_strdup("the destination's memory was not proven to be the source's");
        return FERRY_EXIT_FAILED;
    }
    if (completed) {
        return FERRY_EXIT_DONE;
    }
    outcome =
        r->source ? ferry_report_text(json_node_get_object(r->source), "x-ferry.outcome", "") : "";
    if (demo->timed_out || strcmp(outcome, "timed-out") == 0) {
        r->error = explain_timeout(demo);
        return FERRY_EXIT_NOT_CONVERGED;
    }
    if (strcmp(r->status, "cancelled") == 0) {
        return FERRY_EXIT_CANCELLED;
    }
    r->error = g_strdup(
        ferry_report_text(json_node_get_object(r->source), "error-desc", "no reason was given"));
    if (strcmp(outcome, "stalled") == 0) {
        return FERRY_EXIT_NOT_CONVERGED;
    }
    return strcmp(r->status, "x-ferry-in-doubt") == 0 ? FERRY_EXIT_IN_DOUBT : FERRY_EXIT_FAILED;
}

FerryExit ferry_demo_run(const FerryDemoOptions *options)
{
    g_auto(Demo) demo = {.options = options};
    g_autoptr(GError) error = NULL;
    struct sigaction action = {.sa_handler = on_signal};
    FerryExit status;

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    demo.result.no_kvm = !options->accel && access("/dev/kvm", R_OK | W_OK) < 0;
    demo.result.accel = options->accel ? options->accel : demo.result.no_kvm ? "process" : "kvm";
    run(&demo, &error);
    status = judge(&demo, error);
    ferry_demo_show_result(options, &demo.result);
    return status;
}
