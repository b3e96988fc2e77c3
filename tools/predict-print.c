/* A prediction for people, and as JSON. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include "tools/predict.h"
#include "tools/format.h"
#include "tools/verb.h"

static const char *policy_name(const FerryPredictTask *task)
{
    return task->policy.ops ? task->policy.ops->name : ferry_policy_ferry.name;
}

/* What to do on a stall that costs least: nothing, a slower guest, or a longer downtime. */
static const char *suggested_on_stall(const FerryPrediction *p)
{
    if (strcmp(ferry_predict_verdict(p), "meets") == 0) {
        return ferry_on_stall_name(FERRY_ON_STALL_WAIT);
    }
    return ferry_on_stall_name(p->throttle_percent.p95 <= 50 ? FERRY_ON_STALL_THROTTLE
                                                             : FERRY_ON_STALL_PAUSE);
}

static void print_interval(const char *what, const FerryInterval *i, char *(*format)(double))
{
    g_autofree char *p5 = format(i->p5);
    g_autofree char *p50 = format(i->p50);
    g_autofree char *p95 = format(i->p95);

    printf("%-14s %12s   %12s .. %s\n", what, p50, p5, p95);
}

static char *format_count(double x) { return g_strdup_printf("%.0f", x); }
static char *format_bytes(double x) { return ferry_format_bytes((uint64_t)x); }
static char *format_ms(double x) { return ferry_format_ms(x); }
static char *format_percent(double x)
{
    return x >= 100 ? g_strdup("not even 99 %") : g_strdup_printf("%.0f %%", x);
}
static char *format_rate(double x)
{
    return isfinite(x) ? ferry_format_rate((uint64_t)x) : g_strdup("none does");
}

static void print_guest(const FerryPredictGuest *guest)
{
    const FerryObserved *o = &guest->observed;
    const FerryWriteCurve *c = &o->curves[o->n_curves - 1];
    g_autofree char *ram = ferry_format_bytes(o->ram_pages * FERRY_WORKLOAD_PAGE);

    printf("guest          %s of RAM, ", ram);
    if (guest->knows_zeros) {
        printf("%.0f %% of it zeros", 100.0 * (double)o->zero_pages / (double)o->ram_pages);
    } else {
        printf("zeros not known (taken as none; see --zeros)");
    }
    printf("; seen by %s\nwrites        ", guest->program);
    for (unsigned i = 0; i < c->n_windows; i++) {
        g_autofree char *bytes =
            ferry_format_bytes((uint64_t)c->windows[i].pages * FERRY_WORKLOAD_PAGE);
        g_autofree char *ms = ferry_format_ms(c->windows[i].seconds * 1000);
        if (i % 3 == 0 && i > 0) {
            printf("\n              ");
        }
        printf(" %s in %s%s", bytes, ms, i + 1 < c->n_windows ? "," : "\n");
    }
}

static void print_task(const FerryPredictTask *task)
{
    g_autofree char *link = ferry_format_rate(task->link_bytes_per_second);
    g_autofree char *cap = task->max_bandwidth ? ferry_format_rate(task->max_bandwidth) : NULL;

    printf("migration      link %s%s%s, policy %s, downtime limit %" G_GUINT64_FORMAT " ms\n", link,
           cap ? ", rounds at most " : "", cap ? cap : "", policy_name(task),
           task->downtime_limit_ms);
}

static void print_suggestions(const FerryPredictTask *task, const FerryPrediction *p)
{
    g_autofree char *needed = format_rate(p->needed_bytes_per_second.p95);

    printf("suggested     ");
    if (p->suggested_limit_ms) {
        printf(" downtime-limit %" G_GUINT64_FORMAT " ms", p->suggested_limit_ms);
    }
    if (p->suggested_limit_ms > task->downtime_limit_ms) {
        printf("; or, for %" G_GUINT64_FORMAT " ms, a link of %s", task->downtime_limit_ms, needed);
    }
    printf("%s x-ferry-on-stall %s\n", p->suggested_limit_ms ? ";" : "", suggested_on_stall(p));
}

void ferry_predict_print(const FerryPredictGuest *guest, const FerryPredictTask *task,
                         const FerryPrediction *p)
{
    print_guest(guest);
    print_task(task);
    printf("verdict        %s: %u of %u simulated migrations meet the limit within %.0f s%s\n",
           ferry_predict_verdict(p), p->met, p->runs, p->patience_s,
           p->stopped_early ? " (no more were tried)" : "");
    printf("\n%-14s %12s   %12s .. %s\n", "", "median", "p5", "p95");
    if (p->met > 0) {
        print_interval("rounds", &p->rounds, format_count);
        print_interval("total time", &p->total_ms, format_ms);
        print_interval("data", &p->sent_bytes, format_bytes);
        print_interval("downtime", &p->downtime_ms, format_ms);
    }
    print_interval("least downtime", &p->floor_ms, format_ms);
    if (strcmp(ferry_predict_verdict(p), "meets") != 0) {
        print_interval("link needed", &p->needed_bytes_per_second, format_rate);
        print_interval("or throttle", &p->throttle_percent, format_percent);
    }
    putchar('\n');
    print_suggestions(task, p);
    fflush(stdout);
}

