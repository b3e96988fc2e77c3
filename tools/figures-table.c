/* The metrics of runs, by policy, under the names that the field uses; and all there is as CSV. */
#include <string.h>
#include "tools/figures.h"
#include "tools/format.h"

#define COLUMNS_MAX 4u
#define ROWS_MAX 100u

typedef enum { MS, BYTES, RATE, COUNT, RATIO, PERCENT, PERCENT_S, CORE_S } Unit;

typedef struct {
    const char *label;
    double (*of)(const FerryResultRun *run); /* NULL: @value as it is */
    FerryRunValue value;
    Unit unit;
    gboolean of_done_only, has_tail; /* p50, p95, p99 instead of median, least, most */
} Metric;

static double value_of(const FerryResultRun *run, FerryRunValue value)
{
    return run->values[value];
}

static double wire_rate(const FerryResultRun *run)
{
    return ferry_result_over_rounds(run, FERRY_ROUND_BYTES_PER_SECOND);
}

static double dirty_rate(const FerryResultRun *run)
{
    return ferry_result_over_rounds(run, FERRY_ROUND_DIRTY_PAGES_PER_SECOND) *
           ferry_result_page_bytes(run);
}

static double page_rate(const FerryResultRun *run)
{
    double zero = value_of(run, FERRY_RUN_ZERO_PAGES);
    double pages = value_of(run, FERRY_RUN_SENT_PAGES) + (isnan(zero) ? 0 : zero);

    return pages * ferry_result_page_bytes(run) / (value_of(run, FERRY_RUN_TOTAL_MS) / 1000);
}

static double error_ms(const FerryResultRun *run)
{
    return fabs(value_of(run, FERRY_RUN_PREDICTED_MS) - value_of(run, FERRY_RUN_DOWNTIME_MS));
}

static double error_percent(const FerryResultRun *run)
{
    double actual = value_of(run, FERRY_RUN_DOWNTIME_MS);

    return actual > 0 ? 100 * error_ms(run) / actual : NAN;
}

static double to_earliest(const FerryResultRun *run)
{
    double earliest = value_of(run, FERRY_RUN_EARLIEST_HIGH_MS);

    return earliest > 0 ? value_of(run, FERRY_RUN_PRECOPY_MS) / earliest : NAN;
}

static double per_gib(const FerryResultRun *run, FerryRunValue value)
{
    double bytes = value_of(run, FERRY_RUN_WIRE_BYTES);

    return bytes > 0 ? value_of(run, value) / 1000 / (bytes / (1u << 30)) : NAN;
}
static double source_cpu(const FerryResultRun *run)
{
    return per_gib(run, FERRY_RUN_SOURCE_CPU_MS);
}
static double destination_cpu(const FerryResultRun *run)
{
    return per_gib(run, FERRY_RUN_DESTINATION_CPU_MS);
}

