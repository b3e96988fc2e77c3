#include "dirtylog/bitmap.h"

#include <string.h>

#define WORD_BITS 64

static uint64_t words_for(uint64_t n_bits)
{
    return n_bits / WORD_BITS + (n_bits % WORD_BITS != 0);
}

/* Bits [from, to) of one word; to is at most 64. */
static uint64_t mask(unsigned from, unsigned to)
{
    uint64_t below_to = to == WORD_BITS ? UINT64_MAX : (UINT64_C(1) << to) - 1;

    return below_to & (UINT64_MAX << from);
}

static unsigned end_in_word(uint64_t word, uint64_t end)
{
    return end - word * WORD_BITS < WORD_BITS ? (unsigned)(end - word * WORD_BITS) : WORD_BITS;
}

static void check_range(const FerryBitmap *b, uint64_t first, uint64_t n)
{
    g_assert(first <= b->n_bits && n <= b->n_bits - first);
}

void ferry_bitmap_init(FerryBitmap *b, uint64_t n_bits)
{
    b->n_bits = n_bits;
    b->words = g_new0(uint64_t, words_for(n_bits));
}

void ferry_bitmap_clear(FerryBitmap *b)
{
    g_free(b->words);
    *b = (FerryBitmap){0};
}

uint64_t ferry_bitmap_n_words(const FerryBitmap *b) { return words_for(b->n_bits); }

gboolean ferry_bitmap_test(const FerryBitmap *b, uint64_t i)
{
    g_assert(i < b->n_bits);
    return b->words[i / WORD_BITS] >> (i % WORD_BITS) & 1;
}

void ferry_bitmap_set(FerryBitmap *b, uint64_t first, uint64_t n)
{
    uint64_t end = first + n;

    check_range(b, first, n);
    for (uint64_t at = first, word; at < end; at = (word + 1) * WORD_BITS) {
        word = at / WORD_BITS;
        b->words[word] |= mask(at % WORD_BITS, end_in_word(word, end));
    }
}

void ferry_bitmap_reset(FerryBitmap *b, uint64_t first, uint64_t n)
{
    uint64_t end = first + n;

    check_range(b, first, n);
    for (uint64_t at = first, word; at < end; at = (word + 1) * WORD_BITS) {
        word = at / WORD_BITS;
        b->words[word] &= ~mask(at % WORD_BITS, end_in_word(word, end));
    }
}

uint64_t ferry_bitmap_count(const FerryBitmap *b)
{
    return ferry_bitmap_count_range(b, 0, b->n_bits);
}

uint64_t ferry_bitmap_count_range(const FerryBitmap *b, uint64_t first, uint64_t n)
{
    uint64_t end = first + n, count = 0;

    check_range(b, first, n);
    for (uint64_t at = first, word; at < end; at = (word + 1) * WORD_BITS) {
        word = at / WORD_BITS;
        count += (uint64_t)__builtin_popcountll(b->words[word] &
                                                mask(at % WORD_BITS, end_in_word(word, end)));
    }
    return count;
}

uint64_t ferry_bitmap_or(FerryBitmap *dst, const FerryBitmap *src)
{
    g_assert(dst->n_bits == src->n_bits);
    return ferry_bitmap_or_words(dst, 0, src->words, ferry_bitmap_n_words(src));
}

uint64_t ferry_bitmap_or_words(FerryBitmap *b, uint64_t first, const uint64_t *words, uint64_t n)
{
    uint64_t n_words = ferry_bitmap_n_words(b), start = first / WORD_BITS, anew = 0;

    g_assert(first % WORD_BITS == 0);
    n = start < n_words ? MIN(n, n_words - start) : 0;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t *to = &b->words[start + i];
        uint64_t fresh = words[i] & ~*to;

        if (start + i == n_words - 1) {
            fresh &= mask(0, end_in_word(start + i, b->n_bits));
        }
        *to |= fresh;
        anew += (uint64_t)__builtin_popcountll(fresh);
    }
    return anew;
}

/* The first bit in [from, end) that is set once every word is XOR'ed with @flip; end if none. */
static uint64_t find(const FerryBitmap *b, uint64_t from, uint64_t end, uint64_t flip)
{
    uint64_t word, bits;

    if (from >= end) {
        return end;
    }
    word = from / WORD_BITS;
    bits = (b->words[word] ^ flip) & (UINT64_MAX << (from % WORD_BITS));
    while (bits == 0) {
        if (++word * WORD_BITS >= end) {
            return end;
        }
        bits = b->words[word] ^ flip;
    }
    return MIN(word * WORD_BITS + (uint64_t)__builtin_ctzll(bits), end);
}

uint64_t ferry_bitmap_next_set(const FerryBitmap *b, uint64_t from)
{
    return find(b, from, b->n_bits, 0);
}

uint64_t ferry_bitmap_next_clear(const FerryBitmap *b, uint64_t from)
{
    return find(b, from, b->n_bits, UINT64_MAX);
}

gboolean ferry_bitmap_next_run(const FerryBitmap *b, uint64_t from, uint64_t max,
                               uint64_t *out_first, uint64_t *out_n)
{
    uint64_t first = ferry_bitmap_next_set(b, from);

    if (first == b->n_bits || max == 0) {
        return FALSE;
    }
    *out_first = first;
    *out_n = find(b, first, first + MIN(max, b->n_bits - first), UINT64_MAX) - first;
    return TRUE;
}
