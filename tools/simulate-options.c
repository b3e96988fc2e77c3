/* What may be varied, and all combinations of it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "engine/precopy/policy.h"
#include "tools/format.h"
#include "tools/simulate.h"

#define RUNS_MAX 1000000u
#define DAY_NS UINT64_C(86400000000000)

/* clang-format off */
const FerrySimulateParameter ferry_simulate_parameters[FERRY_SIMULATE_N] = {
    [FERRY_SIMULATE_TRACE] = {"trace", "trace", FERRY_SIMULATE_TEXT, NULL, 0, 0, "FILE",
        "a page dirty trace; may be given several times", NULL},
    [FERRY_SIMULATE_WORKLOAD] = {"workload", "workload", FERRY_SIMULATE_TEXT, NULL, 0, 0, "MODEL",
        "or a model, see --list-workloads; may be given several times", NULL},
    [FERRY_SIMULATE_RAM] = {"ram", "ram_bytes", FERRY_SIMULATE_BYTES, NULL, 1u << 20,
        UINT64_C(1) << 44, "SIZE", "the memory of a model's guest", NULL},
    [FERRY_SIMULATE_START] = {"start", "start_ms", FERRY_SIMULATE_NS, "0", 0, 365 * DAY_NS, "TIME",
        "where in the trace the migration begins", NULL},
    [FERRY_SIMULATE_AT_END] = {"at-end", "at_end", FERRY_SIMULATE_WORD, "repeat", 0, 0, "WHAT",
        "of the trace: repeat (default), or stop: the run is unfinished", " repeat stop "},
    [FERRY_SIMULATE_BANDWIDTH] = {"bandwidth", "bandwidth_bytes_per_second", FERRY_SIMULATE_RATE,
        "1Gbit/s", 1024, UINT64_C(1) << 40, "RATE", "of the link; 1Gbit/s unless given", NULL},
    [FERRY_SIMULATE_MAX_BANDWIDTH] = {"max-bandwidth", "max_bandwidth_bytes_per_second",
        FERRY_SIMULATE_RATE, "0", 0, UINT64_C(1) << 40, "RATE",
        "of rounds, the last one excepted; 0 (default): the link's", NULL},
    [FERRY_SIMULATE_SWITCHOVER_BANDWIDTH] = {"switchover-bandwidth",
        "switchover_bandwidth_bytes_per_second", FERRY_SIMULATE_RATE, "0", 0, UINT64_C(1) << 40,
        "RATE", "what the policy is told; 0 (default): nothing, it measures", NULL},
    [FERRY_SIMULATE_ROUND_TRIP] = {"round-trip", "round_trip_ms", FERRY_SIMULATE_NS, "0.2", 0,
        60000000000, "TIME", "of the link; 0.2 ms unless given", NULL},
    [FERRY_SIMULATE_JITTER] = {"jitter", "jitter_percent", FERRY_SIMULATE_PERMILLE, "0", 0, 900,
        "PERCENT", "by which the link's rate is off at most, in every 100 ms", NULL},
    [FERRY_SIMULATE_QUEUE] = {"queue", "queue_bytes", FERRY_SIMULATE_BYTES, "auto", 0,
        UINT64_C(1) << 34, "SIZE", "what buffers on the way hold; auto: 30 ms, 4 MiB at most",
        " auto "},
    [FERRY_SIMULATE_LINK_CHANGE] = {"link-change", "link_change", FERRY_SIMULATE_TEXT, NULL, 0, 0,
        "T:RATE,...", "the link has this rate from this time on; may be given several times", NULL},
    [FERRY_SIMULATE_COMPRESS] = {"compress", "compress", FERRY_SIMULATE_WORD, "none", 0, 0, "HOW",
        "none (default), zlib, zstd or xbzrle", " none zlib zstd xbzrle "},
    [FERRY_SIMULATE_CHUNK] = {"chunk", "chunk_bytes", FERRY_SIMULATE_BYTES, "2M", 1u << 18,
        UINT64_C(1) << 34, "SIZE",
        "of memory that is cleared at once where the policy leaves it open; 2M", NULL},
    [FERRY_SIMULATE_FIXED] = {"fixed", "fixed_ms", FERRY_SIMULATE_NS, "costs", 0, 60000000000,
        "TIME", "of the downtime besides pages: device state; as the costs have it", " costs "},
    [FERRY_SIMULATE_MARGIN] = {"margin", "margin_ms", FERRY_SIMULATE_NS, "0", 0, 60000000000,
        "TIME", "how much more downtime than foreseen the policy has to allow for", NULL},
    [FERRY_SIMULATE_DOWNTIME_LIMIT] = {"downtime-limit", "downtime_limit_ms", FERRY_SIMULATE_NS,
        "300", 1000000, 2000000000000, "TIME", "300 ms unless given", NULL},
    [FERRY_SIMULATE_ON_STALL] = {"on-stall", "on_stall", FERRY_SIMULATE_WORD, "wait", 0, 0, "WHAT",
        "when the limit cannot be met: wait (default), pause, throttle or cancel",
        " wait pause throttle cancel "},
    [FERRY_SIMULATE_AUTO_CONVERGE] = {"auto-converge", "auto_converge", FERRY_SIMULATE_WORD, "off",
        0, 0, "on|off", "QEMU's throttle; off unless given", " off on "},
    [FERRY_SIMULATE_THROTTLE_INITIAL] = {"throttle-initial", "throttle_initial_percent",
        FERRY_SIMULATE_PERCENT, "20", 1, 99, "PERCENT", "its first step; 20", NULL},
    [FERRY_SIMULATE_THROTTLE_INCREMENT] = {"throttle-increment", "throttle_increment_percent",
        FERRY_SIMULATE_PERCENT, "10", 1, 99, "PERCENT", "and each one after it; 10", NULL},
    [FERRY_SIMULATE_THROTTLE_MAX] = {"throttle-max", "throttle_max_setting_percent",
        FERRY_SIMULATE_PERCENT, "99", 1, 99, "PERCENT", "and never more; 99", NULL},
    [FERRY_SIMULATE_THROTTLE_TRIGGER] = {"throttle-trigger", "throttle_trigger_percent",
        FERRY_SIMULATE_PERCENT, "50", 1, 100, "PERCENT",
        "when so much of what was sent is dirty again; 50", NULL},
    [FERRY_SIMULATE_TIMEOUT] = {"timeout", "timeout_ms", FERRY_SIMULATE_NS, "0", 0, 365 * DAY_NS,
        "TIME", "how long the migration may take; 0 (default): for ever", NULL},
    [FERRY_SIMULATE_ON_TIMEOUT] = {"on-timeout", "on_timeout", FERRY_SIMULATE_WORD, "cancel", 0, 0,
        "WHAT", "then: cancel (default), or pause: switch over", " cancel pause "},
    [FERRY_SIMULATE_UNTIL] = {"until", "until_ms", FERRY_SIMULATE_NS, "10min", 1000000,
        365 * DAY_NS, "TIME", "a migration is watched for so long; 10min unless given", NULL},
    [FERRY_SIMULATE_INTERVAL] = {"interval", "interval_ms", FERRY_SIMULATE_NS, "auto", 100000,
        60000000000, "TIME", "of the frames from which a model's bounds are reckoned", " auto "},
    [FERRY_SIMULATE_SEED] = {"seed", "seed", FERRY_SIMULATE_NUMBER, "1", 0, UINT64_MAX, "N",
        "of all that is random; 1 unless given", NULL},
    [FERRY_SIMULATE_POLICY] = {"policy", "policy", FERRY_SIMULATE_WORD, "ferry", 0, 0, "NAME",
        "ferry (default), qemu, qemu-7.2, fixed-rounds=N", NULL},
};
/* clang-format on */

