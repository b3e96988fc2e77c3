/* Traces that are cut, flipped or lie: what is read is a beginning of what was written, and the
 * end is told as what it is. */
#include <criterion/criterion.h>
#include <string.h>
#include "tests/trace/memory.h"
#include "trace/chunk.h"
#include "trace/index.h"

static GPtrArray *texts_new(void) { return g_ptr_array_new_with_free_func(g_free); }

/* How the trace ends; -1 if it is refused at once. Fails if a frame is not what it was. */
static int read_damaged(const GByteArray *trace, const GPtrArray *texts, guint *out_frames)
{
    g_autoptr(GPtrArray) got = texts_new();
    g_autoptr(GError) error = NULL;
    FerryTraceInput input = memory_input(trace);
    g_autoptr(FerryTraceReader) r = ferry_trace_reader_new(&input, &error);
    FerryTraceNext how;

    *out_frames = 0;
    if (!r) {
        cr_assert(error && error->message[0]);
        return -1;
    }
    how = read_texts(r, got, &error);
    cr_assert_eq(how == FERRY_TRACE_DAMAGED, error != NULL);
    cr_assert(!error || g_str_has_prefix(error->message, "byte "), "%s",
              error ? error->message : "");
    cr_assert_leq(got->len, texts->len);
    for (guint i = 0; i < got->len; i++) {
        cr_assert_str_eq(got->pdata[i], texts->pdata[i]);
    }
    *out_frames = got->len;
    return (int)how;
}

Test(damage, cut_at_every_byte)
{
    g_autoptr(GByteArray) trace = g_byte_array_new();
    g_autoptr(GPtrArray) texts = texts_new();
    guint before = 0, frames;

    sample_trace(trace, 12, SAMPLE_CLASSES | SAMPLE_BLOCKS | SAMPLE_FLUSHES, texts);
    for (guint n = 0; n < trace->len; n++) {
        g_autoptr(GByteArray) cut = g_byte_array_new();

        g_byte_array_append(cut, trace->data, n);
        int how = read_damaged(cut, texts, &frames);
        cr_assert(how == -1 || how == FERRY_TRACE_CUT, "%u: %d", n, how);
        cr_assert_geq(frames, before); /* the longer, the more */
        before = frames;
    }
    cr_assert_eq(before, 12);
    cr_assert_eq(read_damaged(trace, texts, &frames), FERRY_TRACE_END);
}

/* Every chunk but the last, which was not flushed, comes back. */
Test(damage, cut_at_every_1000th_byte)
{
    g_autoptr(GByteArray) trace = g_byte_array_new();
    g_autoptr(GPtrArray) texts = texts_new();
    guint frames, before = 0;

    sample_trace(trace, 1500, SAMPLE_BLOCKS, texts);
    for (guint n = 1000; n < trace->len; n += 1000) {
        g_autoptr(GByteArray) cut = g_byte_array_new();

        g_byte_array_append(cut, trace->data, n);
        cr_assert_eq(read_damaged(cut, texts, &frames), FERRY_TRACE_CUT);
        cr_assert(frames % FERRY_TRACE_CHUNK_FRAMES == 0 || frames == 750 || frames == 1500 ||
                  (frames - 750) % FERRY_TRACE_CHUNK_FRAMES == 0);
        cr_assert_geq(frames, before);
        before = frames;
    }
    cr_assert_geq(before, 750);
}

Test(damage, each_byte_flipped)
{
    static const uint8_t masks[] = {0x01, 0x80, 0xff};
    g_autoptr(GByteArray) trace = g_byte_array_new();
    g_autoptr(GPtrArray) texts = texts_new();

    sample_trace(trace, 9, SAMPLE_CLASSES | SAMPLE_BLOCKS | SAMPLE_FLUSHES, texts);
    for (guint at = 0; at < trace->len; at++) {
        for (guint m = 0; m < G_N_ELEMENTS(masks); m++) {
            guint frames;

            trace->data[at] ^= masks[m];
            int how = read_damaged(trace, texts, &frames);
            /* Nothing is flipped unseen: not even a byte that only the index has. */
            cr_assert_neq(how, FERRY_TRACE_END, "byte %u ^ %02x", at, masks[m]);
            trace->data[at] ^= masks[m];
        }
    }
}

