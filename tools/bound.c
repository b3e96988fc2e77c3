/* ferry bound: what no order of sending can beat on a trace. */
#include <stdio.h>
#include <string.h>
#include "tools/format.h"
#include "tools/result-line.h"
#include "tools/verb.h"
#include "trace/bounds.h"

#define ROWS 500u

typedef struct {
    char *bandwidth, *switchover, *limit, *fixed, *page, *from, *until;
    gboolean packed, json;
    const char *path;
    char **command; /* as it was given */
} Options;

static void options_clear(Options *o)
{
    char *texts[] = {o->bandwidth, o->switchover, o->limit, o->fixed, o->page, o->from, o->until};

    for (gsize i = 0; i < G_N_ELEMENTS(texts); i++) {
        g_free(texts[i]);
    }
    g_strfreev(o->command);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Options, options_clear)

/* At a frame's end, since the migration began. */
typedef struct {
    uint64_t ns, low, high, causal;
} Row;

typedef struct {
    FerryBoundsInput input;
    uint64_t from_ns, until_ns;
    gboolean want_rows;
    uint64_t row_frames; /* a row for so many frames */
} Task;

typedef struct {
    FerryTraceFile *file;
    FerryTraceReader *reader;
    FerryBounds *bounds;
    uint8_t *classes; /* before the migration begins; NULL: none is known */
    uint64_t n_classes;
    uint64_t frames, begin_ns, length_ns, ram_pages;
    FerryTraceNext end;
    GError *damage;
    GArray *rows;
} Run;

static void run_clear(Run *r)
{
    ferry_bounds_free(r->bounds);
    ferry_trace_reader_free(r->reader);
    ferry_trace_file_free(r->file);
    g_free(r->classes);
    g_clear_error(&r->damage);
    g_array_unref(r->rows);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Run, run_clear)

static gboolean usage(GError **error, const char *why)
{
    g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, why);
    return FALSE;
}

static gboolean parse(const Options *o, Task *t, GError **error)
{
    uint64_t page = 0;

    *t = (Task){
        .input = {.downtime_limit_ns = 300000000, .packed = o->packed},
        .until_ns = UINT64_MAX,
        .want_rows = o->json,
        .row_frames = 1
    };
    if (!o->bandwidth) {
        return usage(error, "--bandwidth is needed");
    }
    if (!ferry_parse_rate(o->bandwidth, &t->input.bytes_per_second, error) ||
        (o->switchover &&
         !ferry_parse_rate(o->switchover, &t->input.switchover_bytes_per_second, error)) ||
        (o->limit && !ferry_parse_ns(o->limit, &t->input.downtime_limit_ns, error)) ||
        (o->fixed && !ferry_parse_ns(o->fixed, &t->input.fixed_ns, error)) ||
        (o->page && !ferry_parse_size(o->page, &page, error)) ||
        (o->from && !ferry_parse_ns(o->from, &t->from_ns, error)) ||
        (o->until && !ferry_parse_ns(o->until, &t->until_ns, error))) {
        return FALSE;
    }
    if (t->input.bytes_per_second < 1024 ||
        (o->switchover && t->input.switchover_bytes_per_second < 1024)) {
        return usage(error, "--bandwidth and --switchover-bandwidth are 1 KiB/s or more");
    }
    if (o->page && (page == 0 || page > (1u << 31))) {
        return usage(error, "--page-wire-bytes is 1 to 2 GiB");
    }
    if (t->until_ns <= t->from_ns) {
        return usage(error, "--until is not behind --from");
    }
    t->input.page_wire_bytes = (uint32_t)page;
    return TRUE;
}

static gboolean no_memory(GError **error, uint64_t pages)
{
    g_set_error(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_FORMAT,
                "there is no memory for the bounds of %" G_GUINT64_FORMAT " pages", pages);
    return FALSE;
}

