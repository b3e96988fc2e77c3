#include "trace/totals.h"

/* A page that is written in frames e1 < e2 < ... has gaps without a write: before e1, between
 * them, behind the last. A window of k frames misses the page exactly if it lies in a gap, and in a
 * gap of g frames there are max(0, g - k + 1) such windows. So a histogram of gaps gives the mean
 * of distinct pages over all windows of any length. */
#define LEAF_PAGES (UINT64_C(1) << 16)

/* A page's last write is somewhere in tens of megabytes, and to look there for each page takes
 * longer than all the rest of writing a trace. So runs wait with their leaf until there are enough
 * of them: NEW_FRAME and the number that the frame has, then runs as their first page times 2^16
 * plus their length less 1. */
#define WAITING_MAX 32768u
#define AHEAD 64u
#define NEW_FRAME UINT32_MAX /* a run of 2^16 pages that begins at the leaf's last one */

typedef struct {
    uint32_t *last; /* of LEAF_PAGES: 1 + the frame that wrote the page last, or 0 */
    uint32_t *waiting, n_waiting, room;
    uint32_t frame; /* 1 + that of the last run that waits */
} Leaf;

struct FerryTraceCount {
    GArray *leaves;
    GArray *gaps; /* uint64_t: how many gaps of so many frames there were */
    uint64_t frames, distinct;
};

static void clear_leaf(void *p)
{
    g_free(((Leaf *)p)->last);
    g_free(((Leaf *)p)->waiting);
}

FerryTraceCount *ferry_trace_count_new(void)
{
    FerryTraceCount *c = g_new0(FerryTraceCount, 1);

    c->leaves = g_array_new(FALSE, TRUE, sizeof(Leaf));
    g_array_set_clear_func(c->leaves, clear_leaf);
    c->gaps = g_array_new(FALSE, TRUE, sizeof(uint64_t));
    return c;
}

/* Those that wait are counted. */
static void settle(FerryTraceCount *c, Leaf *leaf)
{
    uint64_t *gaps = (uint64_t *)(void *)c->gaps->data, fresh = 0;
    uint32_t now = 0;

    if (!leaf->last) {
        leaf->last = g_new0(uint32_t, LEAF_PAGES);
    }
    for (uint32_t i = 0; i < leaf->n_waiting; i++) {
        uint32_t run = leaf->waiting[i];

        /* What is soon needed; a frame in place of a run is a page as well. */
        __builtin_prefetch(&leaf->last[leaf->waiting[MIN(i + AHEAD, leaf->n_waiting - 1)] >> 16],
                           1);
        if (run == NEW_FRAME) {
            now = leaf->waiting[++i];
            continue;
        }
        for (uint32_t page = run >> 16, end = page + (run & 0xffff); page <= end; page++) {
            uint32_t last = leaf->last[page];

            fresh += last == 0;
            gaps[now - last - 1]++;
            leaf->last[page] = now;
        }
    }
    c->distinct += fresh;
    leaf->n_waiting = 0;
    leaf->frame = 0;
}

static void settle_all(FerryTraceCount *c)
{
    for (guint i = 0; i < c->leaves->len; i++) {
        Leaf *leaf = &g_array_index(c->leaves, Leaf, i);

        if (leaf->n_waiting) {
            settle(c, leaf);
        }
    }
}

/* Room for a run of the frame that is counted. */
static void prepare(FerryTraceCount *c, Leaf *leaf)
{
    uint32_t now = (uint32_t)c->frames + 1;

    if (leaf->n_waiting + 3 > leaf->room) {
        if (leaf->room == WAITING_MAX) {
            settle(c, leaf);
        } else {
            leaf->room = leaf->room ? MIN(4 * leaf->room, WAITING_MAX) : 128;
            leaf->waiting = g_renew(uint32_t, leaf->waiting, leaf->room);
        }
    }
    if (leaf->frame != now) {
        leaf->waiting[leaf->n_waiting++] = NEW_FRAME;
        leaf->waiting[leaf->n_waiting++] = leaf->frame = now;
    }
}

