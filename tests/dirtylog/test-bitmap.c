#include "dirtylog/bitmap.h"

#include <criterion/criterion.h>
#include <string.h>

#define BITS_MAX 1000

/* The same bits, one per byte. */
typedef struct {
    uint64_t n;
    uint8_t bits[BITS_MAX];
} Model;

static uint64_t model_next(const Model *m, uint64_t from, int value)
{
    while (from < m->n && m->bits[from] != value) {
        from++;
    }
    return MIN(from, m->n);
}

static void expect_same(const FerryBitmap *b, const Model *m)
{
    uint64_t count = 0;

    for (uint64_t i = 0; i < m->n; i++) {
        cr_assert_eq(ferry_bitmap_test(b, i), m->bits[i], "bit %lu of %lu", i, m->n);
        count += m->bits[i];
    }
    cr_assert_eq(ferry_bitmap_count(b), count);
    if (m->n % 64 != 0) {
        cr_assert_eq(b->words[m->n / 64] >> (m->n % 64), 0, "a bit past the end is set");
    }
}

static void random_range(GRand *r, uint64_t size, uint64_t *first, uint64_t *n)
{
    *first = (uint64_t)g_rand_int_range(r, 0, (int)size + 1);
    *n = (uint64_t)g_rand_int_range(r, 0, (int)(size - *first) + 1);
}

static void expect_same_runs(GRand *r, const FerryBitmap *b, const Model *m)
{
    uint64_t from = (uint64_t)g_rand_int_range(r, 0, (int)m->n + 2);
    uint64_t max = (uint64_t)g_rand_int_range(r, 1, 200);
    uint64_t first = 77, n = 77, set = model_next(m, from, 1), first_in, n_in, count = 0;

    cr_assert_eq(ferry_bitmap_next_set(b, from), set);
    cr_assert_eq(ferry_bitmap_next_clear(b, from), model_next(m, from, 0));
    if (set == m->n) {
        cr_assert_not(ferry_bitmap_next_run(b, from, max, &first, &n));
        cr_assert(first == 77 && n == 77, "outputs are written only on success");
    } else {
        cr_assert(ferry_bitmap_next_run(b, from, max, &first, &n));
        cr_assert_eq(first, set);
        cr_assert_eq(n, MIN(model_next(m, set, 0) - set, max));
    }
    random_range(r, m->n, &first_in, &n_in);
    for (uint64_t i = 0; i < n_in; i++) {
        count += m->bits[first_in + i];
    }
    cr_assert_eq(ferry_bitmap_count_range(b, first_in, n_in), count);
}

static void change(GRand *r, FerryBitmap *b, Model *m)
{
    uint64_t first, n;

    random_range(r, m->n, &first, &n);
    n = g_rand_boolean(r) ? MIN(n, 3) : n;
    if (g_rand_boolean(r)) {
        ferry_bitmap_set(b, first, n);
        memset(m->bits + first, 1, n);
    } else {
        ferry_bitmap_reset(b, first, n);
        memset(m->bits + first, 0, n);
    }
}

static void merge_words(GRand *r, FerryBitmap *b, Model *m)
{
    uint64_t words[4], first = 64 * (uint64_t)g_rand_int_range(r, 0, BITS_MAX / 64 + 2), anew = 0;

    for (unsigned i = 0; i < 4; i++) {
        words[i] = ((uint64_t)g_rand_int(r) << 32 | g_rand_int(r)) &
                   ((uint64_t)g_rand_int(r) << 32 | g_rand_int(r));
    }
    for (uint64_t i = 0; i < 256 && first + i < m->n; i++) {
        if (words[i / 64] >> (i % 64) & 1) {
            anew += !m->bits[first + i];
            m->bits[first + i] = 1;
        }
    }
    cr_assert_eq(ferry_bitmap_or_words(b, first, words, 4), anew);
}

Test(bitmap, does_what_a_byte_per_bit_does)
{
    static const uint64_t sizes[] = {1, 63, 64, 65, 127, 128, 129, 640, BITS_MAX};
    GRand *r = g_rand_new_with_seed(20240229);

    for (unsigned s = 0; s < G_N_ELEMENTS(sizes); s++) {
        FerryBitmap b;
        Model m = {.n = sizes[s]};

        ferry_bitmap_init(&b, m.n);
        cr_assert_eq(ferry_bitmap_n_words(&b), (m.n + 63) / 64);
        for (unsigned i = 0; i < 2000; i++) {
            if (g_rand_int_range(r, 0, 8) == 0) {
                merge_words(r, &b, &m);
            } else {
                change(r, &b, &m);
            }
            expect_same(&b, &m);
            expect_same_runs(r, &b, &m);
        }
        ferry_bitmap_clear(&b);
    }
    g_rand_free(r);
}

Test(bitmap, or_counts_what_is_new)
{
    FerryBitmap a, b;

    ferry_bitmap_init(&a, 100);
    ferry_bitmap_init(&b, 100);
    ferry_bitmap_set(&a, 10, 20);
    ferry_bitmap_set(&b, 20, 80);
    cr_assert_eq(ferry_bitmap_or(&a, &b), 70);
    cr_assert_eq(ferry_bitmap_or(&a, &b), 0);
    cr_assert_eq(ferry_bitmap_count(&a), 90);
    ferry_bitmap_clear(&a);
    ferry_bitmap_clear(&b);
}

Test(bitmap, words_past_the_end_are_dropped)
{
    static const uint64_t ones[3] = {UINT64_MAX, UINT64_MAX, UINT64_MAX};
    FerryBitmap b;

    ferry_bitmap_init(&b, 70);
    cr_assert_eq(ferry_bitmap_or_words(&b, 64, ones, 3), 6);
    cr_assert_eq(b.words[1], 0x3f);
    cr_assert_eq(ferry_bitmap_or_words(&b, 128, ones, 3), 0);
    cr_assert_eq(ferry_bitmap_count(&b), 6);
    ferry_bitmap_clear(&b);
}

Test(bitmap, of_no_bits)
{
    FerryBitmap b;
    uint64_t first, n;

    ferry_bitmap_init(&b, 0);
    cr_assert_eq(ferry_bitmap_n_words(&b), 0);
    cr_assert_eq(ferry_bitmap_count(&b), 0);
    cr_assert_eq(ferry_bitmap_next_set(&b, 0), 0);
    cr_assert_eq(ferry_bitmap_next_clear(&b, 0), 0);
    cr_assert_not(ferry_bitmap_next_run(&b, 0, 128, &first, &n));
    ferry_bitmap_set(&b, 0, 0);
    ferry_bitmap_clear(&b);
}
