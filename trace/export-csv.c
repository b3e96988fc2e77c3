/* CSV as a target: t_ms,block,first_page,n. What pages hold, and all else that frames may say, has
 * no place in it. A frame without pages is a line with n = 0. */
#include <string.h>
#include "trace/export.h"
#include "trace/import-csv.h"

typedef struct {
    char *name;
    uint64_t first, pages;
} Block;

typedef struct {
    FerryExportText out;
    GArray *blocks; /* Block, ascending */
    GHashTable *names;
    uint64_t pages;
} Csv;

static void clear_block(void *block) { g_free(((Block *)block)->name); }

/* A name that no other block has, without what divides the words and lines of CSV. */
static char *name_of(Csv *c, const char *name)
{
    g_autofree char *clean = g_strndup(name, 200);
    char *given;

    g_strstrip(g_strdelimit(clean, ",\"\n\r\t", '_'));
    given = g_strdup(clean[0] ? clean : "block");
    for (unsigned i = 2; g_hash_table_contains(c->names, given); i++) {
        g_free(given);
        given = g_strdup_printf("%s~%u", clean[0] ? clean : "block", i);
    }
    g_hash_table_add(c->names, g_strdup(given));
    return given;
}

static gboolean add_blocks(void *self, const FerryTraceBlock *blocks, unsigned n, GError **error)
{
    Csv *c = self;

    for (unsigned i = 0; i < n; i++) {
        if (blocks[i].pages > FERRY_CSV_PAGES_MAX) {
            g_set_error(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_FORMAT,
                        "block '%s' has more pages than a block may have in CSV", blocks[i].name);
            return FALSE;
        }
        Block block = {name_of(c, blocks[i].name), c->pages, blocks[i].pages};
        g_array_append_val(c->blocks, block);
        c->pages += block.pages;
        g_string_append_printf(c->out.text, "#block,%s,%" G_GUINT64_FORMAT "\n", block.name,
                               block.pages);
        if (!ferry_export_text_step(&c->out, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean begin(void *self, const FerryTraceHeader *h, GError **error)
{
    Csv *c = self;

    g_string_append_printf(c->out.text, "t_ms,block,first_page,n\n#page_bytes,%u\n", h->page_bytes);
    return add_blocks(self, (const FerryTraceBlock *)(gconstpointer)h->blocks->data, h->blocks->len,
                      error);
}

static gboolean classes(void *self, uint64_t first, const uint8_t *values, uint64_t n,
                        GError **error)
{
    (void)self, (void)first, (void)values, (void)n, (void)error;
    return TRUE;
}

static void add_time(GString *text, uint64_t ns)
{
    g_string_append_printf(text, "%" G_GUINT64_FORMAT, ns / 1000000);
    if (ns % 1000000 != 0) {
        g_string_append_printf(text, ".%06u", (unsigned)(ns % 1000000));
        while (text->str[text->len - 1] == '0') {
            g_string_truncate(text, text->len - 1);
        }
    }
}

static void add_line(Csv *c, uint64_t ns, const Block *block, uint64_t first, uint64_t n)
{
    add_time(c->out.text, ns);
    g_string_append_printf(c->out.text, ",%s,%" G_GUINT64_FORMAT ",%" G_GUINT64_FORMAT "\n",
                           block->name, first, n);
}

static gboolean take_frame(void *self, const FerryTraceFrame *frame, GError **error)
{
    Csv *c = self;
    uint64_t ns = frame->begin_ns + frame->span_ns;
    guint at = 0;

    for (uint64_t i = 0; i < frame->n_runs; i++) {
        FerryTraceRun left = frame->runs[i];
        while (left.n > 0 && at < c->blocks->len) {
            const Block *block = &g_array_index(c->blocks, Block, at);
            uint64_t within = left.first - block->first;
            if (within >= block->pages) {
                at++;
                continue;
            }
            uint64_t n = MIN(left.n, block->pages - within);
            add_line(c, ns, block, within, n);
            left.first += n;
            left.n -= n;
        }
        if (!ferry_export_text_step(&c->out, error)) {
            return FALSE;
        }
    }
    if (frame->n_runs == 0 && c->blocks->len > 0) {
        add_line(c, ns, &g_array_index(c->blocks, Block, 0), 0, 0);
    }
    return ferry_export_text_step(&c->out, error);
}

static gboolean end(void *self, const FerryTraceTotals *totals, GError **error)
{
    (void)totals;
    return ferry_export_text_flush(&((Csv *)self)->out, error);
}

static void csv_free(void *self)
{
    Csv *c = self;

    ferry_export_text_clear(&c->out);
    g_array_unref(c->blocks);
    g_hash_table_unref(c->names);
    g_free(c);
}

FerryTraceTarget ferry_export_csv(const FerryTraceSink *sink)
{
    static const FerryTraceTargetOps ops = {begin, classes, add_blocks, take_frame, end, csv_free};
    Csv *c = g_new0(Csv, 1);

    ferry_export_text_init(&c->out, sink);
    c->blocks = g_array_new(FALSE, FALSE, sizeof(Block));
    g_array_set_clear_func(c->blocks, clear_block);
    c->names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    return (FerryTraceTarget){&ops, c};
}
