/* Sets of pages as ascending runs that lie apart, and how they are coded. Pure. */
#pragma once
#include "trace/trace.h"

G_BEGIN_DECLS

/* More runs than this in one frame are neither written nor read: 256 MiB of them. */
#define FERRY_TRACE_RUNS_MAX (UINT64_C(1) << 24)

typedef struct {
    FerryTraceRun *runs;
    uint64_t n, room;
} FerryTraceSet;
void ferry_trace_set_clear(FerryTraceSet *set);
void ferry_trace_set_copy(FerryTraceSet *set, const FerryTraceRun *runs, uint64_t n);
/* A few of @runs, evenly; of a set as small all. */
void ferry_trace_set_sample(FerryTraceSet *set, const FerryTraceRun *runs, uint64_t n);
uint64_t ferry_trace_set_pages(const FerryTraceSet *set);

/* Pages in one of both, not in both; @out is none of them. FALSE: more than RUNS_MAX. */
gboolean ferry_trace_set_xor(FerryTraceSet *out, const FerryTraceSet *a, const FerryTraceSet *b);
/* Whether about a third of @a's runs, by a sample, are in @b as they are. */
gboolean ferry_trace_set_resembles(const FerryTraceSet *a, const FerryTraceSet *b);

/* NULL if @runs are ascending, apart and within @pages; else why not. */
const char *ferry_trace_runs_check(const FerryTraceRun *runs, uint64_t n, uint64_t pages,
                                   uint64_t *out_n_pages);
/* Appends. FALSE, and @out as it was, if that takes more than @most bytes. */
gboolean ferry_trace_runs_encode(GByteArray *out, const FerryTraceRun *runs, uint64_t n,
                                 uint64_t most);
void ferry_trace_bitmap_encode(GByteArray *out, const FerryTraceRun *runs, uint64_t n,
                               uint64_t pages);
/* From *@at on, which moves; NULL or what is wrong. */
const char *ferry_trace_runs_decode(FerryTraceSet *out, const uint8_t **at, const uint8_t *end,
                                    uint64_t pages);
const char *ferry_trace_bitmap_decode(FerryTraceSet *out, const uint8_t **at, const uint8_t *end,
                                      uint64_t pages);

G_END_DECLS
