#include <string.h>
#include "trace/reader-private.h"
#include "trace/totals.h"

const char *ferry_trace_payload_load(FerryTracePayload *p, FerryTraceReader *r, uint64_t offset,
                                     const FerryTraceChunk *chunk, GError **problem)
{
    FerryTraceChunk again;
    guint n = FERRY_TRACE_CHUNK_BYTES + chunk->packed;

    g_byte_array_set_size(p->packed, n);
    if (!r->input.read(r->input.self, offset, p->packed->data, n, problem)) {
        return "";
    }
    if (ferry_trace_chunk_decode(&again, p->packed->data) || again.packed != chunk->packed ||
        !ferry_trace_chunk_crc_good(&again, p->packed->data)) {
        return "its checksum is wrong";
    }
    if (chunk->kind == FERRY_TRACE_UNKNOWN) {
        g_byte_array_set_size(p->bytes, 0);
        return NULL;
    }
    return ferry_trace_chunk_unpack(&again, p->packed->data + FERRY_TRACE_CHUNK_BYTES, r->unpacker,
                                    p->bytes);
}

gboolean ferry_trace_reader_peek(FerryTraceReader *r, uint64_t offset, uint64_t end,
                                 FerryTraceChunk *out)
{
    uint8_t head[FERRY_TRACE_CHUNK_BYTES];

    return offset <= end && end - offset >= sizeof head &&
           r->input.read(r->input.self, offset, head, sizeof head, NULL) &&
           !ferry_trace_chunk_decode(out, head) && out->packed <= end - offset - sizeof head;
}

static gboolean refuse(GError **error, const char *why)
{
    g_set_error_literal(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_FORMAT, why);
    return FALSE;
}

static gboolean read_header(FerryTraceReader *r, GError **error)
{
    uint8_t prefix[FERRY_TRACE_PREFIX_BYTES];
    g_autofree char *text = NULL;
    uint32_t n, crc;
    const char *why;

    if (r->input.size < sizeof prefix) {
        return refuse(error, "not a page dirty trace: shorter than any");
    }
    if (!r->input.read(r->input.self, 0, prefix, sizeof prefix, error)) {
        return FALSE;
    }
    why = ferry_trace_prefix_decode(prefix, &n, &crc);
    if (why) {
        return refuse(error, why);
    }
    if (n > r->input.size - sizeof prefix) {
        return refuse(error, "the file ends within the header");
    }
    text = g_malloc((gsize)n + 1);
    if (!r->input.read(r->input.self, sizeof prefix, text, n, error)) {
        return FALSE;
    }
    if (ferry_trace_crc(0, text, n) != crc) {
        return refuse(error, "byte 20: header: its checksum is wrong");
    }
    r->header = ferry_trace_header_from_json(text, n, error);
    if (!r->header) {
        g_prefix_error(error, "byte 20: header: ");
        return FALSE;
    }
    r->header_blocks = r->header->blocks->len;
    r->first_chunk = sizeof prefix + n;
    return TRUE;
}

/* The places of the index, if the file ends with one. */
static GArray *read_index(FerryTraceReader *r, uint64_t *out_offset)
{
    g_autoptr(GArray) places = g_array_new(FALSE, FALSE, sizeof(FerryTracePlace));
    g_autoptr(GError) problem = NULL;
    uint8_t tail[FERRY_TRACE_TAIL_BYTES];
    uint64_t end = r->input.size - sizeof tail;
    FerryTraceChunk chunk;

    if (r->input.size < r->first_chunk + FERRY_TRACE_CHUNK_BYTES + sizeof tail ||
        !r->input.read(r->input.self, end, tail, sizeof tail, NULL) ||
        !ferry_trace_tail_decode(tail, out_offset) || *out_offset < r->first_chunk ||
        !ferry_trace_reader_peek(r, *out_offset, end, &chunk) || chunk.kind != FERRY_TRACE_INDX ||
        *out_offset + FERRY_TRACE_CHUNK_BYTES + chunk.packed != end) {
        return NULL;
    }
    r->has_tail = TRUE;
    if (ferry_trace_payload_load(&r->payload, r, *out_offset, &chunk, &problem) ||
        !ferry_trace_index_decode(places, r->payload.bytes->data, r->payload.bytes->len,
                                  chunk.count)) {
        return NULL;
    }
    return g_steal_pointer(&places);
}

