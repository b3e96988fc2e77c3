/* gnuplot's SVG made fit to stand inside a page: read as XML and written anew, so that only
 * elements and attributes that draw are left, and ids of one figure are not another's. */
#include <string.h>
#include "tools/figures.h"

static const char *const elements[] = {"svg",    "g",       "path",       "text",    "tspan",
                                       "defs",   "circle",  "rect",       "use",     "polygon",
                                       "image",  "line",    "polyline",   "pattern", "clipPath",
                                       "filter", "feFlood", "feComposite"};
static const char *const attributes[] = {"x",
                                         "y",
                                         "width",
                                         "height",
                                         "viewBox",
                                         "d",
                                         "id",
                                         "r",
                                         "cx",
                                         "cy",
                                         "points",
                                         "transform",
                                         "fill",
                                         "stroke",
                                         "color",
                                         "fill-opacity",
                                         "clip-path",
                                         "opacity",
                                         "font-family",
                                         "font-size",
                                         "font-weight",
                                         "font-style",
                                         "text-anchor",
                                         "xml:space",
                                         "dx",
                                         "dy",
                                         "stroke-width",
                                         "stroke-linecap",
                                         "xlink:href",
                                         "xmlns",
                                         "filter",
                                         "result",
                                         "stroke-linejoin",
                                         "patternUnits",
                                         "in",
                                         "in2",
                                         "operator",
                                         "x1",
                                         "x2",
                                         "stroke-dasharray",
                                         "y1",
                                         "y2",
                                         "flood-color",
                                         "filterUnits",
                                         "flood-opacity",
                                         "shape-rendering",
                                         "xmlns:xlink",
                                         "preserveAspectRatio",
                                         "image-rendering",
                                         "patternContentUnits"};

typedef struct {
    GString *out;
    const char *prefix;
    unsigned skipped; /* depth inside of an element that does not draw */
    gboolean is_text;
} Writer;

static gboolean is_among(const char *const *list, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(list[i], name) == 0) {
            return TRUE;
        }
    }
    return FALSE;
}

/* References stay inside the figure, or bring their image along. */
static gboolean is_reference(const char *value)
{
    return value[0] == '#' || g_str_has_prefix(value, "data:image/png;base64,");
}

static void append_attribute(Writer *w, const char *name, const char *value)
{
    gboolean is_href = strcmp(name, "xlink:href") == 0;
    gboolean is_url = g_str_has_prefix(value, "url(#");

    if (!is_among(attributes, G_N_ELEMENTS(attributes), name) ||
        (is_href && !is_reference(value)) || (!is_url && strstr(value, "url("))) {
        return;
    }
    const char *at = is_href && value[0] == '#' ? value + 1 : is_url ? value + 5 : value;
    g_autofree char *escaped = g_markup_escape_text(at, -1);
    g_string_append_printf(w->out, " %s=\"%.*s%s%s\"", name, (int)(at - value), value,
                           at != value || strcmp(name, "id") == 0 ? w->prefix : "", escaped);
}

static void start(GMarkupParseContext *context, const char *name, const char **names,
                  const char **values, gpointer self, GError **error)
{
    Writer *w = self;

    (void)context;
    (void)error;
    if (w->skipped > 0 || !is_among(elements, G_N_ELEMENTS(elements), name)) {
        w->skipped++;
        return;
    }
    g_string_append_printf(w->out, "<%s", name);
    for (unsigned i = 0; names[i]; i++) {
        append_attribute(w, names[i], values[i]);
    }
    g_string_append_c(w->out, '>');
    w->is_text = strcmp(name, "text") == 0 || strcmp(name, "tspan") == 0;
}

static void end(GMarkupParseContext *context, const char *name, gpointer self, GError **error)
{
    Writer *w = self;

    (void)context;
    (void)error;
    if (w->skipped > 0) {
        w->skipped--;
        return;
    }
    g_string_append_printf(w->out, "</%s>%s", name, w->is_text ? "" : "\n");
    w->is_text = strcmp(name, "tspan") == 0;
}

static void text(GMarkupParseContext *context, const char *words, gsize n, gpointer self,
                 GError **error)
{
    Writer *w = self;

    (void)context;
    (void)error;
    if (w->skipped == 0 && w->is_text) {
        g_autofree char *escaped = g_markup_escape_text(words, (gssize)n);
        g_string_append(w->out, escaped);
    }
}

char *ferry_figure_inline_svg(const char *svg, size_t n, const char *prefix, GError **error)
{
    static const GMarkupParser parser = {.start_element = start, .end_element = end, .text = text};
    g_autoptr(GString) out = g_string_new(NULL);
    Writer w = {.out = out, .prefix = prefix};
    g_autoptr(GMarkupParseContext) context =
        g_markup_parse_context_new(&parser, G_MARKUP_TREAT_CDATA_AS_TEXT, &w, NULL);

    if (!g_markup_parse_context_parse(context, svg, (gssize)n, error) ||
        !g_markup_parse_context_end_parse(context, error)) {
        return NULL;
    }
    return g_string_free(g_steal_pointer(&out), FALSE);
}
