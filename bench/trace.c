/* What traces cost: 64 GiB of 4 KiB pages in frames of 100 ms, written to a file and read again,
 * for patterns from an idle guest to 10 GB/s. Bytes against what the sets need at least, and bytes
 * of the file for each second of CPU time. Each pattern runs in a process of its own. */
#include <glib.h>
#include <glib/gstdio.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "trace/trace.h"

#define RAM_PAGES (UINT64_C(16) << 20)
#define SPAN_NS UINT64_C(100000000)

typedef struct {
    const char *name, *what;
    uint64_t pages; /* that are written at random: these first ones */
    double random;  /* of them in each frame, on average */
    unsigned hot;   /* pages that are in every frame */
    unsigned run;   /* the longest run, from 1 on, each as likely */
    uint64_t sweep; /* pages in a row in each frame */
    unsigned frames;
} Pattern;

static const Pattern patterns[] = {
    {"idle",       "5 MB/s, scattered",             RAM_PAGES, 128,    0,    1,  0,      6000},
    {"random-8g",  "100 MB/s over 8 GiB",           2u << 20,  2558,   0,    1,  0,      6000},
    {"hot",        "100 MB/s, 70 % the same pages", 2u << 20,  768,    1791, 1,  0,      6000},
    {"random-64g", "1 GB/s over 64 GiB",            RAM_PAGES, 26193,  0,    1,  0,      6000},
    {"runs",       "1 GB/s in runs of 16 or so",    RAM_PAGES, 1639,   0,    31, 0,      6000},
    {"sweep",      "10 GB/s in a row",              0,         0,      0,    1,  262144, 6000},
    {"random-10g", "10 GB/s over 64 GiB",           RAM_PAGES, 260112, 0,    1,  0,      600 },
};

typedef struct {
    char *pattern, *directory;
    gint level, scale;
    gboolean no_totals, json;
} Options;

typedef struct {
    uint64_t bytes, pages;
    double write_s, read_s;
} Result;

static double cpu_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double draw(uint64_t *state)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return ((double)(*state >> 11) + 0.5) / 9007199254740992.0;
}

/* A page begins a run with the same chance as any other. */
static void draw_runs(GArray *runs, uint64_t pages, double n, unsigned longest, uint64_t *state)
{
    double scale = n > 0 ? 1 / log1p(-n / (double)pages) : 0;
    uint64_t at = 0;

    for (gboolean first = TRUE; n > 0; first = FALSE) {
        at += (uint64_t)(log(draw(state)) * scale);
        if (at >= pages) {
            break;
        }
        FerryTraceRun run = {at, 1};
        FerryTraceRun *last = &g_array_index(runs, FerryTraceRun, MAX(runs->len, 1) - 1);
        if (longest > 1) {
            uint64_t length = 1 + (uint64_t)(draw(state) * longest);
            run.n = MIN(length, pages - at);
        }
        if (!first && last->first + last->n == at) {
            last->n += run.n;
        } else {
            g_array_append_val(runs, run);
        }
        at += run.n;
    }
}

/* Both ascending; runs that meet become one. */
static void merge(GArray *out, const GArray *a, const GArray *b)
{
    g_array_set_size(out, 0);
    for (guint i = 0, j = 0; i < a->len || j < b->len;) {
        const FerryTraceRun *x = i < a->len ? &g_array_index(a, FerryTraceRun, i) : NULL;
        const FerryTraceRun *y = j < b->len ? &g_array_index(b, FerryTraceRun, j) : NULL;
        gboolean take_x = x && (!y || x->first <= y->first);
        FerryTraceRun run = take_x ? *x : *y;
        FerryTraceRun *last = &g_array_index(out, FerryTraceRun, MAX(out->len, 1) - 1);

        i += take_x;
        j += !take_x;
        if (out->len && run.first <= last->first + last->n) {
            last->n = MAX(last->n, run.first + run.n - last->first);
        } else {
            g_array_append_val(out, run);
        }
    }
}

