#include <string.h>
#include "trace/reader-private.h"
#include "trace/totals.h"

static FerryTraceNext ends(FerryTraceReader *r, FerryTraceNext how)
{
    r->stopped = TRUE;
    r->how = how;
    return how;
}

/* Damage stays: it is told again with every further call. */
static FerryTraceNext damaged(FerryTraceReader *r, GError *problem, GError **error)
{
    g_clear_error(&r->problem);
    r->problem = problem;
    g_propagate_error(error, g_error_copy(problem));
    return ends(r, FERRY_TRACE_DAMAGED);
}

static GError *in_chunk(uint64_t offset, const char *why)
{
    return g_error_new(FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_DAMAGED,
                       "byte %" G_GUINT64_FORMAT ": %s", offset, why);
}

/* The next chunk's header if it is whole; sets *@out_end if the trace ends instead. */
static GError *look_ahead(FerryTraceReader *r, FerryTraceChunk *out, gboolean *out_end)
{
    uint64_t left = r->input.size - r->offset;
    uint8_t head[FERRY_TRACE_CHUNK_BYTES];
    GError *problem = NULL;
    const char *why;

    *out_end = FALSE;
    if (left < sizeof head) {
        *out_end = TRUE;
        return NULL;
    }
    if (!r->input.read(r->input.self, r->offset, head, sizeof head, &problem)) {
        return problem;
    }
    why = ferry_trace_chunk_decode(out, head);
    if (why) {
        return in_chunk(r->offset, why);
    }
    *out_end = out->packed > left - sizeof head;
    return NULL;
}

/* Where a chunk should begin the file ends. */
static FerryTraceNext no_more(FerryTraceReader *r, GError **error)
{
    if (r->has_tail) {
        return damaged(r, in_chunk(r->offset, "a chunk that goes past the end of the file"), error);
    }
    return ends(r, FERRY_TRACE_CUT);
}

static const char *take_blocks(FerryTraceReader *r, const FerryTraceChunk *chunk, GError **problem)
{
    unsigned n = 0, before = r->header->blocks->len;

    if (chunk->where != r->pages) {
        return "blocks that do not follow those before";
    }
    if (r->blocks_taken < r->header->blocks->len) { /* the index had them read already */
        n = chunk->count;
        if (n > r->header->blocks->len - r->blocks_taken) {
            return "more blocks than when it was read before";
        }
    } else if (!ferry_trace_blocks_from_json(r->header, (const char *)r->payload.bytes->data,
                                             r->payload.bytes->len, &n, problem)) {
        return "";
    }
    if (n != chunk->count || n == 0) {
        g_array_set_size(r->header->blocks, before);
        return "no blocks, or another number of them than it says";
    }
    for (unsigned i = 0; i < n; i++, r->blocks_taken++) {
        r->pages += g_array_index(r->header->blocks, FerryTraceBlock, r->blocks_taken).pages;
    }
    return NULL;
}

static const char *take_classes(const FerryTraceReader *r, const FerryTraceChunk *chunk)
{
    const GByteArray *bytes = r->payload.bytes;

    if (r->frames > 0) {
        return "classes behind frames";
    }
    if (bytes->len != chunk->count || chunk->where > r->pages ||
        chunk->count > r->pages - chunk->where) {
        return "classes of pages that there are not";
    }
    return ferry_trace_classes_check(bytes->data, bytes->len);
}

static const char *take_frames(FerryTraceReader *r, const FerryTraceChunk *chunk)
{
    if (chunk->count == 0 || r->payload.bytes->len == 0) {
        return "a chunk of no frames";
    }
    if (chunk->where != r->frames) {
        return "frames that do not follow those before";
    }
    if (chunk->time != r->clock_ns) {
        return "frames that begin at another time than those before end";
    }
    r->in_chunk = r->of_chunk = chunk->count;
    r->at = r->payload.bytes->data;
    r->end = r->at + r->payload.bytes->len;
    return NULL;
}

static const char *take_chunk(FerryTraceReader *r, const FerryTraceChunk *chunk, gboolean *out_end,
                              GError **problem)
{
    *out_end = FALSE;
    switch (chunk->kind) {
    case FERRY_TRACE_CLAS:
        return take_classes(r, chunk);
    case FERRY_TRACE_BLKS:
        return take_blocks(r, chunk, problem);
    case FERRY_TRACE_FRMS:
        return r->totals_met ? "frames behind the totals" : take_frames(r, chunk);
    case FERRY_TRACE_TOTL:
        r->totals_met = TRUE;
        return chunk->time == r->clock_ns ? NULL : "another length than that of the frames";
    case FERRY_TRACE_INDX:
        *out_end = TRUE;
        return NULL;
    case FERRY_TRACE_UNKNOWN:
        return NULL;
    }
    g_assert_not_reached();
}

