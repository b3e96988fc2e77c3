/* The ram section on its way out: runs of pages become records, records are gathered with the pages
 * themselves and written in large pieces. Belongs to the source's thread. */
#pragma once
#include "engine/memory.h"
#include "protocol/ram.h"
#include "transport/channel.h"

#define FERRY_RAM_SECTION_ID 2

typedef struct {
    uint64_t normal_pages, zero_pages;
} FerryRamCounts;

typedef struct FerryRamSender FerryRamSender;
/* Borrows both. @progress_ns: the longest wait for the channel to take something. */
FerryRamSender *ferry_ram_sender_new(const FerryMemory *memory, FerryChannel *channel,
                                     uint64_t progress_ns);
/* The START section: the list of blocks. */
gboolean ferry_ram_sender_start(FerryRamSender *sender, GError **error);
/* Whether @n more pages, and the end of their section, fit before a flush. */
gboolean ferry_ram_sender_has_room(const FerryRamSender *sender, uint64_t n);
/* Pages [first, first + n) of @block, as they are now or will be at the next flush; there must be
 * room. Opens a PART section, or with @last the END section, when none is open. Guest memory may
 * change meanwhile. */
void ferry_ram_sender_pages(FerryRamSender *sender, unsigned block, uint64_t first, uint64_t n,
                            gboolean last);
/* Ends the open section, if any. With @last there is one: an END section is due even when no page
 * was left to send. */
void ferry_ram_sender_end_section(FerryRamSender *sender, gboolean last);
/* Whether a flush would write nothing. */
gboolean ferry_ram_sender_is_empty(const FerryRamSender *sender);
/* Writes everything out; only then are the pages read. */
gboolean ferry_ram_sender_flush(FerryRamSender *sender, GError **error);
FerryRamCounts ferry_ram_sender_counts(const FerryRamSender *sender);
void ferry_ram_sender_free(FerryRamSender *sender);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryRamSender, ferry_ram_sender_free)
