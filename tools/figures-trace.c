/* A trace: how many distinct pages windows hold, and which pages are written when. */
#include <string.h>
#include "tools/figures.h"
#include "trace/trace.h"

#define COLUMNS 160u
#define ROWS 96u
#define NAMES_MAX 8u

/* Pages written, by time and by range of pages. */
typedef struct {
    double cells[COLUMNS][ROWS];
    double pages[COLUMNS];
    uint64_t total_pages, length_ns;
    unsigned columns, rows;
} Map;

static double row_begin(const Map *map, unsigned row)
{
    return (double)map->total_pages * row / map->rows;
}

static void add_run(Map *map, unsigned column, double share, const FerryTraceRun *run)
{
    double first = (double)run->first, end = first + (double)run->n;
    double per_row = (double)map->total_pages / map->rows;

    for (unsigned row = (unsigned)(first / per_row); row < map->rows; row++) {
        double from = fmax(first, row_begin(map, row)), to = fmin(end, row_begin(map, row + 1));
        if (row_begin(map, row) >= end) {
            break;
        }
        map->cells[column][row] += to > from ? (to - from) * share : 0;
    }
}

/* A frame that reaches over several columns gives each its share. */
static void add_frame(Map *map, const FerryTraceFrame *frame)
{
    double per_column = (double)map->length_ns / map->columns;
    double begin = (double)frame->begin_ns, end = begin + (double)frame->span_ns;

    for (unsigned c = (unsigned)fmin(begin / per_column, map->columns - 1); c < map->columns; c++) {
        double from = fmax(begin, c * per_column), to = fmin(end, (c + 1) * per_column);
        double share = frame->span_ns > 0 ? (to - from) / (double)frame->span_ns : 1;
        if (share > 0) {
            for (uint64_t i = 0; i < frame->n_runs; i++) {
                add_run(map, c, share, &frame->runs[i]);
            }
            map->pages[c] += share * (double)frame->n_pages;
        }
        if ((c + 1) * per_column >= end) {
            break;
        }
    }
}

/* Every frame there is. A trace that was cut, or is damaged, counts up to there. */
static gboolean for_each_frame(FerryTraceReader *reader, Map *map, uint64_t *out_frames,
                               FerryFigureTask *task, const char *path)
{
    g_autoptr(GError) damage = NULL;
    FerryTraceFrame frame;
    FerryTraceNext next;

    *out_frames = 0;
    ferry_trace_reader_rewind(reader);
    while ((next = ferry_trace_reader_next(reader, &frame, &damage)) == FERRY_TRACE_FRAME) {
        ++*out_frames;
        if (map->columns > 0) {
            add_frame(map, &frame);
        } else {
            map->length_ns = frame.begin_ns + frame.span_ns;
        }
    }
    if (map->columns > 0 && next != FERRY_TRACE_END) {
        g_ptr_array_add(task->notes,
                        g_strdup_printf("%s ends early: %s.", path,
                                        damage ? damage->message : "it was not finished"));
    }
    return *out_frames > 0;
}

static Map *map_of(FerryTraceReader *reader, FerryFigureTask *task, const char *path)
{
    g_autofree Map *map = g_new0(Map, 1);
    uint64_t frames;

    if (!for_each_frame(reader, map, &frames, task, path) || map->length_ns == 0) {
        return NULL;
    }
    map->total_pages = ferry_trace_header_pages(ferry_trace_reader_header(reader));
    if (map->total_pages == 0) {
        return NULL;
    }
    map->columns = (unsigned)MIN(frames, COLUMNS);
    map->rows = (unsigned)MIN(map->total_pages, ROWS);
    for_each_frame(reader, map, &frames, task, path);
    return g_steal_pointer(&map);
}