static const Metric metrics[] = {
    {"total migration time (TMT)",             NULL,            FERRY_RUN_TOTAL_MS,             MS,        TRUE,  FALSE},
    {"pre-copy time",                          NULL,            FERRY_RUN_PRECOPY_MS,           MS,        TRUE,  FALSE},
    {"convergence time (first pass to pause)", NULL,            FERRY_RUN_CONVERGENCE_MS,       MS,        TRUE,  FALSE},
    {"downtime p50 / p95 / p99",               NULL,            FERRY_RUN_DOWNTIME_MS,          MS,        TRUE,  TRUE },
    {"– stop",                               NULL,            FERRY_RUN_PAUSE_MS,             MS,        TRUE,  FALSE},
    {"– sync and last round",                NULL,            FERRY_RUN_LAST_ROUND_MS,        MS,        TRUE,  FALSE},
    {"– device state",                       NULL,            FERRY_RUN_DEVICE_STATE_MS,      MS,        TRUE,  FALSE},
    {"– destination load",                   NULL,            FERRY_RUN_LOAD_MS,              MS,        TRUE,  FALSE},
    {"– start",                              NULL,            FERRY_RUN_START_MS,             MS,        TRUE,  FALSE},
    {"expected downtime",                      NULL,            FERRY_RUN_PREDICTED_MS,         MS,        TRUE,  FALSE},
    {"prediction error p50 / p95 / p99",       error_ms,        0,                              MS,        TRUE,  TRUE },
    {"prediction error, of the actual",        error_percent,   0,                              PERCENT,   TRUE,  FALSE},
    {"total data transferred",                 NULL,            FERRY_RUN_WIRE_BYTES,           BYTES,     FALSE, FALSE},
    {"amplification, × guest RAM",            NULL,            FERRY_RUN_AMPLIFICATION,        RATIO,     FALSE, FALSE},
    {"amplification, × oracle bytes",         NULL,            FERRY_RUN_AMPLIFICATION_ORACLE, RATIO,     FALSE, FALSE},
    {"rounds",                                 NULL,            FERRY_RUN_ROUNDS,               COUNT,     FALSE, FALSE},
    {"pages sent",                             NULL,            FERRY_RUN_SENT_PAGES,           COUNT,     FALSE, FALSE},
    {"zero pages",                             NULL,            FERRY_RUN_ZERO_PAGES,           COUNT,     FALSE, FALSE},
    {"false-dirty pages",                      NULL,            FERRY_RUN_FALSE_DIRTY_PAGES,    COUNT,     FALSE, FALSE},
    {"pages left at the pause",                NULL,            FERRY_RUN_RESIDUAL_PAGES,       COUNT,     TRUE,  FALSE},
    {"page dirty rate, by round",              dirty_rate,      0,                              RATE,      FALSE, FALSE},
    {"bandwidth: link",                        NULL,            FERRY_RUN_BANDWIDTH,            RATE,      FALSE, FALSE},
    {"bandwidth: wire, by round",              wire_rate,       0,                              RATE,      FALSE, FALSE},
    {"bandwidth: page-equivalent",             page_rate,       0,                              RATE,      FALSE, FALSE},
    {"throttle integral",                      NULL,            FERRY_RUN_THROTTLE_INTEGRAL,    PERCENT_S, FALSE, FALSE},
    {"throttle, most",                         NULL,            FERRY_RUN_THROTTLE_MAX,         PERCENT,   FALSE, FALSE},
    {"first verdict after",                    NULL,            FERRY_RUN_FIRST_VERDICT_MS,     MS,        FALSE, FALSE},
    {"floor that it named",                    NULL,            FERRY_RUN_FLOOR_MS,             MS,        FALSE, FALSE},
    {"source CPU, core-s per GiB",             source_cpu,      0,                              CORE_S,    FALSE, FALSE},
    {"destination CPU, core-s per GiB",        destination_cpu, 0,                              CORE_S,    FALSE, FALSE},
    {"residual R",                             NULL,            FERRY_RUN_RESIDUAL_BYTES,       BYTES,     TRUE,  FALSE},
    {"R*, high end",                           NULL,            FERRY_RUN_CLAIRVOYANT_HIGH,     BYTES,     TRUE,  FALSE},
    {"R_k",                                    NULL,            FERRY_RUN_CAUSAL_BYTES,         BYTES,     TRUE,  FALSE},
    {"distance R/R*",                          NULL,            FERRY_RUN_RATIO_CLAIRVOYANT,    RATIO,     TRUE,  FALSE},
    {"distance R/R_k",                         NULL,            FERRY_RUN_RATIO_CAUSAL,         RATIO,     TRUE,  FALSE},
    {"distance T/T*",                          to_earliest,     0,                              RATIO,     TRUE,  FALSE},
    {"least throttle, high end",               NULL,            FERRY_RUN_THROTTLE_HIGH,        PERCENT,   FALSE, FALSE},
};

static char *form(double value, Unit unit)
{
    if (isnan(value)) {
        return g_strdup("–");
    }
    switch (unit) {
    case MS:
        return ferry_format_ms(value);
    case BYTES:
        return ferry_format_bytes((uint64_t)fmin(value, 1e18));
    case RATE:
        return ferry_format_rate((uint64_t)fmin(value, 1e18));
    case COUNT:
        return g_strdup_printf("%.0f", value);
    case RATIO:
        return g_strdup_printf("%.2f", value);
    case PERCENT:
        return g_strdup_printf("%.1f %%", value);
    case PERCENT_S:
        return g_strdup_printf("%.1f %%·s", value);
    case CORE_S:
        return g_strdup_printf("%.3f", value);
    }
    g_assert_not_reached();
}