/* Bytes behind the end, and holes of zeros, as a crash of the host leaves them. */
Test(damage, more_than_there_was)
{
    static const uint8_t zeros[100];
    g_autoptr(GByteArray) trace = g_byte_array_new();
    g_autoptr(GPtrArray) texts = texts_new();
    guint frames, whole;

    sample_trace(trace, 9, SAMPLE_FLUSHES, texts);
    whole = trace->len;
    g_byte_array_append(trace, zeros, 1);
    cr_assert_eq(read_damaged(trace, texts, &frames), FERRY_TRACE_DAMAGED);
    cr_assert_eq(frames, 9);
    g_byte_array_set_size(trace, whole - 200);
    g_byte_array_append(trace, zeros, sizeof zeros);
    cr_assert_eq(read_damaged(trace, texts, &frames), FERRY_TRACE_DAMAGED);
    cr_assert_geq(frames, 3);
}

static void reseal(GByteArray *trace, uint64_t offset)
{
    FerryTraceChunk chunk;

    cr_assert_null(ferry_trace_chunk_decode(&chunk, trace->data + offset));
    uint32_t crc = ferry_trace_crc(0, trace->data + offset, 32);
    crc = ferry_trace_crc(crc, trace->data + offset + 36, chunk.packed);
    ferry_trace_put_le32(trace->data + offset + 32, crc);
}

/* The index of @trace with the byte at @at changed, and its checksum right; how long it is. */
static uint32_t with_index(GByteArray *out, const GByteArray *trace, uint32_t at)
{
    ZSTD_DCtx *unpacker = ZSTD_createDCtx();
    g_autoptr(GByteArray) entries = g_byte_array_new();
    uint8_t tail[FERRY_TRACE_TAIL_BYTES];
    uint64_t offset;
    FerryTraceChunk chunk;

    cr_assert(ferry_trace_tail_decode(trace->data + trace->len - sizeof tail, &offset));
    cr_assert_null(ferry_trace_chunk_decode(&chunk, trace->data + offset));
    cr_assert_null(ferry_trace_chunk_unpack(&chunk, trace->data + offset + 36, unpacker, entries));
    ZSTD_freeDCtx(unpacker);
    if (at < entries->len) {
        entries->data[at] ^= 0x11;
    }
    g_byte_array_append(out, trace->data, (guint)offset + 36);
    g_byte_array_append(out, entries->data, entries->len);
    ferry_trace_put_le32(out->data + offset + 4, entries->len);
    reseal(out, offset);
    ferry_trace_tail_encode(tail, offset);
    g_byte_array_append(out, tail, sizeof tail);
    return entries->len;
}

/* An index that lies, its checksum right, is no index: frames are what they were. */
Test(damage, index_that_lies)
{
    g_autoptr(GByteArray) trace = g_byte_array_new(), same = g_byte_array_new();
    g_autoptr(GPtrArray) texts = texts_new();
    uint32_t n;

    sample_trace(trace, 30, SAMPLE_BLOCKS | SAMPLE_FLUSHES, texts);
    n = with_index(same, trace, UINT32_MAX);
    for (uint32_t at = 0; at <= n; at += 4) { /* the last time nothing is changed */
        g_autoptr(GByteArray) lies = g_byte_array_new();
        FerryTraceTotals totals;
        FerryTraceFrame frame;
        guint frames;

        with_index(lies, trace, at);
        FerryTraceInput input = memory_input(lies);
        g_autoptr(FerryTraceReader) r = ferry_trace_reader_new(&input, NULL);
        cr_assert_eq(ferry_trace_reader_totals(r, &totals), at == n, "entry byte %u", at);
        cr_assert_eq(read_damaged(lies, texts, &frames), FERRY_TRACE_END);
        cr_assert_eq(frames, 30);
        cr_assert(ferry_trace_reader_seek(r, UINT64_C(1700000000), NULL));
        cr_assert_eq(ferry_trace_reader_next(r, &frame, NULL), FERRY_TRACE_FRAME);
        g_autofree char *text = frame_text(&frame);
        cr_assert_str_eq(text, texts->pdata[frame.number]);
    }
}

