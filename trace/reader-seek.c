#include <string.h>
#include "trace/reader-private.h"

/* Chunks that lie before the one that holds a time. */
typedef struct {
    uint64_t offset, frames, time;
    unsigned later_blocks;
} Spot;

/* The last FRMS chunk that begins before @ns, or the first one, by the headers alone: what a
 * header says is checked when its chunk is read. */
static Spot spot_of(FerryTraceReader *r, uint64_t ns)
{
    Spot spot = {.offset = r->first_chunk};
    uint64_t offset = r->first_chunk, frames = 0;
    unsigned later_blocks = 0;
    FerryTraceChunk chunk;

    while (ferry_trace_reader_peek(r, offset, r->input.size, &chunk)) {
        if (chunk.kind == FERRY_TRACE_FRMS) {
            if (chunk.where != frames || chunk.time < spot.time || chunk.time >= ns) {
                break;
            }
            spot = (Spot){offset, frames, chunk.time, later_blocks};
            frames += chunk.count;
        } else if (chunk.kind == FERRY_TRACE_BLKS) {
            later_blocks += MIN(chunk.count, FERRY_TRACE_BLOCKS_MAX);
            if (r->header_blocks + later_blocks > r->header->blocks->len) {
                break; /* they are not known yet: from here on they are read on the way */
            }
        } else if (chunk.kind == FERRY_TRACE_INDX) {
            break;
        }
        offset += FERRY_TRACE_CHUNK_BYTES + chunk.packed;
    }
    return spot;
}

gboolean ferry_trace_reader_seek(FerryTraceReader *r, uint64_t ns, GError **error)
{
    Spot spot = spot_of(r, ns);
    FerryTraceFrame frame;
    FerryTraceNext next;
    uint64_t last = UINT64_MAX;

    ferry_trace_reader_go(r, spot.offset, spot.frames, spot.time, spot.later_blocks);
    while ((next = ferry_trace_reader_next(r, &frame, error)) == FERRY_TRACE_FRAME) {
        last = frame.number;
        if (frame.begin_ns + frame.span_ns >= ns) {
            r->again = TRUE;
            return TRUE;
        }
    }
    if (next == FERRY_TRACE_DAMAGED) {
        return FALSE;
    }
    /* Behind the end: once more, up to the last frame. */
    ferry_trace_reader_go(r, spot.offset, spot.frames, spot.time, spot.later_blocks);
    while (last != UINT64_MAX && ferry_trace_reader_next(r, &frame, error) == FERRY_TRACE_FRAME) {
        if (frame.number == last) {
            r->again = TRUE;
            return TRUE;
        }
    }
    if (!error || !*error) {
        g_set_error_literal(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_FORMAT,
                            "the trace has no frame");
    }
    return FALSE;
}

static void find_classes(FerryTraceReader *r)
{
    uint64_t offset = r->first_chunk;
    FerryTraceChunk chunk;

    r->classes = g_array_new(FALSE, FALSE, sizeof(FerryTraceClassPlace));
    while (ferry_trace_reader_peek(r, offset, r->input.size, &chunk) &&
           chunk.kind != FERRY_TRACE_FRMS && chunk.kind != FERRY_TRACE_INDX &&
           chunk.where <= FERRY_TRACE_PAGES_MAX) {
        if (chunk.kind == FERRY_TRACE_CLAS) {
            FerryTraceClassPlace place = {offset, chunk.where, chunk.count};
            g_array_append_val(r->classes, place);
        }
        offset += FERRY_TRACE_CHUNK_BYTES + chunk.packed;
    }
}

static gboolean load_classes(FerryTraceReader *r, const FerryTraceClassPlace *place, GError **error)
{
    GError *problem = NULL;
    FerryTraceChunk chunk;
    const char *why;

    if (r->class_offset == place->offset) {
        return TRUE;
    }
    r->class_offset = 0;
    if (!ferry_trace_reader_peek(r, place->offset, r->input.size, &chunk)) {
        why = "it cannot be read";
    } else {
        why = ferry_trace_payload_load(&r->class_payload, r, place->offset, &chunk, &problem);
    }
    if (!why && r->class_payload.bytes->len != place->n) {
        why = "another number of pages than it says";
    }
    why =
        why ? why
            : ferry_trace_classes_check(r->class_payload.bytes->data, r->class_payload.bytes->len);
    if (why) {
        g_set_error(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_DAMAGED,
                    "byte %" G_GUINT64_FORMAT ": CLAS chunk: %s", place->offset,
                    problem ? problem->message : why);
        g_clear_error(&problem);
        return FALSE;
    }
    r->class_offset = place->offset;
    return TRUE;
}

gboolean ferry_trace_reader_classes(FerryTraceReader *r, uint64_t first, uint64_t n, uint8_t *out,
                                    GError **error)
{
    if (!r->classes) {
        find_classes(r);
    }
    if (n > 0) {
        memset(out, FERRY_TRACE_CLASS_UNKNOWN, n);
    }
    for (guint i = 0; i < r->classes->len; i++) {
        const FerryTraceClassPlace *place = &g_array_index(r->classes, FerryTraceClassPlace, i);
        uint64_t from = MAX(first, place->first), to;

        if (place->first >= first + n || place->first + place->n <= first) {
            continue;
        }
        if (!load_classes(r, place, error)) {
            return FALSE;
        }
        to = MIN(first + n, place->first + place->n);
        memcpy(out + (from - first), r->class_payload.bytes->data + (from - place->first),
               to - from);
    }
    return TRUE;
}

uint64_t ferry_trace_reader_classes_end(FerryTraceReader *r)
{
    uint64_t end = 0;

    if (!r->classes) {
        find_classes(r);
    }
    for (guint i = 0; i < r->classes->len; i++) {
        const FerryTraceClassPlace *place = &g_array_index(r->classes, FerryTraceClassPlace, i);
        end = MAX(end, place->first + place->n);
    }
    return end;
}
