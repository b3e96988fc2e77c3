#include "trace/set.h"
#include <string.h>
#include "trace/varint.h"

#define RUN_MAX (2 * FERRY_VARINT_MAX) /* bytes of a coded run */
#define RUNS_AT_ONCE 1024u
#define SAMPLE 64u

void ferry_trace_set_clear(FerryTraceSet *set)
{
    g_free(set->runs);
    *set = (FerryTraceSet){0};
}

static void make_room(FerryTraceSet *set, uint64_t n)
{
    if (n > set->room) {
        set->room = MAX(n, MIN(2 * set->room, FERRY_TRACE_RUNS_MAX));
        set->runs = g_renew(FerryTraceRun, set->runs, set->room);
    }
}

void ferry_trace_set_copy(FerryTraceSet *set, const FerryTraceRun *runs, uint64_t n)
{
    make_room(set, n);
    if (n > 0) {
        memcpy(set->runs, runs, n * sizeof *runs);
    }
    set->n = n;
}

void ferry_trace_set_sample(FerryTraceSet *set, const FerryTraceRun *runs, uint64_t n)
{
    set->n = MIN(n, SAMPLE);
    make_room(set, set->n);
    for (uint64_t i = 0; i < set->n; i++) {
        set->runs[i] = runs[i * n / set->n];
    }
}

uint64_t ferry_trace_set_pages(const FerryTraceSet *set)
{
    uint64_t pages = 0;

    for (uint64_t i = 0; i < set->n; i++) {
        pages += set->runs[i].n;
    }
    return pages;
}

/* A set is also the places where it begins and ends, in turn: the i-th of them. */
static uint64_t edge(const FerryTraceSet *set, uint64_t i)
{
    const FerryTraceRun *run = &set->runs[i / 2];

    return run->first + (i % 2 ? run->n : 0);
}

typedef struct {
    FerryTraceSet *set;
    uint64_t n; /* edges so far */
} Edges;

/* FALSE: there is no room for more. */
static gboolean add_edge(Edges *edges, uint64_t at)
{
    FerryTraceSet *set = edges->set;
    uint64_t run = edges->n / 2;

    if (edges->n % 2) {
        set->runs[run].n = at - set->runs[run].first;
        set->n = run + 1;
    } else {
        if (run == FERRY_TRACE_RUNS_MAX) {
            return FALSE;
        }
        make_room(set, MAX(run + 1, 64));
        set->runs[run].first = at;
    }
    edges->n++;
    return TRUE;
}

