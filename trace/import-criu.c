/* Samples of the pages that a process wrote, as trackers for CRIU's pre-dumps write them:
 * {"page_size": N, "samples": [{"timestamp_ms": T, "dirty_pages": [{"addr": "0x...", "size": N,
 * "vma_type": "..."}]}]}. Addresses become pages of blocks: what lies close together is one. */
#include <errno.h>
#include <string.h>
#include "trace/import-frames.h"

#define SPANS_MAX 200000000u
#define SAMPLES_MAX 100000000u
#define BLOCKS_MAX 1024u
#define TYPES_MAX 64u
#define APART UINT64_C(256) /* pages between two blocks, at least */
#define CLOCK_MS 1e9

/* Pages by number: their address through their size. */
typedef struct {
    uint64_t first;
    uint32_t n, type;
} Span;

typedef struct {
    uint64_t ns;
    guint end; /* of its spans */
} Sample;

typedef struct {
    uint64_t first, end, base; /* base: of its first page in the trace */
    uint32_t type;
} Region;

typedef struct {
    FerryTextJson json;
    uint64_t page_bytes;
    GArray *spans, *samples, *regions;
    GPtrArray *types;
    double ms; /* of the sample that is read; below 0: not said so far */
    uint64_t address, bytes;
    gboolean has_address, has_pages;
    uint32_t type;
} Reader;

static void reader_free(Reader *r)
{
    ferry_text_json_clear(&r->json);
    g_array_unref(r->spans);
    g_array_unref(r->samples);
    g_array_unref(r->regions);
    g_ptr_array_unref(r->types);
    g_free(r);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Reader, reader_free)

static gboolean refuse(Reader *r, GError **error, const char *why)
{
    return ferry_text_refuse(&r->json.reader, error, "%s", why);
}

static uint32_t type_of(Reader *r, const char *text)
{
    for (guint i = 0; i < r->types->len; i++) {
        if (strcmp(g_ptr_array_index(r->types, i), text) == 0) {
            return i;
        }
    }
    if (r->types->len == TYPES_MAX) {
        return 0;
    }
    g_ptr_array_add(r->types, g_strndup(text, 32));
    return r->types->len - 1;
}

static gboolean parse_address(const FerryTextJson *j, uint64_t *out)
{
    char *end;

    if (j->kind == FERRY_TEXT_NUMBER) {
        *out = j->number >= 0 && j->number < 18e18 ? (uint64_t)j->number : 0;
        return j->number >= 0 && j->number < 18e18;
    }
    errno = 0;
    *out = g_ascii_strtoull(j->text, &end, 0);
    return g_ascii_isdigit(j->text[0]) && *end == '\0' && errno == 0;
}

/* A member of a page. */
static gboolean take_page_member(Reader *r, GError **error)
{
    const FerryTextJson *j = &r->json;
    const char *name = j->names[j->depth];
    gboolean value = j->kind == FERRY_TEXT_NUMBER || j->kind == FERRY_TEXT_STRING;

    if (strcmp(name, "addr") == 0) {
        if (!value || !parse_address(j, &r->address)) {
            return refuse(r, error, "addr is no address");
        }
        r->has_address = TRUE;
    } else if (strcmp(name, "size") == 0) {
        if (j->kind != FERRY_TEXT_NUMBER || !(j->number >= 1 && j->number <= 1e12)) {
            return refuse(r, error, "size is no number of bytes");
        }
        r->bytes = (uint64_t)j->number;
    } else if (strcmp(name, "vma_type") == 0 && j->kind == FERRY_TEXT_STRING) {
        r->type = type_of(r, j->text);
    }
    return TRUE;
}

static gboolean take_page(Reader *r, GError **error)
{
    uint64_t first = r->address / r->page_bytes, last;
    guint begin =
        r->samples->len > 0 ? g_array_index(r->samples, Sample, r->samples->len - 1).end : 0;

    if (!r->has_address || r->bytes - 1 > UINT64_MAX - r->address) {
        return refuse(r, error, "a page has no addr, or one beyond all memory");
    }
    last = (r->address + r->bytes - 1) / r->page_bytes;
    if (r->spans->len > begin) {
        Span *before = &g_array_index(r->spans, Span, r->spans->len - 1);
        if (before->first + before->n == first && before->n < G_MAXUINT32 / 2 &&
            before->type == r->type) {
            before->n += (uint32_t)(last - first + 1);
            return TRUE;
        }
    }
    if (r->spans->len == SPANS_MAX) {
        return refuse(r, error, "it has more pages than are taken");
    }
    Span span = {first, (uint32_t)(last - first + 1), r->type};
    g_array_append_val(r->spans, span);
    return TRUE;
}

