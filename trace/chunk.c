#include "trace/chunk.h"
#include <string.h>
#include <zlib.h>

static const char kinds[][5] = {
    [FERRY_TRACE_CLAS] = "CLAS", [FERRY_TRACE_BLKS] = "BLKS", [FERRY_TRACE_FRMS] = "FRMS",
    [FERRY_TRACE_TOTL] = "TOTL", [FERRY_TRACE_INDX] = "INDX",
};

const char *ferry_trace_kind_name(FerryTraceKind kind)
{
    return kind < G_N_ELEMENTS(kinds) ? kinds[kind] : "unknown";
}

uint32_t ferry_trace_crc(uint32_t crc, const void *data, size_t n)
{
    return (uint32_t)crc32_z(crc, data, n);
}

void ferry_trace_put_le32(uint8_t *to, uint32_t value)
{
    value = GUINT32_TO_LE(value);
    memcpy(to, &value, sizeof value);
}

void ferry_trace_put_le64(uint8_t *to, uint64_t value)
{
    value = GUINT64_TO_LE(value);
    memcpy(to, &value, sizeof value);
}

uint32_t ferry_trace_get_le32(const uint8_t *from)
{
    uint32_t value;

    memcpy(&value, from, sizeof value);
    return GUINT32_FROM_LE(value);
}

uint64_t ferry_trace_get_le64(const uint8_t *from)
{
    uint64_t value;

    memcpy(&value, from, sizeof value);
    return GUINT64_FROM_LE(value);
}

void ferry_trace_chunk_encode(GByteArray *out, FerryTraceChunk *chunk, const void *payload,
                              size_t size, ZSTD_CCtx *packer, int level)
{
    guint before = out->len;
    size_t bound = MAX(ZSTD_compressBound(size), size), packed;
    uint8_t *head;

    g_assert(size <= FERRY_TRACE_PAYLOAD_MAX);
    g_byte_array_set_size(out, (guint)(before + FERRY_TRACE_CHUNK_BYTES + bound));
    head = out->data + before;
    packed = ZSTD_compressCCtx(packer, head + FERRY_TRACE_CHUNK_BYTES, bound, payload, size, level);
    if (ZSTD_isError(packed) || packed >= size) {
        packed = size;
        if (size > 0) {
            memcpy(head + FERRY_TRACE_CHUNK_BYTES, payload, size);
        }
    }
    chunk->packed = (uint32_t)packed;
    chunk->size = (uint32_t)size;
    memcpy(head, kinds[chunk->kind], 4);
    ferry_trace_put_le32(head + 4, chunk->packed);
    ferry_trace_put_le32(head + 8, chunk->size);
    ferry_trace_put_le32(head + 12, chunk->count);
    ferry_trace_put_le64(head + 16, chunk->where);
    ferry_trace_put_le64(head + 24, chunk->time);
    chunk->crc = ferry_trace_crc(ferry_trace_crc(0, head, FERRY_TRACE_CHUNK_BYTES - 4),
                                 head + FERRY_TRACE_CHUNK_BYTES, packed);
    ferry_trace_put_le32(head + 32, chunk->crc);
    g_byte_array_set_size(out, (guint)(before + FERRY_TRACE_CHUNK_BYTES + packed));
}

const char *ferry_trace_chunk_decode(FerryTraceChunk *out, const uint8_t *from)
{
    FerryTraceChunk chunk = {
        .kind = FERRY_TRACE_UNKNOWN,
        .packed = ferry_trace_get_le32(from + 4),
        .size = ferry_trace_get_le32(from + 8),
        .count = ferry_trace_get_le32(from + 12),
        .where = ferry_trace_get_le64(from + 16),
        .time = ferry_trace_get_le64(from + 24),
        .crc = ferry_trace_get_le32(from + 32),
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(kinds); i++) {
        if (memcmp(from, kinds[i], 4) == 0) {
            chunk.kind = (FerryTraceKind)i;
        }
    }
    if (chunk.packed > FERRY_TRACE_PAYLOAD_MAX || chunk.size > FERRY_TRACE_PAYLOAD_MAX) {
        return "a chunk of more than 64 MiB";
    }
    *out = chunk;
    return NULL;
}

gboolean ferry_trace_chunk_crc_good(const FerryTraceChunk *chunk, const uint8_t *whole)
{
    return chunk->crc == ferry_trace_crc(ferry_trace_crc(0, whole, FERRY_TRACE_CHUNK_BYTES - 4),
                                         whole + FERRY_TRACE_CHUNK_BYTES, chunk->packed);
}

const char *ferry_trace_chunk_unpack(const FerryTraceChunk *chunk, const uint8_t *payload,
                                     ZSTD_DCtx *unpacker, GByteArray *out)
{
    g_byte_array_set_size(out, chunk->size);
    if (chunk->packed == chunk->size) {
        if (chunk->size > 0) {
            memcpy(out->data, payload, chunk->size);
        }
        return NULL;
    }
    /* One frame and nothing else: what follows it would be unpacked as well. */
    if (ZSTD_findFrameCompressedSize(payload, chunk->packed) != chunk->packed) {
        return "not one whole zstd frame";
    }
    size_t n = ZSTD_decompressDCtx(unpacker, out->data, chunk->size, payload, chunk->packed);
    if (ZSTD_isError(n)) {
        return ZSTD_getErrorName(n);
    }
    return n == chunk->size ? NULL : "it unpacks to another size than it says";
}
