/* A trace that a recording left, for tests. */
#pragma once
#include "trace/trace.h"

typedef struct {
    FerryTraceFile *file;
    FerryTraceReader *reader;
    FerryTraceTotals totals;
} Recorded;

/* FALSE: it is not there, or not whole; said already. */
gboolean recorded_open(Recorded *r, const char *path);
/* FALSE behind the last frame, which must be where the trace was meant to end. */
gboolean recorded_next(Recorded *r, FerryTraceFrame *out_frame);
void recorded_clear(Recorded *r);
/* Whether @page is in the frame's set. */
gboolean recorded_has(const FerryTraceFrame *frame, uint64_t page);
