/* A trace's frames for ferry_result_bounds_reckon(), as the simulator plays them. */
#include <string.h>
#include "tools/result-bounds.h"

static gboolean next(void *self, FerryTraceFrame *out_frame, GError **error)
{
    FerryResultTrace *t = self;

    for (gboolean anew = FALSE;;) {
        FerryTraceNext what = ferry_trace_reader_next(t->reader, out_frame, error);
        if (what == FERRY_TRACE_DAMAGED) {
            return FALSE;
        }
        if (what == FERRY_TRACE_FRAME) {
            uint64_t end_ns = out_frame->begin_ns + out_frame->span_ns;
            if (end_ns <= t->skip_ns || out_frame->span_ns == 0) {
                continue;
            }
            if (out_frame->begin_ns < t->skip_ns) { /* when in it is not known any more */
                out_frame->span_ns = end_ns - t->skip_ns;
                out_frame->quarters = NULL;
            }
            t->skip_ns = 0;
            return TRUE;
        }
        if (t->once || anew) { /* or it has nothing at all */
            *out_frame = (FerryTraceFrame)FERRY_TRACE_FRAME_INIT;
            return TRUE;
        }
        anew = TRUE;
        t->skip_ns = 0;
        ferry_trace_reader_rewind(t->reader);
    }
}

gboolean ferry_result_trace_init(FerryResultTrace *t, FerryTraceReader *reader, uint64_t start_ns,
                                 gboolean once, GError **error)
{
    *t = (FerryResultTrace){.reader = reader, .skip_ns = start_ns, .once = once};
    ferry_trace_reader_rewind(reader);
    return start_ns == 0 || ferry_trace_reader_seek(reader, start_ns, error);
}

FerryResultFrames ferry_result_trace_frames(FerryResultTrace *t)
{
    return (FerryResultFrames){.next = next, .self = t};
}

static void write_pages(const FerryTraceFrame *frame, uint8_t *classes, uint64_t pages)
{
    uint64_t at = 0;

    for (uint64_t i = 0; i < frame->n_runs; i++) {
        const FerryTraceRun *run = &frame->runs[i];
        for (uint64_t page = run->first; page < run->first + run->n; page++, at++) {
            if (page < pages) {
                classes[page] = frame->classes ? frame->classes[at] : FERRY_TRACE_CLASS_UNKNOWN;
            }
        }
    }
}

uint8_t *ferry_result_trace_classes(FerryTraceReader *reader, uint64_t pages, uint64_t start_ns)
{
    uint64_t first = MIN(ferry_trace_reader_first_pages(reader), pages);
    FerryTraceFrame frame = FERRY_TRACE_FRAME_INIT;
    uint8_t *classes = g_try_malloc(MAX(pages, 1));

    if (!classes || !ferry_trace_reader_classes(reader, 0, pages, classes, NULL)) {
        g_free(classes);
        return NULL;
    }
    memset(classes + first, FERRY_TRACE_CLASS_ZERO, pages - first);
    ferry_trace_reader_rewind(reader);
    while (start_ns > 0 && ferry_trace_reader_next(reader, &frame, NULL) == FERRY_TRACE_FRAME &&
           frame.begin_ns + frame.span_ns <= start_ns) {
        write_pages(&frame, classes, pages);
    }
    for (uint64_t i = 0; i < pages; i++) {
        if (classes[i] != FERRY_TRACE_CLASS_UNKNOWN) {
            return classes;
        }
    }
    g_free(classes);
    return NULL;
}
