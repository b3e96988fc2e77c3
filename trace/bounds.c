#include "trace/bounds.h"
#include <string.h>
#include "trace/bounds-bins.h"
#include "trace/bounds-causal.h"

#define HEADER_BYTES 8u               /* of a page's record, on the wire */
#define BYTES_MAX (UINT64_C(1) << 60) /* of all pages on the wire */
#define NS_MAX (UINT64_C(1) << 62)    /* of a trace: 146 years */
#define COUNTS (UINT32_C(1) << 16)    /* what fits a page's counter */
#define AHEAD 32u                     /* pages that are fetched in advance */
#define SORTED_MAX (1u << 22)         /* pages of a frame that are put in order of their quarters */

/* Small, for there may be hundreds of millions; packed, for one miss of the cache each. */
typedef struct {
    uint32_t last;   /* bin of the last write; 0: since it was there */
    uint16_t frames; /* in which it was written, modulo COUNTS */
} __attribute__((packed)) Page;

struct FerryBounds {
    FerryBoundsInput input;
    uint32_t weights[256];
    uint64_t n_pages, n_frames, bytes;
    gboolean can_fit; /* the limit leaves anything for pages */
    uint64_t budget_bytes;
    Page *pages;
    uint8_t *classes;    /* NULL: none is known */
    GHashTable *wrapped; /* page + 1 -> how often its counter was full */
    GArray *by_frames;   /* uint64_t: bytes of pages that were written in so many frames */
    FerryBins bins;
    FerryBracket shortest, earliest;
    uint32_t *sorted; /* a frame's pages, those of quarter q up to sorted_end[q] */
    uint8_t *sorted_classes;
    uint64_t sorted_room, sorted_end[4];
};

static void weigh_classes(FerryBounds *b, uint32_t page_bytes)
{
    uint32_t plain =
        b->input.page_wire_bytes ? b->input.page_wire_bytes : page_bytes + HEADER_BYTES;

    for (unsigned i = 0; i < G_N_ELEMENTS(b->weights); i++) {
        b->weights[i] = plain;
    }
    b->weights[FERRY_TRACE_CLASS_ZERO] = HEADER_BYTES + 1;
    if (!b->input.packed) {
        return;
    }
    b->weights[FERRY_TRACE_CLASS_SAME] = HEADER_BYTES + page_bytes / 128;
    for (unsigned i = 0; i < 16; i++) {
        b->weights[FERRY_TRACE_CLASS_PACKED + i] =
            HEADER_BYTES + (uint32_t)((uint64_t)page_bytes * (i + 1) / 16);
    }
}

static uint64_t initial_bytes(const FerryBounds *b, const uint8_t *classes)
{
    uint64_t sum = 0;

    if (!classes) {
        return b->n_pages * b->weights[FERRY_TRACE_CLASS_UNKNOWN];
    }
    for (uint64_t i = 0; i < b->n_pages; i++) {
        sum += b->weights[classes[i]];
    }
    return sum;
}

static uint64_t *by_frames(FerryBounds *b, uint64_t frames)
{
    return &g_array_index(b->by_frames, uint64_t, frames);
}

/* What bytes of pages that were written last when now_ns had come mean for pauses until now. */
static void judge_high(FerryBounds *b)
{
    uint64_t left = ferry_bins_high(&b->bins);

    b->shortest.high = MIN(b->shortest.high, ferry_bounds_downtime_of(b, left));
    if (b->earliest.high == UINT64_MAX && b->can_fit && left <= b->budget_bytes) {
        b->earliest.high = b->bins.now_ns;
    }
}

/* A pause may come within the next bin, up to @end_ns, before any of its writes. */
static void judge_low(FerryBounds *b, uint64_t end_ns)
{
    uint64_t left = ferry_bins_low(&b->bins, end_ns);

    b->shortest.low = MIN(b->shortest.low, ferry_bounds_downtime_of(b, left));
    if (b->earliest.low == UINT64_MAX && b->can_fit) {
        uint64_t reached = ferry_bins_low_reaches(&b->bins, b->budget_bytes);
        b->earliest.low = reached <= end_ns ? reached : UINT64_MAX;
    }
}