/* What is packed may be packed wrongly, and its checksum right. */
Test(damage, payloads_that_unpack_to_something_else)
{
    static const struct {
        char what[40];
        int size, packed; /* by so much more than they are */
        uint8_t first;
    } rows[] = {
        {"to another size",          1,        0,  0x28},
        {"too small",                -1,       0,  0x28},
        {"not one whole zstd frame", 0,        -1, 0x28},
        {"not one whole zstd frame", 0,        1,  0x28},
        {"not one whole zstd frame", 0,        0,  0x27}, /* as old versions of zstd had them */
        {"more than 64 MiB",         64 << 20, 0,  0x28},
    };
    g_autoptr(GByteArray) whole = g_byte_array_new();
    g_autoptr(FerryTraceHeader) header = ferry_trace_header_new();
    FerryTraceFrame frame = FERRY_TRACE_FRAME_INIT;
    FerryTraceSink sink = memory_sink(whole);

    header->method = g_strdup("synthetic");
    ferry_trace_header_add(header, "ram", 1000);
    g_autoptr(FerryTraceWriter) w = ferry_trace_writer_new(header, &sink, NULL, NULL);
    guint offset = whole->len;
    for (unsigned i = 0; i < 100; i++) {
        cr_assert(ferry_trace_writer_frame(w, &frame, NULL));
    }
    cr_assert(ferry_trace_writer_flush(w, NULL));
    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        static const uint8_t more[1];
        g_autoptr(GByteArray) trace = g_byte_array_new();
        g_autoptr(GError) error = NULL;
        uint8_t *head;

        g_byte_array_append(trace, whole->data, whole->len);
        g_byte_array_append(trace, more, 1);
        head = trace->data + offset;
        cr_assert_eq(head[36], 0x28);
        head[36] = rows[i].first;
        ferry_trace_put_le32(head + 4, ferry_trace_get_le32(head + 4) + (uint32_t)rows[i].packed);
        ferry_trace_put_le32(head + 8, ferry_trace_get_le32(head + 8) + (uint32_t)rows[i].size);
        if (rows[i].size < 1 << 20) {
            reseal(trace, offset);
        }
        FerryTraceInput input = memory_input(trace);
        g_autoptr(FerryTraceReader) r = ferry_trace_reader_new(&input, NULL);
        cr_assert_eq(ferry_trace_reader_next(r, &frame, &error), FERRY_TRACE_DAMAGED);
        cr_expect(strstr(error->message, rows[i].what), "%s, and not: %s", rows[i].what,
                  error->message);
    }
}

Test(damage, beginnings)
{
    static const struct {
        char what[40];
        unsigned at;
        uint8_t value;
    } rows[] = {
        {"not a page dirty trace", 0,  0x88},
        {"version that is not 1",  8,  2   },
        {"more than 16 MiB",       15, 2   },
        {"ends within the header", 14, 1   },
        {"its checksum is wrong",  16, 0   },
        {"its checksum is wrong",  40, '!' },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GByteArray) trace = g_byte_array_new();
        g_autoptr(GError) error = NULL;

        sample_trace(trace, 1, 0, NULL);
        cr_assert_neq(trace->data[rows[i].at], rows[i].value);
        trace->data[rows[i].at] = rows[i].value;
        FerryTraceInput input = memory_input(trace);
        cr_assert_null(ferry_trace_reader_new(&input, &error));
        cr_expect(error->code == FERRY_TRACE_ERROR_FORMAT && strstr(error->message, rows[i].what),
                  "%s, and not: %s", rows[i].what, error->message);
    }
}
