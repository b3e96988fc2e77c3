/* A trace of writes, as CSV: t_ms,block,first_page,n. The pages of a line were written between the
 * time before and its own. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "tools/predict.h"

#define LINE_MAX_BYTES 1024
#define PAGES_MAX (UINT64_C(1) << 28) /* of a block: 1 TiB */
#define EVENTS_MAX 100000000u
#define BLOCKS_MAX 1024u
#define STARTS 4u

typedef struct {
    double seconds;
    uint32_t block;
    uint32_t first, n;
} Event;

typedef struct {
    const char *path;
    uint64_t line;
    GHashTable *names; /* name -> index + 1 */
    GArray *events;    /* Event */
    GArray *pages;     /* uint64_t, by block: how many there are at least */
} Trace;

static void trace_clear(Trace *t)
{
    g_hash_table_unref(t->names);
    g_array_unref(t->events);
    g_array_unref(t->pages);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Trace, trace_clear)

static gboolean bad(const Trace *t, GError **error, const char *why)
{
    g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED,
                "%s, line %" G_GUINT64_FORMAT ": %s", t->path, t->line, why);
    return FALSE;
}

static gboolean parse_count(const char *text, uint64_t most, uint64_t *out)
{
    char *end;

    if (!g_ascii_isdigit(text[0])) {
        return FALSE;
    }
    errno = 0;
    *out = g_ascii_strtoull(text, &end, 10);
    return errno == 0 && *end == '\0' && *out <= most;
}

static gboolean find_block(Trace *t, const char *name, uint32_t *out)
{
    gpointer index = g_hash_table_lookup(t->names, name);

    if (!index) {
        uint64_t none = 0;
        if (t->pages->len >= BLOCKS_MAX) {
            return FALSE;
        }
        g_array_append_val(t->pages, none);
        index = GUINT_TO_POINTER(t->pages->len);
        g_hash_table_insert(t->names, g_strdup(name), index);
    }
    *out = GPOINTER_TO_UINT(index) - 1;
    return TRUE;
}

static gboolean take_line(Trace *t, char *line, GError **error)
{
    g_auto(GStrv) words = g_strsplit(g_strstrip(line), ",", 6);
    Event e;
    uint64_t first, n;
    char *end;

    if (g_strv_length(words) != 4) {
        return bad(t, error, "not t_ms,block,first_page,n");
    }
    double ms = g_ascii_strtod(words[0], &end);
    if (end == words[0] || *end || !(ms >= 0 && ms <= 1e12)) {
        return bad(t, error, "t_ms is no time");
    }
    if (t->events->len > 0 &&
        ms / 1000 < g_array_index(t->events, Event, t->events->len - 1).seconds) {
        return bad(t, error, "the time went back");
    }
    if (words[1][0] == '\0' || strlen(words[1]) > 255) {
        return bad(t, error, "block is no name of at most 255 bytes");
    }
    if (!parse_count(words[2], PAGES_MAX - 1, &first) || !parse_count(words[3], PAGES_MAX, &n) ||
        n == 0 || first + n > PAGES_MAX) {
        return bad(t, error, "first_page and n are no pages of a block of at most 1 TiB");
    }
    if (t->events->len >= EVENTS_MAX || !find_block(t, words[1], &e.block)) {
        return bad(t, error, "more lines or blocks than are taken");
    }
    e = (Event){.seconds = ms / 1000, .block = e.block, .first = (uint32_t)first, .n = (uint32_t)n};
    g_array_append_val(t->events, e);
    uint64_t *pages = &g_array_index(t->pages, uint64_t, e.block);
    *pages = MAX(*pages, first + n);
    return TRUE;
}

static gboolean read_lines(Trace *t, FILE *file, GError **error)
{
    char line[LINE_MAX_BYTES];

    while (fgets(line, sizeof line, file)) {
        t->line++;
        if (!strchr(line, '\n') && !feof(file)) {
            return bad(t, error, "it is too long");
        }
        if (t->line == 1 && g_str_has_prefix(line, "t_ms,")) {
            continue;
        }
        if (*g_strchug(line) != '\0' && line[0] != '#' && !take_line(t, line, error)) {
            return FALSE;
        }
    }
    if (ferror(file)) {
        return bad(t, error, g_strerror(errno));
    }
    return TRUE;
}

