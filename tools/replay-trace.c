#include "tools/replay-trace.h"

#include <string.h>

struct FerryReplayTrace {
    FerryTraceFile *file;
    FerryTraceReader *reader;
    uint64_t start_ns, length_ns, pages;
    gboolean repeat;
    char *damage;

    uint64_t lap, lap_begin_ns; /* what is added to the trace's time */
    gboolean met;               /* a frame, in this lap */
};

static gboolean refuse(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
static gboolean refuse(GError **error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    g_autofree char *text = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error_literal(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED, text);
    return FALSE;
}

/* FALSE: there is none, or it has pages that no list of blocks told of in time. */
static gboolean read_frame(FerryReplayTrace *t, FerryTraceFrame *out_frame)
{
    if (ferry_trace_reader_next(t->reader, out_frame, NULL) != FERRY_TRACE_FRAME) {
        return FALSE;
    }
    const FerryTraceRun *last = out_frame->n_runs ? &out_frame->runs[out_frame->n_runs - 1] : NULL;
    return !last || last->first + last->n <= t->pages;
}

/* A file without its end says how long it is, and what blocks it has, once it is read. */
static void measure(FerryReplayTrace *t)
{
    g_autoptr(GError) error = NULL;
    FerryTraceTotals totals;
    FerryTraceFrame frame;
    FerryTraceNext next;

    if (ferry_trace_reader_totals(t->reader, &totals)) {
        t->length_ns = totals.length_ns;
        return;
    }
    while ((next = ferry_trace_reader_next(t->reader, &frame, &error)) == FERRY_TRACE_FRAME) {
        t->length_ns = frame.begin_ns + frame.span_ns;
    }
    if (next == FERRY_TRACE_DAMAGED) {
        t->damage = g_strdup_printf("it is damaged: %s", error->message);
    } else if (next == FERRY_TRACE_CUT) {
        t->damage = g_strdup("it was not finished, or cut off");
    }
    ferry_trace_reader_rewind(t->reader);
}

/* The next frame is the one with the start. */
static gboolean go_to_start(FerryReplayTrace *t, GError **error)
{
    if (t->start_ns == 0) {
        ferry_trace_reader_rewind(t->reader);
        return TRUE;
    }
    return ferry_trace_reader_seek(t->reader, t->start_ns + 1, error); /* a frame has its end */
}

static gboolean find_start(FerryReplayTrace *t, GError **error)
{
    FerryTraceFrame frame;

    if (t->length_ns == 0) {
        return refuse(error, "the trace has no frame");
    }
    if (t->start_ns >= t->length_ns) {
        return refuse(error, "--start: the trace is only %.3f s long", (double)t->length_ns / 1e9);
    }
    if (t->start_ns == 0) {
        return TRUE;
    }
    if (!go_to_start(t, error)) {
        return FALSE;
    }
    if (ferry_trace_reader_next(t->reader, &frame, error) != FERRY_TRACE_FRAME) {
        return error && *error ? FALSE : refuse(error, "--start: there is no frame");
    }
    t->start_ns = frame.begin_ns;
    return TRUE;
}

static gboolean fits(const FerryReplayTrace *t, uint64_t max_bytes, GError **error)
{
    const FerryTraceHeader *h = ferry_trace_reader_header(t->reader);

    if (h->page_bytes != FERRY_REPLAY_PAGE) {
        return refuse(error, "the trace has pages of %u bytes, only those of 4096 are replayed",
                      h->page_bytes);
    }
    if (t->pages == 0) {
        return refuse(error, "the trace has no memory");
    }
    if (t->pages > max_bytes / FERRY_REPLAY_PAGE) {
        return refuse(error,
                      "the trace is of %" G_GUINT64_FORMAT " MiB of memory, more than the "
                      "%" G_GUINT64_FORMAT " MiB that are allowed here",
                      t->pages >> 8, max_bytes >> 20);
    }
    return TRUE;
}

FerryReplayTrace *ferry_replay_trace_open(const char *path, uint64_t start_ns, gboolean repeat,
                                          uint64_t max_bytes, GError **error)
{
    g_autoptr(FerryReplayTrace) t = g_new0(FerryReplayTrace, 1);
    FerryTraceInput input;

    t->file = ferry_trace_file_open(path, error);
    if (!t->file) {
        return NULL;
    }
    input = ferry_trace_file_input(t->file);
    t->reader = ferry_trace_reader_new(&input, error);
    if (!t->reader) {
        g_prefix_error(error, "%s: ", path);
        return NULL;
    }
    t->repeat = repeat;
    t->start_ns = start_ns;
    measure(t);
    t->pages = ferry_trace_header_pages(ferry_trace_reader_header(t->reader));
    if (!fits(t, max_bytes, error) || !find_start(t, error)) {
        g_prefix_error(error, "%s: ", path);
        return NULL;
    }
    return g_steal_pointer(&t);
}

const FerryTraceHeader *ferry_replay_trace_header(const FerryReplayTrace *t)
{
    return ferry_trace_reader_header(t->reader);
}

uint64_t ferry_replay_trace_pages(const FerryReplayTrace *t) { return t->pages; }

uint64_t ferry_replay_trace_length_ns(const FerryReplayTrace *t) { return t->length_ns; }

uint64_t ferry_replay_trace_start_ns(const FerryReplayTrace *t) { return t->start_ns; }

const char *ferry_replay_trace_damage(const FerryReplayTrace *t) { return t->damage; }

static void take_classes(const FerryTraceFrame *frame, uint8_t *classes)
{
    uint64_t n = 0;

    for (uint64_t r = 0; r < frame->n_runs; r++) {
        for (uint64_t i = 0; i < frame->runs[r].n; i++, n++) {
            classes[frame->runs[r].first + i] =
                frame->classes ? frame->classes[n] : FERRY_TRACE_CLASS_UNKNOWN;
        }
    }
}

uint8_t *ferry_replay_trace_classes(FerryReplayTrace *t, GError **error)
{
    uint64_t pages = t->pages, first = ferry_trace_reader_first_pages(t->reader);
    g_autofree uint8_t *classes = g_malloc(pages);
    FerryTraceFrame frame;

    if (!ferry_trace_reader_classes(t->reader, 0, pages, classes, error)) {
        return NULL;
    }
    if (first < pages) { /* they appear later, and nothing is in them yet */
        memset(classes + first, FERRY_TRACE_CLASS_ZERO, pages - first);
    }
    ferry_trace_reader_rewind(t->reader);
    while (t->start_ns > 0 && read_frame(t, &frame) && frame.begin_ns < t->start_ns) {
        take_classes(&frame, classes);
    }
    return g_steal_pointer(&classes);
}

/* The next one of the file, or of its beginning when it is to be repeated. */
static gboolean next_of_any_lap(FerryReplayTrace *t, FerryTraceFrame *out_frame)
{
    if (read_frame(t, out_frame)) {
        t->met = TRUE;
        return TRUE;
    }
    if (!t->repeat || !t->met || !go_to_start(t, NULL)) {
        return FALSE;
    }
    t->lap++;
    t->lap_begin_ns += t->length_ns - t->start_ns;
    t->met = read_frame(t, out_frame);
    return t->met;
}

static gboolean next(void *self, FerryTraceFrame *out_frame, uint64_t *out_lap)
{
    FerryReplayTrace *t = self;

    if (!next_of_any_lap(t, out_frame)) {
        return FALSE;
    }
    out_frame->begin_ns += t->lap_begin_ns;
    *out_lap = t->lap;
    return TRUE;
}

FerryReplayFrames ferry_replay_trace_frames(FerryReplayTrace *t)
{
    t->lap = t->lap_begin_ns = 0;
    t->met = FALSE;
    (void)go_to_start(t, NULL); /* it was possible before */
    return (FerryReplayFrames){.next = next, .self = t};
}

void ferry_replay_trace_free(FerryReplayTrace *t)
{
    if (t) {
        ferry_trace_reader_free(t->reader);
        ferry_trace_file_free(t->file);
        g_free(t->damage);
        g_free(t);
    }
}