static gboolean open_trace(Run *r, const Options *o, GError **error)
{
    FerryTraceInput input;

    r->file = ferry_trace_file_open(o->path, error);
    if (!r->file) {
        return FALSE;
    }
    input = ferry_trace_file_input(r->file);
    r->reader = ferry_trace_reader_new(&input, error);
    if (!r->reader) {
        g_prefix_error(error, "%s: ", o->path);
        return FALSE;
    }
    return TRUE;
}

/* What pages hold at first, as far as the trace says. */
static gboolean read_classes(Run *r, GError **error)
{
    uint64_t n = ferry_trace_header_pages(ferry_trace_reader_header(r->reader));

    r->n_classes = n;
    if (ferry_trace_reader_classes_end(r->reader) == 0) {
        return TRUE;
    }
    r->classes = g_try_malloc(MAX(n, 1));
    return r->classes ? ferry_trace_reader_classes(r->reader, 0, n, r->classes, error)
                      : no_memory(error, n);
}

/* Before the migration begins only what pages hold matters. */
static gboolean note_classes(Run *r, const FerryTraceFrame *f, GError **error)
{
    uint64_t at = 0;

    if (f->classes && !r->classes) {
        r->classes = g_try_malloc(MAX(r->n_classes, 1));
        if (!r->classes) {
            return no_memory(error, r->n_classes);
        }
        memset(r->classes, FERRY_TRACE_CLASS_UNKNOWN, r->n_classes);
    }
    for (uint64_t i = 0; r->classes && i < f->n_runs; i++) {
        for (uint64_t p = f->runs[i].first; p < f->runs[i].first + f->runs[i].n; p++, at++) {
            if (p < r->n_classes) {
                r->classes[p] = f->classes ? f->classes[at] : FERRY_TRACE_CLASS_UNKNOWN;
            }
        }
    }
    return TRUE;
}

static gboolean begin(Run *r, const Task *t, GError **error)
{
    const FerryTraceHeader *h = ferry_trace_reader_header(r->reader);
    uint64_t pages = ferry_trace_header_pages(h);

    /* Blocks that came with the frames before are there, of unknown content. */
    r->bounds = ferry_bounds_new(MIN(pages, r->n_classes), h->page_bytes, r->classes, &t->input);
    if (!r->bounds || !ferry_bounds_grow(r->bounds, pages)) {
        return no_memory(error, pages);
    }
    g_clear_pointer(&r->classes, g_free);
    return TRUE;
}

static void add_row(Run *r, Task *t)
{
    FerryBracket left = ferry_bounds_residual(r->bounds);
    Row row = {r->length_ns, left.low, left.high, ferry_bounds_causal(r->bounds)};

    if (r->rows->len == 2 * ROWS) { /* there are more than was thought: every other one */
        for (guint i = 0; i < ROWS; i++) {
            g_array_index(r->rows, Row, i) = g_array_index(r->rows, Row, 2 * i + 1);
        }
        g_array_set_size(r->rows, ROWS);
        t->row_frames *= 2;
    }
    g_array_append_val(r->rows, row);
}

static gboolean take_frame(Run *r, Task *t, const FerryTraceFrame *f, GError **error)
{
    if (f->begin_ns < t->from_ns) {
        return note_classes(r, f, error);
    }
    if (!r->bounds) {
        r->begin_ns = f->begin_ns;
        if (!begin(r, t, error)) {
            return FALSE;
        }
    }
    if (!ferry_bounds_frame(r->bounds, f)) {
        return no_memory(error, ferry_trace_header_pages(ferry_trace_reader_header(r->reader)));
    }
    r->frames++;
    r->length_ns += f->span_ns;
    if (t->want_rows && r->frames % t->row_frames == 0) {
        add_row(r, t);
    }
    return TRUE;
}

