/* ferry predict: what is known of a guest (predict-ask, predict-trace), what a migration of it
 * would take (predict-run), and how that is told (predict-print). */
#pragma once
#include <json-glib/json-glib.h>
#include "engine/ferry.h"
#include "simulator/fit.h"
#include "simulator/simulate.h"

G_BEGIN_DECLS

/* What a monitor or a trace says. 0 and "": nothing. */
typedef struct {
    FerryObserved observed;
    gboolean knows_zeros;
    char program[64]; /* "ferry", "QEMU 7.2" */
    char policy[32];
    uint64_t max_bandwidth, switchover_bandwidth, downtime_limit_ms;
    unsigned throttle_initial, throttle_increment, throttle_max, throttle_trigger;
} FerryPredictGuest;

/* Measures for @measure_s seconds or several times that, the guest runs on; 0: as long as suits a
 * link of @bytes_per_second, which may be 0 as well. */
gboolean ferry_predict_ask(const char *address, double timeout_s, double measure_s,
                           uint64_t bytes_per_second, FerryPredictGuest *out_guest, GError **error);
/* CSV: t_ms,block,first_page,n; or a page dirty trace. @ram_bytes 0: as far as the trace writes, or
 * as much as it is of. */
gboolean ferry_predict_read_trace(const char *path, uint64_t ram_bytes,
                                  FerryPredictGuest *out_guest, GError **error);

/* By its name or its first bytes. */
gboolean ferry_predict_is_pdt(const char *path);
gboolean ferry_predict_read_pdt(const char *path, uint64_t ram_bytes, FerryPredictGuest *out_guest,
                                GError **error);

typedef struct {
    FerryPolicy policy;
    uint64_t link_bytes_per_second, max_bandwidth; /* 0: nothing else caps rounds */
    uint64_t downtime_limit_ms;
    double patience_s; /* how long a migration may take; 0: five times a first pass */
    unsigned runs;
} FerryPredictTask;

/* 5, 50 and 95 of 100 runs are below. */
typedef struct {
    double p5, p50, p95;
} FerryInterval;

typedef struct {
    unsigned runs, met; /* met the limit in time */
    double patience_s;
    FerryInterval rounds, total_ms, sent_bytes, downtime_ms; /* of those that met it */
    FerryInterval floor_ms; /* the shortest downtime that any order of sending could reach */
    FerryInterval needed_bytes_per_second; /* of the link, to meet the limit; +inf: none does */
    FerryInterval throttle_percent;        /* so that the limit is met; 100: not even 99 */
    uint64_t suggested_limit_ms;           /* met in most runs; 0: none was found */
    gboolean stopped_early;                /* when it was clear that none would meet it */
} FerryPrediction;
void ferry_predict_run(const FerryPredictGuest *guest, const FerryPredictTask *task,
                       FerryPrediction *out);

/* "meets", "uncertain" or "stalls". */
const char *ferry_predict_verdict(const FerryPrediction *p);
void ferry_predict_print(const FerryPredictGuest *guest, const FerryPredictTask *task,
                         const FerryPrediction *p);
JsonNode *ferry_predict_to_json(const FerryPredictGuest *guest, const FerryPredictTask *task,
                                const FerryPrediction *p);

G_END_DECLS
