/* One multifd channel: header, payload, header, ... With a payload comes what is there of the next
 * header, in the same read. */
#include <string.h>
#include "engine/error.h"
#include "engine/multifd-load-private.h"

#define CRUMB 4096 /* bytes; a source that brings less in the time it has is silent */

static size_t header_size(const FerryMultifdPipe *p)
{
    return ferry_multifd_header_size(p->loader->page_bits);
}

/* Where @n bytes more end in @iov. */
static void step_over(struct iovec **iov, unsigned *n_iov, size_t n)
{
    while (*n_iov > 0 && n >= (*iov)->iov_len) {
        n -= (*iov)->iov_len;
        (*iov)++;
        (*n_iov)--;
    }
    if (n > 0) {
        (*iov)->iov_base = (uint8_t *)(*iov)->iov_base + n;
        (*iov)->iov_len -= n;
    }
}

/* At least @wanted bytes into @iov, which is used up; *out_more: how many came beyond them. */
static gboolean read_some(FerryMultifdPipe *p, struct iovec *iov, unsigned n_iov, size_t wanted,
                          size_t *out_more, GError **error)
{
    uint64_t timeout_ns = p->loader->options.timeout_ns;
    uint64_t deadline_ns = ferry_now_ns() + timeout_ns;
    size_t crumbs = 0;

    *out_more = 0;
    while (wanted > 0) {
        gssize n = ferry_channel_readv(p->channel, iov, (int)n_iov, deadline_ns, error);
        if (n < 0) {
            return FALSE;
        }
        if (n == 0) {
            g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                        "the source closed it inside a packet");
            return FALSE;
        }
        if ((size_t)n >= wanted) {
            *out_more = (size_t)n - wanted;
            return TRUE;
        }
        wanted -= (size_t)n;
        step_over(&iov, &n_iov, (size_t)n);
        crumbs += (size_t)n;
        if (crumbs >= CRUMB) {
            crumbs = 0;
            deadline_ns = ferry_now_ns() + timeout_ns;
        }
    }
    return TRUE;
}

/* FALSE without an error: the channel ended between two packets. */
static gboolean read_header(FerryMultifdPipe *p, GError **error)
{
    size_t size = header_size(p), more;

    if (p->have == 0) { /* nobody says when the next packet comes; main's silence is enough */
        gboolean quiet = ferry_channel_readable(p->channel, 0, NULL) == 0;
        if (quiet) {
            ferry_multifd_loader_quiet(p, TRUE);
        }
        gssize n = ferry_channel_read(p->channel, p->header, size, FERRY_NO_DEADLINE, error);
        if (quiet) {
            ferry_multifd_loader_quiet(p, FALSE);
        }
        if (n <= 0) {
            return FALSE;
        }
        p->have = (size_t)n;
    }
    struct iovec rest = {.iov_base = p->header + p->have, .iov_len = size - p->have};
    if (!read_some(p, &rest, 1, size - p->have, &more, error)) {
        return FALSE;
    }
    p->have = 0;
    return TRUE;
}

/* Whether the pages lie in a block that we have. */
static gboolean check_pages(FerryMultifdPipe *p, GError **error)
{
    const FerryRamLoader *ram = p->loader->options.ram;
    uint64_t page_size = UINT64_C(1) << p->loader->page_bits, length;

    if (p->block < 0 || strcmp(p->idstr, p->packet.idstr) != 0) {
        p->block = ferry_ram_loader_find(ram, p->packet.idstr);
        if (p->block < 0) {
            g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                        "RAM block '%s' was not announced", p->packet.idstr);
            return FALSE;
        }
        memcpy(p->idstr, p->packet.idstr, sizeof p->idstr);
    }
    length = ferry_ram_loader_length(ram, (unsigned)p->block);
    for (unsigned i = 0; i < p->packet.normal_pages + p->packet.zero_pages; i++) {
        if (p->offsets[i] >= length || length - p->offsets[i] < page_size) {
            g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                        "RAM block '%s': page at 0x%" G_GINT64_MODIFIER
                        "x, but it has 0x%" G_GINT64_MODIFIER "x bytes",
                        p->idstr, p->offsets[i], length);
            return FALSE;
        }
    }
    return TRUE;
}

