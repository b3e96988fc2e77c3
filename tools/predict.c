/* ferry predict: what a migration of a running guest, or of a traced one, would take. */
#include <math.h>
#include <string.h>
#include "tools/predict.h"
#include "tools/format.h"
#include "tools/verb.h"

typedef struct {
    char *qmp, *trace, *bandwidth, *max_bandwidth, *limit, *policy, *ram, *zeros;
    double timeout_s, measure_s, patience_s;
    gint runs;
    gboolean json;
} Options;

static void options_clear(Options *o)
{
    char *texts[] = {o->qmp,   o->trace,  o->bandwidth, o->max_bandwidth,
                     o->limit, o->policy, o->ram,       o->zeros};

    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_free(texts[i]);
    }
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Options, options_clear)

static gboolean parse_texts(const Options *o, FerryPredictTask *task, uint64_t *ram_bytes,
                            GError **error)
{
    const char *why;

    if ((o->bandwidth && !ferry_parse_rate(o->bandwidth, &task->link_bytes_per_second, error)) ||
        (o->max_bandwidth && !ferry_parse_rate(o->max_bandwidth, &task->max_bandwidth, error)) ||
        (o->limit && !ferry_parse_ms(o->limit, &task->downtime_limit_ms, error)) ||
        (o->ram && !ferry_parse_size(o->ram, ram_bytes, error))) {
        return FALSE;
    }
    if (o->policy && !ferry_policy_parse(o->policy, &task->policy, &why)) {
        return ferry_verb_usage(error, "--policy '%s': %s", o->policy, why);
    }
    return TRUE;
}

static gboolean check(const Options *o, const FerryPredictTask *task, GError **error)
{
    if (!o->qmp == !o->trace) {
        return ferry_verb_usage(error, "one of --qmp and --trace is needed");
    }
    if (!(o->timeout_s > 0 && o->timeout_s < 1e6)) {
        return ferry_verb_usage(error, "--timeout must be above 0");
    }
    if (!(o->measure_s == 0 || (o->measure_s >= 0.05 && o->measure_s <= 60))) {
        return ferry_verb_usage(error, "--measure is 0.05 to 60 s");
    }
    if (!(o->patience_s >= 0 && o->patience_s <= 3600)) {
        return ferry_verb_usage(error, "--patience is at most 3600 s");
    }
    if (o->runs < 1 || o->runs > 1000) {
        return ferry_verb_usage(error, "--runs is 1 to 1000");
    }
    if ((o->bandwidth && task->link_bytes_per_second < 1024) ||
        (o->limit && (task->downtime_limit_ms < 1 || task->downtime_limit_ms > 2000000))) {
        return ferry_verb_usage(error,
                                "--bandwidth is 1 KiB/s or more, --downtime-limit 1 to 2000000 ms");
    }
    return TRUE;
}

static gboolean know_zeros(const Options *o, FerryPredictGuest *guest, GError **error)
{
    char *end = NULL;
    double percent = o->zeros ? g_ascii_strtod(o->zeros, &end) : 0;

    if (!o->zeros) {
        return TRUE;
    }
    if (end == o->zeros || *end || !(percent >= 0 && percent <= 100)) {
        return ferry_verb_usage(error, "--zeros '%s' is no percentage", o->zeros);
    }
    guest->observed.zero_pages = (uint64_t)((double)guest->observed.ram_pages * percent / 100);
    guest->knows_zeros = TRUE;
    return TRUE;
}

/* What was not said on the command line, the guest's monitor says, or QEMU's default is. */
static gboolean fill_in(const Options *o, const FerryPredictGuest *guest, FerryPredictTask *task,
                        GError **error)
{
    const char *why = "", *policy = guest->policy[0] ? guest->policy : "ferry";

    if (!o->policy && !ferry_policy_parse(policy, &task->policy, &why)) {
        return ferry_verb_usage(
            error, "the guest's policy '%s' is unknown (%s): --policy is needed", policy, why);
    }
    if (!o->limit) {
        task->downtime_limit_ms = guest->downtime_limit_ms ? guest->downtime_limit_ms : 300;
    }
    if (!o->max_bandwidth) {
        task->max_bandwidth = guest->max_bandwidth;
    }
    if (!o->bandwidth) {
        task->link_bytes_per_second = MAX(guest->switchover_bandwidth, task->max_bandwidth);
    }
    if (task->max_bandwidth >= task->link_bytes_per_second) {
        task->max_bandwidth = 0;
    }
    return task->link_bytes_per_second > 0 ||
           ferry_verb_usage(error, "--bandwidth is needed: nothing else says how fast the link is");
}

