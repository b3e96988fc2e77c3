/* One page with everything in it: nothing is fetched, nothing runs. */
#include <string.h>
#include "tools/figures.h"

#define COMMANDS_MAX 6u

static const char head[] =
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
    "'unsafe-inline'; img-src data:\">\n"
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
    "<style>\n"
    ":root { color-scheme: light; }\n"
    "body { background: #fff; color: #1a1a1a; font: 15px/1.5 system-ui, 'DejaVu Sans', sans-serif;"
    " max-width: 60rem; margin: 2rem auto; padding: 0 1.25rem; }\n"
    "h1 { font-size: 1.6rem; line-height: 1.25; margin-bottom: 0.25rem; overflow-wrap: anywhere; "
    "}\n"
    "h2 { font-size: 1.15rem; margin: 2.25rem 0 0.5rem; overflow-wrap: anywhere; }\n"
    "nav ul { columns: 2; padding-left: 1.2rem; margin: 0.5rem 0; }\n"
    "a { color: #0a5c8f; }\n"
    "figure { margin: 0 0 2.5rem; break-inside: avoid; }\n"
    "figure svg, figure img { width: 100%; height: auto; display: block; }\n"
    "figure image { image-rendering: pixelated; }\n"
    "figcaption { font-size: 0.9rem; color: #333; }\n"
    "figcaption p { margin: 0.4rem 0; }\n"
    "pre { font: 0.75rem/1.45 'DejaVu Sans Mono', monospace; background: #f4f4f4; padding: 0.5rem"
    " 0.7rem; margin: 0.4rem 0; white-space: pre-wrap; overflow-wrap: anywhere; }\n"
    "table { border-collapse: collapse; font-size: 0.85rem; margin: 0.75rem 0 1.5rem;"
    " font-variant-numeric: tabular-nums; }\n"
    "th, td { padding: 0.25rem 0.7rem; border-bottom: 1px solid #ddd; vertical-align: top; }\n"
    "td, thead th { text-align: right; white-space: nowrap; }\n"
    ".metrics thead th, .metrics td { white-space: normal; }\n"
    ".metrics thead th { overflow-wrap: anywhere; min-width: 6rem; }\n"
    ".metrics tbody th { overflow-wrap: normal; min-width: 11rem; }\n"
    ".metrics span { white-space: nowrap; }\n"
    ".runs tbody th { min-width: 13rem; }\n"
    "tbody th { text-align: left; font-weight: normal; overflow-wrap: anywhere; }\n"
    "thead th { border-bottom: 2px solid #444; }\n"
    "thead th:first-child { text-align: left; }\n"
    ".runs td:nth-child(2) { text-align: left; white-space: normal; }\n"
    "small { color: #444; }\n"
    "@page { size: A4; margin: 14mm; }\n"
    "@media print {\n"
    "  body { font-size: 9.5pt; line-height: 1.35; max-width: none; margin: 0; padding: 0; }\n"
    "  h2 { break-after: avoid; font-size: 11.5pt; margin: 4mm 0 1mm; }\n"
    "  figure { margin: 0 0 4mm; }\n"
    "  figure svg, figure img { max-height: 195mm; }\n"
    "  figcaption { font-size: 8.5pt; }\n"
    "  figcaption p, pre { margin: 0.8mm 0; }\n"
    "  pre { font-size: 6.5pt; padding: 1mm 1.5mm; }\n"
    "  table { font-size: 8pt; }\n"
    "  .metrics tbody th { min-width: 38mm; }\n"
    "  tr { break-inside: avoid; }\n"
    "  th, td { padding: 0.15rem 0.4rem; }\n"
    "  thead { display: table-header-group; }\n"
    "  a { color: inherit; text-decoration: none; }\n"
    "  pre { border: 0.5pt solid #bbb; background: none; }\n"
    "}\n"
    "</style>\n";