static gboolean refuse(const FerrySimulateParameter *p, const char *text, const char *why,
                       GError **error)
{
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "--%s '%s': %s", p->option, text,
                why);
    return FALSE;
}

static gboolean is_word(const FerrySimulateParameter *p, const char *text)
{
    g_autofree char *blanked = g_strdup_printf(" %s ", text);

    return p->words && *text && !strchr(text, ' ') && strstr(p->words, blanked);
}

/* "5", "2.5", "2.5%". */
static gboolean parse_permille(const char *text, uint64_t *out)
{
    char *end;
    double value = g_ascii_isdigit(*text) ? g_ascii_strtod(text, &end) : -1;

    if (!(value >= 0 && value <= 100) || strchr(text, 'x') || (*end && strcmp(end, "%") != 0)) {
        return FALSE;
    }
    *out = (uint64_t)(value * 10 + 0.5);
    return TRUE;
}

static gboolean parse_number(const FerrySimulateParameter *p, const char *text, uint64_t *out,
                             GError **error)
{
    switch (p->kind) {
    case FERRY_SIMULATE_BYTES:
        return ferry_parse_size(text, out, error);
    case FERRY_SIMULATE_RATE:
        return ferry_parse_rate(text, out, error);
    case FERRY_SIMULATE_NS:
        return ferry_parse_ns(text, out, error);
    case FERRY_SIMULATE_PERMILLE:
        return parse_permille(text, out) ||
               (g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "it is no percentage"),
                FALSE);
    case FERRY_SIMULATE_PERCENT:
    case FERRY_SIMULATE_NUMBER:
        return g_ascii_string_to_unsigned(text, 10, 0, UINT64_MAX, out, error);
    case FERRY_SIMULATE_TEXT:
    case FERRY_SIMULATE_WORD:
        break;
    }
    g_assert_not_reached();
}

