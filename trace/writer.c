#include <string.h>
#include "trace/chunk.h"
#include "trace/frame.h"
#include "trace/header.h"
#include "trace/index.h"
#include "trace/totals.h"

#define DEFAULT_LEVEL 1
/* Sets of more runs are kept for the next frame only where frames are seen to be alike: to copy
 * them takes an eighth of the time that writing them does. */
#define KEPT_RUNS 4096u

struct FerryTraceWriter {
    FerryTraceSink sink;
    int level;
    ZSTD_CCtx *packer;
    uint64_t pages, n_blocks, name_bytes;
    uint64_t frames, clock_ns, pages_written, bytes;
    gboolean ended, broken; /* broken: bytes were lost, so nothing may follow */

    GByteArray *payload; /* frames of the chunk that is being gathered */
    guint gathered;      /* how many */
    uint64_t chunk_ns;   /* where the first of them begins */
    GByteArray *out;     /* a whole chunk */
    FerryTraceSet previous, scratch, sample;
    gboolean has_previous; /* or else only a sample of it */

    GByteArray *classes; /* of pages from classes_first on, gathered */
    uint64_t classes_first, classes_end;
    GArray *index;          /* FerryTracePlace */
    FerryTraceCount *count; /* NULL: no totals */
};

static gboolean refuse(GError **error, const char *why)
{
    g_set_error_literal(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_FORMAT, why);
    return FALSE;
}

static gboolean send(FerryTraceWriter *w, const void *data, size_t n, GError **error)
{
    if (w->broken) {
        return refuse(error, "the trace was broken off by an earlier error");
    }
    if (!w->sink.write(w->sink.self, data, n, error)) {
        w->broken = TRUE;
        return FALSE;
    }
    w->bytes += n;
    return TRUE;
}

static gboolean send_chunk(FerryTraceWriter *w, FerryTraceChunk *chunk, const void *payload,
                           size_t n, GError **error)
{
    FerryTracePlace place = {
        .offset = w->bytes, .where = chunk->where, .time = chunk->time, .count = chunk->count};

    if (chunk->kind == FERRY_TRACE_FRMS || chunk->kind == FERRY_TRACE_BLKS) {
        if (w->index->len >= FERRY_TRACE_INDEX_MAX) {
            return refuse(error, "more chunks than an index has room for: flush less often");
        }
        place.is_blocks = chunk->kind == FERRY_TRACE_BLKS;
        g_array_append_val(w->index, place);
    }
    g_byte_array_set_size(w->out, 0);
    ferry_trace_chunk_encode(w->out, chunk, payload, n, w->packer, w->level);
    return send(w, w->out->data, w->out->len, error);
}

static gboolean send_header(FerryTraceWriter *w, const FerryTraceHeader *header, GError **error)
{
    g_autofree char *json = ferry_trace_header_to_json(header);
    g_autoptr(GByteArray) out = g_byte_array_new();
    size_t n = strlen(json);

    if (n > FERRY_TRACE_JSON_MAX) {
        return refuse(error, "a header of more than 16 MiB");
    }
    g_byte_array_set_size(out, FERRY_TRACE_PREFIX_BYTES);
    ferry_trace_prefix_encode(out->data, json, (uint32_t)n);
    g_byte_array_append(out, (const guint8 *)json, (guint)n);
    return send(w, out->data, out->len, error);
}

FerryTraceWriter *ferry_trace_writer_new(const FerryTraceHeader *header, const FerryTraceSink *sink,
                                         const FerryTraceWriterOptions *options, GError **error)
{
    g_autoptr(FerryTraceWriter) w = NULL;
    const FerryTraceBlock *blocks = (const FerryTraceBlock *)(const void *)header->blocks->data;

    if (!ferry_trace_header_check(header, error)) {
        return NULL;
    }
    w = g_new0(FerryTraceWriter, 1);
    w->sink = *sink;
    w->level = options && options->level ? options->level : DEFAULT_LEVEL;
    w->packer = ZSTD_createCCtx();
    w->pages = ferry_trace_header_pages(header);
    w->n_blocks = header->blocks->len;
    w->name_bytes = ferry_trace_blocks_names(blocks, header->blocks->len);
    w->payload = g_byte_array_new();
    w->out = g_byte_array_new();
    w->classes = g_byte_array_new();
    w->index = g_array_new(FALSE, FALSE, sizeof(FerryTracePlace));
    w->count = options && options->no_totals ? NULL : ferry_trace_count_new();
    return send_header(w, header, error) ? g_steal_pointer(&w) : NULL;
}

