/* Total time and downtime against each parameter that was varied, by policy. */
#include <string.h>
#include "tools/figures.h"
#include "tools/format.h"

#define FIGURES_MAX 8u
#define VALUES_MAX 200u

typedef struct {
    const char *name;
    GPtrArray *texts; /* different values: char *, borrowed, in the order in which they are drawn */
    gboolean is_number;
    double least, most;
} Axis;

/* "2000", "64M", "1.5G" as a number; NAN of other words. */
static double number_of(const char *text)
{
    uint64_t bytes;
    char *end;
    double value = g_ascii_strtod(text, &end);

    if (end != text && *end == '\0' && isfinite(value)) {
        return value;
    }
    return g_ascii_isdigit(text[0]) && ferry_parse_size(text, &bytes, NULL) ? (double)bytes : NAN;
}

static const char *value_of(const FerryResultRun *run, const char *name)
{
    return g_hash_table_lookup(run->given, name);
}

static int by_number(gconstpointer a, gconstpointer b)
{
    double d = number_of(*(const char *const *)a) - number_of(*(const char *const *)b);

    return d < 0 ? -1 : d > 0;
}

/* FALSE: the parameter has one value only, or too many. */
static gboolean axis_of(const FerryResults *results, const char *name, Axis *out)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

    *out = (Axis){.name = name, .is_number = TRUE, .least = INFINITY, .most = -INFINITY};
    out->texts = g_ptr_array_new();
    for (guint i = 0; i < results->runs->len; i++) {
        const char *text = value_of(results->runs->pdata[i], name);
        if (text && g_hash_table_add(seen, (char *)text)) {
            double number = number_of(text);
            g_ptr_array_add(out->texts, (char *)text);
            out->is_number = out->is_number && !isnan(number);
            out->least = fmin(out->least, number);
            out->most = fmax(out->most, number);
        }
    }
    if (out->is_number) {
        g_ptr_array_sort(out->texts, by_number);
    }
    return out->texts->len > 1 && out->texts->len <= VALUES_MAX;
}

/* Whether one follows from the other, as what buffers hold follows from the link. */
static gboolean follows(const FerryResults *results, const char *name, const char *from)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(g_str_hash, g_str_equal);

    for (guint i = 0; i < results->runs->len; i++) {
        const char *text = value_of(results->runs->pdata[i], name);
        const char *cause = value_of(results->runs->pdata[i], from);
        const char *before = cause ? g_hash_table_lookup(seen, cause) : NULL;
        if (!text || !cause || (before && strcmp(before, text) != 0)) {
            return FALSE;
        }
        g_hash_table_insert(seen, (char *)cause, (char *)text);
    }
    return TRUE;
}

static gboolean is_new(const FerryResults *results, const char *name, const GPtrArray *drawn)
{
    for (guint i = 0; i < drawn->len; i++) {
        if (follows(results, name, drawn->pdata[i])) {
            return FALSE;
        }
    }
    return TRUE;
}

/* Of the runs of @policy at @value that came to their end, sorted. */
static GArray *numbers_at(const FerryResults *results, const Axis *axis, guint policy,
                          const char *value, FerryRunValue what, guint *out_runs)
{
    GArray *numbers = g_array_new(FALSE, FALSE, sizeof(double));

    *out_runs = 0;
    for (guint i = 0; i < results->runs->len; i++) {
        const FerryResultRun *run = results->runs->pdata[i];
        const char *text = value_of(run, axis->name);
        if (run->policy_index == policy && text && strcmp(text, value) == 0) {
            ++*out_runs;
            ferry_numbers_add(numbers, ferry_result_is_done(run) ? run->values[what] : NAN);
        }
    }
    ferry_numbers_sort(numbers);
    return numbers;
}

static const struct {
    FerryRunValue value;
    const char *label;
} panels[] = {
    {FERRY_RUN_TOTAL_MS,    "total migration time"},
    {FERRY_RUN_DOWNTIME_MS, "downtime"            }
};

/* Rows of all policies and values; the widest and least of each panel. */
static void add_rows(FerryFigure *figure, const FerryResults *results, const Axis *axis,
                     double least[2], double most[2])
{
    g_string_append(figure->csv,
                    "series,policy,value,x,runs,done,total_ms,total_min_ms,total_max_ms,"
                    "downtime_ms,downtime_min_ms,downtime_max_ms\n");
    for (guint i = 0; i < ferry_figure_series(results); i++) {
        for (guint k = 0; k < axis->texts->len; k++) {
            const char *text = axis->texts->pdata[k];
            for (unsigned p = 0; p < 2; p++) {
                guint runs;
                g_autoptr(GArray) numbers =
                    numbers_at(results, axis, i, text, panels[p].value, &runs);
                double low = ferry_numbers_quantile(numbers, 0);
                double high = ferry_numbers_quantile(numbers, 1);
                if (p == 0) {
                    ferry_csv_number(figure->csv, i, ',');
                    ferry_csv_text(figure->csv, results->policies->pdata[i], ',');
                    ferry_csv_text(figure->csv, text, ',');
                    ferry_csv_number(figure->csv, axis->is_number ? number_of(text) : k, ',');
                    ferry_csv_number(figure->csv, runs, ',');
                    ferry_csv_number(figure->csv, numbers->len, ',');
                }
                ferry_csv_number(figure->csv, ferry_numbers_median(numbers), ',');
                ferry_csv_number(figure->csv, low, ',');
                ferry_csv_number(figure->csv, high, p == 0 ? ',' : '\n');
                least[p] = fmin(least[p], low);
                most[p] = fmax(most[p], high);
            }
        }
    }
}

