/* How the policies compare, in virtual time: policies x loads x links x limits, one JSON line each
 * with the ratio to the first policy of the same case. */
#include <glib.h>
#include <stdio.h>
#include <string.h>
#include "engine/precopy/estimate.h"
#include "simulator/models.h"
#include "simulator/simulate.h"

#define MIB (1u << 20)
#define PAGE FERRY_WORKLOAD_PAGE

static char **policies, **loads, **links, **limits;
static char *ram_text = NULL, *stall_text = NULL;
static gint seeds = 1, max_seconds = 60, chunk_kib = 0, jitter = 0, gather = -1;
static gint64 queue_bytes = 0, max_bandwidth = 0;
static gboolean show_rounds, auto_converge;

static const GOptionEntry entries[] = {
    {"policy",        'p', 0, G_OPTION_ARG_STRING_ARRAY, &policies,
     "qemu, ferry, ...; the first is the base",                                                       "NAME"    },
    {"load",          'l', 0, G_OPTION_ARG_STRING_ARRAY, &loads,
     "u=RATIO, hot-cold, a model, or a file: a trace",                                                "LOAD"    },
    {"link",          'b', 0, G_OPTION_ARG_STRING_ARRAY, &links,         "32, 64, 128",               "MiB/s"   },
    {"limit",         'd', 0, G_OPTION_ARG_STRING_ARRAY, &limits,        "100, 300",                  "MS"      },
    {"ram",           0,   0, G_OPTION_ARG_STRING,       &ram_text,      "256",                       "MiB"     },
    {"seeds",         0,   0, G_OPTION_ARG_INT,          &seeds,         "1",                         "N"       },
    {"max",           0,   0, G_OPTION_ARG_INT,          &max_seconds,   "virtual time, 60",          "S"       },
    {"chunk",         0,   0, G_OPTION_ARG_INT,          &chunk_kib,     "2048",                      "KiB"     },
    {"gather",        0,   0, G_OPTION_ARG_INT,          &gather,        "384",                       "PAGES"   },
    {"queue",         0,   0, G_OPTION_ARG_INT64,        &queue_bytes,   "0",                         "BYTES"   },
    {"max-bandwidth", 0,   0, G_OPTION_ARG_INT64,        &max_bandwidth, "of rounds; 0 = the link's",
     "MiB/s"                                                                                                    },
    {"jitter",        0,   0, G_OPTION_ARG_INT,          &jitter,        "of the link's rate",        "PERMILLE"},
    {"on-stall",      0,   0, G_OPTION_ARG_STRING,       &stall_text,    "wait",                      "WHAT"    },
    {"auto-converge", 0,   0, G_OPTION_ARG_NONE,         &auto_converge, "QEMU's, with its defaults", NULL      },
    {"rounds",        0,   0, G_OPTION_ARG_NONE,         &show_rounds,   "a line for each as well",   NULL      },
    G_OPTION_ENTRY_NULL,
};

typedef struct {
    const char *policy, *load;
    double link_mib;
    guint64 limit_ms;
    gint seed;
} Case;

/* Mean over seeds. */
typedef struct {
    double done, rounds, bytes, seconds, downtime_ms, residual;
} Mean;

/* "u=1.5" is uniform over 64 MiB; "hot-cold" has a hot set of half the budget, written without
 * pause, and the rest of 64 MiB at u = 0.8: both in relation to link and limit. */
static gboolean workload_of(const Case *c, uint64_t ram, FerryWorkload *out, GError **error)
{
    double link_pages = c->link_mib * MIB / PAGE;
    g_autofree char *text = NULL;

    if (strncmp(c->load, "u=", 2) == 0) {
        text = g_strdup_printf("uniform,size=64M,rate=%.0f",
                               g_ascii_strtod(c->load + 2, NULL) * link_pages);
    } else if (strcmp(c->load, "hot-cold") == 0) {
        uint64_t hot = (uint64_t)(c->link_mib * MIB * (double)c->limit_ms / 1000 / 2);
        text = g_strdup_printf("hot-cold,size=64M,hot=%" G_GUINT64_FORMAT ",share=80,rate=%.0f",
                               MIN(hot, 48u * MIB), 4 * link_pages);
    }
    return ferry_model_parse(text ? text : c->load, ram, out, error);
}

