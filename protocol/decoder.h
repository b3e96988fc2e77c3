/* The main channel of a migration, from bytes to events. Pure: bytes are pushed in, events are
 * stepped out; it never reads, waits or allocates for what a peer merely announces.
 *
 *   push(bytes) -> step -> EVENT, EVENT, ... MORE -> push(bytes) -> ...
 *
 * What it checks: everything that can be judged from the stream alone (magic, version, order of
 * sections, footers, flags, names, sizes, offsets inside the announced blocks). What the
 * destination's own memory and devices allow is the caller's to check, and so is how much a peer
 * may send in all: pages, rounds and commands can repeat for ever. Input is hostile until the end;
 * a BAD answer is final. Names in events and messages are UTF-8 without control characters.
 *
 * Device sections have no length on the wire. Those after the end of ram come out when the
 * description is whole (or at finish), those before it when the section behind them has begun.
 * An end is believed if the description lists the very sections before it, or if it is empty and
 * the footers fit. Act on a whole stream only when a step answers MORE: bytes behind it are BAD. */
#pragma once
#include <glib.h>
#include "protocol/mapped-ram.h"
#include "protocol/ram.h"
#include "protocol/stream.h"

G_BEGIN_DECLS

/* In the order in which a good stream produces them. */
typedef enum {
    FERRY_STREAM_HEADER,        /* magic and version were right */
    FERRY_STREAM_CONFIGURATION, /* .configuration */
    FERRY_STREAM_COMMAND,       /* .command; may stand between any two sections */
    FERRY_STREAM_RAM_BLOCK,     /* .block: one entry of the block list */
    FERRY_STREAM_RAM_LIST_END,  /* .total_bytes: the list is complete and its sum is right */
    FERRY_STREAM_PAGE,          /* .page, .page.data holds page_size bytes */
    FERRY_STREAM_ZERO,          /* .page, .page.data is NULL: the page is all zero */
    FERRY_STREAM_XBZRLE,        /* .page, .page.data holds .page.length bytes of delta */
    FERRY_STREAM_COMPRESSED,    /* .page, .page.data holds .page.length bytes: one page, packed */
    FERRY_STREAM_FLUSH,         /* multifd barrier record */
    FERRY_STREAM_ROUND_END,     /* the records of a START, PART or END section end: .section */
    FERRY_STREAM_DEVICE,        /* .device: one FULL section, whole */
    FERRY_STREAM_DESCRIPTION,   /* .description: the JSON text; the stream is complete */
} FerryStreamEventType;

typedef struct {
    FerryStreamEventType type;
    uint64_t stream_offset; /* where on the channel the item begins, for error messages */
    union {
        FerryConfiguration configuration;
        FerryCommand command;
        struct {
            unsigned index; /* counts from 0 in list order; pages name their block by it */
            const char *idstr;
            uint64_t used_length;
            gboolean is_mapped; /* its pages stand in the file, as .mapped says */
            FerryMappedHeader mapped;
        } block;
        uint64_t total_bytes;
        struct {
            unsigned block;
            uint64_t offset;     /* bytes from the start of the block, page aligned, inside it */
            const uint8_t *data; /* valid until the next step or push */
            size_t length;       /* of data: XBZRLE and COMPRESSED; PAGE: a page */
        } page;
        struct {
            FerrySectionType section; /* START, PART or END */
            uint32_t section_id;
        };
        struct {
            const char *idstr;
            uint32_t section_id, instance_id, version_id;
            const uint8_t *body; /* valid until the next step or push */
            size_t length;
            gboolean early; /* came before the end of the ram section */
        } device;
        struct {
            const char *text; /* not NUL-terminated */
            size_t length;
        } description;
    };
} FerryStreamEvent;

typedef enum {
    FERRY_DECODE_MORE,  /* everything pushed is consumed; push more */
    FERRY_DECODE_EVENT, /* *out_event is filled in */
    FERRY_DECODE_BAD,   /* error is set; every later step answers the same */
} FerryDecode;

typedef struct {
    unsigned page_bits;      /* of a stream without target-page-bits; 0 = 12 (x86) */
    size_t max_device_bytes; /* all device state and the description; 0 = 64 MiB, at most 1 GiB */
    gboolean commands_after_end; /* COMMAND sections may follow the description (Ferry peers) */
    /* A stream may end behind its end mark (machine types with suppress-vmdesc). Then bytes of
     * device state can make a cut stream look whole. */
    gboolean description_optional;
    /* The stream is a file whose pages may stand at fixed places (mapped-ram). Otherwise a stream
     * that says so is refused: there is no going back on a socket. */
    gboolean mapped_allowed;
    uint64_t file_offset; /* of the stream's first byte in that file */
} FerryDecoderOptions;

typedef struct FerryDecoder FerryDecoder;
/* @options is copied; NULL = all defaults. */
FerryDecoder *ferry_decoder_new(const FerryDecoderOptions *options);
/* Borrows @bytes until a step answers MORE; only then may the next push come. */
void ferry_decoder_push(FerryDecoder *decoder, const uint8_t *bytes, size_t n);
FerryDecode ferry_decoder_step(FerryDecoder *decoder, FerryStreamEvent *out_event, GError **error);
/* The channel ended; call it after a step that answered MORE. TRUE if that is a legal end, else a
 * FERRY_PROTOCOL_ERROR that says inside what and at which offset the stream was cut. With
 * description_optional step on until MORE afterwards: the device sections of a stream without a
 * description are split by their footers and come out only now, without a DESCRIPTION event. */
gboolean ferry_decoder_finish(FerryDecoder *decoder, GError **error);
/* After a RAM_BLOCK event with is_mapped: where in the file the stream goes on. Throw away what is
 * left of the push and push from there; until then a step answers MORE. */
uint64_t ferry_decoder_jump(FerryDecoder *decoder);
/* For a caller that reads pages straight to where they belong. TRUE when everything pushed is
 * consumed, and the stream is inside a PAGE record or at the beginning of a record. */
typedef struct {
    unsigned block;
    uint64_t offset; /* of the page it is inside; or of the last one */
    gboolean inside;
    const uint8_t *begun; /* inside: the bytes of the page that were pushed */
    size_t n_begun;
} FerryPagePlace;
gboolean ferry_decoder_page_place(const FerryDecoder *decoder, FerryPagePlace *out_place);
/* The caller took @bytes more of the stream without pushing them: the rest of the page, if it was
 * inside one, and whole PAGE records with CONTINUE behind it, the last one of the page at @offset.
 * A record must begin now. */
void ferry_decoder_skip_pages(FerryDecoder *decoder, uint64_t bytes, uint64_t offset);
/* Bytes taken so far from what was pushed. */
uint64_t ferry_decoder_offset(const FerryDecoder *decoder);
void ferry_decoder_free(FerryDecoder *decoder);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryDecoder, ferry_decoder_free)

G_END_DECLS
