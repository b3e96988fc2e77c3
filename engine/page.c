#include "engine/page.h"
#include "protocol/ram.h"

/* Most pages differ from zero early: the first word decides for nearly all of them, and what is
 * left is OR'ed in strides that the compiler turns into vector code. */
gboolean ferry_page_is_zero(const void *page)
{
    const uint64_t *words = page;
    enum { STRIDE = 32, N = FERRY_PAGE_SIZE / sizeof(uint64_t) };

    if (words[0] | words[N / 2] | words[N - 1]) {
        return FALSE;
    }
    for (unsigned i = 0; i < N; i += STRIDE) {
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