static gboolean reckon(Run *r, Task *t, const Options *o, GError **error)
{
    FerryTraceTotals totals;
    FerryTraceFrame f;

    if (!open_trace(r, o, error)) {
        return FALSE;
    }
    if (!read_classes(r, error)) {
        g_prefix_error(error, "%s: ", o->path);
        return FALSE;
    }
    if (ferry_trace_reader_totals(r->reader, &totals)) {
        t->row_frames = totals.frames / ROWS + 1;
    }
    while ((r->end = ferry_trace_reader_next(r->reader, &f, &r->damage)) == FERRY_TRACE_FRAME &&
           f.begin_ns <= t->until_ns && f.span_ns <= t->until_ns - f.begin_ns) {
        if (!take_frame(r, t, &f, error)) {
            g_prefix_error(error, "%s: ", o->path);
            return FALSE;
        }
    }
    if (!r->bounds) {
        g_set_error(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_FORMAT, "%s: no frame %s%s%s",
                    o->path, o->from || o->until ? "lies between --from and --until" : "is in it",
                    r->damage ? ": " : "", r->damage ? r->damage->message : "");
        return FALSE;
    }
    r->ram_pages = ferry_trace_header_pages(ferry_trace_reader_header(r->reader));
    return TRUE;
}

static const char *verdict(const Run *r, const Task *t)
{
    FerryBracket shortest = ferry_bounds_shortest(r->bounds);

    return shortest.low > t->input.downtime_limit_ns     ? "impossible"
           : shortest.high <= t->input.downtime_limit_ns ? "possible"
                                                         : "open";
}

static char *ms_text(uint64_t ns) { return ferry_format_ms((double)ns / 1e6); }

/* Free with g_free: "3.1 s to 3.2 s", "3.1 s", "never". */
static char *times(FerryBracket ns)
{
    g_autofree char *low = ms_text(ns.low), *high = ms_text(ns.high);

    if (ns.low == UINT64_MAX) {
        return g_strdup("never");
    }
    return strcmp(low, high) == 0
               ? g_strdup(low)
               : g_strconcat(low, " to ", ns.high == UINT64_MAX ? "never" : high, NULL);
}

static char *sizes(FerryBracket bytes)
{
    g_autofree char *low = ferry_format_bytes(bytes.low), *high = ferry_format_bytes(bytes.high);

    return strcmp(low, high) == 0 ? g_strdup(low) : g_strconcat(low, " to ", high, NULL);
}

static void print_verdict(const Run *r, const Task *t)
{
    const char *word = verdict(r, t);
    FerryBracket shortest = ferry_bounds_shortest(r->bounds);
    g_autofree char *limit = ms_text(t->input.downtime_limit_ns);
    g_autofree char *rate = ferry_format_rate(t->input.bytes_per_second);
    g_autofree char *low = ms_text(shortest.low);

    if (word[0] == 'i') {
        printf("impossible: no order of sending meets %s at %s in this trace: at least %s\n", limit,
               rate, low);
    } else if (word[0] == 'p') {
        printf("possible: some order of sending meets %s at %s\n", limit, rate);
    } else {
        printf("open: whether %s can be met at %s depends on when within its frame a page was "
               "written\n",
               limit, rate);
    }
}

/* Two for each line: what it is, and the value, which is freed. */
static void print_line(const char *what, char *value)
{
    printf("  %-34s %s\n", what, value);
    g_free(value);
}

static void print_text(const Run *r, const Task *t, const Options *o)
{
    FerryBounds *b = r->bounds;
    uint64_t causal = ferry_bounds_causal(b), frame_ns = r->length_ns / r->frames;
    FerryBracket left = ferry_bounds_residual(b), throttle = ferry_bounds_throttle(b);
    const FerryTraceHeader *h = ferry_trace_reader_header(r->reader);
    g_autofree char *ram = ferry_format_bytes(r->ram_pages * h->page_bytes);
    g_autofree char *length = ms_text(r->length_ns), *frame = ms_text(frame_ns);

    printf("%s: %s of memory, %" G_GUINT64_FORMAT " frames of %s, %s\n", o->path, ram, r->frames,
           frame, length);
    print_verdict(r, t);
    print_line("shortest downtime", times(ferry_bounds_shortest(b)));
    print_line("the limit can be met first (T*)", times(ferry_bounds_earliest(b)));
    print_line("left at the end at least (R*)", sizes(left));
    print_line("  downtime then", times(ferry_bounds_downtime(b)));
    print_line("left, the future not known (R_k)", ferry_format_bytes(causal));
    print_line("  downtime then", ms_text(ferry_bounds_downtime_of(b, causal)));
    print_line(
        "throttle that meets it at the end",
        throttle.low == 100 ? g_strdup("none does")
        : throttle.low == throttle.high
            ? g_strdup_printf("%u %%", (unsigned)throttle.low)
            : g_strdup_printf("%u to %u %%", (unsigned)throttle.low, (unsigned)throttle.high));
    print_line("data at least", ferry_format_bytes(ferry_bounds_bytes(b)));
    if (frame_ns > t->input.downtime_limit_ns / 10) {
        g_autofree char *tenth = ms_text(t->input.downtime_limit_ns / 10);
        printf("Frames are longer than a tenth of the limit, so much is left open: frames of %s "
               "would tell more.\n",
               tenth);
    }
}

