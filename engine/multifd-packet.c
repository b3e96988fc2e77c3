#include "engine/multifd-packet.h"
#include <string.h>
#include "engine/page.h"
#include "protocol/ram.h"

void ferry_multifd_packer_init(FerryMultifdPacker *p, const FerryMultifdSendOptions *options)
{
    p->method = options->method;
    if (p->method != FERRY_MULTIFD_NONE) {
        p->compressor = ferry_compressor_new(p->method, options->level);
        p->copy = g_malloc(FERRY_MULTIFD_PACKET_BYTES);
        p->out = g_malloc(ferry_compressor_bound(p->compressor, FERRY_MULTIFD_PACKET_BYTES));
    }
}

void ferry_multifd_packer_clear(FerryMultifdPacker *p)
{
    g_clear_pointer(&p->compressor, ferry_compressor_free);
    g_clear_pointer(&p->copy, g_free);
    g_clear_pointer(&p->out, g_free);
}

static void add_normal(FerryMultifdPacker *p, uint8_t *bytes, uint64_t offset)
{
    struct iovec *last = p->n_pieces ? &p->pieces[p->n_pieces - 1] : NULL;

    p->offsets[p->n_normal++] = offset;
    if (last && (uint8_t *)last->iov_base + last->iov_len == bytes) {
        last->iov_len += FERRY_PAGE_SIZE;
    } else {
        p->pieces[p->n_pieces++] = (struct iovec){.iov_base = bytes, .iov_len = FERRY_PAGE_SIZE};
    }
}

/* Pages [from, to) of the job follow one another in memory. */
static void sort_run(FerryMultifdPacker *p, const FerryMemoryBlock *block,
                     const FerryMultifdJob *job, unsigned from, unsigned to, uint64_t *zeros)
{
    uint64_t zero[(FERRY_MULTIFD_JOB_PAGES + 63) / 64] = {0};
    uint64_t begin = job->pages[from] * FERRY_PAGE_SIZE;

    if (job->find_zero) {
        ferry_page_zero_run(block->host + begin, to - from, zero);
    }
    for (unsigned i = 0; i < to - from; i++) {
        uint64_t offset = begin + (uint64_t)i * FERRY_PAGE_SIZE;
        if (zero[i / 64] >> i % 64 & 1) {
            zeros[p->n_zero++] = offset;
        } else {
            add_normal(p, block->host + offset, offset);
        }
    }
}

static void sort_pages(FerryMultifdPacker *p, const FerryMemoryBlock *block,
                       const FerryMultifdJob *job)
{
    uint64_t zeros[FERRY_MULTIFD_JOB_PAGES];
    unsigned to;

    p->n_normal = p->n_zero = p->n_pieces = 0;
    for (unsigned from = 0; from < job->n; from = to) {
        to = from + 1;
        while (to < job->n && job->pages[to] == job->pages[to - 1] + 1) {
            to++;
        }
        sort_run(p, block, job, from, to, zeros);
    }
    memcpy(p->offsets + p->n_normal, zeros, p->n_zero * sizeof zeros[0]);
}

/* The guest may write while a compressor reads, which would confuse it: so it gets a copy. */
static size_t compress(FerryMultifdPacker *p, gboolean stable)
{
    struct iovec whole = {.iov_base = p->copy, .iov_len = 0};
    size_t bytes;

    for (unsigned i = 0; !stable && i < p->n_pieces; i++) {
        memcpy(p->copy + whole.iov_len, p->pieces[i].iov_base, p->pieces[i].iov_len);
        whole.iov_len += p->pieces[i].iov_len;
    }
    bytes = ferry_compressor_packet(p->compressor, stable ? p->pieces : &whole,
                                    stable ? p->n_pieces : 1, p->out);
    p->iov[p->n_iov++] = (struct iovec){.iov_base = p->out, .iov_len = bytes};
    return bytes;
}

/* Puts what follows the header behind it. Returns its size. */
static size_t add_payload(FerryMultifdPacker *p, gboolean stable)
{
    size_t bytes = (size_t)p->n_normal * FERRY_PAGE_SIZE;

    if (p->n_normal == 0) {
        return 0;
    }
    if (p->method == FERRY_MULTIFD_NONE) {
        memcpy(p->iov + p->n_iov, p->pieces, p->n_pieces * sizeof p->pieces[0]);
        p->n_iov += (int)p->n_pieces;
        return bytes;
    }
    if (ferry_compressor_seems_incompressible(p->compressor, p->pieces, p->n_pieces)) {
        p->n_iov += (int)ferry_compressor_raw_packet(p->compressor, p->pieces, p->n_pieces,
                                                     p->iov + p->n_iov, &bytes);
    } else {
        bytes = compress(p, stable);
    }
    p->counts.coded_pages += p->n_normal;
    p->counts.coded_bytes += bytes;
    return bytes;
}

static void set_header(FerryMultifdPacker *p, const FerryMultifdPacket *packet)
{
    size_t n = ferry_multifd_packet_encode(packet, p->offsets, FERRY_PAGE_BITS, p->header);

    p->iov[0] = (struct iovec){.iov_base = p->header, .iov_len = n};
}

void ferry_multifd_packer_pages(FerryMultifdPacker *p, const FerryMemoryBlock *block,
                                const FerryMultifdJob *job, uint64_t packet_num)
{
    FerryMultifdPacket packet = {.method = p->method, .packet_num = packet_num};

    sort_pages(p, block, job);
    p->n_iov = 1;
    packet.payload_bytes = (uint32_t)add_payload(p, job->stable);
    packet.normal_pages = p->n_normal;
    packet.zero_pages = p->n_zero;
    g_strlcpy(packet.idstr, block->idstr, sizeof packet.idstr);
    set_header(p, &packet);
    p->counts.normal_pages += p->n_normal;
    p->counts.zero_pages += p->n_zero;
}

void ferry_multifd_packer_sync(FerryMultifdPacker *p, uint64_t packet_num)
{
    FerryMultifdPacket packet = {.sync = TRUE, .packet_num = packet_num};

    p->n_iov = 1;
    set_header(p, &packet);
}
