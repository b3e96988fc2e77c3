/* A model of a guest, played into a trace. Pure. */
#pragma once
#include "simulator/workload.h"
#include "trace/trace.h"

G_BEGIN_DECLS

typedef struct {
    const FerryWorkload *workload; /* borrowed for the call */
    uint64_t interval_ns, duration_ns;
    uint64_t seed;
    gboolean no_quarters; /* do not say in which quarter of a frame each page was written last */
} FerrySimRecording;

/* The header that such a trace has: one block, "pc.ram". @model, as it was given, is copied. */
FerryTraceHeader *ferry_sim_record_header(const FerrySimRecording *recording, const char *model);
/* Writes classes (if the model knows of zeros, or how far pages pack) and frames, not the end.
 * @progress, which may be NULL, is told of each frame; FALSE from it ends the recording there. The
 * last frame may be shorter. */
gboolean ferry_sim_record(const FerrySimRecording *recording, FerryTraceWriter *writer,
                          gboolean (*progress)(void *self, const FerryTraceFrame *frame),
                          void *self, GError **error);

G_END_DECLS
