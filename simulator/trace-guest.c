/* A guest that writes as a trace has it. A frame's pages are put in order of their times when it
 * begins, a piece of its span after the other if they are many: each write costs the same, however
 * often somebody looks. */
#include "simulator/guest-private.h"
#include "simulator/random.h"

#define PAGE FERRY_WORKLOAD_PAGE
#define PIECE_PAGES (1u << 20) /* of a frame at once, about */
#define WHEN_BITS 24u
#define RADIX_BITS 12u
#define FEW_EVENTS 32u          /* are sorted the simple way */
#define SAME_BYTES (PAGE / 128) /* a page of which all bytes are equal, packed */
/* What is shorter is no trace of anything, and would be repeated without end. */
#define REPEAT_MIN_NS 1000000u

typedef struct {
    uint32_t when : WHEN_BITS; /* of the frame's span, in 2^-24 */
    uint32_t class_ : 8;
    uint32_t page;
} Event;

typedef struct {
    FerrySimGuest base;
    FerryTraceReader *trace;
    gboolean once, ended;
    uint64_t seed;
    uint64_t before_ns; /* what of the trace is behind guest time 0, less earlier laps */
    uint64_t laps_ns;   /* length of all laps that are over */
    unsigned laps;
    FerryTraceFrame frame; /* the reader's, until the next one */
    gboolean has_frame;
    unsigned piece, n_pieces; /* the next one of the frame */
    uint32_t earlier[4];      /* by quarter: so many of 2^24 pages were written before it as well */
    Event *events, *spare;
    uint64_t n_events, next, room;
    uint8_t *classes; /* of all pages as they are now; NULL: the trace says nothing */
    GError *error;
} Traced;

static void fail(Traced *t, const char *what)
{
    if (!t->error) {
        t->error = g_error_new(FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_DAMAGED, "%s", what);
    }
}

static void know_classes(Traced *t)
{
    if (!t->classes) {
        t->classes = g_malloc(MAX(t->base.n_pages, 1));
        for (uint64_t i = 0; i < t->base.n_pages; i++) {
            t->classes[i] = FERRY_TRACE_CLASS_UNKNOWN;
        }
    }
}

static uint64_t frame_end(const Traced *t) { return t->frame.begin_ns + t->frame.span_ns; }

/* The trace begins anew behind its last frame. */
static gboolean turn_back(Traced *t)
{
    uint64_t length = t->has_frame ? frame_end(t) : 0;

    t->ended = TRUE;
    t->has_frame = FALSE;
    if (t->once) {
        return FALSE;
    }
    if (length < REPEAT_MIN_NS) {
        fail(t, "the trace has less than a millisecond: it cannot be repeated");
        return FALSE;
    }
    t->laps_ns += length;
    t->laps++;
    ferry_trace_reader_rewind(t->trace);
    return TRUE;
}

static gboolean frame_fits(const Traced *t)
{
    const FerryTraceFrame *f = &t->frame;

    if (f->n_runs == 0) {
        return TRUE;
    }
    const FerryTraceRun *last = &f->runs[f->n_runs - 1];
    return last->first < t->base.n_pages && last->n <= t->base.n_pages - last->first;
}

/* Pages that are written once have their last write in any quarter alike. Those that the later
 * ones have more are written often, and so were written before. */
static void weigh_quarters(Traced *t)
{
    const FerryTraceFrame *f = &t->frame;
    double n[4] = {0};

    for (uint64_t i = 0; f->quarters && i < f->n_pages; i++) {
        n[f->quarters[i] & 3]++;
    }
    for (unsigned q = 0; q < 4; q++) {
        double more = n[q] - n[0];
        gboolean chance = more <= 0 || more * more < 4 * (n[q] + n[0]);
        t->earlier[q] = chance ? 0 : (uint32_t)(more / n[q] * (double)(1u << WHEN_BITS));
    }
}

static gboolean next_frame(Traced *t)
{
    while (!t->error && !(t->once && t->ended)) {
        FerryTraceFrame frame = FERRY_TRACE_FRAME_INIT;
        switch (ferry_trace_reader_next(t->trace, &frame, &t->error)) {
        case FERRY_TRACE_FRAME:
            t->frame = frame;
            t->has_frame = TRUE;
            t->piece = 0;
            t->n_events = t->next = 0;
            t->n_pieces = (unsigned)(frame.n_pages / PIECE_PAGES + 1);
            weigh_quarters(t);
            if (!frame_fits(t)) {
                fail(t, "a frame of the trace has pages behind the last block");
            } else if (frame.classes) {
                know_classes(t);
            }
            return !t->error;
        case FERRY_TRACE_END:
            if (!turn_back(t)) {
                return FALSE;
            }
            break;
        case FERRY_TRACE_CUT:
            fail(t, "the trace was cut: it was not finished, and the migration goes on behind "
                    "what there is");
            return FALSE;
        case FERRY_TRACE_DAMAGED:
            if (!t->error) {
                fail(t, "the trace is damaged");
            }
            return FALSE;
        }
    }
    return FALSE;
}

