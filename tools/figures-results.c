/* Runs and their rounds, as figures and tables want them. */
#include <string.h>
#include "tools/figures.h"

static const char *const run_names[FERRY_N_RUN_VALUES] = {
    [FERRY_RUN_TOTAL_MS] = "total_ms",
    [FERRY_RUN_PRECOPY_MS] = "precopy_ms",
    [FERRY_RUN_CONVERGENCE_MS] = "convergence_ms",
    [FERRY_RUN_DOWNTIME_MS] = "downtime_ms",
    [FERRY_RUN_PREDICTED_MS] = "predicted_downtime_ms",
    [FERRY_RUN_LIMIT_MS] = "downtime_limit_ms",
    [FERRY_RUN_PAUSE_MS] = "downtime.pause_ms",
    [FERRY_RUN_LAST_ROUND_MS] = "downtime.last_round_ms",
    [FERRY_RUN_DEVICE_STATE_MS] = "downtime.device_state_ms",
    [FERRY_RUN_LOAD_MS] = "downtime.load_ms",
    [FERRY_RUN_START_MS] = "downtime.start_ms",
    [FERRY_RUN_WIRE_BYTES] = "wire_bytes",
    [FERRY_RUN_RAM_BYTES] = "ram_bytes",
    [FERRY_RUN_AMPLIFICATION] = "amplification",
    [FERRY_RUN_AMPLIFICATION_ORACLE] = "amplification_oracle",
    [FERRY_RUN_ROUNDS] = "rounds",
    [FERRY_RUN_SENT_PAGES] = "sent_pages",
    [FERRY_RUN_ZERO_PAGES] = "zero_pages",
    [FERRY_RUN_PACKED_PAGES] = "packed_pages",
    [FERRY_RUN_FALSE_DIRTY_PAGES] = "false_dirty_pages",
    [FERRY_RUN_RESIDUAL_PAGES] = "residual_pages",
    [FERRY_RUN_BANDWIDTH] = "bandwidth_bytes_per_second",
    [FERRY_RUN_THROTTLE_INTEGRAL] = "throttle_percent_seconds",
    [FERRY_RUN_THROTTLE_MAX] = "throttle_max_percent",
    [FERRY_RUN_FIRST_VERDICT_MS] = "first_verdict_ms",
    [FERRY_RUN_FLOOR_MS] = "verdict_floor_ms",
    [FERRY_RUN_SOURCE_CPU_MS] = "source_cpu_ms",
    [FERRY_RUN_DESTINATION_CPU_MS] = "destination_cpu_ms",
    [FERRY_RUN_RESIDUAL_BYTES] = "bounds.residual_bytes",
    [FERRY_RUN_CLAIRVOYANT_LOW] = "bounds.clairvoyant_low_bytes",
    [FERRY_RUN_CLAIRVOYANT_HIGH] = "bounds.clairvoyant_high_bytes",
    [FERRY_RUN_CAUSAL_BYTES] = "bounds.causal_bytes",
    [FERRY_RUN_RATIO_CLAIRVOYANT] = "bounds.ratio_clairvoyant",
    [FERRY_RUN_RATIO_CAUSAL] = "bounds.ratio_causal",
    [FERRY_RUN_EARLIEST_LOW_MS] = "bounds.earliest_low_ms",
    [FERRY_RUN_EARLIEST_HIGH_MS] = "bounds.earliest_high_ms",
    [FERRY_RUN_SHORTEST_LOW_MS] = "bounds.shortest_downtime_low_ms",
    [FERRY_RUN_SHORTEST_HIGH_MS] = "bounds.shortest_downtime_high_ms",
    [FERRY_RUN_THROTTLE_LOW] = "bounds.least_throttle_low_percent",
    [FERRY_RUN_THROTTLE_HIGH] = "bounds.least_throttle_high_percent",
};

