/* ferry report: from result files and traces to a page of figures. */
#include "tools/figures.h"
#include <errno.h>
#include <glib/gstdio.h>
#include <stdio.h>
#include <string.h>
#include "tools/verb.h"

typedef struct {
    char *output, *title, *format;
    char **traces, **runs;
    gboolean json;
    unsigned formats;
} Options;

static void options_clear(Options *o)
{
    g_free(o->output);
    g_free(o->title);
    g_free(o->format);
    g_strfreev(o->traces);
    g_strfreev(o->runs);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Options, options_clear)

static gboolean parse_formats(Options *o)
{
    g_auto(GStrv) words = g_strsplit(o->format ? o->format : "svg,png", ",", 8);

    for (char **word = words; *word; word++) {
        if (strcmp(*word, "svg") == 0) {
            o->formats |= FERRY_FIGURE_SVG;
        } else if (strcmp(*word, "png") == 0) {
            o->formats |= FERRY_FIGURE_PNG;
        } else {
            return FALSE;
        }
    }
    return o->formats != 0;
}

static gboolean parse(int *argc, char ***argv, Options *o)
{
    const GOptionEntry entries[] = {
        {"output", 'o', 0, G_OPTION_ARG_FILENAME,       &o->output, "The folder that gets the page",
         "DIR"                                                                                             },
        {"trace",  0,   0, G_OPTION_ARG_FILENAME_ARRAY, &o->traces,
         "A page dirty trace to draw: working set and heat map; again for more",                     "FILE"},
        {"run",    0,   0, G_OPTION_ARG_STRING_ARRAY,   &o->runs,
         "A run to show over time; again for more. Else one per policy",                             "ID"  },
        {"title",  0,   0, G_OPTION_ARG_STRING,         &o->title,  "Of the page",                   "TEXT"},
        {"format", 0,   0, G_OPTION_ARG_STRING,         &o->format, "Of figures: svg, png or both",  "LIST"},
        {"json",   0,   0, G_OPTION_ARG_NONE,           &o->json,   "Say as JSON what was written",  NULL  },
        G_OPTION_ENTRY_NULL
    };
    const char *what = NULL;

    if (!ferry_verb_parse(
            argc, argv, entries, "[RESULTS...]",
            "Makes figures and tables of what 'ferry simulate' and 'ferry replay' wrote "
            "(JSON lines),\nand of traces: one page that needs nothing else, and a file "
            "for each figure.",
            0, 10000)) {
        return FALSE;
    }
    if (!o->output || *o->output == '\0') {
        what = "-o DIR is missing";
    } else if (*argc < 2 && !o->traces) {
        what = "there are neither results nor a --trace";
    } else if (!parse_formats(o)) {
        what = "--format takes svg, png or svg,png";
    } else if (o->title && !g_utf8_validate(o->title, -1, NULL)) {
        what = "--title is not UTF-8";
    }
    if (what) {
        fprintf(stderr, "ferry report: %s\nTry 'ferry report --help'.\n", what);
    }
    return what == NULL;
}

static gboolean read_all(const Options *o, int n, char **paths, FerryResults *results,
                         FerryFigureTask *task, GError **error)
{
    for (int i = 0; i < n; i++) {
        if (!ferry_results_read(results, paths[i], error)) {
            return FALSE;
        }
    }
    ferry_results_finish(results);
    if (!ferry_figures_over_time(task, error)) {
        return FALSE;
    }
    ferry_figures_of_downtime(task);
    ferry_figures_of_parameters(task);
    ferry_figures_of_bounds(task);
    for (unsigned i = 0; o->traces && o->traces[i]; i++) {
        if (!ferry_figures_of_trace(task, i, o->traces[i], error)) {
            return FALSE;
        }
    }
    if (results->policies->len > FERRY_FIGURE_SERIES_MAX) {
        g_ptr_array_add(task->notes,
                        g_strdup_printf("Figures show %u of %u policies; the tables have them all.",
                                        FERRY_FIGURE_SERIES_MAX, results->policies->len));
    }
    if (results->runs->len == 0 && task->figures->len == 0) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_INVAL, "there is nothing to draw: no runs");
        return FALSE;
    }
    return TRUE;
}

static gboolean write_file(const Options *o, const char *name, const char *text, GError **error)
{
    g_autofree char *path = g_build_filename(o->output, name, NULL);

    return g_file_set_contents(path, text, -1, error);
}

