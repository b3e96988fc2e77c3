#include "engine/ram-compress.h"
#include <string.h>
#include "engine/compress.h"

#define OUT_SIZE (1u << 20)
#define PAGE_MAX FERRY_PAGE_CODEC_BOUND(FERRY_PAGE_SIZE)

struct FerryRamCompress {
    FerryPageCodec *codec;
    size_t used; /* of out, by records that are not written yet */
    uint8_t copy[FERRY_PAGE_SIZE];
    uint8_t out[OUT_SIZE];
};

FerryRamCompress *ferry_ram_compress_new(FerryMultifdMethod method, int level)
{
    FerryRamCompress *c = g_new(FerryRamCompress, 1);

    c->codec = ferry_page_codec_new(method, level);
    c->used = 0;
    return c;
}

gboolean ferry_ram_compress_has_room(const FerryRamCompress *c, uint64_t n)
{
    return c->used + n * PAGE_MAX <= OUT_SIZE;
}

/* The guest may write while a compressor reads, which would confuse it: so it gets a copy. */
static const uint8_t *stand_still(FerryRamCompress *c, const uint8_t *bytes, gboolean stable)
{
    return stable ? bytes : memcpy(c->copy, bytes, FERRY_PAGE_SIZE);
}

void ferry_ram_compress_page(FerryRamCompress *c, FerryRamSender *s, unsigned block, uint64_t page,
                             gboolean stable)
{
    const FerryMemoryBlock *b = ferry_memory_block(s->setup.memory, block);
    const uint8_t *bytes = b->host + page * FERRY_PAGE_SIZE;
    FerryRamHeader h = {.offset = page * FERRY_PAGE_SIZE, .flags = FERRY_RAM_COMPRESS_PAGE};

    if (ferry_ram_sender_is_zero(s, bytes)) {
        ferry_ram_sender_add_zero(s, block, page);
        return;
    }
    if (s->records.last_block != (int)block) {
        ferry_ram_sender_add_page(s, block, page, bytes);
        return;
    }
    size_t n = ferry_page_codec_encode(c->codec, stand_still(c, bytes, stable), FERRY_PAGE_SIZE,
                                       c->out + c->used);
    if (n >= FERRY_PAGE_SIZE) {
        ferry_ram_sender_add_page(s, block, page, bytes);
        return;
    }
    h.length = (uint32_t)n;
    ferry_ram_records_add_page(&s->records, block, h, c->out + c->used, n);
    c->used += n;
    s->counts.compressed_pages++;
    s->counts.compressed_bytes += n;
}

void ferry_ram_compress_flushed(FerryRamCompress *c) { c->used = 0; }

void ferry_ram_compress_free(FerryRamCompress *c)
{
    if (c) {
        ferry_page_codec_free(c->codec);
        g_free(c);
    }
}
