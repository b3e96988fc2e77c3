/* Going elsewhere in a trace: times, classes at the beginning, files. */
#include <criterion/criterion.h>
#include <glib/gstdio.h>
#include <string.h>
#include <unistd.h>
#include "tests/trace/memory.h"

static void expect_seek(FerryTraceReader *r, uint64_t ns, uint64_t number)
{
    FerryTraceFrame frame;

    cr_assert(ferry_trace_reader_seek(r, ns, NULL));
    cr_assert_eq(ferry_trace_reader_next(r, &frame, NULL), FERRY_TRACE_FRAME);
    cr_assert_eq(frame.number, number, "%lu ns: %lu, not %lu", ns, frame.number, number);
    cr_assert(ns == 0 || frame.begin_ns < ns);
}

static void seek_everywhere(unsigned flags)
{
    g_autoptr(GByteArray) trace = g_byte_array_new();
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GArray) ends = g_array_new(FALSE, FALSE, sizeof(uint64_t));
    FerryTraceFrame frame;

    sample_trace(trace, 40, flags, texts);
    FerryTraceInput input = memory_input(trace);
    g_autoptr(FerryTraceReader) r = ferry_trace_reader_new(&input, NULL);
    expect_seek(r, UINT64_MAX, 39); /* nothing was read before */
    ferry_trace_reader_rewind(r);
    while (ferry_trace_reader_next(r, &frame, NULL) == FERRY_TRACE_FRAME) {
        uint64_t end = frame.begin_ns + frame.span_ns;
        g_array_append_val(ends, end);
    }
    cr_assert_eq(ends->len, 40);
    expect_seek(r, 0, 0);
    for (unsigned i = 0; i < 40; i++) {
        unsigned k = i * 17 % 40;
        uint64_t end = g_array_index(ends, uint64_t, k);

        expect_seek(r, end, k);
        expect_seek(r, end - 1, k);
        expect_seek(r, end + 1, MIN(k + 1, 39));
        cr_assert(ferry_trace_reader_seek(r, end, NULL));
        for (unsigned j = k; j < 40; j++) { /* and on from there */
            cr_assert_eq(ferry_trace_reader_next(r, &frame, NULL), FERRY_TRACE_FRAME);
            g_autofree char *text = frame_text(&frame);
            cr_assert_str_eq(text, texts->pdata[j]);
        }
        cr_assert_eq(ferry_trace_reader_next(r, &frame, NULL),
                     flags & SAMPLE_NO_END ? FERRY_TRACE_CUT : FERRY_TRACE_END);
    }
    expect_seek(r, UINT64_MAX, 39);
}

Test(reader, seeks_by_index) { seek_everywhere(SAMPLE_BLOCKS | SAMPLE_FLUSHES | SAMPLE_CLASSES); }
Test(reader, seeks_without) { seek_everywhere(SAMPLE_BLOCKS | SAMPLE_FLUSHES | SAMPLE_NO_END); }
Test(reader, seeks_in_one_chunk) { seek_everywhere(0); }

Test(reader, nothing_to_seek)
{
    g_autoptr(GByteArray) trace = g_byte_array_new();
    g_autoptr(GError) error = NULL;

    sample_trace(trace, 0, 0, NULL);
    FerryTraceInput input = memory_input(trace);
    g_autoptr(FerryTraceReader) r = ferry_trace_reader_new(&input, NULL);
    cr_assert(!ferry_trace_reader_seek(r, 5, &error));
    cr_assert(error);
}

Test(reader, classes_at_the_beginning)
{
    g_autoptr(GByteArray) trace = g_byte_array_new();
    uint8_t all[503], some[100];

    sample_trace(trace, 3, SAMPLE_CLASSES, NULL);
    FerryTraceInput input = memory_input(trace);
    g_autoptr(FerryTraceReader) r = ferry_trace_reader_new(&input, NULL);
    cr_assert(ferry_trace_reader_classes(r, 0, sizeof all, all, NULL));
    cr_assert(all[0] == 0 && all[1] == 1 && all[2] == 2 && all[3] == 17 && all[4] == 255);
    cr_assert(all[399] == 0 && all[400] == 255 && all[449] == 255 && all[450] == 0);
    cr_assert(all[453] == 17 && all[454] == 255 && all[499] == 0 && all[500] == 255);
    for (unsigned first = 0; first + sizeof some <= sizeof all; first += 7) {
        cr_assert(ferry_trace_reader_classes(r, first, sizeof some, some, NULL));
        cr_assert_arr_eq(some, all + first, sizeof some);
    }
}

Test(reader, files)
{
    g_autofree char *directory = g_dir_make_tmp("ferry-trace-XXXXXX", NULL);
    g_autofree char *path = g_build_filename(directory, "a.pdt", NULL);
    g_autofree char *part = g_strconcat(path, ".part", NULL);
    g_autoptr(GByteArray) trace = g_byte_array_new(), back = g_byte_array_new();
    g_autoptr(GError) error = NULL;

    sample_trace(trace, 30, 0, NULL);
    g_autoptr(FerryTraceFile) file = ferry_trace_file_create(path, NULL);
    cr_assert_null(ferry_trace_file_create(path, &error)); /* not two at a time */
    cr_assert(strstr(error->message, "another trace is being written there"));
    g_clear_error(&error);
    FerryTraceSink sink = ferry_trace_file_sink(file);
    cr_assert(sink.write(sink.self, trace->data, trace->len, NULL));
    cr_assert(!g_file_test(path, G_FILE_TEST_EXISTS) && g_file_test(part, G_FILE_TEST_EXISTS));
    cr_assert(ferry_trace_file_commit(file, NULL));
    cr_assert(g_file_test(path, G_FILE_TEST_EXISTS) && !g_file_test(part, G_FILE_TEST_EXISTS));

    g_autoptr(FerryTraceFile) read = ferry_trace_file_open(path, NULL);
    FerryTraceInput input = ferry_trace_file_input(read);
    cr_assert_eq(input.size, trace->len);
    g_byte_array_set_size(back, trace->len);
    cr_assert(input.read(input.self, 0, back->data, back->len, NULL));
    cr_assert_arr_eq(back->data, trace->data, trace->len);
    cr_assert(truncate(path, 100) == 0);
    cr_assert(!input.read(input.self, 50, back->data, 100, &error));
    cr_assert(g_error_matches(error, FERRY_TRACE_ERROR, FERRY_TRACE_ERROR_IO));
    g_clear_error(&error);
    cr_assert_null(ferry_trace_file_open(directory, &error));
    cr_assert(strstr(error->message, "not a regular file"));
    g_unlink(path);
    g_rmdir(directory);
    cr_assert_null(ferry_trace_file_open(path, NULL));
    cr_assert_null(ferry_trace_file_create(path, NULL));
}
