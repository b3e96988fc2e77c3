#include "protocol/decoder-private.h"
#include <inttypes.h>
#include "protocol/xbzrle.h"

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

/* @n: bytes of the entry before it. */
static FerryDecoderStep mapped_header(FerryDecoder *d, size_t n, uint64_t used_length,
                                      FerryMappedHeader *out)
{
    uint64_t at = ferry_decoder_here(d);
    const uint8_t *p = ferry_decoder_peek(d, n + FERRY_MAPPED_HEADER_SIZE);
    g_autoptr(GError) error = NULL;

    if (!p) {
        return STEP_MORE;
    }
    if (!ferry_mapped_header_decode(p + n, d->options.file_offset + at + n, used_length,
                                    d->page_size, out, &error)) {
        return ferry_decoder_bad(d, at, (FerryProtocolError)error->code,
                                 "ram section: block '%.*s': %s", (int)p[0], (const char *)p + 1,
                                 error->message);
    }
    return STEP_ON;
}

FerryDecoderStep ferry_decoder_block_list(FerryDecoder *d, FerryStreamEvent *ev)
{
    uint64_t at = ferry_decoder_here(d);
    FerryDecoderBlock block = {0};
    FerryDecoderStep step;
    const uint8_t *p;
    size_t n;

    if (d->list_left == 0) {
        d->place = PLACE_RECORD;
        ev->type = FERRY_STREAM_RAM_LIST_END;
        ev->stream_offset = at;
        ev->total_bytes = d->total;
        return STEP_EVENT;
    }
    p = ferry_decoder_peek(d, 1);
    n = p ? 1 + (size_t)p[0] + 8 : 0;
    p = p ? ferry_decoder_peek(d, n) : NULL;
    if (!p) {
        return STEP_MORE;
    }
    block.length = p[0];
    block.used_length = ferry_get_be64(p + n - 8);
    step = check_block(d, at, p + 1, block.length, block.used_length);
    if (step == STEP_ON && d->mapped) {
        step = mapped_header(d, n, block.used_length, &ev->block.mapped);
        p = ferry_decoder_peek(d, n); /* it may lie elsewhere now */
    }
    if (step != STEP_ON) {
        return step;
    }
    block.idstr = g_strndup((const char *)p + 1, block.length);
    g_array_append_val(d->blocks, block);
    d->list_left -= block.used_length;
    ferry_decoder_take(d, n + (d->mapped ? FERRY_MAPPED_HEADER_SIZE : 0));
    ev->type = FERRY_STREAM_RAM_BLOCK;
    ev->stream_offset = at;
    ev->block.index = d->blocks->len - 1;
    ev->block.idstr = block.idstr;
    ev->block.used_length = block.used_length;
    ev->block.is_mapped = d->mapped;
    if (d->mapped) {
        d->jump = ev->block.mapped.pages_offset + block.used_length - d->options.file_offset;
        d->place = PLACE_JUMP;
    }
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

/* Told before the footer is here: a source may keep that back until what waits for a multifd
 * barrier goes on. */
static FerryDecoderStep end_records(FerryDecoder *d, uint64_t at, FerryStreamEvent *ev)
{
    if (d->total == 0) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "ram section: START has no block list");
    }
    ferry_decoder_take(d, 8);
    d->place = PLACE_FOOTER;
    ev->type = FERRY_STREAM_ROUND_END;
    ev->stream_offset = d->section_at;
    ev->section = d->section;
    ev->section_id = d->ram_id;
    return STEP_EVENT;
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

/* What stands between the block's name and the page's bytes: ZERO's fill byte, or how the page is
 * packed. *length: of the header, up to here and then with it. */
