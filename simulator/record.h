/* A model of a guest, played into a trace. Pure. */
#pragma once
#include "simulator/workload.h"
#include "trace/trace.h"

G_BEGIN_DECLS

typedef struct {
    const FerryWorkload *workload;     /* borrowed */
    uint64_t interval_ns, duration_ns; /* 0: without end, frame by frame only */
    uint64_t seed;
    gboolean no_quarters; /* do not say in which quarter of a frame each page was written last */
} FerrySimRecording;

/* The header that such a trace has: one block, "pc.ram". @model, as it was given, is copied. */
FerryTraceHeader *ferry_sim_record_header(const FerrySimRecording *recording, const char *model);
/* Frame by frame. Borrows @recording. */
typedef struct FerrySimRecorder FerrySimRecorder;
FerrySimRecorder *ferry_sim_recorder_new(const FerrySimRecording *recording, GError **error);
/* Whether the model knows of zeros, or how far pages pack. */
gboolean ferry_sim_recorder_has_classes(const FerrySimRecorder *recorder);
/* Classes of pages [first, first + n) as they are now. */
void ferry_sim_recorder_classes(const FerrySimRecorder *recorder, uint64_t first, uint64_t n,
                                uint8_t *out);
/* The next frame, borrowed until the next call; FALSE: the duration is over. The last one may be
 * shorter. */
gboolean ferry_sim_recorder_next(FerrySimRecorder *recorder, FerryTraceFrame *out_frame);
void ferry_sim_recorder_free(FerrySimRecorder *recorder);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerrySimRecorder, ferry_sim_recorder_free)

/* All of it: classes and frames, not the end. @progress, which may be NULL, is told of each frame;
 * FALSE from it ends the recording there. */
gboolean ferry_sim_record(const FerrySimRecording *recording, FerryTraceWriter *writer,
                          gboolean (*progress)(void *self, const FerryTraceFrame *frame),
                          void *self, GError **error);

G_END_DECLS
