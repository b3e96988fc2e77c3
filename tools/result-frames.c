/* A trace's frames for ferry_result_bounds_reckon(), as the simulator plays them. */
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
