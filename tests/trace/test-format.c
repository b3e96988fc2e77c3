/* A trace put together by hand from docs/trace-format.md, byte for byte. */
#include <criterion/criterion.h>
#include <string.h>
#include <zlib.h>
#include "tests/trace/memory.h"

static const char header_text[] =
    "{\"page_bytes\": 4096, \"method\": \"synthetic\", \"more\": [1.5e3, {\"a\": null}], "
    "\"seed\": 9223372036854775807, \"blocks\": [{\"name\": \"pc.ram\", \"pages\": 20}]}";

static void put(GByteArray *out, uint64_t value, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++) {
        uint8_t byte = (uint8_t)(value >> 8 * i);
        g_byte_array_append(out, &byte, 1);
    }
}

static void put_chunk(GByteArray *out, const char *kind, uint32_t count, uint64_t where,
                      uint64_t time, const void *payload, uint32_t n)
{
    guint before = out->len;

    g_byte_array_append(out, (const guint8 *)kind, 4);
    put(out, n, 4);
    put(out, n, 4);
    put(out, count, 4);
    put(out, where, 8);
    put(out, time, 8);
    uint32_t crc = (uint32_t)crc32(0, out->data + before, 32);
    put(out, (uint32_t)crc32(crc, payload, n), 4);
    g_byte_array_append(out, payload, n);
}

static void put_begin(GByteArray *out)
{
    static const uint8_t magic[] = {0x89, 0x50, 0x44, 0x54, 0x0d, 0x0a, 0x1a, 0x0a};
    size_t n = sizeof header_text - 1;

    g_byte_array_append(out, magic, sizeof magic);
    put(out, 1, 4);
    put(out, n, 4);
    put(out, (uint32_t)crc32(0, (const Bytef *)header_text, (uInt)n), 4);
    g_byte_array_append(out, (const guint8 *)header_text, (guint)n);
}

/* Frame 0: pages 1, 4 to 6 and 19, 300 ns; frame 1: the same without 1, as a difference; frame 2:
 * 0 and 8, as a bitmap; frame 3: 0, 8 and 9, a bitmap of the difference, with annotations. */
static const uint8_t frames[] = {
    0xac, 0x02, 0,    3,    2,    5,  1,  24, /* 0 */
    10,   1,    1,    2,                      /* 1 */
    10,   2,    0x01, 0x01, 0x00,             /* 2 */
    10,   7,    0x00, 0x02, 0x00,             /* 3, and its notes: */
    18,   1,    3,    255,  0,    17, 2,  1,  0x2d, 3,
    1,    40,   4,    2,    0x89, 0,  77, 1,  5, /* 77 is not known */
};

Test(format, is_read_as_the_page_says)
{
    g_autoptr(GByteArray) trace = g_byte_array_new();
    g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
    g_autoptr(GError) error = NULL;
    static const char totals[] = "{\"frames\": 4, \"late_frames\": 1, \"ended\": \"interrupted\", "
                                 "\"curve\": [[10, 3], [20, 4]], \"else\": true}";
    uint8_t index[32] = {0};
    FerryTraceTotals t;
    unsigned n;

    put_begin(trace);
    put_chunk(trace, "what", 7, 8, 9, "unknown", 7);
    index[0] = (uint8_t)trace->len;
    index[24] = 4;
    put_chunk(trace, "FRMS", 4, 0, 0, frames, sizeof frames);
    put_chunk(trace, "TOTL", 0, 0, 330, totals, sizeof totals - 1);
    uint64_t at = trace->len;
    put_chunk(trace, "INDX", 1, 0, 0, index, 32);
    put(trace, at, 8);
    g_byte_array_append(trace, (const guint8 *)"PDT-END", 8);

    FerryTraceInput input = memory_input(trace);
    g_autoptr(FerryTraceReader) r = ferry_trace_reader_new(&input, &error);
    cr_assert(r, "%s", error ? error->message : "");
    cr_assert_eq(ferry_trace_reader_header(r)->seed, (uint64_t)G_MAXINT64);
    cr_assert_eq(read_texts(r, texts, &error), FERRY_TRACE_END, "%s", error ? error->message : "");
    cr_assert_eq(texts->len, 4);
    cr_assert_str_eq(texts->pdata[0], "0 0+300 0 18446744073709551615 5 pages: 1+1 4+3 19+1");
    cr_assert_str_eq(texts->pdata[1], "1 300+10 0 18446744073709551615 4 pages: 4+3 19+1");
    cr_assert_str_eq(texts->pdata[2], "2 310+10 0 18446744073709551615 2 pages: 0+1 8+1");
    cr_assert_str_eq(texts->pdata[3], "3 320+10 40 9 3 pages: 0+1 8+2 c255 c0 c17 q1 q3 q2");
    cr_assert(ferry_trace_reader_totals(r, &t));
    cr_assert_eq(t.frames, 4);
    cr_assert_eq(t.late_frames, 1);
    cr_assert_eq(t.length_ns, 330);
    cr_assert_eq(t.slowdown_permille, -1);
    cr_assert_str_eq(t.ended, "interrupted");
    const uint64_t *curve = ferry_trace_reader_curve(r, &n);
    cr_assert_eq(n, 2);
    cr_assert(curve[0] == 10 && curve[1] == 3 && curve[2] == 20 && curve[3] == 4);
}