/* Those of @n runs that lie in the leaf up to page @end and for which there is room; how many. */
static uint64_t put(Leaf *leaf, const FerryTraceRun *runs, uint64_t n, uint64_t end)
{
    uint32_t *to = leaf->waiting + leaf->n_waiting;
    uint64_t i = 0;

    for (n = MIN(n, leaf->room - leaf->n_waiting); i < n; i++) {
        if (runs[i].first + runs[i].n > end) {
            break;
        }
        *to++ = (uint32_t)(runs[i].first << 16) | (uint32_t)(runs[i].n - 1);
    }
    leaf->n_waiting += (uint32_t)i;
    return i;
}

void ferry_trace_count_frame(FerryTraceCount *c, const FerryTraceRun *runs, uint64_t n)
{
    g_array_set_size(c->gaps, (guint)c->frames + 1);
    if (n > 0) {
        uint64_t leaves = (runs[n - 1].first + runs[n - 1].n - 1) / LEAF_PAGES + 1;
        g_array_set_size(c->leaves, MAX(c->leaves->len, (guint)leaves));
    }
    for (uint64_t i = 0, done = 0; i < n;) { /* done: pages of run i that are counted */
        uint64_t first = runs[i].first + done, end = (first / LEAF_PAGES + 1) * LEAF_PAGES;
        Leaf *leaf = &g_array_index(c->leaves, Leaf, first / LEAF_PAGES);
        FerryTraceRun part = {first, MIN(runs[i].n - done, end - first)};

        prepare(c, leaf);
        put(leaf, &part, 1, end);
        done += part.n;
        if (done == runs[i].n) {
            done = 0;
            i++;
            i += put(leaf, runs + i, n - i, end);
        }
    }
    c->frames++;
}

uint64_t ferry_trace_count_distinct(FerryTraceCount *c)
{
    settle_all(c);
    return c->distinct;
}

/* The histogram with the gaps behind each page's last write. */
static uint64_t *all_gaps(const FerryTraceCount *c)
{
    uint64_t *gaps = g_new0(uint64_t, c->frames + 1);

    for (guint i = 0; i < c->gaps->len; i++) {
        gaps[i] = g_array_index(c->gaps, uint64_t, i);
    }
    for (guint i = 0; i < c->leaves->len; i++) {
        const uint32_t *last = g_array_index(c->leaves, Leaf, i).last;

        for (uint64_t page = 0; last && page < LEAF_PAGES; page++) {
            if (last[page]) {
                gaps[c->frames - last[page]]++;
            }
        }
    }
    return gaps;
}

static double mean_of_windows(const FerryTraceCount *c, const uint64_t *gaps, uint64_t frames)
{
    double windows = (double)(c->frames - frames + 1), missed = 0;

    for (uint64_t g = frames; g < c->frames; g++) {
        missed += (double)gaps[g] * (double)(g - frames + 1);
    }
    return (double)c->distinct - missed / windows;
}

void ferry_trace_count_curve(FerryTraceCount *c, uint64_t length_ns, GArray *out)
{
    g_autofree uint64_t *gaps = NULL;

    settle_all(c);
    gaps = all_gaps(c);
    for (uint64_t frames = 1; c->frames > 0; frames = MIN(2 * frames, c->frames)) {
        uint64_t point[2] = {
            (uint64_t)((double)length_ns * (double)frames / (double)c->frames),
            (uint64_t)(mean_of_windows(c, gaps, frames) + 0.5),
        };

        g_array_append_vals(out, point, 2);
        if (frames == c->frames) {
            break;
        }
    }
}

void ferry_trace_count_free(FerryTraceCount *c)
{
    if (c) {
        g_array_unref(c->leaves);
        g_array_unref(c->gaps);
        g_free(c);
    }
}

static const char *const endings[] = {"done", "interrupted", "guest-gone"};

char *ferry_trace_totals_to_json(const FerryTraceTotals *t, gboolean counted, const GArray *curve)
{
    GString *text = g_string_new("{");

    ferry_trace_json_add_integer(text, "frames", t->frames);
    ferry_trace_json_add_integer(text, "pages_written", t->pages_written);
    if (counted) {
        ferry_trace_json_add_integer(text, "distinct_pages", t->distinct_pages);
    }
    if (t->capture_ns_per_frame) {
        ferry_trace_json_add_integer(text, "capture_ns_per_frame", t->capture_ns_per_frame);
        ferry_trace_json_add_integer(text, "capture_cpu_permille", t->capture_cpu_permille);
    }
    if (t->slowdown_permille >= 0) {
        ferry_trace_json_add_integer(text, "slowdown_permille", (uint64_t)t->slowdown_permille);
    }
    ferry_trace_json_add_integer(text, "late_frames", t->late_frames);
    ferry_trace_json_add_string(text, "ended", t->ended ? t->ended : endings[0]);
    if (curve->len > 0) {
        g_string_append(text, ", \"curve\": [");
        for (guint i = 0; i + 1 < curve->len; i += 2) {
            g_string_append_printf(text, "%s[%" G_GUINT64_FORMAT ", %" G_GUINT64_FORMAT "]",
                                   i ? ", " : "", g_array_index(curve, uint64_t, i),
                                   g_array_index(curve, uint64_t, i + 1));
        }
        g_string_append_c(text, ']');
    }
    g_string_append_c(text, '}');
    return g_string_free(text, FALSE);
}

