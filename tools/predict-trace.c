/* A trace of writes as CSV: trace/import-csv.h. A page dirty trace is predict-pdt's. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "tools/predict.h"
#include "trace/import-csv.h"

#define PAGES_MAX (UINT64_C(1) << 28) /* 1 TiB */
#define STARTS 4u

/* Pages [first, first + n), numbered through, were written by then. */
typedef struct {
    uint64_t ns;
    uint32_t first, n;
} Event;

typedef struct {
    const char *path;
    uint64_t pages;
    uint32_t page_bytes;
    GArray *events; /* Event, in order of time */
} Trace;

static void trace_clear(Trace *t) { g_array_unref(t->events); }
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Trace, trace_clear)

static gboolean bad(const Trace *t, GError **error, const char *why)
{
    g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED, "%s: %s", t->path, why);
    return FALSE;
}

static gboolean read_file(void *self, void *data, size_t n, size_t *out_n, GError **error)
{
    *out_n = fread(data, 1, n, self);
    if (*out_n == 0 && ferror(self)) {
        g_set_error_literal(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_IO, g_strerror(errno));
        return FALSE;
    }
    return TRUE;
}

static gboolean take_csv(Trace *t, const FerryCsv *csv, GError **error)
{
    g_autofree uint64_t *bases = g_new0(uint64_t, csv->names->len + 1);

    for (guint i = 0; i < csv->names->len; i++) {
        bases[i + 1] = bases[i] + g_array_index(csv->pages, uint64_t, i);
    }
    t->pages = bases[csv->names->len];
    t->page_bytes = csv->page_bytes;
    if (t->pages > PAGES_MAX) {
        return bad(t, error, "more than 1 TiB of memory");
    }
    for (guint i = 0; i < csv->events->len; i++) {
        const FerryCsvEvent *from = &g_array_index(csv->events, FerryCsvEvent, i);
        Event e = {from->ns, (uint32_t)(bases[from->block] + from->first), from->n};
        g_array_append_val(t->events, e);
    }
    return TRUE;
}

static gboolean read_csv(Trace *t, GError **error)
{
    FILE *file = fopen(t->path, "re");
    FerryTraceText text = {read_file, file};
    g_auto(FerryCsv) csv = {0};
    gboolean ok;

    if (!file) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED, "%s: %s", t->path,
                    g_strerror(errno));
        return FALSE;
    }
    ok = ferry_csv_read(&text, &csv, error);
    fclose(file);
    if (!ok) {
        g_prefix_error(error, "%s: ", t->path);
        return FALSE;
    }
    return take_csv(t, &csv, error);
}

static double time_of(const Trace *t, guint i)
{
    return (double)g_array_index(t->events, Event, i).ns / 1e9;
}

/* The least time between two moments: what the trace can tell apart. */
static double finest(const Trace *t)
{
    double least = 0;

    for (guint i = 1; i < t->events->len; i++) {
        double gap = time_of(t, i) - time_of(t, i - 1);
        least = gap > 0 && (least == 0 || gap < least) ? gap : least;
    }
    return least;
}

/* Distinct pages from @begin_s on, at 1, 2, 5, 10, ... times @step_s up to @most_s. */
static void look(const Trace *t, double begin_s, double step_s, double most_s, FerryWriteCurve *c)
{
    static const unsigned factors[] = {1, 2, 5};
    FerryBitmap written;
    uint64_t pages = 0;
    double decade = 1;
    guint at = 0;

    ferry_bitmap_init(&written, t->pages);
    while (at < t->events->len && time_of(t, at) <= begin_s) {
        at++;
    }
    for (unsigned i = 0; c->n_windows < FERRY_CURVE_WINDOWS; i++) {
        double window_s = step_s * factors[i % 3] * decade;
        decade *= i % 3 == 2 ? 10 : 1;
        if (window_s > most_s * 1.0001) {
            break;
        }
        for (; at < t->events->len && time_of(t, at) <= begin_s + window_s * 1.0001; at++) {
            const Event *e = &g_array_index(t->events, Event, at);
            if (e->n > 0) {
                pages += e->n - ferry_bitmap_count_range(&written, e->first, e->n);
                ferry_bitmap_set(&written, e->first, e->n);
            }
        }
        c->windows[c->n_windows].seconds = window_s;
        c->windows[c->n_windows++].pages = (double)pages;
    }
    ferry_bitmap_clear(&written);
}

static gboolean observe(Trace *t, uint64_t ram_bytes, FerryObserved *out, GError **error)
{
    double step = finest(t), first = t->events->len ? time_of(t, 0) : 0;
    double length = t->events->len ? time_of(t, t->events->len - 1) - first : 0;
    double most = MAX(length / 2, step);
    uint64_t pages = t->pages;

    if (step == 0) {
        return bad(t, error, "writes at two moments at least are needed");
    }
    if (t->page_bytes != FERRY_WORKLOAD_PAGE) {
        return bad(t, error, "pages of other than 4096 bytes are not predicted");
    }
    if (ram_bytes && ram_bytes / FERRY_WORKLOAD_PAGE < pages) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "--ram: the trace writes %" G_GUINT64_FORMAT " KiB", pages * 4);
        return FALSE;
    }
    if (MAX(ram_bytes / FERRY_WORKLOAD_PAGE, pages) > PAGES_MAX) {
        return bad(t, error, "more than 1 TiB of memory");
    }
    out->ram_pages = ram_bytes ? ram_bytes / FERRY_WORKLOAD_PAGE : pages;
    for (unsigned i = 0; i < STARTS; i++) {
        look(t, first + (length - most) * i / (STARTS - 1), step, most,
             &out->curves[out->n_curves++]);
    }
    ferry_observed_tidy(out);
    return TRUE;
}

gboolean ferry_predict_read_trace(const char *path, uint64_t ram_bytes,
                                  FerryPredictGuest *out_guest, GError **error)
{
    g_auto(Trace) t = {.path = path, .events = g_array_new(FALSE, FALSE, sizeof(Event))};
    FerryPredictGuest guest = {.program = "a trace"};

    if (ferry_predict_is_pdt(path)) {
        return ferry_predict_read_pdt(path, ram_bytes, out_guest, error);
    }
    if (read_csv(&t, error) && observe(&t, ram_bytes, &guest.observed, error)) {
        *out_guest = guest;
        return TRUE;
    }
    return FALSE;
}
