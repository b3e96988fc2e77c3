/* A reader: reader.c goes from frame to frame, reader-open.c reads both ends of the file, and
 * reader-seek.c goes elsewhere in it. */
#pragma once
#include "trace/chunk.h"
#include "trace/frame.h"
#include "trace/header.h"
#include "trace/index.h"

G_BEGIN_DECLS

/* One chunk's payload. */
typedef struct {
    GByteArray *packed, *bytes;
} FerryTracePayload;

/* A CLAS chunk. */
typedef struct {
    uint64_t offset, first, n;
} FerryTraceClassPlace;

struct FerryTraceReader {
    FerryTraceInput input;
    ZSTD_DCtx *unpacker;
    FerryTraceHeader *header;
    unsigned header_blocks; /* of them that were in the header itself */
    uint64_t first_chunk;   /* offset */
    gboolean has_tail;      /* the file ends as a whole one does */
    gboolean has_totals;
    FerryTraceTotals totals;
    GArray *curve;

    uint64_t offset; /* of the next chunk */
    uint64_t frames, clock_ns, pages;
    unsigned blocks_taken;
    gboolean totals_met;
    FerryTracePayload payload; /* of the FRMS chunk that is being read */
    uint64_t chunk_offset;
    const uint8_t *at, *end;
    uint32_t in_chunk, of_chunk; /* frames to come, and all */
    FerryTraceDecoded decoded;
    FerryTraceFrame frame; /* the last one; borrows from decoded and payload */
    gboolean again;        /* it is the next one as well */

    gboolean stopped;
    FerryTraceNext how;
    GError *problem;

    GArray *classes; /* FerryTraceClassPlace; NULL: not looked for */
    FerryTracePayload class_payload;
    uint64_t class_offset; /* of what is in class_payload; 0: nothing */
};

/* Reads, checks and unpacks the chunk at @offset, which lies within the file. NULL; what is wrong;
 * or "" and *@problem. */
const char *ferry_trace_payload_load(FerryTracePayload *payload, FerryTraceReader *reader,
                                     uint64_t offset, const FerryTraceChunk *chunk,
                                     GError **problem);
/* The header of the chunk at @offset if the chunk lies before @end. Its crc is not looked at. */
gboolean ferry_trace_reader_peek(FerryTraceReader *reader, uint64_t offset, uint64_t end,
                                 FerryTraceChunk *out);
/* The next chunk is that at @offset; so many frames, ns and later blocks lie before it. */
void ferry_trace_reader_go(FerryTraceReader *reader, uint64_t offset, uint64_t frames,
                           uint64_t clock_ns, unsigned later_blocks);

G_END_DECLS
