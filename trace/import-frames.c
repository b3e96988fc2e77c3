#include "trace/import-frames.h"

void ferry_import_frames_init(FerryImportFrames *f, const FerryTraceTarget *to)
{
    *f = (FerryImportFrames){.to = to, .runs = g_array_new(FALSE, FALSE, sizeof(FerryTraceRun))};
}

void ferry_import_frames_clear(FerryImportFrames *f) { g_array_unref(f->runs); }

void ferry_import_frames_add(FerryImportFrames *f, uint64_t first, uint64_t n)
{
    FerryTraceRun run = {first, n};
    FerryTraceRun *last =
        f->runs->len > 0 ? &g_array_index(f->runs, FerryTraceRun, f->runs->len - 1) : NULL;

    if (n == 0) {
        return;
    }
    if (last && first == last->first + last->n) {
        last->n += n;
    } else {
        g_array_append_val(f->runs, run);
    }
}

static gint compare(gconstpointer a, gconstpointer b)
{
    const FerryTraceRun *x = a, *y = b;

    return x->first < y->first ? -1 : x->first > y->first;
}

void ferry_import_runs_tidy(GArray *runs)
{
    guint kept = 0;

    g_array_sort(runs, compare);
    for (guint i = 1; i < runs->len; i++) {
        FerryTraceRun *before = &g_array_index(runs, FerryTraceRun, kept);
        const FerryTraceRun *run = &g_array_index(runs, FerryTraceRun, i);
        uint64_t end = before->first + before->n;
        if (run->first <= end) {
            before->n = MAX(end, run->first + run->n) - before->first;
        } else {
            g_array_index(runs, FerryTraceRun, ++kept) = *run;
        }
    }
    g_array_set_size(runs, runs->len > 0 ? kept + 1 : 0);
}

gboolean ferry_import_frames_end(FerryImportFrames *f, uint64_t end_ns, GError **error)
{
    FerryTraceFrame frame = FERRY_TRACE_FRAME_INIT;

    ferry_import_runs_tidy(f->runs);
    frame.number = f->number++;
    frame.begin_ns = f->now_ns;
    frame.span_ns = end_ns - f->now_ns;
    frame.n_runs = f->runs->len;
    frame.runs = (const FerryTraceRun *)(gconstpointer)f->runs->data;
    for (guint i = 0; i < f->runs->len; i++) {
        frame.n_pages += frame.runs[i].n;
    }
    if (!f->to->ops->frame(f->to->self, &frame, error)) {
        return FALSE;
    }
    f->now_ns = end_ns;
    g_array_set_size(f->runs, 0);
    return TRUE;
}

void ferry_import_describe(FerryTraceHeader *h, const FerryImportOptions *o, const char *more)
{
    g_autofree char *name = g_path_get_basename(o->name);

    g_free(h->method);
    g_free(h->provenance);
    h->method = g_strdup("import");
    h->provenance = g_strdup_printf("imported from %s%s", name, more);
}