FerryBounds *ferry_bounds_new(uint64_t pages, uint32_t page_bytes, const uint8_t *classes,
                              const FerryBoundsInput *input)
{
    FerryBounds *b;
    uint32_t most;

    g_return_val_if_fail(input->bytes_per_second > 0, NULL);
    b = g_new0(FerryBounds, 1);
    b->input = *input;
    if (input->switchover_bytes_per_second == 0) {
        b->input.switchover_bytes_per_second = input->bytes_per_second;
    }
    weigh_classes(b, page_bytes);
    most = MAX(b->weights[FERRY_TRACE_CLASS_UNKNOWN], page_bytes + HEADER_BYTES);
    b->n_pages = pages;
    ferry_bins_init(&b->bins, input->bytes_per_second);
    b->by_frames = g_array_new(FALSE, TRUE, sizeof(uint64_t));
    if (pages <= BYTES_MAX / most) {
        b->pages = g_try_new0(Page, MAX(pages, 1));
        b->classes = classes && b->pages ? g_try_malloc(MAX(pages, 1)) : NULL;
    }
    if (!b->pages || (classes && !b->classes)) {
        ferry_bounds_free(b);
        return NULL;
    }
    if (classes && pages > 0) {
        memcpy(b->classes, classes, pages);
    }
    b->bytes = initial_bytes(b, classes);
    b->can_fit = input->downtime_limit_ns >= input->fixed_ns;
    b->budget_bytes = b->can_fit ? ferry_bins_carried(b->input.switchover_bytes_per_second,
                                                      input->downtime_limit_ns - input->fixed_ns)
                                 : 0;
    g_array_set_size(b->by_frames, 2);
    *by_frames(b, 0) = b->bytes;
    *ferry_bins_bytes(&b->bins, 0) = b->bytes;
    ferry_bins_refresh(&b->bins);
    b->shortest.low = b->shortest.high = UINT64_MAX;
    b->earliest.low = b->earliest.high = UINT64_MAX;
    judge_low(b, 0);
    judge_high(b);
    return b;
}

gboolean ferry_bounds_grow(FerryBounds *b, uint64_t pages)
{
    uint64_t more = pages - b->n_pages, added;
    uint32_t each = b->weights[FERRY_TRACE_CLASS_UNKNOWN], bin;
    Page *grown;

    if (pages <= b->n_pages) {
        return TRUE;
    }
    if (pages > BYTES_MAX / MAX(each, 1) || b->bytes > BYTES_MAX - more * each) {
        return FALSE;
    }
    if (b->classes) {
        uint8_t *classes = g_try_realloc(b->classes, pages);
        if (!classes) {
            return FALSE;
        }
        b->classes = classes;
    }
    grown = g_try_renew(Page, b->pages, pages);
    if (!grown) {
        return FALSE;
    }
    b->pages = grown;
    bin = ferry_bins_append(&b->bins, b->bins.now_ns);
    for (uint64_t i = b->n_pages; i < pages; i++) {
        b->pages[i] = (Page){.last = bin};
    }
    if (b->classes) {
        memset(b->classes + b->n_pages, FERRY_TRACE_CLASS_UNKNOWN, more);
    }
    added = more * each;
    b->n_pages = pages;
    b->bytes += added;
    *by_frames(b, 0) += added;
    *ferry_bins_bytes(&b->bins, bin) += added;
    ferry_bins_refresh(&b->bins);
    return TRUE;
}

static gboolean know_classes(FerryBounds *b)
{
    if (!b->classes) {
        b->classes = g_try_malloc(MAX(b->n_pages, 1));
        if (b->classes) {
            memset(b->classes, FERRY_TRACE_CLASS_UNKNOWN, b->n_pages);
        }
    }
    return b->classes != NULL;
}