gboolean ferry_trace_set_xor(FerryTraceSet *out, const FerryTraceSet *a, const FerryTraceSet *b)
{
    Edges edges = {.set = out};
    uint64_t i = 0, j = 0;

    out->n = 0;
    while (i < 2 * a->n || j < 2 * b->n) {
        uint64_t x = i < 2 * a->n ? edge(a, i) : UINT64_MAX;
        uint64_t y = j < 2 * b->n ? edge(b, j) : UINT64_MAX;

        i += x <= y;
        j += y <= x;
        if (x != y && !add_edge(&edges, MIN(x, y))) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean has_run(const FerryTraceSet *set, const FerryTraceRun *run)
{
    uint64_t low = 0, high = set->n;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;

        if (set->runs[middle].first < run->first) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < set->n && set->runs[low].first == run->first && set->runs[low].n == run->n;
}

gboolean ferry_trace_set_resembles(const FerryTraceSet *a, const FerryTraceSet *b)
{
    uint64_t n = MIN(a->n, SAMPLE), same = 0;

    for (uint64_t i = 0; i < n; i++) {
        same += has_run(b, &a->runs[i * a->n / n]);
    }
    return 3 * same > n;
}

const char *ferry_trace_runs_check(const FerryTraceRun *runs, uint64_t n, uint64_t pages,
                                   uint64_t *out_n_pages)
{
    uint64_t end = 0, sum = 0;

    if (n > FERRY_TRACE_RUNS_MAX) {
        return "more runs than a frame may have: make frames shorter";
    }
    for (uint64_t i = 0; i < n; i++) {
        if (runs[i].n == 0) {
            return "a run without pages";
        }
        if (i > 0 && runs[i].first <= end) {
            return "runs are not ascending, or touch each other";
        }
        if (runs[i].first > pages || runs[i].n > pages - runs[i].first) {
            return "a run goes past the last page";
        }
        end = runs[i].first + runs[i].n;
        sum += runs[i].n;
    }
    *out_n_pages = sum;
    return NULL;
}

gboolean ferry_trace_runs_encode(GByteArray *out, const FerryTraceRun *runs, uint64_t n,
                                 uint64_t most)
{
    guint before = out->len, used = before + FERRY_VARINT_MAX;
    uint64_t end = 0;

    g_byte_array_set_size(out, used);
    used = (guint)(ferry_varint_put(out->data + before, n) - out->data);
    for (uint64_t i = 0; i < n;) {
        uint64_t stop = MIN(n, i + RUNS_AT_ONCE);

        if (used - before > most) {
            break;
        }
        g_byte_array_set_size(out, used + RUNS_AT_ONCE * RUN_MAX);
        uint8_t *to = out->data + used;
        for (; i < stop; i++) {
            uint64_t gap = runs[i].first - end;

            if (runs[i].n == 1) {
                to = ferry_varint_put(to, gap << 1);
            } else {
                to = ferry_varint_put(to, gap << 1 | 1);
                to = ferry_varint_put(to, runs[i].n - 2);
            }
            end = runs[i].first + runs[i].n;
        }
        used = (guint)(to - out->data);
    }
    g_byte_array_set_size(out, used - before > most ? before : used);
    return used - before <= most;
}

void ferry_trace_bitmap_encode(GByteArray *out, const FerryTraceRun *runs, uint64_t n,
                               uint64_t pages)
{
    guint before = out->len, bytes = (guint)((pages + 7) / 8);

    g_byte_array_set_size(out, before + bytes);
    uint8_t *map = out->data + before;
    memset(map, 0, bytes);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = runs[i].first, end = at + runs[i].n;

        for (; at < end && at % 8; at++) {
            map[at / 8] |= (uint8_t)(1u << at % 8);
        }
        memset(map + at / 8, 0xff, (end - at) / 8);
        for (at = end - (end - at) % 8; at < end; at++) {
            map[at / 8] |= (uint8_t)(1u << at % 8);
        }
    }
}

const char *ferry_trace_runs_decode(FerryTraceSet *out, const uint8_t **at, const uint8_t *end,
                                    uint64_t pages)
{
    uint64_t n, here = 0;
    const uint8_t *from = ferry_varint_get(*at, end, &n);

    if (!from || n > (uint64_t)(end - from) || n > FERRY_TRACE_RUNS_MAX) {
        return "more runs than there are bytes, or than a frame may have";
    }
    make_room(out, n);
    out->n = n;
    for (uint64_t i = 0; i < n; i++) {
        uint64_t gap, length = 1, more;

        /* Most gaps take two bytes. */
        if (end - from >= 2 && from[0] >= 0x80 && from[1] < 0x80) {
            gap = (from[0] & 0x7fu) | (uint64_t)from[1] << 7;
            from += 2;
        } else if (!(from = ferry_varint_get(from, end, &gap))) {
            return "a run is cut short";
        }
        more = gap & 1;
        gap >>= 1;
        if (more) {
            if (!(from = ferry_varint_get(from, end, &length))) {
                return "a run is cut short";
            }
            length = length > FERRY_TRACE_PAGES_MAX ? length : length + 2;
        }
        if (gap == 0 && i > 0) {
            return "a run touches the one before";
        }
        if (gap > pages - here || length > pages - here - gap) {
            return "a run goes past the last page";
        }
        out->runs[i] = (FerryTraceRun){.first = here + gap, .n = length};
        here += gap + length;
    }
    *at = from;
    return NULL;
}

/* Little-endian, and zero behind @n bytes. */
static uint64_t load_word(const uint8_t *from, size_t n)
{
    uint64_t word = 0;

    memcpy(&word, from, MIN(n, sizeof word));
    return GUINT64_FROM_LE(word);
}

const char *ferry_trace_bitmap_decode(FerryTraceSet *out, const uint8_t **at, const uint8_t *end,
                                      uint64_t pages)
{
    Edges edges = {.set = out};
    uint64_t bytes = pages / 8 + (pages % 8 != 0), carry = 0;

    out->n = 0;
    if (bytes > (uint64_t)(end - *at)) {
        return "a bitmap is cut short";
    }
    if (pages % 8 && (*at)[bytes - 1] >> pages % 8) {
        return "a bitmap has bits behind the last page";
    }
    for (uint64_t i = 0; i < bytes; i += 8) {
        uint64_t word = load_word(*at + i, bytes - i);
        uint64_t changes = word ^ (word << 1 | carry);

        for (; changes; changes &= changes - 1) {
            if (!add_edge(&edges, i * 8 + (uint64_t)__builtin_ctzll(changes))) {
                return "more runs than a frame may have";
            }
        }
        carry = word >> 63;
    }
    if (edges.n % 2) {
        add_edge(&edges, pages);
    }
    *at += bytes;
    return NULL;
}
