/* One figure: its data, gnuplot's words for it, and gnuplot run on them. */
#include <errno.h>
#include <string.h>
#include "tools/figures.h"

#define WIDTH 900
#define POINTS_MAX 1500u

FerryFigure *ferry_figure_new(const char *name, const char *title, unsigned height)
{
    FerryFigure *figure = g_new0(FerryFigure, 1);

    figure->name = g_strdup(name);
    figure->title = g_strdup(title);
    figure->width = WIDTH;
    figure->height = height;
    figure->csv = g_string_new(NULL);
    figure->setup = g_string_new(NULL);
    figure->plot = g_string_new(NULL);
    figure->commands = g_ptr_array_new_with_free_func(g_free);
    return figure;
}

void ferry_figure_free(FerryFigure *figure)
{
    if (figure) {
        g_free(figure->name);
        g_free(figure->title);
        g_free(figure->caption);
        g_string_free(figure->csv, TRUE);
        g_string_free(figure->setup, TRUE);
        g_string_free(figure->plot, TRUE);
        g_clear_pointer(&figure->runs, g_ptr_array_unref);
        g_ptr_array_unref(figure->commands);
        g_free(figure);
    }
}

void ferry_csv_number(GString *csv, double value, char end)
{
    if (!isnan(value)) {
        g_string_append_printf(csv, "%.10g", value);
    }
    g_string_append_c(csv, end);
}

void ferry_csv_text(GString *csv, const char *text, char end)
{
    g_autofree char *clean = ferry_figure_clean(text, 0);

    /* A spreadsheet takes what begins so for a formula. */
    const char *guard = *clean && strchr("=+-@", *clean) ? "'" : "";
    g_string_append_c(csv, '"');
    g_string_append(csv, guard);
    for (const char *at = clean; *at; at++) {
        g_string_append_c(csv, *at);
        if (*at == '"') {
            g_string_append_c(csv, *at);
        }
    }
    g_string_append_c(csv, '"');
    g_string_append_c(csv, end);
}

char *ferry_figure_clean(const char *text, unsigned most)
{
    g_autoptr(GString) clean = g_string_new(NULL);
    unsigned letters = 0;

    for (const char *at = text; *at; at = g_utf8_next_char(at)) {
        gunichar c = g_utf8_get_char(at);
        if (most > 0 && ++letters > most) {
            g_string_append(clean, "…");
            break;
        }
        switch (g_unichar_type(c)) {
        case G_UNICODE_CONTROL:
        case G_UNICODE_FORMAT:
        case G_UNICODE_LINE_SEPARATOR:
        case G_UNICODE_PARAGRAPH_SEPARATOR:
        case G_UNICODE_PRIVATE_USE:
        case G_UNICODE_SURROGATE:
        case G_UNICODE_UNASSIGNED:
            g_string_append_c(clean, '?');
            break;
        default:
            g_string_append_unichar(clean, c);
        }
    }
    return g_string_free(g_steal_pointer(&clean), FALSE);
}

/* Between single quotes gnuplot knows one thing only: two of them are one. */
char *ferry_figure_quote(const char *text, unsigned most)
{
    g_autofree char *clean = ferry_figure_clean(text, most);
    g_autoptr(GString) quoted = g_string_new("'");

    for (const char *at = clean; *at; at++) {
        g_string_append_c(quoted, *at);
        if (*at == '\'') {
            g_string_append_c(quoted, *at);
        }
    }
    g_string_append_c(quoted, '\'');
    return g_string_free(g_steal_pointer(&quoted), FALSE);
}

/* The colours of Okabe and Ito, which colour-blind people tell apart, without the yellow that is
 * lost on white. Dashes and points differ too: a grey print says as much. */
#define N_STYLES 7u
static const char *const colours[N_STYLES] = {"#0072B2", "#D55E00", "#009E73", "#CC79A7",
                                              "#E69F00", "#56B4E9", "#000000"};
