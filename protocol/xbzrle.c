#include "protocol/xbzrle.h"
#include <string.h>
#include "protocol/stream.h"

#define RUN_MAX 0x3fffu /* two bytes of seven bits */
#define GAP_MIN 3       /* equal bytes fewer than this cost less as literals than as a run */

static uint64_t load(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof v);
    return v;
}

/* Where, from @i on, the first byte that differs is; @n without one. */
static size_t skip_equal(const uint8_t *a, const uint8_t *b, size_t i, size_t n)
{
    for (; n - i >= 8; i += 8) {
        uint64_t x = GUINT64_TO_LE(load(a + i) ^ load(b + i));

        if (x) {
            return i + (size_t)__builtin_ctzll(x) / 8;
        }
    }
    while (i < n && a[i] == b[i]) {
        i++;
    }
    return i;
}

/* The same for the first byte that is equal. */
static size_t skip_different(const uint8_t *a, const uint8_t *b, size_t i, size_t n)
{
    const uint64_t low = 0x0101010101010101u;

    for (; n - i >= 8; i += 8) {
        uint64_t x = GUINT64_TO_LE(load(a + i) ^ load(b + i));
        uint64_t zero = (x - low) & ~x & (low << 7); /* its lowest bit marks the first zero byte */

        if (zero) {
            return i + (size_t)__builtin_ctzll(zero) / 8;
        }
    }
    while (i < n && a[i] != b[i]) {
        i++;
    }
    return i;
}

/* Where the changed run that begins at @i ends: at an equal run that is worth its two lengths. */
static size_t changed_end(const uint8_t *a, const uint8_t *b, size_t i, size_t n)
{
    for (;;) {
        size_t end = skip_different(a, b, i, n);

        if (end == n) {
            return end;
        }
        i = skip_equal(a, b, end, n);
        if (i - end >= GAP_MIN || i == n) {
            return end;
        }
    }
}

static size_t put_run(uint8_t *out, size_t run)
{
    if (run < 0x80) {
        out[0] = (uint8_t)run;
        return 1;
    }
    out[0] = (uint8_t)(0x80 | (run & 0x7f));
    out[1] = (uint8_t)(run >> 7);
    return 2;
}

gssize ferry_xbzrle_encode(const uint8_t *old, const uint8_t *new, size_t page_size, uint8_t *out,
                           size_t room)
{
    size_t at = 0, n = 0;

    for (;;) {
        size_t begin = skip_equal(old, new, at, page_size), end;
        uint8_t runs[4];
        size_t k;

        if (begin == page_size) {
            return (gssize)n; /* what is unchanged to the end is not written */
        }
        end = changed_end(old, new, begin, page_size);
        if (begin - at > RUN_MAX || end - begin > RUN_MAX) {
            return -1;
        }
        k = put_run(runs, begin - at);
        k += put_run(runs + k, end - begin);
        if (k + (end - begin) > room - n) {
            return -1;
        }
        memcpy(out + n, runs, k);
        memcpy(out + n + k, new + begin, end - begin);
        n += k + (end - begin);
        at = end;
    }
}

/* One run's length at @delta + *at. FALSE: it is cut or has a third byte. */
static gboolean get_run(const uint8_t *delta, size_t n, size_t *at, size_t *out_run)
{
    if (*at == n) {
        return FALSE;
    }
    *out_run = delta[*at] & 0x7f;
    if (delta[(*at)++] & 0x80) {
        if (*at == n || delta[*at] & 0x80) {
            return FALSE;
        }
        *out_run |= (size_t)delta[(*at)++] << 7;
    }
    return TRUE;
}

/* Walks the delta; changes @page only if it is not NULL. What is wrong, or NULL. */
static const char *walk(const uint8_t *delta, size_t n, uint8_t *page, size_t page_size, size_t *at)
{
    size_t done = 0;

    for (size_t next = 0; next < n || next == 0;) {
        size_t unchanged, changed;

        *at = next;
        if (!get_run(delta, n, &next, &unchanged)) {
            return "the length of an unchanged run is cut or too long";
        }
        if (unchanged == 0 && done > 0) {
            return "an unchanged run of no bytes";
        }
        if (unchanged > page_size - done) {
            return "an unchanged run goes past the page";
        }
        done += unchanged;
        *at = next;
        if (!get_run(delta, n, &next, &changed)) {
            return "the length of a changed run is cut or too long";
        }
        if (changed == 0) {
            return "a changed run of no bytes";
        }
        if (changed > page_size - done) {
            return "a changed run goes past the page";
        }
        if (changed > n - next) {
            return "a changed run is cut";
        }
        if (page) {
            memcpy(page + done, delta + next, changed);
        }
        done += changed;
        next += changed;
    }
    return NULL;
}

gboolean ferry_xbzrle_decode(const uint8_t *delta, size_t n, uint8_t *page, size_t page_size,
                             GError **error)
{
    size_t at = 0;
    const char *wrong = walk(delta, n, NULL, page_size, &at);

    if (wrong) {
        g_set_error(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_MALFORMED,
                    "xbzrle: byte %zu of %zu: %s", at, n, wrong);
        return FALSE;
    }
    walk(delta, n, page, page_size, &at);
    return TRUE;
}
