/* What the files of the decoder share: decoder.c walks from section to section, decoder-ram.c is
 * inside the ram section, decoder-device.c splits device sections, which have no length.
 *
 * Every item is parsed in one go from bytes that lie together: peek() hands them out where they
 * were pushed, or collects them in a small buffer if a push ended inside; take() consumes them.
 * Nothing is consumed before an item is whole, so how bytes were chopped cannot change a result. */
#pragma once
#include "protocol/decoder.h"
#include "protocol/description.h"
#include "protocol/wire.h"

/* Where the next byte belongs. */
typedef enum {
    PLACE_HEADER,
    PLACE_CONFIGURATION,
    PLACE_SUBSECTION, /* of the configuration, or its end */
    PLACE_SECTION,    /* a section or command must begin */
    PLACE_BLOCK_LIST,
    PLACE_JUMP,   /* behind a mapped block's entry, until ferry_decoder_jump() */
    PLACE_RECORD, /* of ram */
    PLACE_PAGE,   /* a page's bytes, or what it is packed into */
    PLACE_FOOTER, /* of ram */
    PLACE_EARLY,  /* body of a device section before the end of ram */
    PLACE_TAIL,   /* device sections, end of stream and description are collected */
    PLACE_GIVING, /* the collected ones come out */
    PLACE_AFTER_END,
    PLACE_BAD, /* bad tells why */
} FerryDecoderPlace;

#define FERRY_PAGE_BITS_MIN 10u
#define FERRY_PAGE_BITS_MAX 16u

/* An answer of step(), or that the walk goes on. */
typedef enum {
    STEP_MORE = FERRY_DECODE_MORE,
    STEP_EVENT = FERRY_DECODE_EVENT,
    STEP_BAD = FERRY_DECODE_BAD,
    STEP_ON,
} FerryDecoderStep;

typedef enum { RAM_ABSENT, RAM_OPEN, RAM_ENDED } FerryDecoderRam;

typedef struct {
    char *idstr;
    size_t length; /* of idstr */
    uint64_t used_length;
} FerryDecoderBlock;

/* One section or command among the collected bytes. */
typedef struct {
    size_t at, body;
    size_t length; /* of the body */
} FerryDecoderSpan;

/* The end of the stream, as it may be: an end mark and a description that ends at @end. */
typedef struct {
    size_t mark, end;
} FerryDecoderEnd;

#define FERRY_DECODER_ENDS_MAX 32           /* more places that look like the end are no accident */
#define FERRY_DECODER_SECTIONS_MAX 4096     /* device sections in one stream */
#define FERRY_DECODER_CARRY_MAX (73u << 10) /* the largest item: a page, packed */

struct FerryDecoder {
    /* the hot loop's line */
    const uint8_t *in;
    size_t n, pos;
    size_t carried;
    uint64_t page_size;
    uint64_t block_length; /* of the current block; 0: there is none yet */
    uint64_t base;         /* channel offset of in[0] */
    unsigned block;
    FerryDecoderPlace place;

    FerryDecoderOptions options;
    GError *bad;
    FerryConfiguration configuration;
    gboolean capabilities_seen, mapped;
    gboolean return_path; /* OPEN_RETURN_PATH was seen */
    uint8_t payload[4];   /* of the command given last */

    FerryDecoderRam ram;
    uint32_t ram_id;
    FerrySectionType section;
    uint64_t section_at;
    GArray *blocks; /* of FerryDecoderBlock */
    uint64_t total, list_left;
    uint64_t page_offset, page_at;
    size_t page_bytes; /* of PLACE_PAGE */
    FerryStreamEventType page_type;
    uint64_t jump; /* channel offset behind a mapped block's pages */

    GByteArray *device;  /* bytes being collected */
    uint64_t device_at;  /* channel offset of device->data[0] */
    size_t device_bytes; /* of early sections, all together */
    size_t scanned;      /* device bytes that need not be looked at again */
    size_t early_header; /* bytes; the early section's header is kept before its body */
    GArray *early;       /* FerryDescribedDevice: what came before the end of ram; owns idstr */
    GHashTable *seen;    /* "idstr/instance" of device sections */
    GArray *ends;        /* FerryDecoderEnd, not reached yet */
    unsigned n_ends;     /* ever found */
    GError *split_error; /* why the last one of them was none */
    GArray *spans;       /* FerryDecoderSpan */
    unsigned n_given;
    FerryDecoderEnd end;
    gboolean described;
    char idstr[FERRY_IDSTR_MAX + 1]; /* of the device given last */

    uint8_t carry[FERRY_DECODER_CARRY_MAX];
};

static inline uint64_t ferry_decoder_here(const FerryDecoder *d)
{
    return d->base + d->pos - d->carried;
}

const uint8_t *ferry_decoder_gather(FerryDecoder *d, size_t k);

/* The next @k bytes, or NULL after everything pushed has been collected. */
static inline const uint8_t *ferry_decoder_peek(FerryDecoder *d, size_t k)
{
    if (d->carried == 0 && d->n - d->pos >= k) {
        return d->in + d->pos;
    }
    return ferry_decoder_gather(d, k);
}

/* Consumes @k bytes that were peeked. The pointer stays valid if they were all that was peeked. */
void ferry_decoder_take(FerryDecoder *d, size_t k);

