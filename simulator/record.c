#include "simulator/record.h"
#include <string.h>
#include "simulator/guest.h"
#include "simulator/simulate.h"

#define QUARTERS 4u
#define CLASSES_AT_ONCE (1u << 16)

struct FerrySimRecorder {
    const FerrySimRecording *how;
    FerrySimGuest *guest;
    uint64_t frames, begin_ns;     /* of the next one */
    gboolean classes;              /* they are known */
    FerryBitmap quarter[QUARTERS]; /* written in this one */
    FerryBitmap words;             /* that have pages in any */
    unsigned now;                  /* which quarter it is */
    GArray *runs;                  /* FerryTraceRun */
    GByteArray *quarters, *of_class;
};

FerryTraceHeader *ferry_sim_record_header(const FerrySimRecording *how, const char *model)
{
    FerryTraceHeader *header = ferry_trace_header_new();

    g_free(header->method);
    g_free(header->workload);
    header->method = g_strdup("synthetic");
    header->workload = g_strdup(model);
    header->interval_ns = how->interval_ns;
    header->seed = how->seed;
    ferry_trace_header_add(header, "pc.ram", ferry_workload_pages(how->workload));
    return header;
}

static uint8_t class_of(const FerrySimGuest *guest, uint64_t page)
{
    FerrySimContent content;

    ferry_sim_guest_content(guest, page, &content);
    if (content.plain == 0) {
        return FERRY_TRACE_CLASS_ZERO;
    }
    if (content.packed == 0) {
        return FERRY_TRACE_CLASS_UNKNOWN;
    }
    return (uint8_t)(FERRY_TRACE_CLASS_PACKED +
                     (MIN(content.packed, FERRY_WORKLOAD_PAGE) - 1) / (FERRY_WORKLOAD_PAGE / 16));
}

static gboolean says_classes(const FerryWorkload *w)
{
    for (unsigned i = 0; i < w->n_groups; i++) {
        if (w->groups[i].zero_permille || w->groups[i].packed_permille) {
            return TRUE;
        }
    }
    return FALSE;
}

gboolean ferry_sim_recorder_has_classes(const FerrySimRecorder *r) { return r->classes; }

void ferry_sim_recorder_classes(const FerrySimRecorder *r, uint64_t first, uint64_t n, uint8_t *out)
{
    for (uint64_t i = 0; i < n; i++) {
        out[i] = class_of(r->guest, first + i);
    }
}

static void take(void *self, uint64_t word, uint64_t mask)
{
    FerrySimRecorder *r = self;

    r->quarter[r->now].words[word] |= mask;
    r->words.words[word / 64] |= UINT64_C(1) << (word % 64);
}

static void add_page(FerrySimRecorder *r, uint64_t page, uint8_t quarter)
{
    FerryTraceRun *last =
        r->runs->len > 0 ? &g_array_index(r->runs, FerryTraceRun, r->runs->len - 1) : NULL;

    if (last && last->first + last->n == page) {
        last->n++;
    } else {
        FerryTraceRun run = {page, 1};
        g_array_append_val(r->runs, run);
    }
    g_byte_array_append(r->quarters, &quarter, 1);
    if (r->classes) {
        uint8_t class_ = class_of(r->guest, page);
        g_byte_array_append(r->of_class, &class_, 1);
    }
}

static void add_word(FerrySimRecorder *r, uint64_t word)
{
    uint64_t any = 0;

    for (unsigned q = 0; q < QUARTERS; q++) {
        any |= r->quarter[q].words[word];
    }
    for (; any != 0; any &= any - 1) {
        unsigned bit = (unsigned)__builtin_ctzll(any);
        uint8_t last = QUARTERS - 1;
        while (last > 0 && !(r->quarter[last].words[word] >> bit & 1)) {
            last--;
        }
        add_page(r, word * 64 + bit, last);
    }
    for (unsigned q = 0; q < QUARTERS; q++) {
        r->quarter[q].words[word] = 0;
    }
}

static void fill_frame(FerrySimRecorder *r, FerryTraceFrame *out)
{
    g_array_set_size(r->runs, 0);
    g_byte_array_set_size(r->quarters, 0);
    g_byte_array_set_size(r->of_class, 0);
    for (uint64_t i = 0; i < ferry_bitmap_n_words(&r->words); i++) {
        for (uint64_t left = r->words.words[i]; left != 0; left &= left - 1) {
            add_word(r, i * 64 + (unsigned)__builtin_ctzll(left));
        }
        r->words.words[i] = 0;
    }
    out->n_runs = r->runs->len;
    out->runs = (const FerryTraceRun *)(const void *)r->runs->data;
    out->n_pages = r->quarters->len;
    out->quarters = r->how->no_quarters ? NULL : r->quarters->data;
    out->classes = r->classes ? r->of_class->data : NULL;
}

