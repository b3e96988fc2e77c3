#include "tests/protocol/capture.h"
#include <string.h>
#include "protocol/xbzrle.h"

static void wrong(Capture *c, const char *what)
{
    if (!c->error) {
        c->error = g_error_new_literal(FERRY_PROTOCOL_ERROR, FERRY_PROTOCOL_ERROR_MALFORMED, what);
    }
}

static void clear_block(void *p)
{
    g_free(((CaptureBlock *)p)->idstr);
    g_free(((CaptureBlock *)p)->bytes);
}

static void clear_device(void *p) { g_free(((CaptureDevice *)p)->idstr); }

void capture_init(Capture *c)
{
    *c = (Capture){.blocks = g_array_new(FALSE, FALSE, sizeof(CaptureBlock)),
                   .devices = g_array_new(FALSE, FALSE, sizeof(CaptureDevice)),
                   .channels = g_array_new(FALSE, FALSE, sizeof(CaptureChannel)),
                   .order = g_string_new(NULL),
                   .unpacked = TRUE};
    g_array_set_clear_func(c->blocks, clear_block);
    g_array_set_clear_func(c->devices, clear_device);
}

void capture_clear(Capture *c)
{
    g_array_unref(c->blocks);
    g_array_unref(c->devices);
    g_array_unref(c->channels);
    g_string_free(c->order, TRUE);
    ferry_description_free(c->description);
    g_clear_error(&c->error);
}

static CaptureBlock *find_block(Capture *c, const char *idstr)
{
    for (guint i = 0; i < c->blocks->len; i++) {
        CaptureBlock *b = &g_array_index(c->blocks, CaptureBlock, i);

        if (strcmp(b->idstr, idstr) == 0) {
            return b;
        }
    }
    return NULL;
}

/* Puts a packet's pages where they belong; @payload holds them as they are, or NULL. */
static void take_pages(Capture *c, const FerryMultifdPacket *p, const uint64_t *offsets,
                       const uint8_t *payload)
{
    CaptureBlock *b = find_block(c, p->idstr);

    for (uint32_t i = 0; i < p->normal_pages + p->zero_pages; i++) {
        if (!b || offsets[i] >= b->used_length) {
            wrong(c, "a packet's page is in no block");
            return;
        }
        if (i >= p->normal_pages) {
            memset(b->bytes + offsets[i], 0, FERRY_PAGE_SIZE);
        } else if (payload) {
            memcpy(b->bytes + offsets[i], payload + (size_t)i * FERRY_PAGE_SIZE, FERRY_PAGE_SIZE);
        }
    }
}

/* One packet of @channel. FALSE: there is none left, or it is wrong. */
static gboolean take_packet(Capture *c, CaptureChannel *channel, FerryMultifdPacket *p)
{
    size_t header = ferry_multifd_header_size(FERRY_PAGE_BITS);
    const uint8_t *at = channel->bytes->data + channel->at;
    uint64_t offsets[FERRY_MULTIFD_PACKET_BYTES / FERRY_PAGE_SIZE];
    size_t payload;

    if (channel->at == channel->bytes->len) {
        return FALSE;
    }
    if (channel->bytes->len - channel->at < header) {
        wrong(c, "a packet's header is cut");
        return FALSE;
    }
    if (!ferry_multifd_packet_decode(at, FERRY_PAGE_BITS, p, offsets,
                                     c->error ? NULL : &c->error)) {
        return FALSE;
    }
    payload = p->method == FERRY_MULTIFD_NONE ? (size_t)p->normal_pages * FERRY_PAGE_SIZE
                                              : p->payload_bytes;
    if (channel->bytes->len - channel->at - header < payload) {
        wrong(c, "a packet's payload is cut");
        return FALSE;
    }
    c->unpacked = c->unpacked && (p->method == FERRY_MULTIFD_NONE || p->normal_pages == 0);
    c->packets[(unsigned)p->method | (p->sync ? FERRY_MULTIFD_SYNC : 0)]++;
    c->normal_pages += p->normal_pages;
    c->zero_pages += p->zero_pages;
    take_pages(c, p, offsets, p->method == FERRY_MULTIFD_NONE ? at + header : NULL);
    channel->at += header + payload;
    return TRUE;
}

/* Main waits here: every channel goes on up to its next SYNC, and no further. */
static void barrier(Capture *c)
{
    for (guint i = 0; i < c->channels->len; i++) {
        CaptureChannel *channel = &g_array_index(c->channels, CaptureChannel, i);
        FerryMultifdPacket p = {0};

        while (!p.sync) {
            if (!take_packet(c, channel, &p)) {
                wrong(c, "a channel has no SYNC where main waits");
                return;
            }
        }
    }
}

/* Behind the last barrier there may be empty packets only. */
static void end_channels(Capture *c)
{
    for (guint i = 0; i < c->channels->len; i++) {
        CaptureChannel *channel = &g_array_index(c->channels, CaptureChannel, i);
        FerryMultifdPacket p;

        while (take_packet(c, channel, &p)) {
            if (p.sync || p.normal_pages + p.zero_pages) {
                wrong(c, "a packet behind the last barrier is not empty");
            }
            c->packets[0]--; /* what is expected ends at the last barrier */
            c->trailing++;
        }
    }
}

