/* ferry report: results (figures-results) and traces (figures-trace) become figures (figures-figure
 * draws them by gnuplot), tables (figures-table) and a page (figures-page). */
#pragma once
#include <glib.h>
#include <json-glib/json-glib.h>
#include <math.h>
#include <stdint.h>

G_BEGIN_DECLS

/* The numbers of a run, and of a round, under the names of docs/results.md. */
typedef enum {
    FERRY_RUN_TOTAL_MS,
    FERRY_RUN_PRECOPY_MS,
    FERRY_RUN_CONVERGENCE_MS,
    FERRY_RUN_DOWNTIME_MS,
    FERRY_RUN_PREDICTED_MS,
    FERRY_RUN_LIMIT_MS,
    FERRY_RUN_PAUSE_MS,
    FERRY_RUN_LAST_ROUND_MS,
    FERRY_RUN_DEVICE_STATE_MS,
    FERRY_RUN_LOAD_MS,
    FERRY_RUN_START_MS,
    FERRY_RUN_WIRE_BYTES,
    FERRY_RUN_RAM_BYTES,
    FERRY_RUN_AMPLIFICATION,
    FERRY_RUN_AMPLIFICATION_ORACLE,
    FERRY_RUN_ROUNDS,
    FERRY_RUN_SENT_PAGES,
    FERRY_RUN_ZERO_PAGES,
    FERRY_RUN_PACKED_PAGES,
    FERRY_RUN_FALSE_DIRTY_PAGES,
    FERRY_RUN_RESIDUAL_PAGES,
    FERRY_RUN_BANDWIDTH,
    FERRY_RUN_THROTTLE_INTEGRAL,
    FERRY_RUN_THROTTLE_MAX,
    FERRY_RUN_FIRST_VERDICT_MS,
    FERRY_RUN_FLOOR_MS,
    FERRY_RUN_SOURCE_CPU_MS,
    FERRY_RUN_DESTINATION_CPU_MS,
    FERRY_RUN_RESIDUAL_BYTES,
    FERRY_RUN_CLAIRVOYANT_LOW,
    FERRY_RUN_CLAIRVOYANT_HIGH,
    FERRY_RUN_CAUSAL_BYTES,
    FERRY_RUN_RATIO_CLAIRVOYANT,
    FERRY_RUN_RATIO_CAUSAL,
    FERRY_RUN_EARLIEST_LOW_MS,
    FERRY_RUN_EARLIEST_HIGH_MS,
    FERRY_RUN_SHORTEST_LOW_MS,
    FERRY_RUN_SHORTEST_HIGH_MS,
    FERRY_RUN_THROTTLE_LOW,
    FERRY_RUN_THROTTLE_HIGH,
    FERRY_N_RUN_VALUES,
} FerryRunValue;

typedef enum {
    FERRY_ROUND_NUMBER,
    FERRY_ROUND_T_MS,
    FERRY_ROUND_DURATION_MS,
    FERRY_ROUND_SENT_PAGES,
    FERRY_ROUND_ZERO_PAGES,
    FERRY_ROUND_PACKED_PAGES,
    FERRY_ROUND_DEFERRED_PAGES,
    FERRY_ROUND_FALSE_DIRTY_PAGES,
    FERRY_ROUND_DIRTIED_PAGES,
    FERRY_ROUND_SENT_BYTES,
    FERRY_ROUND_REMAINING_BYTES,
    FERRY_ROUND_THRESHOLD_BYTES,
    FERRY_ROUND_BYTES_PER_SECOND,
    FERRY_ROUND_DIRTY_PAGES_PER_SECOND,
    FERRY_ROUND_THROTTLE_PERCENT,
    FERRY_ROUND_EXPECTED_DOWNTIME_MS,
    FERRY_N_ROUND_VALUES,
} FerryRoundValue;

const char *ferry_run_value_name(FerryRunValue value);     /* "bounds.causal_bytes" */
const char *ferry_round_value_name(FerryRoundValue value); /* "sent_pages" */

typedef struct {
    double values[FERRY_N_ROUND_VALUES]; /* NAN: not known */
} FerryResultRound;

