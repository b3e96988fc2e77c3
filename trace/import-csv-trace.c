/* CSV as a source of frames. */
#include "trace/import-csv.h"
#include "trace/import-frames.h"

#define CLOCK_NS UINT64_C(1000000000000000) /* times from 11 days on are of the wall clock */

static gboolean refuse(GError **error, const char *why)
{
    g_set_error_literal(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_FORMAT, why);
    return FALSE;
}

/* What is not spoken of lies behind the last block. */
static gboolean add_blocks(FerryTraceHeader *h, const FerryCsv *csv, uint64_t ram_bytes,
                           GError **error)
{
    uint64_t seen = 0, ram = ram_bytes / h->page_bytes;

    for (guint i = 0; i < csv->names->len; i++) {
        uint64_t pages = g_array_index(csv->pages, uint64_t, i);
        ferry_trace_header_add(h, g_ptr_array_index(csv->names, i), pages);
        seen += pages;
    }
    if (ram_bytes && ram < seen) {
        g_set_error(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_FORMAT,
                    "%" G_GUINT64_FORMAT " pages are written or named, which is more memory than "
                    "it shall have",
                    seen);
        return FALSE;
    }
    if (ram > seen && h->blocks->len > 0) {
        g_array_index(h->blocks, FerryTraceBlock, h->blocks->len - 1).pages += ram - seen;
    }
    return h->blocks->len > 0 || refuse(error, "no line speaks of a page");
}

static gboolean push(const FerryCsv *csv, const uint64_t *bases, uint64_t begin_ns,
                     const FerryTraceTarget *to, GError **error)
{
    g_auto(FerryImportFrames) frames = {0};

    ferry_import_frames_init(&frames, to);
    for (guint i = 0; i < csv->events->len; i++) {
        const FerryCsvEvent *e = &g_array_index(csv->events, FerryCsvEvent, i);
        ferry_import_frames_add(&frames, bases[e->block] + e->first, e->n);
        if ((i + 1 == csv->events->len || e[1].ns != e->ns) &&
            !ferry_import_frames_end(&frames, e->ns - begin_ns, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean ferry_import_csv(const FerryTraceText *text, const FerryImportOptions *options,
                          const FerryTraceTarget *to, GError **error)
{
    g_auto(FerryCsv) csv = {0};
    g_autoptr(FerryTraceHeader) h = ferry_trace_header_new();
    g_autofree uint64_t *bases = NULL;
    uint64_t first, begin = 0;

    if (!ferry_csv_read(text, &csv, error)) {
        return FALSE;
    }
    if (csv.events->len == 0) {
        return refuse(error, "it has no line of a trace");
    }
    h->page_bytes = csv.page_bytes;
    h->interval_ns = ferry_csv_finest(&csv);
    first = g_array_index(csv.events, FerryCsvEvent, 0).ns;
    if (first >= CLOCK_NS) { /* the first frame is as long as the shortest one */
        begin = first - h->interval_ns;
        h->start_wall_ns = begin;
    }
    ferry_import_describe(h, options, "");
    if (!add_blocks(h, &csv, options->ram_bytes, error)) {
        return FALSE;
    }
    bases = g_new0(uint64_t, csv.names->len + 1);
    for (guint i = 0; i < csv.names->len; i++) {
        bases[i + 1] = bases[i] + g_array_index(csv.pages, uint64_t, i);
    }
    return to->ops->begin(to->self, h, error) && push(&csv, bases, begin, to, error) &&
           to->ops->end(to->self, NULL, error);
}
