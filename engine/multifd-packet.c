#include "engine/multifd-packet.h"
#include <string.h>
#include <time.h>
#include "engine/page.h"
#include "protocol/ram.h"

void ferry_multifd_packer_init(FerryMultifdPacker *p, const FerryMultifdSendOptions *options)
{
    p->method = options->method;
    if (p->method != FERRY_MULTIFD_NONE) {
        p->compressor = ferry_compressor_new(p->method, options->level);
        p->adaptive = options->adaptive;
        p->first_step = ferry_compress_step_of(p->method, options->level);
        ferry_level_init(&p->level, ferry_compress_n_steps(p->method), p->first_step);
        p->copy = g_malloc(FERRY_MULTIFD_PACKET_BYTES);
        p->out = g_malloc(ferry_compressor_bound(p->compressor, FERRY_MULTIFD_PACKET_BYTES));
    }
}

void ferry_multifd_packer_clear(FerryMultifdPacker *p)
{
    g_clear_pointer(&p->compressor, ferry_compressor_free);
    g_clear_pointer(&p->copy, g_free);
    g_clear_pointer(&p->out, g_free);
    g_clear_pointer(&p->trial, ferry_compressor_free);
    g_clear_pointer(&p->trial_out, g_free);
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

static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* The pages' bytes as a compressor may read them. The guest may write meanwhile, which would
 * confuse it: so it gets a copy. Returns the number of pieces. */
static unsigned still_pieces(FerryMultifdPacker *p, gboolean stable, struct iovec *copy,
                             const struct iovec **out_pieces)
{
    *out_pieces = p->pieces;
    if (stable) {
        return p->n_pieces;
    }
    *copy = (struct iovec){.iov_base = p->copy, .iov_len = 0};
    for (unsigned i = 0; i < p->n_pieces; i++) {
        memcpy(p->copy + copy->iov_len, p->pieces[i].iov_base, p->pieces[i].iov_len);
        copy->iov_len += p->pieces[i].iov_len;
    }
    *out_pieces = copy;
    return 1;
}

static size_t compress(FerryMultifdPacker *p, const struct iovec *pieces, unsigned n)
{
    uint64_t begin_ns = ferry_now_ns(), begin_cpu_ns = p->adaptive ? cpu_ns() : 0;
    size_t bytes = ferry_compressor_packet(p->compressor, pieces, n, p->out);

    if (p->adaptive) {
        p->packet.work_ns = ferry_now_ns() - begin_ns;
        p->packet.cpu_ns = cpu_ns() - begin_cpu_ns;
    }
    p->iov[p->n_iov++] = (struct iovec){.iov_base = p->out, .iov_len = bytes};
    return bytes;
}

static size_t leave_raw(FerryMultifdPacker *p)
{
    size_t bytes;

    p->n_iov += (int)ferry_compressor_raw_packet(p->compressor, p->pieces, p->n_pieces,
                                                 p->iov + p->n_iov, &bytes);
    return bytes;
}

/* The same pages at another step, with a compressor of its own: a stream is not to be disturbed.
 * In CPU time: a trial is short, and others on the processor would be all of it. */
static void try_step(FerryMultifdPacker *p, unsigned step, const struct iovec *pieces, unsigned n,
                     size_t in_bytes, size_t out_bytes)
{
    int level = ferry_compress_step_level(p->method, step);
    uint64_t begin_ns;
    size_t bytes;

    if (!p->trial) {
        p->trial = ferry_compressor_new(p->method, 1);
        p->trial_out = g_malloc(ferry_compressor_bound(p->trial, FERRY_MULTIFD_PACKET_BYTES));
    }
    if (p->trial_step != step) { /* its tables are cold, which says nothing of later packets */
        ferry_compressor_set_level(p->trial, level);
        ferry_compressor_packet(p->trial, pieces, n, p->trial_out);
        p->trial_step = step;
    }
    begin_ns = cpu_ns();
    bytes = ferry_compressor_packet(p->trial, pieces, n, p->trial_out);
    ferry_level_tried(&p->level, in_bytes, out_bytes, p->packet.cpu_ns, step, bytes,
                      cpu_ns() - begin_ns);
}

/* As ferry_level_next() has it. */
static size_t adapt(FerryMultifdPacker *p, gboolean stable, size_t in_bytes)
{
    const struct iovec *pieces = p->pieces;
    struct iovec copy;
    unsigned trial, step, n = p->n_pieces;
    size_t bytes;

    if (stable && !p->was_stable) { /* the guest waits: nothing but the link holds this up */
        ferry_level_hurry(&p->level, p->first_step);
    }
    p->was_stable = stable;
    p->packet = (FerryLevelPacket){.in_bytes = in_bytes};
    step = ferry_level_next(&p->level, &trial);
    if (step > 0 && ferry_compressor_seems_incompressible(p->compressor, p->pieces, p->n_pieces)) {
        p->packet.as_it_is = TRUE;
        return leave_raw(p);
    }
    if (step > 0 || trial != step) {
        n = still_pieces(p, stable, &copy, &pieces);
    }
    if (step > 0) {
        ferry_compressor_set_level(p->compressor, ferry_compress_step_level(p->method, step));
        bytes = compress(p, pieces, n);
    } else {
        bytes = leave_raw(p);
    }
    if (trial != step) {
        try_step(p, trial, pieces, n, in_bytes, bytes);
    }
    return bytes;
}

/* Puts what follows the header behind it. Returns its size. */
static size_t add_payload(FerryMultifdPacker *p, gboolean stable)
{
    size_t bytes = (size_t)p->n_normal * FERRY_PAGE_SIZE;
    const struct iovec *pieces;
    struct iovec copy;

    if (p->n_normal == 0) {
        return 0;
    }
    if (p->method == FERRY_MULTIFD_NONE) {
        memcpy(p->iov + p->n_iov, p->pieces, p->n_pieces * sizeof p->pieces[0]);
        p->n_iov += (int)p->n_pieces;
        return bytes;
    }
    if (p->adaptive) {
        bytes = adapt(p, stable, bytes);
    } else if (ferry_compressor_seems_incompressible(p->compressor, p->pieces, p->n_pieces)) {
        bytes = leave_raw(p);
    } else {
        unsigned n = still_pieces(p, stable, &copy, &pieces);
        bytes = compress(p, pieces, n);
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
    p->packet.in_bytes = 0;
    packet.payload_bytes = (uint32_t)add_payload(p, job->stable);
    packet.normal_pages = p->n_normal;
    packet.zero_pages = p->n_zero;
    g_strlcpy(packet.idstr, block->idstr, sizeof packet.idstr);
    set_header(p, &packet);
    p->counts.normal_pages += p->n_normal;
    p->counts.zero_pages += p->n_zero;
}

void ferry_multifd_packer_written(FerryMultifdPacker *p, uint64_t write_ns, gboolean link_busy,
                                  gint64 queued)
{
    if (!p->adaptive || p->packet.in_bytes == 0) {
        return;
    }
    for (int i = 1; i < p->n_iov; i++) {
        p->packet.out_bytes += p->iov[i].iov_len;
    }
    p->packet.write_ns = write_ns;
    p->packet.link_busy = link_busy;
    p->packet.now_ns = ferry_now_ns();
    p->packet.queued_bytes = queued > 0 ? (uint64_t)queued : 0;
    ferry_level_sent(&p->level, &p->packet);
    p->packet.in_bytes = 0;
}

void ferry_multifd_packer_sync(FerryMultifdPacker *p, uint64_t packet_num)
{
    FerryMultifdPacket packet = {.sync = TRUE, .packet_num = packet_num};

    p->n_iov = 1;
    set_header(p, &packet);
}