static const char *const round_names[FERRY_N_ROUND_VALUES] = {
    [FERRY_ROUND_NUMBER] = "number",
    [FERRY_ROUND_T_MS] = "t_ms",
    [FERRY_ROUND_DURATION_MS] = "duration_ms",
    [FERRY_ROUND_SENT_PAGES] = "sent_pages",
    [FERRY_ROUND_ZERO_PAGES] = "zero_pages",
    [FERRY_ROUND_PACKED_PAGES] = "packed_pages",
    [FERRY_ROUND_DEFERRED_PAGES] = "deferred_pages",
    [FERRY_ROUND_FALSE_DIRTY_PAGES] = "false_dirty_pages",
    [FERRY_ROUND_DIRTIED_PAGES] = "dirtied_pages",
    [FERRY_ROUND_SENT_BYTES] = "sent_bytes",
    [FERRY_ROUND_REMAINING_BYTES] = "remaining_bytes",
    [FERRY_ROUND_THRESHOLD_BYTES] = "threshold_bytes",
    [FERRY_ROUND_BYTES_PER_SECOND] = "bytes_per_second",
    [FERRY_ROUND_DIRTY_PAGES_PER_SECOND] = "dirty_pages_per_second",
    [FERRY_ROUND_THROTTLE_PERCENT] = "throttle_percent",
    [FERRY_ROUND_EXPECTED_DOWNTIME_MS] = "expected_downtime_ms",
};

const char *ferry_run_value_name(FerryRunValue value) { return run_names[value]; }
const char *ferry_round_value_name(FerryRoundValue value) { return round_names[value]; }

static void run_free(gpointer data)
{
    FerryResultRun *run = data;

    g_free(run->id);
    g_free(run->kind);
    g_free(run->policy);
    g_free(run->input);
    g_free(run->outcome);
    g_free(run->why);
    g_free(run->seed);
    g_free(run->command);
    g_hash_table_unref(run->given);
    g_hash_table_unref(run->parameters);
    g_array_unref(run->rounds);
    g_free(run);
}

static void bound_free(gpointer data)
{
    FerryResultBound *bound = data;

    g_free(bound->trace);
    g_free(bound->command);
    g_array_unref(bound->series);
    g_free(bound);
}

FerryResultRun *ferry_result_run_new(const char *id, unsigned file)
{
    FerryResultRun *run = g_new0(FerryResultRun, 1);

    run->id = g_strdup(id);
    run->file = file;
    run->parameters = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    run->given = g_hash_table_new(g_str_hash, g_str_equal);
    run->rounds = g_array_new(FALSE, FALSE, sizeof(FerryResultRound));
    for (unsigned i = 0; i < FERRY_N_RUN_VALUES; i++) {
        run->values[i] = NAN;
    }
    return run;
}

FerryResultBound *ferry_result_bound_new(void)
{
    FerryResultBound *bound = g_new0(FerryResultBound, 1);

    bound->bandwidth = NAN;
    bound->series = g_array_new(FALSE, FALSE, 4 * sizeof(double));
    return bound;
}

FerryResults *ferry_results_new(void)
{
    FerryResults *results = g_new0(FerryResults, 1);

    results->files = g_ptr_array_new_with_free_func(g_free);
    results->runs = g_ptr_array_new_with_free_func(run_free);
    results->policies = g_ptr_array_new_with_free_func(g_free);
    results->parameters = g_ptr_array_new_with_free_func(g_free);
    results->bounds = g_ptr_array_new_with_free_func(bound_free);
    results->sweeps = g_ptr_array_new_with_free_func(g_free);
    results->swept = g_hash_table_new(NULL, NULL);
    results->hosts = g_ptr_array_new_with_free_func(g_free);
    results->notes = g_ptr_array_new_with_free_func(g_free);
    results->by_id = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    results->parameter_names = g_hash_table_new(g_str_hash, g_str_equal);
    return results;
}

void ferry_results_free(FerryResults *results)
{
    if (results) {
        g_hash_table_unref(results->swept);
        g_hash_table_unref(results->by_id);
        g_hash_table_unref(results->parameter_names);
        g_ptr_array_unref(results->files);
        g_ptr_array_unref(results->runs);
        g_ptr_array_unref(results->policies);
        g_ptr_array_unref(results->parameters);
        g_ptr_array_unref(results->bounds);
        g_ptr_array_unref(results->sweeps);
        g_ptr_array_unref(results->hosts);
        g_ptr_array_unref(results->notes);
        g_free(results);
    }
}

static int by_number(gconstpointer a, gconstpointer b)
{
    const FerryResultRound *x = a, *y = b;
    double d = x->values[FERRY_ROUND_NUMBER] - y->values[FERRY_ROUND_NUMBER];

    return d < 0 ? -1 : d > 0;
}

