/* What the loader makes of each kind of record: base pages, page sizes, and nothing left of what
 * was put when it all is discarded. */
#include <criterion/criterion.h>
#include <string.h>
#include "engine/compress.h"
#include "engine/ram-load.h"

#define PAGES 600
static _Alignas(4096) uint8_t to[2][PAGES * 4096];

static FerryMemory *blocks(uint8_t m[2][PAGES * 4096])
{
    FerryMemory *memory = ferry_memory_new();
    ferry_memory_add(memory, "pc.ram", m[0], sizeof to[0], NULL);
    ferry_memory_add(memory, "/rom@etc/acpi/tables", m[1], sizeof to[1], NULL);
    return memory;
}

/* A loader of pages of 1 << @bits, with its list. */
static FerryRamLoader *listed(const FerryMemory *memory, unsigned bits)
{
    FerryRamLoader *loader = ferry_ram_loader_new(memory);
    memset(to, 0, sizeof to);
    for (unsigned i = 0; i < ferry_memory_n_blocks(memory); i++) {
        const FerryMemoryBlock *block = ferry_memory_block(memory, i);
        cr_assert(ferry_ram_loader_block(loader, block->idstr, block->length, NULL));
    }
    cr_assert(ferry_ram_loader_list_end(loader, bits, NULL));
    return loader;
}

static gboolean put(FerryRamLoader *loader, FerryStreamEventType type, uint64_t offset,
                    const uint8_t *data, size_t length, GError **error)
{
    FerryStreamEvent event = {
        .type = type, .page = {.block = 1, .offset = offset, .data = data, .length = length}
    };
    return ferry_ram_loader_page(loader, &event, error);
}

/* Skip 8, two bytes; the rest as it was. */
static const uint8_t delta[] = {8, 2, 0x4e, 0x8e};

Test(ram_load, a_delta_needs_a_page_that_was_sent)
{
    g_autoptr(FerryMemory) memory = blocks(to);
    g_autoptr(FerryRamLoader) loader = listed(memory, 12);
    g_autoptr(GError) error = NULL;
    static uint8_t page[4096] = {[9] = 9, [10] = 10};

    cr_expect_not(put(loader, FERRY_STREAM_XBZRLE, 4096, delta, sizeof delta, &error));
    cr_expect(strstr(error->message, "'/rom@etc/acpi/tables' at 0x1000: ") &&
                  strstr(error->message, "never sent"),
              "%s", error->message);
    cr_assert(put(loader, FERRY_STREAM_ZERO, 4096, NULL, 0, NULL));
    cr_assert(put(loader, FERRY_STREAM_XBZRLE, 4096, delta, sizeof delta, NULL), "zero is a base");
    cr_expect_eq(to[1][4096 + 8], 0x4e);
    cr_expect_eq(to[1][4096 + 9], 0x8e);
    cr_assert(put(loader, FERRY_STREAM_PAGE, 8192, page, sizeof page, NULL));
    cr_assert(put(loader, FERRY_STREAM_XBZRLE, 8192, delta, sizeof delta, NULL));
    cr_expect_eq(to[1][8192 + 9], 0x8e);
    cr_expect_eq(to[1][8192 + 10], 10);
    cr_assert(put(loader, FERRY_STREAM_ZERO, 4096, NULL, 0, NULL), "a delta was put");
    cr_expect_eq(to[1][4096 + 8], 0);
    g_clear_error(&error);
    cr_expect_not(put(loader, FERRY_STREAM_XBZRLE, 8192, delta, 1, &error), "half a delta");
    cr_expect_eq(ferry_ram_loader_counts(loader).xbzrle_pages, 3);
    cr_expect_eq(ferry_ram_loader_counts(loader).xbzrle_bytes, 2 * sizeof delta + 1);
    ferry_ram_loader_discard(loader);
    cr_expect_eq(to[1][8192 + 10], 0);
}

