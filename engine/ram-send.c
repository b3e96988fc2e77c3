#include "engine/ram-send.h"
#include "engine/page.h"

/* IOV_MAX, and room for the headers between: a full gather is 2 MiB of pages. */
#define GATHER_MAX 1024
#define HEADERS_SIZE (32u << 10)
/* A section's header, its end, and the one record of a batch that may carry a block's name. */
#define SLACK_IOV 4
#define SLACK_HEADERS (FERRY_SECTION_HEADER_MAX + FERRY_RAM_HEADER_MAX + FERRY_RAM_BLOCK_MAX + 16)
#define CONTINUED_MAX 9 /* a zero page of the same block */

struct FerryRamSender {
    const FerryMemory *memory;
    FerryChannel *channel;
    uint64_t progress_ns;
    gboolean in_section;
    int last_block; /* named by an earlier record of this channel; -1: none yet */
    FerryRamCounts counts;
    int n_iov;
    size_t headers_used;
    struct iovec iov[GATHER_MAX];
    uint8_t headers[HEADERS_SIZE];
};

FerryRamSender *ferry_ram_sender_new(const FerryMemory *memory, FerryChannel *channel,
                                     uint64_t progress_ns)
{
    FerryRamSender *s = g_new0(FerryRamSender, 1);
    s->memory = memory;
    s->channel = channel;
    s->progress_ns = progress_ns;
    s->last_block = -1;
    return s;
}

/* Header bytes that follow one another share one piece of the gather. */
static void add_header(FerryRamSender *s, size_t n)
{
    uint8_t *bytes = s->headers + s->headers_used;
    struct iovec *last = s->n_iov ? &s->iov[s->n_iov - 1] : NULL;

    s->headers_used += n;
    if (last && (uint8_t *)last->iov_base + last->iov_len == bytes) {
        last->iov_len += n;
        return;
    }
    s->iov[s->n_iov++] = (struct iovec){.iov_base = bytes, .iov_len = n};
}

static uint8_t *header_room(FerryRamSender *s) { return s->headers + s->headers_used; }

gboolean ferry_ram_sender_has_room(const FerryRamSender *s, uint64_t n)
{
    return (uint64_t)s->n_iov + 2 * n + SLACK_IOV <= GATHER_MAX &&
           s->headers_used + n * CONTINUED_MAX + SLACK_HEADERS <= HEADERS_SIZE;
}

gboolean ferry_ram_sender_is_empty(const FerryRamSender *s) { return s->n_iov == 0; }

gboolean ferry_ram_sender_flush(FerryRamSender *s, GError **error)
{
    int n = s->n_iov;

    s->n_iov = 0;
    s->headers_used = 0;
    return n == 0 || ferry_channel_writev_all(s->channel, s->iov, n, s->progress_ns, error);
}

static void begin_section(FerryRamSender *s, FerrySectionType type)
{
    FerrySectionHeader h = {.type = type,
                            .section_id = FERRY_RAM_SECTION_ID,
                            .idstr = FERRY_RAM_IDSTR,
                            .version_id = FERRY_RAM_VERSION};
    add_header(s, ferry_section_header_encode(&h, header_room(s)));
    s->in_section = TRUE;
}

static void end_section(FerryRamSender *s)
{
    FerryRamHeader eos = {.flags = FERRY_RAM_EOS};
    add_header(s, ferry_ram_header_encode(&eos, header_room(s)));
    add_header(s, ferry_section_footer_encode(FERRY_RAM_SECTION_ID, header_room(s)));
    s->in_section = FALSE;
}

gboolean ferry_ram_sender_start(FerryRamSender *s, GError **error)
{
    FerryRamHeader list = {.offset = ferry_memory_total_bytes(s->memory),
                           .flags = FERRY_RAM_MEM_SIZE};

    begin_section(s, FERRY_SECTION_START);
    add_header(s, ferry_ram_header_encode(&list, header_room(s)));
    for (unsigned i = 0; i < ferry_memory_n_blocks(s->memory); i++) {
        const FerryMemoryBlock *block = ferry_memory_block(s->memory, i);
        if (!ferry_ram_sender_has_room(s, 1) && !ferry_ram_sender_flush(s, error)) {
            return FALSE;
        }
        add_header(s, ferry_ram_block_encode(block->idstr, block->length, header_room(s)));
    }
    end_section(s);
    return ferry_ram_sender_flush(s, error);
}

static void add_page(FerryRamSender *s, unsigned block, uint64_t page)
{
    const FerryMemoryBlock *b = ferry_memory_block(s->memory, block);
    uint8_t *bytes = b->host + page * FERRY_PAGE_SIZE;
    gboolean zero = ferry_page_is_zero(bytes);
    FerryRamHeader h = {.offset = page * FERRY_PAGE_SIZE,
                        .flags = zero ? FERRY_RAM_ZERO : FERRY_RAM_PAGE,
                        .idstr = b->idstr};

    if (s->last_block == (int)block) {
        h.flags |= FERRY_RAM_CONTINUE;
    }
    s->last_block = (int)block;
    add_header(s, ferry_ram_header_encode(&h, header_room(s)));
    if (zero) {
        s->counts.zero_pages++;
        return;
    }
    s->counts.normal_pages++;
    s->iov[s->n_iov++] = (struct iovec){.iov_base = bytes, .iov_len = FERRY_PAGE_SIZE};
}

void ferry_ram_sender_pages(FerryRamSender *s, unsigned block, uint64_t first, uint64_t n,
                            gboolean last)
{
    g_assert(ferry_ram_sender_has_room(s, n));
    if (!s->in_section) {
        begin_section(s, last ? FERRY_SECTION_END : FERRY_SECTION_PART);
    }
    for (uint64_t page = first; page < first + n; page++) {
        add_page(s, block, page);
    }
}

void ferry_ram_sender_end_section(FerryRamSender *s, gboolean last)
{
    if (last && !s->in_section) {
        begin_section(s, FERRY_SECTION_END);
    }
    if (s->in_section) {
        end_section(s);
    }
}

FerryRamCounts ferry_ram_sender_counts(const FerryRamSender *s) { return s->counts; }

void ferry_ram_sender_free(FerryRamSender *s) { g_free(s); }
