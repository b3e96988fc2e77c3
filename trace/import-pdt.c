/* A trace as a source of frames. */
#include "trace/convert.h"

#define PIECE 65536u

static gboolean push_classes(FerryTraceReader *reader, uint64_t pages, const FerryTraceTarget *to,
                             GError **error)
{
    uint64_t end = MIN(pages, ferry_trace_reader_classes_end(reader));
    g_autofree uint8_t *piece = g_malloc(PIECE);

    for (uint64_t first = 0; first < end; first += PIECE) {
        uint64_t n = MIN(PIECE, end - first);
        if (!ferry_trace_reader_classes(reader, first, n, piece, error) ||
            !to->ops->classes(to->self, first, piece, n, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean push_frames(FerryTraceReader *reader, const FerryTraceTarget *to,
                            GError **out_damage, GError **error)
{
    const FerryTraceHeader *h = ferry_trace_reader_header(reader);
    guint known = h->blocks->len;
    FerryTraceFrame frame;
    FerryTraceNext next;

    while ((next = ferry_trace_reader_next(reader, &frame, out_damage)) == FERRY_TRACE_FRAME) {
        if (h->blocks->len > known) {
            const FerryTraceBlock *more = &g_array_index(h->blocks, FerryTraceBlock, known);
            if (!to->ops->add_blocks(to->self, more, h->blocks->len - known, error)) {
                return FALSE;
            }
            known = h->blocks->len;
        }
        if (!to->ops->frame(to->self, &frame, error)) {
            return FALSE;
        }
    }
    if (next == FERRY_TRACE_CUT) {
        g_set_error_literal(out_damage, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_DAMAGED,
                            "it was not finished");
    }
    return TRUE;
}

gboolean ferry_import_pdt(FerryTraceReader *reader, const FerryTraceTarget *to, GError **out_damage,
                          GError **error)
{
    const FerryTraceHeader *h = ferry_trace_reader_header(reader);
    FerryTraceTotals totals = {.slowdown_permille = -1};
    gboolean known = ferry_trace_reader_totals(reader, &totals);

    return to->ops->begin(to->self, h, error) &&
           push_classes(reader, ferry_trace_header_pages(h), to, error) &&
           push_frames(reader, to, out_damage, error) &&
           to->ops->end(to->self, known ? &totals : NULL, error);
}