static char *describe(const FerryTraceHeader *header, FerryTraceReader *reader)
{
    g_autoptr(GString) text = g_string_new(NULL);
    const char *const words[][2] = {
        {"guest",      header->guest     },
        {"workload",   header->workload  },
        {"licence",    header->licence   },
        {"provenance", header->provenance}
    };
    FerryTraceTotals totals;

    g_string_append_printf(text, "Captured by %s", header->method);
    if (header->interval_ns > 0) {
        g_string_append_printf(text, " in frames of %.4g ms", (double)header->interval_ns / 1e6);
    }
    g_string_append_printf(text, ", %.4g MiB of memory in %u blocks. ",
                           (double)ferry_trace_header_pages(header) * header->page_bytes / 1048576,
                           header->blocks->len);
    if (ferry_trace_reader_totals(reader, &totals)) {
        g_string_append_printf(text,
                               "%" G_GUINT64_FORMAT " frames in %.4g s, %" G_GUINT64_FORMAT
                               " distinct pages of %.4g MiB. ",
                               totals.frames, (double)totals.length_ns / 1e9, totals.distinct_pages,
                               (double)totals.distinct_pages * header->page_bytes / 1048576);
        if (totals.capture_ns_per_frame > 0) {
            g_string_append_printf(text, "Each frame cost %.4g ms to capture. ",
                                   (double)totals.capture_ns_per_frame / 1e6);
        }
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(words); i++) {
        if (words[i][1] && *words[i][1]) {
            g_string_append_printf(text, "%s: %s. ", words[i][0], words[i][1]);
        }
    }
    return g_string_free(g_steal_pointer(&text), FALSE);
}

static FerryFigure *trace_figure(const char *what, unsigned index, const char *path,
                                 const char *title, unsigned height)
{
    g_autofree char *name = g_strdup_printf("trace-%u-%s", index + 1, what);
    g_autofree char *base = g_path_get_basename(path);
    g_autofree char *whole = g_strdup_printf("%s: %s", title, base);
    FerryFigure *figure = ferry_figure_new(name, whole, height);

    figure->runs = g_ptr_array_new(); /* none made it */
    return figure;
}

static void add_curve(FerryFigureTask *task, FerryTraceReader *reader, unsigned index,
                      const char *path)
{
    const FerryTraceHeader *header = ferry_trace_reader_header(reader);
    const char *bytes;
    unsigned n;
    const uint64_t *curve = ferry_trace_reader_curve(reader, &n);
    double most = 0, longest = 0, shortest = INFINITY;

    for (unsigned i = 0; i < n; i++) {
        most = fmax(most, (double)curve[2 * i + 1] * header->page_bytes);
        longest = fmax(longest, (double)curve[2 * i]);
        shortest = curve[2 * i] > 0 ? fmin(shortest, (double)curve[2 * i]) : shortest;
    }
    if (n < 2 || !(most > 0)) {
        return;
    }
    FerryFigure *figure = trace_figure("curve", index, path, "Working set w(t)", 380);
    g_autofree char *about = describe(header, reader);
    double per = ferry_figure_byte_unit(most, &bytes);
    figure->caption =
        g_strdup_printf("Distinct pages that are written within a window, mean over the "
                        "trace: what a round of that length finds. Where the curve is "
                        "flat, longer rounds cost nothing. %s",
                        about);
    g_string_append(figure->csv, "window_ms,bytes\n");
    for (unsigned i = 0; i < n; i++) {
        ferry_csv_number(figure->csv, (double)curve[2 * i] / 1e6, ',');
        ferry_csv_number(figure->csv, (double)curve[2 * i + 1] * header->page_bytes, '\n');
    }
    ferry_figure_scale(figure, "x", shortest, longest);
    g_string_append_printf(
        figure->plot,
        "set yrange [0:*]\nset xlabel 'window t [s]'\nset ylabel 'w(t) [%s]'\n"
        "plot data using (column(1) / 1000):(column(2) / %.10g) with linespoints %s "
        "notitle\n",
        bytes, per, ferry_figure_line(0));
    g_ptr_array_add(task->figures, figure);
}

/* Where blocks begin, by name, as long as there are few. */
static void block_lines(FerryFigure *figure, const FerryTraceHeader *header, double per)
{
    uint64_t first = 0;

    for (guint i = 0; i < header->blocks->len && header->blocks->len <= NAMES_MAX; i++) {
        const FerryTraceBlock *block = &g_array_index(header->blocks, FerryTraceBlock, i);
        g_autofree char *name = ferry_figure_quote(block->name, 30);
        double at = (double)first * header->page_bytes / per;
        g_string_append_printf(
            figure->plot,
            "set arrow from graph 0, first %.10g to graph 1, first %.10g nohead "
            "front linewidth 0.5 dashtype (2,3) linecolor rgb '#444444'\n"
            "set label %s at graph 0.005, first %.10g offset 0,0.5 front noenhanced "
            "font ',10' textcolor rgb '#444444'\n",
            at, at, name, at);
        first += block->pages;
    }
}

