/* What was left at the pause, and what had to be left: residuals against the moment of the pause.
 */
#include <string.h>
#include "tools/figures.h"

#define FIGURES_MAX 6u

/* Runs and bounds of one input over one link. */
typedef struct {
    const char *input;
    double bandwidth;              /* NAN: not known */
    const FerryResultBound *bound; /* NULL: none was given */
    GPtrArray *runs;
} Group;

static gboolean has_residual(const FerryResultRun *run)
{
    return !isnan(run->values[FERRY_RUN_RESIDUAL_BYTES]) &&
           !isnan(run->values[FERRY_RUN_PRECOPY_MS]);
}

/* A link that was measured is a little different each time: such runs belong together. */
static double link_of(const FerryResultRun *run)
{
    return g_hash_table_contains(run->given, ferry_run_value_name(FERRY_RUN_BANDWIDTH))
               ? run->values[FERRY_RUN_BANDWIDTH]
               : NAN;
}

static gboolean is_same(const Group *group, const char *input, double bandwidth)
{
    return strcmp(group->input, input) == 0 &&
           (group->bandwidth == bandwidth || (isnan(group->bandwidth) && isnan(bandwidth)));
}

static Group *group_of(GArray *groups, const char *input, double bandwidth)
{
    for (guint i = 0; i < groups->len; i++) {
        Group *group = &g_array_index(groups, Group, i);
        if (is_same(group, input, bandwidth)) {
            return group;
        }
    }
    Group group = {.input = input, .bandwidth = bandwidth, .runs = g_ptr_array_new()};
    g_array_append_val(groups, group);
    return &g_array_index(groups, Group, groups->len - 1);
}

static void group_clear(gpointer data) { g_ptr_array_unref(((Group *)data)->runs); }

static void row(GString *csv, const char *what, guint series, const char *policy, double t_ms,
                const double values[4])
{
    ferry_csv_text(csv, what, ',');
    ferry_csv_number(csv, series, ',');
    ferry_csv_text(csv, policy, ',');
    ferry_csv_number(csv, t_ms, ',');
    for (unsigned i = 0; i < 4; i++) {
        ferry_csv_number(csv, values[i], i < 3 ? ',' : '\n');
    }
}

/* Series 0 is the bound's; policies have theirs plus one. */
static double add_rows(FerryFigure *figure, const Group *group, double *out_latest)
{
    double most = 0;

    g_string_append(figure->csv, "what,series,policy,t_ms,residual_bytes,clairvoyant_low_bytes,"
                                 "clairvoyant_high_bytes,causal_bytes\n");
    *out_latest = 0;
    for (guint i = 0; group->bound && i < group->bound->series->len; i++) {
        const double *p = &g_array_index(group->bound->series, double, 4 * i);
        const double values[4] = {NAN, p[1], p[2], p[3]};
        row(figure->csv, "bound", 0, "", p[0], values);
        most = fmax(most, fmax(p[2], p[3]));
        *out_latest = fmax(*out_latest, p[0]);
    }
    for (guint i = 0; i < group->runs->len; i++) {
        const FerryResultRun *run = group->runs->pdata[i];
        const double *v = run->values;
        const double values[4] = {v[FERRY_RUN_RESIDUAL_BYTES], v[FERRY_RUN_CLAIRVOYANT_LOW],
                                  v[FERRY_RUN_CLAIRVOYANT_HIGH], v[FERRY_RUN_CAUSAL_BYTES]};
        row(figure->csv, "run", run->policy_index + 1, run->series, v[FERRY_RUN_PRECOPY_MS],
            values);
        for (unsigned k = 0; k < 4; k++) {
            most = fmax(most, values[k]);
        }
        *out_latest = fmax(*out_latest, v[FERRY_RUN_PRECOPY_MS]);
    }
    return most;
}

/* R* and R_k: for all moments if a bound was given, else where runs paused. */
static void plot_bounds(FerryFigure *figure, const Group *group, const char *every, double per,
                        double per_ms)
{
    if (group->bound) {
        g_string_append_printf(
            figure->plot,
            "plot data using (in(0, column(4) / %.10g)):(column(6) / %.10g):(column(7) / %.10g) "
            "with filledcurves fillcolor rgb '#bbbbbb' fillstyle solid border rgb '#888888' title "
            "'R* (low to high)', \\\n"
            "  '' using (in(0, column(4) / %.10g)):(column(8) / %.10g) with lines linewidth 1.5 "
            "dashtype (8,4) linecolor rgb '#000000' title 'R_k'",
            per_ms, per, per, per_ms, per);
        return;
    }
    g_string_append_printf(
        figure->plot,
        "plot data%s using (column(2) > 0 ? column(4) / %.10g : NaN):(column(7) / %.10g):"
        "(column(6) / %.10g):(column(7) / %.10g) with yerrorbars pointtype 0 linewidth 2 linecolor "
        "rgb '#888888' title 'R* (low to high)', \\\n"
        "  ''%s using (column(2) > 0 ? column(4) / %.10g : NaN):(column(8) / %.10g) with points "
        "pointtype 1 linecolor rgb '#000000' title 'R_k'",
        every, per_ms, per, per, per, every, per_ms, per);
}

