/* The memory a trace is replayed on, as a guest that can be migrated: blocks as the trace has them
 * (one, if it has very many), or those of a snapshot, whose devices and state are its guest's then.
 */
#pragma once
#include "engine/capture.h"
#include "tools/replay-guest.h"

G_BEGIN_DECLS

typedef enum {
    FERRY_REPLAY_LOG_AUTO, /* the kernel's if it has one, else marks */
    FERRY_REPLAY_LOG_PAGEMAP,
    FERRY_REPLAY_LOG_MARKS,
} FerryReplayLog;

typedef struct FerryReplayMemory FerryReplayMemory;
/* @capture: prepared, borrowed, must outlive it; NULL: memory of its own. A block of the trace that
 * the snapshot has no place for is FERRY_ENGINE_ERROR_REFUSED by name. */
FerryReplayMemory *ferry_replay_memory_new(const FerryTraceHeader *header, FerryCapture *capture,
                                           FerryReplayLog log, GError **error);
/* For the replay guest's options. */
const FerryReplayPlace *ferry_replay_memory_places(const FerryReplayMemory *memory,
                                                   unsigned *out_n_places);
FerryDirtyMarks *ferry_replay_memory_marks(const FerryReplayMemory *memory); /* NULL: not needed */
/* The guest to migrate, which lives by @guest from here on. Owned by the memory. Once. */
FerryGuest *ferry_replay_memory_animate(FerryReplayMemory *memory, FerryReplayGuest *guest,
                                        GError **error);
/* The name of the log that sees the writes; behind animate. */
const char *ferry_replay_memory_log_name(const FerryReplayMemory *memory);
void ferry_replay_memory_free(FerryReplayMemory *memory);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryReplayMemory, ferry_replay_memory_free)

G_END_DECLS
