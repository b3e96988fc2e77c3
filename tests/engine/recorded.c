#include "tests/engine/recorded.h"
#include <unistd.h>
#include "tests/fakes/expect.h"

gboolean recorded_open(Recorded *r, const char *path)
{
    g_autofree char *part = g_strconcat(path, ".part", NULL);
    g_autoptr(GError) error = NULL;
    FerryTraceInput input;

    *r = (Recorded){0};
    EXPECT(access(part, F_OK) != 0, "%s is left", part);
    r->file = ferry_trace_file_open(path, &error);
    if (r->file != NULL) {
        input = ferry_trace_file_input(r->file);
        r->reader = ferry_trace_reader_new(&input, &error);
    }
    EXPECT(r->reader != NULL, "%s", error->message);
    if (r->reader == NULL || !ferry_trace_reader_totals(r->reader, &r->totals)) {
        EXPECT(FALSE, "%s is not whole", path);
        recorded_clear(r);
        return FALSE;
    }
    return TRUE;
}

gboolean recorded_next(Recorded *r, FerryTraceFrame *out_frame)
{
    g_autoptr(GError) error = NULL;
    FerryTraceNext next = ferry_trace_reader_next(r->reader, out_frame, &error);

    EXPECT(next == FERRY_TRACE_FRAME || next == FERRY_TRACE_END, "%s",
           error != NULL ? error->message : "cut");
    return next == FERRY_TRACE_FRAME;
}

void recorded_clear(Recorded *r)
{
    ferry_trace_reader_free(r->reader);
    ferry_trace_file_free(r->file);
    *r = (Recorded){0};
}

gboolean recorded_has(const FerryTraceFrame *frame, uint64_t page)
{
    for (uint64_t i = 0; i < frame->n_runs; i++) {
        if (page - frame->runs[i].first < frame->runs[i].n) {
            return TRUE;
        }
    }
    return FALSE;
}
