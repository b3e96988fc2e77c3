/* Pages compressed one by one into COMPRESS_PAGE records, for the ways to send that do so. Belongs
 * to the source's thread. */
#pragma once
#include "engine/ram-send-private.h"

typedef struct FerryRamCompress FerryRamCompress;
FerryRamCompress *ferry_ram_compress_new(FerryMultifdMethod method, int level);
gboolean ferry_ram_compress_has_room(const FerryRamCompress *compress, uint64_t n);
/* One page of @sender's, into its records: ZERO, COMPRESS_PAGE, or PAGE where it is the first of
 * its block, which names it, or does not get smaller. */
void ferry_ram_compress_page(FerryRamCompress *compress, FerryRamSender *sender, unsigned block,
                             uint64_t page, gboolean stable);
/* The records were written. */
void ferry_ram_compress_flushed(FerryRamCompress *compress);
void ferry_ram_compress_free(FerryRamCompress *compress);