/* The index is the last thing in a file; its tail says so. */
static FerryTraceNext after_index(FerryTraceReader *r, GError **error)
{
    uint64_t left = r->input.size - r->offset;

    if (left < FERRY_TRACE_TAIL_BYTES) {
        return ends(r, FERRY_TRACE_CUT);
    }
    if (left > FERRY_TRACE_TAIL_BYTES || !r->has_tail) {
        return damaged(r, in_chunk(r->offset, "the index is not followed by the file's end"),
                       error);
    }
    return ends(r, FERRY_TRACE_END);
}

/* Until there are frames to decode: FRAME, or how the trace ends. */
static FerryTraceNext next_chunk(FerryTraceReader *r, GError **error)
{
    while (r->in_chunk == 0) {
        GError *problem = NULL;
        FerryTraceChunk chunk;
        const char *why;
        gboolean end;

        problem = look_ahead(r, &chunk, &end);
        if (problem) {
            return damaged(r, problem, error);
        }
        if (end) {
            return no_more(r, error);
        }
        why = ferry_trace_payload_load(&r->payload, r, r->offset, &chunk, &problem);
        if (!why) {
            why = take_chunk(r, &chunk, &end, &problem);
        }
        if (problem) {
            g_prefix_error(&problem, "byte %" G_GUINT64_FORMAT ": %s chunk: ", r->offset,
                           ferry_trace_kind_name(chunk.kind));
            return damaged(r, problem, error);
        }
        if (why) {
            g_autofree char *text =
                g_strdup_printf("%s chunk: %s", ferry_trace_kind_name(chunk.kind), why);
            return damaged(r, in_chunk(r->offset, text), error);
        }
        r->chunk_offset = r->offset;
        r->offset += FERRY_TRACE_CHUNK_BYTES + chunk.packed;
        if (end) {
            return after_index(r, error);
        }
    }
    return FERRY_TRACE_FRAME;
}

static const char *decode(FerryTraceReader *r, FerryTraceFrame *out)
{
    const char *why = ferry_trace_frame_decode(out, &r->at, r->end, r->pages,
                                               r->in_chunk == r->of_chunk, &r->decoded);

    if (!why && out->span_ns > (uint64_t)G_MAXINT64 - r->clock_ns) {
        return "a span that takes the trace past 2^63 ns";
    }
    if (!why && r->in_chunk == 1 && r->at != r->end) {
        return "bytes behind the chunk's last frame";
    }
    return why;
}

FerryTraceNext ferry_trace_reader_next(FerryTraceReader *r, FerryTraceFrame *out_frame,
                                       GError **error)
{
    FerryTraceNext next;
    const char *why;

    if (r->again) {
        r->again = FALSE;
        *out_frame = r->frame;
        return FERRY_TRACE_FRAME;
    }
    if (r->stopped) {
        if (r->how == FERRY_TRACE_DAMAGED) {
            g_propagate_error(error, g_error_copy(r->problem));
        }
        return r->how;
    }
    next = next_chunk(r, error);
    if (next != FERRY_TRACE_FRAME) {
        return next;
    }
    r->frame = (FerryTraceFrame){.number = r->frames, .begin_ns = r->clock_ns};
    why = decode(r, &r->frame);
    if (why) {
        g_autofree char *text =
            g_strdup_printf("FRMS chunk, frame %" G_GUINT64_FORMAT ": %s", r->frames, why);
        return damaged(r, in_chunk(r->chunk_offset, text), error);
    }
    r->in_chunk--;
    r->frames++;
    r->clock_ns += r->frame.span_ns;
    *out_frame = r->frame;
    return FERRY_TRACE_FRAME;
}

void ferry_trace_reader_rewind(FerryTraceReader *r)
{
    ferry_trace_reader_go(r, r->first_chunk, 0, 0, 0);
}

void ferry_trace_reader_go(FerryTraceReader *r, uint64_t offset, uint64_t frames, uint64_t clock_ns,
                           unsigned later_blocks)
{
    r->offset = offset;
    r->frames = frames;
    r->clock_ns = clock_ns;
    r->blocks_taken = r->header_blocks + later_blocks;
    r->pages = 0;
    for (unsigned i = 0; i < r->blocks_taken; i++) {
        r->pages += g_array_index(r->header->blocks, FerryTraceBlock, i).pages;
    }
    r->in_chunk = 0;
    r->totals_met = r->stopped = r->again = FALSE;
}

const FerryTraceHeader *ferry_trace_reader_header(const FerryTraceReader *r) { return r->header; }

uint64_t ferry_trace_reader_first_pages(const FerryTraceReader *r)
{
    uint64_t pages = 0;

    for (unsigned i = 0; i < r->header_blocks; i++) {
        pages += g_array_index(r->header->blocks, FerryTraceBlock, i).pages;
    }
    return pages;
}

gboolean ferry_trace_reader_totals(const FerryTraceReader *r, FerryTraceTotals *out_totals)
{
    if (r->has_totals) {
        *out_totals = r->totals;
    }
    return r->has_totals;
}

const uint64_t *ferry_trace_reader_curve(const FerryTraceReader *r, unsigned *out_n)
{
    *out_n = r->has_totals ? r->curve->len / 2 : 0;
    return *out_n ? (const uint64_t *)(const void *)r->curve->data : NULL;
}
