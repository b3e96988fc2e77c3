#include "protocol/decoder-private.h"
#include <inttypes.h>

static FerryDecoderBlock *get_block(const FerryDecoder *d, unsigned i)
{
    return &g_array_index(d->blocks, FerryDecoderBlock, i);
}

/* Blocks are few, and a sender rarely names another one than before. */
static gboolean find_block(const FerryDecoder *d, const uint8_t *name, size_t n, unsigned *out)
{
    for (unsigned i = 0; i < d->blocks->len; i++) {
        unsigned k = (d->block + i) % d->blocks->len;
        const FerryDecoderBlock *b = get_block(d, k);

        if (b->length == n && memcmp(b->idstr, name, n) == 0) {
            *out = k;
            return TRUE;
        }
    }
    return FALSE;
}

static FerryDecoderStep check_block(FerryDecoder *d, uint64_t at, const uint8_t *name, size_t n,
                                    uint64_t used_length)
{
    unsigned same;

    if (!ferry_name_valid(name, n)) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "ram section: a block's name is empty or not text");
    }
    if (find_block(d, name, n, &same)) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "ram section: block '%.*s' is listed twice", (int)n,
                                 (const char *)name);
    }
    if (used_length == 0 || used_length & (d->page_size - 1)) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "ram section: block '%.*s': length %" PRIu64
                                 " is not a number of pages",
                                 (int)n, (const char *)name, used_length);
    }
    if (used_length > d->list_left) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "ram section: block '%.*s': length %" PRIu64 ", but only %" PRIu64
                                 " of the announced total are left",
                                 (int)n, (const char *)name, used_length, d->list_left);
    }
    if (d->blocks->len == FERRY_RAM_BLOCKS_MAX) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_LIMIT,
                                 "ram section: more than %d blocks", FERRY_RAM_BLOCKS_MAX);
    }
    return STEP_ON;
}

FerryDecoderStep ferry_decoder_block_list(FerryDecoder *d, FerryStreamEvent *ev)
{
    uint64_t at = ferry_decoder_here(d);
    FerryDecoderBlock block = {0};
    FerryDecoderStep step;
    const uint8_t *p;

    if (d->list_left == 0) {
        d->place = PLACE_RECORD;
        ev->type = FERRY_STREAM_RAM_LIST_END;
        ev->stream_offset = at;
        ev->total_bytes = d->total;
        return STEP_EVENT;
    }
    p = ferry_decoder_peek(d, 1);
    p = p ? ferry_decoder_peek(d, 1 + (size_t)p[0] + 8) : NULL;
    if (!p) {
        return STEP_MORE;
    }
    block.length = p[0];
    block.used_length = ferry_get_be64(p + 1 + block.length);
    step = check_block(d, at, p + 1, block.length, block.used_length);
    if (step != STEP_ON) {
        return step;
    }
    block.idstr = g_strndup((const char *)p + 1, block.length);
    g_array_append_val(d->blocks, block);
    d->list_left -= block.used_length;
    ferry_decoder_take(d, 1 + block.length + 8);
    ev->type = FERRY_STREAM_RAM_BLOCK;
    ev->stream_offset = at;
    ev->block.index = d->blocks->len - 1;
    ev->block.idstr = block.idstr;
    ev->block.used_length = block.used_length;
    return STEP_EVENT;
}

static FerryDecoderStep begin_list(FerryDecoder *d, uint64_t at, uint64_t total)
{
    if (d->section != FERRY_SECTION_START || d->total) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "ram section: a block list %s",
                                 d->total ? "for the second time" : "outside START");
    }
    if (total == 0) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "ram section: the block list's total is 0");
    }
    d->total = d->list_left = total;
    ferry_decoder_take(d, 8);
    d->place = PLACE_BLOCK_LIST;
    return STEP_ON;
}

static FerryDecoderStep end_records(FerryDecoder *d, uint64_t at)
{
    if (d->total == 0) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "ram section: START has no block list");
    }
    ferry_decoder_take(d, 8);
    d->place = PLACE_FOOTER;
    return STEP_ON;
}

/* Which block a PAGE or ZERO record is about, and how long its header is up to here. */
static FerryDecoderStep choose_block(FerryDecoder *d, uint64_t at, unsigned flags,
                                     unsigned *out_block, size_t *out_length)
{
    const uint8_t *p;
    size_t n;

    if (flags & FERRY_RAM_CONTINUE) {
        *out_block = d->block;
        *out_length = 8;
        return d->block_length ? STEP_ON
                               : ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                                   "ram section: a page continues a block, but "
                                                   "none was named before");
    }
    p = ferry_decoder_peek(d, 9);
    p = p ? ferry_decoder_peek(d, 9 + (size_t)p[8]) : NULL;
    if (!p) {
        return STEP_MORE;
    }
    n = p[8];
    *out_length = 9 + n;
    if (find_block(d, p + 9, n, out_block)) {
        return STEP_ON;
    }
    if (!ferry_name_valid(p + 9, n)) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "ram section: a block's name is empty or not text");
    }
    return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                             "ram section: block '%.*s' is not in the list", (int)n,
                             (const char *)p + 9);
}