static gboolean parse_value(FerrySimulateWhich which, const char *text, uint64_t *out,
                            GError **error)
{
    const FerrySimulateParameter *p = &ferry_simulate_parameters[which];
    g_autoptr(GError) cause = NULL;
    FerryPolicy policy;
    const char *why;

    *out = 0;
    if (which == FERRY_SIMULATE_POLICY) {
        return ferry_policy_parse(text, &policy, &why) || refuse(p, text, why, error);
    }
    if (is_word(p, text)) {
        *out = UINT64_MAX;
        return TRUE;
    }
    if (p->kind == FERRY_SIMULATE_WORD) {
        g_autofree char *words = g_strstrip(g_strdup(p->words));
        g_autofree char *known = g_strdup_printf("known are %s", words);
        return refuse(p, text, known, error);
    }
    if (p->kind == FERRY_SIMULATE_TEXT) {
        return *text || refuse(p, text, "it is empty", error);
    }
    if (!parse_number(p, text, out, &cause)) {
        return refuse(p, text, cause->message, error);
    }
    if (*out < p->min || *out > p->max) {
        return refuse(p, text, *out < p->min ? "it is too little" : "it is too much", error);
    }
    return TRUE;
}

static gboolean add_value(FerrySimulatePlan *plan, FerrySimulateWhich which, const char *text,
                          GError **error)
{
    FerrySimulateValue value = {0};

    if (!parse_value(which, text, &value.number, error)) {
        return FALSE;
    }
    char *known = g_strdup_printf("%u %s", which, text);
    value.text = strchr(known, ' ') + 1;
    if (!g_hash_table_add(plan->texts, known)) { /* nobody borrows from this plan any more */
        return refuse(&ferry_simulate_parameters[which], text, "it is given twice", error);
    }
    g_array_append_val(plan->values[which], value);
    return TRUE;
}

