/* One frame of a trace, laid out in time: which page is written when within the span. Each page of
 * the set once, at a random place, in the quarter that the trace names if it does. The same seed
 * lays the same frame out in the same way. */
#pragma once
#include "trace/trace.h"

G_BEGIN_DECLS

typedef struct {
    uint64_t page;  /* of all blocks' */
    uint64_t at_ns; /* since the frame began, above 0, at most its span */
    uint8_t class_; /* of its content then; FERRY_TRACE_CLASS_UNKNOWN */
} FerryReplayWrite;

typedef struct {
    uint64_t begin_ns, span_ns; /* as the frame's */
    GArray *writes;             /* FerryReplayWrite, ascending by at_ns */
    GArray *spare;
} FerryReplayFrame;
#define FERRY_REPLAY_STEP_NS 250000u /* writes less than this apart may change places */

void ferry_replay_frame_init(FerryReplayFrame *out_frame);
void ferry_replay_frame_clear(FerryReplayFrame *frame);
/* @lap: how often the trace was played before; its second time is laid out in another way. */
void ferry_replay_frame_lay_out(FerryReplayFrame *frame, const FerryTraceFrame *from, uint64_t seed,
                                uint64_t lap);

G_END_DECLS
