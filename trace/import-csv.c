#include "trace/import-csv.h"
#include <errno.h>
#include <string.h>

#define LINE_MAX_BYTES 1024u
#define EVENTS_MAX 100000000u
#define BLOCKS_MAX 1024u
#define MS_MAX 4e12 /* since 1970 that is 2096 */

typedef struct {
    FerryTextReader reader;
    FerryCsv *csv;
    GHashTable *indexes; /* name -> index + 1 */
} Parser;

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

static gboolean find_block(Parser *p, const char *name, uint32_t *out, GError **error)
{
    gpointer index = g_hash_table_lookup(p->indexes, name);

    if (name[0] == '\0' || strlen(name) > 255) {
        return ferry_text_refuse(&p->reader, error, "block is no name of at most 255 bytes");
    }
    if (!index) {
        uint64_t none = 0;
        char *kept = g_strdup(name);
        if (p->csv->names->len >= BLOCKS_MAX) {
            g_free(kept);
            return ferry_text_refuse(&p->reader, error, "there are more than %u blocks",
                                     BLOCKS_MAX);
        }
        g_ptr_array_add(p->csv->names, kept);
        g_array_append_val(p->csv->pages, none);
        index = GUINT_TO_POINTER(p->csv->names->len);
        g_hash_table_insert(p->indexes, kept, index);
    }
    *out = GPOINTER_TO_UINT(index) - 1;
    return TRUE;
}

static gboolean take_event(Parser *p, char **words, GError **error)
{
    const GArray *events = p->csv->events;
    uint64_t first, n;
    uint32_t block;
    char *end;
    double ms = g_ascii_strtod(words[0], &end);

    if (end == words[0] || *end || !(ms >= 0 && ms <= MS_MAX)) {
        return ferry_text_refuse(&p->reader, error, "t_ms is no time");
    }
    uint64_t ns = (uint64_t)(ms * 1e6 + 0.5);
    if (events->len > 0 && ns < g_array_index(events, FerryCsvEvent, events->len - 1).ns) {
        return ferry_text_refuse(&p->reader, error, "the time went back");
    }
    if (!find_block(p, words[1], &block, error)) {
        return FALSE;
    }
    if (!parse_count(words[2], FERRY_CSV_PAGES_MAX - 1, &first) ||
        !parse_count(words[3], FERRY_CSV_PAGES_MAX, &n) || first + n > FERRY_CSV_PAGES_MAX) {
        return ferry_text_refuse(&p->reader, error,
                                 "first_page and n are no pages of a block of at most 1 TiB");
    }
    if (events->len >= EVENTS_MAX) {
        return ferry_text_refuse(&p->reader, error, "there are more than %u lines", EVENTS_MAX);
    }
    FerryCsvEvent e = {ns, block, (uint32_t)first, (uint32_t)n};
    g_array_append_val(p->csv->events, e);
    uint64_t *pages = &g_array_index(p->csv->pages, uint64_t, block);
    *pages = n > 0 ? MAX(*pages, first + n) : *pages;
    return TRUE;
}

static gboolean take_comment(Parser *p, char **words, guint n, GError **error)
{
    uint64_t value;
    uint32_t block;

    if (n == 3 && strcmp(words[0], "#block") == 0) {
        if (!parse_count(words[2], FERRY_CSV_PAGES_MAX, &value)) {
            return ferry_text_refuse(&p->reader, error, "a block's pages are no number up to 2^28");
        }
        if (!find_block(p, words[1], &block, error)) {
            return FALSE;
        }
        uint64_t *pages = &g_array_index(p->csv->pages, uint64_t, block);
        *pages = MAX(*pages, value);
    } else if (n == 2 && strcmp(words[0], "#page_bytes") == 0) {
        if (!parse_count(words[1], UINT64_C(1) << 30, &value) || value < 512 ||
            (value & (value - 1)) != 0) {
            return ferry_text_refuse(&p->reader, error,
                                     "page_bytes is no power of two from 512 to 2^30");
        }
        p->csv->page_bytes = (uint32_t)value;
    }
    return TRUE;
}

static gboolean take_line(Parser *p, char *line, GError **error)
{
    g_auto(GStrv) words = NULL;

    g_strstrip(line);
    if (line[0] == '\0' || (p->reader.line == 1 && g_str_has_prefix(line, "t_ms,"))) {
        return TRUE;
    }
    words = g_strsplit(line, ",", 6);
    if (line[0] == '#') {
        return take_comment(p, words, g_strv_length(words), error);
    }
    if (g_strv_length(words) != 4) {
        return ferry_text_refuse(&p->reader, error, "not t_ms,block,first_page,n");
    }
    return take_event(p, words, error);
}

gboolean ferry_csv_read(const FerryTraceText *text, FerryCsv *out, GError **error)
{
    g_autofree Parser *p = g_new(Parser, 1);
    char line[LINE_MAX_BYTES];
    gboolean end = FALSE, ok = TRUE;

    *out = (FerryCsv){.names = g_ptr_array_new_with_free_func(g_free),
                      .pages = g_array_new(FALSE, FALSE, sizeof(uint64_t)),
                      .events = g_array_new(FALSE, FALSE, sizeof(FerryCsvEvent)),
                      .page_bytes = 4096};
    p->csv = out;
    p->indexes = g_hash_table_new(g_str_hash, g_str_equal);
    ferry_text_init(&p->reader, text);
    while (ok && !end) {
        ok = ferry_text_line(&p->reader, line, sizeof line, &end, error) &&
             (end || take_line(p, line, error));
        (void)ferry_text_get(&p->reader); /* the line's end */
    }
    ferry_text_clear(&p->reader);
    g_hash_table_unref(p->indexes);
    return ok;
}

void ferry_csv_clear(FerryCsv *csv)
{
    g_ptr_array_unref(csv->names);
    g_array_unref(csv->pages);
    g_array_unref(csv->events);
}

uint64_t ferry_csv_finest(const FerryCsv *csv)
{
    uint64_t least = 0;

    for (guint i = 1; i < csv->events->len; i++) {
        uint64_t gap = g_array_index(csv->events, FerryCsvEvent, i).ns -
                       g_array_index(csv->events, FerryCsvEvent, i - 1).ns;
        least = gap > 0 && (least == 0 || gap < least) ? gap : least;
    }
    return least;
}