static void sort_few(Traced *t)
{
    for (uint64_t i = 1; i < t->n_events; i++) {
        Event event = t->events[i];
        uint64_t at = i;
        for (; at > 0 && t->events[at - 1].when > event.when; at--) {
            t->events[at] = t->events[at - 1];
        }
        t->events[at] = event;
    }
}

/* In order of their times; in that of pages where those are equal. */
static void sort(Traced *t)
{
    if (t->n_events < FEW_EVENTS) {
        sort_few(t);
        return;
    }
    for (unsigned shift = 0; shift < WHEN_BITS; shift += RADIX_BITS) {
        uint32_t at[1u << RADIX_BITS] = {0}, sum = 0;
        for (uint64_t i = 0; i < t->n_events; i++) {
            at[(uint32_t)t->events[i].when >> shift & ((1u << RADIX_BITS) - 1)]++;
        }
        for (unsigned i = 0; i < G_N_ELEMENTS(at); i++) {
            uint32_t n = at[i];
            at[i] = sum;
            sum += n;
        }
        for (uint64_t i = 0; i < t->n_events; i++) {
            const Event *e = &t->events[i];
            t->spare[at[(uint32_t)e->when >> shift & ((1u << RADIX_BITS) - 1)]++] = *e;
        }
        Event *sorted = t->spare;
        t->spare = t->events;
        t->events = sorted;
    }
}

/* The piece of the frame's span that is loaded. */
typedef struct {
    uint32_t low, high;
} Piece;

static void add_event(Traced *t, Piece piece, uint32_t when, uint64_t page, uint8_t class_)
{
    if (when < piece.low || when >= piece.high) {
        return;
    }
    if (t->n_events == t->room) {
        t->room = t->room ? 2 * t->room : 1024;
        t->events = g_realloc_n(t->events, t->room, sizeof *t->events);
        t->spare = g_realloc_n(t->spare, t->room, sizeof *t->spare);
    }
    t->events[t->n_events++] =
        (Event){.when = when & ((1u << WHEN_BITS) - 1), .class_ = class_, .page = (uint32_t)page};
}

static void add_page(Traced *t, Piece piece, uint64_t salt, uint64_t page, uint64_t nth)
{
    const FerryTraceFrame *f = &t->frame;
    uint8_t class_ = f->classes ? f->classes[nth] : FERRY_TRACE_CLASS_UNKNOWN;
    uint64_t hash = ferry_random_hash(salt ^ page);
    uint32_t when = (uint32_t)(hash >> (64 - WHEN_BITS));

    if (f->quarters) {
        unsigned q = f->quarters[nth] & 3;
        when = (uint32_t)q << (WHEN_BITS - 2) | when >> 2;
        if (t->earlier[q] > 0) {
            hash = ferry_random_hash(hash);
            if ((uint32_t)(hash >> (64 - WHEN_BITS)) < t->earlier[q]) {
                uint32_t before = (uint32_t)((hash & 0xffffff) * q >> 2);
                add_event(t, piece, before, page, class_);
            }
        }
    }
    add_event(t, piece, when, page, class_);
}

/* Draws when each page of the frame was written, and keeps what is in the next piece of its span.
 */
static void load_piece(Traced *t)
{
    const FerryTraceFrame *f = &t->frame;
    uint64_t salt = ferry_random_hash(t->seed + f->number), nth = 0;
    Piece piece = {.low = (uint32_t)(((uint64_t)t->piece << WHEN_BITS) / t->n_pieces),
                   .high = (uint32_t)(((uint64_t)(t->piece + 1) << WHEN_BITS) / t->n_pieces)};

    t->n_events = t->next = 0;
    for (uint64_t i = 0; i < f->n_runs; i++) {
        uint64_t end = f->runs[i].first + f->runs[i].n;
        for (uint64_t page = f->runs[i].first; page < end; page++) {
            add_page(t, piece, salt, page, nth++);
        }
    }
    t->piece++;
    sort(t);
}

static void write_event(Traced *t, const Event *e)
{
    ferry_sim_guest_write(&t->base, e->page / 64, UINT64_C(1) << (e->page % 64));
    if (t->classes) {
        t->classes[e->page] = (uint8_t)e->class_;
    }
}

/* Writes of the frame up to so many 2^-24 of its span; TRUE: all of them. */
static gboolean play(Traced *t, double until)
{
    for (;;) {
        for (; t->next < t->n_events; t->next++) {
            if ((double)t->events[t->next].when >= until) {
                return FALSE;
            }
            write_event(t, &t->events[t->next]);
        }
        if (t->piece == t->n_pieces) {
            return TRUE;
        }
        load_piece(t);
    }
}

static void play_to(Traced *t, double now_ns)
{
    while (!t->error) {
        double at = now_ns + (double)t->before_ns - (double)t->laps_ns;
        if (!t->has_frame && !next_frame(t)) {
            return;
        }
        double span = (double)t->frame.span_ns, in = at - (double)t->frame.begin_ns;
        gboolean over = in >= span;
        /* Its last write may come just before its end: nothing is left when that has come. */
        if (!over && in < 0) {
            return;
        }
        double until = over ? (double)(1u << WHEN_BITS) : in / span * (double)(1u << WHEN_BITS);
        if (!play(t, until) || !over || !next_frame(t)) {
            return;
        }
    }
}

