#include "engine/ram-send-private.h"
#include "engine/error.h"
#include "engine/page.h"
#include "transport/transport.h"

uint64_t ferry_ram_counts_pages(const FerryRamCounts *c)
{
    return c->normal_pages + c->zero_pages + c->xbzrle_pages + c->skipped_pages +
           c->compressed_pages;
}

static FerryRamSender *new_way(const FerryRamSetup *setup)
{
    if (setup->options->mapped_ram) {
        return ferry_ram_send_mapped_new();
    }
    if (setup->options->multifd_channels > 0) {
        return ferry_ram_send_multifd_new(setup);
    }
    if (setup->options->xbzrle) {
        return ferry_ram_send_xbzrle_new(setup);
    }
    if (setup->options->page_method != FERRY_MULTIFD_NONE) {
        return ferry_ram_send_compress_new(setup);
    }
    return ferry_ram_send_plain_new();
}

FerryRamSender *ferry_ram_sender_new(const FerryRamSetup *setup)
{
    FerryRamSender *s = new_way(setup);

    s->setup = *setup;
    ferry_ram_records_init(&s->records, setup->channel, setup->progress_ns);
    return s;
}

void ferry_ram_sender_need_section(FerryRamSender *s, gboolean last)
{
    if (!s->records.in_section) {
        s->section = last ? FERRY_SECTION_END : FERRY_SECTION_PART;
        ferry_ram_records_begin(&s->records, s->section);
    }
}

gboolean ferry_ram_sender_is_zero(const FerryRamSender *s, const uint8_t *page)
{
    return s->setup.options->zero_pages != FERRY_ZERO_PAGES_NONE && ferry_page_is_zero(page);
}

static FerryRamHeader header_of(const FerryRamSender *s, unsigned block, uint64_t page,
                                unsigned flags)
{
    return (FerryRamHeader){.offset = page * FERRY_PAGE_SIZE,
                            .flags = flags,
                            .idstr = ferry_memory_block(s->setup.memory, block)->idstr};
}

void ferry_ram_sender_add_zero(FerryRamSender *s, unsigned block, uint64_t page)
{
    FerryRamHeader h = header_of(s, block, page, FERRY_RAM_ZERO);

    ferry_ram_records_add_page(&s->records, block, h, NULL, 0);
    s->counts.zero_pages++;
}

void ferry_ram_sender_add_page(FerryRamSender *s, unsigned block, uint64_t page,
                               const uint8_t *bytes)
{
    FerryRamHeader h = header_of(s, block, page, FERRY_RAM_PAGE);

    ferry_ram_records_add_page(&s->records, block, h, bytes, FERRY_PAGE_SIZE);
    s->counts.normal_pages++;
}

gboolean ferry_ram_sender_connect(FerryRamSender *s, GError **error)
{
    return !s->ops->connect || s->ops->connect(s, error);
}

gboolean ferry_ram_sender_start(FerryRamSender *s, GError **error)
{
    FerryRamHeader list = {.offset = ferry_memory_total_bytes(s->setup.memory),
                           .flags = FERRY_RAM_MEM_SIZE};

    if (s->setup.options->page_method != FERRY_MULTIFD_NONE && !s->setup.dialect->compress_page) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED,
                    "the destination does not know compressed pages (capability 'compress'), which "
                    "QEMU has up to 9.0");
        return FALSE;
    }
    if (s->ops->start) {
        return s->ops->start(s, error);
    }
    s->section = FERRY_SECTION_START;
    ferry_ram_records_begin(&s->records, s->section);
    ferry_ram_records_add(&s->records, &list);
    for (unsigned i = 0; i < ferry_memory_n_blocks(s->setup.memory); i++) {
        const FerryMemoryBlock *block = ferry_memory_block(s->setup.memory, i);
        if (!ferry_ram_records_has_room(&s->records, 1) &&
            !ferry_ram_records_flush(&s->records, error)) {
            return FALSE;
        }
        ferry_ram_records_add_block(&s->records, block->idstr, block->length);
    }
    return ferry_ram_sender_end_section(s, FALSE, error) && ferry_ram_sender_flush(s, error);
}