/* In how many frames a page was written before this one, which is counted. */
static uint64_t count_frame(FerryBounds *b, uint64_t number)
{
    Page *page = &b->pages[number];
    uint64_t before = page->frames;

    if (G_UNLIKELY(b->wrapped)) {
        before += GPOINTER_TO_SIZE(g_hash_table_lookup(b->wrapped, GSIZE_TO_POINTER(number + 1))) *
                  COUNTS;
    }
    page->frames++;
    if (G_UNLIKELY(page->frames == 0)) {
        if (!b->wrapped) {
            b->wrapped = g_hash_table_new(NULL, NULL);
        }
        g_hash_table_insert(b->wrapped, GSIZE_TO_POINTER(number + 1),
                            GSIZE_TO_POINTER(before / COUNTS + 1));
    }
    return before;
}

/* The page moves to @bin; what it weighs there. */
static inline uint64_t move_page(FerryBounds *b, uint64_t number, uint32_t bin, uint8_t class_)
{
    Page *page = &b->pages[number];
    uint32_t before = b->weights[FERRY_TRACE_CLASS_UNKNOWN], now = before;
    uint64_t frames = b->n_frames < COUNTS ? page->frames++ : count_frame(b, number);

    if (b->classes) {
        before = b->weights[b->classes[number]];
        now = b->weights[class_];
        b->classes[number] = class_;
        b->bytes += (uint64_t)now - before;
    }
    *ferry_bins_bytes(&b->bins, page->last) -= before;
    page->last = bin;
    *by_frames(b, frames) -= before;
    *by_frames(b, frames + 1) += now;
    return now;
}

static inline void fetch_page(const FerryBounds *b, uint64_t number)
{
    __builtin_prefetch(&b->pages[number], 1);
    if (b->classes) {
        __builtin_prefetch(&b->classes[number], 1);
    }
}

/* The frame's pages that were written last in @quarter, or all, with -1, into @bin. */
static uint64_t move_runs(FerryBounds *b, const FerryTraceFrame *frame, int quarter, uint32_t bin)
{
    uint64_t at = 0, arrived = 0;

    for (uint64_t i = 0; i < frame->n_runs; i++) {
        const FerryTraceRun *run = &frame->runs[i];
        if (i + AHEAD < frame->n_runs) {
            fetch_page(b, frame->runs[i + AHEAD].first);
        }
        for (uint64_t j = 0; j < run->n; j++, at++) {
            if (quarter < 0 || (frame->quarters[at] & 3) == quarter) {
                arrived +=
                    move_page(b, run->first + j, bin,
                              frame->classes ? frame->classes[at] : FERRY_TRACE_CLASS_UNKNOWN);
            }
        }
    }
    return arrived;
}

static uint64_t move_sorted(FerryBounds *b, unsigned quarter, uint32_t bin)
{
    uint64_t first = quarter > 0 ? b->sorted_end[quarter - 1] : 0, end = b->sorted_end[quarter];
    uint64_t arrived = 0;

    for (uint64_t i = first; i < end; i++) {
        fetch_page(b, b->sorted[MIN(i + AHEAD, end - 1)]);
        arrived += move_page(b, b->sorted[i], bin, b->sorted_classes[i]);
    }
    return arrived;
}

/* FALSE: it has too many pages; then each quarter's are looked for among all. */
static gboolean sort_pages(FerryBounds *b, const FerryTraceFrame *frame)
{
    uint64_t n = 0, at = 0, to[4] = {0};

    for (uint64_t i = 0; i < frame->n_runs; i++) {
        n += frame->runs[i].n;
    }
    if (n > SORTED_MAX || b->n_pages > UINT32_MAX) {
        return FALSE;
    }
    if (n > b->sorted_room) {
        b->sorted_room = MIN(2 * n, SORTED_MAX);
        b->sorted = g_renew(uint32_t, b->sorted, b->sorted_room);
        b->sorted_classes = g_renew(uint8_t, b->sorted_classes, b->sorted_room);
    }
    for (uint64_t i = 0; i < n; i++) {
        to[frame->quarters[i] & 3]++;
    }
    for (unsigned q = 0; q < 4; q++) {
        uint64_t pages = to[q];
        to[q] = at;
        at += pages;
        b->sorted_end[q] = at;
    }
    at = 0;
    for (uint64_t i = 0; i < frame->n_runs; i++) {
        for (uint64_t j = 0; j < frame->runs[i].n; j++, at++) {
            uint64_t place = to[frame->quarters[at] & 3]++;
            b->sorted[place] = (uint32_t)(frame->runs[i].first + j);
            b->sorted_classes[place] =
                frame->classes ? frame->classes[at] : FERRY_TRACE_CLASS_UNKNOWN;
        }
    }
    return TRUE;
}

