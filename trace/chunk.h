/* The pieces a trace is made of: 36 bytes and a payload, which is packed if that makes it smaller.
 */
#pragma once
#include <zstd.h>
#include "trace/trace.h"

G_BEGIN_DECLS

#define FERRY_TRACE_CHUNK_BYTES 36u             /* before the payload */
#define FERRY_TRACE_PAYLOAD_MAX (64u << 20)     /* packed, and unpacked */
#define FERRY_TRACE_CHUNK_GOAL ((guint)4 << 20) /* a writer's */
#define FERRY_TRACE_CHUNK_FRAMES 256u

typedef enum {
    FERRY_TRACE_CLAS,
    FERRY_TRACE_BLKS,
    FERRY_TRACE_FRMS,
    FERRY_TRACE_TOTL,
    FERRY_TRACE_INDX,
    FERRY_TRACE_UNKNOWN,
} FerryTraceKind;
const char *ferry_trace_kind_name(FerryTraceKind kind);

typedef struct {
    FerryTraceKind kind;
    uint32_t packed, size, count;
    uint64_t where, time;
    uint32_t crc;
} FerryTraceChunk;

/* Appends the whole chunk; its packed, size and crc come from @payload. @packer is the caller's. */
void ferry_trace_chunk_encode(GByteArray *out, FerryTraceChunk *chunk, const void *payload,
                              size_t size, ZSTD_CCtx *packer, int level);
/* NULL or what is wrong with it; @from has FERRY_TRACE_CHUNK_BYTES. */
const char *ferry_trace_chunk_decode(FerryTraceChunk *out, const uint8_t *from);
/* @whole: the chunk as it stands in the file. */
gboolean ferry_trace_chunk_crc_good(const FerryTraceChunk *chunk, const uint8_t *whole);
/* Its payload, unpacked into @out; NULL or what is wrong. */
const char *ferry_trace_chunk_unpack(const FerryTraceChunk *chunk, const uint8_t *payload,
                                     ZSTD_DCtx *unpacker, GByteArray *out);

uint32_t ferry_trace_crc(uint32_t crc, const void *data, size_t n); /* 0 to begin with */
void ferry_trace_put_le32(uint8_t *to, uint32_t value);
void ferry_trace_put_le64(uint8_t *to, uint64_t value);
uint32_t ferry_trace_get_le32(const uint8_t *from);
uint64_t ferry_trace_get_le64(const uint8_t *from);

G_END_DECLS