/* The normal pages' places, neighbours as one piece. */
static unsigned gather_pages(FerryMultifdPipe *p)
{
    size_t page_size = (size_t)1 << p->loader->page_bits;
    unsigned n = 0;

    for (unsigned i = 0; i < p->packet.normal_pages; i++) {
        uint8_t *at =
            ferry_ram_loader_claim(p->loader->options.ram, (unsigned)p->block, p->offsets[i]);
        if (n > 0 && (uint8_t *)p->iov[n - 1].iov_base + p->iov[n - 1].iov_len == at) {
            p->iov[n - 1].iov_len += page_size;
        } else {
            p->iov[n++] = (struct iovec){.iov_base = at, .iov_len = page_size};
        }
    }
    return n;
}

static struct iovec next_header(FerryMultifdPipe *p)
{
    return (struct iovec){.iov_base = p->header, .iov_len = header_size(p)};
}

static gboolean take_plain(FerryMultifdPipe *p, GError **error)
{
    size_t bytes = (size_t)p->packet.normal_pages << p->loader->page_bits;
    unsigned n = gather_pages(p);

    p->iov[n++] = next_header(p);
    return read_some(p, p->iov, n, bytes, &p->have, error);
}

static gboolean take_coded(FerryMultifdPipe *p, GError **error)
{
    size_t bytes = p->packet.payload_bytes;
    struct iovec in[2];

    if (bytes > p->payload_room) { /* the decoder let at most twice the pages pass */
        g_free(p->payload);
        p->payload_room = MIN(MAX(bytes, 64 << 10) * 2, 2 * FERRY_MULTIFD_PACKET_BYTES);
        p->payload = g_malloc(p->payload_room);
    }
    in[0] = (struct iovec){.iov_base = p->payload, .iov_len = bytes};
    in[1] = next_header(p);
    if (!read_some(p, in, 2, bytes, &p->have, error)) {
        return FALSE;
    }
    if (!p->decompressor) {
        p->decompressor = ferry_decompressor_new(p->packet.method);
    }
    ferry_multifd_count(&p->counts.coded_pages, p->packet.normal_pages);
    ferry_multifd_count(&p->counts.coded_bytes, bytes);
    return ferry_decompressor_packet(p->decompressor, p->payload, bytes, p->iov, gather_pages(p),
                                     error);
}

static gboolean take_pages(FerryMultifdPipe *p, GError **error)
{
    const FerryMultifdPacket *packet = &p->packet;

    if (!check_pages(p, error) || !ferry_multifd_loader_admit(p, packet->method, error)) {
        return FALSE;
    }
    if (packet->normal_pages > 0 &&
        !(packet->method == FERRY_MULTIFD_NONE ? take_plain(p, error) : take_coded(p, error))) {
        return FALSE;
    }
    for (unsigned i = 0; i < packet->zero_pages; i++) {
        ferry_ram_loader_zero(p->loader->options.ram, (unsigned)p->block,
                              p->offsets[packet->normal_pages + i]);
    }
    ferry_multifd_count(&p->counts.normal_pages, packet->normal_pages);
    ferry_multifd_count(&p->counts.zero_pages, packet->zero_pages);
    return TRUE;
}

gboolean ferry_multifd_pipe_take(FerryMultifdPipe *p, GError **error)
{
    p->offset = FERRY_MULTIFD_HELLO_SIZE + ferry_channel_bytes_read(p->channel) - p->have;
    if (!read_header(p, error) || !ferry_multifd_packet_decode(p->header, p->loader->page_bits,
                                                               &p->packet, p->offsets, error)) {
        return FALSE;
    }
    ferry_multifd_count(&p->counts.packets, 1);
    /* Which may come without either: QEMU up to 8.2 ends a channel so. */
    if (p->packet.normal_pages + p->packet.zero_pages > 0 && !take_pages(p, error)) {
        return FALSE;
    }
    return !p->packet.sync || ferry_multifd_loader_wait(p);
}

void ferry_multifd_pipe_clear(FerryMultifdPipe *p)
{
    ferry_channel_free(p->channel);
    ferry_decompressor_free(p->decompressor);
    g_free(p->payload);
}