static gboolean take_sample(Reader *r, GError **error)
{
    Sample sample = {0, r->spans->len};

    if (r->ms < 0) {
        return refuse(r, error, "a sample has no timestamp_ms");
    }
    sample.ns = (uint64_t)(r->ms * 1e6 + 0.5);
    if (r->samples->len > 0 &&
        sample.ns < g_array_index(r->samples, Sample, r->samples->len - 1).ns) {
        return refuse(r, error, "the time went back");
    }
    if (r->samples->len == SAMPLES_MAX) {
        return refuse(r, error, "it has more samples than are taken");
    }
    g_array_append_val(r->samples, sample);
    r->ms = -1;
    return TRUE;
}

static gboolean take_page_size(Reader *r, GError **error)
{
    double n = r->json.number;

    if (r->json.kind != FERRY_TEXT_NUMBER || !(n >= 512 && n <= 1 << 30) ||
        ((uint64_t)n & ((uint64_t)n - 1)) != 0 || r->spans->len > 0) {
        return refuse(r, error, "page_size is no power of two from 512 to 2^30, or comes late");
    }
    r->page_bytes = (uint64_t)n;
    return TRUE;
}

/* Depths: 1 the whole, 2 samples, 3 a sample, 4 its pages, 5 a page. */
static gboolean take(Reader *r, gboolean in_samples, gboolean in_pages, GError **error)
{
    const FerryTextJson *j = &r->json;
    const char *name = j->names[j->depth];

    if (j->kind == FERRY_TEXT_OBJECT && j->depth == 5 && in_pages) {
        r->has_address = FALSE;
        r->bytes = r->page_bytes;
        r->type = 0;
    } else if (j->kind == FERRY_TEXT_OBJECT_END && j->depth == 4 && in_pages) {
        return take_page(r, error);
    } else if (j->kind == FERRY_TEXT_OBJECT_END && j->depth == 2 && in_samples) {
        return take_sample(r, error);
    } else if (j->depth == 5 && in_pages) {
        return take_page_member(r, error);
    } else if (j->depth == 3 && in_samples && strcmp(name, "timestamp_ms") == 0) {
        if (j->kind != FERRY_TEXT_NUMBER || !(j->number >= 0 && j->number <= 1e13)) {
            return refuse(r, error, "timestamp_ms is no time");
        }
        r->ms = j->number;
    } else if (j->depth == 1 && strcmp(name, "page_size") == 0) {
        return take_page_size(r, error);
    }
    return TRUE;
}

static gboolean read_all(Reader *r, GError **error)
{
    gboolean in_samples = FALSE, in_pages = FALSE;
    FerryTextJson *j = &r->json;

    do {
        if (!ferry_text_json_next(j, error)) {
            return FALSE;
        }
        if (j->kind == FERRY_TEXT_ARRAY && j->depth == 2) {
            in_samples = strcmp(j->names[1], "samples") == 0;
        } else if (j->kind == FERRY_TEXT_ARRAY && j->depth == 4) {
            in_pages = in_samples && strcmp(j->names[3], "dirty_pages") == 0;
            r->has_pages = r->has_pages || in_pages;
        } else if (j->kind == FERRY_TEXT_ARRAY_END && j->depth == 3) {
            in_pages = FALSE;
        } else if (j->kind == FERRY_TEXT_ARRAY_END && j->depth == 1) {
            in_samples = FALSE;
        }
        if (!take(r, in_samples, in_pages, error)) {
            return FALSE;
        }
    } while (j->kind != FERRY_TEXT_END);
    return (r->samples->len > 0 && r->has_pages) ||
           refuse(r, error, "it has no samples with dirty_pages");
}

static gint compare(gconstpointer a, gconstpointer b)
{
    const Span *x = a, *y = b;

    return x->first < y->first ? -1 : x->first > y->first;
}