gboolean ferry_ram_sender_has_room(const FerryRamSender *s, uint64_t n)
{
    return ferry_ram_records_has_room(&s->records, n) &&
           (!s->ops->has_room || s->ops->has_room(s, n));
}

gboolean ferry_ram_sender_pages(FerryRamSender *s, unsigned block, uint64_t first, uint64_t n,
                                gboolean last, GError **error)
{
    g_assert(ferry_ram_sender_has_room(s, n));
    s->round_has_pages = TRUE;
    return s->ops->pages(s, block, first, n, last, error);
}

void ferry_ram_sender_end_first_pass(FerryRamSender *s) { s->passed = TRUE; }

gboolean ferry_ram_sender_end_round(FerryRamSender *s, gboolean last, GError **error)
{
    if (s->ops->end_round && !s->ops->end_round(s, last, error)) {
        return FALSE;
    }
    s->round += s->round_has_pages ? 1 : 0;
    s->round_has_pages = FALSE;
    return TRUE;
}

gboolean ferry_ram_sender_end_section(FerryRamSender *s, gboolean last, GError **error)
{
    if (last) {
        ferry_ram_sender_need_section(s, TRUE);
    }
    if (!s->records.in_section) {
        return TRUE;
    }
    if (s->ops->end_section && !s->ops->end_section(s, s->section, error)) {
        return FALSE;
    }
    ferry_ram_records_end(&s->records);
    return TRUE;
}

gboolean ferry_ram_sender_in_section(const FerryRamSender *s) { return s->records.in_section; }

gboolean ferry_ram_sender_has_dear_sections(const FerryRamSender *s)
{
    return s->ops->has_dear_sections && s->ops->has_dear_sections(s);
}

gboolean ferry_ram_sender_is_idle(const FerryRamSender *s)
{
    return ferry_ram_records_is_empty(&s->records) && (!s->ops->is_idle || s->ops->is_idle(s));
}

gboolean ferry_ram_sender_flush(FerryRamSender *s, GError **error)
{
    return ferry_ram_records_flush(&s->records, error) &&
           (!s->ops->flush || s->ops->flush(s, error));
}

gboolean ferry_ram_sender_drain(FerryRamSender *s, GError **error)
{
    return ferry_ram_sender_flush(s, error) && (!s->ops->drain || s->ops->drain(s, error));
}

gboolean ferry_ram_sender_is_in_background(const FerryRamSender *s)
{
    return s->ops->in_background;
}

FerryRamCounts ferry_ram_sender_counts(FerryRamSender *s)
{
    FerryRamCounts counts = s->counts;

    if (s->ops->add_counts) {
        s->ops->add_counts(s, &counts);
    }
    return counts;
}

uint64_t ferry_ram_sender_bytes_written(const FerryRamSender *s)
{
    return ferry_channel_bytes_written(s->setup.channel) +
           (s->ops->bytes_written ? s->ops->bytes_written(s) : 0);
}

uint64_t ferry_ram_sender_gathered(const FerryRamSender *s)
{
    return ferry_ram_records_gathered(&s->records);
}

void ferry_ram_sender_limit_queue(FerryRamSender *s, uint64_t bytes)
{
    if (s->ops->limit_queue) {
        s->ops->limit_queue(s, bytes);
    }
}

uint64_t ferry_ram_sender_queued(const FerryRamSender *s)
{
    gint64 bytes = ferry_channel_queued(s->setup.channel);

    return (bytes > 0 ? (uint64_t)bytes : 0) + (s->ops->queued ? s->ops->queued(s) : 0);
}

uint64_t ferry_ram_sender_waited_ns(const FerryRamSender *s)
{
    return s->ops->waited_ns ? s->ops->waited_ns(s)
                             : ferry_channel_ratelimit_waited_ns(s->setup.channel);
}

const char *ferry_ram_sender_get_name(const FerryRamSender *s) { return s->ops->name; }

void ferry_ram_sender_stop(FerryRamSender *s)
{
    if (s->ops->stop) {
        s->ops->stop(s);
    }
}

void ferry_ram_sender_free(FerryRamSender *s)
{
    if (s) {
        s->ops->free(s);
    }
}