static const unsigned points[N_STYLES] = {7, 4, 8, 10, 12, 2, 3};

const char *ferry_figure_line(unsigned i)
{
    static const char *const dashes[] = {"1", "(12,5)", "(3,4)", "(12,4,3,4)", "(20,6)"};
    static char lines[N_STYLES * G_N_ELEMENTS(dashes)][96];
    char *line = lines[i % G_N_ELEMENTS(lines)];

    g_snprintf(line, sizeof lines[0], "linewidth 2 linecolor rgb '%s' dashtype %s pointtype %u",
               colours[i % N_STYLES], dashes[i % G_N_ELEMENTS(dashes)],
               points[(i + i / N_STYLES) % N_STYLES]);
    return line;
}

const char *ferry_figure_point(unsigned i)
{
    static char words[N_STYLES * N_STYLES][64];
    char *word = words[i % G_N_ELEMENTS(words)];

    g_snprintf(word, sizeof words[0], "linewidth 1.5 linecolor rgb '%s' pointtype %u",
               colours[i % N_STYLES], points[(i + i / N_STYLES) % N_STYLES]);
    return word;
}

unsigned ferry_figure_series(const FerryResults *results)
{
    return MIN(results->policies->len, FERRY_FIGURE_SERIES_MAX);
}

double ferry_figure_byte_unit(double most, const char **out_unit)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double divisor = 1;
    unsigned i = 0;

    while (most / divisor >= 2048 && i + 1 < G_N_ELEMENTS(units)) {
        divisor *= 1024;
        i++;
    }
    *out_unit = units[i];
    return divisor;
}

double ferry_figure_time_unit(double most, const char **out_unit)
{
    *out_unit = most >= 2000 ? "s" : "ms";
    return most >= 2000 ? 1000 : 1;
}

char *ferry_figure_every(FerryFigure *figure, guint rows)
{
    guint step = (rows + POINTS_MAX - 1) / POINTS_MAX;

    if (step <= 1) {
        return g_strdup("");
    }
    g_autofree char *caption = figure->caption;
    figure->caption = g_strdup_printf("%s Of %u points one in %u is drawn.", caption, rows, step);
    return g_strdup_printf(" every %u", step);
}

void ferry_figure_scale(FerryFigure *figure, const char *axis, double least, double most)
{
    if (least > 0 && most / least >= 30) {
        g_string_append_printf(figure->plot, "set logscale %s\n", axis);
    }
}

/* gnuplot puts as many names into a row as one of the two plots is wide. */
static unsigned key_rows(const FerryResults *results)
{
    unsigned series = ferry_figure_series(results);
    glong longest = 0;

    for (unsigned i = 0; i < series; i++) {
        longest = MAX(longest, g_utf8_strlen(results->policies->pdata[i], -1));
    }
    return longest <= 8 ? (series + 1) / 2 : series;
}

void ferry_figure_first_of_two(FerryFigure *figure, const FerryResults *results)
{
    unsigned rows = key_rows(results);

    figure->height += 18 * (rows - 1);
    g_string_append_printf(
        figure->plot,
        "set multiplot layout 1,2\nset tmargin %.1f\nset key at screen 0.05, screen "
        "0.99 left top horizontal reverse Left width 2 noenhanced\n",
        1.5 + 1.3 * rows);
}

void ferry_figure_second(FerryFigure *figure) { g_string_append(figure->plot, "unset key\n"); }

static void append_comment(GString *script, const char *text)
{
    g_autofree char *clean = ferry_figure_clean(text, 0);

    /* A backslash at a line's end would make the next line part of it. */
    g_string_append_printf(script, "# %s.\n", g_strdelimit(clean, "\\", '/'));
}

