/* JSON lines as a target: {"type": "trace"}, "blocks", "classes", "frame", "end". */
#include "trace/export.h"
#include "trace/header.h"

typedef struct {
    FerryExportText out;
    uint64_t frames, pages;
} Json;

/* Onto one line: within JSON a newline is nothing but space. */
static char *one_line(char *text) { return g_strdelimit(text, "\n", ' '); }

static gboolean begin(void *self, const FerryTraceHeader *h, GError **error)
{
    Json *j = self;
    g_autofree char *text = one_line(ferry_trace_header_to_json(h));

    g_string_append_printf(j->out.text, "{\"type\":\"trace\",\"header\":%s}\n", text);
    return ferry_export_text_step(&j->out, error);
}

/* Equal ones that follow one another together, as [n, value]; all four parts of a quarter's pages
 * and all classes are told so. */
static void add_values(GString *text, const char *name, const uint8_t *values, uint64_t n)
{
    g_string_append_printf(text, ",\"%s\":[", name);
    for (uint64_t i = 0, same; i < n; i += same) {
        for (same = 1; i + same < n && values[i + same] == values[i]; same++) {
        }
        g_string_append_printf(text, "%s[%" G_GUINT64_FORMAT ",%u]", i > 0 ? "," : "", same,
                               values[i]);
    }
    g_string_append_c(text, ']');
}

static gboolean classes(void *self, uint64_t first, const uint8_t *values, uint64_t n,
                        GError **error)
{
    Json *j = self;

    g_string_append_printf(j->out.text, "{\"type\":\"classes\",\"first\":%" G_GUINT64_FORMAT,
                           first);
    add_values(j->out.text, "classes", values, n);
    g_string_append(j->out.text, "}\n");
    return ferry_export_text_step(&j->out, error);
}

static gboolean add_blocks(void *self, const FerryTraceBlock *blocks, unsigned n, GError **error)
{
    Json *j = self;
    g_autofree char *text = one_line(ferry_trace_blocks_to_json(blocks, n));

    g_string_append_printf(j->out.text, "{\"type\":\"blocks\",\"blocks\":%s}\n", text);
    return ferry_export_text_step(&j->out, error);
}

static gboolean take_frame(void *self, const FerryTraceFrame *f, GError **error)
{
    Json *j = self;
    GString *text = j->out.text;

    g_string_append_printf(text,
                           "{\"type\":\"frame\",\"number\":%" G_GUINT64_FORMAT
                           ",\"begin_ns\":%" G_GUINT64_FORMAT ",\"span_ns\":%" G_GUINT64_FORMAT
                           ",\"pages\":%" G_GUINT64_FORMAT ",\"runs\":[",
                           f->number, f->begin_ns, f->span_ns, f->n_pages);
    for (uint64_t i = 0; i < f->n_runs; i++) {
        g_string_append_printf(text, "%s[%" G_GUINT64_FORMAT ",%" G_GUINT64_FORMAT "]",
                               i > 0 ? "," : "", f->runs[i].first, f->runs[i].n);
    }
    g_string_append_c(text, ']');
    if (f->classes) {
        add_values(text, "classes", f->classes, f->n_pages);
    }
    if (f->quarters) {
        add_values(text, "quarters", f->quarters, f->n_pages);
    }
    if (f->throttle_percent) {
        g_string_append_printf(text, ",\"throttle_percent\":%u", f->throttle_percent);
    }
    if (f->ran_ns != UINT64_MAX) {
        g_string_append_printf(text, ",\"ran_ns\":%" G_GUINT64_FORMAT, f->ran_ns);
    }
    g_string_append(text, "}\n");
    j->frames++;
    j->pages += f->n_pages;
    return ferry_export_text_step(&j->out, error);
}

static gboolean end(void *self, const FerryTraceTotals *totals, GError **error)
{
    Json *j = self;

    g_string_append_printf(j->out.text,
                           "{\"type\":\"end\",\"frames\":%" G_GUINT64_FORMAT
                           ",\"pages_written\":%" G_GUINT64_FORMAT,
                           j->frames, j->pages);
    if (totals && totals->ended) {
        g_string_append_printf(j->out.text, ",\"ended\":\"%s\"", totals->ended);
    }
    g_string_append(j->out.text, "}\n");
    return ferry_export_text_flush(&j->out, error);
}

static void json_free(void *self)
{
    ferry_export_text_clear(&((Json *)self)->out);
    g_free(self);
}

FerryTraceTarget ferry_export_json(const FerryTraceSink *sink)
{
    static const FerryTraceTargetOps ops = {begin, classes, add_blocks, take_frame, end, json_free};
    Json *j = g_new0(Json, 1);

    ferry_export_text_init(&j->out, sink);
    return (FerryTraceTarget){&ops, j};
}
