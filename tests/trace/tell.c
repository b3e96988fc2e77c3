/* tell FILE: prints a trace as docs/examples/pdt.py --frames does, a line for each frame.
 * tell --make FILE FRAMES FLAGS: writes one of the traces that tests read. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tests/trace/memory.h"

static void add_pages(GChecksum *sum, const FerryTraceFrame *f)
{
    for (uint64_t i = 0; i < f->n_runs; i++) {
        for (uint64_t page = f->runs[i].first; page < f->runs[i].first + f->runs[i].n; page++) {
            uint64_t little = GUINT64_TO_LE(page);
            g_checksum_update(sum, (const guchar *)&little, sizeof little);
        }
    }
    if (f->classes && f->n_pages) {
        g_checksum_update(sum, f->classes, (gssize)f->n_pages);
    }
    if (f->quarters && f->n_pages) {
        g_checksum_update(sum, f->quarters, (gssize)f->n_pages);
    }
}

static int tell(const char *path)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(FerryTraceFile) file = ferry_trace_file_open(path, &error);
    FerryTraceInput input = file ? ferry_trace_file_input(file) : (FerryTraceInput){0};
    g_autoptr(FerryTraceReader) r = file ? ferry_trace_reader_new(&input, &error) : NULL;
    FerryTraceNext next = FERRY_TRACE_DAMAGED;
    FerryTraceFrame f;

    while (r && (next = ferry_trace_reader_next(r, &f, &error)) == FERRY_TRACE_FRAME) {
        g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
        g_autofree char *ran =
            f.ran_ns == UINT64_MAX ? g_strdup("-") : g_strdup_printf("%lu", f.ran_ns);

        add_pages(sum, &f);
        printf("%lu %lu %lu %lu %lu %s %u %s\n", f.number, f.begin_ns, f.span_ns, f.n_pages,
               f.n_runs, g_checksum_get_string(sum), f.throttle_percent, ran);
    }
    if (error) {
        fprintf(stderr, "%s\n", error->message);
    }
    return next == FERRY_TRACE_END ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 5 && strcmp(argv[1], "--make") == 0) {
        g_autoptr(GByteArray) trace = g_byte_array_new();

        sample_trace(trace, (unsigned)atoi(argv[3]), (unsigned)atoi(argv[4]), NULL);
        return g_file_set_contents(argv[2], (const char *)trace->data, (gssize)trace->len, NULL)
                   ? 0
                   : 1;
    }
    return argc == 2 ? tell(argv[1]) : 2;
}