typedef struct {
    char *id, *kind, *policy, *input, *outcome, *why; /* "" where the file says nothing */
    char *seed, *command;                             /* of a shell */
    unsigned file, policy_index;
    const char *series; /* results->policies[policy_index] */
    gboolean is_known;  /* there was a line of type run, not only rounds */
    double values[FERRY_N_RUN_VALUES];
    GHashTable *parameters; /* name -> text: everything else that the line says */
    GHashTable
        *given; /* those of them that are options, both borrowed; what else differs was measured */
    GArray *rounds; /* FerryResultRound, by number */
} FerryResultRun;

/* One line of type bound. */
typedef struct {
    char *trace, *command;
    double bandwidth; /* NAN: not known */
    GArray *series;   /* double[4]: t_ms, low, high, causal */
} FerryResultBound;

/* All files together. Names are in the order in which they were met. */
typedef struct {
    GPtrArray *files; /* char *, as they were given */
    GPtrArray *runs;  /* FerryResultRun */
    GPtrArray
        *policies;     /* char *: "ferry", or "ferry, replay" if there are several kinds of runs */
    gboolean is_mixed; /* there are several */
    GPtrArray *parameters; /* char *: names of parameters of any run */
    GPtrArray *bounds;     /* FerryResultBound */
    GPtrArray *sweeps;     /* char *: the commands of sweeps */
    GHashTable *swept;     /* indices of files that have a sweep, plus 1 */
    GPtrArray *hosts;      /* char *: where it ran, for people */
    GPtrArray *notes;      /* char *: what was left out, and why */
    GHashTable *by_id;     /* "FILE ID" -> FerryResultRun, borrowed */
    GHashTable *parameter_names;
} FerryResults;

FerryResults *ferry_results_new(void);
/* Empty ones, which some results will own. */
FerryResultRun *ferry_result_run_new(const char *id, unsigned file);
FerryResultBound *ferry_result_bound_new(void);
/* Adds the JSON lines of @path. Everything in them is checked: errors name file and line. */
gboolean ferry_results_read(FerryResults *results, const char *path, GError **error);
/* Drops rounds without a run, and says so; names policies. After the last file. */
void ferry_results_finish(FerryResults *results);
void ferry_results_free(FerryResults *results);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryResults, ferry_results_free)

/* A member's name without its unit, and the unit ("_ms"); of sizes in a model's words too. */
char *ferry_result_plain_name(const char *name, const char **out_unit);
gboolean ferry_result_is_done(const FerryResultRun *run);
/* The median of what @run's rounds say of @value; of those that sent something, as the others are
 * too short to have rates. */
double ferry_result_over_rounds(const FerryResultRun *run, FerryRoundValue value);
gboolean ferry_result_is_idle(const FerryResultRound *round);
/* Of a page, for rates that are told in pages: the run's page_bytes, else 4096. */
double ferry_result_page_bytes(const FerryResultRun *run);
/* JSON's array of arguments as a line for a shell. Free with g_free. */
char *ferry_result_command(JsonNode *arguments);

/* Some numbers, for quantiles. NAN is not added. */
void ferry_numbers_add(GArray *numbers, double value);
void ferry_numbers_sort(GArray *numbers);
/* Of sorted @numbers: the least one that @share of them do not exceed; NAN of none. */
double ferry_numbers_quantile(const GArray *numbers, double share);
/* The mean of the middle two where there is no middle one. */
double ferry_numbers_median(const GArray *numbers);

