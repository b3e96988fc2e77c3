/* Figures of what happens during a migration: one panel for each chosen run. */
#include <string.h>
#include "tools/figures.h"

#define ZERO_PAGE_BYTES 9 /* a record's head and the byte that says zero */
#define PAGE_HEAD_BYTES 8

static double at(const FerryResultRound *round, FerryRoundValue value)
{
    return round->values[value];
}

static const FerryResultRound *round_at(const FerryResultRun *run, guint i)
{
    return &g_array_index(run->rounds, FerryResultRound, i);
}

/* The sync before the first round sends nothing. */
static guint first_round(const FerryResultRun *run)
{
    return run->rounds->len > 0 && at(round_at(run, 0), FERRY_ROUND_NUMBER) < 1;
}

static gboolean is_in_all(GPtrArray *runs, const char *word)
{
    for (guint i = 0; i < runs->len; i++) {
        g_auto(GStrv) words = g_strsplit(((const FerryResultRun *)runs->pdata[i])->id, " ", 64);
        if (!g_strv_contains((const char *const *)words, word)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* What tells a run from the others that are shown. */
static char *panel_title(GPtrArray *runs, guint panel)
{
    const FerryResultRun *run = runs->pdata[panel];
    g_auto(GStrv) words = g_strsplit(run->id, " ", 64);
    g_autoptr(GString) title = g_string_new(strstr(run->id, run->series) ? "" : run->series);
    const char *between = title->len > 0 ? ": " : "";

    for (char **word = words; *word; word++) {
        if (runs->len == 1 || !is_in_all(runs, *word)) {
            g_string_append_printf(title, "%s%s", between, *word);
            between = " ";
        }
    }
    return ferry_figure_quote(title->len > 0 ? title->str : run->id, 100);
}

static char *in_common(GPtrArray *runs)
{
    g_auto(GStrv) words = g_strsplit(((const FerryResultRun *)runs->pdata[0])->id, " ", 64);
    g_autoptr(GString) text = g_string_new(NULL);

    for (char **word = words; runs->len > 1 && *word; word++) {
        if (is_in_all(runs, *word)) {
            g_string_append_printf(text, " %s", *word);
        }
    }
    return text->len > 0 ? g_strdup_printf(" All runs shown:%s.", text->str) : g_strdup("");
}

static FerryFigure *panels_new(const char *name, const char *title, GPtrArray *runs,
                               const char *caption)
{
    FerryFigure *figure = ferry_figure_new(name, title, 130 + 185 * runs->len);
    g_autofree char *common = in_common(runs);
    double height = figure->height;

    figure->caption = g_strconcat(caption, common, NULL);
    figure->runs = g_ptr_array_ref(runs);
    g_string_append(figure->setup, "in(panel, value) = column(1) == panel ? value : NaN\n");
    g_string_append_printf(figure->plot,
                           "set multiplot layout %u,1 margins 0.09,0.98,%.4f,%.4f spacing 0,%.4f\n"
                           "set key at screen 0.05, screen %.4f left top horizontal reverse Left "
                           "width 2 noenhanced\n",
                           runs->len, 66 / height, 1 - 74 / height, 72 / height, 1 - 5 / height);
    return figure;
}

/* The words below are under the last panel only. */
static void panel_begin(FerryFigure *figure, unsigned panel, const char *x_label,
                        const char *y_label)
{
    g_autofree char *title = panel_title(figure->runs, panel);

    g_string_append_printf(figure->plot,
                           "set title %s noenhanced offset 0,-0.6\nset ylabel '%s'\n%s", title,
                           y_label, panel > 0 ? "unset key\n" : "");
    if (panel + 1 == figure->runs->len) {
        g_string_append_printf(figure->plot, "set xlabel '%s'\n", x_label);
    }
}

static void panels_end(FerryFigure *figure, GPtrArray *figures)
{
    g_string_append(figure->plot, "unset multiplot\n");
    g_ptr_array_add(figures, figure);
}

/* Of marks: many of them hide what they mark. */
static double mark_size(const FerryFigure *figure, guint panel)
{
    const FerryResultRun *run = figure->runs->pdata[panel];

    return run->rounds->len > 150 ? 0.3 : run->rounds->len > 40 ? 0.4 : 0.8;
}

/* The widest value that a round of any of @runs has. */
static double most_of(GPtrArray *runs, FerryRoundValue value)
{
    double most = 0;

    for (guint i = 0; i < runs->len; i++) {
        const FerryResultRun *run = runs->pdata[i];
        for (guint k = 0; k < run->rounds->len; k++) {
            most = fmax(most, at(round_at(run, k), value));
        }
    }
    return most;
}

static double latest(GPtrArray *runs)
{
    double most = most_of(runs, FERRY_ROUND_T_MS);

    for (guint i = 0; i < runs->len; i++) {
        most = fmax(most, ((const FerryResultRun *)runs->pdata[i])->values[FERRY_RUN_TOTAL_MS]);
    }
    return most;
}

static void remaining_row(GString *csv, guint panel, double t_ms, double remaining,
                          double threshold, double sync)
{
    ferry_csv_number(csv, panel, ',');
    ferry_csv_number(csv, t_ms, ',');
    ferry_csv_number(csv, remaining, ',');
    ferry_csv_number(csv, threshold, ',');
    ferry_csv_number(csv, sync, '\n');
}

/* Between syncs pages are sent; what a sync finds comes on top at once. The threshold holds until
 * the next sync. */
static void remaining_rows(GString *csv, guint panel, const FerryResultRun *run)
{
    double page = ferry_result_page_bytes(run), threshold = NAN;

    if (!isnan(run->values[FERRY_RUN_RAM_BYTES])) {
        remaining_row(csv, panel, 0, run->values[FERRY_RUN_RAM_BYTES], NAN, NAN);
    }
    for (guint i = 0; i < run->rounds->len; i++) {
        const FerryResultRound *round = round_at(run, i);
        double remaining = at(round, FERRY_ROUND_REMAINING_BYTES);
        double before = remaining - at(round, FERRY_ROUND_DIRTIED_PAGES) * page;
        if (!isnan(before)) {
            remaining_row(csv, panel, at(round, FERRY_ROUND_T_MS), fmax(before, 0), threshold, NAN);
        }
        threshold = at(round, FERRY_ROUND_THRESHOLD_BYTES);
        remaining_row(csv, panel, at(round, FERRY_ROUND_T_MS), remaining, threshold,
                      at(round, FERRY_ROUND_NUMBER));
    }
    if (ferry_result_is_done(run) && !isnan(run->values[FERRY_RUN_TOTAL_MS])) {
        remaining_row(csv, panel, run->values[FERRY_RUN_TOTAL_MS], 0, threshold, NAN);
    }
}

static void mark_pause(FerryFigure *figure, const FerryResultRun *run, double per)
{
    double from = run->values[FERRY_RUN_PRECOPY_MS];
    double to = from + run->values[FERRY_RUN_DOWNTIME_MS];

    g_string_append(figure->plot, "unset object\n");
    if (!isnan(to)) {
        g_string_append_printf(
            figure->plot,
            "set object 1 rectangle from %.10g, graph 0 to %.10g, graph 1 behind "
            "fillcolor rgb '#dddddd' fillstyle solid noborder\n",
            from / per, to / per);
    }
}

static void add_remaining(FerryFigureTask *task, GPtrArray *runs)
{
    FerryFigure *figure =
        panels_new("remaining", "Remaining bytes and threshold over time", runs,
                   "Guest memory that is yet to be sent. Each mark is a dirty sync: what "
                   "it found comes on top; between syncs the line is straight because "
                   "nothing is known there. Dashed: the threshold, what would fit the "
                   "downtime limit at the rate believed then. Grey: the blackout.");
    const char *bytes, *time;
    double per_byte, per_ms = ferry_figure_time_unit(latest(runs), &time);
    double most = most_of(runs, FERRY_ROUND_REMAINING_BYTES);

    for (guint i = 0; i < runs->len; i++) {
        most = fmax(most, ((FerryResultRun *)runs->pdata[i])->values[FERRY_RUN_RAM_BYTES]);
    }
    per_byte = ferry_figure_byte_unit(most, &bytes);
    g_string_append(figure->csv, "panel,t_ms,remaining_bytes,threshold_bytes,sync\n");
    g_string_append_printf(figure->setup, "set xrange [0:%.10g]\nset yrange [0:*]\n",
                           latest(runs) / per_ms);
    for (guint i = 0; i < runs->len; i++) {
        g_autofree char *label = g_strdup_printf("remaining [%s]", bytes);
        g_autofree char *since = g_strdup_printf("time since the migration began [%s]", time);
        remaining_rows(figure->csv, i, runs->pdata[i]);
        mark_pause(figure, runs->pdata[i], per_ms);
        panel_begin(figure, i, since, label);
        g_string_append_printf(
            figure->plot,
            "plot data using (in(%u, column(2) / %.10g)):(column(3) / %.10g) with lines "
            "linewidth 1.5 linecolor rgb '#0072B2' title 'remaining', \\\n"
            "  '' using (column(5) >= 0 ? in(%u, column(2) / %.10g) : NaN):(column(3) / %.10g) "
            "with "
            "points "
            "pointtype 7 pointsize %.1f linecolor rgb '#0072B2' title 'dirty sync', \\\n"
            "  '' using (in(%u, column(2) / %.10g)):(column(4) / %.10g) with steps linewidth 2 "
            "dashtype (8,5) linecolor rgb '#D55E00' title 'threshold'\n",
            i, per_ms, per_byte, i, per_ms, per_byte, mark_size(figure, i), i, per_ms, per_byte);
    }
    panels_end(figure, task->figures);
}

/* The most that either rate is. */
static double rate_rows(GString *csv, guint panel, const FerryResultRun *run)
{
    double most = 0;

    for (guint k = first_round(run); k < run->rounds->len; k++) {
        const FerryResultRound *round = round_at(run, k);
        double sent = at(round, FERRY_ROUND_BYTES_PER_SECOND);
        double dirty = at(round, FERRY_ROUND_DIRTY_PAGES_PER_SECOND) * ferry_result_page_bytes(run);
        if (!ferry_result_is_idle(round)) {
            ferry_csv_number(csv, panel, ',');
            ferry_csv_number(csv, at(round, FERRY_ROUND_T_MS), ',');
            ferry_csv_number(csv, at(round, FERRY_ROUND_NUMBER), ',');
            ferry_csv_number(csv, dirty, ',');
            ferry_csv_number(csv, sent, '\n');
            most = fmax(most, fmax(dirty, sent));
        }
    }
    return most;
}

static void add_rates(FerryFigureTask *task, GPtrArray *runs)
{
    FerryFigure *figure =
        panels_new("rates", "Dirty rate against transfer rate, by round", runs,
                   "How fast the guest dirtied memory (distinct pages that a sync found, times the "
                   "page size) and how fast the link took bytes, each over the round that ended at "
                   "the mark. Where the first is above the second another round of the same length "
                   "does not help.");
    const char *bytes, *time;
    double per_ms = ferry_figure_time_unit(latest(runs), &time);
    g_autofree char *until = g_strdup_printf("end of the round [%s]", time);

    g_string_append(figure->csv, "panel,t_ms,round,dirty_bytes_per_second,bytes_per_second\n");
    g_string_append_printf(figure->setup, "set xrange [0:%.10g]\nset yrange [0:*]\n",
                           latest(runs) / per_ms);
    for (guint i = 0; i < runs->len; i++) {
        double per_byte = ferry_figure_byte_unit(rate_rows(figure->csv, i, runs->pdata[i]), &bytes);
        g_autofree char *label = g_strdup_printf("rate [%s/s]", bytes);
        panel_begin(figure, i, until, label);
        g_string_append_printf(
            figure->plot,
            "plot data using (in(%u, column(2) / %.10g)):(column(4) / %.10g) with linespoints %s "
            "pointsize %.1f title 'dirty rate', \\\n"
            "  '' using (in(%u, column(2) / %.10g)):(column(5) / %.10g) with linespoints %s "
            "pointsize %.1f title 'transfer rate'\n",
            i, per_ms, per_byte, ferry_figure_line(1), mark_size(figure, i), i, per_ms, per_byte,
            ferry_figure_line(0), mark_size(figure, i));
    }
    panels_end(figure, task->figures);
}

/* What a round sent, by kind: pages as they are, pages sent for nothing, packed, zero. */
static void kinds(const FerryResultRun *run, const FerryResultRound *round, double out[4])
{
    double page = ferry_result_page_bytes(run) + PAGE_HEAD_BYTES;
    double bytes = at(round, FERRY_ROUND_SENT_BYTES), sent = at(round, FERRY_ROUND_SENT_PAGES);
    double zero = fmin(bytes, fmax(0, at(round, FERRY_ROUND_ZERO_PAGES)) * ZERO_PAGE_BYTES);
    double packed = fmax(0, at(round, FERRY_ROUND_PACKED_PAGES)); /* of those sent */
    double plain = packed > 0 ? fmin(bytes - zero, fmax(0, sent - packed) * page) : bytes - zero;
    double again = sent > 0 ? fmin(1, fmax(0, at(round, FERRY_ROUND_FALSE_DIRTY_PAGES)) / sent) : 0;

    out[0] = plain * (1 - again);
    out[1] = (bytes - zero) * again;
    out[2] = (bytes - zero - plain) * (1 - again);
    out[3] = zero;
}

/* Drawn as sums, the longest first: what stands on top of a pile is drawn below it. */
static void plot_rounds(FerryFigure *figure, guint panel, double per)
{
    static const char *const titles[] = {"zero pages", "packed pages", "sent for nothing",
                                         "pages as they are"};
    static const char *const fills[] = {"#000000", "#F0E442", "#E69F00", "#0072B2"};
    static const char *const sums[] = {"column(3) + column(4) + column(5) + column(6)",
                                       "column(3) + column(4) + column(5)", "column(3) + column(4)",
                                       "column(3)"};
    const FerryResultRun *run = figure->runs->pdata[panel];
    double last = run->rounds->len == 0
                      ? 1
                      : fmax(1, at(round_at(run, run->rounds->len - 1), FERRY_ROUND_NUMBER));

    g_string_append_printf(figure->plot, "set xrange [0.4:%.10g]\nset xtics %.0f\nplot ",
                           last + 0.6, ceil(last / 20));
    for (unsigned j = 0; j < 4; j++) {
        g_string_append_printf(figure->plot,
                               "%s using (in(%u, column(2))):((%s) / %.10g) with boxes fillstyle "
                               "solid %s linecolor rgb '%s' title '%s'%s",
                               j ? "  ''" : "data", panel, sums[j], per,
                               last > 60 ? "noborder" : "border rgb '#444444'", fills[j], titles[j],
                               j < 3 ? ", \\\n" : "\n");
    }
}

static void add_rounds(FerryFigureTask *task, GPtrArray *runs)
{
    FerryFigure *figure =
        panels_new("rounds", "Bytes of each round, by kind", runs,
                   "What each round put on the wire: pages as they are; pages that were sent again "
                   "with nothing new in them; packed ones (deltas or compressed); zero pages.");
    const char *bytes;
    double per = ferry_figure_byte_unit(most_of(runs, FERRY_ROUND_SENT_BYTES), &bytes);
    g_autofree char *label = g_strdup_printf("sent [%s]", bytes);

    g_string_append(figure->csv,
                    "panel,round,plain_bytes,false_dirty_bytes,packed_bytes,zero_bytes\n");
    g_string_append(figure->setup, "set yrange [0:*]\nset boxwidth 0.7\n");
    for (guint i = 0; i < runs->len; i++) {
        const FerryResultRun *run = runs->pdata[i];
        for (guint k = first_round(run); k < run->rounds->len; k++) {
            double parts[4];
            kinds(run, round_at(run, k), parts);
            ferry_csv_number(figure->csv, i, ',');
            ferry_csv_number(figure->csv, at(round_at(run, k), FERRY_ROUND_NUMBER), ',');
            for (unsigned j = 0; j < 4; j++) {
                ferry_csv_number(figure->csv, parts[j], j < 3 ? ',' : '\n');
            }
        }
        panel_begin(figure, i, "round", label);
        plot_rounds(figure, i, per);
    }
    panels_end(figure, task->figures);
}

static void add_throttle(FerryFigureTask *task, GPtrArray *runs)
{
    FerryFigure *figure = ferry_figure_new("throttle", "Throttle over time", 330);
    const char *time;
    double per_ms = ferry_figure_time_unit(latest(runs), &time);

    figure->runs = g_ptr_array_ref(runs);
    figure->caption =
        g_strdup("How far the guest was slowed, in percent, in the run of each policy that was "
                 "slowed most. The area below is the throttle integral.");
    g_string_append(figure->csv, "panel,t_ms,throttle_percent\n");
    g_string_append(figure->setup, "in(panel, value) = column(1) == panel ? value : NaN\n");
    g_string_append_printf(figure->plot,
                           "set yrange [0:100]\nset xrange [0:%.10g]\nset ylabel 'throttle [%%]'\n"
                           "set xlabel 'time since the migration began [%s]'\nplot ",
                           latest(runs) / per_ms, time);
    for (guint i = 0; i < runs->len; i++) {
        const FerryResultRun *run = runs->pdata[i];
        g_autofree char *title = panel_title(runs, i);
        for (guint k = 0; k < run->rounds->len; k++) {
            ferry_csv_number(figure->csv, i, ',');
            ferry_csv_number(figure->csv, at(round_at(run, k), FERRY_ROUND_T_MS), ',');
            ferry_csv_number(figure->csv, at(round_at(run, k), FERRY_ROUND_THROTTLE_PERCENT), '\n');
        }
        g_string_append_printf(
            figure->plot,
            "%s using (in(%u, column(2) / %.10g)):(column(3)) with fsteps %s title %s",
            i ? ", \\\n  ''" : "data", i, per_ms, ferry_figure_line(i), title);
    }
    g_string_append_c(figure->plot, '\n');
    g_ptr_array_add(task->figures, figure);
}

gboolean ferry_figures_over_time(FerryFigureTask *task, GError **error)
{
    g_autoptr(GPtrArray) runs = g_ptr_array_new();

    if (!ferry_figures_choose(task, runs, error)) {
        return FALSE;
    }
    if (runs->len > FERRY_FIGURE_PANELS_MAX) {
        g_ptr_array_add(
            task->notes,
            g_strdup_printf("Of %u runs the first %u are shown over time; --run chooses "
                            "others.",
                            runs->len, FERRY_FIGURE_PANELS_MAX));
        g_ptr_array_set_size(runs, FERRY_FIGURE_PANELS_MAX);
    }
    if (most_of(runs, FERRY_ROUND_REMAINING_BYTES) > 0) {
        add_remaining(task, runs);
    }
    if (most_of(runs, FERRY_ROUND_DIRTY_PAGES_PER_SECOND) > 0 ||
        most_of(runs, FERRY_ROUND_BYTES_PER_SECOND) > 0) {
        add_rates(task, runs);
    }
    if (most_of(runs, FERRY_ROUND_SENT_BYTES) > 0) {
        add_rounds(task, runs);
    }
    g_autoptr(GPtrArray) slowed = ferry_figures_most_throttled(task, runs);
    if (most_of(slowed, FERRY_ROUND_THROTTLE_PERCENT) > 0) {
        add_throttle(task, slowed);
    }
    return TRUE;
}