static gboolean add_words(FerrySimulatePlan *plan, FerrySimulateWhich which, char **words,
                          GError **error)
{
    gboolean whole = ferry_simulate_parameters[which].kind == FERRY_SIMULATE_TEXT;

    for (; *words; words++) {
        g_auto(GStrv) parts = whole ? NULL : g_strsplit(*words, ",", -1);
        if (whole && !add_value(plan, which, *words, error)) {
            return FALSE;
        }
        for (char **part = parts; !whole && *part; part++) {
            if (!add_value(plan, which, *part, error)) {
                return FALSE;
            }
        }
        if (!whole && !*parts) { /* nothing splits into nothing */
            return refuse(&ferry_simulate_parameters[which], "", "it is empty", error);
        }
    }
    return TRUE;
}

static gboolean too_many(GError **error)
{
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "these are more than %u runs",
                RUNS_MAX);
    return FALSE;
}

/* @runs seeds from each one on. */
static gboolean multiply_seeds(FerrySimulatePlan *plan, unsigned runs, GError **error)
{
    GArray *first = plan->values[FERRY_SIMULATE_SEED];

    if (plan->n_runs * first->len * runs > RUNS_MAX) {
        return too_many(error);
    }
    plan->values[FERRY_SIMULATE_SEED] = g_array_new(FALSE, FALSE, sizeof(FerrySimulateValue));
    for (guint i = 0; i < first->len; i++) {
        g_autofree char *known = g_strdup_printf("%u %s", FERRY_SIMULATE_SEED,
                                                 g_array_index(first, FerrySimulateValue, i).text);
        g_hash_table_remove(plan->texts, known);
    }
    for (guint i = 0; i < first->len; i++) {
        uint64_t seed = g_array_index(first, FerrySimulateValue, i).number;
        for (unsigned n = 0; n < runs; n++) {
            g_autofree char *text = g_strdup_printf("%" G_GUINT64_FORMAT, seed + n);
            if (!add_value(plan, FERRY_SIMULATE_SEED, text, error)) {
                g_array_unref(first);
                return FALSE;
            }
        }
    }
    g_array_unref(first);
    return TRUE;
}

static gboolean check_source(const FerrySimulatePlan *plan, GError **error)
{
    const gboolean *given = plan->given;
    const char *why = NULL;

    if (given[FERRY_SIMULATE_TRACE] == given[FERRY_SIMULATE_WORKLOAD]) {
        why = "one of --trace and --workload is needed";
    } else if (given[FERRY_SIMULATE_WORKLOAD] && !given[FERRY_SIMULATE_RAM]) {
        why = "--ram is needed: how much memory the model's guest has";
    } else if (given[FERRY_SIMULATE_TRACE] && given[FERRY_SIMULATE_RAM]) {
        why = "--ram is for --workload: a trace has its own memory";
    } else if (given[FERRY_SIMULATE_TRACE] && given[FERRY_SIMULATE_INTERVAL]) {
        why = "--interval is for --workload: a trace has its own frames";
    } else if (given[FERRY_SIMULATE_WORKLOAD] &&
               (given[FERRY_SIMULATE_START] || given[FERRY_SIMULATE_AT_END])) {
        why = "--start and --at-end are for --trace";
    }
    if (why) {
        g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, why);
        return FALSE;
    }
    return plan->n_runs <= RUNS_MAX || too_many(error);
}

gboolean ferry_simulate_plan_init(FerrySimulatePlan *plan, char ***words, unsigned runs,
                                  GError **error)
{
    plan->texts = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    plan->n_runs = 1;
    for (unsigned i = 0; i < FERRY_SIMULATE_N; i++) {
        const char *otherwise = ferry_simulate_parameters[i].otherwise;
        plan->values[i] = g_array_new(FALSE, FALSE, sizeof(FerrySimulateValue));
        plan->given[i] = words[i] != NULL;
        if (!(words[i] ? add_words(plan, i, words[i], error)
                       : !otherwise || add_value(plan, i, otherwise, error)) ||
            (i == FERRY_SIMULATE_SEED && runs > 1 && !multiply_seeds(plan, runs, error))) {
            return FALSE;
        }
        plan->n_runs = MIN(plan->n_runs * MAX(plan->values[i]->len, 1), RUNS_MAX + 1);
    }
    plan->given[FERRY_SIMULATE_SEED] = plan->given[FERRY_SIMULATE_POLICY] = TRUE; /* in each id */
    return check_source(plan, error);
}