static gboolean write_all(const Options *o, const char *gnuplot, const FerryFigureTask *task,
                          GError **error)
{
    const char *title = o->title ? o->title : "Live migrations: what was measured";
    g_autofree char *data = g_build_filename(o->output, "data", NULL);
    g_autofree char *page = NULL;

    if (g_mkdir_with_parents(data, 0777) < 0) {
        g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno), "%s: %s", data,
                    g_strerror(errno));
        return FALSE;
    }
    for (guint i = 0; i < task->figures->len; i++) {
        if (!ferry_figure_draw(task->figures->pdata[i], gnuplot, o->output, o->formats, error)) {
            return FALSE;
        }
    }
    if (task->results->runs->len > 0) {
        g_autofree char *csv = ferry_figures_runs_csv(task->results);
        if (!write_file(o, "data/runs.csv", csv, error)) {
            return FALSE;
        }
    }
    page = ferry_figures_page(task, title, o->output, o->formats, error);
    return page && write_file(o, "index.html", page, error);
}

static void add_name(JsonBuilder *builder, const char *member, const char *folder, const char *name,
                     const char *suffix)
{
    g_autofree char *file = g_strconcat(folder, name, suffix, NULL);

    json_builder_set_member_name(builder, member);
    json_builder_add_string_value(builder, file);
}

static void say_json(const Options *o, const FerryFigureTask *task)
{
    g_autoptr(JsonBuilder) b = json_builder_new();

    json_builder_begin_object(b);
    add_name(b, "status", "", "done", "");
    add_name(b, "directory", "", o->output, "");
    add_name(b, "page", "", "index", ".html");
    json_builder_set_member_name(b, "runs");
    json_builder_add_int_value(b, task->results->runs->len);
    json_builder_set_member_name(b, "figures");
    json_builder_begin_array(b);
    for (guint i = 0; i < task->figures->len; i++) {
        const FerryFigure *figure = task->figures->pdata[i];
        json_builder_begin_object(b);
        add_name(b, "title", "", figure->title, "");
        add_name(b, "csv", "data/", figure->name, ".csv");
        add_name(b, "script", "data/", figure->name, ".gp");
        if (o->formats & FERRY_FIGURE_SVG) {
            add_name(b, "svg", "", figure->name, ".svg");
        }
        if (o->formats & FERRY_FIGURE_PNG) {
            add_name(b, "png", "", figure->name, ".png");
        }
        json_builder_end_object(b);
    }
    json_builder_end_array(b);
    json_builder_set_member_name(b, "notes");
    json_builder_begin_array(b);
    for (guint i = 0; i < task->results->notes->len + task->notes->len; i++) {
        guint own = task->results->notes->len;
        json_builder_add_string_value(b, i < own ? task->results->notes->pdata[i]
                                                 : task->notes->pdata[i - own]);
    }
    json_builder_end_array(b);
    json_builder_end_object(b);
    ferry_verb_print_json(ferry_verb_build(b), TRUE);
}

static void say(const Options *o, const FerryFigureTask *task)
{
    if (o->json) {
        say_json(o, task);
        return;
    }
    printf("%s/index.html: %u figures of %u runs\n", o->output, task->figures->len,
           task->results->runs->len);
    for (guint i = 0; i < task->figures->len; i++) {
        const FerryFigure *figure = task->figures->pdata[i];
        printf("  %-28s %s\n", figure->name, figure->title);
    }
    for (guint i = 0; i < task->results->notes->len; i++) {
        printf("%s\n", (char *)task->results->notes->pdata[i]);
    }
    for (guint i = 0; i < task->notes->len; i++) {
        printf("%s\n", (char *)task->notes->pdata[i]);
    }
}

FerryExit ferry_verb_report(int argc, char **argv)
{
    g_auto(Options) o = {0};
    g_autoptr(FerryResults) results = ferry_results_new();
    g_autoptr(GPtrArray) figures =
        g_ptr_array_new_with_free_func((GDestroyNotify)ferry_figure_free);
    g_autoptr(GPtrArray) notes = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *gnuplot = NULL;
    g_autoptr(GError) error = NULL;

    if (!parse(&argc, &argv, &o)) {
        return FERRY_EXIT_USAGE;
    }
    FerryFigureTask task = {
        .results = results, .chosen = o.runs, .figures = figures, .notes = notes};
    gnuplot = g_find_program_in_path("gnuplot");
    if (!gnuplot) {
        return ferry_verb_fail(
            "report", FERRY_EXIT_FAILED, o.json,
            "there is no gnuplot here, which draws the figures (Debian's package "
            "is gnuplot-nox)");
    }
    if (!read_all(&o, argc - 1, argv + 1, results, &task, &error) ||
        !write_all(&o, gnuplot, &task, &error)) {
        return ferry_verb_fail("report", FERRY_EXIT_FAILED, o.json, "%s", error->message);
    }
    say(&o, &task);
    return FERRY_EXIT_DONE;
}
