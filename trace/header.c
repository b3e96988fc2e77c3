#include "trace/header.h"
#include <string.h>

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

static gboolean page_bytes_good(uint64_t bytes, uint64_t most)
{
    return bytes >= 512 && bytes <= most && (bytes & (bytes - 1)) == 0;
}

uint64_t ferry_trace_blocks_names(const FerryTraceBlock *blocks, unsigned n)
{
    uint64_t bytes = 0;

    for (unsigned i = 0; i < n; i++) {
        bytes += strlen(blocks[i].name);
        bytes += blocks[i].backing ? strlen(blocks[i].backing) : 0;
    }
    return bytes;
}

/* As it will be written: bytes that are no UTF-8 become three. */
static gboolean name_good(const char *name)
{
    size_t most = g_utf8_validate(name, -1, NULL) ? FERRY_TRACE_NAME_MAX : FERRY_TRACE_NAME_MAX / 3;

    return strlen(name) <= most;
}

gboolean ferry_trace_blocks_check(const FerryTraceBlock *blocks, unsigned n, uint64_t pages_before,
                                  GError **error)
{
    for (unsigned i = 0; i < n; i++) {
        const FerryTraceBlock *b = &blocks[i];

        if (!b->name || !name_good(b->name) || (b->backing && !name_good(b->backing))) {
            return ferry_trace_json_refuse(error, "block %u: no name, or one of more than %u bytes",
                                           i, FERRY_TRACE_NAME_MAX);
        }
        if (b->page_bytes && !page_bytes_good(b->page_bytes, UINT64_C(1) << 31)) {
            return ferry_trace_json_refuse(error, "block %u: page_bytes: not a power of two", i);
        }
        if (b->pages > FERRY_TRACE_PAGES_MAX - pages_before) {
            return ferry_trace_json_refuse(error, "block %u: more than 2^40 pages together", i);
        }
        if (b->gpa != UINT64_MAX && b->gpa > G_MAXINT64) {
            return ferry_trace_json_refuse(error, "block %u: gpa of 2^63 or more", i);
        }
        pages_before += b->pages;
    }
    return TRUE;
}

gboolean ferry_trace_header_check(const FerryTraceHeader *h, GError **error)
{
    const FerryTraceBlock *blocks = (const FerryTraceBlock *)(const void *)h->blocks->data;

    if (!page_bytes_good(h->page_bytes, UINT64_C(1) << 30)) {
        return ferry_trace_json_refuse(error,
                                       "page_bytes: not a power of two from 512 bytes to 1 GiB");
    }
    if (!h->method) {
        return ferry_trace_json_refuse(error, "no method");
    }
    if (MAX(MAX(h->interval_ns, h->seed), MAX(h->start_wall_ns, h->start_monotonic_ns)) >
        G_MAXINT64) {
        return ferry_trace_json_refuse(error, "a time or seed of 2^63 or more");
    }
    if (h->blocks->len > FERRY_TRACE_BLOCKS_AT_ONCE) {
        return ferry_trace_json_refuse(error, "more than %u blocks", FERRY_TRACE_BLOCKS_AT_ONCE);
    }
    return ferry_trace_blocks_check(blocks, h->blocks->len, 0, error);
}