/* Members of docs/results.md's line "bound". */
static void add_parameters(FerryResultLine *l, const Run *r, const Task *t, const Options *o)
{
    const FerryTraceHeader *h = ferry_trace_reader_header(r->reader);

    ferry_result_line_text(l, "trace", o->path);
    ferry_result_line_count(l, "ram_bytes", r->ram_pages * h->page_bytes);
    ferry_result_line_ms(l, "from_ms", r->begin_ns);
    ferry_result_line_ms(l, "length_ms", r->length_ns);
    ferry_result_line_count(l, "frames", r->frames);
    ferry_result_line_count(l, "bandwidth_bytes_per_second", t->input.bytes_per_second);
    ferry_result_line_count(l, "switchover_bandwidth_bytes_per_second",
                            t->input.switchover_bytes_per_second
                                ? t->input.switchover_bytes_per_second
                                : t->input.bytes_per_second);
    ferry_result_line_ms(l, "downtime_limit_ms", t->input.downtime_limit_ns);
    ferry_result_line_ms(l, "fixed_ms", t->input.fixed_ns);
    ferry_result_line_count(l, "page_wire_bytes",
                            ferry_bounds_weight(r->bounds, FERRY_TRACE_CLASS_UNKNOWN));
}

static void add_bounds(FerryResultLine *l, const Run *r, const Task *t)
{
    FerryBracket left = ferry_bounds_residual(r->bounds);
    FerryBracket earliest = ferry_bounds_earliest(r->bounds);
    FerryBracket shortest = ferry_bounds_shortest(r->bounds);
    FerryBracket throttle = ferry_bounds_throttle(r->bounds);

    ferry_result_line_count(l, "clairvoyant_low_bytes", left.low);
    ferry_result_line_count(l, "clairvoyant_high_bytes", left.high);
    ferry_result_line_count(l, "causal_bytes", ferry_bounds_causal(r->bounds));
    ferry_result_line_ms(l, "earliest_low_ms", earliest.low);
    ferry_result_line_ms(l, "earliest_high_ms", earliest.high);
    ferry_result_line_ms(l, "shortest_downtime_low_ms", shortest.low);
    ferry_result_line_ms(l, "shortest_downtime_high_ms", shortest.high);
    ferry_result_line_text(l, "verdict", verdict(r, t));
    ferry_result_line_count(l, "least_throttle_low_percent", throttle.low);
    ferry_result_line_count(l, "least_throttle_high_percent", throttle.high);
    ferry_result_line_count(l, "least_bytes", ferry_bounds_bytes(r->bounds));
}

