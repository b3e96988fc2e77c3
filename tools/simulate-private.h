/* What the parts of ferry simulate that run a group of migrations share. */
#pragma once
#include "simulator/simulate.h"
#include "tools/simulate.h"

G_BEGIN_DECLS

/* One run, as it went. */
typedef struct {
    const FerrySimulatePlan *plan;
    FerrySimulateCase c;
    char *id;
    GArray *steps; /* FerrySimLinkStep, of the link */
    uint64_t repeat_ns;
    GArray *rounds; /* FerrySimRound */
    GArray *speeds; /* FerryResultStep, of the guest */
    FerrySimResult result;
    char *error; /* NULL: it ended one way or another */
    uint64_t ram_bytes, trace_length_ns;
    uint64_t residual_bytes; /* on the wire, at the pause; FERRY_RESULT_UNKNOWN: there was none */
    gboolean bounded;
    FerryResultBounds bounds;
} FerrySimulateRun;
void ferry_simulate_run_clear(FerrySimulateRun *run);

/* Everything that the case says but for what writes and who listens. */
gboolean ferry_simulate_prepare(FerrySimulateRun *run, FerrySimulation *out, GError **error);
/* "T:RATE,...", with "every:T" behind them where all begins anew. */
gboolean ferry_simulate_parse_link(const char *text, GArray *steps, uint64_t *out_repeat_ns,
                                   GError **error);
/* The frames of a run's model, with its seed. */
typedef struct FerrySimulateScratch FerrySimulateScratch;
FerrySimulateScratch *ferry_simulate_record(const FerrySimulateRun *run, uint64_t duration_ns,
                                            GError **error);
FerryTraceReader *ferry_simulate_scratch_reader(FerrySimulateScratch *scratch);
void ferry_simulate_scratch_free(FerrySimulateScratch *scratch);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerrySimulateScratch, ferry_simulate_scratch_free)

/* Of the runs that ended; they differ in policy alone. @reader: of their trace, NULL: a workload.
 * What goes wrong becomes a run's error. */
void ferry_simulate_reckon(FerrySimulateRun *runs, unsigned n, FerryTraceReader *reader);
void ferry_simulate_add_lines(const FerrySimulateRun *run, GString *out);

G_END_DECLS
