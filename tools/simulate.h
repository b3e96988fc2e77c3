/* ferry simulate: migrations of a trace or a workload model in virtual time. What may be varied is
 * a table (simulate-options); all combinations run in processes of their own (simulate-pool), those
 * that differ in policy alone one after the other (simulate-run), so that they share the bounds. */
#pragma once
#include "tools/costs.h"
#include "tools/result-bounds.h"
#include "tools/result-line.h"

G_BEGIN_DECLS

/* In the order in which combinations are run: the last ones change first. */
typedef enum {
    FERRY_SIMULATE_TRACE,
    FERRY_SIMULATE_WORKLOAD,
    FERRY_SIMULATE_RAM,
    FERRY_SIMULATE_START,
    FERRY_SIMULATE_AT_END,
    FERRY_SIMULATE_BANDWIDTH,
    FERRY_SIMULATE_MAX_BANDWIDTH,
    FERRY_SIMULATE_SWITCHOVER_BANDWIDTH,
    FERRY_SIMULATE_ROUND_TRIP,
    FERRY_SIMULATE_JITTER,
    FERRY_SIMULATE_QUEUE,
    FERRY_SIMULATE_LINK_CHANGE,
    FERRY_SIMULATE_COMPRESS,
    FERRY_SIMULATE_CHUNK,
    FERRY_SIMULATE_FIXED,
    FERRY_SIMULATE_MARGIN,
    FERRY_SIMULATE_DOWNTIME_LIMIT,
    FERRY_SIMULATE_ON_STALL,
    FERRY_SIMULATE_AUTO_CONVERGE,
    FERRY_SIMULATE_THROTTLE_INITIAL,
    FERRY_SIMULATE_THROTTLE_INCREMENT,
    FERRY_SIMULATE_THROTTLE_MAX,
    FERRY_SIMULATE_THROTTLE_TRIGGER,
    FERRY_SIMULATE_TIMEOUT,
    FERRY_SIMULATE_ON_TIMEOUT,
    FERRY_SIMULATE_UNTIL,
    FERRY_SIMULATE_INTERVAL,
    FERRY_SIMULATE_SEED,
    FERRY_SIMULATE_POLICY,
    FERRY_SIMULATE_N
} FerrySimulateWhich;

typedef enum {
    FERRY_SIMULATE_TEXT,  /* as it is; may hold commas */
    FERRY_SIMULATE_WORD,  /* one of a few, or a policy */
    FERRY_SIMULATE_BYTES, /* these count bytes, bytes/s, ns, permille, percent, or nothing */
    FERRY_SIMULATE_RATE,
    FERRY_SIMULATE_NS,
    FERRY_SIMULATE_PERMILLE,
    FERRY_SIMULATE_PERCENT,
    FERRY_SIMULATE_NUMBER,
} FerrySimulateKind;

typedef struct {
    const char *option, *member; /* of the run's line */
    FerrySimulateKind kind;
    const char *otherwise; /* when it is not given; NULL: it has no value then */
    uint64_t min, max;
    const char *argument, *help, *words; /* those that there are, with a blank around each */
} FerrySimulateParameter;
extern const FerrySimulateParameter ferry_simulate_parameters[FERRY_SIMULATE_N];

typedef struct {
    const char *text; /* NULL: none */
    uint64_t number;
} FerrySimulateValue;

typedef struct {
    GArray *values[FERRY_SIMULATE_N]; /* FerrySimulateValue, at least one each */
    gboolean given[FERRY_SIMULATE_N];
    GHashTable *texts; /* that they borrow, each once */
    FerryCosts costs;
    const char *costs_path; /* borrowed; NULL: none given */
    gboolean rounds, no_bounds, reproducible;
    uint64_t n_runs;
} FerrySimulatePlan;

/* One combination. Borrows from the plan. */
typedef struct {
    FerrySimulateValue of[FERRY_SIMULATE_N];
} FerrySimulateCase;

/* @words: as given, by parameter; NULL: not at all. @runs: so many seeds from each one on. The
 * error is of G_OPTION_ERROR. */
gboolean ferry_simulate_plan_init(FerrySimulatePlan *plan, char ***words, unsigned runs,
                                  GError **error);
void ferry_simulate_plan_clear(FerrySimulatePlan *plan);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(FerrySimulatePlan, ferry_simulate_plan_clear)
void ferry_simulate_plan_case(const FerrySimulatePlan *plan, uint64_t number,
                              FerrySimulateCase *out);
/* Unique among a plan's, and the same for the same parameters in another plan. */
char *ferry_simulate_case_id(const FerrySimulatePlan *plan, const FerrySimulateCase *c);
/* The command that makes this run again, or (NULL) all of them. NULL-terminated. */
GPtrArray *ferry_simulate_command(const FerrySimulatePlan *plan, const FerrySimulateCase *c);
unsigned ferry_simulate_plan_policies(const FerrySimulatePlan *plan);

/* Lines of the runs [first, first + n), which differ in policy alone: appended to @out. */
void ferry_simulate_run(const FerrySimulatePlan *plan, uint64_t first, unsigned n, GString *out);
/* The line of a run that did not end. */
char *ferry_simulate_failed_line(const FerrySimulatePlan *plan, uint64_t number, const char *why);
char *ferry_simulate_sweep_line(const FerrySimulatePlan *plan);

typedef struct {
    unsigned jobs;
    gboolean progress; /* on stderr */
    /* The lines of a group of runs, in order; of runs that were not done none. Those of a group
     * whose process died say so. FALSE: nobody wants more of them. */
    gboolean (*lines)(void *self, const char *text);
    void *self;
} FerrySimulatePool;
typedef struct {
    gboolean interrupted;
    char *error; /* why there were no more processes; g_free */
} FerrySimulatePoolEnd;
void ferry_simulate_pool_run(const FerrySimulatePlan *plan, const FerrySimulatePool *pool,
                             FerrySimulatePoolEnd *out_end);

/* What is shown of all runs together. */
typedef struct FerrySimulateTable FerrySimulateTable;
FerrySimulateTable *ferry_simulate_table_new(void);
/* Looks at the run lines in @text. */
void ferry_simulate_table_add(FerrySimulateTable *table, const char *text);
unsigned ferry_simulate_table_count(const FerrySimulateTable *table, const char *outcome);
/* A line for each run that failed. */
const char *ferry_simulate_table_errors(const FerrySimulateTable *table);
char *ferry_simulate_table_text(const FerrySimulateTable *table);
void ferry_simulate_table_free(FerrySimulateTable *table);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerrySimulateTable, ferry_simulate_table_free)

G_END_DECLS
