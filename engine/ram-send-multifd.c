/* Pages in packets on channels of their own; the main channel has the sections, the barriers, and
 * where the destination wants them there the zero pages. */
#include <string.h>
#include "engine/multifd-send.h"
#include "engine/ram-send-private.h"

#define STEP_NS 50000000ull /* of waiting, until the source looks after its peer */

typedef struct {
    FerryRamSender base;
    FerryMultifdSend *send;
    FerryMultifdJob job;      /* being filled */
    gboolean since_a_barrier; /* pages were handed over, or stand on main */
} Multifd;

static Multifd *of(FerryRamSender *s) { return (Multifd *)s; }
static const Multifd *of_const(const FerryRamSender *s) { return (const Multifd *)s; }

static gboolean await(Multifd *m, FerryMultifdWait what, GError **error)
{
    const FerryRamSetup *setup = &m->base.setup;

    for (;;) {
        int got = ferry_multifd_send_wait(m->send, what, ferry_now_ns() + STEP_NS, error);
        if (got != 0) {
            return got > 0;
        }
        if (setup->between && !setup->between(setup->between_self, error)) {
            return FALSE;
        }
    }
}

/* Hands over what was collected. */
static gboolean submit(Multifd *m, GError **error)
{
    if (m->job.n == 0) {
        return TRUE;
    }
    if (!await(m, FERRY_MULTIFD_ROOM, error)) {
        return FALSE;
    }
    ferry_multifd_send_job(m->send, &m->job);
    m->job.n = 0;
    return TRUE;
}

/* Who the destination is, and with it this, is known when the first pages come. */
static gboolean zeros_in_packets(const FerryRamSender *s)
{
    return s->setup.options->zero_pages == FERRY_ZERO_PAGES_MULTIFD &&
           s->setup.dialect->zero_in_packets;
}

static gboolean collect(Multifd *m, unsigned block, uint64_t page, gboolean stable, GError **error)
{
    FerryMultifdJob *job = &m->job;

    if (job->n == FERRY_MULTIFD_JOB_PAGES || (job->n > 0 && job->block != block)) {
        if (!submit(m, error)) {
            return FALSE;
        }
    }
    job->block = block;
    job->stable = stable;
    job->find_zero = zeros_in_packets(&m->base);
    job->pages[job->n++] = page;
    return TRUE;
}

