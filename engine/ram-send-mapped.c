/* Pages at fixed places of a file, in QEMU's mapped-ram layout: what is written again replaces what
 * was there, so the file does not grow with the rounds. The stream itself stands around them; the
 * channel's position is the stream's whenever somebody else writes. */
#include "engine/error.h"
#include "engine/mapped-load.h"
#include "engine/ram-send-private.h"

#define RUNS_MAX 1024
#define RUN_BYTES_MAX (8u << 20) /* of all runs: between two flushes a cancel is looked at */

/* Bytes that are still to be written, of one block. */
typedef struct {
    uint64_t place; /* in the file */
    struct iovec bytes;
} Run;

typedef struct {
    FerryRamSender base;
    FerryMappedHeader *headers; /* per block */
    FerryBitmap *present;
    unsigned n_blocks;
    unsigned n_runs;
    uint64_t run_bytes;
    Run runs[RUNS_MAX];
} Mapped;

static gboolean write_at(Mapped *m, uint64_t place, const void *bytes, size_t n, GError **error)
{
    FerryChannel *channel = m->base.setup.channel;

    return ferry_channel_seek(channel, place, error) &&
           ferry_channel_write_all(channel, bytes, n, m->base.setup.progress_ns, error);
}

/* An entry of the list with its header; the list goes on behind the block's pages. */
static gboolean list_block(Mapped *m, unsigned i, GError **error)
{
    const FerryMemoryBlock *block = ferry_memory_block(m->base.setup.memory, i);
    FerryRamRecords *records = &m->base.records;
    FerryChannel *channel = m->base.setup.channel;
    uint8_t header[FERRY_MAPPED_HEADER_SIZE];
    uint64_t at;

    ferry_ram_records_add_block(records, block->idstr, block->length);
    if (!ferry_ram_records_flush(records, error) || !ferry_channel_tell(channel, &at, error)) {
        return FALSE;
    }
    m->headers[i] = ferry_mapped_header_place(at, block->length, FERRY_PAGE_SIZE);
    ferry_bitmap_init(&m->present[i], block->length / FERRY_PAGE_SIZE);
    ferry_mapped_header_encode(&m->headers[i], header);
    ferry_ram_records_add_bytes(records, header, sizeof header);
    return ferry_ram_records_flush(records, error) &&
           ferry_channel_seek(channel, m->headers[i].pages_offset + block->length, error);
}

static gboolean mapped_start(FerryRamSender *s, GError **error)
{
    Mapped *m = (Mapped *)s;
    FerryRamHeader list = {.offset = ferry_memory_total_bytes(s->setup.memory),
                           .flags = FERRY_RAM_MEM_SIZE};

    if (ferry_channel_get_file(s->setup.channel) < 0) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED,
                    "mapped-ram: %s is not a regular file, which alone has fixed places",
                    ferry_channel_get_description(s->setup.channel));
        return FALSE;
    }
    s->section = FERRY_SECTION_START;
    ferry_ram_records_begin(&s->records, s->section);
    ferry_ram_records_add(&s->records, &list);
    m->headers = g_new0(FerryMappedHeader, ferry_memory_n_blocks(s->setup.memory));
    m->present = g_new0(FerryBitmap, ferry_memory_n_blocks(s->setup.memory));
    for (; m->n_blocks < ferry_memory_n_blocks(s->setup.memory); m->n_blocks++) {
        if (!list_block(m, m->n_blocks, error)) {
            return FALSE;
        }
    }
    return ferry_ram_sender_end_section(s, FALSE, error) && ferry_ram_sender_flush(s, error);
}

static gboolean mapped_has_room(const FerryRamSender *s, uint64_t n)
{
    const Mapped *m = (const Mapped *)s;

    return m->n_runs + n <= RUNS_MAX && m->run_bytes + n * FERRY_PAGE_SIZE <= RUN_BYTES_MAX;
}

/* Neighbours in memory are neighbours in the file. */
static void add_page(Mapped *m, uint64_t place, const uint8_t *bytes)
{
    Run *last = m->n_runs ? &m->runs[m->n_runs - 1] : NULL;

    m->run_bytes += FERRY_PAGE_SIZE;
    if (last && (uint8_t *)last->bytes.iov_base + last->bytes.iov_len == bytes &&
        last->place + last->bytes.iov_len == place) {
        last->bytes.iov_len += FERRY_PAGE_SIZE;
        return;
    }
    m->runs[m->n_runs++] = (Run){
        place, {(void *)bytes, FERRY_PAGE_SIZE}
    };
}