/* One byte of the frames replaced: what must be refused, and in which words. */
typedef struct {
    char what[40];
    unsigned at;
    uint8_t value;
} Wrong;

Test(format, frames_that_are_wrong)
{
    static const Wrong rows[] = {
        {"more runs than",                   3,  200 },
        {"touches the one before",           5,  1   },
        {"past the last page",               7,  26  },
        {"a difference, and nothing before", 2,  1   },
        {"flags that this version",          2,  8   },
        {"past the last page",               11, 200 },
        {"behind the last page",             16, 0x10},
        {"annotations are cut short",        22, 20  },
        {"an annotation is cut short",       22, 17  },
        {"not one for each page",            24, 2   },
        {"a class that there is not",        25, 18  },
        {"two bits for each page",           30, 0xed},
        {"more than 100 percent",            33, 101 },
        {"ran for longer",                   36, 0x8b},
        {"not one number",                   35, 1   },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GByteArray) trace = g_byte_array_new();
        g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GError) error = NULL;
        uint8_t wrong[sizeof frames];

        memcpy(wrong, frames, sizeof frames);
        wrong[rows[i].at] = rows[i].value;
        put_begin(trace);
        g_autofree char *place = g_strdup_printf("byte %u: FRMS chunk, frame", trace->len);
        put_chunk(trace, "FRMS", 4, 0, 0, wrong, sizeof wrong);
        FerryTraceInput input = memory_input(trace);
        g_autoptr(FerryTraceReader) r = ferry_trace_reader_new(&input, NULL);
        cr_expect_eq(read_texts(r, texts, &error), FERRY_TRACE_DAMAGED, "%s", rows[i].what);
        cr_expect(error && strstr(error->message, rows[i].what) &&
                      g_str_has_prefix(error->message, place),
                  "%s, and not: %s", rows[i].what, error ? error->message : "nothing");
        g_clear_error(&error);
        FerryTraceFrame frame;
        cr_expect_eq(ferry_trace_reader_next(r, &frame, &error), FERRY_TRACE_DAMAGED);
    }
}

/* Chunks that are whole, and do not belong where they stand. */
Test(format, chunks_that_are_wrong)
{
    static const struct {
        char what[60], kind[5];
        uint32_t count;
        uint64_t where, time;
        char payload[60];
    } rows[] = {
        {"no frames",                           "FRMS", 0,   0,  0, ""                                  },
        {"no frames",                           "FRMS", 1,   0,  0, ""                                  },
        {"do not follow",                       "FRMS", 1,   1,  0, "\1\0\0"                            },
        {"begin at another time",               "FRMS", 1,   0,  1, "\1\0"                              },
        {"bytes behind the chunk's last frame", "FRMS", 1,   0,  0, "\1\4\1\2\3\143\1\1\1"              },
        {"it is cut short",                     "FRMS", 200, 0,  0, "\1"                                },
        {"blocks that do not follow",           "BLKS", 1,   19, 0, "[{\"name\": \"b\", \"pages\": 1}]" },
        {"another number of them",              "BLKS", 2,   20, 0, "[{\"name\": \"b\", \"pages\": 1}]" },
        {"blocks: not an array",                "BLKS", 1,   20, 0, "{\"name\": \"b\", \"pages\": 1}"   },
        {"pages: not an integer",               "BLKS", 1,   20, 0, "[{\"name\": \"b\", \"pages\": -1}]"},
        {"classes of pages that there are not", "CLAS", 2,   19, 0, "\1\1"                              },
        {"classes of pages that there are not", "CLAS", 3,   0,  0, "\1\1"                              },
        {"a class that there is not",           "CLAS", 2,   0,  0, "\1\x20"                            },
        {"another length",                      "TOTL", 0,   0,  1, "{}"                                },
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        g_autoptr(GByteArray) trace = g_byte_array_new();
        g_autoptr(GPtrArray) texts = g_ptr_array_new_with_free_func(g_free);
        g_autoptr(GError) error = NULL;

        put_begin(trace);
        put_chunk(trace, rows[i].kind, rows[i].count, rows[i].where, rows[i].time, rows[i].payload,
                  (uint32_t)strlen(rows[i].payload));
        FerryTraceInput input = memory_input(trace);
        g_autoptr(FerryTraceReader) r = ferry_trace_reader_new(&input, NULL);
        cr_expect_eq(read_texts(r, texts, &error), FERRY_TRACE_DAMAGED, "%s", rows[i].what);
        cr_expect(error && strstr(error->message, rows[i].what), "%s, and not: %s", rows[i].what,
                  error ? error->message : "nothing");
        ferry_trace_reader_rewind(r); /* and the same again */
        cr_expect_eq(read_texts(r, texts, NULL), FERRY_TRACE_DAMAGED, "%s", rows[i].what);
        cr_expect_eq(ferry_trace_reader_header(r)->blocks->len, 1);
    }
}
