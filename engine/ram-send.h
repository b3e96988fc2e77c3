/* Guest memory on its way out, in one of several ways: as plain records on the main channel, packed
 * one by one (XBZRLE, COMPRESS_PAGE), over channels of its own (multifd), or to fixed places in a
 * file (mapped-ram). The source decides which pages travel when; a sender decides how. Belongs to
 * the source's thread. */
#pragma once
#include "engine/memory.h"
#include "engine/ram-records.h"
#include "engine/source.h"

/* Totals, of all ways. */
typedef struct {
    uint64_t normal_pages, zero_pages; /* normal: whole, as they are or packed by multifd */
    uint64_t xbzrle_pages, xbzrle_bytes;
    uint64_t xbzrle_misses;    /* pages without an older copy to compare with */
    uint64_t xbzrle_overflows; /* changed too much */
    uint64_t xbzrle_cache_bytes;
    double xbzrle_miss_rate, xbzrle_encoding_rate; /* of the last round: of all; bytes per byte */
    uint64_t skipped_pages;                        /* found unchanged: not sent */
    uint64_t compressed_pages, compressed_bytes;   /* COMPRESS_PAGE records */
    uint64_t coded_pages, coded_bytes; /* given to multifd's compression, and what came of them */
    uint64_t multifd_bytes;            /* on multifd's channels, everything included */
} FerryRamCounts;
/* All that were taken care of. */
uint64_t ferry_ram_counts_pages(const FerryRamCounts *counts);

typedef struct {
    const FerryMemory *memory;         /* borrowed, as all others */
    FerryChannel *channel;             /* the main one, rate-limited */
    const FerrySourceOptions *options; /* which way */
    const FerryDialect *dialect;
    const uint8_t *uuid;  /* 16 bytes: the guest's, or zeros */
    uint64_t progress_ns; /* the longest wait for a channel to take something */
    /* Called now and then while the sender waits for its channels. May be NULL. */
    gboolean (*between)(void *self, GError **error);
    void *between_self;
} FerryRamSetup;

typedef struct FerryRamSender FerryRamSender;
/* @setup is copied. */
FerryRamSender *ferry_ram_sender_new(const FerryRamSetup *setup);
/* Makes the connections that this way needs; the destination may wait for them before it says its
 * first word, so it comes right behind the stream's header. */
gboolean ferry_ram_sender_connect(FerryRamSender *sender, GError **error);
/* The START section: the list of blocks. */
gboolean ferry_ram_sender_start(FerryRamSender *sender, GError **error);
/* Whether @n more pages, and the end of their section, may come before a flush. */
gboolean ferry_ram_sender_has_room(const FerryRamSender *sender, uint64_t n);
/* Pages [first, first + n) of @block, n <= FERRY_BATCH_PAGES, as they are now or will be until the
 * flush or the end of the round; there must be room. No page twice in a round. Guest memory may
 * change meanwhile unless @last, which says that the guest stands still and that these belong to
 * the END section. */
gboolean ferry_ram_sender_pages(FerryRamSender *sender, unsigned block, uint64_t first, uint64_t n,
                                gboolean last, GError **error);
/* Every page was handed over once: from now on it pays to look for what changed in them. */
void ferry_ram_sender_end_first_pass(FerryRamSender *sender);
/* What was handed over so far arrives before what is handed over from now on. */
gboolean ferry_ram_sender_end_round(FerryRamSender *sender, gboolean last, GError **error);
/* Ends the open section, if any. With @last there is one: an END section is due even when no page
 * was left to send. */
gboolean ferry_ram_sender_end_section(FerryRamSender *sender, gboolean last, GError **error);
/* Whether a section is open: nothing but its records may be written to the main channel. */
gboolean ferry_ram_sender_in_section(const FerryRamSender *sender);
/* Whether ending a section is so dear (all channels wait for one another) that it should be rare.
 */
gboolean ferry_ram_sender_has_dear_sections(const FerryRamSender *sender);
/* Whether nothing is under way and a flush would write nothing. */
gboolean ferry_ram_sender_is_idle(const FerryRamSender *sender);
/* Makes room: writes out what is gathered for the main channel. */
gboolean ferry_ram_sender_flush(FerryRamSender *sender, GError **error);
/* A flush, and waits until no page is under way inside the sender. */
gboolean ferry_ram_sender_drain(FerryRamSender *sender, GError **error);
/* Whether pages travel also between these calls. */
gboolean ferry_ram_sender_is_in_background(const FerryRamSender *sender);
FerryRamCounts ferry_ram_sender_counts(FerryRamSender *sender);
/* Over all channels, the main one included. */
uint64_t ferry_ram_sender_bytes_written(const FerryRamSender *sender);
/* Records and pages for the main channel that the next flush will write. */
uint64_t ferry_ram_sender_gathered(const FerryRamSender *sender);
/* What the sender writes by itself waits when so many bytes have yet to go. */
void ferry_ram_sender_limit_queue(FerryRamSender *sender, uint64_t bytes);
uint64_t ferry_ram_sender_queued(const FerryRamSender *sender); /* not yet in the peer's kernel */
/* Time that the rate limit held back all channels at once, as well as can be told. */
uint64_t ferry_ram_sender_waited_ns(const FerryRamSender *sender);
const char *ferry_ram_sender_get_name(const FerryRamSender *sender); /* "plain", "multifd", ... */
/* Ends at once what is under way: nothing more is sent but on the main channel. Before the
 * interrupt is lowered. Totals can still be asked for. */
void ferry_ram_sender_stop(FerryRamSender *sender);
void ferry_ram_sender_free(FerryRamSender *sender);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryRamSender, ferry_ram_sender_free)