static void frame_of(const Pattern *p, unsigned i, const GArray *hot, GArray *scratch, GArray *out,
                     uint64_t *state)
{
    if (p->sweep) {
        FerryTraceRun run = {i * p->sweep % RAM_PAGES, p->sweep};

        g_array_set_size(out, 0);
        g_array_append_val(out, run);
    } else {
        g_array_set_size(scratch, 0);
        draw_runs(scratch, p->pages, p->random, p->run, state);
        merge(out, scratch, hot);
    }
}

/* What the sets of all frames need at least, bytes. */
static double entropy(const Pattern *p, unsigned frames)
{
    double share = p->pages ? p->random / (double)p->pages : 0;
    double bits = share > 0 ? -(share * log2(share) + (1 - share) * log1p(-share) / log(2)) : 0;

    return frames * (bits * (double)p->pages + p->random * log2(p->run)) / 8;
}

static gboolean write_trace(const Pattern *p, unsigned frames, const Options *o, const char *path,
                            Result *out, GError **error)
{
    g_autoptr(FerryTraceHeader) header = ferry_trace_header_new();
    g_autoptr(FerryTraceFile) file = ferry_trace_file_create(path, error);
    g_autoptr(GArray) runs = g_array_new(FALSE, FALSE, sizeof(FerryTraceRun));
    g_autoptr(GArray) scratch = g_array_new(FALSE, FALSE, sizeof(FerryTraceRun));
    g_autoptr(GArray) hot = g_array_new(FALSE, FALSE, sizeof(FerryTraceRun));
    FerryTraceWriterOptions options = {.level = o->level, .no_totals = o->no_totals};
    uint64_t state = 7;

    if (!file) {
        return FALSE;
    }
    header->method = g_strdup("synthetic");
    ferry_trace_header_add(header, "ram", RAM_PAGES);
    draw_runs(hot, MAX(p->pages, 1), p->hot, 1, &state);
    double begin = cpu_s();
    FerryTraceSink sink = ferry_trace_file_sink(file);
    g_autoptr(FerryTraceWriter) w = ferry_trace_writer_new(header, &sink, &options, error);
    out->write_s = cpu_s() - begin;
    for (unsigned i = 0; w && i < frames; i++) {
        frame_of(p, i, hot, scratch, runs, &state);
        FerryTraceFrame frame = FERRY_TRACE_FRAME_INIT;
        frame.span_ns = SPAN_NS;
        frame.runs = (const FerryTraceRun *)(const void *)runs->data;
        frame.n_runs = runs->len;
        begin = cpu_s();
        if (!ferry_trace_writer_frame(w, &frame, error)) {
            return FALSE;
        }
        out->write_s += cpu_s() - begin;
        for (guint j = 0; j < runs->len; j++) {
            out->pages += frame.runs[j].n;
        }
    }
    begin = cpu_s();
    gboolean good =
        w && ferry_trace_writer_end(w, NULL, error) && ferry_trace_file_commit(file, error);
    out->write_s += cpu_s() - begin;
    out->bytes = w ? ferry_trace_writer_bytes(w) : 0;
    return good;
}

static gboolean read_trace(const char *path, unsigned frames, Result *out, GError **error)
{
    double begin = cpu_s();
    g_autoptr(FerryTraceFile) file = ferry_trace_file_open(path, error);
    uint64_t pages = 0, n = 0;
    FerryTraceNext next = FERRY_TRACE_DAMAGED;
    FerryTraceFrame frame;

    if (!file) {
        return FALSE;
    }
    FerryTraceInput input = ferry_trace_file_input(file);
    g_autoptr(FerryTraceReader) r = ferry_trace_reader_new(&input, error);
    while (r && (next = ferry_trace_reader_next(r, &frame, error)) == FERRY_TRACE_FRAME) {
        pages += frame.n_pages;
        n++;
    }
    out->read_s = cpu_s() - begin;
    return next == FERRY_TRACE_END && pages == out->pages && n == frames;
}

