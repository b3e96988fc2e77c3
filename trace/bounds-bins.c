#include "trace/bounds-bins.h"
#include <string.h>

#define NS_PER_SECOND 1000000000u
#define LEAF_BINS (1u << FERRY_BINS_LEAF_SHIFT)
/* More than any memory has, and far enough from the ends of the type to be added up. */
#define BYTES_MAX (INT64_C(1) << 61)
#define NOTHING (-(INT64_C(1) << 62))

/* Rounded down everywhere: differences of two are right to a byte, and 0 for equal times. */
static int64_t carried(uint64_t bytes_per_second, uint64_t ns)
{
    __extension__ unsigned __int128 bytes = (unsigned __int128)bytes_per_second * ns;

    bytes /= NS_PER_SECOND;
    return bytes > BYTES_MAX ? BYTES_MAX : (int64_t)bytes;
}

uint64_t ferry_bins_carried(uint64_t bytes_per_second, uint64_t ns)
{
    return (uint64_t)carried(bytes_per_second, ns);
}

uint64_t ferry_bins_needed(uint64_t bytes_per_second, uint64_t bytes)
{
    __extension__ unsigned __int128 product = (unsigned __int128)bytes * NS_PER_SECOND;

    product = (product + bytes_per_second - 1) / bytes_per_second;
    return product > UINT64_MAX ? UINT64_MAX : (uint64_t)product;
}

void ferry_bins_init(FerryBins *b, uint64_t bytes_per_second)
{
    *b = (FerryBins){.bytes_per_second = bytes_per_second,
                     .begin_ns = g_array_new(FALSE, TRUE, sizeof(uint64_t)),
                     .bytes = g_array_new(FALSE, TRUE, sizeof(uint64_t)),
                     .begin_bytes = g_array_new(FALSE, TRUE, sizeof(int64_t)),
                     .stale = g_byte_array_new(),
                     .touched = g_array_new(FALSE, FALSE, sizeof(uint32_t))};
    (void)ferry_bins_append(b, 0);
}

void ferry_bins_clear(FerryBins *b)
{
    g_array_unref(b->begin_ns);
    g_array_unref(b->bytes);
    g_array_unref(b->begin_bytes);
    g_byte_array_unref(b->stale);
    g_array_unref(b->touched);
    g_free(b->tree);
}

static uint64_t begin_of(const FerryBins *b, uint32_t bin)
{
    return g_array_index(b->begin_ns, uint64_t, bin);
}

static uint64_t end_of(const FerryBins *b, uint32_t bin)
{
    return bin + 1 < b->n ? begin_of(b, bin + 1) : b->now_ns;
}

/* Twice as many leaves; all are reckoned anew. */
static void widen(FerryBins *b)
{
    uint32_t n_leaves = b->stale->len;

    b->width = MAX(2 * b->width, 1);
    b->tree = g_renew(FerryBinsNode, b->tree, 2 * (gsize)b->width);
    for (uint32_t i = 0; i < 2 * b->width; i++) {
        b->tree[i] = (FerryBinsNode){0, NOTHING, NOTHING};
    }
    g_array_set_size(b->touched, 0);
    for (uint32_t i = 0; i < n_leaves; i++) {
        b->stale->data[i] = 1;
        g_array_append_val(b->touched, i);
    }
}

uint32_t ferry_bins_append(FerryBins *b, uint64_t end_ns)
{
    uint64_t begin = b->now_ns, none = 0;
    int64_t before = carried(b->bytes_per_second, begin);
    uint32_t leaf = b->n >> FERRY_BINS_LEAF_SHIFT, bin = b->n++;

    g_assert(end_ns >= begin && bin != UINT32_MAX);
    g_array_append_val(b->begin_ns, begin);
    g_array_append_val(b->bytes, none);
    g_array_append_val(b->begin_bytes, before);
    b->now_ns = end_ns;
    if (leaf == b->stale->len) {
        uint8_t fresh = 0;
        g_byte_array_append(b->stale, &fresh, 1);
        if (leaf >= b->width) {
            widen(b);
        }
    }
    (void)ferry_bins_bytes(b, bin);
    if (bin > 0) { /* it has its end only now */
        (void)ferry_bins_bytes(b, bin - 1);
    }
    return bin;
}

static FerryBinsNode join(const FerryBinsNode *earlier, const FerryBinsNode *later)
{
    return (FerryBinsNode){
        .sum = earlier->sum + later->sum,
        .low = MAX(later->low, MAX(earlier->low + later->sum, NOTHING)),
        .high = MAX(later->high, MAX(earlier->high + later->sum, NOTHING)),
    };
}

static FerryBinsNode reckon(const FerryBins *b, uint32_t leaf)
{
    FerryBinsNode node = {0, NOTHING, NOTHING};
    uint32_t first = leaf << FERRY_BINS_LEAF_SHIFT, end = MIN(first + LEAF_BINS, b->n);
    int64_t at_end = end < b->n ? g_array_index(b->begin_bytes, int64_t, end)
                                : carried(b->bytes_per_second, b->now_ns);

    for (uint32_t bin = end; bin-- > first;) {
        int64_t at_begin = g_array_index(b->begin_bytes, int64_t, bin);
        node.sum += (int64_t)g_array_index(b->bytes, uint64_t, bin);
        node.low = MAX(node.low, node.sum + at_begin);
        node.high = MAX(node.high, node.sum + at_end);
        at_end = at_begin;
    }
    return node;
}

void ferry_bins_refresh(FerryBins *b)
{
    for (guint i = 0; i < b->touched->len; i++) {
        uint32_t leaf = g_array_index(b->touched, uint32_t, i), node = b->width + leaf;

        b->tree[node] = reckon(b, leaf);
        b->stale->data[leaf] = 0;
        while ((node /= 2) > 0) {
            b->tree[node] = join(&b->tree[2 * node], &b->tree[2 * node + 1]);
        }
    }
    g_array_set_size(b->touched, 0);
}

uint64_t ferry_bins_low(const FerryBins *b, uint64_t at_ns)
{
    return (uint64_t)MAX(b->tree[1].low - carried(b->bytes_per_second, at_ns), 0);
}

uint64_t ferry_bins_high(const FerryBins *b)
{
    return (uint64_t)MAX(b->tree[1].high - carried(b->bytes_per_second, b->now_ns), 0);
}

uint64_t ferry_bins_low_reaches(const FerryBins *b, uint64_t bytes)
{
    int64_t more = b->tree[1].low - (int64_t)MIN(bytes, (uint64_t)BYTES_MAX);

    return more <= 0 ? b->now_ns
                     : MAX(b->now_ns, ferry_bins_needed(b->bytes_per_second, (uint64_t)more));
}

/* Slowed to a share f of its speed the guest writes the same, but all ages are 1/f of what they
 * were. So f is at most B age / (W - bytes), for every bin. */
uint64_t ferry_bins_throttle(const FerryBins *b, uint64_t bytes, gboolean high)
{
    uint64_t sum = 0, percent = 0;

    for (uint32_t bin = b->n; bin-- > 0 && percent < 100;) {
        uint64_t age = b->now_ns - (high ? end_of(b, bin) : begin_of(b, bin));
        sum += g_array_index(b->bytes, uint64_t, bin);
        if (sum > bytes) {
            uint64_t over = sum - bytes;
            uint64_t sent = MIN((uint64_t)carried(b->bytes_per_second, age), over);
            __extension__ unsigned __int128 left = (unsigned __int128)(over - sent) * 100;
            percent = MAX(percent, (uint64_t)((left + over - 1) / over));
        }
    }
    return percent;
}