static void put_number(JsonBuilder *b, const char *name, double value)
{
    json_builder_set_member_name(b, name);
    if (isfinite(value)) {
        json_builder_add_double_value(b, value);
    } else {
        json_builder_add_null_value(b);
    }
}

static void put_int(JsonBuilder *b, const char *name, uint64_t value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_int_value(b, (gint64)value);
}

static void put_text(JsonBuilder *b, const char *name, const char *value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_string_value(b, value);
}

static void put_interval(JsonBuilder *b, const char *name, const FerryInterval *i)
{
    json_builder_set_member_name(b, name);
    json_builder_begin_object(b);
    put_number(b, "p5", i->p5);
    put_number(b, "p50", i->p50);
    put_number(b, "p95", i->p95);
    json_builder_end_object(b);
}

static void put_guest(JsonBuilder *b, const FerryPredictGuest *guest)
{
    const FerryObserved *o = &guest->observed;

    json_builder_set_member_name(b, "guest");
    json_builder_begin_object(b);
    put_text(b, "seen_by", guest->program);
    put_int(b, "ram_bytes", o->ram_pages * FERRY_WORKLOAD_PAGE);
    if (guest->knows_zeros) {
        put_int(b, "zero_bytes", o->zero_pages * FERRY_WORKLOAD_PAGE);
    }
    json_builder_set_member_name(b, "written");
    json_builder_begin_array(b);
    for (unsigned i = 0; i < o->n_curves; i++) {
        json_builder_begin_array(b);
        for (unsigned j = 0; j < o->curves[i].n_windows; j++) {
            json_builder_begin_object(b);
            put_number(b, "window_ms", o->curves[i].windows[j].seconds * 1000);
            put_number(b, "written_bytes", o->curves[i].windows[j].pages * FERRY_WORKLOAD_PAGE);
            json_builder_end_object(b);
        }
        json_builder_end_array(b);
    }
    json_builder_end_array(b);
    json_builder_end_object(b);
}

/* The likeliest model. */
static void put_model(JsonBuilder *b, const FerryPredictGuest *guest)
{
    FerryWorkload w;

    ferry_fit_workload(&guest->observed, 0, &w);
    json_builder_set_member_name(b, "model");
    json_builder_begin_array(b);
    for (unsigned i = 0; i < w.n_groups; i++) {
        json_builder_begin_object(b);
        put_int(b, "pages", w.groups[i].pages);
        put_number(b, "writes_per_second_and_page",
                   w.groups[i].writes_per_second / (double)w.groups[i].pages);
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
}

static void put_suggestions(JsonBuilder *b, const FerryPrediction *p)
{
    json_builder_set_member_name(b, "suggested");
    json_builder_begin_object(b);
    if (p->suggested_limit_ms) {
        put_int(b, "downtime-limit", p->suggested_limit_ms);
    }
    put_number(b, "bandwidth_bytes_per_second", p->needed_bytes_per_second.p95);
    put_text(b, "x-ferry-on-stall", suggested_on_stall(p));
    json_builder_end_object(b);
}

JsonNode *ferry_predict_to_json(const FerryPredictGuest *guest, const FerryPredictTask *task,
                                const FerryPrediction *p)
{
    g_autoptr(JsonBuilder) b = json_builder_new();

    json_builder_begin_object(b);
    put_text(b, "status", "completed");
    put_text(b, "verdict", ferry_predict_verdict(p));
    put_int(b, "runs", p->runs);
    put_int(b, "met", p->met);
    put_number(b, "patience_s", p->patience_s);
    put_text(b, "policy", policy_name(task));
    put_int(b, "link_bytes_per_second", task->link_bytes_per_second);
    put_int(b, "max_bandwidth_bytes_per_second", task->max_bandwidth);
    put_int(b, "downtime_limit_ms", task->downtime_limit_ms);
    put_interval(b, "rounds", &p->rounds);
    put_interval(b, "total_ms", &p->total_ms);
    put_interval(b, "sent_bytes", &p->sent_bytes);
    put_interval(b, "downtime_ms", &p->downtime_ms);
    put_interval(b, "least_downtime_ms", &p->floor_ms);
    put_interval(b, "needed_bytes_per_second", &p->needed_bytes_per_second);
    put_interval(b, "throttle_percent", &p->throttle_percent);
    put_suggestions(b, p);
    put_guest(b, guest);
    put_model(b, guest);
    json_builder_end_object(b);
    return ferry_verb_build(b);
}