static void print(const Pattern *p, unsigned frames, const Options *o, const Result *r,
                  uint64_t peak_bytes)
{
    double least = entropy(p, frames), megabytes = (double)r->bytes / 1e6;

    if (o->json) {
        printf("{\"pattern\": \"%s\", \"frames\": %u, \"pages\": %" G_GUINT64_FORMAT
               ", \"bytes\": %" G_GUINT64_FORMAT ", \"entropy_bytes\": %.0f, "
               "\"write_bytes_per_second\": %.0f, \"read_bytes_per_second\": %.0f, "
               "\"write_cpu_ms\": %.1f, \"read_cpu_ms\": %.1f, \"peak_bytes\": %" G_GUINT64_FORMAT
               "}\n",
               p->name, frames, r->pages, r->bytes, least, (double)r->bytes / r->write_s,
               (double)r->bytes / r->read_s, r->write_s * 1e3, r->read_s * 1e3, peak_bytes);
    } else {
        printf("%-11s %-30s %8.1f %9.2f %7.2f %8.1f %8.1f %8.2f %8.2f %6.0f\n", p->name, p->what,
               (double)r->pages / frames, megabytes, least > 0 ? (double)r->bytes / least : 0.0,
               megabytes / r->write_s, megabytes / r->read_s, r->write_s, r->read_s,
               (double)peak_bytes / 1048576);
    }
    fflush(stdout);
}

/* In a child: what it used at most is this pattern's alone. */
static gboolean measure(const Pattern *p, const Options *o)
{
    unsigned frames = MAX(p->frames * (unsigned)o->scale / 100, 1);
    g_autofree char *path = g_strdup_printf("%s/bench-%d.pdt", o->directory, (int)getpid());
    g_autoptr(GError) error = NULL;
    Result result = {0};
    struct rusage usage;
    gboolean good = write_trace(p, frames, o, path, &result, &error) &&
                    read_trace(path, frames, &result, &error);

    g_unlink(path);
    if (!good) {
        fprintf(stderr, "%s: %s\n", p->name, error ? error->message : "not what was written");
        return FALSE;
    }
    getrusage(RUSAGE_SELF, &usage);
    print(p, frames, o, &result, (uint64_t)usage.ru_maxrss * 1024);
    return TRUE;
}

int main(int argc, char **argv)
{
    Options o = {.scale = 100};
    const GOptionEntry entries[] = {
        {"pattern",   0, 0, G_OPTION_ARG_STRING,   &o.pattern,   "only this one",      "NAME"   },
        {"directory", 0, 0, G_OPTION_ARG_FILENAME, &o.directory, "for the files",      "PATH"   },
        {"level",     0, 0, G_OPTION_ARG_INT,      &o.level,     "of zstd",            "N"      },
        {"scale",     0, 0, G_OPTION_ARG_INT,      &o.scale,     "of the frames, 100", "PERCENT"},
        {"no-totals", 0, 0, G_OPTION_ARG_NONE,     &o.no_totals, "count nothing",      NULL     },
        {"json",      0, 0, G_OPTION_ARG_NONE,     &o.json,      "a line each",        NULL     },
        G_OPTION_ENTRY_NULL,
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) error = NULL;
    gboolean good = TRUE;

    g_option_context_add_main_entries(context, entries, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error) || o.scale < 1) {
        fprintf(stderr, "%s\n", error ? error->message : "--scale is 1 or more");
        return 2;
    }
    o.directory = o.directory ? o.directory : g_strdup(g_get_tmp_dir());
    if (!o.json) {
        printf("%-11s %-30s %8s %9s %7s %8s %8s %8s %8s %6s\n", "pattern", "", "pages/fr", "MB",
               "x least", "write", "read MB/s", "write s", "read s", "MiB");
        fflush(stdout);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(patterns); i++) {
        int status = 0;
        pid_t child;

        if (o.pattern && strcmp(o.pattern, patterns[i].name) != 0) {
            continue;
        }
        child = fork();
        if (child == 0) {
            _exit(measure(&patterns[i], &o) ? 0 : 1);
        }
        good = child > 0 && waitpid(child, &status, 0) == child && status == 0 && good;
    }
    g_free(o.directory);
    g_free(o.pattern);
    return good ? 0 : 1;
}
