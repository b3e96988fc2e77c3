/* A mapped-ram file as a source: its stream is read around the pages, they are read by their
 * bitmaps once the list of blocks is accepted. */
#include "engine/destination-private.h"
#include "engine/mapped-load.h"

static void clear_block(void *p) { g_free((char *)((FerryMappedBlock *)p)->idstr); }

void ferry_destination_mapped_init(FerryDestination *d, FerryDecoderOptions *options)
{
    uint64_t at;

    d->mapped = g_array_new(FALSE, FALSE, sizeof(FerryMappedBlock));
    g_array_set_clear_func(d->mapped, clear_block);
    if (ferry_channel_get_file(d->channel) >= 0 && ferry_channel_tell(d->channel, &at, NULL)) {
        options->mapped_allowed = TRUE;
        options->file_offset = at;
    }
}

gboolean ferry_destination_jump(FerryDestination *d, const FerryStreamEvent *e, GError **error)
{
    FerryMappedBlock block = {.idstr = g_strdup(e->block.idstr),
                              .used_length = e->block.used_length,
                              .header = e->block.mapped};

    g_array_append_val(d->mapped, block);
    return ferry_channel_seek(d->channel, ferry_decoder_jump(d->decoder), error);
}

static gboolean read_block(FerryDestination *d, const FerryMappedBlock *block, uint64_t file_bytes,
                           GError **error)
{
    int fd = ferry_channel_get_file(d->channel),
        index = ferry_ram_loader_find(d->ram, block->idstr);
    FerryBitmap present;
    uint8_t *host;
    gboolean ok;

    g_assert(index >= 0); /* the list was accepted */
    if (!ferry_mapped_read_bitmap(fd, file_bytes, block, &present, error)) {
        return FALSE;
    }
    host = ferry_ram_loader_claim_all(d->ram, (unsigned)index, &present);
    ok = ferry_mapped_read_pages(fd, block, &present, host, d->interrupt, error);
    d->mapped_bytes += ferry_bitmap_count(&present) * block->header.page_size;
    ferry_bitmap_clear(&present);
    return ok;
}

gboolean ferry_destination_take_mapped(FerryDestination *d, GError **error)
{
    uint64_t file_bytes;

    if (d->mapped->len == 0) {
        return TRUE;
    }
    if (!ferry_mapped_file_size(ferry_channel_get_file(d->channel), &file_bytes, error)) {
        return FALSE;
    }
    for (guint i = 0; i < d->mapped->len; i++) {
        if (!read_block(d, &g_array_index(d->mapped, FerryMappedBlock, i), file_bytes, error)) {
            return FALSE;
        }
        ferry_destination_publish(d, FERRY_PHASE_ITERATE, FALSE);
    }
    return TRUE;
}
