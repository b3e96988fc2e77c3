/* What a writer counts: pages written, distinct ones, and how many are written within windows of
 * any length. And the totals' JSON, both ways. */
#pragma once
#include "trace/json.h"

G_BEGIN_DECLS

typedef struct FerryTraceCount FerryTraceCount;
FerryTraceCount *ferry_trace_count_new(void);
/* The next frame's set. */
void ferry_trace_count_frame(FerryTraceCount *count, const FerryTraceRun *runs, uint64_t n);
uint64_t ferry_trace_count_distinct(FerryTraceCount *count);
/* Appends [ns, pages] pairs, uint64_t: windows of 1, 2, 4, ... and all frames, within a trace of
 * @length_ns. For each the mean over all windows of so many whole frames. */
void ferry_trace_count_curve(FerryTraceCount *count, uint64_t length_ns, GArray *out);
void ferry_trace_count_free(FerryTraceCount *count);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryTraceCount, ferry_trace_count_free)

/* @curve: as above. @counted FALSE: distinct pages are not known. */
char *ferry_trace_totals_to_json(const FerryTraceTotals *totals, gboolean counted,
                                 const GArray *curve);
gboolean ferry_trace_totals_from_json(const char *text, size_t length, FerryTraceTotals *out,
                                      GArray *out_curve, GError **error);

G_END_DECLS
