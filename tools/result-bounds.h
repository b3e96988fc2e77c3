/* How far a run was from what no policy can beat: frames of a trace up to the pause, as
 * trace/bounds.h reckons with them, and the member "bounds" of docs/results.md. One pass over the
 * frames serves any number of runs with the same link and limit. */
#pragma once
#include "tools/result-line.h"
#include "trace/bounds.h"

G_BEGIN_DECLS

/* From where the migration begins. TRUE: *out_frame, borrowed until the next call; a span of 0:
 * there are no more. */
typedef struct {
    gboolean (*next)(void *self, FerryTraceFrame *out_frame, GError **error);
    void *self;
} FerryResultFrames;

/* A trace's, from @start_ns on; when it ends it begins anew, unless @once. Borrows @reader. */
typedef struct {
    FerryTraceReader *reader;
    uint64_t skip_ns;
    gboolean once;
} FerryResultTrace;
gboolean ferry_result_trace_init(FerryResultTrace *trace, FerryTraceReader *reader,
                                 uint64_t start_ns, gboolean once, GError **error);
FerryResultFrames ferry_result_trace_frames(FerryResultTrace *trace); /* borrows @trace */
/* What its @pages pages hold at @start_ns: blocks that appear later are there from the beginning,
 * and zero, as the simulator and replays have them. NULL: nothing is known of any. g_free. */
uint8_t *ferry_result_trace_classes(FerryTraceReader *reader, uint64_t pages, uint64_t start_ns);

/* From this moment of the migration on. */
typedef struct {
    uint64_t from_ns, value;
} FerryResultStep;

typedef struct {
    uint64_t pages;
    uint32_t page_bytes;
    const uint8_t *classes; /* at the beginning; NULL: not known */
    FerryBoundsInput link;
    /* Ascending; empty: it runs at full speed, the link has one rate. */
    const FerryResultStep *speeds; /* the guest runs at so many permille of its speed; not 0 */
    const FerryResultStep
        *rates; /* the link has so many bytes/s; then nothing is said of downtimes */
    unsigned n_speeds, n_rates;
} FerryResultBoundsInput;

/* In the migration's time. */
typedef struct {
    uint64_t at_ns;           /* told: when the guest stood, or the run ended */
    FerryBracket clairvoyant; /* R*(T), wire bytes */
    uint64_t causal_bytes, least_bytes;
    FerryBracket earliest_ns, shortest_ns, throttle_percent;
    uint64_t limit_ns;
} FerryResultBounds;

/* @bounds: by at_ns, ascending. */
gboolean ferry_result_bounds_reckon(const FerryResultBoundsInput *input,
                                    const FerryResultFrames *frames, FerryResultBounds *bounds,
                                    unsigned n, GError **error);
/* "possible", "impossible", "open". */
const char *ferry_result_bounds_verdict(const FerryResultBounds *bounds);
/* @residual_bytes: on the wire, left at the pause; FERRY_RESULT_UNKNOWN: it never came. */
void ferry_result_bounds_add(FerryResultLine *line, const FerryResultBounds *bounds,
                             uint64_t residual_bytes);

G_END_DECLS
