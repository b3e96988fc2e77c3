#include "tests/simulator/traces.h"
#include <criterion/criterion.h>
#include "simulator/record.h"

static void begin(TestTrace *t, const FerryTraceHeader *header)
{
    t->bytes = g_byte_array_new();
    FerryTraceSink sink = memory_sink(t->bytes);
    t->writer = ferry_trace_writer_new(header, &sink, NULL, NULL);
    t->reader = NULL;
    cr_assert_not_null(t->writer);
}

void trace_begin(TestTrace *t, uint64_t pages)
{
    g_autoptr(FerryTraceHeader) header = ferry_trace_header_new();

    header->method = g_strdup("synthetic");
    ferry_trace_header_add(header, "pc.ram", pages);
    begin(t, header);
}

void trace_frame(TestTrace *t, uint64_t span_ns, uint64_t first, uint64_t n,
                 const uint8_t *quarters, const uint8_t *classes)
{
    FerryTraceRun run = {first, n};
    FerryTraceFrame frame = FERRY_TRACE_FRAME_INIT;

    frame.span_ns = span_ns;
    frame.n_runs = n > 0;
    frame.runs = &run;
    frame.n_pages = n;
    frame.quarters = quarters;
    frame.classes = classes;
    cr_assert(ferry_trace_writer_frame(t->writer, &frame, NULL));
}

void trace_open(TestTrace *t, gboolean whole)
{
    g_autoptr(GError) error = NULL;

    cr_assert(whole ? ferry_trace_writer_end(t->writer, NULL, NULL)
                    : ferry_trace_writer_flush(t->writer, NULL));
    t->input = memory_input(t->bytes);
    t->reader = ferry_trace_reader_new(&t->input, &error);
    cr_assert_not_null(t->reader, "%s", error ? error->message : "");
}

void trace_of_model(TestTrace *t, const FerryWorkload *w, uint64_t interval_ns,
                    uint64_t duration_ns, uint64_t seed, gboolean quarters)
{
    FerrySimRecording how = {.workload = w,
                             .interval_ns = interval_ns,
                             .duration_ns = duration_ns,
                             .seed = seed,
                             .no_quarters = !quarters};
    g_autoptr(FerryTraceHeader) header = ferry_sim_record_header(&how, "a test's");

    begin(t, header);
    cr_assert(ferry_sim_record(&how, t->writer, NULL, NULL, NULL));
    trace_open(t, TRUE);
}

void trace_clear(TestTrace *t)
{
    ferry_trace_reader_free(t->reader);
    ferry_trace_writer_free(t->writer);
    g_byte_array_unref(t->bytes);
}
