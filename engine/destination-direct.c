/* Pages that follow one another are read to where they belong, without a copy in between.
 *
 *   stream:  header | page P | header | page P+1 | header | page P+2 | ...
 *   read to:  here     guest    here     guest      here     guest
 *
 * That the next records are those is a guess from those before. It is made only for pages that hold
 * nothing yet, so that a wrong one can be undone: what was read is put together again for the
 * decoder, and the pages hold nothing again. */
#include <string.h>
#include "engine/destination-private.h"
#include "protocol/wire.h"

#define HEADER 8
#define RUN_MIN 8 /* pages in a row before a guess is made */

void ferry_destination_note_page(FerryDestination *d, const FerryStreamEvent *e)
{
    FerryDirect *r = &d->direct;
    gboolean next = e->type == FERRY_STREAM_PAGE && e->page.block == r->block &&
                    e->page.offset == r->last + (UINT64_C(1) << d->page_bits);

    r->run = next ? r->run + 1 : 0;
    r->block = e->page.block;
    r->last = e->page.offset;
}

static size_t record_size(const FerryDestination *d)
{
    return HEADER + ((size_t)1 << d->page_bits);
}

static uint64_t offset_of(const FerryDestination *d, size_t page)
{
    return d->direct.offset + ((uint64_t)page << d->page_bits);
}

/* The page that the decoder is inside of, as far as it came. */
static void adopt(FerryDestination *d, const FerryPagePlace *place)
{
    FerryDirect *r = &d->direct;
    uint8_t *page = ferry_ram_loader_claim(d->ram, place->block, place->offset);

    if (place->n_begun > 0) {
        memcpy(page, place->begun, place->n_begun);
    }
    r->host = page;
    r->got = r->before = HEADER + place->n_begun;
}

/* Guesses what comes; FALSE: nothing, or too little. */
static gboolean guess(FerryDestination *d)
{
    unsigned max = (unsigned)MIN(FERRY_DIRECT_PAGES, sizeof d->buffer / record_size(d)), more;
    uint64_t page_size = UINT64_C(1) << d->page_bits;
    FerryDirect *r = &d->direct;
    FerryPagePlace place;
    uint8_t *host;

    if (d->multifd || d->state != RECEIVING || r->run < RUN_MIN ||
        !ferry_decoder_page_place(d->decoder, &place) || place.block != r->block ||
        place.offset != r->last + (place.inside ? page_size : 0)) {
        return FALSE;
    }
    more = ferry_ram_loader_claim_new(d->ram, place.block, place.offset + page_size,
                                      max - place.inside, &host);
    if (more == 0) {
        return FALSE;
    }
    r->offset = place.inside ? place.offset : place.offset + page_size;
    r->n = more + (unsigned)place.inside;
    r->checked = place.inside;
    r->host = host;
    r->got = r->before = 0;
    if (place.inside) {
        adopt(d, &place);
    }
    return TRUE;
}

static int pieces(FerryDestination *d, struct iovec *iov)
{
    size_t size = record_size(d), skip = d->direct.got % size;
    FerryDirect *r = &d->direct;
    int n = 0;

    for (size_t i = r->got / size; i < r->n; i++, skip = 0) {
        if (skip < HEADER) {
            iov[n++] = (struct iovec){r->headers[i] + skip, HEADER - skip};
        }
        size_t done = skip > HEADER ? skip - HEADER : 0;
        iov[n++] = (struct iovec){r->host + (i << d->page_bits) + done, size - HEADER - done};
    }
    return n;
}

/* The first record that is another one than was guessed, of those whose header is here; r->n: all
 * are as guessed. */
static unsigned first_wrong(FerryDestination *d)
{
    FerryDirect *r = &d->direct;

    for (; r->checked < r->n && r->got >= r->checked * record_size(d) + HEADER; r->checked++) {
        if (ferry_get_be64(r->headers[r->checked]) !=
            (offset_of(d, r->checked) | FERRY_RAM_PAGE | FERRY_RAM_CONTINUE)) {
            return r->checked;
        }
    }
    return r->n;
}

/* The first @n records are here, and were what was guessed. */
static void accept(FerryDestination *d, unsigned n)
{
    FerryDirect *r = &d->direct;

    if (n > 0) {
        r->last = offset_of(d, n - 1);
        ferry_decoder_skip_pages(d->decoder, n * record_size(d) - r->before, r->last);
        ferry_ram_loader_add_pages(d->ram, n);
        r->before = 0;
    }
}

/* All behind the first @n records goes the usual way. How many bytes of the buffer that are. */
static size_t undo(FerryDestination *d, unsigned n)
{
    size_t size = record_size(d), page_size = size - HEADER, from, bytes = 0;
    FerryDirect *r = &d->direct;

    accept(d, n);
    /* The decoder has what it had of a page that is still not whole. */
    from = n * size + r->before;
    for (size_t i = n; i < r->n && r->got > i * size; i++) {
        size_t have = MIN(r->got - i * size, size), skip = i == n ? from - n * size : 0;
        if (skip < MIN(have, HEADER)) {
            memcpy(d->buffer + bytes, r->headers[i] + skip, MIN(have, HEADER) - skip);
            bytes += MIN(have, HEADER) - skip;
        }
        skip = MAX(skip, HEADER);
        if (have > skip) {
            memcpy(d->buffer + bytes, r->host + i * page_size + (skip - HEADER), have - skip);
            bytes += have - skip;
        }
    }
    /* One that the decoder is inside of is written again when it is whole. */
    unsigned keep = n == 0 && r->before > 0;
    size_t touched = r->got > (n + keep) * size ? r->got - (n + keep) * size : 0;
    ferry_ram_loader_unclaim(d->ram, r->block, offset_of(d, n + keep), r->n - n - keep,
                             MIN(touched, (r->n - n - keep) * page_size));
    r->n = r->run = 0;
    return bytes;
}

gboolean ferry_destination_read_direct(FerryDestination *d, gssize *out_n, gboolean *out_direct,
                                       GError **error)
{
    struct iovec iov[2 * FERRY_DIRECT_PAGES];
    FerryDirect *r = &d->direct;
    unsigned wrong;
    gssize n;

    *out_direct = r->n > 0 || guess(d);
    if (!*out_direct) {
        return TRUE;
    }
    n = ferry_channel_readv(d->channel, iov, pieces(d, iov), ferry_destination_silence_ends_ns(d),
                            error);
    if (n < 0) {
        return FALSE;
    }
    r->got += (size_t)n;
    wrong = first_wrong(d);
    if (n == 0 || wrong < r->n) {
        *out_n = (gssize)undo(d, MIN(wrong, (unsigned)(r->got / record_size(d))));
        *out_direct = FALSE;
        return TRUE;
    }
    if (r->got == r->n * record_size(d)) {
        accept(d, r->n);
        r->n = 0;
    }
    return TRUE;
}