/* The common case, by itself: a record that continues a block and lies whole in what was pushed.
 * FALSE: anything else; nothing was consumed. */
static inline gboolean ferry_decoder_next_page(FerryDecoder *d, FerryStreamEvent *ev)
{
    size_t left = d->n - d->pos;
    const uint8_t *p;
    uint64_t word, offset;

    if (d->place != PLACE_RECORD || d->carried || left < 9) {
        return FALSE;
    }
    p = d->in + d->pos;
    word = ferry_get_be64(p);
    offset = word & ~(d->page_size - 1);
    if (offset >= d->block_length) {
        return FALSE;
    }
    if ((word ^ offset) == (FERRY_RAM_PAGE | FERRY_RAM_CONTINUE) && left >= 8 + d->page_size) {
        ev->type = FERRY_STREAM_PAGE;
        ev->page.data = p + 8;
        ev->page.length = d->page_size;
        ev->stream_offset = d->base + d->pos;
        d->pos += 8 + d->page_size;
    } else if ((word ^ offset) == (FERRY_RAM_ZERO | FERRY_RAM_CONTINUE) && p[8] == 0) {
        ev->type = FERRY_STREAM_ZERO;
        ev->page.data = NULL;
        ev->stream_offset = d->base + d->pos;
        d->pos += 9;
    } else {
        return FALSE;
    }
    ev->page.block = d->block;
    ev->page.offset = offset;
    return TRUE;
}

/* Ends the decoding: "byte AT: MESSAGE". */
FerryDecoderStep ferry_decoder_bad(FerryDecoder *d, uint64_t at, FerryProtocolError code,
                                   const char *format, ...) G_GNUC_PRINTF(4, 5);

/* The same with an error that says all; takes @error. */
FerryDecoderStep ferry_decoder_fail(FerryDecoder *d, GError *error);

/* A START or FULL header at @p. */
typedef struct {
    uint32_t section_id, instance_id, version_id;
    size_t length; /* of the header */
    const uint8_t *idstr;
    size_t idlen;
} FerryLongHeader;
typedef enum { FITS_NO, FITS_MORE, FITS_YES } FerryFit;
/* FITS_MORE: could be one, but @n bytes are not enough to say. */
FerryFit ferry_long_header_fit(const uint8_t *p, size_t n, FerryLongHeader *out);
/* A COMMAND section of pre-copy at @p, with its right length. */
FerryFit ferry_command_fit(const uint8_t *p, size_t n, size_t *out_size);

/* A COMMAND section, @p is its payload; @at the offset for messages. Fills in the event. */
FerryDecoderStep ferry_decoder_command(FerryDecoder *d, uint64_t at, unsigned id, unsigned length,
                                       const uint8_t *payload, FerryStreamEvent *ev);

/* The COMMAND section that begins here. */
FerryDecoderStep ferry_decoder_walk_command(FerryDecoder *d, FerryStreamEvent *ev);

FerryDecoderStep ferry_decoder_header(FerryDecoder *d, FerryStreamEvent *ev);
FerryDecoderStep ferry_decoder_configuration(FerryDecoder *d);
FerryDecoderStep ferry_decoder_subsection(FerryDecoder *d, FerryStreamEvent *ev);

FerryDecoderStep ferry_decoder_block_list(FerryDecoder *d, FerryStreamEvent *ev);
FerryDecoderStep ferry_decoder_record(FerryDecoder *d, FerryStreamEvent *ev);
FerryDecoderStep ferry_decoder_page(FerryDecoder *d, FerryStreamEvent *ev);

/* Device bytes (decoder-device.c): collect, give back, look for footers. */
void ferry_decoder_begin_device(FerryDecoder *d);
/* Moves pushed bytes over, up to @most and to the limit of all device state. */
void ferry_decoder_absorb(FerryDecoder *d, size_t most);
/* Gives back what was absorbed behind @end. */
void ferry_decoder_give_back(FerryDecoder *d, size_t end);
FerryDecoderStep ferry_decoder_full(FerryDecoder *d);
/* The first footer of section @id at or behind @from that ends at or before @end. */
gboolean ferry_decoder_find_footer(const FerryDecoder *d, size_t from, size_t end, uint32_t id,
                                   size_t *out_at);
/* BAD if the same device came before. */
FerryDecoderStep ferry_decoder_remember(FerryDecoder *d, uint64_t at, const FerryLongHeader *h);
void ferry_decoder_fill_device(FerryDecoder *d, const FerryDecoderSpan *s, gboolean early,
                               FerryStreamEvent *ev);

FerryDecoderStep ferry_decoder_begin_early(FerryDecoder *d);
FerryDecoderStep ferry_decoder_early(FerryDecoder *d, FerryStreamEvent *ev);
FerryDecoderStep ferry_decoder_begin_tail(FerryDecoder *d);
FerryDecoderStep ferry_decoder_tail(FerryDecoder *d);
FerryDecoderStep ferry_decoder_give(FerryDecoder *d, FerryStreamEvent *ev);
/* The channel ended inside the tail: TRUE if it is whole without a description. */
gboolean ferry_decoder_end_undescribed(FerryDecoder *d);