static void plot(FerryFigure *figure, const FerryResults *results, const Group *group, double per,
                 double per_ms)
{
    g_autofree char *every = ferry_figure_every(figure, group->runs->len);

    plot_bounds(figure, group, every, per, per_ms);
    for (guint i = 0; i < ferry_figure_series(results); i++) {
        const char *name = results->policies->pdata[i];
        g_autofree char *title = ferry_figure_quote(*name ? name : "(no policy)", 40);
        g_string_append_printf(
            figure->plot,
            ", \\\n  data%s using (in(%u, column(4) / %.10g)):(column(5) / %.10g) "
            "with points %s title %s",
            every, i + 1, per_ms, per, ferry_figure_point(i), title);
    }
    g_string_append_c(figure->plot, '\n');
}

static void add_group(FerryFigureTask *task, const Group *group, guint index)
{
    g_autofree char *name = g_strdup_printf("residual-%u", index + 1);
    g_autofree char *base = g_path_get_basename(group->input);
    g_autofree char *link = isnan(group->bandwidth)
                                ? g_strdup("")
                                : g_strdup_printf(", %.4g MiB/s", group->bandwidth / 1048576);
    g_autofree char *title =
        g_strdup_printf("Residual against the moment of the pause: %s%s", base, link);
    FerryFigure *figure = ferry_figure_new(name, title, 440);
    const char *bytes, *time;
    double latest, most = add_rows(figure, group, &latest);
    double per = ferry_figure_byte_unit(most, &bytes),
           per_ms = ferry_figure_time_unit(latest, &time);

    figure->caption =
        g_strdup("Bytes that were left when the guest was paused. R* is what is left at "
                 "least, in whatever order pages are sent; it is a bracket because the "
                 "trace does not say when within a frame a page was written. R_k is what "
                 "stays under any order that does not know the future. The distance of a "
                 "point to them is what a better policy could win; a guest that was "
                 "slowed writes less than the trace, so its points may lie below.");
    figure->runs = g_ptr_array_ref(group->runs);
    if (group->bound && *group->bound->command) {
        g_ptr_array_add(figure->commands, g_strdup(group->bound->command));
    }
    g_string_append(figure->setup, "in(series, value) = column(2) == series ? value : NaN\n");
    g_string_append_printf(
        figure->plot,
        "set yrange [0:*]\nset xrange [0:%.10g]\nset xlabel 'T, when the guest was "
        "paused [%s]'\nset ylabel 'left [%s]'\n",
        (latest > 0 ? latest * 1.02 : 1) / per_ms, time, bytes);
    plot(figure, task->results, group, per, per_ms);
    g_ptr_array_add(task->figures, figure);
}

void ferry_figures_of_bounds(FerryFigureTask *task)
{
    const FerryResults *results = task->results;
    g_autoptr(GArray) groups = g_array_new(FALSE, FALSE, sizeof(Group));

    g_array_set_clear_func(groups, group_clear);
    for (guint i = 0; i < results->bounds->len; i++) {
        const FerryResultBound *bound = results->bounds->pdata[i];
        if (bound->series->len > 0) {
            group_of(groups, bound->trace, bound->bandwidth)->bound = bound;
        }
    }
    for (guint i = 0; i < results->runs->len; i++) {
        FerryResultRun *run = results->runs->pdata[i];
        if (has_residual(run)) {
            g_ptr_array_add(group_of(groups, run->input, link_of(run))->runs, run);
        }
    }
    for (guint i = 0; i < groups->len && i < FIGURES_MAX; i++) {
        add_group(task, &g_array_index(groups, Group, i), i);
    }
    if (groups->len > FIGURES_MAX) {
        g_ptr_array_add(
            task->notes,
            g_strdup_printf("Residuals are drawn of the first %u pairs of trace and link, "
                            "of %u.",
                            FIGURES_MAX, groups->len));
    }
}
