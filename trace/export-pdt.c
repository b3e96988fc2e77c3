/* A trace as a target: a writer whose header comes later. Also what all targets share. */
#include "trace/export.h"

void ferry_trace_target_clear(FerryTraceTarget *target)
{
    if (target->ops && target->ops->free) {
        target->ops->free(target->self);
    }
    *target = (FerryTraceTarget){NULL, NULL};
}

void ferry_export_text_init(FerryExportText *out, const FerryTraceSink *sink)
{
    *out = (FerryExportText){*sink, g_string_new(NULL)};
}

void ferry_export_text_clear(FerryExportText *out) { g_string_free(out->text, TRUE); }

gboolean ferry_export_text_flush(FerryExportText *out, GError **error)
{
    gboolean ok = out->text->len == 0 ||
                  out->sink.write(out->sink.self, out->text->str, out->text->len, error);

    g_string_truncate(out->text, 0);
    return ok;
}

typedef struct {
    FerryTraceSink sink;
    FerryTraceWriter *writer;
} Pdt;

static gboolean begin(void *self, const FerryTraceHeader *header, GError **error)
{
    Pdt *p = self;

    p->writer = ferry_trace_writer_new(header, &p->sink, NULL, error);
    return p->writer != NULL;
}

static gboolean classes(void *self, uint64_t first, const uint8_t *values, uint64_t n,
                        GError **error)
{
    return ferry_trace_writer_classes(((Pdt *)self)->writer, first, values, n, error);
}

static gboolean add_blocks(void *self, const FerryTraceBlock *blocks, unsigned n, GError **error)
{
    return ferry_trace_writer_add_blocks(((Pdt *)self)->writer, blocks, n, error);
}

static gboolean take_frame(void *self, const FerryTraceFrame *frame, GError **error)
{
    return ferry_trace_writer_frame(((Pdt *)self)->writer, frame, error);
}

static gboolean end(void *self, const FerryTraceTotals *totals, GError **error)
{
    return ferry_trace_writer_end(((Pdt *)self)->writer, totals, error);
}

static void pdt_free(void *self)
{
    ferry_trace_writer_free(((Pdt *)self)->writer);
    g_free(self);
}

FerryTraceTarget ferry_export_pdt(const FerryTraceSink *sink)
{
    static const FerryTraceTargetOps ops = {begin, classes, add_blocks, take_frame, end, pdt_free};
    Pdt *p = g_new0(Pdt, 1);

    p->sink = *sink;
    return (FerryTraceTarget){&ops, p};
}