static gboolean send_classes(FerryTraceWriter *w, GError **error)
{
    FerryTraceChunk chunk = {
        .kind = FERRY_TRACE_CLAS, .count = w->classes->len, .where = w->classes_first};
    gboolean good =
        w->classes->len == 0 || send_chunk(w, &chunk, w->classes->data, w->classes->len, error);

    w->classes_first = w->classes_end;
    g_byte_array_set_size(w->classes, 0);
    return good;
}

gboolean ferry_trace_writer_classes(FerryTraceWriter *w, uint64_t first, const uint8_t *classes,
                                    uint64_t n, GError **error)
{
    const char *why = ferry_trace_classes_check(classes, n);

    if (why) {
        return refuse(error, why);
    }
    if (w->ended || w->frames > 0 || first < w->classes_end || first > w->pages ||
        n > w->pages - first) {
        return refuse(error, "classes of pages that there are not, out of order, or behind frames");
    }
    if (first != w->classes_end && !send_classes(w, error)) {
        return FALSE;
    }
    w->classes_first = w->classes->len ? w->classes_first : first;
    for (uint64_t at = 0; at < n;) {
        guint some = (guint)MIN(n - at, FERRY_TRACE_CHUNK_GOAL - w->classes->len);

        g_byte_array_append(w->classes, classes + at, some);
        at += some;
        w->classes_end = first + at;
        if (w->classes->len == FERRY_TRACE_CHUNK_GOAL && !send_classes(w, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean ferry_trace_writer_flush(FerryTraceWriter *w, GError **error)
{
    FerryTraceChunk chunk = {.kind = FERRY_TRACE_FRMS,
                             .count = w->gathered,
                             .where = w->frames - w->gathered,
                             .time = w->chunk_ns};

    if (!send_classes(w, error)) {
        return FALSE;
    }
    if (w->gathered > 0 && !send_chunk(w, &chunk, w->payload->data, w->payload->len, error)) {
        return FALSE;
    }
    g_byte_array_set_size(w->payload, 0);
    w->gathered = 0;
    w->chunk_ns = w->clock_ns;
    return TRUE;
}

gboolean ferry_trace_writer_add_blocks(FerryTraceWriter *w, const FerryTraceBlock *blocks,
                                       unsigned n, GError **error)
{
    if (w->ended || n > FERRY_TRACE_BLOCKS_MAX - w->n_blocks) {
        return refuse(error, "blocks behind the end, or more than a trace may have");
    }
    if (!ferry_trace_blocks_check(blocks, n, w->pages, error) ||
        !ferry_trace_writer_flush(w, error)) {
        return FALSE;
    }
    w->name_bytes += ferry_trace_blocks_names(blocks, n);
    if (w->name_bytes > FERRY_TRACE_NAMES_MAX) {
        return refuse(error, "names of blocks of more than 64 MiB together");
    }
    for (unsigned at = 0, some; at < n; at += some) {
        FerryTraceChunk chunk = {.kind = FERRY_TRACE_BLKS, .where = w->pages, .time = w->clock_ns};
        g_autofree char *json = NULL;

        some = MIN(n - at, FERRY_TRACE_BLOCKS_PER_CHUNK);
        json = ferry_trace_blocks_to_json(blocks + at, some);
        chunk.count = some;
        if (!send_chunk(w, &chunk, json, strlen(json), error)) {
            return FALSE;
        }
        for (unsigned i = at; i < at + some; i++) {
            w->pages += blocks[i].pages;
        }
    }
    w->n_blocks += n;
    return TRUE;
}

/* Behind what is gathered; a chunk that would become too large for it goes out first. */
static gboolean gather(FerryTraceWriter *w, const FerryTraceFrame *frame, GError **error)
{
    for (;;) {
        guint before = w->payload->len;

        ferry_trace_frame_encode(w->payload, frame, w->pages,
                                 w->gathered && w->has_previous ? &w->previous : NULL, &w->scratch);
        if (w->payload->len <= FERRY_TRACE_PAYLOAD_MAX) {
            return TRUE;
        }
        g_byte_array_set_size(w->payload, before);
        if (w->gathered == 0) {
            return refuse(error, "a frame that takes more than 64 MiB: make frames shorter");
        }
        if (!ferry_trace_writer_flush(w, error)) {
            return FALSE;
        }
    }
}

static void keep(FerryTraceWriter *w, const FerryTraceFrame *frame)
{
    const FerryTraceSet set = {.runs = (FerryTraceRun *)frame->runs, .n = frame->n_runs};

    w->has_previous = set.n <= KEPT_RUNS || ferry_trace_set_resembles(&w->sample, &set);
    if (w->has_previous) {
        ferry_trace_set_copy(&w->previous, set.runs, set.n);
    }
    ferry_trace_set_sample(&w->sample, set.runs, set.n);
}

gboolean ferry_trace_writer_frame(FerryTraceWriter *w, const FerryTraceFrame *frame, GError **error)
{
    FerryTraceFrame f = *frame;
    const char *why = ferry_trace_frame_check(frame, w->pages, &f.n_pages);

    if (why) {
        g_set_error(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_FORMAT,
                    "frame %" G_GUINT64_FORMAT ": %s", w->frames, why);
        return FALSE;
    }
    if (w->ended || w->broken || w->frames >= G_MAXUINT32 - 1 ||
        f.span_ns > (uint64_t)G_MAXINT64 - w->clock_ns) {
        return refuse(error,
                      "a frame behind the end, or more frames or time than a trace may have");
    }
    if (!send_classes(w, error) || !gather(w, &f, error)) {
        return FALSE;
    }
    if (w->count) {
        ferry_trace_count_frame(w->count, f.runs, f.n_runs);
    }
    w->gathered++;
    w->frames++;
    w->pages_written += f.n_pages;
    w->clock_ns += f.span_ns;
    keep(w, &f);
    if (w->gathered >= FERRY_TRACE_CHUNK_FRAMES || w->payload->len >= FERRY_TRACE_CHUNK_GOAL) {
        return ferry_trace_writer_flush(w, error);
    }
    return TRUE;
}

static gboolean send_totals(FerryTraceWriter *w, const FerryTraceTotals *totals, GError **error)
{
    FerryTraceChunk chunk = {.kind = FERRY_TRACE_TOTL, .time = w->clock_ns};
    FerryTraceTotals t = {.slowdown_permille = -1};
    g_autoptr(GArray) curve = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    g_autofree char *json = NULL;

    t = totals ? *totals : t;
    t.frames = w->frames;
    t.pages_written = w->pages_written;
    t.length_ns = w->clock_ns;
    if (w->count) {
        t.distinct_pages = ferry_trace_count_distinct(w->count);
        ferry_trace_count_curve(w->count, w->clock_ns, curve);
    }
    json = ferry_trace_totals_to_json(&t, w->count != NULL, curve);
    return send_chunk(w, &chunk, json, strlen(json), error);
}

gboolean ferry_trace_writer_end(FerryTraceWriter *w, const FerryTraceTotals *totals, GError **error)
{
    g_autoptr(GByteArray) index = g_byte_array_new();
    FerryTraceChunk chunk = {.kind = FERRY_TRACE_INDX};
    uint8_t tail[FERRY_TRACE_TAIL_BYTES];

    if (w->ended) {
        return refuse(error, "the trace has its end already");
    }
    if (!ferry_trace_writer_flush(w, error) || !send_totals(w, totals, error)) {
        return FALSE;
    }
    w->ended = TRUE;
    ferry_trace_index_encode(index, w->index);
    chunk.count = w->index->len;
    ferry_trace_tail_encode(tail, w->bytes);
    return send_chunk(w, &chunk, index->data, index->len, error) &&
           send(w, tail, sizeof tail, error);
}

uint64_t ferry_trace_writer_bytes(const FerryTraceWriter *w) { return w->bytes; }

void ferry_trace_writer_free(FerryTraceWriter *w)
{
    if (!w) {
        return;
    }
    ZSTD_freeCCtx(w->packer);
    g_byte_array_unref(w->payload);
    g_byte_array_unref(w->out);
    g_byte_array_unref(w->classes);
    g_array_unref(w->index);
    ferry_trace_set_clear(&w->previous);
    ferry_trace_set_clear(&w->scratch);
    ferry_trace_set_clear(&w->sample);
    ferry_trace_count_free(w->count);
    g_free(w);
}
