/* What `ferry inspect` finds in a stream, its channels or a snapshot: walkers fill it in
 * (inspect-main, -channel, -mapped, -ram), writers print it (inspect-text, inspect-json). */
#pragma once
#include <json-glib/json-glib.h>

#include "engine/compress.h"
#include "protocol/mapped-ram.h"
#include "protocol/multifd.h"
#include "protocol/stream.h"
#include "tools/inspect-input.h"

G_BEGIN_DECLS

typedef struct {
    gboolean json, hash, pages, no_description;
    unsigned page_bits; /* 0: not given */
    uint64_t max_ram;   /* bytes; 0: no limit */
    uint64_t offset;    /* of the stream in its file */
} FerryInspectOptions;

typedef enum {
    FERRY_INSPECT_NORMAL,
    FERRY_INSPECT_ZERO,
    FERRY_INSPECT_XBZRLE,
    FERRY_INSPECT_COMPRESSED,
    FERRY_INSPECT_MULTIFD_NORMAL,
    FERRY_INSPECT_MULTIFD_ZERO,
    FERRY_INSPECT_MAPPED,
    FERRY_INSPECT_N_KINDS,
} FerryInspectKind;
const char *ferry_inspect_kind_name(FerryInspectKind kind);

typedef struct {
    uint64_t of[FERRY_INSPECT_N_KINDS];
} FerryInspectPages;

typedef struct {
    char *idstr;
    uint64_t length; /* 0: not known, a channel has no block list */
    gboolean is_mapped;
    FerryMappedHeader mapped;
    FerryInspectPages pages;
    uint8_t *bytes;    /* its RAM, as large as length; NULL unless it is to be hashed */
    uint8_t *received; /* with bytes: a bit for each page that came */
    char *sha256;
} FerryInspectBlock;

typedef struct {
    FerrySectionType type; /* START, PART, END of ram; FULL */
    char *idstr;
    uint32_t section_id, instance_id, version_id;
    uint64_t offset, bytes; /* of its first byte in the stream; of its body */
    gboolean early;
    unsigned flushes, barriers;
    FerryInspectPages pages;
    char *sha256; /* of a FULL section's body */
} FerryInspectSection;

typedef struct {
    FerryCommandId id;
    uint64_t offset;
    uint32_t value; /* PING */
} FerryInspectCommand;

#define FERRY_INSPECT_FLAGS 128 /* of a packet: method, SYNC */
typedef struct {
    FerryInspectInput *input;
    FerryMultifdHello hello;
    FerryDecompressor *decompressor; /* NULL: no compressed packet yet */
    uint64_t packets, data_packets, sync_packets, sync_on_data, empty_packets;
    uint64_t normal_pages, zero_pages, payload_bytes;
    uint64_t flags[FERRY_INSPECT_FLAGS];
} FerryInspectChannel;

/* Lists end here; what comes later is only counted. */
#define FERRY_INSPECT_LIST_MAX 100000

typedef struct {
    FerryInspectOptions options;
    FerryInspectInput *main; /* NULL: channels alone */
    GPtrArray *channels;     /* FerryInspectChannel, by id once a main stream is walked */
    GError *error;           /* what ended the walk; NULL: all is well */
    char *error_channel;     /* "main", or a channel's id */
    GPtrArray *notes;        /* sentences about what is odd, but no error */

    gboolean has_configuration;
    FerryConfiguration configuration;
    unsigned page_bits;
    GArray *blocks;   /* FerryInspectBlock */
    GArray *sections; /* FerryInspectSection */
    GArray *commands; /* FerryInspectCommand */
    uint64_t sections_left_out, commands_left_out;
    uint64_t total_bytes; /* of the block list */
    uint64_t stream_bytes;

    FerryInspectPages pages;
    uint64_t lists, flushes, ends; /* records MEM_SIZE, MULTIFD_FLUSH, EOS */
    uint64_t named, continued;     /* page records with their block's name, with CONTINUE */
    uint64_t xbzrle_bytes, compressed_bytes;
    uint64_t parts, barriers;
    gboolean has_method;       /* a data packet came */
    FerryMultifdMethod method; /* of all data packets */
    gboolean per_round;    /* a FLUSH stood in START: barriers are FLUSH, not the end of sections */
    gboolean start_ended;  /* the START section is behind us */
    gboolean is_mapped;    /* pages stand at fixed places */
    FerryInspectPages now; /* of the section that is being walked */
    unsigned now_flushes, now_barriers;

    char *run_state; /* of globalstate */
    gboolean described;
    uint64_t description_bytes;
    uint64_t described_page_size; /* 0: it does not say */

    uint8_t *scratch;       /* for pages that are decoded and not kept */
    FerryPageCodec *codec;  /* for COMPRESS_PAGE */
    uint8_t *payload;       /* of a packet */
    uint64_t ram_bytes;     /* of the blocks so far */
    unsigned channel_block; /* looked up last */
} FerryInspect;

void ferry_inspect_clear(FerryInspect *inspect);
void ferry_inspect_note(FerryInspect *inspect, const char *format, ...) G_GNUC_PRINTF(2, 3);

/* Walks ->main to its end and the channels from barrier to barrier. */
gboolean ferry_inspect_walk_main(FerryInspect *inspect, GError **error);

/* inspect-channel.c. The hello; then packets up to and including the next SYNC; then what may
 * follow the last barrier, which without a main stream is all packets. Errors name channel and
 * file. */
gboolean ferry_inspect_channel_begin(FerryInspect *inspect, FerryInspectChannel *channel,
                                     GError **error);
gboolean ferry_inspect_channel_to_sync(FerryInspect *inspect, FerryInspectChannel *channel,
                                       GError **error);
gboolean ferry_inspect_channel_finish(FerryInspect *inspect, FerryInspectChannel *channel,
                                      GError **error);
void ferry_inspect_channel_free(void *channel);

/* inspect-ram.c */
typedef struct {
    int channel; /* -1: main */
    uint64_t place;
    unsigned block;
    uint64_t offset;
    FerryInspectKind kind;
    gint64 bytes; /* on the wire; -1: cannot be told, the packet is compressed as a whole */
} FerryInspectPage;
gboolean ferry_inspect_add_block(FerryInspect *inspect, const char *idstr, uint64_t length,
                                 GError **error);
FerryInspectBlock *ferry_inspect_block(FerryInspect *inspect, unsigned index);
/* Counts @page, and prints it with --pages. */
void ferry_inspect_page(FerryInspect *inspect, const FerryInspectPage *page);
/* Where the page's bytes belong; scratch if RAM is not rebuilt. */
uint8_t *ferry_inspect_ram(FerryInspect *inspect, unsigned block, uint64_t offset);
gboolean ferry_inspect_has_received(const FerryInspect *inspect, unsigned block, uint64_t offset);
void ferry_inspect_set_received(FerryInspect *inspect, unsigned block, uint64_t offset);
void ferry_inspect_zero(FerryInspect *inspect, unsigned block, uint64_t offset);
void ferry_inspect_hash(FerryInspect *inspect);

/* inspect-mapped.c. Reads the bitmap of block @index, and its pages if RAM is rebuilt. */
gboolean ferry_inspect_mapped_block(FerryInspect *inspect, unsigned index, GError **error);

void ferry_inspect_print_text(const FerryInspect *inspect);
JsonNode *ferry_inspect_as_json(const FerryInspect *inspect);
/* "completed", "truncated", "malformed", "unsupported", "limit", "failed". */
const char *ferry_inspect_status(const FerryInspect *inspect);
const char *ferry_inspect_section_name(FerrySectionType type);

G_END_DECLS