/* A series is a policy; of one kind of runs, if there are several kinds. */
static void name_series(FerryResults *results)
{
    g_autoptr(GHashTable) indices = g_hash_table_new(g_str_hash, g_str_equal);
    const FerryResultRun *first = results->runs->len > 0 ? results->runs->pdata[0] : NULL;

    for (guint i = 0; i < results->runs->len; i++) {
        const FerryResultRun *run = results->runs->pdata[i];
        results->is_mixed = results->is_mixed || strcmp(run->kind, first->kind) != 0;
    }
    for (guint i = 0; i < results->runs->len; i++) {
        FerryResultRun *run = results->runs->pdata[i];
        g_autofree char *name = results->is_mixed
                                    ? g_strdup_printf("%s, %s", run->policy, run->kind)
                                    : g_strdup(run->policy);
        gpointer index = g_hash_table_lookup(indices, name);
        if (!index) {
            g_ptr_array_add(results->policies, g_strdup(name));
            index = GUINT_TO_POINTER(results->policies->len);
            g_hash_table_insert(indices, results->policies->pdata[results->policies->len - 1],
                                index);
        }
        run->policy_index = GPOINTER_TO_UINT(index) - 1;
        run->series = results->policies->pdata[run->policy_index];
    }
}

void ferry_results_finish(FerryResults *results)
{
    guint dropped = 0;

    for (guint i = 0; i < results->runs->len;) {
        FerryResultRun *run = results->runs->pdata[i];
        if (!run->is_known) {
            g_ptr_array_remove_index(results->runs, i);
            dropped++;
            continue;
        }
        g_array_sort(run->rounds, by_number);
        i++;
    }
    g_hash_table_remove_all(results->by_id);
    name_series(results);
    if (dropped > 0) {
        g_ptr_array_add(
            results->notes,
            g_strdup_printf("%u runs have rounds but no line of type run: they were not "
                            "over, and are left out.",
                            dropped));
    }
}

gboolean ferry_result_is_done(const FerryResultRun *run)
{
    return strcmp(run->outcome, "done") == 0;
}

char *ferry_result_plain_name(const char *name, const char **out_unit)
{
    static const char *const units[] = {"_bytes_per_second", "_bytes", "_ms", "_percent"};

    *out_unit = strcmp(name, "workload.size") == 0 ? "_bytes" : "";
    for (unsigned i = 0; i < G_N_ELEMENTS(units); i++) {
        if (g_str_has_suffix(name, units[i])) {
            *out_unit = units[i];
            return g_strndup(name, strlen(name) - strlen(units[i]));
        }
    }
    return g_strdup(name);
}

double ferry_result_page_bytes(const FerryResultRun *run)
{
    const char *text = g_hash_table_lookup(run->parameters, "page_bytes");
    double bytes = text ? g_ascii_strtod(text, NULL) : 0;

    return bytes >= 512 && bytes <= 1u << 30 ? bytes : 4096;
}

void ferry_numbers_add(GArray *numbers, double value)
{
    if (!isnan(value)) {
        g_array_append_val(numbers, value);
    }
}

static int by_size(gconstpointer a, gconstpointer b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

void ferry_numbers_sort(GArray *numbers) { g_array_sort(numbers, by_size); }

double ferry_numbers_quantile(const GArray *numbers, double share)
{
    if (numbers->len == 0) {
        return NAN;
    }
    guint rank = (guint)ceil(share * numbers->len);
    return g_array_index(numbers, double, CLAMP(rank, 1, numbers->len) - 1);
}

double ferry_numbers_median(const GArray *numbers)
{
    guint n = numbers->len;

    if (n == 0) {
        return NAN;
    }
    return (g_array_index(numbers, double, (n - 1) / 2) + g_array_index(numbers, double, n / 2)) /
           2;
}

gboolean ferry_result_is_idle(const FerryResultRound *round)
{
    return round->values[FERRY_ROUND_SENT_BYTES] == 0;
}

double ferry_result_over_rounds(const FerryResultRun *run, FerryRoundValue value)
{
    g_autoptr(GArray) numbers = g_array_new(FALSE, FALSE, sizeof(double));

    for (guint i = 0; i < run->rounds->len; i++) {
        const FerryResultRound *round = &g_array_index(run->rounds, FerryResultRound, i);
        ferry_numbers_add(numbers, ferry_result_is_idle(round) ? NAN : round->values[value]);
    }
    ferry_numbers_sort(numbers);
    return ferry_numbers_median(numbers);
}