static void append_terminal(GString *script, const FerryFigure *figure, gboolean is_svg)
{
    if (is_svg) {
        g_string_append_printf(script,
                               "set terminal svg size %u,%u font 'sans-serif,13' noenhanced "
                               "background '#ffffff'\nset output '../%s.svg'\n",
                               figure->width, figure->height, figure->name);
    } else {
        g_string_append_printf(script,
                               "set terminal pngcairo size %u,%u font 'sans-serif,10' fontscale 2 "
                               "linewidth 2 pointscale 2 noenhanced background '#ffffff'\n"
                               "set output '../%s.png'\n",
                               2 * figure->width, 2 * figure->height, figure->name);
    }
}

char *ferry_figure_script(const FerryFigure *figure, unsigned formats)
{
    g_autoptr(GString) script = g_string_new(NULL);

    append_comment(script, figure->title);
    g_string_append_printf(script,
                           "# gnuplot --default-settings %s.gp, in this folder, draws it again.\n"
                           "data = '%s.csv'\n",
                           figure->name, figure->name);
    for (unsigned format = FERRY_FIGURE_SVG; format <= FERRY_FIGURE_PNG; format <<= 1) {
        if (!(formats & format)) {
            continue;
        }
        g_string_append(script, "\nreset\n"
                                "set encoding utf8\n"
                                "set datafile separator comma\n"
                                "set key tmargin left horizontal reverse Left width 2 noenhanced\n"
                                "set border 3 linewidth 1 linecolor rgb '#444444'\n"
                                "set grid linewidth 0.5 linecolor rgb '#cccccc' dashtype 1\n"
                                "set tics nomirror out\n"
                                "set pointsize 0.8\n"
                                "set offsets graph 0.03, graph 0.03, 0, 0\n");
        g_string_append(script, figure->setup->str);
        append_terminal(script, figure, format == FERRY_FIGURE_SVG);
        g_string_append(script, figure->plot->str);
        g_string_append(script, "unset output\n");
    }
    return g_string_free(g_steal_pointer(&script), FALSE);
}

/* The last line of what gnuplot complains about says most. */
static char *last_line(char *text)
{
    g_strchomp(text);
    char *newline = strrchr(text, '\n');
    return g_strstrip(newline ? newline + 1 : text);
}

static gboolean run(const char *gnuplot, const char *folder, const char *script, GError **error)
{
    char *argv[] = {(char *)gnuplot, "--default-settings", (char *)script, NULL};
    g_auto(GStrv) environment = g_environ_setenv(g_get_environ(), "LC_ALL", "C", TRUE);
    g_autofree char *complaint = NULL;
    g_autoptr(GError) why = NULL;
    int status;

    environment = g_environ_unsetenv(environment, "GNUTERM");
    if (!g_spawn_sync(folder, argv, environment, G_SPAWN_STDOUT_TO_DEV_NULL, NULL, NULL, NULL,
                      &complaint, &status, error)) {
        return FALSE;
    }
    if (!g_spawn_check_wait_status(status, &why)) {
        g_set_error(error, G_FILE_ERROR, G_FILE_ERROR_FAILED, "gnuplot %s/%s: %s", folder, script,
                    *complaint ? last_line(complaint) : why->message);
        return FALSE;
    }
    return TRUE;
}

gboolean ferry_figure_draw(const FerryFigure *figure, const char *gnuplot, const char *directory,
                           unsigned formats, GError **error)
{
    g_autofree char *folder = g_build_filename(directory, "data", NULL);
    g_autofree char *csv_name = g_strconcat(figure->name, ".csv", NULL);
    g_autofree char *gp_name = g_strconcat(figure->name, ".gp", NULL);
    g_autofree char *csv = g_build_filename(folder, csv_name, NULL);
    g_autofree char *gp = g_build_filename(folder, gp_name, NULL);
    g_autofree char *script = ferry_figure_script(figure, formats);

    return g_file_set_contents(csv, figure->csv->str, (gssize)figure->csv->len, error) &&
           g_file_set_contents(gp, script, -1, error) && run(gnuplot, folder, gp_name, error);
}
