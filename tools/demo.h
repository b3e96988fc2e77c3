/* What `ferry demo` runs and what it found; filled in by demo.c, shown by demo-output.c. */
#pragma once
#include <json-glib/json-glib.h>
#include <stdint.h>

#include "tools/verb.h"

G_BEGIN_DECLS

typedef struct {
    gboolean json, keep;
    uint64_t memory_bytes, bandwidth, downtime_limit_ms, timeout_ms;
    unsigned n_vcpus;
    char *workload, *transport, *accel; /* accel NULL: the best there is here */
    const char *policy, *on_stall, *on_timeout;
} FerryDemoOptions;

/* The guest's speed over a stretch of the demo, pages written per second. */
typedef struct {
    double before, during, after;
} FerryDemoSpeed;

typedef struct {
    const char *status;    /* query-migrate's, or "failed" when it never came to that */
    char *error;           /* NULL: none */
    char *uri, *directory; /* of memory, sockets and logs */
    const char *accel;
    gboolean no_kvm;  /* accel process was chosen because there is no /dev/kvm */
    JsonNode *source; /* the last answers of query-migrate; NULL: none */
    JsonNode *destination;
    FerryDemoSpeed speed;
    uint64_t writes_at_source, writes_at_destination; /* in total, at its end and later there */
} FerryDemoResult;
void ferry_demo_result_clear(FerryDemoResult *result);

/* What was shown already. */
typedef struct {
    unsigned round;            /* the last one */
    char *verdict;             /* its outlook; NULL: none. g_free */
    double verdict_ms, end_ms; /* when that was, and when it was to end; -1: not said */
} FerryDemoShown;
void ferry_demo_shown_clear(FerryDemoShown *shown);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(FerryDemoShown, ferry_demo_shown_clear)

/* Runs it and shows everything. */
FerryExit ferry_demo_run(const FerryDemoOptions *options);
void ferry_demo_show_start(const FerryDemoOptions *options, const FerryDemoResult *result);
/* @answer: of query-migrate at the source. */
void ferry_demo_show_progress(const FerryDemoOptions *options, JsonObject *answer,
                              FerryDemoShown *shown);
void ferry_demo_show_result(const FerryDemoOptions *options, const FerryDemoResult *result);

G_END_DECLS
