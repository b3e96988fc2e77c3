/* Cuts a trace and puts frames together. */
#include <string.h>
#include "trace/import-frames.h"

typedef struct {
    FerryTraceCut cut;
    FerryTraceTarget next;
    const FerryTraceHeader *source;
    FerryTraceHeader header; /* what next is told: the source's, but for times */
    gboolean begun, changed;
    uint64_t begin_ns; /* in the source, of the first frame that is taken */
    uint64_t n_pages, number;
    uint8_t *classes; /* what pages hold now; NULL: nothing is known so far */
    uint64_t classes_n;
    /* Frames that are put together. */
    unsigned n_frames;
    uint64_t group_begin_ns, span_ns, ran_ns, throttled_ns;
    gboolean any_classes;
    GArray *runs;
} Filter;

static gboolean refuse(GError **error, const char *why)
{
    g_set_error_literal(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_FORMAT, why);
    return FALSE;
}

static gboolean begin(void *self, const FerryTraceHeader *header, GError **error)
{
    Filter *f = self;

    (void)error;
    f->source = header;
    f->n_pages = ferry_trace_header_pages(header);
    return TRUE;
}

/* Room for the classes of all pages there are now; those that are new are not known. */
static gboolean know_pages(Filter *f, GError **error)
{
    uint64_t n = MAX(f->n_pages, 1);
    uint8_t *more;

    if (f->classes && f->classes_n >= n) {
        return TRUE;
    }
    more = g_try_realloc(f->classes, n);
    if (!more) {
        return refuse(error, "there is no memory for a class of each page");
    }
    f->classes = more;
    memset(f->classes + f->classes_n, FERRY_TRACE_CLASS_UNKNOWN, n - f->classes_n);
    f->classes_n = n;
    return TRUE;
}

static gboolean classes(void *self, uint64_t first, const uint8_t *values, uint64_t n,
                        GError **error)
{
    Filter *f = self;

    if (first > f->n_pages || n > f->n_pages - first) {
        return refuse(error, "classes of pages that there are not");
    }
    if (!know_pages(f, error)) {
        return FALSE;
    }
    memcpy(f->classes + first, values, n);
    return TRUE;
}

static gboolean add_blocks(void *self, const FerryTraceBlock *blocks, unsigned n, GError **error)
{
    Filter *f = self;

    for (unsigned i = 0; i < n; i++) {
        f->n_pages += blocks[i].pages;
    }
    /* Before the beginning they are in the source's header. */
    return !f->begun || f->next.ops->add_blocks(f->next.self, blocks, n, error);
}

/* What pages hold behind a frame. */
static gboolean note_classes(Filter *f, const FerryTraceFrame *frame, GError **error)
{
    uint64_t at = 0;

    if ((frame->classes || f->classes) && !know_pages(f, error)) {
        return FALSE;
    }
    for (uint64_t i = 0; f->classes && i < frame->n_runs; i++) {
        const FerryTraceRun *run = &frame->runs[i];
        if (run->first > f->classes_n || run->n > f->classes_n - run->first) {
            return refuse(error, "a frame has pages that there are not");
        }
        if (frame->classes) {
            memcpy(f->classes + run->first, frame->classes + at, run->n);
        } else {
            memset(f->classes + run->first, FERRY_TRACE_CLASS_UNKNOWN, run->n);
        }
        at += run->n;
    }
    return TRUE;
}

static gboolean start(Filter *f, uint64_t at_ns, GError **error)
{
    f->header = *f->source;
    f->header.start_wall_ns += f->header.start_wall_ns ? at_ns : 0;
    f->header.start_monotonic_ns += f->header.start_monotonic_ns ? at_ns : 0;
    f->header.interval_ns = f->cut.interval_ns ? f->cut.interval_ns : f->header.interval_ns;
    f->begun = TRUE;
    f->begin_ns = at_ns;
    f->changed = f->changed || at_ns > 0;
    return f->next.ops->begin(f->next.self, &f->header, error) &&
           (!f->classes || f->next.ops->classes(f->next.self, 0, f->classes, f->n_pages, error));
}

static gboolean send(Filter *f, FerryTraceFrame *frame, GError **error)
{
    frame->number = f->number++;
    frame->begin_ns = f->group_begin_ns - f->begin_ns;
    return f->next.ops->frame(f->next.self, frame, error);
}

