/* Sets of pages: each way to code them gives back what went in. */
#include <criterion/criterion.h>
#include <string.h>
#include "tests/trace/memory.h"
#include "trace/set.h"
#include "trace/varint.h"

#define ROUNDS 300u

static void draw_set(FerryTraceSet *out, uint64_t pages, uint32_t *state)
{
    g_autoptr(GArray) runs = g_array_new(FALSE, FALSE, sizeof(FerryTraceRun));

    draw_runs(runs, pages, 1 + draw(state) % 300, 1 + draw(state) % 200, state);
    ferry_trace_set_copy(out, (const FerryTraceRun *)(const void *)runs->data, runs->len);
}

static void expect_equal(const FerryTraceSet *a, const FerryTraceSet *b)
{
    cr_assert_eq(a->n, b->n);
    cr_assert(a->n == 0 || memcmp(a->runs, b->runs, a->n * sizeof *a->runs) == 0);
}

Test(set, runs_and_bitmaps)
{
    uint32_t state = 1;

    for (unsigned i = 0; i < ROUNDS; i++) {
        g_autoptr(GByteArray) bytes = g_byte_array_new();
        FerryTraceSet set = {0}, back = {0};
        uint64_t pages = draw(&state) % 5000, n_pages;
        const uint8_t *at;

        draw_set(&set, pages, &state);
        cr_assert_null(ferry_trace_runs_check(set.runs, set.n, pages, &n_pages));
        cr_assert_eq(n_pages, ferry_trace_set_pages(&set));
        cr_assert(ferry_trace_runs_encode(bytes, set.runs, set.n, 1 << 20));
        cr_assert(!ferry_trace_runs_encode(bytes, set.runs, set.n, bytes->len - 1));
        at = bytes->data;
        cr_assert_null(ferry_trace_runs_decode(&back, &at, at + bytes->len, pages));
        cr_assert_eq(at, bytes->data + bytes->len);
        expect_equal(&set, &back);

        g_byte_array_set_size(bytes, 0);
        ferry_trace_bitmap_encode(bytes, set.runs, set.n, pages);
        cr_assert_eq(bytes->len, (pages + 7) / 8);
        g_byte_array_set_size(bytes, bytes->len + 1); /* so that there is a pointer */
        at = bytes->data;
        cr_assert_null(ferry_trace_bitmap_decode(&back, &at, at + (pages + 7) / 8, pages));
        expect_equal(&set, &back);
        ferry_trace_set_clear(&set);
        ferry_trace_set_clear(&back);
    }
}

static gboolean has(const FerryTraceSet *set, uint64_t page)
{
    for (uint64_t i = 0; i < set->n; i++) {
        if (page >= set->runs[i].first && page - set->runs[i].first < set->runs[i].n) {
            return TRUE;
        }
    }
    return FALSE;
}

Test(set, differences)
{
    uint32_t state = 2;

    for (unsigned i = 0; i < ROUNDS; i++) {
        FerryTraceSet a = {0}, b = {0}, x = {0}, back = {0};
        uint64_t pages = 1 + draw(&state) % 1000, n;

        draw_set(&a, pages, &state);
        draw_set(&b, pages, &state);
        cr_assert(ferry_trace_set_xor(&x, &a, &b));
        cr_assert_null(ferry_trace_runs_check(x.runs, x.n, pages, &n));
        for (uint64_t p = 0; p < pages; p++) {
            cr_assert_eq(has(&x, p), has(&a, p) != has(&b, p));
        }
        cr_assert(ferry_trace_set_xor(&back, &x, &b));
        expect_equal(&back, &a);
        cr_assert(a.n == 0 || ferry_trace_set_resembles(&a, &a));
        ferry_trace_set_clear(&a);
        ferry_trace_set_clear(&b);
        ferry_trace_set_clear(&x);
        ferry_trace_set_clear(&back);
    }
}

Test(set, varints)
{
    static const uint64_t values[] = {0, 1, 127, 128, 16383, 16384, UINT64_MAX / 2, UINT64_MAX};
    static const uint8_t too_large[] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 2};
    static const uint8_t too_long[] = {128, 128, 128, 128, 128, 128, 128, 128, 128, 128, 0};
    uint8_t bytes[FERRY_VARINT_MAX];
    uint64_t back;

    for (unsigned i = 0; i < G_N_ELEMENTS(values); i++) {
        uint8_t *end = ferry_varint_put(bytes, values[i]);

        cr_assert_eq((unsigned)(end - bytes), ferry_varint_size(values[i]));
        cr_assert_eq(ferry_varint_get(bytes, end, &back), end);
        cr_assert_eq(back, values[i]);
        cr_assert_null(ferry_varint_get(bytes, end - 1, &back));
    }
    cr_assert_null(ferry_varint_get(too_large, too_large + sizeof too_large, &back));
    cr_assert_null(ferry_varint_get(too_long, too_long + sizeof too_long, &back));
}

/* 2^40 pages, and runs as long: nothing overflows. */
Test(set, largest)
{
    static const FerryTraceRun whole = {0, FERRY_TRACE_PAGES_MAX};
    static const uint8_t long_run[] = {1, 1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1};
    static const uint8_t far_run[] = {1, 254, 255, 255, 255, 255, 255, 255, 255, 255, 1};
    g_autoptr(GByteArray) bytes = g_byte_array_new();
    FerryTraceSet back = {0};
    const uint8_t *at;

    cr_assert(ferry_trace_runs_encode(bytes, &whole, 1, 100));
    at = bytes->data;
    cr_assert_null(ferry_trace_runs_decode(&back, &at, at + bytes->len, FERRY_TRACE_PAGES_MAX));
    cr_assert_eq(ferry_trace_set_pages(&back), FERRY_TRACE_PAGES_MAX);
    at = long_run;
    cr_assert(ferry_trace_runs_decode(&back, &at, at + sizeof long_run, FERRY_TRACE_PAGES_MAX));
    at = far_run;
    cr_assert(ferry_trace_runs_decode(&back, &at, at + sizeof far_run, FERRY_TRACE_PAGES_MAX));
    ferry_trace_set_clear(&back);
}