/* A page whose bit is clear is zero, whatever stands in its place. */
static void take_mapped(Capture *c, const FerryMappedHeader *h, CaptureBlock *b)
{
    const uint8_t *bitmap = c->file->data + h->bitmap_offset;

    if (h->pages_offset + b->used_length > c->file->len) {
        wrong(c, "a mapped block goes past the file");
        return;
    }
    for (uint64_t i = 0; i < b->used_length / h->page_size; i++) {
        if (bitmap[i / 8] >> i % 8 & 1) {
            memcpy(b->bytes + i * h->page_size, c->file->data + h->pages_offset + i * h->page_size,
                   h->page_size);
            c->pages++;
        }
    }
}

static void take_block(Capture *c, const FerryStreamEvent *ev)
{
    CaptureBlock b = {.idstr = g_strdup(ev->block.idstr),
                      .used_length = ev->block.used_length,
                      .bytes = g_malloc0(ev->block.used_length)};

    if (ev->block.is_mapped) {
        take_mapped(c, &ev->block.mapped, &b);
    }
    g_array_append_val(c->blocks, b);
}

static void take_page(Capture *c, const FerryStreamEvent *ev)
{
    uint8_t *page = g_array_index(c->blocks, CaptureBlock, ev->page.block).bytes + ev->page.offset;

    switch (ev->type) {
    case FERRY_STREAM_PAGE:
        memcpy(page, ev->page.data, FERRY_PAGE_SIZE);
        c->pages++;
        break;
    case FERRY_STREAM_ZERO:
        memset(page, 0, FERRY_PAGE_SIZE);
        c->zeros++;
        break;
    case FERRY_STREAM_XBZRLE:
        ferry_xbzrle_decode(ev->page.data, ev->page.length, page, FERRY_PAGE_SIZE,
                            c->error ? NULL : &c->error);
        c->deltas++;
        break;
    default:
        c->compressed++;
        c->unpacked = FALSE;
        break;
    }
}

static void take_round_end(Capture *c, FerrySectionType section)
{
    static const char *const names[] = {"", "START ", "PART ", "END "};

    c->rounds++;
    g_string_append(c->order, names[section]);
    c->started = TRUE;
    if (!c->per_round) {
        barrier(c);
    }
}

static void take_event(Capture *c, const FerryStreamEvent *ev)
{
    CaptureDevice device;

    switch (ev->type) {
    case FERRY_STREAM_HEADER:
        break;
    case FERRY_STREAM_CONFIGURATION:
        c->configuration = ev->configuration;
        break;
    case FERRY_STREAM_COMMAND:
        g_string_append_printf(c->order, "CMD%d ", (int)ev->command.id);
        break;
    case FERRY_STREAM_RAM_BLOCK:
        g_assert_cmpuint(ev->block.index, ==, c->blocks->len);
        take_block(c, ev);
        break;
    case FERRY_STREAM_RAM_LIST_END:
        c->lists++;
        break;
    case FERRY_STREAM_PAGE:
    case FERRY_STREAM_ZERO:
    case FERRY_STREAM_XBZRLE:
    case FERRY_STREAM_COMPRESSED:
        take_page(c, ev);
        break;
    case FERRY_STREAM_FLUSH:
        c->flushes++;
        c->per_round |= !c->started;
        barrier(c);
        break;
    case FERRY_STREAM_ROUND_END:
        take_round_end(c, ev->section);
        break;
    case FERRY_STREAM_DEVICE:
        device = (CaptureDevice){.idstr = g_strdup(ev->device.idstr),
                                 .section_id = ev->device.section_id,
                                 .instance_id = ev->device.instance_id,
                                 .version_id = ev->device.version_id,
                                 .length = ev->device.length};
        g_array_append_val(c->devices, device);
        break;
    case FERRY_STREAM_DESCRIPTION:
        c->description =
            ferry_description_parse(ev->description.text, ev->description.length, NULL);
        break;
    }
}

gboolean capture_decode(Capture *c, const GByteArray *main)
{
    static const FerryDecoderOptions options = {.mapped_allowed = TRUE};
    g_autoptr(FerryDecoder) decoder = ferry_decoder_new(&options);
    FerryDecode answer;
    FerryStreamEvent ev;

    c->file = main;
    for (guint at = 0; at < main->len;) {
        guint n = MIN(main->len - at, 4096 + at % 65537);

        ferry_decoder_push(decoder, main->data + at, n);
        at += n;
        while ((answer = ferry_decoder_step(decoder, &ev, &c->error)) == FERRY_DECODE_EVENT) {
            take_event(c, &ev);
            if (ev.type == FERRY_STREAM_RAM_BLOCK && ev.block.is_mapped) {
                at = (guint)ferry_decoder_jump(decoder);
            }
            if (c->error) {
                return FALSE;
            }
        }
        if (answer == FERRY_DECODE_BAD) {
            return FALSE;
        }
    }
    end_channels(c);
    return !c->error && ferry_decoder_finish(decoder, &c->error);
}
