#include "engine/page.h"
#include <string.h>
#include "protocol/ram.h"

#ifdef __x86_64__
#include <immintrin.h>
#endif

#define WORDS (FERRY_PAGE_SIZE / sizeof(uint64_t))

/* OR in strides, which the compiler turns into what vectors it may use everywhere. */
static gboolean scan_plain(const void *page)
{
    const uint64_t *words = page;
    enum { STRIDE = 32 };

    for (unsigned i = 0; i < WORDS; i += STRIDE) {
        uint64_t any = 0;
        for (unsigned k = 0; k < STRIDE; k++) {
            any |= words[i + k];
        }
        if (any) {
            return FALSE;
        }
    }
    return TRUE;
}

#ifdef __x86_64__
__attribute__((target("avx2"))) static gboolean scan_avx2(const void *page)
{
    const __m256i *v = page;

    for (const __m256i *end = v + FERRY_PAGE_SIZE / sizeof *v; v < end; v += 8) {
        __m256i a = _mm256_or_si256(_mm256_load_si256(v), _mm256_load_si256(v + 1));
        __m256i b = _mm256_or_si256(_mm256_load_si256(v + 2), _mm256_load_si256(v + 3));
        __m256i c = _mm256_or_si256(_mm256_load_si256(v + 4), _mm256_load_si256(v + 5));
        __m256i d = _mm256_or_si256(_mm256_load_si256(v + 6), _mm256_load_si256(v + 7));
        a = _mm256_or_si256(_mm256_or_si256(a, b), _mm256_or_si256(c, d));
        if (!_mm256_testz_si256(a, a)) {
            return FALSE;
        }
    }
    return TRUE;
}

__attribute__((target("avx512f"))) static gboolean scan_avx512(const void *page)
{
    const __m512i *v = page;

    for (const __m512i *end = v + FERRY_PAGE_SIZE / sizeof *v; v < end; v += 8) {
        __m512i a = _mm512_or_si512(_mm512_load_si512(v), _mm512_load_si512(v + 1));
        __m512i b = _mm512_or_si512(_mm512_load_si512(v + 2), _mm512_load_si512(v + 3));
        __m512i c = _mm512_or_si512(_mm512_load_si512(v + 4), _mm512_load_si512(v + 5));
        __m512i d = _mm512_or_si512(_mm512_load_si512(v + 6), _mm512_load_si512(v + 7));
        a = _mm512_or_si512(_mm512_or_si512(a, b), _mm512_or_si512(c, d));
        if (_mm512_test_epi64_mask(a, a)) {
            return FALSE;
        }
    }
    return TRUE;
}
#endif

FerryPageScan ferry_page_scan(unsigned index, const char **out_name)
{
    struct {
        FerryPageScan scan;
        const char *name;
    } ways[3] = {
        {scan_plain, "plain"}
    };
    unsigned n = 1;

#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2")) {
        ways[n].scan = scan_avx2;
        ways[n++].name = "avx2";
    }
    if (__builtin_cpu_supports("avx512f")) {
        ways[n].scan = scan_avx512;
        ways[n++].name = "avx512";
    }
#endif
    if (index >= n) {
        return NULL;
    }
    *out_name = ways[index].name;
    return ways[index].scan;
}

/* Depends on the CPU alone, so every thread that finds it empty writes the same. */
static FerryPageScan best(void)
{
    static FerryPageScan chosen;
    FerryPageScan scan = __atomic_load_n(&chosen, __ATOMIC_RELAXED), next;
    const char *name;

    if (!scan) {
        for (unsigned i = 0; (next = ferry_page_scan(i, &name)); i++) {
            scan = next;
        }
        __atomic_store_n(&chosen, scan, __ATOMIC_RELAXED);
    }
    return scan;
}

/* Most pages differ from zero in the first word already; few that do not also end with zeros. */
static inline gboolean is_zero(const uint64_t *words, FerryPageScan scan)
{
    return !words[0] && !words[WORDS / 2] && !words[WORDS - 1] && scan(words);
}

gboolean ferry_page_is_zero(const void *page) { return is_zero(page, best()); }

void ferry_page_zero_run(const void *pages, unsigned n, uint64_t *out_zero)
{
    const uint8_t *page = pages;
    FerryPageScan scan = best();

    memset(out_zero, 0, (n + 63) / 64 * sizeof *out_zero);
    for (unsigned i = 0; i < n; i++, page += FERRY_PAGE_SIZE) {
        if (is_zero((const uint64_t *)page, scan)) {
            out_zero[i / 64] |= UINT64_C(1) << (i % 64);
        }
    }
}
