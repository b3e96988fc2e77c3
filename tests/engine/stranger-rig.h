/* A destination that keeps whatever guest a source has, on a thread of its own, and the source
 * played by hand: what it says is added, and then flushed. */
#pragma once
#include <pthread.h>
#include "engine/destination.h"
#include "protocol/return-path.h"
#include "protocol/stream.h"
#include "transport/transport.h"

#define MS 1000000ull
#define PATIENCE_NS (60000 * MS) /* for what must happen; reached only by a failure */
#define RIG_RAM_ID 3
#define RIG_PAGE 4096u
#define RIG_BLOCK_PAGES 256u
#define RIG_BLOCK_BYTES (RIG_BLOCK_PAGES * RIG_PAGE)
#define RIG_CHANNELS 2u

typedef struct {
    FerryGuest *guest;
    FerryInterrupt *interrupt;
    FerryDestination *destination;
    FerryChannel *peer, *channels[RIG_CHANNELS];
    uint8_t *memory;
    GString *diary;  /* what the keeper heard; the destination's thread's until it has ended */
    char refuse[32]; /* the word of the diary at which the keeper refuses */
    GByteArray *out; /* not said yet */
    GError *error;
    gboolean ok;
    pthread_t thread;
} Rig;

extern size_t rig_room; /* between the ends */

/* A destination whose keeper refuses at @refuse; NULL: nowhere. */
void rig_begin(Rig *r, FerryDestinationOptions options, unsigned channels, const char *refuse);
void rig_end(Rig *r);
/* What the source says next. */
void rig_add(Rig *r, const void *bytes, size_t n);
/* Says what was added. */
void rig_flush(Rig *r);
void rig_add_word(Rig *r, uint64_t word);
void rig_add_footer(Rig *r, uint32_t id);
void rig_add_section(Rig *r, FerrySectionType type, uint32_t id, const char *idstr);
void rig_add_device(Rig *r, uint32_t id, const char *idstr, const char *body);
void rig_add_command(Rig *r, FerryCommandId id);
void rig_add_ping(Rig *r, uint32_t value);
void rig_add_head(Rig *r);
void rig_add_start(Rig *r, gboolean flush_record);
void rig_add_page(Rig *r, uint64_t offset, int fill);
void rig_add_section_end(Rig *r, gboolean flush_record);
void rig_add_end(Rig *r);
/* All of it in front of the ram section's PARTs. */
void rig_add_beginning(Rig *r, gboolean return_path, gboolean flush_record);
void rig_add_whole(Rig *r, gboolean return_path);
/* What the destination says next. */
void rig_expect_said(Rig *r, FerryReturnType type, uint32_t value);
/* Waits for the end. */
void rig_join(Rig *r);
/* The last word; who hears it hangs up. Waits for the end. */
void rig_expect_refused(Rig *r);
/* What the keeper heard. */
void rig_expect_diary(Rig *r, const char *expected);
void rig_expect_error(Rig *r, const char *why);
