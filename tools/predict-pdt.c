/* A page dirty trace, as what predictions are made from: distinct pages within windows. */
#include <stdio.h>
#include <string.h>
#include "tools/predict.h"
#include "trace/trace.h"

#define PAGES_MAX (UINT64_C(1) << 28)
#define STARTS 4u
#define CLASSES_AT_ONCE (1u << 20)

/* Of a guest that was throttled only the time it ran for counts. */
static double guest_s(const FerryTraceFrame *frame)
{
    double ns = frame->ran_ns != UINT64_MAX
                    ? (double)frame->ran_ns
                    : (double)frame->span_ns * (100 - frame->throttle_percent) / 100;

    return ns / 1e9;
}

typedef struct {
    FerryTraceReader *reader;
    const char *path;
    double length_s;
    uint64_t frames;
    double scale; /* pages of 4096 bytes in each of its own */
} Pdt;

static gboolean refuse(const Pdt *t, GError **error, const char *why)
{
    g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED, "%s: %s", t->path, why);
    return FALSE;
}

/* All of it once: how long it is, and that it is whole up to its end. */
static gboolean measure(Pdt *t, GError **error)
{
    FerryTraceFrame frame;
    FerryTraceNext next;

    while ((next = ferry_trace_reader_next(t->reader, &frame, error)) == FERRY_TRACE_FRAME) {
        t->length_s += guest_s(&frame);
        t->frames++;
    }
    if (next == FERRY_TRACE_DAMAGED) {
        g_prefix_error(error, "%s: ", t->path);
        return FALSE;
    }
    if (t->frames < 2 || t->length_s <= 0) {
        return refuse(t, error, "at least two frames in which the guest ran are needed");
    }
    return TRUE;
}

static double add(FerryBitmap *written, const FerryTraceFrame *frame)
{
    uint64_t fresh = 0;

    for (uint64_t i = 0; i < frame->n_runs; i++) {
        const FerryTraceRun *run = &frame->runs[i];

        fresh += run->n - ferry_bitmap_count_range(written, run->first, run->n);
        ferry_bitmap_set(written, run->first, run->n);
    }
    return (double)fresh;
}

/* Distinct pages within 1, 2, 5, 10, ... frames and up to @most, from the @first one on. A window
 * is as long as the guest ran in it. */
static void look(Pdt *t, uint64_t first, uint64_t most, uint64_t pages, FerryWriteCurve *c)
{
    static const unsigned factors[] = {1, 2, 5};
    uint64_t decade = 1, seen = 0, window = 1;
    unsigned factor = 0;
    double seconds = 0, sum = 0;
    FerryTraceFrame frame;
    FerryBitmap written;

    ferry_bitmap_init(&written, pages);
    ferry_trace_reader_rewind(t->reader);
    while (c->n_windows < FERRY_CURVE_WINDOWS && window <= most &&
           ferry_trace_reader_next(t->reader, &frame, NULL) == FERRY_TRACE_FRAME) {
        if (frame.number < first) {
            continue;
        }
        sum += add(&written, &frame);
        seconds += guest_s(&frame);
        if (++seen == window) {
            if (seconds > 0) {
                c->windows[c->n_windows].seconds = seconds;
                c->windows[c->n_windows++].pages = sum * t->scale;
            }
            factor = (factor + 1) % G_N_ELEMENTS(factors);
            decade *= factor == 0 ? 10 : 1;
            window = decade * factors[factor];
        }
    }
    ferry_bitmap_clear(&written);
}

/* Pages that are zero at the beginning, if the trace says so of any. */
static gboolean count_zeros(Pdt *t, uint64_t pages, FerryPredictGuest *guest, GError **error)
{
    g_autofree uint8_t *classes = g_malloc(CLASSES_AT_ONCE);
    uint64_t zero = 0, known = 0;

    for (uint64_t at = 0; at < pages; at += CLASSES_AT_ONCE) {
        uint64_t n = MIN(pages - at, CLASSES_AT_ONCE);

        if (!ferry_trace_reader_classes(t->reader, at, n, classes, error)) {
            g_prefix_error(error, "%s: ", t->path);
            return FALSE;
        }
        for (uint64_t i = 0; i < n; i++) {
            zero += classes[i] == FERRY_TRACE_CLASS_ZERO;
            known += classes[i] != FERRY_TRACE_CLASS_UNKNOWN;
        }
    }
    guest->knows_zeros = known > 0;
    guest->observed.zero_pages = (uint64_t)((double)zero * t->scale);
    return TRUE;
}

static gboolean observe(Pdt *t, uint64_t ram_bytes, FerryPredictGuest *guest, GError **error)
{
    const FerryTraceHeader *header = ferry_trace_reader_header(t->reader);
    FerryObserved *o = &guest->observed;

    if (!measure(t, error)) {
        return FALSE;
    }
    uint64_t pages = ferry_trace_header_pages(header); /* of all blocks, now that it is read */
    if (header->page_bytes < FERRY_WORKLOAD_PAGE) {
        return refuse(t, error, "pages of less than 4096 bytes are not built");
    }
    t->scale = header->page_bytes / FERRY_WORKLOAD_PAGE;
    o->ram_pages = ram_bytes ? ram_bytes / FERRY_WORKLOAD_PAGE : (uint64_t)(pages * t->scale);
    if (pages == 0 || o->ram_pages > PAGES_MAX || pages * t->scale > PAGES_MAX) {
        return refuse(t, error, "no memory, or more than 1 TiB of it");
    }
    if (o->ram_pages < pages * t->scale) {
        g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                    "--ram: the trace is of %" G_GUINT64_FORMAT " KiB",
                    pages * header->page_bytes / 1024);
        return FALSE;
    }
    for (unsigned i = 0; i < STARTS; i++) {
        look(t, (t->frames - t->frames / 2) * i / (STARTS - 1), t->frames / 2, pages,
             &o->curves[o->n_curves++]);
    }
    ferry_observed_tidy(o);
    return count_zeros(t, pages, guest, error);
}

gboolean ferry_predict_is_pdt(const char *path)
{
    g_autoptr(FerryTraceFile) file = ferry_trace_file_open(path, NULL);
    FerryTraceInput input = file ? ferry_trace_file_input(file) : (FerryTraceInput){0};
    uint8_t begin[8];

    return g_str_has_suffix(path, ".pdt") ||
           (input.size >= sizeof begin && input.read(input.self, 0, begin, sizeof begin, NULL) &&
            ferry_trace_is_trace(begin, sizeof begin));
}

gboolean ferry_predict_read_pdt(const char *path, uint64_t ram_bytes, FerryPredictGuest *out_guest,
                                GError **error)
{
    g_autoptr(FerryTraceFile) file = ferry_trace_file_open(path, error);
    FerryTraceInput input = file ? ferry_trace_file_input(file) : (FerryTraceInput){0};
    g_autoptr(FerryTraceReader) reader = file ? ferry_trace_reader_new(&input, error) : NULL;
    FerryPredictGuest guest = {.program = "a trace"};
    Pdt t = {.reader = reader, .path = path};

    if (file && !reader) {
        g_prefix_error(error, "%s: ", path);
    }
    if (reader && observe(&t, ram_bytes, &guest, error)) {
        *out_guest = guest;
        return TRUE;
    }
    return FALSE;
}
