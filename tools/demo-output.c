#include "tools/demo.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/format.h"
#include "tools/report.h"
#include "tools/verb.h"

void ferry_demo_show_start(const FerryDemoOptions *options, const FerryDemoResult *result)
{
    g_autofree char *memory = ferry_format_bytes(options->memory_bytes);
    g_autofree char *rate = options->bandwidth ? ferry_format_bandwidth_words(options->bandwidth)
                                               : g_strdup("as fast as it goes");

    if (options->json) {
        g_autoptr(JsonBuilder) b = json_builder_new();
        json_builder_begin_object(b);
        json_builder_set_member_name(b, "event");
        json_builder_add_string_value(b, "start");
        json_builder_set_member_name(b, "accel");
        json_builder_add_string_value(b, result->accel);
        json_builder_set_member_name(b, "memory_bytes");
        json_builder_add_int_value(b, (gint64)options->memory_bytes);
        json_builder_set_member_name(b, "workload");
        json_builder_add_string_value(b, options->workload);
        json_builder_set_member_name(b, "uri");
        json_builder_add_string_value(b, result->uri);
        json_builder_set_member_name(b, "directory");
        json_builder_add_string_value(b, result->directory);
        json_builder_end_object(b);
        ferry_verb_print_json(ferry_verb_build(b), FALSE);
        return;
    }
    if (result->no_kvm) {
        puts("There is no /dev/kvm here: the guest is a process, tracked by userfaultfd.");
    }
    printf("Guest:  %s, %u vCPU%s (%s), writing: %s\n"
           "Link:   %s, %s, downtime limit %" G_GUINT64_FORMAT " ms\n",
           memory, options->n_vcpus, options->n_vcpus == 1 ? "" : "s", result->accel,
           options->workload, result->uri, rate, options->downtime_limit_ms);
    fflush(stdout);
}

/* An event of @object's members. */
static void print_event(const char *event, JsonObject *object)
{
    g_autoptr(JsonObject) line = json_object_new();
    g_autoptr(GList) names = json_object_get_members(object);
    JsonNode *node = json_node_new(JSON_NODE_OBJECT);

    json_object_set_string_member(line, "event", event);
    for (GList *l = names; l; l = l->next) {
        json_object_set_member(line, l->data,
                               json_node_copy(json_object_get_member(object, l->data)));
    }
    json_node_set_object(node, line);
    ferry_verb_print_json(node, FALSE);
}

static void show_rounds_json(JsonObject *answer, FerryDemoShown *shown)
{
    JsonArray *rounds = ferry_report_rounds(answer);

    for (unsigned i = 0; rounds && i < json_array_get_length(rounds); i++) {
        JsonObject *round = json_array_get_object_element(rounds, i);
        unsigned number = (unsigned)ferry_report_number(round, "number", 0);
        if (number > shown->round) {
            shown->round = number;
            print_event("round", round);
        }
    }
}

#define VERDICT_MS 500 /* no more often than this */

/* Whether something else is foreseen than what was shown last: another outlook, or an end that is
 * sooner or later by a quarter of what is left. */
static gboolean is_news(const char *outlook, double now_ms, double end_ms,
                        const FerryDemoShown *shown)
{
    if (g_strcmp0(outlook, shown->verdict) != 0) {
        return TRUE;
    }
    if (end_ms < 0 || shown->end_ms < 0) {
        return FALSE;
    }
    return now_ms - shown->verdict_ms >= VERDICT_MS &&
           fabs(end_ms - shown->end_ms) > MAX((end_ms - now_ms) / 4, VERDICT_MS);
}

