/* RAM out of a file in the mapped-ram layout: which pages are there, and reading them. What the
 * file says is judged against its size before memory is touched. All errors are
 * FERRY_ENGINE_ERROR_PEER, but for CANCELLED. */
#pragma once
#include <glib.h>
#include "dirtylog/bitmap.h"
#include "protocol/mapped-ram.h"
#include "transport/channel.h"

G_BEGIN_DECLS

/* One entry of the block list, as the decoder gives it. */
typedef struct {
    const char *idstr;
    uint64_t used_length;
    FerryMappedHeader header;
} FerryMappedBlock;

#define FERRY_MAPPED_BLOCK_MAX (16ull << 40) /* bytes; its bitmap has half a GiB */

/* Only a regular file has places that stay. */
gboolean ferry_mapped_file_size(int fd, uint64_t *out_bytes, GError **error);
/* Reads and judges a block's bitmap: the pages end inside the file (@file_bytes long), no bit
 * stands behind the last page. Judge used_length by what is allowed before: the bitmap takes memory
 * for it. On success *out_present is to be cleared by the caller. */
gboolean ferry_mapped_read_bitmap(int fd, uint64_t file_bytes, const FerryMappedBlock *block,
                                  FerryBitmap *out_present, GError **error);
/* Reads the pages of @present, nothing else, to their places from @host on. A file that became
 * shorter is an error. @interrupt (NULL: none) ends it between two reads. */
gboolean ferry_mapped_read_pages(int fd, const FerryMappedBlock *block, const FerryBitmap *present,
                                 uint8_t *host, const FerryInterrupt *interrupt, GError **error);

G_END_DECLS
