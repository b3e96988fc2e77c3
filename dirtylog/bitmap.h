/* One bit per page. Pure. Bits past the end are never set. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

typedef struct {
    uint64_t n_bits;
    uint64_t *words; /* bit i: word i / 64, bit i % 64; ferry_bitmap_n_words() of them */
} FerryBitmap;

void ferry_bitmap_init(FerryBitmap *b, uint64_t n_bits); /* all clear */
void ferry_bitmap_clear(FerryBitmap *b);                 /* frees the words */
uint64_t ferry_bitmap_n_words(const FerryBitmap *b);
gboolean ferry_bitmap_test(const FerryBitmap *b, uint64_t i);
void ferry_bitmap_set(FerryBitmap *b, uint64_t first, uint64_t n);
void ferry_bitmap_reset(FerryBitmap *b, uint64_t first, uint64_t n);
uint64_t ferry_bitmap_count(const FerryBitmap *b);
uint64_t ferry_bitmap_count_range(const FerryBitmap *b, uint64_t first, uint64_t n);
/* dst |= src (same size); how many bits that set anew. */
uint64_t ferry_bitmap_or(FerryBitmap *dst, const FerryBitmap *src);
/* Or the @n words that stand for bits @first.. (a multiple of 64) into @b; bits past the end are
 * dropped. How many bits that set anew. */
uint64_t ferry_bitmap_or_words(FerryBitmap *b, uint64_t first, const uint64_t *words, uint64_t n);
/* First set bit at or after @from; n_bits if none. */
uint64_t ferry_bitmap_next_set(const FerryBitmap *b, uint64_t from);
uint64_t ferry_bitmap_next_clear(const FerryBitmap *b, uint64_t from);
/* The next run of set bits at or after @from, at most @max long: TRUE and where and how long. */
gboolean ferry_bitmap_next_run(const FerryBitmap *b, uint64_t from, uint64_t max,
                               uint64_t *out_first, uint64_t *out_n);

G_END_DECLS
