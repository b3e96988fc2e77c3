/* Figures of many runs: how downtimes are spread, and what was expected of them. */
#include <string.h>
#include "tools/figures.h"

#define LIMITS_MAX 4u

static const FerryResultRun *run_at(const FerryResults *results, guint i)
{
    return results->runs->pdata[i];
}

static char *policy_title(const FerryResults *results, guint policy)
{
    const char *name = results->policies->pdata[policy];

    return ferry_figure_quote(*name ? name : "(no policy)", 40);
}

/* Sorted downtimes of the runs of @policy that are done; how many runs there are of it at all. */
static GArray *downtimes(const FerryResults *results, guint policy, guint *out_runs)
{
    GArray *numbers = g_array_new(FALSE, FALSE, sizeof(double));

    *out_runs = 0;
    for (guint i = 0; i < results->runs->len; i++) {
        const FerryResultRun *run = run_at(results, i);
        if (run->policy_index == policy) {
            ++*out_runs;
            ferry_numbers_add(numbers,
                              ferry_result_is_done(run) ? run->values[FERRY_RUN_DOWNTIME_MS] : NAN);
        }
    }
    ferry_numbers_sort(numbers);
    return numbers;
}

/* The different limits of all runs; empty if there are more than LIMITS_MAX. */
static GArray *limits(const FerryResults *results)
{
    GArray *all = g_array_new(FALSE, FALSE, sizeof(double));

    for (guint i = 0; i < results->runs->len; i++) {
        double limit = run_at(results, i)->values[FERRY_RUN_LIMIT_MS];
        guint k = 0;
        while (k < all->len && g_array_index(all, double, k) != limit) {
            k++;
        }
        if (k == all->len && all->len <= LIMITS_MAX) {
            ferry_numbers_add(all, limit);
        }
    }
    if (all->len > LIMITS_MAX) {
        g_array_set_size(all, 0);
    }
    ferry_numbers_sort(all);
    return all;
}

static void add_limits(FerryFigure *figure, const GArray *all, double per_ms)
{
    for (guint i = 0; i < all->len; i++) {
        double limit = g_array_index(all, double, i);
        g_autofree char *text = g_strdup_printf("limit %.10g ms", limit);
        g_string_append_printf(
            figure->plot,
            "set arrow from %.10g, graph 0 to %.10g, graph 1 nohead linewidth 1.5 "
            "dashtype (2,3) linecolor rgb '#444444'\n"
            "set label '%s' at %.10g, graph 0.03 rotate left offset 0.7,0 "
            "textcolor rgb '#444444' noenhanced\n",
            limit / per_ms, limit / per_ms, text, limit / per_ms);
    }
}

static void add_downtime(FerryFigureTask *task)
{
    const FerryResults *results = task->results;
    g_autoptr(FerryFigure) figure = ferry_figure_new("downtime", "Downtime: how it is spread", 420);
    g_autoptr(GArray) all_limits = limits(results);
    double least = INFINITY, most = 0;
    const char *time;
    guint policies = 0;

    figure->caption =
        g_strdup("The share of a policy's runs whose downtime was this or shorter. Runs "
                 "that did not come to their end count as ones that never get there: "
                 "such a curve ends below 1.");
    g_string_append(figure->csv, "series,policy,downtime_ms,share\n");
    for (guint i = 0; i < ferry_figure_series(results); i++) {
        guint runs;
        g_autoptr(GArray) sorted = downtimes(results, i, &runs);
        for (guint k = 0; k < sorted->len; k++) {
            double ms = g_array_index(sorted, double, k);
            for (unsigned step = k == 0 ? 0 : 1; step < 2; step++) { /* each curve begins at 0 */
                ferry_csv_number(figure->csv, i, ',');
                ferry_csv_text(figure->csv, results->policies->pdata[i], ',');
                ferry_csv_number(figure->csv, ms, ',');
                ferry_csv_number(figure->csv, step * (k + 1.0) / runs, '\n');
            }
            least = fmin(least, ms);
            most = fmax(most, ms);
        }
        policies += sorted->len > 0;
    }
    if (policies == 0) {
        return;
    }
    for (guint i = 0; i < all_limits->len; i++) {
        least = fmin(least, g_array_index(all_limits, double, i));
        most = fmax(most, g_array_index(all_limits, double, i));
    }
    double per_ms = ferry_figure_time_unit(most, &time);
    g_string_append(figure->setup, "in(series, value) = column(1) == series ? value : NaN\n");
    ferry_figure_scale(figure, "x", least, most);
    add_limits(figure, all_limits, per_ms);
    g_string_append_printf(
        figure->plot,
        "set yrange [0:1.02]\nset xlabel 'downtime [%s]'\nset offsets graph 0.02, "
        "graph 0.02, 0, 0\nset ylabel 'share of runs'\nplot ",
        time);
    for (guint i = 0; i < ferry_figure_series(results); i++) {
        g_autofree char *title = policy_title(results, i);
        g_string_append_printf(
            figure->plot, "%s using (in(%u, column(3) / %.10g)):(column(4)) with steps %s title %s",
            i ? ", \\\n  ''" : "data", i, per_ms, ferry_figure_line(i), title);
    }
    g_string_append_c(figure->plot, '\n');
    g_ptr_array_add(task->figures, g_steal_pointer(&figure));
}