static gboolean mapped_pages(FerryRamSender *s, unsigned block, uint64_t first, uint64_t n,
                             gboolean last, GError **error)
{
    Mapped *m = (Mapped *)s;
    const uint8_t *host = ferry_memory_block(s->setup.memory, block)->host;

    (void)error;
    ferry_ram_sender_need_section(s, last);
    for (uint64_t page = first; page < first + n; page++) {
        const uint8_t *bytes = host + page * FERRY_PAGE_SIZE;

        if (ferry_ram_sender_is_zero(s, bytes)) {
            ferry_bitmap_reset(&m->present[block], page, 1);
            s->counts.zero_pages++;
        } else {
            ferry_bitmap_set(&m->present[block], page, 1);
            add_page(m, m->headers[block].pages_offset + page * FERRY_PAGE_SIZE, bytes);
            s->counts.normal_pages++;
        }
    }
    return TRUE;
}

static gboolean mapped_flush(FerryRamSender *s, GError **error)
{
    Mapped *m = (Mapped *)s;
    unsigned n = m->n_runs;
    uint64_t stream;

    m->n_runs = 0;
    m->run_bytes = 0;
    if (n == 0) {
        return TRUE;
    }
    if (!ferry_channel_tell(s->setup.channel, &stream, error)) {
        return FALSE;
    }
    for (unsigned i = 0; i < n; i++) {
        const Run *run = &m->runs[i];

        if (!write_at(m, run->place, run->bytes.iov_base, run->bytes.iov_len, error)) {
            return FALSE;
        }
    }
    return ferry_channel_seek(s->setup.channel, stream, error);
}

/* The same page may come in the next round: what it was must be in its place before. */
static gboolean mapped_end_round(FerryRamSender *s, gboolean last, GError **error)
{
    (void)last;
    return mapped_flush(s, error);
}

static gboolean write_bitmap(Mapped *m, unsigned i, GError **error)
{
    FerryBitmap *b = &m->present[i];
    uint64_t n = ferry_bitmap_n_words(b);

    for (uint64_t w = 0; G_BYTE_ORDER != G_LITTLE_ENDIAN && w < n; w++) {
        b->words[w] = GUINT64_TO_LE(b->words[w]);
    }
    return write_at(m, m->headers[i].bitmap_offset, b->words, n * 8, error);
}

/* With the END section no page comes any more. */
static gboolean mapped_end_section(FerryRamSender *s, FerrySectionType type, GError **error)
{
    Mapped *m = (Mapped *)s;
    uint64_t stream;

    if (type != FERRY_SECTION_END) {
        return TRUE;
    }
    if (!ferry_channel_tell(s->setup.channel, &stream, error)) {
        return FALSE;
    }
    for (unsigned i = 0; i < m->n_blocks; i++) {
        if (!write_bitmap(m, i, error)) {
            return FALSE;
        }
    }
    return ferry_channel_seek(s->setup.channel, stream, error);
}

static gboolean mapped_is_idle(const FerryRamSender *s) { return ((const Mapped *)s)->n_runs == 0; }

static void mapped_free(FerryRamSender *s)
{
    Mapped *m = (Mapped *)s;

    for (unsigned i = 0; m->present && i < ferry_memory_n_blocks(s->setup.memory); i++) {
        ferry_bitmap_clear(&m->present[i]);
    }
    g_free(m->present);
    g_free(m->headers);
    g_free(m);
}

static const FerryRamSenderOps mapped_ops = {
    .name = "mapped-ram",
    .start = mapped_start,
    .has_room = mapped_has_room,
    .pages = mapped_pages,
    .end_round = mapped_end_round,
    .end_section = mapped_end_section,
    .is_idle = mapped_is_idle,
    .flush = mapped_flush,
    .free = mapped_free,
};

FerryRamSender *ferry_ram_send_mapped_new(void)
{
    Mapped *m = g_new0(Mapped, 1);

    m->base.ops = &mapped_ops;
    return &m->base;
}
