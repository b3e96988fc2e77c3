/* A page dirty trace. First byte: bit 0, checksums are made right first, so that what lies behind
 * them is reached; the rest, where to seek to. Whatever the bytes are: frames are sets, a second
 * reading says the same, and what was read can be written and read again. */
#include "tests/fuzz/fuzz.h"
#include <string.h>
#include "tests/trace/memory.h"
#include "trace/chunk.h"
#include "trace/index.h"
#include "trace/set.h"

static void seal(GByteArray *trace)
{
    uint64_t at = FERRY_TRACE_PREFIX_BYTES, header;
    FerryTraceChunk chunk;

    if (trace->len < at) {
        return;
    }
    header = ferry_trace_get_le32(trace->data + 12);
    if (header > trace->len - at) {
        return;
    }
    ferry_trace_put_le32(trace->data + 16, ferry_trace_crc(0, trace->data + at, header));
    for (at += header; trace->len - at >= FERRY_TRACE_CHUNK_BYTES;
         at += FERRY_TRACE_CHUNK_BYTES + chunk.packed) {
        uint8_t *head = trace->data + at;

        if (ferry_trace_chunk_decode(&chunk, head) ||
            chunk.packed > trace->len - at - FERRY_TRACE_CHUNK_BYTES) {
            return;
        }
        uint32_t crc = ferry_trace_crc(0, head, FERRY_TRACE_CHUNK_BYTES - 4);
        crc = ferry_trace_crc(crc, head + FERRY_TRACE_CHUNK_BYTES, chunk.packed);
        ferry_trace_put_le32(head + 32, crc);
    }
}

/* What a frame says, in one number. */
static uint32_t digest(const FerryTraceFrame *f)
{
    const uint64_t numbers[] = {f->number, f->begin_ns, f->span_ns, f->throttle_percent, f->ran_ns};
    uint32_t sum = ferry_trace_crc(0, numbers, sizeof numbers);

    for (uint64_t i = 0; i < f->n_runs; i++) {
        sum = ferry_trace_crc(sum, &f->runs[i], sizeof f->runs[i]);
    }
    sum = f->classes && f->n_pages ? ferry_trace_crc(sum, f->classes, f->n_pages) : sum;
    return f->quarters && f->n_pages ? ferry_trace_crc(sum, f->quarters, f->n_pages) : sum;
}

/* Appends a digest for each frame; @w, if not NULL, gets what was read. */
static FerryTraceNext read_frames(FerryTraceReader *r, GArray *digests, FerryTraceWriter *w)
{
    g_autoptr(GError) error = NULL;
    FerryTraceFrame frame;
    FerryTraceNext next;

    while ((next = ferry_trace_reader_next(r, &frame, &error)) == FERRY_TRACE_FRAME) {
        uint32_t sum = digest(&frame);
        uint64_t pages;

        g_assert(!ferry_trace_runs_check(frame.runs, frame.n_runs,
                                         ferry_trace_header_pages(ferry_trace_reader_header(r)),
                                         &pages));
        g_assert(pages == frame.n_pages);
        g_array_append_val(digests, sum);
        if (w && !ferry_trace_writer_frame(w, &frame, NULL)) {
            g_assert(frame.n_pages > 1 << 20); /* more annotated pages than are written */
        }
    }
    g_assert((next == FERRY_TRACE_DAMAGED) == (error != NULL));
    return next;
}

static void expect_same(const GArray *a, const GArray *b)
{
    g_assert(a->len == b->len);
    g_assert(a->len == 0 || memcmp(a->data, b->data, a->len * sizeof(uint32_t)) == 0);
}

static void write_and_read(FerryTraceReader *r, const GArray *digests)
{
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    g_autoptr(GArray) again = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    FerryTraceWriterOptions options = {.level = -1};
    FerryTraceSink sink = memory_sink(bytes);
    g_autoptr(FerryTraceWriter) w =
        ferry_trace_writer_new(ferry_trace_reader_header(r), &sink, &options, NULL);

    if (!w) { /* blocks that came one by one may be too many for a header */
        return;
    }
    ferry_trace_reader_rewind(r);
    read_frames(r, again, w);
    expect_same(digests, again);
    g_array_set_size(again, 0);
    g_assert(ferry_trace_writer_end(w, NULL, NULL));
    FerryTraceInput input = memory_input(bytes);
    g_autoptr(FerryTraceReader) copy = ferry_trace_reader_new(&input, NULL);
    g_assert(copy && read_frames(copy, again, NULL) == FERRY_TRACE_END);
    expect_same(digests, again);
}

static void seek(FerryTraceReader *r, uint64_t ns, const GArray *digests)
{
    FerryTraceFrame frame;

    if (!ferry_trace_reader_seek(r, ns, NULL)) {
        return;
    }
    g_assert(ferry_trace_reader_next(r, &frame, NULL) == FERRY_TRACE_FRAME);
    if (frame.number < digests->len) { /* else it lies behind damage */
        g_assert(digest(&frame) == g_array_index(digests, uint32_t, frame.number));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    g_autoptr(GByteArray) trace = g_byte_array_new();
    g_autoptr(GArray) digests = g_array_new(FALSE, FALSE, sizeof(uint32_t));
    g_autoptr(GError) error = NULL;
    uint8_t classes[64];

    if (size < 1) {
        return 0;
    }
    g_byte_array_append(trace, data + 1, (guint)size - 1);
    if (data[0] & 1) {
        seal(trace);
    }
    FerryTraceInput input = memory_input(trace);
    g_autoptr(FerryTraceReader) r = ferry_trace_reader_new(&input, &error);
    g_assert(!r == (error != NULL));
    if (r) {
        FerryTraceNext how = read_frames(r, digests, NULL);

        ferry_trace_reader_classes(r, data[0], sizeof classes, classes, NULL);
        seek(r, (uint64_t)data[0] << 24, digests);
        write_and_read(r, digests);
        g_array_set_size(digests, 0);
        ferry_trace_reader_rewind(r);
        g_assert(read_frames(r, digests, NULL) == how);
    }
    return 0;
}
