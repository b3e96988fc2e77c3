#include "tools/inspect-trace.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <json-glib/json-glib.h>
#include "tools/format.h"
#include "trace/header.h"
#include "trace/index.h"
#include "trace/totals.h"

#define BLOCKS_SHOWN 40u

/* What reading it through says. */
typedef struct {
    const char *path, *status;
    uint64_t bytes, frames, pages, runs, length_ns, most_pages, empty, throttled;
    uint64_t with_classes, with_quarters;
    const FerryTraceHeader *header;
    gboolean has_totals;
    FerryTraceTotals totals;
    const uint64_t *curve;
    unsigned n_curve;
    GError *error;
} Found;

gboolean ferry_inspect_is_trace(const char *path)
{
    g_autoptr(FerryTraceFile) file = ferry_trace_file_open(path, NULL);
    FerryTraceInput input = file ? ferry_trace_file_input(file) : (FerryTraceInput){0};
    uint8_t prefix[FERRY_TRACE_PREFIX_BYTES];

    return input.size >= sizeof prefix && input.read(input.self, 0, prefix, sizeof prefix, NULL) &&
           ferry_trace_is_trace(prefix, sizeof prefix);
}

static void count(Found *f, const FerryTraceFrame *frame)
{
    f->frames++;
    f->pages += frame->n_pages;
    f->runs += frame->n_runs;
    f->length_ns += frame->span_ns;
    f->most_pages = MAX(f->most_pages, frame->n_pages);
    f->empty += frame->n_pages == 0;
    f->throttled += frame->throttle_percent > 0;
    f->with_classes += frame->classes != NULL;
    f->with_quarters += frame->quarters != NULL;
}

static void read_through(Found *f, FerryTraceReader *r)
{
    FerryTraceFrame frame;
    FerryTraceNext next;

    while ((next = ferry_trace_reader_next(r, &frame, &f->error)) == FERRY_TRACE_FRAME) {
        count(f, &frame);
    }
    f->status = next == FERRY_TRACE_END   ? "completed"
                : next == FERRY_TRACE_CUT ? "truncated"
                                          : "malformed";
    if (next == FERRY_TRACE_CUT) {
        g_set_error_literal(&f->error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_DAMAGED,
                            "it was not finished; its frames so far are whole");
    }
    f->header = ferry_trace_reader_header(r);
    f->has_totals = ferry_trace_reader_totals(r, &f->totals);
    f->curve = ferry_trace_reader_curve(r, &f->n_curve);
}

/* @text: ours; takes it. */
static void add_json(JsonBuilder *b, const char *name, char *text)
{
    g_autofree char *owned = text;

    json_builder_set_member_name(b, name);
    json_builder_add_value(b, json_from_string(owned, NULL));
}

static void add_number(JsonBuilder *b, const char *name, uint64_t value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_int_value(b, (gint64)value);
}

static void add_text(JsonBuilder *b, const char *name, const char *value)
{
    json_builder_set_member_name(b, name);
    json_builder_add_string_value(b, value);
}

static void print_json(const Found *f)
{
    g_autoptr(JsonBuilder) b = json_builder_new();
    g_autoptr(GArray) curve = g_array_new(FALSE, FALSE, sizeof(uint64_t));

    json_builder_begin_object(b);
    add_text(b, "status", f->status);
    if (f->error) {
        add_text(b, "error", f->error->message);
    }
    add_text(b, "kind", "trace");
    add_text(b, "file", f->path);
    add_number(b, "bytes", f->bytes);
    if (f->header) {
        add_json(b, "header", ferry_trace_header_to_json(f->header));
        add_number(b, "ram_bytes", ferry_trace_header_pages(f->header) * f->header->page_bytes);
        add_number(b, "frames", f->frames);
        add_number(b, "length_ns", f->length_ns);
        add_number(b, "pages_written", f->pages);
        add_number(b, "runs", f->runs);
        add_number(b, "most_pages", f->most_pages);
        add_number(b, "empty_frames", f->empty);
        add_number(b, "throttled_frames", f->throttled);
        add_number(b, "frames_with_classes", f->with_classes);
        add_number(b, "frames_with_quarters", f->with_quarters);
    }
    if (f->has_totals) {
        g_array_append_vals(curve, f->curve, 2 * f->n_curve);
        add_json(b, "totals", ferry_trace_totals_to_json(&f->totals, f->n_curve > 0, curve));
    }
    json_builder_end_object(b);
    ferry_verb_print_json(ferry_verb_build(b), TRUE);
}

/* For a terminal, which a name could tell to do things. */
static char *harmless(const char *text)
{
    char *copy = g_strdup(text);

    for (char *c = copy; *c; c++) {
        *c = g_ascii_iscntrl(*c) ? '?' : *c;
    }
    return copy;
}

static void text_line(const char *name, const char *value)
{
    g_autofree char *text = value ? harmless(value) : NULL;

    if (text) {
        printf("%-14s %s\n", name, text);
    }
}