/* One figure: data as CSV, gnuplot's words for it, and what people should know. */
typedef struct {
    char *name; /* of its files: letters, digits, - */
    char *title, *caption;
    unsigned width, height; /* of the SVG; a PNG has twice as many pixels */
    GString *csv, *setup, *plot;
    GPtrArray *runs;     /* FerryResultRun, borrowed: whom it shows; NULL: all */
    GPtrArray *commands; /* char *: what made it, if no run did */
} FerryFigure;
FerryFigure *ferry_figure_new(const char *name, const char *title, unsigned height);
void ferry_figure_free(FerryFigure *figure);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryFigure, ferry_figure_free)
/* A field of CSV, and what ends it: ',' or '\n'. NAN: empty. */
void ferry_csv_number(GString *csv, double value, char end);
void ferry_csv_text(GString *csv, const char *text, char end);
/* @text in gnuplot's quotes: nothing in it means anything to gnuplot. At most @most letters. */
char *ferry_figure_quote(const char *text, unsigned most);
/* "linecolor ... dashtype ... pointtype ..." of series @i: told apart without colours as well. */
const char *ferry_figure_line(unsigned i);
const char *ferry_figure_point(unsigned i);
/* The unit and divisor that suit bytes up to @most: 1073741824 and "GiB". */
double ferry_figure_byte_unit(double most, const char **out_unit);
/* The same for milliseconds: ms or s. */
double ferry_figure_time_unit(double most, const char **out_unit);
/* Two plots side by side under one key; the second begins behind ferry_figure_second. */
void ferry_figure_first_of_two(FerryFigure *figure, const FerryResults *results);
void ferry_figure_second(FerryFigure *figure);
/* " every N" if @rows are more points than a figure can show, and the caption says so; else "". */
char *ferry_figure_every(FerryFigure *figure, guint rows);
/* "set logscale AXIS" when [least, most] spans more than it is pleasant without. */
void ferry_figure_scale(FerryFigure *figure, const char *axis, double least, double most);

/* So many policies are drawn; figures of more cannot be read. */
#define FERRY_FIGURE_SERIES_MAX 12u
unsigned ferry_figure_series(const FerryResults *results);

typedef enum {
    FERRY_FIGURE_SVG = 1,
    FERRY_FIGURE_PNG = 2,
} FerryFigureFormats;
/* The script; it is run in the folder that has the CSV, and writes to the one above. */
char *ferry_figure_script(const FerryFigure *figure, unsigned formats);
/* Writes CSV and script into @directory/data and runs @gnuplot on them. */
gboolean ferry_figure_draw(const FerryFigure *figure, const char *gnuplot, const char *directory,
                           unsigned formats, GError **error);

/* gnuplot's SVG as it may stand inside a page: only elements that draw, names made unique by
 * @prefix. */
char *ferry_figure_inline_svg(const char *svg, size_t n, const char *prefix, GError **error);

/* What there is to see in @results; NULL where there is nothing. Each adds to @figures. */
typedef struct {
    const FerryResults *results;
    char **chosen;      /* ids of runs to be shown over time; NULL: one per policy */
    GPtrArray *figures; /* FerryFigure */
    GPtrArray *notes;   /* char * */
} FerryFigureTask;
#define FERRY_FIGURE_PANELS_MAX 6u
/* Those that were named; else all if they are few; else one of each policy, of the same case. */
gboolean ferry_figures_choose(const FerryFigureTask *task, GPtrArray *chosen, GError **error);
/* Of each policy the run that was slowed most, unless runs were named: then those. New. */
GPtrArray *ferry_figures_most_throttled(const FerryFigureTask *task, GPtrArray *chosen);
gboolean ferry_figures_over_time(FerryFigureTask *task, GError **error);
void ferry_figures_of_downtime(FerryFigureTask *task);
void ferry_figures_of_parameters(FerryFigureTask *task);
void ferry_figures_of_bounds(FerryFigureTask *task);
/* The working set and the heat map of trace number @index. */
gboolean ferry_figures_of_trace(FerryFigureTask *task, unsigned index, const char *path,
                                GError **error);

/* HTML tables of metrics by policy, and of runs; runs.csv with everything. */
void ferry_figures_metrics(const FerryResults *results, GString *html);
void ferry_figures_runs(const FerryResults *results, GString *html);
char *ferry_figures_runs_csv(const FerryResults *results);
/* @text with what HTML gives a meaning escaped, and what steers text removed. */
void ferry_html_text(GString *html, const char *text);
/* The whole page. Reads the drawn files of @directory. */
char *ferry_figures_page(const FerryFigureTask *task, const char *title, const char *directory,
                         unsigned formats, GError **error);

/* Letters that are shown: no control characters, no marks that turn text around; cut with an
 * ellipsis behind @most letters (0: never). */
char *ferry_figure_clean(const char *text, unsigned most);

G_END_DECLS
