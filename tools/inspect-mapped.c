/* The pages of a mapped-ram file for `ferry inspect`: bitmap first, then the pages it names. */
#include <inttypes.h>
#include <string.h>

#include "tools/inspect.h"

#define CHUNK (32u << 10) /* of a bitmap */

static gboolean check_bits(const FerryInspectBlock *b, const uint8_t *bits, uint64_t first_page,
                           size_t n, uint64_t pages, GError **error)
{
    for (size_t i = 0; i < n * 8; i++) {
        if (first_page + i >= pages && (bits[i / 8] >> i % 8 & 1)) {
            g_set_error(error, FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_MALFORMED,
                        "byte %" PRIu64 ": block '%s': the bitmap has page %" PRIu64
                        ", the block has %" PRIu64,
                        b->mapped.bitmap_offset + (first_page + i) / 8, b->idstr, first_page + i,
                        pages);
            return FALSE;
        }
    }
    return TRUE;
}

/* Counts the pages of @n bytes of bitmap. */
static void note_pages(FerryInspect *in, unsigned index, const uint8_t *bits, uint64_t first_page,
                       size_t n)
{
    FerryMappedHeader mapped = ferry_inspect_block(in, index)->mapped;

    for (size_t i = 0; i < n * 8; i++) {
        uint64_t offset = (first_page + i) << in->page_bits;
        FerryInspectPage page = {
            .channel = -1,
            .place = mapped.pages_offset + offset,
            .block = index,
            .offset = offset,
            .kind = FERRY_INSPECT_MAPPED,
            .bytes = (gint64)1 << in->page_bits,
        };

        if (bits[i / 8] >> i % 8 & 1) {
            ferry_inspect_set_received(in, index, offset);
            ferry_inspect_page(in, &page);
        }
    }
}

static gboolean read_bitmap(FerryInspect *in, unsigned index, GError **error)
{
    const FerryInspectBlock b = *ferry_inspect_block(in, index);
    uint64_t pages = b.length >> in->page_bits;
    uint64_t left = ferry_mapped_bitmap_size(b.length, b.mapped.page_size);
    g_autofree uint8_t *bits = g_malloc(CHUNK);

    for (uint64_t page = 0; left > 0; page += (uint64_t)CHUNK * 8) {
        size_t n = (size_t)MIN(left, CHUNK);

        if (!ferry_inspect_input_read(in->main, bits, n, "a block's bitmap", error)) {
            g_prefix_error(error, "block '%s': ", b.idstr);
            return FALSE;
        }
        if (!check_bits(&b, bits, page, n, pages, error)) {
            return FALSE;
        }
        note_pages(in, index, bits, page, n);
        left -= n;
    }
    return TRUE;
}

/* Pages from @page on that all are in the file, or all are not. */
static uint64_t run_of(const FerryInspect *in, unsigned index, uint64_t page, uint64_t pages,
                       gboolean present)
{
    uint64_t n = 0;

    while (page + n < pages &&
           ferry_inspect_has_received(in, index, (page + n) << in->page_bits) == present) {
        n++;
    }
    return n;
}

static gboolean read_pages(FerryInspect *in, unsigned index, GError **error)
{
    const FerryInspectBlock b = *ferry_inspect_block(in, index);
    uint64_t pages = b.length >> in->page_bits, page = 0;

    while (page < pages) {
        uint64_t n;

        page += run_of(in, index, page, pages, FALSE);
        n = run_of(in, index, page, pages, TRUE);
        if (n == 0) {
            break;
        }
        if (!ferry_inspect_input_go(in->main, b.mapped.pages_offset + (page << in->page_bits),
                                    "a block's pages", error) ||
            !ferry_inspect_input_read(in->main, b.bytes + (page << in->page_bits),
                                      (size_t)(n << in->page_bits), "a block's pages", error)) {
            g_prefix_error(error, "block '%s': ", b.idstr);
            return FALSE;
        }
        page += n;
    }
    return TRUE;
}

gboolean ferry_inspect_mapped_block(FerryInspect *in, unsigned index, GError **error)
{
    FerryInspectBlock *b = ferry_inspect_block(in, index);

    if (!ferry_inspect_input_go(in->main, b->mapped.bitmap_offset, "a block's header", error) ||
        !read_bitmap(in, index, error)) {
        return FALSE;
    }
    return !b->bytes || read_pages(in, index, error);
}
