#include "trace/trace.h"

G_DEFINE_QUARK(ferry - trace - error - quark, ferry_trace_error)

static void clear_block(void *p)
{
    FerryTraceBlock *block = p;

    g_free(block->name);
    g_free(block->backing);
}

FerryTraceHeader *ferry_trace_header_new(void)
{
    FerryTraceHeader *h = g_new0(FerryTraceHeader, 1);

    h->page_bytes = 4096;
    h->blocks = g_array_new(FALSE, TRUE, sizeof(FerryTraceBlock));
    g_array_set_clear_func(h->blocks, clear_block);
    return h;
}

void ferry_trace_header_add(FerryTraceHeader *h, const char *name, uint64_t pages)
{
    FerryTraceBlock block = {.name = g_strdup(name), .pages = pages, .gpa = UINT64_MAX};

    g_array_append_val(h->blocks, block);
}

uint64_t ferry_trace_header_pages(const FerryTraceHeader *h)
{
    uint64_t pages = 0;

    for (unsigned i = 0; i < h->blocks->len; i++) {
        pages += g_array_index(h->blocks, FerryTraceBlock, i).pages;
    }
    return pages;
}

void ferry_trace_header_free(FerryTraceHeader *h)
{
    if (!h) {
        return;
    }
    g_array_unref(h->blocks);
    g_free(h->method);
    g_free(h->host);
    g_free(h->guest);
    g_free(h->tool);
    g_free(h->workload);
    g_free(h->licence);
    g_free(h->provenance);
    g_free(h);
}
