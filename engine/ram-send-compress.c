/* COMPRESS_PAGE records on the main channel, for destinations that still know them. */
#include "engine/ram-compress.h"

typedef struct {
    FerryRamSender base;
    FerryRamCompress *compress;
} Compress;

static FerryRamCompress *of(const FerryRamSender *s) { return ((const Compress *)s)->compress; }

static gboolean compress_has_room(const FerryRamSender *s, uint64_t n)
{
    return ferry_ram_compress_has_room(of(s), n);
}

static gboolean compress_pages(FerryRamSender *s, unsigned block, uint64_t first, uint64_t n,
                               gboolean last, GError **error)
{
    (void)error;
    ferry_ram_sender_need_section(s, last);
    for (uint64_t page = first; page < first + n; page++) {
        ferry_ram_compress_page(of(s), s, block, page, last);
    }
    return TRUE;
}

static gboolean compress_flush(FerryRamSender *s, GError **error)
{
    (void)error;
    ferry_ram_compress_flushed(of(s));
    return TRUE;
}

static void compress_free(FerryRamSender *s)
{
    ferry_ram_compress_free(of(s));
    g_free(s);
}

static const FerryRamSenderOps compress_ops = {
    .name = "compress",
    .has_room = compress_has_room,
    .pages = compress_pages,
    .flush = compress_flush,
    .free = compress_free,
};

FerryRamSender *ferry_ram_send_compress_new(const FerryRamSetup *setup)
{
    Compress *c = g_new0(Compress, 1);

    c->base.ops = &compress_ops;
    c->compress = ferry_ram_compress_new(setup->options->page_method, setup->options->page_level);
    return &c->base;
}