/* Once it is known, and whenever it changes. */
static void show_verdict(const FerryDemoOptions *options, JsonObject *answer, FerryDemoShown *shown)
{
    const char *verdict = ferry_report_text(answer, "x-ferry.forecast.verdict", NULL);
    const char *outlook = ferry_report_text(answer, "x-ferry.forecast.outlook", "unknown");
    double finish_ms = ferry_report_number(answer, "x-ferry.forecast.finish_ms", -1);
    double now_ms = ferry_report_number(answer, "total-time", 0);
    double end_ms = finish_ms < 0 ? -1 : now_ms + finish_ms;

    if (!verdict || !is_news(outlook, now_ms, end_ms, shown)) {
        return;
    }
    g_free(shown->verdict);
    shown->verdict = g_strdup(outlook);
    shown->verdict_ms = now_ms;
    shown->end_ms = end_ms;
    if (options->json) {
        print_event("verdict", ferry_report_object(answer, "x-ferry.forecast"));
        return;
    }
    printf("%s%.1f s: %s\n", isatty(STDERR_FILENO) ? "\r\033[K" : "", now_ms / 1000, verdict);
    fflush(stdout);
}

void ferry_demo_shown_clear(FerryDemoShown *shown) { g_clear_pointer(&shown->verdict, g_free); }

void ferry_demo_show_progress(const FerryDemoOptions *options, JsonObject *answer,
                              FerryDemoShown *shown)
{
    show_verdict(options, answer, shown);
    if (isatty(STDERR_FILENO)) {
        g_autofree char *line = ferry_report_progress_line(answer);
        fprintf(stderr, "\r%s\033[K", line);
    }
    if (options->json) {
        show_rounds_json(answer, shown);
    }
}

/* TCP's congestion control: what this host's sockets get; NULL for other transports. */
static char *congestion_control(const FerryDemoOptions *options)
{
    char *text = NULL;

    if (strcmp(options->transport, "tcp") != 0 ||
        !g_file_get_contents("/proc/sys/net/ipv4/tcp_congestion_control", &text, NULL, NULL)) {
        return NULL;
    }
    return g_strstrip(text);
}

static void add_text(JsonBuilder *b, const char *key, const char *text)
{
    json_builder_set_member_name(b, key);
    if (text) {
        json_builder_add_string_value(b, text);
    } else {
        json_builder_add_null_value(b);
    }
}

static void add_number(JsonBuilder *b, const char *key, double value)
{
    json_builder_set_member_name(b, key);
    json_builder_add_double_value(b, value);
}

static void add_count(JsonBuilder *b, const char *key, double value)
{
    json_builder_set_member_name(b, key);
    json_builder_add_int_value(b, (gint64)value);
}

/* A member of x-ferry as it is, under @key. */
static void add_copy(JsonBuilder *b, const char *key, JsonObject *answer, const char *member)
{
    JsonObject *ours = json_object_has_member(answer, "x-ferry")
                           ? json_object_get_object_member(answer, "x-ferry")
                           : NULL;
    JsonNode *node = ours ? json_object_get_member(ours, member) : NULL;

    json_builder_set_member_name(b, key);
    if (node) {
        json_builder_add_value(b, json_node_copy(node));
    } else {
        json_builder_add_null_value(b);
    }
}

static void add_migration(JsonBuilder *b, const FerryDemoResult *result)
{
    JsonObject *source = json_node_get_object(result->source);
    JsonObject *destination =
        result->destination ? json_node_get_object(result->destination) : NULL;

    json_builder_set_member_name(b, "verified");
    json_builder_add_boolean_value(b, ferry_report_flag(source, "x-ferry.verified"));
    add_number(b, "downtime_ms", ferry_report_number(source, "x-ferry.downtime.total_ms", 0));
    add_number(b, "downtime_predicted_ms",
               ferry_report_number(source, "x-ferry.predicted.total_ms", 0));
    add_copy(b, "downtime_parts_ms", source, "downtime");
    add_copy(b, "downtime_predicted_parts_ms", source, "predicted");
    add_number(b, "total_time_ms", ferry_report_number(source, "total-time", 0));
    add_count(b, "sent_bytes", ferry_report_number(source, "x-ferry.sent_bytes", 0));
    add_count(b, "rounds", ferry_report_number(source, "x-ferry.rounds_total", 0));
    add_copy(b, "policy", source, "policy");
    add_copy(b, "outcome", source, "outcome");
    add_copy(b, "forecast", source, "forecast");
    add_copy(b, "timed_out", source, "timed_out");
    add_copy(b, "throttled_ms", source, "throttled_ms");
    add_copy(b, "amplification", source, "amplification");
    add_text(b, "hash_source", ferry_report_text(source, "x-ferry.hash", NULL));
    add_text(b, "hash_destination",
             destination ? ferry_report_text(destination, "x-ferry.hash", NULL) : NULL);
    add_text(b, "io", ferry_report_text(source, "x-ferry.io", NULL));
}