static void add_expected(FerryFigureTask *task)
{
    const FerryResults *results = task->results;
    g_autoptr(FerryFigure) figure =
        ferry_figure_new("expected", "Expected and actual downtime", 460);
    double least = INFINITY, most = 0;
    const char *time;
    guint rows = 0;

    figure->caption =
        g_strdup("Each point is a run: the downtime that was foreseen when the "
                 "switchover was decided, and the one that came. On the line both are "
                 "the same; the dashed ones are 10 % or 15 ms away, what is more.");
    g_string_append(figure->csv, "series,policy,predicted_downtime_ms,downtime_ms\n");
    for (guint i = 0; i < results->runs->len; i++) {
        const FerryResultRun *run = run_at(results, i);
        double expected = run->values[FERRY_RUN_PREDICTED_MS];
        double actual = run->values[FERRY_RUN_DOWNTIME_MS];
        if (ferry_result_is_done(run) && !isnan(expected + actual)) {
            least = fmin(least, fmin(expected, actual));
            most = fmax(most, fmax(expected, actual));
            ferry_csv_number(figure->csv, run->policy_index, ',');
            ferry_csv_text(figure->csv, run->series, ',');
            ferry_csv_number(figure->csv, expected, ',');
            ferry_csv_number(figure->csv, actual, '\n');
            rows++;
        }
    }
    if (!(most > 0)) {
        return;
    }
    double per = ferry_figure_time_unit(most, &time);
    g_autofree char *every = ferry_figure_every(figure, rows);
    g_string_append_printf(figure->setup,
                           "in(series, value) = column(1) == series ? value : NaN\n"
                           "margin(x) = x * 0.1 > %.10g ? x * 0.1 : %.10g\n",
                           15 / per, 15 / per);
    ferry_figure_scale(figure, "xy", least, most);
    g_string_append_printf(figure->plot,
                           "set xlabel 'expected [%s]'\nset ylabel 'actual [%s]'\n"
                           "set xrange [%.10g:%.10g]\nset yrange [%.10g:%.10g]\n"
                           "plot x with lines linewidth 1 linecolor rgb '#444444' notitle, \\\n"
                           "  x + margin(x) with lines dashtype (4,4) linecolor rgb '#444444' "
                           "notitle, \\\n"
                           "  x - margin(x) with lines dashtype (4,4) linecolor rgb '#444444' "
                           "notitle",
                           time, time, least * 0.8 / per, most * 1.1 / per, least * 0.8 / per,
                           most * 1.1 / per);
    for (guint i = 0; i < ferry_figure_series(results); i++) {
        g_autofree char *title = policy_title(results, i);
        g_string_append_printf(
            figure->plot,
            ", \\\n  data%s using (in(%u, column(3) / %.10g)):(column(4) / %.10g) with "
            "points %s title %s",
            every, i, per, per, ferry_figure_point(i), title);
    }
    g_string_append_c(figure->plot, '\n');
    g_ptr_array_add(task->figures, g_steal_pointer(&figure));
}