static void print_start(uint64_t wall_ns)
{
    time_t seconds = (time_t)(wall_ns / 1000000000);
    struct tm utc;
    char text[40];

    if (wall_ns && gmtime_r(&seconds, &utc) && strftime(text, sizeof text, "%F %T UTC", &utc)) {
        text_line("began", text);
    }
}

static void print_header(const Found *f)
{
    const FerryTraceHeader *h = f->header;
    g_autofree char *interval = ferry_format_ms((double)h->interval_ns / 1e6);

    text_line("captured", h->method);
    text_line("by", h->tool);
    text_line("guest", h->guest);
    text_line("host", h->host);
    text_line("workload", h->workload);
    if (h->seed) {
        printf("%-14s %" PRIu64 "\n", "seed", h->seed);
    }
    if (h->n_vcpu) {
        printf("%-14s %u\n", "vCPUs", h->n_vcpu);
    }
    print_start(h->start_wall_ns);
    text_line("interval", h->interval_ns ? interval : NULL);
    text_line("licence", h->licence);
    text_line("provenance", h->provenance);
    printf("%-14s %" PRIu32 "\n", "page size", h->page_bytes);
}

static void print_blocks(const FerryTraceHeader *h)
{
    puts("\nRAM blocks");
    for (unsigned i = 0; i < MIN(h->blocks->len, BLOCKS_SHOWN); i++) {
        const FerryTraceBlock *block = &g_array_index(h->blocks, FerryTraceBlock, i);
        g_autofree char *size = ferry_format_bytes(block->pages * h->page_bytes);
        g_autofree char *name = harmless(block->name);
        g_autofree char *backing = harmless(block->backing ? block->backing : "");

        printf("  %12s  %s%s%s\n", size, name, backing[0] ? ", backed by " : "", backing);
    }
    if (h->blocks->len > BLOCKS_SHOWN) {
        printf("  and %u more\n", h->blocks->len - BLOCKS_SHOWN);
    }
}

static void print_frames(const Found *f)
{
    double seconds = (double)f->length_ns / 1e9;
    g_autofree char *length = ferry_format_ms(seconds * 1e3);
    g_autofree char *rate = ferry_format_rate(
        seconds > 0 ? (uint64_t)((double)f->pages * f->header->page_bytes / seconds) : 0);

    printf("\nFrames\n  %" PRIu64 " in %s, %" PRIu64 " of them without a write\n", f->frames,
           length, f->empty);
    printf("  %" PRIu64 " pages written in %" PRIu64 " runs, at most %" PRIu64 " in a frame; %s\n",
           f->pages, f->runs, f->most_pages, rate);
    if (f->with_classes || f->with_quarters || f->throttled) {
        printf("  %" PRIu64 " say what pages hold, %" PRIu64
               " when in the frame they were written, "
               "%" PRIu64 " that the guest was throttled\n",
               f->with_classes, f->with_quarters, f->throttled);
    }
}

static void print_totals(const Found *f)
{
    const FerryTraceTotals *t = &f->totals;

    printf("\nTotals\n  ended: %s; %" PRIu64 " late frames\n", t->ended, t->late_frames);
    if (t->capture_ns_per_frame) {
        printf("  capture: %.3f ms a frame, %.1f %% of a CPU\n",
               (double)t->capture_ns_per_frame / 1e6, t->capture_cpu_permille / 10.0);
    }
    if (t->slowdown_permille >= 0) {
        printf("  the captured program was %.1f %% slower\n", t->slowdown_permille / 10.0);
    }
    if (f->n_curve > 0) {
        printf("  %" PRIu64 " different pages were written; within any\n", t->distinct_pages);
    }
    for (unsigned i = 0; i < f->n_curve; i++) {
        g_autofree char *window = ferry_format_ms((double)f->curve[2 * i] / 1e6);
        double bytes = (double)f->curve[2 * i + 1] * f->header->page_bytes;
        g_autofree char *size = ferry_format_bytes((uint64_t)bytes);

        printf("  %12s  %s\n", window, size);
    }
}

static void print_text(const Found *f)
{
    g_autofree char *size = ferry_format_bytes(f->bytes);

    printf("%s: a page dirty trace, %s\n", f->path, size);
    if (!f->header) {
        return;
    }
    print_header(f);
    print_blocks(f->header);
    print_frames(f);
    if (f->has_totals) {
        print_totals(f);
    }
}

FerryExit ferry_inspect_trace(const char *path, gboolean json)
{
    Found found = {.path = path, .status = "malformed"};
    g_autoptr(FerryTraceFile) file = ferry_trace_file_open(path, &found.error);
    FerryTraceInput input = file ? ferry_trace_file_input(file) : (FerryTraceInput){0};
    g_autoptr(FerryTraceReader) r = file ? ferry_trace_reader_new(&input, &found.error) : NULL;

    found.bytes = input.size;
    if (r) {
        read_through(&found, r);
    }
    (json ? print_json : print_text)(&found);
    if (found.error) {
        fflush(stdout);
        fprintf(stderr, "ferry inspect: %s: %s\n", path, found.error->message);
        g_clear_error(&found.error);
        return FERRY_EXIT_FAILED;
    }
    return FERRY_EXIT_DONE;
}
