/* One frame, as it stands in a FRMS chunk. Pure. */
#pragma once
#include "trace/set.h"

G_BEGIN_DECLS

/* Appends @frame, which was checked; its set as runs, as a bitmap, or as the difference to
 * @previous (NULL: there is none in the chunk), whichever is smallest. @scratch is the caller's. */
void ferry_trace_frame_encode(GByteArray *out, const FerryTraceFrame *frame, uint64_t pages,
                              const FerryTraceSet *previous, FerryTraceSet *scratch);
/* NULL, or why it cannot be written. */
const char *ferry_trace_frame_check(const FerryTraceFrame *frame, uint64_t pages,
                                    uint64_t *out_n_pages);

/* What was decoded last; frames within a chunk refer to it. */
typedef struct {
    FerryTraceSet set, before, scratch;
    uint8_t *quarters;
    uint64_t quarters_room;
} FerryTraceDecoded;
void ferry_trace_decoded_clear(FerryTraceDecoded *decoded);

/* The frame at *@at, which moves behind it; borrows from @decoded and the bytes. NULL or what is
 * wrong; number and begin_ns are left alone. */
const char *ferry_trace_frame_decode(FerryTraceFrame *out, const uint8_t **at, const uint8_t *end,
                                     uint64_t pages, gboolean first_in_chunk,
                                     FerryTraceDecoded *decoded);
/* NULL if all are classes; else what is wrong. */
const char *ferry_trace_classes_check(const uint8_t *classes, uint64_t n);

G_END_DECLS
