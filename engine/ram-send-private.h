/* One way to send, as the ways themselves see it. A way is a file ram-send-NAME.c: a struct that
 * begins with a FerryRamSender, and its ops. */
#pragma once
#include "engine/ram-send.h"

/* Only pages and free may not be NULL; what is NULL is done with the main channel's records. */
typedef struct {
    const char *name;
    gboolean in_background; /* see ferry_ram_sender_is_in_background() */
    gboolean (*connect)(FerryRamSender *sender, GError **error);
    /* NULL: the list of blocks as plain blocks, then start_barrier. */
    gboolean (*start)(FerryRamSender *sender, GError **error);
    /* Besides room for the records. */
    gboolean (*has_room)(const FerryRamSender *sender, uint64_t n);
    gboolean (*pages)(FerryRamSender *sender, unsigned block, uint64_t first, uint64_t n,
                      gboolean last, GError **error);
    /* sender->round is still the round that ends. */
    gboolean (*end_round)(FerryRamSender *sender, gboolean last, GError **error);
    /* Before the open section's end is written. */
    gboolean (*end_section)(FerryRamSender *sender, FerrySectionType type, GError **error);
    gboolean (*has_dear_sections)(const FerryRamSender *sender);
    gboolean (*is_idle)(const FerryRamSender *sender);
    gboolean (*flush)(FerryRamSender *sender, GError **error); /* after the records' */
    gboolean (*drain)(FerryRamSender *sender, GError **error); /* after the records' flush */
    void (*add_counts)(FerryRamSender *sender, FerryRamCounts *counts);
    uint64_t (*bytes_written)(const FerryRamSender *sender);     /* besides the main channel's */
    uint64_t (*queued)(const FerryRamSender *sender);            /* besides the main channel's */
    void (*limit_queue)(FerryRamSender *sender, uint64_t bytes); /* likewise */
    uint64_t (*waited_ns)(const FerryRamSender *sender);         /* instead of the main channel's */
    void (*stop)(FerryRamSender *sender);
    void (*free)(FerryRamSender *sender);
} FerryRamSenderOps;

struct FerryRamSender {
    const FerryRamSenderOps *ops;
    FerryRamSetup setup;
    unsigned round; /* from a dirty sync to the next, counted where they have pages */
    gboolean round_has_pages;
    gboolean passed; /* the first pass over all pages is over */
    FerrySectionType section;
    FerryRamCounts counts;
    FerryRamRecords records;
};

/* Opens a PART, or with @last the END section, when none is open. */
void ferry_ram_sender_need_section(FerryRamSender *sender, gboolean last);
/* The zero test that this migration wants, for who does it on the source's thread. */
gboolean ferry_ram_sender_is_zero(const FerryRamSender *sender, const uint8_t *page);
/* ZERO, or the page itself, as a record. @bytes are borrowed until the flush. */
void ferry_ram_sender_add_zero(FerryRamSender *sender, unsigned block, uint64_t page);
void ferry_ram_sender_add_page(FerryRamSender *sender, unsigned block, uint64_t page,
                               const uint8_t *bytes);

FerryRamSender *ferry_ram_send_plain_new(void);
FerryRamSender *ferry_ram_send_compress_new(const FerryRamSetup *setup);
FerryRamSender *ferry_ram_send_xbzrle_new(const FerryRamSetup *setup);
FerryRamSender *ferry_ram_send_mapped_new(void);
FerryRamSender *ferry_ram_send_multifd_new(const FerryRamSetup *setup);