static double dirty_rate(const FerryResultRun *run)
{
    return ferry_result_over_rounds(run, FERRY_ROUND_DIRTY_PAGES_PER_SECOND) *
           ferry_result_page_bytes(run);
}

static void dirty_rate_plot(FerryFigure *figure, const FerryResults *results, const char *every,
                            double per, double per_ms, unsigned column)
{
    g_string_append(figure->plot, "plot ");
    for (guint i = 0; i < ferry_figure_series(results); i++) {
        g_autofree char *title = policy_title(results, i);
        g_string_append_printf(figure->plot,
                               "%s%s using (in(%u, column(3) / %.10g)):(column(%u) / %.10g) with "
                               "points %s title %s",
                               i ? ", \\\n  ''" : "data", every, i, per, column, per_ms,
                               ferry_figure_point(i), title);
    }
    g_string_append_c(figure->plot, '\n');
}

static void add_dirty_rate(FerryFigureTask *task)
{
    const FerryResults *results = task->results;
    g_autoptr(FerryFigure) figure =
        ferry_figure_new("dirty-rate", "Time and downtime against the dirty rate", 420);
    double least = INFINITY, most = 0, longest[2] = {0, 0}, shortest[2] = {INFINITY, INFINITY};
    const char *bytes, *time[2];
    guint rows = 0;

    figure->caption =
        g_strdup("Each point is a run that came to its end. The dirty rate is the median "
                 "over its rounds: distinct pages that syncs found, times the page size.");
    g_string_append(figure->csv, "series,policy,dirty_bytes_per_second,total_ms,downtime_ms\n");
    for (guint i = 0; i < results->runs->len; i++) {
        const FerryResultRun *run = run_at(results, i);
        double rate = dirty_rate(run);
        double ms[2] = {run->values[FERRY_RUN_TOTAL_MS], run->values[FERRY_RUN_DOWNTIME_MS]};
        if (!ferry_result_is_done(run) || isnan(rate + ms[0] + ms[1])) {
            continue;
        }
        least = fmin(least, rate);
        most = fmax(most, rate);
        for (unsigned k = 0; k < 2; k++) {
            shortest[k] = fmin(shortest[k], ms[k]);
            longest[k] = fmax(longest[k], ms[k]);
        }
        ferry_csv_number(figure->csv, run->policy_index, ',');
        ferry_csv_text(figure->csv, run->series, ',');
        ferry_csv_number(figure->csv, rate, ',');
        ferry_csv_number(figure->csv, ms[0], ',');
        ferry_csv_number(figure->csv, ms[1], '\n');
        rows++;
    }
    if (!(most > least * 1.05)) {
        return; /* there is nothing to be against */
    }
    double per = ferry_figure_byte_unit(most, &bytes);
    g_autofree char *every = ferry_figure_every(figure, rows);
    g_string_append(figure->setup, "in(series, value) = column(1) == series ? value : NaN\n");
    ferry_figure_first_of_two(figure, results);
    g_string_append_printf(figure->plot, "set xlabel 'dirty rate [%s/s]'\n", bytes);
    ferry_figure_scale(figure, "x", least, most);
    for (unsigned k = 0; k < 2; k++) {
        double per_ms = ferry_figure_time_unit(longest[k], &time[k]);
        g_string_append_printf(figure->plot, "set ylabel '%s [%s]'\nunset logscale y\n",
                               k ? "downtime" : "total migration time", time[k]);
        ferry_figure_scale(figure, "y", shortest[k], longest[k]);
        if (k == 1) {
            ferry_figure_second(figure);
        }
        dirty_rate_plot(figure, results, every, per, per_ms, 4 + k);
    }
    g_string_append(figure->plot, "unset multiplot\n");
    g_ptr_array_add(task->figures, g_steal_pointer(&figure));
}

void ferry_figures_of_downtime(FerryFigureTask *task)
{
    add_downtime(task);
    add_expected(task);
    add_dirty_rate(task);
}
