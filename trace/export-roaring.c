/* CRoaring's portable bitmaps as a target, one for each frame. All integers are little-endian:
 *
 *     magic       8 bytes  "PDTROAR" and 1
 *     page_bytes  u32
 *     pages       u64      of all blocks at the beginning
 *     frames, each:
 *         begin_ns, span_ns  u64
 *         size               u32
 *         bitmap             that many bytes, as CRoaring's portable serialization has it */
#include <string.h>
#include "trace/export.h"

#ifdef FERRY_HAVE_ROARING
#include <roaring/roaring.h>

typedef struct {
    FerryTraceSink sink;
    GByteArray *bytes;
} Roaring;

static void add(GByteArray *bytes, uint64_t value, unsigned n)
{
    uint64_t little = GUINT64_TO_LE(value);

    g_byte_array_append(bytes, (const uint8_t *)&little, n);
}

static gboolean send(Roaring *r, GError **error)
{
    gboolean ok = r->sink.write(r->sink.self, r->bytes->data, r->bytes->len, error);

    g_byte_array_set_size(r->bytes, 0);
    return ok;
}

static gboolean begin(void *self, const FerryTraceHeader *h, GError **error)
{
    Roaring *r = self;

    g_byte_array_append(r->bytes, (const uint8_t *)"PDTROAR\1", 8);
    add(r->bytes, h->page_bytes, 4);
    add(r->bytes, ferry_trace_header_pages(h), 8);
    return send(r, error);
}

static gboolean classes(void *self, uint64_t first, const uint8_t *values, uint64_t n,
                        GError **error)
{
    (void)self, (void)first, (void)values, (void)n, (void)error;
    return TRUE;
}

static gboolean add_blocks(void *self, const FerryTraceBlock *blocks, unsigned n, GError **error)
{
    (void)self, (void)blocks, (void)n, (void)error;
    return TRUE;
}

static gboolean take_frame(void *self, const FerryTraceFrame *f, GError **error)
{
    Roaring *r = self;
    roaring_bitmap_t *set;
    size_t size;

    if (f->n_runs > 0 && f->runs[f->n_runs - 1].first + f->runs[f->n_runs - 1].n > UINT64_C(1)
                                                                                       << 32) {
        g_set_error(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_FORMAT,
                    "frame %" G_GUINT64_FORMAT ": a bitmap holds pages up to 2^32 only", f->number);
        return FALSE;
    }
    set = roaring_bitmap_create();
    for (uint64_t i = 0; i < f->n_runs; i++) {
        roaring_bitmap_add_range(set, f->runs[i].first, f->runs[i].first + f->runs[i].n);
    }
    roaring_bitmap_run_optimize(set);
    size = roaring_bitmap_portable_size_in_bytes(set);
    add(r->bytes, f->begin_ns, 8);
    add(r->bytes, f->span_ns, 8);
    add(r->bytes, size, 4);
    g_byte_array_set_size(r->bytes, 20 + (guint)size);
    roaring_bitmap_portable_serialize(set, (char *)r->bytes->data + 20);
    roaring_bitmap_free(set);
    return send(r, error);
}

static gboolean end(void *self, const FerryTraceTotals *totals, GError **error)
{
    (void)self, (void)totals, (void)error;
    return TRUE;
}

static void roaring_free(void *self)
{
    g_byte_array_unref(((Roaring *)self)->bytes);
    g_free(self);
}

FerryTraceTarget ferry_export_roaring(const FerryTraceSink *sink)
{
    static const FerryTraceTargetOps ops = {begin,      classes, add_blocks,
                                            take_frame, end,     roaring_free};
    Roaring *r = g_new0(Roaring, 1);

    r->sink = *sink;
    r->bytes = g_byte_array_new();
    return (FerryTraceTarget){&ops, r};
}

#else

FerryTraceTarget ferry_export_roaring(const FerryTraceSink *sink)
{
    (void)sink;
    return (FerryTraceTarget){NULL, NULL};
}

#endif