void ferry_html_text(GString *html, const char *text)
{
    g_autofree char *clean = ferry_figure_clean(text, 0);
    g_autofree char *escaped = g_markup_escape_text(clean, -1);

    g_string_append(html, escaped);
}

/* What may be long: commands, one a line, the first ones. */
static void append_commands(GString *html, const GPtrArray *runs, const GPtrArray *commands)
{
    g_autoptr(GString) lines = g_string_new(NULL);
    guint n = 0, all = 0;

    for (guint i = 0; i < commands->len; i++) {
        ferry_html_text(lines, commands->pdata[i]);
        g_string_append_c(lines, '\n');
    }
    for (guint i = 0; runs && i < runs->len; i++) {
        const FerryResultRun *run = runs->pdata[i];
        all += *run->command != '\0';
        if (*run->command && n < COMMANDS_MAX) {
            ferry_html_text(lines, run->command);
            if (run->seed) {
                g_string_append(lines, "   # seed ");
                ferry_html_text(lines, run->seed);
            }
            g_string_append_c(lines, '\n');
            n++;
        }
    }
    if (lines->len == 0) {
        return;
    }
    g_string_append_printf(html, "<p>Made by</p><pre>%s</pre>\n", lines->str);
    if (all > n) {
        g_string_append_printf(html,
                               "<p>and %u more, in <a href=\"data/runs.csv\">data/runs.csv</a>."
                               "</p>\n",
                               all - n);
    }
}

/* What made all runs: the sweeps, and the runs of files without one. */
static void append_all_commands(GString *html, const FerryResults *results)
{
    g_autoptr(GPtrArray) runs = g_ptr_array_new();

    for (guint i = 0; i < results->runs->len; i++) {
        FerryResultRun *run = results->runs->pdata[i];
        if (!g_hash_table_contains(results->swept, GUINT_TO_POINTER(run->file + 1))) {
            g_ptr_array_add(runs, run);
        }
    }
    append_commands(html, runs, results->sweeps);
}

/* Whose figure it is: its own commands and runs if they are few, else all. */
static void append_origin(GString *html, const FerryFigureTask *task, const FerryFigure *figure)
{
    gboolean is_few =
        figure->runs && (figure->runs->len <= COMMANDS_MAX || task->results->sweeps->len == 0);

    if (is_few || figure->commands->len > 0) {
        append_commands(html, figure->runs, figure->commands);
    } else {
        append_all_commands(html, task->results);
    }
}

static gboolean append_drawing(GString *html, const FerryFigure *figure, guint index,
                               const char *directory, unsigned formats, GError **error)
{
    gboolean is_svg = formats & FERRY_FIGURE_SVG;
    g_autofree char *name = g_strconcat(figure->name, is_svg ? ".svg" : ".png", NULL);
    g_autofree char *path = g_build_filename(directory, name, NULL);
    g_autofree char *data = NULL;
    gsize n;

    if (!g_file_get_contents(path, &data, &n, error)) {
        return FALSE;
    }
    if (is_svg) {
        g_autofree char *prefix = g_strdup_printf("f%u-", index + 1);
        g_autofree char *svg = ferry_figure_inline_svg(data, n, prefix, error);
        g_string_append(html, svg ? svg : "");
        return svg != NULL;
    }
    g_autofree char *base64 = g_base64_encode((const guchar *)data, n);
    g_string_append(html, "<img alt=\"");
    ferry_html_text(html, figure->title);
    g_string_append_printf(html, "\" src=\"data:image/png;base64,%s\">\n", base64);
    return TRUE;
}

