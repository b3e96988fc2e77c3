/* Pages as records on the main channel, straight out of guest memory. */
#include "engine/ram-send-private.h"

static gboolean plain_pages(FerryRamSender *s, unsigned block, uint64_t first, uint64_t n,
                            gboolean last, GError **error)
{
    const uint8_t *host = ferry_memory_block(s->setup.memory, block)->host;

    (void)error;
    ferry_ram_sender_need_section(s, last);
    for (uint64_t page = first; page < first + n; page++) {
        const uint8_t *bytes = host + page * FERRY_PAGE_SIZE;
        if (ferry_ram_sender_is_zero(s, bytes)) {
            ferry_ram_sender_add_zero(s, block, page);
        } else {
            ferry_ram_sender_add_page(s, block, page, bytes);
        }
    }
    return TRUE;
}

static void plain_free(FerryRamSender *s) { g_free(s); }

static const FerryRamSenderOps plain_ops = {
    .name = "plain",
    .pages = plain_pages,
    .free = plain_free,
};

FerryRamSender *ferry_ram_send_plain_new(void)
{
    FerryRamSender *s = g_new0(FerryRamSender, 1);

    s->ops = &plain_ops;
    return s;
}
