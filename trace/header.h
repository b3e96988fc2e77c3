/* The header's JSON, both ways. */
#pragma once
#include "trace/json.h"

G_BEGIN_DECLS

#define FERRY_TRACE_BLOCKS_MAX (1u << 20)
#define FERRY_TRACE_BLOCKS_AT_ONCE (1u << 16) /* in the header, and in each BLKS chunk */
#define FERRY_TRACE_BLOCKS_PER_CHUNK 512u     /* a writer's: any names fit */
#define FERRY_TRACE_NAME_MAX 4096u            /* bytes */
#define FERRY_TRACE_NAMES_MAX (64u << 20)     /* bytes, of all blocks */

/* FALSE: what it has is not what a trace may say. */
gboolean ferry_trace_header_check(const FerryTraceHeader *header, GError **error);
gboolean ferry_trace_blocks_check(const FerryTraceBlock *blocks, unsigned n, uint64_t pages_before,
                                  GError **error);
/* As long as NAMES_MAX matters. */
uint64_t ferry_trace_blocks_names(const FerryTraceBlock *blocks, unsigned n);

char *ferry_trace_header_to_json(const FerryTraceHeader *header);
FerryTraceHeader *ferry_trace_header_from_json(const char *text, size_t length, GError **error);

char *ferry_trace_blocks_to_json(const FerryTraceBlock *blocks, unsigned n);
/* Appends to @header's blocks, all or none. */
gboolean ferry_trace_blocks_from_json(FerryTraceHeader *header, const char *text, size_t length,
                                      unsigned *out_n, GError **error);

G_END_DECLS
