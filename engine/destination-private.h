/* What the files of the destination share: destination.c reads and dispatches, destination-guest.c
 * compares with the guest, destination-handover.c decides who owns it. */
#pragma once
#include <pthread.h>
#include "engine/destination.h"
#include "engine/guest-private.h"
#include "engine/multifd-load.h"
#include "engine/ram-load.h"
#include "protocol/decoder.h"
#include "protocol/return-path.h"

G_BEGIN_DECLS

#define FERRY_DESTINATION_READ (1u << 20) /* fewer waits: half the CPU time of 256 KiB */

typedef enum { RECEIVING, LOADED, OWNER, ABORTED, UNSURE } FerryDestinationState;
typedef enum { BARRIER_UNKNOWN, BARRIER_AT_FLUSH, BARRIER_AT_SECTIONS } FerryBarriers;
enum { OWNER_NOBODY, OWNER_CANCELLED, OWNER_HERE };

#define FERRY_DIRECT_PAGES 127 /* one read, half a MiB; with their headers they fit in the buffer */

/* Pages that are being read to their places; destination-direct.c. */
typedef struct {
    unsigned run, block; /* pages in a row, of this block, up to the one at last */
    uint64_t last;
    unsigned n;       /* guessed; 0: none */
    unsigned checked; /* headers that are as guessed */
    uint64_t offset;  /* of the first */
    uint8_t *host;
    size_t got;    /* bytes of their records; */
    size_t before; /* of which the decoder has had these */
    uint8_t headers[FERRY_DIRECT_PAGES][8];
} FerryDirect;

struct FerryDestination {
    FerryGuest *guest;
    FerryChannel *channel;
    FerryInterrupt *interrupt;
    FerryDestinationOptions options;
    uint64_t timeout_ns;

    gint owner;           /* atomic */
    pthread_mutex_t lock; /* progress */
    FerryProgress progress;

    FerryDestinationState state;
    FerryDecoder *decoder;
    FerryRamLoader *ram;
    FerryMultifdLoader *multifd; /* NULL: all comes on main */
    FerryBarriers barriers;
    FerryDirect direct;
    GArray *mapped; /* FerryMappedBlock, in the list's order */
    uint64_t mapped_bytes;
    unsigned page_bits;
    const FerryStrangerOps *stranger; /* NULL: a guest that runs here */
    void *stranger_self;
    GArray *strange_blocks; /* StrangeBlock: listed, and not memory yet */
    char *machine;          /* the source's */
    char *description;      /* of a stranger */
    size_t description_length;
    gboolean *loaded; /* per device of the guest */
    gboolean return_path, is_ferry, was_running, globalstate;
    gboolean offered; /* LOADED is said: GO may come */
    uint64_t begin_ns, published_ns;
    uint64_t heard_ns, heard_bytes; /* when the source last got on, and how far it was then, on all
                                     * channels */
    unsigned idle;                  /* events that brought nothing since the pages were looked at */
    uint64_t idle_pages;            /* as many there were then */
    uint8_t buffer[FERRY_DESTINATION_READ];
};

gboolean ferry_destination_fail(GError **error, const char *format, ...) G_GNUC_PRINTF(2, 3);
gboolean ferry_destination_is_cancelled(FerryDestination *d, GError **error);
void ferry_destination_publish(FerryDestination *d, FerryPhase phase, gboolean notify);
gboolean ferry_destination_say(FerryDestination *d, FerryReturnType type, uint32_t value,
                               uint64_t progress_ns, GError **error);
/* Reads once and performs what that brought. */
gboolean ferry_destination_receive(FerryDestination *d, GError **error);

/* destination-guest.c: what the stream says of the guest. */
GArray *ferry_destination_strange_blocks_new(void);
gboolean ferry_destination_take_configuration(FerryDestination *d, const FerryConfiguration *c,
                                              GError **error);
gboolean ferry_destination_take_block(FerryDestination *d, const FerryStreamEvent *e,
                                      GError **error);
gboolean ferry_destination_take_list_end(FerryDestination *d, GError **error);
gboolean ferry_destination_take_device(FerryDestination *d, const FerryStreamEvent *e,
                                       GError **error);
/* Everything was received; is it everything? */
gboolean ferry_destination_take_end(FerryDestination *d, const char *description, size_t length,
                                    GError **error);

/* The deadline for the next byte. */
uint64_t ferry_destination_silence_ends_ns(FerryDestination *d);

/* destination-direct.c. After each page record that came through the decoder. */
void ferry_destination_note_page(FerryDestination *d, const FerryStreamEvent *e);
/* Reads pages to their places if that is what comes: *out_direct. If it turns out not to be,
 * *out_direct is FALSE and the next *out_n bytes for the decoder are in the buffer. */
gboolean ferry_destination_read_direct(FerryDestination *d, gssize *out_n, gboolean *out_direct,
                                       GError **error);

/* destination-multifd.c. */
FerryMultifdLoader *ferry_destination_multifd_new(const FerryDestination *d);
gboolean ferry_destination_take_flush(FerryDestination *d, GError **error);
gboolean ferry_destination_take_section_end(FerryDestination *d, FerrySectionType section,
                                            GError **error);
/* After the last word to the source. */
void ferry_destination_multifd_finish(FerryDestination *d);
/* Ends the channels' threads; what one of them found is the reason, if main's is none of its own.
 */
void ferry_destination_multifd_give_up(FerryDestination *d, GError **happened);

/* destination-mapped.c: the main channel is a file whose pages have places of their own. */
void ferry_destination_mapped_init(FerryDestination *d, FerryDecoderOptions *options);
/* Behind a mapped block's entry, to where the list goes on. */
gboolean ferry_destination_jump(FerryDestination *d, const FerryStreamEvent *e, GError **error);
/* The pages of all mapped blocks, when the list is accepted. */
gboolean ferry_destination_take_mapped(FerryDestination *d, GError **error);

/* destination-handover.c. */
gboolean ferry_destination_take_ping(FerryDestination *d, uint32_t value, GError **error);
/* From LOADED to OWNER, with whatever the source has to say about it. */
gboolean ferry_destination_hand_over(FerryDestination *d, GError **error);
/* The last words after a failure; the error that the caller sees. Takes *happened. */
void ferry_destination_give_up(FerryDestination *d, GError **happened, GError **error);

G_END_DECLS