static void x_axis(FerryFigure *figure, const Axis *axis, double *out_per)
{
    const char *unit, *shown = "";
    g_autofree char *plain = ferry_result_plain_name(axis->name, &unit);
    gboolean is_bytes = g_str_has_prefix(unit, "_bytes");
    g_autofree char *text = NULL;

    *out_per = axis->is_number && is_bytes ? ferry_figure_byte_unit(axis->most, &shown) : 1;
    if (axis->is_number && *unit) {
        text = g_strdup_printf("%s [%s%s]", plain,
                               is_bytes             ? shown
                               : *(unit + 1) == 'm' ? "ms"
                                                    : "%",
                               strcmp(unit, "_bytes_per_second") == 0 ? "/s" : "");
    } else {
        text = g_strdup(axis->name);
    }
    g_autofree char *label = ferry_figure_quote(text, 60);
    g_string_append_printf(figure->plot, "set xlabel %s noenhanced\n", label);
    if (axis->is_number) {
        ferry_figure_scale(figure, "x", axis->least, axis->most);
        return;
    }
    g_string_append_printf(figure->plot,
                           "set xrange [-0.5:%.1f]\nset xtics noenhanced rotate by -20 (",
                           axis->texts->len - 0.5);
    for (guint k = 0; k < axis->texts->len; k++) {
        g_autofree char *tic = ferry_figure_quote(axis->texts->pdata[k], 24);
        g_string_append_printf(figure->plot, "%s%s %u", k ? ", " : "", tic, k);
    }
    g_string_append(figure->plot, ")\n");
}

static void plot_panel(FerryFigure *figure, const FerryResults *results, const Axis *axis,
                       unsigned panel, double per_x, double per_ms)
{
    guint n = ferry_figure_series(results);

    g_string_append(figure->plot, "plot ");
    for (guint i = 0; i < n; i++) {
        const char *name = results->policies->pdata[i];
        g_autofree char *title = ferry_figure_quote(*name ? name : "(no policy)", 30);
        double shift = axis->is_number ? 0 : (i - (n - 1) / 2.0) * 0.6 / n;
        unsigned c = 7 + 3 * panel;
        g_string_append_printf(figure->plot,
                               "%s using (in(%u, column(4) / %.10g + %.4g)):(column(%u) / %.10g):"
                               "(column(%u) / %.10g):(column(%u) / %.10g) with %s %s title %s",
                               i ? ", \\\n  ''" : "data", i, per_x, shift, c, per_ms, c + 1, per_ms,
                               c + 2, per_ms, axis->is_number ? "yerrorlines" : "yerrorbars",
                               axis->is_number ? ferry_figure_line(i) : ferry_figure_point(i),
                               title);
    }
    g_string_append_c(figure->plot, '\n');
}

static gboolean add_axis(FerryFigureTask *task, const Axis *axis)
{
    const char *unit;
    g_autofree char *plain = ferry_result_plain_name(axis->name, &unit);
    g_autofree char *title = g_strdup_printf("Time and downtime against %s", plain);
    g_autofree char *name = NULL;
    double least[2] = {INFINITY, INFINITY}, most[2] = {0, 0}, per_x;

    g_strcanon(plain, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", '-');
    name = g_strdup_printf("against-%s", plain);
    g_autoptr(FerryFigure) figure = ferry_figure_new(name, title, 420);
    figure->caption = g_strdup(
        "Medians of the runs that came to their end; the bars reach from the least to the "
        "most, whatever else was varied among them. The CSV says how many runs there are and "
        "how many of them came to their end.");
    g_string_append(figure->setup, "in(series, value) = column(1) == series ? value : NaN\n");
    add_rows(figure, task->results, axis, least, most);
    if (most[0] <= 0 && most[1] <= 0) {
        return FALSE;
    }
    ferry_figure_first_of_two(figure, task->results);
    x_axis(figure, axis, &per_x);
    for (unsigned p = 0; p < 2; p++) {
        const char *time;
        double per_ms = ferry_figure_time_unit(most[p], &time);
        g_string_append_printf(figure->plot,
                               "set ylabel '%s [%s]'\nunset logscale y\nset yrange [%s:*]\n",
                               panels[p].label, time, most[p] / least[p] >= 30 ? "*" : "0");
        ferry_figure_scale(figure, "y", least[p], most[p]);
        if (p == 1) {
            ferry_figure_second(figure);
        }
        plot_panel(figure, task->results, axis, p, per_x, per_ms);
    }
    g_string_append(figure->plot, "unset multiplot\n");
    g_ptr_array_add(task->figures, g_steal_pointer(&figure));
    return TRUE;
}

static void leave_out(FerryFigureTask *task, const char *name, const char *why)
{
    g_ptr_array_add(task->notes,
                    g_strdup_printf("No figure against %s: there are too many %s.", name, why));
}

void ferry_figures_of_parameters(FerryFigureTask *task)
{
    const FerryResults *results = task->results;
    g_autoptr(GPtrArray) drawn = g_ptr_array_new();

    for (guint i = 0; i < results->parameters->len; i++) {
        const char *name = results->parameters->pdata[i];
        Axis axis;
        if (!axis_of(results, name, &axis)) {
            if (axis.texts->len > VALUES_MAX) {
                leave_out(task, name, "values");
            }
        } else if (is_new(results, name, drawn)) {
            if (drawn->len == FIGURES_MAX) {
                leave_out(task, name, "others");
            } else if (add_axis(task, &axis)) {
                g_ptr_array_add(drawn, (char *)name);
            }
        }
        g_ptr_array_unref(axis.texts);
    }
}