static void print_round(void *self, const FerrySimRound *r)
{
    (void)self;
    printf("{\"round\":%u,\"at_ms\":%.1f,\"sent_pages\":%" G_GUINT64_FORMAT
           ",\"dirtied_pages\":%" G_GUINT64_FORMAT ",\"pending_pages\":%" G_GUINT64_FORMAT
           ",\"deferred_pages\":%" G_GUINT64_FORMAT ",\"false_dirty_pages\":%" G_GUINT64_FORMAT
           ",\"duration_ms\":%.1f,\"predicted_ms\":%.1f,\"throttle\":%u,\"outlook\":\"%s\""
           ",\"floor_ms\":%.1f,\"finish_ms\":%.1f,\"forecast_ms\":%.1f}\n",
           r->values.number, (double)r->values.moment.now_ns / 1e6, r->sent_pages,
           r->values.round_dirtied_bytes / PAGE, r->values.dirty_bytes / PAGE, r->deferred_pages,
           r->false_dirty_pages, (double)r->values.round_ns / 1e6,
           r->decision.predicted_downtime_ns == UINT64_MAX
               ? -1.0
               : (double)r->decision.predicted_downtime_ns / 1e6,
           r->decision.throttle_percent, ferry_outlook_name(r->forecast.outlook),
           (double)r->forecast.floor_ns / 1e6,
           r->forecast.finish_ns == UINT64_MAX ? -1.0 : (double)r->forecast.finish_ns / 1e6,
           r->forecast.downtime_ns == UINT64_MAX ? -1.0 : (double)r->forecast.downtime_ns / 1e6);
}

static FerrySimulation simulation_of(const Case *c)
{
    FerrySimCosts costs = FERRY_SIM_COSTS_DEFAULT;

    costs.chunk_bytes = (uint64_t)chunk_kib * 1024;
    costs.gather_pages = gather >= 0 ? (uint64_t)gather : costs.gather_pages;
    return (FerrySimulation){
        .link = {.bytes_per_second = (uint64_t)(c->link_mib * MIB),
                 .queue_bytes = (uint64_t)queue_bytes,
                 .jitter_permille = (unsigned)jitter,
                 .round_trip_ns = 200000},
        .costs = costs,
        .max_bandwidth = (uint64_t)max_bandwidth * MIB,
        .downtime_limit_ns = c->limit_ms * 1000000,
        .throttle_initial = auto_converge ? 20 : 0,
        .throttle_increment = auto_converge ? 10 : 0,
        .throttle_max = auto_converge ? 99 : 0,
        .throttle_trigger = auto_converge ? 50 : 0,
        .max_ns = (uint64_t)max_seconds * 1000000000,
        .seed = (uint64_t)c->seed,
        .round = show_rounds ? print_round : NULL,
    };
}

static gboolean simulate_trace(FerrySimulation *s, const char *path, FerrySimResult *out,
                               GError **error)
{
    g_autoptr(FerryTraceFile) file = ferry_trace_file_open(path, error);
    FerryTraceInput input = {0};

    if (!file) {
        return FALSE;
    }
    input = ferry_trace_file_input(file);
    g_autoptr(FerryTraceReader) reader = ferry_trace_reader_new(&input, error);
    s->trace = reader;
    return reader && ferry_simulate(s, out, error);
}

static gboolean run(const Case *c, FerrySimResult *out)
{
    uint64_t ram = (ram_text ? g_ascii_strtoull(ram_text, NULL, 10) : 256) * MIB;
    FerrySimulation s = simulation_of(c);
    g_autoptr(GError) error = NULL;
    FerryWorkload workload;
    const char *why = "there is no such --on-stall";
    gboolean is_file = strchr(c->load, '/') || g_str_has_suffix(c->load, ".pdt");

    if (!ferry_policy_parse(c->policy, &s.policy, &why) ||
        (stall_text && !ferry_on_stall_parse(stall_text, &s.on_stall))) {
        fprintf(stderr, "simulate: %s: %s\n", c->policy, why);
        return FALSE;
    }
    s.workload = is_file ? NULL : &workload;
    if (is_file ? !simulate_trace(&s, c->load, out, &error)
                : !workload_of(c, ram, &workload, &error) || !ferry_simulate(&s, out, &error)) {
        fprintf(stderr, "simulate: %s: %s\n", c->load, error->message);
        return FALSE;
    }
    return TRUE;
}

