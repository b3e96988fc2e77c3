/* Traces in other forms. First byte: which, and whether frames are put together; the rest is text.
 * Whatever it says, what comes out is a trace. */
#include "tests/fuzz/fuzz.h"
#include <string.h>
#include "trace/convert.h"

typedef struct {
    const uint8_t *data;
    size_t size, at, piece;
} Bytes;

static gboolean read_some(void *self, void *data, size_t n, size_t *out_n, GError **error)
{
    Bytes *b = self;

    (void)error;
    *out_n = MIN(MIN(n, b->piece), b->size - b->at);
    if (*out_n > 0) {
        memcpy(data, b->data + b->at, *out_n);
    }
    b->at += *out_n;
    return TRUE;
}

typedef struct {
    uint64_t pages, frames, now_ns;
    gboolean begun, ended;
} Seen;

static gboolean begin(void *self, const FerryTraceHeader *header, GError **error)
{
    Seen *s = self;

    (void)error;
    g_assert(!s->begun && header->method && header->page_bytes >= 512);
    s->begun = TRUE;
    s->pages = ferry_trace_header_pages(header);
    return TRUE;
}

static gboolean take_frame(void *self, const FerryTraceFrame *f, GError **error)
{
    Seen *s = self;
    uint64_t end = 0, pages = 0;

    (void)error;
    g_assert(s->begun && !s->ended);
    g_assert(f->number == s->frames++ && f->begin_ns == s->now_ns);
    for (uint64_t i = 0; i < f->n_runs; i++) {
        g_assert(f->runs[i].n > 0 && (i == 0 || f->runs[i].first > end));
        end = f->runs[i].first + f->runs[i].n;
        pages += f->runs[i].n;
    }
    g_assert(end <= s->pages && pages == f->n_pages);
    s->now_ns += f->span_ns;
    return TRUE;
}

static gboolean end_all(void *self, const FerryTraceTotals *totals, GError **error)
{
    Seen *s = self;

    (void)totals, (void)error;
    g_assert(s->begun && !s->ended);
    s->ended = TRUE;
    return TRUE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const FerryTraceTargetOps ops = {begin, NULL, NULL, take_frame, end_all, NULL};
    static gboolean (*const importers[])(const FerryTraceText *, const FerryImportOptions *,
                                         const FerryTraceTarget *, GError **) = {
        ferry_import_csv, ferry_import_criu, ferry_import_qmp};
    Seen seen = {0};
    g_autoptr(GError) error = NULL;

    if (size < 1) {
        return 0;
    }
    unsigned which = data[0] % G_N_ELEMENTS(importers);
    gboolean together = data[0] / G_N_ELEMENTS(importers) % 2;
    Bytes bytes = {data + 1, size - 1, 0, 1 + data[0]};
    FerryTraceText text = {read_some, &bytes};
    /* A small memory where pages are made up: all of it is looked at in each frame. */
    FerryImportOptions options = {.name = "x", .ram_bytes = which == 2 ? 1 << 20 : 0};
    FerryTraceCut cut = {.until_ns = UINT64_MAX, .interval_ns = together ? 1000000 : 0};
    g_auto(FerryTraceTarget) to = ferry_trace_filter(&cut, (FerryTraceTarget){&ops, &seen});
    gboolean good = importers[which](&text, &options, &to, &error);

    g_assert(good == !error && (!good || seen.ended));
    g_assert(good || error->domain == FERRY_TRACE_ERROR);
    return 0;
}