static GArray *numbers_of(const FerryResults *results, guint policy, const Metric *metric)
{
    GArray *numbers = g_array_new(FALSE, FALSE, sizeof(double));

    for (guint i = 0; i < results->runs->len; i++) {
        const FerryResultRun *run = results->runs->pdata[i];
        if (run->policy_index == policy && (!metric->of_done_only || ferry_result_is_done(run))) {
            ferry_numbers_add(numbers, metric->of ? metric->of(run) : value_of(run, metric->value));
        }
    }
    ferry_numbers_sort(numbers);
    return numbers;
}

static void append_cell(GString *html, const GArray *numbers, const Metric *metric)
{
    static const double tail[] = {0.5, 0.95, 0.99};
    g_autofree char *middle = form(ferry_numbers_median(numbers), metric->unit);

    g_string_append(html, "<td>");
    if (metric->has_tail && numbers->len > 0) {
        for (unsigned i = 0; i < 3; i++) {
            g_autofree char *text = form(ferry_numbers_quantile(numbers, tail[i]), metric->unit);
            g_string_append_printf(html, "%s<span>%s</span>", i ? " / " : "", text);
        }
    } else if (numbers->len > 1 &&
               ferry_numbers_quantile(numbers, 0) != ferry_numbers_quantile(numbers, 1)) {
        g_autofree char *low = form(ferry_numbers_quantile(numbers, 0), metric->unit);
        g_autofree char *high = form(ferry_numbers_quantile(numbers, 1), metric->unit);
        g_string_append_printf(html, "%s<br><small><span>%s</span> to <span>%s</span></small>",
                               middle, low, high);
    } else {
        g_string_append(html, middle);
    }
    g_string_append(html, "</td>");
}

static void append_metric(GString *html, const FerryResults *results, const Metric *metric,
                          guint from, guint to)
{
    g_autoptr(GString) cells = g_string_new(NULL);
    guint known = 0;

    for (guint i = from; i < to; i++) {
        g_autoptr(GArray) numbers = numbers_of(results, i, metric);
        known += numbers->len;
        append_cell(cells, numbers, metric);
    }
    if (known > 0) {
        g_string_append_printf(html, "<tr><th>%s</th>%s</tr>\n", metric->label, cells->str);
    }
}

/* How many runs ended how, and how many within their limit. */
static void append_outcomes(GString *html, const FerryResults *results, guint from, guint to)
{
    g_autoptr(GString) ended = g_string_new("<tr><th>runs, done</th>");
    g_autoptr(GString) met = g_string_new("<tr><th>downtime within the limit</th>");

    for (guint policy = from; policy < to; policy++) {
        guint runs = 0, done = 0, limited = 0, within = 0;
        for (guint i = 0; i < results->runs->len; i++) {
            const FerryResultRun *run = results->runs->pdata[i];
            double limit = value_of(run, FERRY_RUN_LIMIT_MS);
            double downtime = value_of(run, FERRY_RUN_DOWNTIME_MS);
            if (run->policy_index == policy) {
                gboolean is_done = ferry_result_is_done(run);
                runs++;
                done += is_done;
                limited += !isnan(limit);
                within += is_done && downtime <= limit;
            }
        }
        g_string_append_printf(ended, "<td>%u, %u</td>", runs, done);
        g_string_append_printf(met, "<td>%u of %u</td>", within, limited);
    }
    g_string_append_printf(html, "%s</tr>\n%s</tr>\n", ended->str, met->str);
}