static void show_result_json(const FerryDemoOptions *options, const FerryDemoResult *result)
{
    g_autoptr(JsonBuilder) b = json_builder_new();
    g_autofree char *congestion = congestion_control(options);

    json_builder_begin_object(b);
    add_text(b, "status", result->status);
    if (result->error) {
        add_text(b, "error", result->error);
    }
    add_text(b, "accel", result->accel);
    if (result->source) {
        add_migration(b, result);
        add_text(b, "congestion_control", congestion);
        add_number(b, "guest_writes_per_second_before", result->speed.before);
        add_number(b, "guest_writes_per_second_during", result->speed.during);
        add_number(b, "guest_writes_per_second_after", result->speed.after);
        add_count(b, "guest_writes_at_source", (double)result->writes_at_source);
        add_count(b, "guest_writes_at_destination", (double)result->writes_at_destination);
    }
    json_builder_end_object(b);
    ferry_verb_print_json(ferry_verb_build(b), FALSE);
}

static void print_speed(const char *when, double speed, double before)
{
    printf("  %-12s %10.0f pages/s", when, speed);
    if (before > 0) {
        printf("  %+.1f %%", 100 * (speed - before) / before);
    }
    putchar('\n');
}

static void print_completed(const FerryDemoOptions *options, const FerryDemoResult *result)
{
    JsonObject *source = json_node_get_object(result->source);
    const char *hash = ferry_report_text(source, "x-ferry.hash", "none");
    const char *there =
        ferry_report_text(json_node_get_object(result->destination), "x-ferry.hash", "none");
    g_autofree char *total = ferry_format_ms(ferry_report_number(source, "total-time", 0));
    g_autofree char *sent =
        ferry_format_bytes((uint64_t)ferry_report_number(source, "ram.transferred", 0));
    g_autofree char *congestion = congestion_control(options);

    printf("\nTotal time %s, %s sent in %u rounds over %s%s%s (%s)\n", total, sent,
           (unsigned)ferry_report_number(source, "x-ferry.rounds_total", 0), options->transport,
           congestion ? ", " : "", congestion ? congestion : "",
           ferry_report_text(source, "x-ferry.io", "unknown"));
    ferry_report_print_amplification(source, stdout);
    puts("The guest's writes:");
    print_speed("before", result->speed.before, 0);
    print_speed("during", result->speed.during, result->speed.before);
    print_speed("after", result->speed.after, result->speed.before);
    printf("  it stopped here after %" G_GUINT64_FORMAT " and has done %" G_GUINT64_FORMAT
           " by now there\n",
           result->writes_at_source, result->writes_at_destination);
    printf("Memory:  XXH3 %s at the source, %s at the destination: %s\n", hash, there,
           strcmp(hash, there) == 0 ? "identical" : "NOT identical");
}

void ferry_demo_show_result(const FerryDemoOptions *options, const FerryDemoResult *result)
{
    if (result->source && isatty(STDERR_FILENO)) {
        fputc('\n', stderr);
    }
    if (result->error) {
        fprintf(stderr, "ferry demo: %s\n", result->error);
    }
    if (options->json) {
        show_result_json(options, result);
        return;
    }
    if (result->source) {
        JsonObject *source = json_node_get_object(result->source);
        ferry_report_print_rounds(source, stdout);
        ferry_report_print_downtime(source, stdout);
    }
    if (strcmp(result->status, "completed") == 0) {
        print_completed(options, result);
    } else if (strcmp(result->status, "cancelled") == 0) {
        puts("\nCancelled; the guest ran on at the source.");
    }
}