static gboolean multifd_connect(FerryRamSender *s, GError **error)
{
    const FerrySourceOptions *options = s->setup.options;

    for (unsigned i = 0; i < options->multifd_channels; i++) {
        FerryChannel *channel = options->connect(options->connect_self, error);
        if (!channel) {
            g_prefix_error(error, "multifd channel %u: ", i);
            return FALSE;
        }
        if (!ferry_multifd_send_add(of(s)->send, channel, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* The pages of a packet cost next to nothing here; the queue decides. */
static gboolean multifd_has_room(const FerryRamSender *s, uint64_t n)
{
    (void)n;
    return ferry_multifd_send_has_room(of_const(s)->send);
}

static gboolean multifd_pages(FerryRamSender *s, unsigned block, uint64_t first, uint64_t n,
                              gboolean last, GError **error)
{
    const uint8_t *host = ferry_memory_block(s->setup.memory, block)->host;
    gboolean zeros_on_main =
        s->setup.options->zero_pages != FERRY_ZERO_PAGES_NONE && !zeros_in_packets(s);

    if (zeros_on_main || !s->setup.dialect->flush_per_round) {
        ferry_ram_sender_need_section(s, last);
    }
    of(s)->since_a_barrier = TRUE;
    for (uint64_t page = first; page < first + n; page++) {
        if (zeros_on_main && ferry_ram_sender_is_zero(s, host + page * FERRY_PAGE_SIZE)) {
            ferry_ram_sender_add_zero(s, block, page);
        } else if (!collect(of(s), block, page, last, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* Every channel says SYNC behind all that was handed over. */
static gboolean barrier(Multifd *m, GError **error)
{
    if (!submit(m, error)) {
        return FALSE;
    }
    m->since_a_barrier = FALSE;
    ferry_multifd_send_sync(m->send);
    return await(m, FERRY_MULTIFD_IDLE, error);
}

static gboolean barrier_and_flush(FerryRamSender *s, gboolean last, GError **error)
{
    FerryRamHeader flush = {.flags = FERRY_RAM_MULTIFD_FLUSH};

    if (!barrier(of(s), error)) {
        return FALSE;
    }
    ferry_ram_sender_need_section(s, last);
    ferry_ram_records_add(&s->records, &flush);
    return TRUE;
}

static gboolean multifd_end_round(FerryRamSender *s, gboolean last, GError **error)
{
    if (!s->setup.dialect->flush_per_round || !of(s)->since_a_barrier) {
        return TRUE;
    }
    return barrier_and_flush(s, last, error);
}

static gboolean multifd_end_section(FerryRamSender *s, FerrySectionType type, GError **error)
{
    if (!s->setup.dialect->flush_per_round) {
        return barrier(of(s), error);
    }
    return type != FERRY_SECTION_START || barrier_and_flush(s, FALSE, error);
}

static gboolean multifd_has_dear_sections(const FerryRamSender *s)
{
    return !s->setup.dialect->flush_per_round;
}

static gboolean multifd_is_idle(const FerryRamSender *s)
{
    return of_const(s)->job.n == 0 && ferry_multifd_send_is_idle(of_const(s)->send);
}

static gboolean multifd_flush(FerryRamSender *s, GError **error)
{
    return await(of(s), FERRY_MULTIFD_ROOM, error);
}

static gboolean multifd_drain(FerryRamSender *s, GError **error)
{
    return submit(of(s), error) && await(of(s), FERRY_MULTIFD_IDLE, error);
}

static void multifd_add_counts(FerryRamSender *s, FerryRamCounts *counts)
{
    FerryMultifdSendCounts more = ferry_multifd_send_counts(of(s)->send);

    counts->normal_pages += more.normal_pages;
    counts->zero_pages += more.zero_pages;
    counts->coded_pages += more.coded_pages;
    counts->coded_bytes += more.coded_bytes;
    counts->multifd_bytes += ferry_multifd_send_bytes_written(of(s)->send);
}

static uint64_t multifd_bytes_written(const FerryRamSender *s)
{
    return ferry_multifd_send_bytes_written(of_const(s)->send);
}

static uint64_t multifd_queued(const FerryRamSender *s)
{
    return ferry_multifd_send_queued(of_const(s)->send);
}

static void multifd_limit_queue(FerryRamSender *s, uint64_t bytes)
{
    ferry_multifd_send_limit_queue(of(s)->send, bytes);
}

static uint64_t multifd_waited_ns(const FerryRamSender *s)
{
    return ferry_multifd_send_waited_ns(of_const(s)->send);
}

static void multifd_stop(FerryRamSender *s) { ferry_multifd_send_stop(of(s)->send); }

static void multifd_free(FerryRamSender *s)
{
    ferry_multifd_send_free(of(s)->send);
    g_free(of(s));
}

static const FerryRamSenderOps multifd_ops = {
    .name = "multifd",
    .in_background = TRUE,
    .connect = multifd_connect,
    .has_room = multifd_has_room,
    .pages = multifd_pages,
    .end_round = multifd_end_round,
    .end_section = multifd_end_section,
    .has_dear_sections = multifd_has_dear_sections,
    .is_idle = multifd_is_idle,
    .flush = multifd_flush,
    .drain = multifd_drain,
    .add_counts = multifd_add_counts,
    .bytes_written = multifd_bytes_written,
    .queued = multifd_queued,
    .limit_queue = multifd_limit_queue,
    .waited_ns = multifd_waited_ns,
    .stop = multifd_stop,
    .free = multifd_free,
};

FerryRamSender *ferry_ram_send_multifd_new(const FerryRamSetup *setup)
{
    const FerrySourceOptions *options = setup->options;
    FerryMultifdSendOptions send = {
        .memory = setup->memory,
        .method = options->multifd_method,
        .level = options->multifd_level,
        .adaptive = options->multifd_adaptive,
        .limited = setup->channel,
        .progress_ns = setup->progress_ns,
    };
    Multifd *m = g_new0(Multifd, 1);

    memcpy(send.uuid, setup->uuid, sizeof send.uuid);
    m->base.ops = &multifd_ops;
    m->send = ferry_multifd_send_new(&send);
    return &m->base;
}