static gboolean append_figure(GString *html, const FerryFigureTask *task, guint index,
                              const char *directory, unsigned formats, GError **error)
{
    const FerryFigure *figure = task->figures->pdata[index];

    g_string_append_printf(html, "<figure id=\"%s\">\n<h2>%u. ", figure->name, index + 1);
    ferry_html_text(html, figure->title);
    g_string_append(html, "</h2>\n");
    if (!append_drawing(html, figure, index, directory, formats, error)) {
        g_prefix_error(error, "figure %s: ", figure->name);
        return FALSE;
    }
    g_string_append(html, "<figcaption><p>");
    ferry_html_text(html, figure->caption);
    g_string_append_printf(
        html,
        "</p>\n<p><a href=\"data/%s.csv\">data/%s.csv</a>, drawn by <a href=\"data/"
        "%s.gp\">data/%s.gp</a></p>\n",
        figure->name, figure->name, figure->name, figure->name);
    append_origin(html, task, figure);
    g_string_append(html, "</figcaption>\n</figure>\n");
    return TRUE;
}

static void append_list(GString *html, const GPtrArray *texts)
{
    g_string_append(html, "<ul>\n");
    for (guint i = 0; i < texts->len; i++) {
        g_string_append(html, "<li>");
        ferry_html_text(html, texts->pdata[i]);
        g_string_append(html, "</li>\n");
    }
    g_string_append(html, "</ul>\n");
}

static void append_overview(GString *html, const FerryFigureTask *task)
{
    const FerryResults *results = task->results;
    g_autofree char *series = g_strdup_printf(
        results->is_mixed ? "in %u series: policies, by kind of run" : "under %u policies",
        results->policies->len);

    g_string_append_printf(html, "<p>%u runs %s.</p>\n", results->runs->len, series);
    if (results->hosts->len > 0) {
        g_string_append(html, "<p>They ran on</p>\n");
        append_list(html, results->hosts);
    }
    if (results->notes->len + task->notes->len > 0) {
        g_string_append(html, "<p>To be known:</p>\n");
        append_list(html, results->notes);
        append_list(html, task->notes);
    }
    g_string_append(html, "<nav><ul>\n");
    if (results->runs->len > 0) {
        g_string_append(html, "<li><a href=\"#metrics\">Metrics</a></li>\n");
    }
    for (guint i = 0; i < task->figures->len; i++) {
        const FerryFigure *figure = task->figures->pdata[i];
        g_string_append_printf(html, "<li><a href=\"#%s\">%u. ", figure->name, i + 1);
        ferry_html_text(html, figure->title);
        g_string_append(html, "</a></li>\n");
    }
    g_string_append(html, "</ul></nav>\n");
}

static void append_tables(GString *html, const FerryResults *results)
{
    if (results->runs->len == 0) {
        return;
    }
    g_string_append(html,
                    "<section id=\"metrics\">\n<h2>Metrics</h2>\n<p>Medians; below them the least "
                    "and the most. Times and residuals are of runs that came to their end.</p>\n");
    ferry_figures_metrics(results, html);
    g_string_append(html, "</section>\n");
}

static void append_runs(GString *html, const FerryResults *results)
{
    if (results->runs->len > 0) {
        g_string_append(html, "<section>\n<h2>Runs</h2>\n");
        ferry_figures_runs(results, html);
        append_all_commands(html, results);
        g_string_append(html, "</section>\n");
    }
}

char *ferry_figures_page(const FerryFigureTask *task, const char *title, const char *directory,
                         unsigned formats, GError **error)
{
    g_autoptr(GString) html = g_string_new("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n"
                                           "<meta charset=\"utf-8\">\n<title>");

    ferry_html_text(html, title);
    g_string_append_printf(html, "</title>\n%s</head>\n<body>\n<h1>", head);
    ferry_html_text(html, title);
    g_string_append(html, "</h1>\n");
    append_overview(html, task);
    append_tables(html, task->results);
    for (guint i = 0; i < task->figures->len; i++) {
        if (!append_figure(html, task, i, directory, formats, error)) {
            return NULL;
        }
    }
    append_runs(html, task->results);
    g_string_append(html, "</body>\n</html>\n");
    return g_string_free(g_steal_pointer(&html), FALSE);
}