static FerryDecoderStep page_detail(FerryDecoder *d, uint64_t at, unsigned kind, uint64_t offset,
                                    const char *idstr, size_t *length)
{
    size_t more = kind == FERRY_RAM_ZERO ? 1 : kind == FERRY_RAM_XBZRLE ? 3 : 4;
    const uint8_t *p = ferry_decoder_peek(d, *length + more);
    uint64_t packed, most;

    if (!p) {
        return STEP_MORE;
    }
    p += *length;
    *length += more;
    if (kind == FERRY_RAM_ZERO) {
        return p[0] == 0 ? STEP_ON
                         : ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                             "ram section: block '%s': zero page at 0x%" PRIx64
                                             " is filled with 0x%02x",
                                             idstr, offset, p[0]);
    }
    if (kind == FERRY_RAM_XBZRLE && p[0] != FERRY_XBZRLE_ENCODING) {
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                                 "ram section: block '%s': xbzrle page at 0x%" PRIx64
                                 " has encoding 0x%02x (only 0x01 is known)",
                                 idstr, offset, p[0]);
    }
    packed = kind == FERRY_RAM_XBZRLE ? ferry_get_be16(p + 1) : ferry_get_be32(p);
    most = kind == FERRY_RAM_XBZRLE ? d->page_size : ferry_ram_compressed_max(d->page_size);
    if (packed == 0 || packed > most) {
        return ferry_decoder_bad(
            d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
            "ram section: block '%s': %s page at 0x%" PRIx64 " has %" PRIu64 " bytes", idstr,
            kind == FERRY_RAM_XBZRLE ? "xbzrle" : "compressed", offset, packed);
    }
    d->page_bytes = (size_t)packed;
    return STEP_ON;
}

static FerryDecoderStep page_record(FerryDecoder *d, uint64_t at, uint64_t offset, unsigned flags,
                                    FerryStreamEvent *ev)
{
    unsigned kind = flags & ~(unsigned)FERRY_RAM_CONTINUE, block = 0;
    const FerryDecoderBlock *b;
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
    d->page_bytes = d->page_size;
    if (kind != FERRY_RAM_PAGE) {
        step = page_detail(d, at, kind, offset, b->idstr, &length);
        if (step != STEP_ON) {
            return step;
        }
    }
    ferry_decoder_take(d, length);
    d->block = block;
    d->block_length = b->used_length;
    d->page_offset = offset;
    d->page_at = at;
    if (kind != FERRY_RAM_ZERO) {
        d->page_type = kind == FERRY_RAM_PAGE     ? FERRY_STREAM_PAGE
                       : kind == FERRY_RAM_XBZRLE ? FERRY_STREAM_XBZRLE
                                                  : FERRY_STREAM_COMPRESSED;
        d->place = PLACE_PAGE;
        return STEP_ON;
    }
    ev->type = FERRY_STREAM_ZERO;
    ev->stream_offset = at;
    ev->page.block = block;
    ev->page.offset = offset;
    ev->page.data = NULL;
    ev->page.length = 0;
    return STEP_EVENT;
}

FerryDecoderStep ferry_decoder_page(FerryDecoder *d, FerryStreamEvent *ev)
{
    const uint8_t *p = ferry_decoder_peek(d, d->page_bytes);

    if (!p) {
        return STEP_MORE;
    }
    ferry_decoder_take(d, d->page_bytes);
    d->place = PLACE_RECORD;
    ev->type = d->page_type;
    ev->stream_offset = d->page_at;
    ev->page.block = d->block;
    ev->page.offset = d->page_offset;
    ev->page.data = p;
    ev->page.length = d->page_bytes;
    return STEP_EVENT;
}

/* In a mapped-ram stream pages stand in the file, and nothing waits for other channels. */
static FerryDecoderStep refuse_unmapped(FerryDecoder *d, uint64_t at, unsigned flags)
{
    return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_MALFORMED,
                             "ram section: a record with flags 0x%x in a mapped-ram stream", flags);
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
    if (d->mapped && flags != FERRY_RAM_MEM_SIZE && flags != FERRY_RAM_EOS) {
        return refuse_unmapped(d, at, flags);
    }
    switch (flags & ~(unsigned)FERRY_RAM_CONTINUE) {
    case FERRY_RAM_PAGE:
    case FERRY_RAM_ZERO:
    case FERRY_RAM_XBZRLE:
    case FERRY_RAM_COMPRESS_PAGE:
        return page_record(d, at, offset, flags, ev);
    }
    switch (flags) {
    case FERRY_RAM_MEM_SIZE:
        return begin_list(d, at, offset);
    case FERRY_RAM_HOOK:
        return ferry_decoder_bad(d, at, FERRY_PROTOCOL_ERROR_UNSUPPORTED,
                                 "ram section: migration over RDMA is not supported (a hook)");
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
        return end_records(d, at, ev);
    }
    ferry_decoder_take(d, 8);
    ev->type = FERRY_STREAM_FLUSH;
    ev->stream_offset = at;
    return STEP_EVENT;
}