static double time_of(const Trace *t, guint i)
{
    return g_array_index(t->events, Event, i).seconds;
}

/* The least time between two moments: what the trace can tell apart. */
static double finest(const Trace *t)
{
    double least = 0;

    for (guint i = 1; i < t->events->len; i++) {
        double gap = time_of(t, i) - time_of(t, i - 1);
        least = gap > 0 && (least == 0 || gap < least) ? gap : least;
    }
    return least;
}

/* Distinct pages from @begin_s on, at 1, 2, 5, 10, ... times @step_s up to @most_s. */
static void look(const Trace *t, double begin_s, double step_s, double most_s, FerryWriteCurve *c)
{
    static const unsigned factors[] = {1, 2, 5};
    g_autofree FerryBitmap *written = g_new0(FerryBitmap, t->pages->len);
    uint64_t pages = 0;
    double decade = 1;
    guint at = 0;

    for (guint i = 0; i < t->pages->len; i++) {
        ferry_bitmap_init(&written[i], g_array_index(t->pages, uint64_t, i));
    }
    while (at < t->events->len && time_of(t, at) <= begin_s) {
        at++;
    }
    for (unsigned i = 0; c->n_windows < FERRY_CURVE_WINDOWS; i++) {
        double window_s = step_s * factors[i % 3] * decade;
        decade *= i % 3 == 2 ? 10 : 1;
        if (window_s > most_s * 1.0001) {
            break;
        }
        for (; at < t->events->len && time_of(t, at) <= begin_s + window_s * 1.0001; at++) {
            const Event *e = &g_array_index(t->events, Event, at);
            pages += e->n - ferry_bitmap_count_range(&written[e->block], e->first, e->n);
            ferry_bitmap_set(&written[e->block], e->first, e->n);
        }
        c->windows[c->n_windows].seconds = window_s;
        c->windows[c->n_windows++].pages = (double)pages;
    }
    for (guint i = 0; i < t->pages->len; i++) {
        ferry_bitmap_clear(&written[i]);
    }
}

static gboolean observe(Trace *t, uint64_t ram_bytes, FerryObserved *out, GError **error)
{
    double step = finest(t), first = t->events->len ? time_of(t, 0) : 0;
    double length = t->events->len ? time_of(t, t->events->len - 1) - first : 0;
    double most = MAX(length / 2, step);
    uint64_t pages = 0;

    if (step == 0) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED,
                    "%s: writes at two moments at least are needed", t->path);
        return FALSE;
    }
    for (guint i = 0; i < t->pages->len; i++) {
        pages += g_array_index(t->pages, uint64_t, i);
    }
    if (ram_bytes && ram_bytes / FERRY_WORKLOAD_PAGE < pages) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "--ram: the trace writes %" G_GUINT64_FORMAT " KiB", pages * 4);
        return FALSE;
    }
    if (MAX(ram_bytes / FERRY_WORKLOAD_PAGE, pages) > PAGES_MAX) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED,
                    "%s: more than 1 TiB of memory", t->path);
        return FALSE;
    }
    out->ram_pages = ram_bytes ? ram_bytes / FERRY_WORKLOAD_PAGE : pages;
    for (unsigned i = 0; i < STARTS; i++) {
        look(t, first + (length - most) * i / (STARTS - 1), step, most,
             &out->curves[out->n_curves++]);
    }
    ferry_observed_tidy(out);
    return TRUE;
}

gboolean ferry_predict_read_trace(const char *path, uint64_t ram_bytes,
                                  FerryPredictGuest *out_guest, GError **error)
{
    g_auto(Trace) t = {.path = path,
                       .names = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
                       .events = g_array_new(FALSE, FALSE, sizeof(Event)),
                       .pages = g_array_new(FALSE, FALSE, sizeof(uint64_t))};
    FerryPredictGuest guest = {.program = "a trace"};

    if (g_str_has_suffix(path, ".pdt")) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "%s: .pdt traces are not built yet: CSV is", path);
        return FALSE;
    }
    FILE *file = fopen(path, "re");
    if (!file) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED, "%s: %s", path,
                    g_strerror(errno));
        return FALSE;
    }
    gboolean ok = read_lines(&t, file, error);
    fclose(file);
    if (ok && observe(&t, ram_bytes, &guest.observed, error)) {
        *out_guest = guest;
        return TRUE;
    }
    return FALSE;
}
