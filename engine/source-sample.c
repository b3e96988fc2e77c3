#include "engine/source-sample.h"
#define XXH_INLINE_ALL
#include <xxhash.h>
#include "protocol/ram.h"

struct FerrySample {
    const FerryMemory *memory;
    unsigned n_blocks;
    uint64_t **hashes; /* per block and 64 pages: of what was sent of one of them; 0: nothing */
    uint64_t unchanged;
};

static uint64_t n_groups(const FerrySample *s, unsigned block)
{
    return ferry_memory_block(s->memory, block)->length / FERRY_PAGE_SIZE / FERRY_SAMPLE_PAGES + 1;
}

FerrySample *ferry_sample_new(const FerryMemory *memory)
{
    unsigned n = ferry_memory_n_blocks(memory);
    FerrySample *s = g_new0(FerrySample, 1);

    s->memory = memory;
    s->n_blocks = n;
    s->hashes = g_new0(uint64_t *, n);
    for (unsigned i = 0; i < n; i++) {
        s->hashes[i] = g_new0(uint64_t, n_groups(s, i));
    }
    return s;
}

/* Which of a group's pages: not the same of each, guests like round numbers. */
static uint64_t page_of(uint64_t group)
{
    return group * FERRY_SAMPLE_PAGES + (group * UINT64_C(0x9E3779B97F4A7C15) >> 58);
}

void ferry_sample_pages(FerrySample *s, unsigned block, uint64_t first, uint64_t n)
{
    const uint8_t *host = ferry_memory_block(s->memory, block)->host;

    for (uint64_t group = first / FERRY_SAMPLE_PAGES; group <= (first + n - 1) / FERRY_SAMPLE_PAGES;
         group++) {
        uint64_t page = page_of(group), hash;
        if (page < first || page >= first + n) {
            continue;
        }
        hash = XXH3_64bits(host + page * FERRY_PAGE_SIZE, FERRY_PAGE_SIZE) | 1;
        s->unchanged += s->hashes[block][group] == hash;
        s->hashes[block][group] = hash;
    }
}

uint64_t ferry_sample_unchanged(const FerrySample *s) { return s->unchanged; }

void ferry_sample_free(FerrySample *s)
{
    if (!s) {
        return;
    }
    for (unsigned i = 0; i < s->n_blocks; i++) {
        g_free(s->hashes[i]);
    }
    g_free(s->hashes);
    g_free(s);
}
