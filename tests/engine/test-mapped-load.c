#include "engine/mapped-load.h"

#include <criterion/criterion.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/error.h"

#define PAGE 4096u
#define PAGES 70u
#define AT 100u /* where the header would be */

/* A block of 70 pages; page i is filled with i, those of @marked are there. */
typedef struct {
    int fd;
    FerryMappedBlock block;
    uint64_t bytes;
} File;

static File make(const unsigned *marked, unsigned n)
{
    File f = {
        .fd = memfd_create("mapped", MFD_CLOEXEC),
        .block = {.idstr = "pc.ram", .used_length = PAGES * PAGE}
    };
    uint8_t bitmap[16] = {0}, page[PAGE];

    f.block.header = ferry_mapped_header_place(AT, PAGES * PAGE, PAGE);
    f.bytes = f.block.header.pages_offset + PAGES * PAGE;
    cr_assert_eq(ftruncate(f.fd, (off_t)f.bytes), 0);
    for (unsigned i = 0; i < n; i++) {
        bitmap[marked[i] / 8] |= (uint8_t)(1 << marked[i] % 8);
    }
    cr_assert_eq(pwrite(f.fd, bitmap, 16, (off_t)f.block.header.bitmap_offset), 16);
    for (unsigned i = 0; i < PAGES; i++) {
        memset(page, (int)i, PAGE);
        cr_assert_eq(
            pwrite(f.fd, page, PAGE, (off_t)(f.block.header.pages_offset + (uint64_t)i * PAGE)),
            PAGE);
    }
    return f;
}

Test(mapped_load, reads_what_is_marked_and_nothing_else)
{
    static const unsigned marked[] = {0, 1, 2, 9, 63, 64, 69};
    File f = make(marked, G_N_ELEMENTS(marked));
    g_autofree uint8_t *host = g_malloc(PAGES * PAGE);
    FerryBitmap present;

    memset(host, 0xee, PAGES * PAGE);
    cr_assert(ferry_mapped_read_bitmap(f.fd, f.bytes, &f.block, &present, NULL));
    cr_expect_eq(ferry_bitmap_count(&present), G_N_ELEMENTS(marked));
    cr_assert(ferry_mapped_read_pages(f.fd, &f.block, &present, host, NULL, NULL));
    for (unsigned i = 0; i < PAGES; i++) {
        uint8_t expected = ferry_bitmap_test(&present, i) ? (uint8_t)i : 0xee;

        cr_expect_eq(host[i * PAGE], expected, "page %u", i);
        cr_expect_eq(host[i * PAGE + PAGE - 1], expected, "page %u", i);
    }
    ferry_bitmap_clear(&present);
    close(f.fd);
}

static void expect_refusal(const File *f, uint64_t bytes, const char *message)
{
    g_autoptr(GError) error = NULL;
    FerryBitmap present;

    cr_assert_not(ferry_mapped_read_bitmap(f->fd, bytes, &f->block, &present, &error));
    cr_expect(g_error_matches(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER));
    cr_expect(strstr(error->message, message), "%s", error->message);
}

Test(mapped_load, M56_bit_behind_the_last_page)
{
    static const unsigned first[] = {70}, last[] = {127};
    File a = make(first, 1), b = make(last, 1);

    expect_refusal(&a, a.bytes, "block 'pc.ram': a page is marked behind its last one (69)");
    expect_refusal(&b, b.bytes, "marked behind");
    close(a.fd);
    close(b.fd);
}

Test(mapped_load, M56_pages_past_the_end_of_the_file)
{
    File f = make(NULL, 0);

    expect_refusal(&f, f.bytes - 1, "block 'pc.ram': its pages end at byte 1335296, the file at");
    close(f.fd);
}

Test(mapped_load, M56_bitmap_cut)
{
    File f = make(NULL, 0);

    cr_assert_eq(ftruncate(f.fd, (off_t)f.block.header.bitmap_offset + 9), 0);
    expect_refusal(&f, f.bytes, "block 'pc.ram': the file became shorter: it ends at byte 137");
    close(f.fd);
}

Test(mapped_load, M57_block_larger_than_any_memory)
{
    File f = make(NULL, 0);

    f.block.used_length = (uint64_t)1 << 62;
    expect_refusal(&f, (uint64_t)G_MAXINT64, "4611686018427387904 bytes are more than");
    close(f.fd);
}

Test(mapped_load, M57_shorter_while_it_is_read)
{
    static const unsigned marked[] = {3, 40};
    File f = make(marked, 2);
    g_autofree uint8_t *host = g_malloc(PAGES * PAGE);
    g_autoptr(GError) error = NULL;
    FerryBitmap present;

    cr_assert(ferry_mapped_read_bitmap(f.fd, f.bytes, &f.block, &present, NULL));
    cr_assert_eq(ftruncate(f.fd, (off_t)(f.block.header.pages_offset + 40 * PAGE + 5)), 0);
    cr_assert_not(ferry_mapped_read_pages(f.fd, &f.block, &present, host, NULL, &error));
    cr_expect(strstr(error->message, "the file became shorter"), "%s", error->message);
    ferry_bitmap_clear(&present);
    close(f.fd);
}

Test(mapped_load, M57_only_a_regular_file_has_a_size)
{
    g_autoptr(GError) error = NULL;
    uint64_t bytes = 0;
    int ends[2];

    cr_assert_eq(pipe(ends), 0);
    cr_expect_not(ferry_mapped_file_size(ends[0], &bytes, &error));
    cr_expect(strstr(error->message, "not a regular file"), "%s", error->message);
    close(ends[0]);
    close(ends[1]);
}

Test(mapped_load, an_interrupt_ends_it)
{
    static const unsigned marked[] = {3};
    File f = make(marked, 1);
    g_autoptr(FerryInterrupt) interrupt = ferry_interrupt_new(NULL);
    g_autoptr(GError) error = NULL;
    FerryBitmap present;

    ferry_interrupt_raise(interrupt);
    cr_assert(ferry_mapped_read_bitmap(f.fd, f.bytes, &f.block, &present, NULL));
    cr_expect_not(ferry_mapped_read_pages(f.fd, &f.block, &present, NULL, interrupt, &error));
    cr_expect(g_error_matches(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_CANCELLED));
    ferry_bitmap_clear(&present);
    close(f.fd);
}