static gboolean load_blocks(FerryTraceReader *r, uint64_t offset, const FerryTraceChunk *chunk)
{
    unsigned n;

    return chunk->where == ferry_trace_header_pages(r->header) &&
           !ferry_trace_payload_load(&r->payload, r, offset, chunk, NULL) &&
           ferry_trace_blocks_from_json(r->header, (const char *)r->payload.bytes->data,
                                        r->payload.bytes->len, &n, NULL) &&
           n == chunk->count;
}

static gboolean load_totals(FerryTraceReader *r, uint64_t offset, const FerryTraceChunk *chunk)
{
    if (ferry_trace_payload_load(&r->payload, r, offset, chunk, NULL) ||
        !ferry_trace_totals_from_json((const char *)r->payload.bytes->data, r->payload.bytes->len,
                                      &r->totals, r->curve, NULL)) {
        return FALSE;
    }
    r->totals.length_ns = chunk->time;
    r->has_totals = TRUE;
    return TRUE;
}

static gboolean agrees(const FerryTracePlace *place, uint64_t offset, const FerryTraceChunk *chunk)
{
    return place->offset == offset && place->where == chunk->where && place->time == chunk->time &&
           place->count == chunk->count && place->is_blocks == (chunk->kind == FERRY_TRACE_BLKS);
}

/* From chunk to chunk up to the index: each must be what the index says of it, so that an index
 * that lies is as good as none. FALSE: it is, and what it led to is not to be used. */
static gboolean walk(FerryTraceReader *r, const GArray *places, uint64_t end)
{
    uint64_t frames = 0, offset = r->first_chunk;
    FerryTraceChunk chunk;
    guint i = 0;

    for (; offset < end; offset += FERRY_TRACE_CHUNK_BYTES + chunk.packed) {
        gboolean good = ferry_trace_reader_peek(r, offset, end, &chunk) &&
                        (!r->has_totals || chunk.kind == FERRY_TRACE_UNKNOWN);

        if (good && (chunk.kind == FERRY_TRACE_FRMS || chunk.kind == FERRY_TRACE_BLKS)) {
            good = i < places->len &&
                   agrees(&g_array_index(places, FerryTracePlace, i++), offset, &chunk);
        }
        if (good && chunk.kind == FERRY_TRACE_FRMS) {
            good = chunk.where == frames;
            frames += chunk.count;
        }
        if (!good || (chunk.kind == FERRY_TRACE_BLKS && !load_blocks(r, offset, &chunk)) ||
            (chunk.kind == FERRY_TRACE_TOTL && !load_totals(r, offset, &chunk))) {
            return FALSE;
        }
    }
    return offset == end && i == places->len && (!r->has_totals || r->totals.frames == frames);
}

FerryTraceReader *ferry_trace_reader_new(const FerryTraceInput *input, GError **error)
{
    g_autoptr(FerryTraceReader) r = g_new0(FerryTraceReader, 1);
    uint64_t end = 0;

    r->input = *input;
    r->unpacker = ZSTD_createDCtx();
    r->curve = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    r->payload = (FerryTracePayload){g_byte_array_new(), g_byte_array_new()};
    r->class_payload = (FerryTracePayload){g_byte_array_new(), g_byte_array_new()};
    if (!read_header(r, error)) {
        return NULL;
    }
    g_autoptr(GArray) places = read_index(r, &end);
    if (!places || !walk(r, places, end)) {
        g_array_set_size(r->header->blocks, r->header_blocks);
        g_array_set_size(r->curve, 0);
        r->has_totals = FALSE;
    }
    ferry_trace_reader_rewind(r);
    return g_steal_pointer(&r);
}

static void payload_clear(FerryTracePayload *p)
{
    g_clear_pointer(&p->packed, g_byte_array_unref);
    g_clear_pointer(&p->bytes, g_byte_array_unref);
}

void ferry_trace_reader_free(FerryTraceReader *r)
{
    if (!r) {
        return;
    }
    ZSTD_freeDCtx(r->unpacker);
    ferry_trace_header_free(r->header);
    g_array_unref(r->curve);
    payload_clear(&r->payload);
    payload_clear(&r->class_payload);
    ferry_trace_decoded_clear(&r->decoded);
    g_clear_error(&r->problem);
    g_clear_pointer(&r->classes, g_array_unref);
    g_free(r);
}