static gboolean send_group(Filter *f, GError **error)
{
    FerryTraceFrame frame = {.span_ns = f->span_ns, .ran_ns = f->ran_ns};
    g_autoptr(GByteArray) known = NULL;

    if (f->n_frames == 0) {
        return TRUE;
    }
    ferry_import_runs_tidy(f->runs);
    frame.runs = (const FerryTraceRun *)(gconstpointer)f->runs->data;
    frame.n_runs = f->runs->len;
    frame.throttle_percent =
        f->span_ns ? (unsigned)((f->throttled_ns + f->span_ns / 2) / f->span_ns) : 0;
    if (f->any_classes) {
        known = g_byte_array_new();
    }
    for (guint i = 0; i < f->runs->len; i++) {
        frame.n_pages += frame.runs[i].n;
        if (known) {
            g_byte_array_append(known, f->classes + frame.runs[i].first, (guint)frame.runs[i].n);
        }
    }
    frame.classes = known ? known->data : NULL;
    if (!send(f, &frame, error)) {
        return FALSE;
    }
    f->n_frames = 0;
    g_array_set_size(f->runs, 0);
    return TRUE;
}

static gboolean gather(Filter *f, const FerryTraceFrame *frame, GError **error)
{
    if (f->n_frames++ == 0) {
        f->group_begin_ns = frame->begin_ns;
        f->span_ns = f->ran_ns = f->throttled_ns = 0;
        f->any_classes = FALSE;
    }
    f->span_ns += frame->span_ns;
    f->ran_ns = f->ran_ns == UINT64_MAX || frame->ran_ns == UINT64_MAX ? UINT64_MAX
                                                                       : f->ran_ns + frame->ran_ns;
    f->throttled_ns += frame->span_ns * frame->throttle_percent;
    f->any_classes = f->any_classes || frame->classes;
    if (frame->n_runs > 0) {
        g_array_append_vals(f->runs, frame->runs, (guint)frame->n_runs);
    }
    /* It ends where it is nearest to what it shall be. */
    return f->span_ns + frame->span_ns / 2 < f->cut.interval_ns || send_group(f, error);
}

static gboolean take_frame(void *self, const FerryTraceFrame *frame, GError **error)
{
    Filter *f = self;
    FerryTraceFrame alone = *frame;
    gboolean before = frame->begin_ns < f->cut.from_ns;
    gboolean behind =
        frame->begin_ns > f->cut.until_ns || frame->span_ns > f->cut.until_ns - frame->begin_ns;

    if (behind) {
        f->changed = TRUE;
        return TRUE;
    }
    if (before) {
        return note_classes(f, frame, error);
    }
    if (!f->begun && !start(f, frame->begin_ns, error)) {
        return FALSE;
    }
    if (f->cut.interval_ns > 0) {
        f->changed = TRUE;
        return note_classes(f, frame, error) && gather(f, frame, error);
    }
    f->group_begin_ns = frame->begin_ns;
    return send(f, &alone, error);
}

static gboolean end(void *self, const FerryTraceTotals *totals, GError **error)
{
    Filter *f = self;
    FerryTraceTotals kept = {.slowdown_permille = -1};

    if (!f->begun && (f->cut.from_ns > 0 || f->cut.until_ns != UINT64_MAX)) {
        return refuse(error, "no frame lies between --from-ms and --until-ms");
    }
    if ((!f->begun && !start(f, 0, error)) || !send_group(f, error)) {
        return FALSE;
    }
    if (totals && f->changed) { /* what is said of frames is not said of these */
        kept.capture_cpu_permille = totals->capture_cpu_permille;
        kept.slowdown_permille = totals->slowdown_permille;
        kept.ended = totals->ended;
        totals = &kept;
    }
    return f->next.ops->end(f->next.self, totals, error);
}

static void filter_free(void *self)
{
    Filter *f = self;

    ferry_trace_target_clear(&f->next);
    g_array_unref(f->runs);
    g_free(f->classes);
    g_free(f);
}

FerryTraceTarget ferry_trace_filter(const FerryTraceCut *cut, FerryTraceTarget next)
{
    static const FerryTraceTargetOps ops = {begin,      classes, add_blocks,
                                            take_frame, end,     filter_free};
    Filter *f = g_new0(Filter, 1);

    f->cut = *cut;
    f->next = next;
    f->runs = g_array_new(FALSE, FALSE, sizeof(FerryTraceRun));
    return (FerryTraceTarget){&ops, f};
}