void ferry_figures_metrics(const FerryResults *results, GString *html)
{
    for (guint from = 0; from < results->policies->len; from += COLUMNS_MAX) {
        guint to = MIN(from + COLUMNS_MAX, results->policies->len);
        g_string_append(html, "<table class=\"metrics\"><thead><tr><th></th>");
        for (guint i = from; i < to; i++) {
            const char *name = results->policies->pdata[i];
            g_string_append(html, "<th>");
            ferry_html_text(html, *name ? name : "(no policy)");
            g_string_append(html, "</th>");
        }
        g_string_append(html, "</tr></thead><tbody>\n");
        append_outcomes(html, results, from, to);
        for (guint i = 0; i < G_N_ELEMENTS(metrics); i++) {
            append_metric(html, results, &metrics[i], from, to);
        }
        g_string_append(html, "</tbody></table>\n");
    }
}

static void append_value(GString *html, double value, Unit unit)
{
    g_autofree char *text = form(value, unit);

    g_string_append_printf(html, "<td>%s</td>", text);
}

void ferry_figures_runs(const FerryResults *results, GString *html)
{
    guint shown = MIN(results->runs->len, ROWS_MAX);

    g_string_append(html,
                    "<table class=\"runs\"><thead><tr><th>run</th><th>outcome</th><th>seed</th>"
                    "<th>total</th><th>downtime</th><th>data</th><th>rounds</th><th>R/R*</th>"
                    "</tr></thead><tbody>\n");
    for (guint i = 0; i < shown; i++) {
        const FerryResultRun *run = results->runs->pdata[i];
        g_string_append(html, "<tr><th>");
        ferry_html_text(html, run->id);
        g_string_append(html, "</th><td>");
        ferry_html_text(html, run->outcome);
        if (*run->why) {
            g_string_append(html, "<br><small>");
            ferry_html_text(html, run->why);
            g_string_append(html, "</small>");
        }
        g_string_append(html, "</td><td>");
        ferry_html_text(html, run->seed ? run->seed : "–");
        g_string_append(html, "</td>");
        append_value(html, value_of(run, FERRY_RUN_TOTAL_MS), MS);
        append_value(html, value_of(run, FERRY_RUN_DOWNTIME_MS), MS);
        append_value(html, value_of(run, FERRY_RUN_WIRE_BYTES), BYTES);
        append_value(html, value_of(run, FERRY_RUN_ROUNDS), COUNT);
        append_value(html, value_of(run, FERRY_RUN_RATIO_CLAIRVOYANT), RATIO);
        g_string_append(html, "</tr>\n");
    }
    g_string_append(html, "</tbody></table>\n");
    if (shown < results->runs->len) {
        g_string_append_printf(html,
                               "<p>The other %u are in <a href=\"data/runs.csv\">data/runs.csv"
                               "</a>.</p>\n",
                               results->runs->len - shown);
    }
}

char *ferry_figures_runs_csv(const FerryResults *results)
{
    g_autoptr(GString) csv = g_string_new("file,id,kind,policy,input,seed,outcome,error");

    for (guint i = 0; i < results->parameters->len; i++) {
        g_string_append_c(csv, ',');
        ferry_csv_text(csv, results->parameters->pdata[i], '\n');
        g_string_truncate(csv, csv->len - 1);
    }
    for (unsigned i = 0; i < FERRY_N_RUN_VALUES; i++) {
        g_string_append_printf(csv, ",%s", ferry_run_value_name(i));
    }
    g_string_append(csv, ",command\n");
    for (guint i = 0; i < results->runs->len; i++) {
        const FerryResultRun *run = results->runs->pdata[i];
        const char *const words[] = {
            results->files->pdata[run->file], run->id,      run->kind, run->policy, run->input,
            run->seed ? run->seed : "",       run->outcome, run->why};
        for (unsigned k = 0; k < G_N_ELEMENTS(words); k++) {
            ferry_csv_text(csv, words[k], ',');
        }
        for (guint k = 0; k < results->parameters->len; k++) {
            const char *value = g_hash_table_lookup(run->parameters, results->parameters->pdata[k]);
            ferry_csv_text(csv, value ? value : "", ',');
        }
        for (unsigned k = 0; k < FERRY_N_RUN_VALUES; k++) {
            ferry_csv_number(csv, run->values[k], ',');
        }
        ferry_csv_text(csv, run->command, '\n');
    }
    return g_string_free(g_steal_pointer(&csv), FALSE);
}