Test(ram_load, compressed_pages_come_out_as_they_were)
{
    g_autoptr(FerryMemory) memory = blocks(to);
    g_autoptr(FerryRamLoader) loader = listed(memory, 12);
    g_autoptr(FerryPageCodec) codec = ferry_page_codec_new(FERRY_MULTIFD_ZLIB, 1);
    g_autoptr(GError) error = NULL;
    uint8_t page[4096], out[FERRY_PAGE_CODEC_BOUND(4096)];

    memset(page, 0x5a, sizeof page);
    size_t n = ferry_page_codec_encode(codec, page, sizeof page, out);
    cr_assert(put(loader, FERRY_STREAM_COMPRESSED, 4096, out, n, NULL));
    cr_expect_arr_eq(to[1] + 4096, page, sizeof page);
    cr_expect_not(put(loader, FERRY_STREAM_COMPRESSED, 8192, out, n - 1, &error));
    cr_expect(strstr(error->message, "at 0x2000"), "%s", error->message);
    ferry_ram_loader_discard(loader);
    cr_expect_eq(to[1][4096], 0);
    cr_expect_eq(to[1][8192], 0, "what was half put is gone, too");
}

Test(ram_load, pages_have_the_sources_size)
{
    static uint8_t page[64 << 10];
    static const unsigned bits[] = {10, 12, 14, 16};

    memset(page, 0x77, sizeof page);
    for (unsigned i = 0; i < G_N_ELEMENTS(bits); i++) {
        size_t size = (size_t)1 << bits[i];
        g_autoptr(FerryMemory) memory = ferry_memory_new();
        ferry_memory_add(memory, "other", to[0], 64 << 10, NULL);
        ferry_memory_add(memory, "ram", to[1], 256 << 10, NULL);
        g_autoptr(FerryRamLoader) loader = listed(memory, bits[i]);
        cr_assert(put(loader, FERRY_STREAM_PAGE, size, page, size, NULL));
        cr_assert(put(loader, FERRY_STREAM_PAGE, 2 * size, page, size, NULL));
        cr_assert(put(loader, FERRY_STREAM_ZERO, size, NULL, 0, NULL));
        cr_assert(put(loader, FERRY_STREAM_ZERO, 3 * size, NULL, 0, NULL));
        cr_expect_eq(to[1][2 * size - 1], 0);
        cr_expect_eq(to[1][2 * size], 0x77);
        cr_expect_eq(to[1][3 * size - 1], 0x77);
        cr_expect_eq(to[1][3 * size], 0);
    }
}

/* A file that was there before may hold anything. */
Test(ram_load, what_was_there_before_counts_as_zero)
{
    g_autoptr(FerryMemory) memory = blocks(to);
    g_autoptr(FerryRamLoader) loader = listed(memory, 12);
    static uint8_t page[4096] = {1};

    memset(to[1], 0x55, sizeof to[1]);
    ferry_ram_loader_set_stale(loader, 1);
    cr_assert(put(loader, FERRY_STREAM_PAGE, 0, page, sizeof page, NULL));
    cr_assert(put(loader, FERRY_STREAM_ZERO, 4096, NULL, 0, NULL));
    cr_expect_eq(to[1][4096], 0, "what is named is clean at once");
    cr_expect_eq(to[1][2 * 4096 - 1], 0);
    cr_expect_eq(to[1][2 * 4096], 0x55);
    cr_assert(put(loader, FERRY_STREAM_ZERO, 2 * 4096, NULL, 0, NULL));
    cr_assert(put(loader, FERRY_STREAM_XBZRLE, 2 * 4096, delta, sizeof delta, NULL));
    cr_expect_eq(to[1][2 * 4096], 0, "a delta's base");
    cr_expect_eq(to[1][2 * 4096 + 8], 0x4e);
    ferry_ram_loader_finish(loader);
    cr_expect_eq(to[1][0], 1);
    cr_expect_eq(to[1][2 * 4096 + 8], 0x4e);
    for (size_t i = 3 * 4096; i < sizeof to[1]; i++) {
        cr_assert_eq(to[1][i], 0, "byte %zu", i);
    }
}
