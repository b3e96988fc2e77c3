#include "tests/engine/multifd-peer.h"
#include <stdio.h>
#include <string.h>
#include "engine/compress.h"
#include "engine/page.h"
#include "protocol/decoder.h"
#include "protocol/ram.h"

#define PATIENCE_NS 60000000000ull
#define BITS 12

FerryInterrupt *peer_interrupt;

static void fail(Peer *p, const char *format, ...) G_GNUC_PRINTF(2, 3);
static void fail(Peer *p, const char *format, ...)
{
    va_list args;

    pthread_mutex_lock(&p->lock);
    if (!p->failure[0]) {
        va_start(args, format);
        g_vsnprintf(p->failure, sizeof p->failure, format, args);
        va_end(args);
    }
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

static int index_of(const Peer *p, unsigned block, uint64_t offset)
{
    int index = (int)(offset >> BITS);

    for (unsigned i = 0; i < block; i++) {
        index += (int)(ferry_memory_block(p->memory, i)->length >> BITS);
    }
    return index;
}

/* A page may come once between two barriers, on whichever channel. */
static void note(Peer *p, unsigned block, uint64_t offset)
{
    int index = index_of(p, block, offset);

    pthread_mutex_lock(&p->lock);
    gboolean twice = p->seen[index];
    p->seen[index] = TRUE;
    p->pages++;
    pthread_mutex_unlock(&p->lock);
    if (twice) {
        fail(p, "page %d twice without a barrier", index);
    }
}

static gboolean take_payload(PeerChannel *c, FerryDecompressor *decompressor,
                             const FerryMultifdPacket *packet, struct iovec *pieces)
{
    g_autofree uint8_t *bytes = g_malloc(packet->payload_bytes + 1);
    g_autoptr(GError) error = NULL;
    size_t at = 0;

    if (!ferry_channel_read_all(c->channel, bytes, packet->payload_bytes,
                                ferry_now_ns() + PATIENCE_NS, &error)) {
        return FALSE;
    }
    if (!decompressor) {
        for (unsigned i = 0; i < packet->normal_pages; i++, at += FERRY_PAGE_SIZE) {
            memcpy(pieces[i].iov_base, bytes + at, FERRY_PAGE_SIZE);
        }
    } else if (!ferry_decompressor_packet(decompressor, bytes, packet->payload_bytes, pieces,
                                          packet->normal_pages, &error)) {
        fail(c->peer, "channel %u: %s", c->id, error->message);
        return FALSE;
    }
    return TRUE;
}

static gboolean take_pages(PeerChannel *c, FerryDecompressor *decompressor,
                           const FerryMultifdPacket *packet, const uint64_t *offsets)
{
    int block = ferry_memory_find(c->peer->memory, packet->idstr);
    struct iovec pieces[128];

    if (block < 0) {
        fail(c->peer, "channel %u: no block '%s'", c->id, packet->idstr);
        return FALSE;
    }
    for (unsigned i = 0; i < packet->normal_pages + packet->zero_pages; i++) {
        uint8_t *page = ferry_memory_block(c->peer->memory, (unsigned)block)->host + offsets[i];
        note(c->peer, (unsigned)block, offsets[i]);
        if (i < packet->normal_pages) {
            pieces[i] = (struct iovec){.iov_base = page, .iov_len = FERRY_PAGE_SIZE};
        } else {
            memset(page, 0, FERRY_PAGE_SIZE);
        }
    }
    pthread_mutex_lock(&c->peer->lock);
    c->peer->zero_packet_pages += packet->zero_pages;
    pthread_mutex_unlock(&c->peer->lock);
    return packet->normal_pages == 0 || take_payload(c, decompressor, packet, pieces);
}

static gboolean stop_at_sync(PeerChannel *c)
{
    Peer *p = c->peer;

    pthread_mutex_lock(&p->lock);
    c->syncs++;
    c->stopped = TRUE;
    pthread_cond_broadcast(&p->changed);
    while (c->stopped && !p->failure[0] && !p->over) {
        pthread_cond_wait(&p->changed, &p->lock);
    }
    gboolean ok = !c->stopped;
    pthread_mutex_unlock(&p->lock);
    return ok;
}

static gboolean take_packet(PeerChannel *c, FerryDecompressor *decompressor)
{
    uint8_t header[FERRY_MULTIFD_HEADER_MAX];
    uint64_t offsets[128];
    FerryMultifdPacket packet;
    g_autoptr(GError) error = NULL;

    if (!ferry_channel_read_all(c->channel, header, ferry_multifd_header_size(BITS),
                                ferry_now_ns() + PATIENCE_NS, NULL)) {
        return FALSE; /* the sender's end is closed; or cut, which is another test's to judge */
    }
    if (!ferry_multifd_packet_decode(header, BITS, &packet, offsets, &error)) {
        fail(c->peer, "channel %u: %s", c->id, error->message);
        return FALSE;
    }
    c->packets++;
    if (packet.normal_pages + packet.zero_pages == 0) {
        return packet.sync && stop_at_sync(c);
    }
    if (packet.sync || packet.method != c->peer->method) {
        fail(c->peer, "channel %u: flags", c->id);
        return FALSE;
    }
    return take_pages(c, decompressor, &packet, offsets) &&
           !(c->peer->stop_after_first && c->id == 1);
}

static void *channel_thread(void *data)
{
    PeerChannel *c = data;
    uint8_t bytes[FERRY_MULTIFD_HELLO_SIZE];
    FerryMultifdHello hello = {0};
    g_autoptr(FerryDecompressor) decompressor = NULL;

    if (c->peer->method != FERRY_MULTIFD_NONE) {
        decompressor = ferry_decompressor_new(c->peer->method);
    }
    if (ferry_channel_read_all(c->channel, bytes, sizeof bytes, ferry_now_ns() + PATIENCE_NS,
                               NULL)) {
        if (!ferry_multifd_hello_decode(bytes, &hello, NULL) || hello.id != c->id ||
            hello.uuid[0] != 0x11 || hello.uuid[15] != 0x22) {
            fail(c->peer, "channel %u: hello", c->id);
        }
        while (take_packet(c, decompressor)) {
        }
    }
    if (c->peer->stop_after_first && c->id == 1) {
        ferry_channel_abort(c->channel);
    }
    pthread_mutex_lock(&c->peer->lock);
    c->gone = TRUE;
    pthread_cond_broadcast(&c->peer->changed);
    pthread_mutex_unlock(&c->peer->lock);
    return NULL;
}

/* What waits on main: all channels have said SYNC, once. */
static void barrier(Peer *p)
{
    pthread_mutex_lock(&p->lock);
    for (unsigned i = 0; i < p->n_connected; i++) {
        while (!p->channels[i].stopped && !p->channels[i].gone) {
            pthread_cond_wait(&p->changed, &p->lock);
        }
    }
    p->barriers++;
    memset(p->seen, 0, sizeof p->seen);
    for (unsigned i = 0; i < p->n_connected; i++) {
        p->channels[i].stopped = FALSE;
    }
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
}

static void take_event(Peer *p, const FerryStreamEvent *event)
{
    switch (event->type) {
    case FERRY_STREAM_ZERO:
        note(p, event->page.block, event->page.offset);
        memset(ferry_memory_block(p->memory, event->page.block)->host + event->page.offset, 0,
               FERRY_PAGE_SIZE);
        p->zero_records++;
        return;
    case FERRY_STREAM_PAGE:
        fail(p, "a page on the main channel");
        return;
    case FERRY_STREAM_FLUSH:
        if (!p->per_round) {
            fail(p, "FLUSH to a destination that does not know it");
        }
        barrier(p);
        return;
    case FERRY_STREAM_ROUND_END:
        if (!p->per_round) {
            barrier(p);
        }
        p->at_end |= event->section == FERRY_SECTION_END;
        return;
    default:
        return;
    }
}

static void *main_thread(void *data)
{
    Peer *p = data;
    uint8_t bytes[FERRY_STREAM_HEADER_SIZE + FERRY_CONFIGURATION_MAX];
    g_autofree uint8_t *buffer = g_malloc(1 << 16);
    g_autoptr(FerryDecoder) decoder = ferry_decoder_new(NULL);
    FerryConfiguration c = {.machine = "m"};
    FerryStreamEvent event;
    FerryDecode step;
    size_t n = ferry_stream_header_encode(bytes);
    gssize got;

    n += ferry_configuration_encode(&c, bytes + n);
    ferry_decoder_push(decoder, bytes, n);
    do {
        g_autoptr(GError) error = NULL;
        while ((step = ferry_decoder_step(decoder, &event, &error)) == FERRY_DECODE_EVENT) {
            take_event(p, &event);
        }
        if (step == FERRY_DECODE_BAD) {
            fail(p, "main: %s", error->message);
            break;
        }
        got = ferry_channel_read(p->main, buffer, 1 << 16, ferry_now_ns() + PATIENCE_NS, NULL);
        if (got > 0) {
            ferry_decoder_push(decoder, buffer, (size_t)got);
        }
    } while (got > 0);
    pthread_mutex_lock(&p->lock);
    p->over = TRUE;
    pthread_cond_broadcast(&p->changed);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

void peer_begin(Peer *p, FerryMemory *memory, FerryChannel *main)
{
    p->memory = memory;
    p->main = main;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    pthread_create(&p->thread, NULL, main_thread, p);
}

FerryChannel *peer_connect(void *self, GError **error)
{
    Peer *p = self;
    PeerChannel *c = &p->channels[p->n_connected];
    FerryChannel *senders;

    if (p->n_connected == p->n_channels) {
        g_set_error_literal(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_REFUSED,
                            "nobody listens");
        return NULL;
    }
    ferry_channel_pair(64 << 10, peer_interrupt, &senders, &c->channel);
    c->peer = p;
    pthread_mutex_lock(&p->lock);
    c->id = p->n_connected++;
    pthread_mutex_unlock(&p->lock);
    pthread_create(&c->thread, NULL, channel_thread, c);
    return senders;
}

void peer_end(Peer *p)
{
    pthread_join(p->thread, NULL);
    for (unsigned i = 0; i < p->n_connected; i++) {
        pthread_join(p->channels[i].thread, NULL);
        ferry_channel_free(p->channels[i].channel);
    }
    ferry_channel_free(p->main);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
}
