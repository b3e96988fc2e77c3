/* What stands at a file's two ends: magic and version, the index, where the index is. */
#pragma once
#include "trace/trace.h"

G_BEGIN_DECLS

#define FERRY_TRACE_PREFIX_BYTES 20u /* before the header */
#define FERRY_TRACE_TAIL_BYTES 16u   /* behind the index */
#define FERRY_TRACE_ENTRY_BYTES 32u
#define FERRY_TRACE_INDEX_MAX (2u << 20) /* entries: a payload full */

/* A FRMS or BLKS chunk. */
typedef struct {
    uint64_t offset, where, time;
    uint32_t count;
    gboolean is_blocks;
} FerryTracePlace;

void ferry_trace_prefix_encode(uint8_t to[static FERRY_TRACE_PREFIX_BYTES], const void *header,
                               uint32_t n);
/* NULL or what is wrong. */
const char *ferry_trace_prefix_decode(const uint8_t from[static FERRY_TRACE_PREFIX_BYTES],
                                      uint32_t *out_n, uint32_t *out_crc);
/* @places: FerryTracePlace. Appends. */
void ferry_trace_index_encode(GByteArray *out, const GArray *places);
/* FALSE: it is no index of @count entries. */
gboolean ferry_trace_index_decode(GArray *out_places, const uint8_t *from, size_t n,
                                  uint32_t count);
void ferry_trace_tail_encode(uint8_t to[static FERRY_TRACE_TAIL_BYTES], uint64_t offset);
gboolean ferry_trace_tail_decode(const uint8_t from[static FERRY_TRACE_TAIL_BYTES],
                                 uint64_t *out_offset);

G_END_DECLS
