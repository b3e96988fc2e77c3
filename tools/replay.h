/* `ferry replay`: words into options (replay.c), the migration (replay-run.c), the bounds of what
 * was played (replay-bounds.c), and how it is told (replay-result.c). */
#pragma once
#include "protocol/multifd.h"
#include "tools/replay-memory.h"
#include "tools/replay-trace.h"
#include "tools/result-bounds.h"
#include "tools/send.h"

G_BEGIN_DECLS

typedef struct {
    char **command; /* as it was called, NULL-terminated */
    char *trace_path, *output, *id, *policy_name;
    FerryPolicy policy;
    FerryOnStall on_stall;
    FerryTimeout timeout;
    gboolean auto_converge, repeat, verify, json, has_content;
    uint64_t max_bandwidth, downtime_limit_ns, start_ns, seed;
    double speed;
    FerryReplayContent content;
    FerryReplayLog log;
    FerrySendOptions send; /* where to, snapshot and peer, multifd, patience */
} FerryReplayOptions;

/* One round, as it was told at the sync that ended it. */
typedef struct {
    FerryRoundReport report;
    gboolean has_report; /* FALSE: too long ago */
    uint64_t t_ns, remaining_bytes, threshold_bytes, expected_downtime_ns;
} FerryReplayRound;

typedef struct {
    FerryReplayTrace *trace;
    FerrySendPlan plan; /* with a snapshot */
    FerryReplayMemory *memory;
    FerryReplayGuest *guest;
    FerryReplayContent content;
    unsigned channels; /* multifd's, as agreed */
    FerryMultifdMethod method;

    FerryProgress progress; /* these two as they were at the end */
    FerryReplayStats stats;
    GArray *rounds;         /* FerryReplayRound, from number 1 on */
    uint64_t begin_ns;      /* when the migration began: real time */
    uint64_t precopy_ns;    /* to the pause; UINT64_MAX: there was none */
    uint64_t first_pass_ns; /* until all had been sent once; UINT64_MAX: never */
    unsigned throttle_max_percent;
    FerryForecast verdict; /* the first that was not unknown */
    uint64_t verdict_ns;
    uint64_t wall_ns, cpu_ns; /* of this process, while it migrated */
    const char *outcome;      /* as docs/results.md has it */
    char *error;              /* NULL: none */
    gboolean has_bounds;
    FerryResultBounds bounds;
} FerryReplayRun;

FerryExit ferry_replay_run(const FerryReplayOptions *options);

/* Behind the run, with the guest standing. Without a measured link nothing is said. */
void ferry_replay_reckon(const FerryReplayOptions *options, FerryReplayRun *run);

/* The lines of docs/results.md; g_free. */
char *ferry_replay_lines(const FerryReplayOptions *options, const FerryReplayRun *run);
void ferry_replay_print(const FerryReplayOptions *options, const FerryReplayRun *run);

G_END_DECLS