void ferry_simulate_plan_clear(FerrySimulatePlan *plan)
{
    for (unsigned i = 0; i < FERRY_SIMULATE_N; i++) {
        g_clear_pointer(&plan->values[i], g_array_unref);
    }
    g_clear_pointer(&plan->texts, g_hash_table_unref);
}

void ferry_simulate_plan_case(const FerrySimulatePlan *plan, uint64_t number,
                              FerrySimulateCase *out)
{
    for (unsigned i = FERRY_SIMULATE_N; i-- > 0;) {
        const GArray *values = plan->values[i];
        out->of[i] = (FerrySimulateValue){0};
        if (values->len) {
            out->of[i] = g_array_index(values, FerrySimulateValue, number % values->len);
            number /= values->len;
        }
    }
}

unsigned ferry_simulate_plan_policies(const FerrySimulatePlan *plan)
{
    return plan->values[FERRY_SIMULATE_POLICY]->len;
}

char *ferry_simulate_case_id(const FerrySimulatePlan *plan, const FerrySimulateCase *c)
{
    GString *id = g_string_new(NULL);

    for (unsigned i = 0; i < FERRY_SIMULATE_N; i++) {
        if (plan->given[i]) {
            g_string_append_printf(id, "%s%s=%s", id->len ? " " : "",
                                   ferry_simulate_parameters[i].option, c->of[i].text);
        }
    }
    return g_string_free(id, FALSE);
}

static char *joined(const GArray *values)
{
    GString *all = g_string_new(NULL);

    for (guint i = 0; i < values->len; i++) {
        g_string_append_printf(all, "%s%s", i ? "," : "",
                               g_array_index(values, FerrySimulateValue, i).text);
    }
    return g_string_free(all, FALSE);
}

static void add_option(GPtrArray *to, unsigned which, char *text)
{
    g_ptr_array_add(to, g_strconcat("--", ferry_simulate_parameters[which].option, NULL));
    g_ptr_array_add(to, text);
}

static void add_flags(const FerrySimulatePlan *plan, GPtrArray *to)
{
    const struct {
        gboolean set;
        const char *flag;
    } flags[] = {
        {plan->rounds,       "--rounds"      },
        {plan->no_bounds,    "--no-bounds"   },
        {plan->reproducible, "--reproducible"}
    };

    if (plan->costs_path) {
        g_ptr_array_add(to, g_strdup("--costs"));
        g_ptr_array_add(to, g_strdup(plan->costs_path));
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(flags); i++) {
        if (flags[i].set) {
            g_ptr_array_add(to, g_strdup(flags[i].flag));
        }
    }
}

GPtrArray *ferry_simulate_command(const FerrySimulatePlan *plan, const FerrySimulateCase *c)
{
    GPtrArray *words = g_ptr_array_new_with_free_func(g_free);

    g_ptr_array_add(words, g_strdup("ferry"));
    g_ptr_array_add(words, g_strdup("simulate"));
    for (unsigned i = 0; i < FERRY_SIMULATE_N; i++) {
        if (!plan->given[i]) {
            continue;
        }
        if (c) {
            add_option(words, i, g_strdup(c->of[i].text));
        } else if (ferry_simulate_parameters[i].kind != FERRY_SIMULATE_TEXT) {
            add_option(words, i, joined(plan->values[i]));
        } else {
            for (guint n = 0; n < plan->values[i]->len; n++) {
                add_option(words, i,
                           g_strdup(g_array_index(plan->values[i], FerrySimulateValue, n).text));
            }
        }
    }
    add_flags(plan, words);
    g_ptr_array_add(words, NULL);
    return words;
}
