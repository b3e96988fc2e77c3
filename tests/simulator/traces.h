/* Traces in memory, made by hand or from a model. */
#pragma once
#include "simulator/workload.h"
#include "tests/trace/memory.h"

G_BEGIN_DECLS

#define MS UINT64_C(1000000)

typedef struct {
    GByteArray *bytes;
    FerryTraceWriter *writer;
    FerryTraceInput input;
    FerryTraceReader *reader;
} TestTrace;

void trace_begin(TestTrace *t, uint64_t pages);
/* The next frame has @n pages from @first on; arrays as in FerryTraceFrame, or NULL. */
void trace_frame(TestTrace *t, uint64_t span_ns, uint64_t first, uint64_t n,
                 const uint8_t *quarters, const uint8_t *classes);
/* @whole: with an end. */
void trace_open(TestTrace *t, gboolean whole);
void trace_of_model(TestTrace *t, const FerryWorkload *w, uint64_t interval_ns,
                    uint64_t duration_ns, uint64_t seed, gboolean quarters);
void trace_clear(TestTrace *t);

G_END_DECLS