static void advance(FerrySimGuest *g)
{
    Traced *t = (Traced *)g;

    if (!t->error && !(t->once && t->ended)) {
        play_to(t, g->now_ns);
    }
}

static void content(const FerrySimGuest *g, uint64_t page, FerrySimContent *out)
{
    const Traced *t = (const Traced *)g;
    unsigned class_ = t->classes ? t->classes[page] : FERRY_TRACE_CLASS_UNKNOWN;

    *out = (FerrySimContent){.plain = PAGE};
    if (class_ == FERRY_TRACE_CLASS_ZERO) {
        out->plain = 0;
    } else if (class_ == FERRY_TRACE_CLASS_SAME) {
        out->packed = SAME_BYTES;
    } else if (class_ < FERRY_TRACE_CLASS_PACKED + 16) {
        out->packed = (class_ - FERRY_TRACE_CLASS_PACKED + 1) * (PAGE / 16);
    }
}

static gboolean check(const FerrySimGuest *g, GError **error)
{
    const Traced *t = (const Traced *)g;

    if (t->error) {
        g_propagate_error(error, g_error_copy(t->error));
    }
    return !t->error;
}

static gboolean has_ended(const FerrySimGuest *g)
{
    const Traced *t = (const Traced *)g;

    return t->once && t->ended;
}

static unsigned laps(const FerrySimGuest *g) { return ((const Traced *)g)->laps; }

static void free_traced(FerrySimGuest *g)
{
    Traced *t = (Traced *)g;

    ferry_sim_guest_clear_members(g);
    g_free(t->events);
    g_free(t->spare);
    g_free(t->classes);
    g_clear_error(&t->error);
    g_free(t);
}

static const FerrySimGuestOps ops = {.advance = advance,
                                     .content = content,
                                     .check = check,
                                     .ended = has_ended,
                                     .laps = laps,
                                     .free = free_traced};

/* A file without an end does not say which blocks appear later: all of it is looked through. */
static void meet_all_blocks(FerryTraceReader *trace)
{
    FerryTraceTotals totals;
    FerryTraceFrame frame = FERRY_TRACE_FRAME_INIT;
    g_autoptr(GError) ignored = NULL; /* it comes again if the migration gets there */

    if (!ferry_trace_reader_totals(trace, &totals)) {
        while (ferry_trace_reader_next(trace, &frame, &ignored) == FERRY_TRACE_FRAME) {
        }
    }
    ferry_trace_reader_rewind(trace);
}

static gboolean read_classes(Traced *t, GError **error)
{
    uint8_t some[4096];

    for (uint64_t first = 0; first < t->base.n_pages; first += sizeof some) {
        uint64_t n = MIN(t->base.n_pages - first, sizeof some);
        if (!ferry_trace_reader_classes(t->trace, first, n, some, error)) {
            return FALSE;
        }
        for (uint64_t i = 0; i < n; i++) {
            if (some[i] != FERRY_TRACE_CLASS_UNKNOWN) {
                know_classes(t);
                t->classes[first + i] = some[i];
            }
        }
    }
    /* Blocks that appear later are there from the beginning, and nothing is in them. */
    for (uint64_t page = ferry_trace_reader_first_pages(t->trace); page < t->base.n_pages; page++) {
        know_classes(t);
        t->classes[page] = FERRY_TRACE_CLASS_ZERO;
    }
    return TRUE;
}

/* What was written before it begins is known by its classes alone: everything is dirty anyway. */
static gboolean begin(Traced *t, uint64_t start_ns, GError **error)
{
    gboolean once = t->once;

    if (!read_classes(t, error)) {
        return FALSE;
    }
    t->once = TRUE;
    t->before_ns = start_ns;
    play_to(t, 0);
    t->once = once;
    if (!t->error && t->ended) {
        fail(t, "the trace ends before the migration would begin");
    }
    return check(&t->base, error);
}

FerrySimGuest *ferry_sim_guest_new_trace(FerryTraceReader *trace, uint64_t start_ns, gboolean once,
                                         uint64_t seed, GError **error)
{
    meet_all_blocks(trace);
    const FerryTraceHeader *header = ferry_trace_reader_header(trace);
    uint64_t pages = ferry_trace_header_pages(header);

    if (header->page_bytes != PAGE) {
        g_set_error(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_FORMAT,
                    "a trace of pages of %u bytes: only those of %u can be simulated",
                    header->page_bytes, PAGE);
        return NULL;
    }
    if (!ferry_sim_pages_check(pages, error)) {
        return NULL;
    }
    Traced *t = g_new0(Traced, 1);
    ferry_sim_guest_init(&t->base, &ops, pages);
    t->trace = trace;
    t->once = once;
    t->seed = ferry_random_hash(seed);
    if (!begin(t, start_ns, error)) {
        free_traced(&t->base);
        return NULL;
    }
    return &t->base;
}
