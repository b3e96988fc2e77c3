/* A trace as a replay plays it: from some moment on, once or again and again. */
#pragma once
#include "tools/replay-guest.h"

G_BEGIN_DECLS

typedef struct FerryReplayTrace FerryReplayTrace;
/* A trace that was cut or damaged counts up to there. @start_ns: where to begin. Refuses
 * (FERRY_ENGINE_ERROR_REFUSED) more memory than @max_bytes, pages of other sizes than 4096 and a
 * start behind the end. */
FerryReplayTrace *ferry_replay_trace_open(const char *path, uint64_t start_ns, gboolean repeat,
                                          uint64_t max_bytes, GError **error);
const FerryTraceHeader *ferry_replay_trace_header(const FerryReplayTrace *trace);
uint64_t ferry_replay_trace_pages(const FerryReplayTrace *trace);
uint64_t ferry_replay_trace_length_ns(const FerryReplayTrace *trace);
/* Where the frame begins that has the start. */
uint64_t ferry_replay_trace_start_ns(const FerryReplayTrace *trace);
/* What is wrong with its end, for people; NULL: nothing. */
const char *ferry_replay_trace_damage(const FerryReplayTrace *trace);
/* Of all pages at the start; g_free. Before the frames are asked for. */
uint8_t *ferry_replay_trace_classes(FerryReplayTrace *trace, GError **error);
/* From the start. One at a time; who asks again begins again. */
FerryReplayFrames ferry_replay_trace_frames(FerryReplayTrace *trace);
void ferry_replay_trace_free(FerryReplayTrace *trace);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryReplayTrace, ferry_replay_trace_free)

G_END_DECLS