gboolean ferry_bounds_frame(FerryBounds *b, const FerryTraceFrame *frame)
{
    uint64_t begin = b->bins.now_ns, span = MIN(frame->span_ns, NS_MAX - begin);
    unsigned parts = frame->quarters ? 4 : 1;
    gboolean sorted;

    if (frame->n_runs > 0) {
        const FerryTraceRun *last = &frame->runs[frame->n_runs - 1];
        if (!ferry_bounds_grow(b, last->first + last->n)) {
            return FALSE;
        }
    }
    if (frame->classes && !know_classes(b)) {
        return FALSE;
    }
    b->n_frames++;
    g_array_set_size(b->by_frames, (guint)MIN(b->n_frames + 2, G_MAXUINT));
    sorted = parts > 1 && sort_pages(b, frame);
    for (unsigned q = 0; q < parts; q++) {
        uint64_t end = begin + span / parts * (q + 1) + (q + 1 == parts ? span % parts : 0);
        judge_low(b, end);
        uint32_t bin = ferry_bins_append(&b->bins, end);
        uint64_t arrived =
            sorted ? move_sorted(b, q, bin) : move_runs(b, frame, parts > 1 ? (int)q : -1, bin);
        *ferry_bins_bytes(&b->bins, bin) += arrived;
        ferry_bins_refresh(&b->bins);
    }
    judge_high(b);
    return TRUE;
}

uint64_t ferry_bounds_downtime_of(const FerryBounds *b, uint64_t residual_bytes)
{
    uint64_t ns = ferry_bins_needed(b->input.switchover_bytes_per_second, residual_bytes);

    return ns > UINT64_MAX - b->input.fixed_ns ? UINT64_MAX : ns + b->input.fixed_ns;
}

FerryBracket ferry_bounds_residual(const FerryBounds *b)
{
    return (FerryBracket){ferry_bins_low(&b->bins, b->bins.now_ns), ferry_bins_high(&b->bins)};
}

FerryBracket ferry_bounds_downtime(const FerryBounds *b)
{
    FerryBracket left = ferry_bounds_residual(b);

    return (FerryBracket){ferry_bounds_downtime_of(b, left.low),
                          ferry_bounds_downtime_of(b, left.high)};
}

FerryBracket ferry_bounds_earliest(const FerryBounds *b) { return b->earliest; }

FerryBracket ferry_bounds_shortest(const FerryBounds *b) { return b->shortest; }

FerryBracket ferry_bounds_throttle(const FerryBounds *b)
{
    return b->can_fit ? (FerryBracket){ferry_bins_throttle(&b->bins, b->budget_bytes, FALSE),
                                       ferry_bins_throttle(&b->bins, b->budget_bytes, TRUE)}
                      : (FerryBracket){100, 100};
}

uint64_t ferry_bounds_causal(const FerryBounds *b)
{
    return ferry_causal_residual((const uint64_t *)(gpointer)b->by_frames->data, b->n_frames,
                                 b->bins.now_ns, b->input.bytes_per_second);
}

uint64_t ferry_bounds_bytes(const FerryBounds *b) { return b->bytes; }

uint32_t ferry_bounds_weight(const FerryBounds *b, uint8_t class_) { return b->weights[class_]; }

void ferry_bounds_free(FerryBounds *b)
{
    if (!b) {
        return;
    }
    ferry_bins_clear(&b->bins);
    g_array_unref(b->by_frames);
    g_clear_pointer(&b->wrapped, g_hash_table_unref);
    g_free(b->pages);
    g_free(b->classes);
    g_free(b->sorted);
    g_free(b->sorted_classes);
    g_free(b);
}