static gboolean read_ending(JsonObject *object, FerryTraceTotals *t, GError **error)
{
    g_autofree char *ended = NULL;

    if (!ferry_trace_json_string(object, "ended", &ended, error)) {
        return FALSE;
    }
    t->ended = "unknown";
    for (unsigned i = 0; i < G_N_ELEMENTS(endings); i++) {
        if (g_strcmp0(ended, endings[i]) == 0) {
            t->ended = endings[i];
        }
    }
    return TRUE;
}

static gboolean read_point(JsonNode *node, GArray *out, GError **error)
{
    JsonArray *pair = JSON_NODE_HOLDS_ARRAY(node) ? json_node_get_array(node) : NULL;

    for (guint i = 0; i < 2; i++) {
        JsonNode *value =
            pair && json_array_get_length(pair) == 2 ? json_array_get_element(pair, i) : NULL;

        if (!value || !JSON_NODE_HOLDS_VALUE(value) ||
            json_node_get_value_type(value) != G_TYPE_INT64 || json_node_get_int(value) < 0) {
            return ferry_trace_json_refuse(error, "curve: not pairs of integers");
        }
        uint64_t number = (uint64_t)json_node_get_int(value);
        g_array_append_val(out, number);
    }
    return TRUE;
}

static gboolean read_curve(JsonObject *object, GArray *out, GError **error)
{
    JsonNode *node = json_object_get_member(object, "curve");

    if (!node) {
        return TRUE;
    }
    if (!JSON_NODE_HOLDS_ARRAY(node)) {
        return ferry_trace_json_refuse(error, "curve: not an array");
    }
    JsonArray *points = json_node_get_array(node);
    for (guint i = 0; i < json_array_get_length(points); i++) {
        if (!read_point(json_array_get_element(points, i), out, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean ferry_trace_totals_from_json(const char *text, size_t length, FerryTraceTotals *out,
                                      GArray *out_curve, GError **error)
{
    g_autoptr(JsonParser) parser = ferry_trace_json_parse(text, length, error);
    JsonNode *root = parser ? json_parser_get_root(parser) : NULL;
    FerryTraceTotals t = {.slowdown_permille = -1};
    uint64_t cpu = 0, slowdown = UINT64_MAX;

    if (!parser) {
        return FALSE;
    }
    if (!JSON_NODE_HOLDS_OBJECT(root)) {
        return ferry_trace_json_refuse(error, "not an object");
    }
    JsonObject *o = json_node_get_object(root);
    if (!ferry_trace_json_integer(o, "frames", G_MAXINT64, &t.frames, error) ||
        !ferry_trace_json_integer(o, "pages_written", G_MAXINT64, &t.pages_written, error) ||
        !ferry_trace_json_integer(o, "distinct_pages", G_MAXINT64, &t.distinct_pages, error) ||
        !ferry_trace_json_integer(o, "capture_ns_per_frame", G_MAXINT64, &t.capture_ns_per_frame,
                                  error) ||
        !ferry_trace_json_integer(o, "capture_cpu_permille", G_MAXUINT32, &cpu, error) ||
        !ferry_trace_json_integer(o, "slowdown_permille", G_MAXINT32, &slowdown, error) ||
        !ferry_trace_json_integer(o, "late_frames", G_MAXINT64, &t.late_frames, error) ||
        !read_ending(o, &t, error) || !read_curve(o, out_curve, error)) {
        return FALSE;
    }
    t.capture_cpu_permille = (unsigned)cpu;
    t.slowdown_permille = slowdown == UINT64_MAX ? -1 : (int)slowdown;
    *out = t;
    return TRUE;
}