static void print(const Case *c, const Mean *m, const Mean *base, const FerrySimResult *r,
                  double wall_s)
{
    printf("{\"policy\":\"%s\",\"load\":\"%s\",\"link_mib_per_second\":%g,\"limit_ms\":"
           "%" G_GUINT64_FORMAT ",\"seeds\":%d,\"done\":%g,\"rounds\":%.1f,\"bytes\":%.0f"
           ",\"seconds\":%.3f,\"downtime_ms\":%.1f,\"residual_pages\":%.0f,\"throttle_max\":%u"
           ",\"verdict\":\"%s\",\"verdict_ms\":%.1f,\"floor_ms\":%.1f,\"predicted_ms\":%.1f",
           c->policy, c->load, c->link_mib, c->limit_ms, seeds, m->done, m->rounds, m->bytes,
           m->seconds, m->downtime_ms, m->residual, r->throttle_max_percent,
           ferry_outlook_name(r->first_forecast.outlook), (double)r->first_outlook_ns / 1e6,
           (double)r->last_forecast.floor_ns / 1e6,
           r->predicted_downtime_ns == UINT64_MAX ? -1 : (double)r->predicted_downtime_ns / 1e6);
    if (base != m) {
        printf(",\"bytes_ratio\":%.3f,\"seconds_ratio\":%.3f", m->bytes / base->bytes,
               m->seconds / base->seconds);
    }
    printf(",\"wall_s\":%.3f}\n", wall_s);
    fflush(stdout);
}

static gboolean measure(Case *c, const Mean *base, Mean *out)
{
    FerrySimResult r;
    gint64 begin = g_get_monotonic_time();

    *out = (Mean){0};
    for (c->seed = 1; c->seed <= seeds; c->seed++) {
        if (!run(c, &r)) {
            return FALSE;
        }
        out->done += r.end == FERRY_SIM_DONE ? 1.0 / seeds : 0;
        out->rounds += (double)r.rounds / seeds;
        out->bytes += (double)r.wire_bytes / seeds;
        out->seconds += (double)r.total_ns / 1e9 / seeds;
        out->downtime_ms += (double)r.downtime_ns / 1e6 / seeds;
        out->residual += (double)r.residual_pages / seeds;
    }
    print(c, out, base ? base : out, &r, (double)(g_get_monotonic_time() - begin) / 1e6);
    return TRUE;
}

static gboolean measure_all(char **p, char **l, char **b, char **d)
{
    for (unsigned i = 0; l[i]; i++) {
        for (unsigned j = 0; b[j]; j++) {
            for (unsigned k = 0; d[k]; k++) {
                Mean base, mean;
                for (unsigned n = 0; p[n]; n++) {
                    Case c = {.policy = p[n],
                              .load = l[i],
                              .link_mib = g_ascii_strtod(b[j], NULL),
                              .limit_ms = g_ascii_strtoull(d[k], NULL, 10)};
                    if (!measure(&c, n ? &base : NULL, n ? &mean : &base)) {
                        return FALSE;
                    }
                }
            }
        }
    }
    return TRUE;
}

int main(int argc, char **argv)
{
    g_autoptr(GOptionContext) context = g_option_context_new("- policies in virtual time");
    g_autoptr(GError) error = NULL;
    char *all_policies[] = {(char *)"qemu", (char *)"ferry", NULL};
    char *all_loads[] = {(char *)"u=0.5",
                         (char *)"u=0.8",
                         (char *)"u=1.1",
                         (char *)"u=1.5",
                         (char *)"u=2",
                         (char *)"hot-cold",
                         NULL};
    char *all_links[] = {(char *)"32", (char *)"64", (char *)"128", NULL};
    char *all_limits[] = {(char *)"100", (char *)"300", NULL};

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        fprintf(stderr, "simulate: %s\n", error->message);
        return 2;
    }
    return measure_all(policies ? policies : all_policies, loads ? loads : all_loads,
                       links ? links : all_links, limits ? limits : all_limits)
               ? 0
               : 1;
}
