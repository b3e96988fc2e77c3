/* A running guest's dirty pages, frame by frame, into a trace (docs/trace-format.md), by its dirty
 * log while no migration runs. A migration that is to begin ends the recording, as does the end of
 * the guest: what was recorded so far is whole. */
#pragma once
#include "engine/migration.h"

G_BEGIN_DECLS

typedef enum {
    FERRY_RECORD_NONE,
    FERRY_RECORD_STARTING, /* contents at the beginning are read */
    FERRY_RECORD_RECORDING,
    FERRY_RECORD_ENDED, /* the file is whole */
    FERRY_RECORD_FAILED,
} FerryRecordStatus;
const char *ferry_record_status_name(FerryRecordStatus status);

/* Why a recording ended. */
typedef enum {
    FERRY_RECORD_END_DONE,        /* its time was over, or it was told to */
    FERRY_RECORD_END_INTERRUPTED, /* a migration began, or nobody is interested any more */
    FERRY_RECORD_END_GUEST_GONE,
} FerryRecordEnd;
const char *ferry_record_end_name(FerryRecordEnd end); /* as in a trace's totals */

#define FERRY_RECORD_MS_MAX (24u * 3600 * 1000) /* of an interval */

/* Borrowed; texts may be NULL. */
typedef struct {
    const char *file; /* ".part" behind it until it is whole */
    uint64_t interval_ns;
    uint64_t duration_ns; /* 0: until it is ended */
    gboolean content;     /* with the class of each page's content */
    gboolean paused;      /* the guest stands still now */
    const char *workload; /* instead of what the embedder says of it */
    const char *licence, *provenance;
} FerryRecorderOptions;

typedef struct {
    FerryRecordStatus status;
    uint64_t frames, late_frames, pages, bytes;
    uint64_t length_ns, interval_ns;
    uint64_t frame_ns, longest_frame_ns; /* what capturing one took: median, most */
    unsigned cpu_permille;               /* of one processor, since the beginning */
    FerryRecordEnd end;                  /* behind RECORDING */
    char error[256];                     /* FAILED */
} FerryRecording;

typedef struct FerryRecorder FerryRecorder;
/* Borrows @migration, whose guest is recorded. */
FerryRecorder *ferry_recorder_new(FerryMigration *migration);
/* In the background. Refused while a migration runs, while the dirty log is in use, and where there
 * is none. */
gboolean ferry_recorder_start(FerryRecorder *recorder, const FerryRecorderOptions *options,
                              GError **error);
/* Any thread. Does not wait: the file is whole once the status is ENDED. Of several reasons the
 * first one counts; DONE before the duration is over is INTERRUPTED. */
void ferry_recorder_stop(FerryRecorder *recorder, FerryRecordEnd end);
/* Any thread. The guest stands still from now on, or no longer. */
void ferry_recorder_set_paused(FerryRecorder *recorder, gboolean paused);
/* Any thread. */
void ferry_recorder_get(FerryRecorder *recorder, FerryRecording *out_recording);
void ferry_recorder_free(FerryRecorder *recorder); /* ends what is recorded, and waits for it */

G_END_DECLS
