/* What does the decoder cost per page record? A stream in memory is decoded again and again; pages
 * are handed out in place, so their bytes are not read here. CPU time. One JSON line per case, then
 * a table.
 *
 *   bench-decode [REPETITIONS]        default 15 of 64 MiB each, the median is given */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "protocol/decoder.h"

typedef struct {
    const char *name;
    unsigned flags;
    size_t push_bytes;
} Case;

static const Case cases[] = {
    {"pages, 1 MiB pushes",       FERRY_RAM_PAGE | FERRY_RAM_CONTINUE, 1 << 20},
    {"pages, 64 KiB pushes",      FERRY_RAM_PAGE | FERRY_RAM_CONTINUE, 1 << 16},
    {"named pages, 1 MiB pushes", FERRY_RAM_PAGE,                      1 << 20},
    {"zero pages, 1 MiB pushes",  FERRY_RAM_ZERO | FERRY_RAM_CONTINUE, 1 << 20},
    {"zero pages, 1460 B pushes", FERRY_RAM_ZERO | FERRY_RAM_CONTINUE, 1460   },
};

#define BLOCK_BYTES ((uint64_t)1 << 30)
#define STREAM_BYTES ((size_t)64 << 20)
#define REPETITIONS_MAX 1000

static void add(GByteArray *out, const void *bytes, size_t n)
{
    g_byte_array_append(out, bytes, (guint)n);
}

static void add_record(GByteArray *out, uint64_t offset, unsigned flags)
{
    static const uint8_t page[FERRY_PAGE_SIZE] = {1};
    uint8_t bytes[FERRY_RAM_HEADER_MAX];
    FerryRamHeader h = {.offset = offset, .flags = flags, .idstr = "pc.ram"};

    add(out, bytes, ferry_ram_header_encode(&h, bytes));
    if (flags & FERRY_RAM_PAGE) {
        add(out, page, sizeof page);
    }
}

/* Up to the middle of the first PART; *out_first is where its records begin. */
static GByteArray *make_stream(const Case *c, size_t *out_first, uint64_t *out_records)
{
    GByteArray *out = g_byte_array_sized_new((guint)(STREAM_BYTES + (1 << 16)));
    FerryConfiguration configuration = {.machine = "pc"};
    FerrySectionHeader start = {
        .type = FERRY_SECTION_START, .section_id = 2, .idstr = FERRY_RAM_IDSTR, .version_id = 4};
    FerrySectionHeader part = {.type = FERRY_SECTION_PART, .section_id = 2};
    uint8_t bytes[FERRY_CONFIGURATION_MAX];

    add(out, bytes, ferry_stream_header_encode(bytes));
    add(out, bytes, ferry_configuration_encode(&configuration, bytes));
    add(out, bytes, ferry_section_header_encode(&start, bytes));
    add_record(out, BLOCK_BYTES, FERRY_RAM_MEM_SIZE);
    add(out, bytes, ferry_ram_block_encode("pc.ram", BLOCK_BYTES, bytes));
    add_record(out, 0, FERRY_RAM_EOS);
    add(out, bytes, ferry_section_footer_encode(2, bytes));
    add(out, bytes, ferry_section_header_encode(&part, bytes));
    add_record(out, 0, FERRY_RAM_ZERO);
    *out_first = out->len;
    *out_records = 0;
    while (out->len < STREAM_BYTES) {
        add_record(out, *out_records * FERRY_PAGE_SIZE % BLOCK_BYTES, c->flags);
        ++*out_records;
    }
    return out;
}

static uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* it only computes; others share the machine */
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t drain(FerryDecoder *decoder)
{
    FerryStreamEvent ev;
    uint64_t pages = 0;
    FerryDecode answer;

    while ((answer = ferry_decoder_step(decoder, &ev, NULL)) == FERRY_DECODE_EVENT) {
        pages += ev.type == FERRY_STREAM_PAGE || ev.type == FERRY_STREAM_ZERO;
    }
    g_assert(answer == FERRY_DECODE_MORE);
    return pages;
}

static uint64_t run(const GByteArray *stream, size_t first, uint64_t records, size_t push)
{
    g_autoptr(FerryDecoder) decoder = ferry_decoder_new(NULL);
    uint64_t begin, pages = 0;

    ferry_decoder_push(decoder, stream->data, first);
    drain(decoder);
    begin = now_ns();
    for (size_t at = first; at < stream->len; at += push) {
        ferry_decoder_push(decoder, stream->data + at, MIN(push, stream->len - at));
        pages += drain(decoder);
    }
    begin = now_ns() - begin;
    g_assert(pages == records);
    return begin;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    unsigned repetitions = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 15;
    double median[G_N_ELEMENTS(cases)], rate[G_N_ELEMENTS(cases)];
    uint64_t ns[REPETITIONS_MAX];

    if (repetitions < 1 || repetitions > REPETITIONS_MAX) {
        fprintf(stderr, "usage: %s [REPETITIONS]\n", argv[0]);
        return 2;
    }
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        size_t first;
        uint64_t records;
        g_autoptr(GByteArray) stream = make_stream(&cases[i], &first, &records);

        run(stream, first, records, cases[i].push_bytes); /* warm */
        for (unsigned r = 0; r < repetitions; r++) {
            ns[r] = run(stream, first, records, cases[i].push_bytes);
        }
        qsort(ns, repetitions, sizeof ns[0], compare);
        median[i] = (double)ns[repetitions / 2] / (double)records;
        rate[i] = (double)(stream->len - first) / (double)ns[repetitions / 2];
        printf("{\"bench\": \"decode\", \"case\": \"%s\", \"records\": %" PRIu64
               ", \"repetitions\": %u, \"ns_per_record\": %.2f, \"ns_per_record_min\": %.2f, "
               "\"ns_per_record_max\": %.2f, \"stream_bytes_per_second\": %.0f}\n",
               cases[i].name, records, repetitions, median[i], (double)ns[0] / (double)records,
               (double)ns[repetitions - 1] / (double)records, rate[i] * 1e9);
    }
    printf("\n%-28s %14s %16s\n", "case", "ns per record", "GB/s of stream");
    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        printf("%-28s %14.1f %16.2f\n", cases[i].name, median[i], rate[i]);
    }
    return 0;
}