static void print_json(const Run *r, const Task *t, const Options *o)
{
    FerryResultLine line;

    ferry_result_line_begin(&line, "bound");
    ferry_result_line_texts(&line, "command", (const char *const *)o->command);
    add_parameters(&line, r, t, o);
    add_bounds(&line, r, t);
    ferry_result_line_open(&line, "series", '[');
    for (guint i = 0; i < r->rows->len; i++) {
        const Row *row = &g_array_index(r->rows, Row, i);
        ferry_result_line_open(&line, NULL, '[');
        ferry_result_line_ms(&line, NULL, row->ns);
        ferry_result_line_count(&line, NULL, row->low);
        ferry_result_line_count(&line, NULL, row->high);
        ferry_result_line_count(&line, NULL, row->causal);
        ferry_result_line_close(&line, ']');
    }
    ferry_result_line_close(&line, ']');
    if (r->damage) {
        ferry_result_line_text(&line, "damage", r->damage->message);
    }
    g_autofree char *text = ferry_result_line_end(&line);
    fputs(text, stdout);
    fflush(stdout);
}

static FerryExit bound(const Options *o)
{
    g_auto(Run) r = {.rows = g_array_new(FALSE, FALSE, sizeof(Row))};
    g_autoptr(GError) error = NULL;
    Task t;

    if (!parse(o, &t, &error) || !reckon(&r, &t, o, &error)) {
        gboolean mistaken = error->domain == G_OPTION_ERROR;
        return ferry_verb_fail("bound", mistaken ? FERRY_EXIT_USAGE : FERRY_EXIT_FAILED,
                               o->json && !mistaken, "%s", error->message);
    }
    (o->json ? print_json : print_text)(&r, &t, o);
    if (r.end == FERRY_TRACE_DAMAGED) {
        fprintf(stderr, "ferry bound: %s: %s; what is said is of the part before\n", o->path,
                r.damage->message);
        return FERRY_EXIT_FAILED;
    }
    if (r.end == FERRY_TRACE_CUT) {
        fprintf(stderr, "ferry bound: %s: it was not finished; what is said is of what is there\n",
                o->path);
    }
    return verdict(&r, &t)[0] == 'i' ? FERRY_EXIT_NOT_CONVERGED : FERRY_EXIT_DONE;
}

FerryExit ferry_verb_bound(int argc, char **argv)
{
    g_auto(Options) o = {0};
    const GOptionEntry entries[] = {
        {"bandwidth",            0, 0, G_OPTION_ARG_STRING, &o.bandwidth,  "of the link",                                "RATE" },
        {"switchover-bandwidth", 0, 0, G_OPTION_ARG_STRING, &o.switchover,
         "of the link while the guest stands; the same unless given",                                                    "RATE" },
        {"downtime-limit",       0, 0, G_OPTION_ARG_STRING, &o.limit,      "300 unless given",                           "MS"   },
        {"fixed",                0, 0, G_OPTION_ARG_STRING, &o.fixed,
         "of the downtime, for all but pages; 0 unless given",                                                           "MS"   },
        {"page-wire-bytes",      0, 0, G_OPTION_ARG_STRING, &o.page,
         "of a page with its record; the page and 8 bytes unless given",                                                 "BYTES"},
        {"packed",               0, 0, G_OPTION_ARG_NONE,   &o.packed,
         "pages travel packed, to what the trace says of them",                                                          NULL   },
        {"from",                 0, 0, G_OPTION_ARG_STRING, &o.from,       "the migration begins so far into the trace",
         "MS"                                                                                                                   },
        {"until",                0, 0, G_OPTION_ARG_STRING, &o.until,      "the trace ends there",                       "MS"   },
        {"json",                 0, 0, G_OPTION_ARG_NONE,   &o.json,       "one JSON object",                            NULL   },
        G_OPTION_ENTRY_NULL,
    };

    g_autoptr(GStrvBuilder) command = g_strv_builder_new();
    g_strv_builder_add(command, "ferry");
    g_strv_builder_addv(command, (const char **)argv);
    o.command = g_strv_builder_end(command);
    if (!ferry_verb_parse(&argc, &argv, entries, "TRACE",
                          "Says what no order of sending can beat on a trace: what is left at "
                          "least, the shortest\ndowntime, when the limit can be met first, and the "
                          "least throttle. Exit status 4: the\nlimit cannot be met.",
                          1, 1)) {
        return FERRY_EXIT_USAGE;
    }
    o.path = argv[1];
    return bound(&o);
}