static FerryDecoderStep page_record(FerryDecoder *d, uint64_t at, uint64_t offset, unsigned flags,
                                    FerryStreamEvent *ev)
{
    const FerryDecoderBlock *b;
    unsigned block = 0;
    size_t length;
    FerryDecoderStep step = choose_block(d, at, flags, &block, &length);

    if (step != STEP_ON) {
        return step;
    }
    b = get_block(d, block);
    if (offset >= b->used_length) { /* both are whole pages, so the page ends inside too */
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "ram section: block '%s': page at 0x%" PRIx64
                                 " is outside its 0x%" PRIx64 " bytes",
                                 b->idstr, offset, b->used_length);
    }
    if (flags & FERRY_RAM_ZERO) {
        const uint8_t *p = ferry_decoder_peek(d, length + 1);

        if (!p) {
            return STEP_MORE;
        }
        if (p[length]) {
            return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                     "ram section: block '%s': zero page at 0x%" PRIx64
                                     " is filled with 0x%02x",
                                     b->idstr, offset, p[length]);
        }
        length++;
    }
    ferry_decoder_take(d, length);
    d->block = block;
    d->block_length = b->used_length;
    d->page_offset = offset;
    d->page_at = at;
    if (flags & FERRY_RAM_PAGE) {
        d->place = PLACE_PAGE;
        return STEP_ON;
    }
    ev->type = FERRY_STREAM_ZERO;
    ev->stream_offset = at;
    ev->page.block = block;
    ev->page.offset = offset;
    ev->page.data = NULL;
    return STEP_EVENT;
}

FerryDecoderStep ferry_decoder_page(FerryDecoder *d, FerryStreamEvent *ev)
{
    const uint8_t *p = ferry_decoder_peek(d, d->page_size);

    if (!p) {
        return STEP_MORE;
    }
    ferry_decoder_take(d, d->page_size);
    d->place = PLACE_RECORD;
    ev->type = FERRY_STREAM_PAGE;
    ev->stream_offset = d->page_at;
    ev->page.block = d->block;
    ev->page.offset = d->page_offset;
    ev->page.data = p;
    return STEP_EVENT;
}

static FerryDecoderStep unsupported(FerryDecoder *d, uint64_t at, const char *what)
{
    return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_UNSUPPORTED,
                             "ram section: %s are not supported", what);
}

FerryDecoderStep ferry_decoder_record(FerryDecoder *d, FerryStreamEvent *ev)
{
    uint64_t at = ferry_decoder_here(d);
    const uint8_t *p = ferry_decoder_peek(d, 8);
    uint64_t word, offset;
    unsigned flags;

    if (!p) {
        return STEP_MORE;
    }
    word = ferry_get_be64(p);
    flags = (unsigned)(word & (d->page_size - 1));
    offset = word - flags;
    switch (flags) {
    case FERRY_RAM_PAGE | FERRY_RAM_CONTINUE:
    case FERRY_RAM_ZERO | FERRY_RAM_CONTINUE:
    case FERRY_RAM_PAGE:
    case FERRY_RAM_ZERO:
        return page_record(d, at, offset, flags, ev);
    case FERRY_RAM_MEM_SIZE:
        return begin_list(d, at, offset);
    case FERRY_RAM_XBZRLE:
    case FERRY_RAM_XBZRLE | FERRY_RAM_CONTINUE:
        return unsupported(d, at, "xbzrle pages");
    case FERRY_RAM_COMPRESS_PAGE:
    case FERRY_RAM_COMPRESS_PAGE | FERRY_RAM_CONTINUE:
        return unsupported(d, at, "compressed pages");
    case FERRY_RAM_HOOK:
        return unsupported(d, at, "rdma hooks");
    case FERRY_RAM_EOS:
    case FERRY_RAM_MULTIFD_FLUSH:
        break;
    default:
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "ram section: unknown combination of flags 0x%x", flags);
    }
    if (offset) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "ram section: flag 0x%x with offset 0x%" PRIx64, flags, offset);
    }
    if (flags == FERRY_RAM_EOS) {
        return end_records(d, at);
    }
    ferry_decoder_take(d, 8);
    ev->type = FERRY_STREAM_FLUSH;
    ev->stream_offset = at;
    return STEP_EVENT;
}