static void find_regions(Reader *r)
{
    g_autoptr(GArray) sorted = g_array_copy(r->spans);
    uint64_t apart = APART;

    g_array_sort(sorted, compare);
    do { /* farther and farther, until there are few enough */
        g_array_set_size(r->regions, 0);
        for (guint i = 0; i < sorted->len; i++) {
            const Span *s = &g_array_index(sorted, Span, i);
            Region region = {s->first, s->first + s->n, 0, s->type};
            Region *last = r->regions->len > 0
                               ? &g_array_index(r->regions, Region, r->regions->len - 1)
                               : NULL;
            if (last && (s->first <= last->end || s->first - last->end < apart)) {
                last->end = MAX(last->end, region.end);
            } else {
                g_array_append_val(r->regions, region);
            }
        }
        apart *= 4;
    } while (r->regions->len > BLOCKS_MAX);
}

static FerryTraceHeader *make_header(Reader *r, const FerryImportOptions *o, GError **error)
{
    g_autoptr(FerryTraceHeader) h = ferry_trace_header_new();
    uint64_t base = 0, ram = o->ram_bytes / r->page_bytes;

    h->page_bytes = (uint32_t)r->page_bytes;
    for (guint i = 0; i < r->regions->len; i++) {
        Region *region = &g_array_index(r->regions, Region, i);
        g_autofree char *name = g_strdup_printf(
            "%s@0x%" G_GINT64_MODIFIER "x", (const char *)g_ptr_array_index(r->types, region->type),
            region->first * r->page_bytes);
        region->base = base;
        base += region->end - region->first;
        ferry_trace_header_add(h, name, region->end - region->first);
    }
    if (o->ram_bytes && ram < base) {
        refuse(r, error, "more pages are written than there shall be memory");
        return NULL;
    }
    if (ram > base) {
        ferry_trace_header_add(h, "rest", ram - base);
    }
    ferry_import_describe(h, o, ": written pages of a process, sampled; memory is what was seen");
    return g_steal_pointer(&h);
}

/* Where the first sample's frame begins. */
static uint64_t begin_of(const Reader *r)
{
    uint64_t first = g_array_index(r->samples, Sample, 0).ns, least = 0;

    for (guint i = 1; i < r->samples->len; i++) {
        uint64_t gap =
            g_array_index(r->samples, Sample, i).ns - g_array_index(r->samples, Sample, i - 1).ns;
        least = gap > 0 && (least == 0 || gap < least) ? gap : least;
    }
    return (double)first >= CLOCK_MS * 1e6 ? first - least : 0;
}

static uint64_t page_of(const Reader *r, uint64_t number)
{
    guint low = 0, high = r->regions->len;

    while (high - low > 1) {
        guint middle = low + (high - low) / 2;
        if (g_array_index(r->regions, Region, middle).first <= number) {
            low = middle;
        } else {
            high = middle;
        }
    }
    const Region *region = &g_array_index(r->regions, Region, low);
    return region->base + (number - region->first);
}

static gboolean push(const Reader *r, const FerryTraceTarget *to, uint64_t begin_ns, GError **error)
{
    g_auto(FerryImportFrames) frames = {0};
    guint at = 0;

    ferry_import_frames_init(&frames, to);
    for (guint i = 0; i < r->samples->len; i++) {
        const Sample *sample = &g_array_index(r->samples, Sample, i);
        for (; at < sample->end; at++) {
            const Span *span = &g_array_index(r->spans, Span, at);
            ferry_import_frames_add(&frames, page_of(r, span->first), span->n);
        }
        if (!ferry_import_frames_end(&frames, sample->ns - begin_ns, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean ferry_import_criu(const FerryTraceText *text, const FerryImportOptions *options,
                           const FerryTraceTarget *to, GError **error)
{
    g_autoptr(Reader) r = g_new0(Reader, 1);
    g_autoptr(FerryTraceHeader) h = NULL;
    uint64_t begin;

    r->page_bytes = 4096;
    r->spans = g_array_new(FALSE, FALSE, sizeof(Span));
    r->samples = g_array_new(FALSE, FALSE, sizeof(Sample));
    r->regions = g_array_new(FALSE, FALSE, sizeof(Region));
    r->types = g_ptr_array_new_with_free_func(g_free);
    r->ms = -1;
    g_ptr_array_add(r->types, g_strdup("pages"));
    ferry_text_json_init(&r->json, text);
    if (!read_all(r, error)) {
        return FALSE;
    }
    find_regions(r);
    begin = begin_of(r);
    h = make_header(r, options, error);
    if (!h) {
        return FALSE;
    }
    h->start_wall_ns = begin;
    return to->ops->begin(to->self, h, error) && push(r, to, begin, error) &&
           to->ops->end(to->self, NULL, error);
}