gboolean ferry_sim_recorder_next(FerrySimRecorder *r, FerryTraceFrame *out)
{
    uint64_t end_ns = r->how->duration_ns ? r->how->duration_ns : UINT64_MAX;

    if (r->begin_ns >= end_ns) {
        return FALSE;
    }
    FerryTraceFrame frame = FERRY_TRACE_FRAME_INIT;
    frame.number = r->frames++;
    frame.begin_ns = r->begin_ns;
    frame.span_ns = MIN(r->how->interval_ns, end_ns - r->begin_ns);
    r->begin_ns += frame.span_ns;
    for (r->now = 0; r->now < QUARTERS; r->now++) {
        double part = (double)frame.span_ns * (r->now + 1) / QUARTERS;
        ferry_sim_guest_run(r->guest, (double)frame.begin_ns + part);
        ferry_sim_guest_take(r->guest, take, r);
    }
    fill_frame(r, &frame);
    *out = frame;
    return TRUE;
}

static void ignore(void *self, uint64_t word, uint64_t mask)
{
    (void)self;
    (void)word;
    (void)mask;
}

FerrySimRecorder *ferry_sim_recorder_new(const FerrySimRecording *how, GError **error)
{
    uint64_t pages = ferry_workload_pages(how->workload);

    if (how->interval_ns == 0) {
        g_set_error_literal(error, FERRY_SIM_ERROR, FERRY_SIM_ERROR_VALUE,
                            "an interval of no length");
        return NULL;
    }
    if (!ferry_sim_pages_check(pages, error)) {
        return NULL;
    }
    FerrySimRecorder *r = g_new0(FerrySimRecorder, 1);
    r->how = how;
    r->classes = says_classes(how->workload);
    r->guest = ferry_sim_guest_new(how->workload, how->seed);
    for (unsigned q = 0; q < QUARTERS; q++) {
        ferry_bitmap_init(&r->quarter[q], pages);
    }
    ferry_bitmap_init(&r->words, (pages + 63) / 64);
    r->runs = g_array_new(FALSE, FALSE, sizeof(FerryTraceRun));
    r->quarters = g_byte_array_new();
    r->of_class = g_byte_array_new();
    ferry_sim_guest_take(r->guest, ignore, NULL); /* all is dirty at first */
    return r;
}

void ferry_sim_recorder_free(FerrySimRecorder *r)
{
    if (!r) {
        return;
    }
    for (unsigned q = 0; q < QUARTERS; q++) {
        ferry_bitmap_clear(&r->quarter[q]);
    }
    ferry_bitmap_clear(&r->words);
    g_array_unref(r->runs);
    g_byte_array_unref(r->quarters);
    g_byte_array_unref(r->of_class);
    ferry_sim_guest_free(r->guest);
    g_free(r);
}

static gboolean write_classes(const FerrySimRecorder *r, FerryTraceWriter *writer, GError **error)
{
    uint64_t pages = ferry_sim_guest_pages(r->guest);
    g_autofree uint8_t *classes = g_malloc(CLASSES_AT_ONCE);

    for (uint64_t first = 0; r->classes && first < pages; first += CLASSES_AT_ONCE) {
        uint64_t n = MIN(pages - first, CLASSES_AT_ONCE);
        ferry_sim_recorder_classes(r, first, n, classes);
        if (!ferry_trace_writer_classes(writer, first, classes, n, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

gboolean ferry_sim_record(const FerrySimRecording *how, FerryTraceWriter *writer,
                          gboolean (*progress)(void *self, const FerryTraceFrame *frame),
                          void *self, GError **error)
{
    g_autoptr(FerrySimRecorder) r = ferry_sim_recorder_new(how, error);
    FerryTraceFrame frame;

    if (!r || !write_classes(r, writer, error)) {
        return FALSE;
    }
    while (ferry_sim_recorder_next(r, &frame)) {
        if (!ferry_trace_writer_frame(writer, &frame, error)) {
            return FALSE;
        }
        if (progress && !progress(self, &frame)) {
            break;
        }
    }
    return TRUE;
}