/* Decades from light to dark, white for what was not written: in grey the order is the same. An
 * image cannot have holes, so logarithms are drawn, and white lies below them all. */
static void color_scale(FerryFigure *figure, double least, double most)
{
    double low = log10(least), high = fmax(log10(most), low + 0.5);
    double none = low - (high - low) / 20;
    unsigned tics = 0;

    g_string_append_printf(figure->setup,
                           "set palette defined (0 '#ffffff', 0.04 '#ffffff', 0.041 '#d6e9f5', "
                           "0.3 '#7fbde3', 0.55 '#2f8fc9', 0.8 '#00507f', 1 '#000000')\n"
                           "shade(x) = x > 0 ? log10(x) : %.10g\nset cbrange [%.10g:%.10g]\n"
                           "set cbtics (",
                           none, none, high);
    for (double decade = ceil(low); decade <= high; decade++) {
        g_string_append_printf(figure->setup, "%s'%g' %g", tics++ ? ", " : "", pow(10, decade),
                               decade);
    }
    if (tics == 0) {
        g_string_append_printf(figure->setup, "'%.2g' %.10g", most, log10(most));
    }
    g_string_append(figure->setup, ")\n");
}

static void add_map(FerryFigureTask *task, FerryTraceReader *reader, const Map *map, unsigned index,
                    const char *path)
{
    const FerryTraceHeader *header = ferry_trace_reader_header(reader);
    FerryFigure *figure = trace_figure("pages", index, path, "Which pages are written when", 560);
    g_autofree char *about = describe(header, reader);
    double seconds = (double)map->length_ns / 1e9 / map->columns;
    double per_row = (double)map->total_pages / map->rows, whole, per, least = INFINITY, most = 0;
    const char *bytes;

    whole = (double)map->total_pages * header->page_bytes;
    per = ferry_figure_byte_unit(whole, &bytes);
    figure->caption =
        g_strdup_printf("How often the pages of a range were written: writes that frames "
                        "show, for each page and second; white: none. Ranges are of "
                        "%.4g pages, columns of %.4g s. %s",
                        per_row, seconds, about);
    g_string_append(figure->csv, "t_ms,first_byte,writes_per_page_and_second\n");
    for (unsigned c = 0; c < map->columns; c++) {
        for (unsigned row = 0; row < map->rows; row++) {
            double value = map->cells[c][row] / per_row / seconds;
            ferry_csv_number(figure->csv, c * seconds * 1000, ',');
            ferry_csv_number(figure->csv, row_begin(map, row) * header->page_bytes, ',');
            ferry_csv_number(figure->csv, value, '\n');
            least = value > 0 ? fmin(least, value) : least;
            most = fmax(most, value);
        }
    }
    if (most <= 0) {
        least = most = 1;
    }
    color_scale(figure, fmax(least, most / 1e5), most);
    g_string_append(figure->setup, "unset key\nunset grid\nset lmargin 10\nset rmargin 12\n");
    block_lines(figure, header, per);
    g_string_append_printf(
        figure->plot,
        "set xrange [0:%.10g]\nset yrange [0:%.10g]\nset xlabel 'time [s]'\n"
        "set ylabel 'memory [%s]'\nset cblabel 'writes / page / s'\n"
        "plot data skip 1 using (column(1) / 1000 + %.10g):((column(2) + %.10g) / %.10g):"
        "(shade(column(3))) with image notitle\n",
        (double)map->length_ns / 1e9, whole / per, bytes, seconds / 2,
        per_row * header->page_bytes / 2, per);
    g_ptr_array_add(task->figures, figure);
}

gboolean ferry_figures_of_trace(FerryFigureTask *task, unsigned index, const char *path,
                                GError **error)
{
    g_autoptr(FerryTraceFile) file = ferry_trace_file_open(path, error);
    g_autoptr(FerryTraceReader) reader = NULL;
    g_autofree Map *map = NULL;

    if (!file) {
        return FALSE;
    }
    FerryTraceInput input = ferry_trace_file_input(file);
    reader = ferry_trace_reader_new(&input, error);
    if (!reader) {
        g_prefix_error(error, "%s: ", path);
        return FALSE;
    }
    add_curve(task, reader, index, path);
    map = map_of(reader, task, path);
    if (map) {
        add_map(task, reader, map, index, path);
    } else {
        g_ptr_array_add(task->notes, g_strdup_printf("%s has no frames.", path));
    }
    return TRUE;
}