static FerryExit predict(const Options *o)
{
    FerryPredictTask task = {.runs = (unsigned)o->runs, .patience_s = o->patience_s};
    FerryPredictGuest guest = {0};
    FerryPrediction prediction;
    uint64_t ram_bytes = 0;
    g_autoptr(GError) error = NULL;

    if (parse_texts(o, &task, &ram_bytes, &error) && check(o, &task, &error) &&
        (o->qmp ? ferry_predict_ask(o->qmp, o->timeout_s, o->measure_s, task.link_bytes_per_second,
                                    &guest, &error)
                : ferry_predict_read_trace(o->trace, ram_bytes, &guest, &error)) &&
        know_zeros(o, &guest, &error) && fill_in(o, &guest, &task, &error)) {
        ferry_predict_run(&guest, &task, &prediction);
        if (o->json) {
            ferry_verb_print_json(ferry_predict_to_json(&guest, &task, &prediction), TRUE);
        } else {
            ferry_predict_print(&guest, &task, &prediction);
        }
        return 2 * prediction.met < prediction.runs ? FERRY_EXIT_NOT_CONVERGED : FERRY_EXIT_DONE;
    }
    gboolean mistaken =
        error->domain == G_OPTION_ERROR ||
        g_error_matches(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_ADDRESS);
    return ferry_verb_fail("predict", mistaken ? FERRY_EXIT_USAGE : FERRY_EXIT_FAILED,
                           o->json && !mistaken, "%s", error->message);
}

FerryExit ferry_verb_predict(int argc, char **argv)
{
    g_auto(Options) o = {.timeout_s = 5, .runs = 40};
    const GOptionEntry entries[] = {
        {"qmp",            0, 0, G_OPTION_ARG_STRING,   &o.qmp,
         "the guest's monitor: unix:PATH or tcp:HOST:PORT",                                                        "ADDRESS"},
        {"trace",          0, 0, G_OPTION_ARG_FILENAME, &o.trace,
         "or a trace of its writes: .pdt, or CSV t_ms,block,first_page,n",                                         "FILE"   },
        {"bandwidth",      0, 0, G_OPTION_ARG_STRING,   &o.bandwidth,
         "of the link; the monitor's max-bandwidth unless given",                                                  "RATE"   },
        {"max-bandwidth",  0, 0, G_OPTION_ARG_STRING,   &o.max_bandwidth,
         "of rounds; 0: the link's; the monitor's unless given",                                                   "RATE"   },
        {"downtime-limit", 0, 0, G_OPTION_ARG_STRING,   &o.limit,
         "the monitor's, or 300, unless given",                                                                    "MS"     },
        {"policy",         0, 0, G_OPTION_ARG_STRING,   &o.policy,        "ferry, qemu, qemu-7.2, fixed-rounds=N",
         "NAME"                                                                                                             },
        {"measure",        0, 0, G_OPTION_ARG_DOUBLE,   &o.measure_s,
         "how long to watch the guest; what suits the link unless given",                                          "S"      },
        {"patience",       0, 0, G_OPTION_ARG_DOUBLE,   &o.patience_s,    "how long the migration may take",
         "S"                                                                                                                },
        {"ram",            0, 0, G_OPTION_ARG_STRING,   &o.ram,
         "of a traced guest, when larger than the trace shows",                                                    "SIZE"   },
        {"zeros",          0, 0, G_OPTION_ARG_STRING,   &o.zeros,         "how much of the memory is zeros",
         "PERCENT"                                                                                                          },
        {"runs",           0, 0, G_OPTION_ARG_INT,      &o.runs,          "simulated migrations, 40 unless given", "N"      },
        {"timeout",        0, 0, G_OPTION_ARG_DOUBLE,   &o.timeout_s,
         "longest wait for an answer in seconds, 5 unless given",                                                  "S"      },
        {"json",           0, 0, G_OPTION_ARG_NONE,     &o.json,          "one JSON object",                       NULL     },
        G_OPTION_ENTRY_NULL,
    };

    if (!ferry_verb_parse(
            &argc, &argv, entries, NULL,
            "Says what a migration would take: watches how a running guest writes its "
            "memory,\nfits a model to it and migrates the model in virtual time. The "
            "guest runs on and stays.\nExit status 4: the downtime limit is not met in "
            "most of the simulated migrations.",
            0, 0)) {
        return FERRY_EXIT_USAGE;
    }
    return predict(&o);
}
