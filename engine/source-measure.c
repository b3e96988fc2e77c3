/* What a source learns about its channel, and how much it lets wait there. */
#include "engine/source-private.h"
#include "transport/transport.h"

#define PROBE_INTERVAL_NS 200000000ull /* of a capped channel's real rate */
#define PROBE_LIMIT_NS 1000000000ull
#define PROBE_STEP_NS 100000ull
#define LIMITS_INTERVAL_NS 50000000ull
/* What waits in the socket is part of the downtime, and as long as a write waits no answer of the
 * peer is seen. So little is gathered, and little may wait, where the link is slow. */
#define GATHER_NS 4000000ull
/* Where a call takes long, on a busy host, so much more: else what is measured of little gathers
 * makes them less and less. */
#define CALLS_PER_GATHER 4
#define QUEUE_NS 40000000ull
#define QUEUE_LEAST_NS 5000000ull
#define QUEUES_PER_LIMIT 10
#define QUEUE_LEAST_BYTES (64u << 10)
#define QUEUE_STEP_NS 500000ull

void ferry_source_look_at_limits(FerrySource *s)
{
    pthread_mutex_lock(&s->lock);
    s->current = s->limits;
    pthread_mutex_unlock(&s->lock);
    /* The guest waits for the last round: nothing holds that back. */
    ferry_channel_ratelimit_set(s->channel, s->paused ? 0 : s->current.max_bandwidth);
}

/* Only writes are timed: looking for zero pages, a sync, a rest say nothing about the channel. */
static void begin_write(FerrySource *s)
{
    s->busy_since_ns = ferry_now_ns();
    s->written_before = ferry_ram_sender_bytes_written(s->sender);
    s->queued_before = (gint64)ferry_ram_sender_queued(s->sender);
    s->waited_before = ferry_ram_sender_waited_ns(s->sender);
}

/* A shaped link that stood idle takes the first bytes faster than it can go on. */
#define IDLE_BYTES 65536
#define IDLE_WEIGHT 8
#define PIECES_ENOUGH 4
static gboolean was_idle(const FerrySource *s, uint64_t queued)
{
    return s->queued_before < IDLE_BYTES && queued > IDLE_BYTES && s->rate.n >= PIECES_ENOUGH;
}

/* A few bytes that went at once show what a call costs, not what the link can do: zero pages are
 * little more. They count as long as nothing else is known. */
#define LITTLE_BYTES 32768
static gboolean is_little(const FerrySource *s, gint64 delivered, uint64_t queued)
{
    return delivered < LITTLE_BYTES && queued < LITTLE_BYTES && s->queued_before < LITTLE_BYTES;
}

uint64_t ferry_source_rate(const FerrySource *s)
{
    uint64_t rate = ferry_rate_get(&s->rate);

    return rate ? rate : ferry_rate_get(&s->little_rate);
}

/* What left for the peer since the last look, and how long that took. */
static void learn_rate(FerrySource *s)
{
    uint64_t written = ferry_ram_sender_bytes_written(s->sender) - s->written_before;
    uint64_t queued = ferry_ram_sender_queued(s->sender);
    gint64 delivered = (gint64)written + s->queued_before - (gint64)queued;
    uint64_t busy = ferry_now_ns() - s->busy_since_ns;
    uint64_t waited = ferry_ram_sender_waited_ns(s->sender) - s->waited_before;

    /* Bytes that left while the limit held us back say nothing about the channel. */
    if (written == 0 || delivered <= 0 || waited >= busy / 16) {
        return;
    }
    if (is_little(s, delivered, queued)) {
        ferry_rate_add(&s->little_rate, (uint64_t)delivered, busy - waited);
        ferry_spread_add(&s->call, (double)(busy - waited));
        return;
    }
    unsigned part = was_idle(s, queued) ? IDLE_WEIGHT : 1;
    ferry_rate_add(&s->rate, (uint64_t)delivered / part, (busy - waited) / part);
}

/* Lets so much time pass that @written bytes since @begin_ns keep the limit, which may change. */
static gboolean pay_back(FerrySource *s, uint64_t begin_ns, uint64_t written, GError **error)
{
    for (;;) {
        ferry_source_look_at_limits(s);
        uint64_t limit = s->current.max_bandwidth, now = ferry_now_ns();
        uint64_t until = limit ? begin_ns + ferry_scale(written, 1000000000, limit) : now;
        if (now >= until || g_atomic_int_get(&s->owner) == OWNER_CANCELLED) {
            /* What may go because of the waiting has gone. */
            ferry_channel_ratelimit_set(s->channel, 0);
            ferry_source_look_at_limits(s);
            return TRUE;
        }
        until = MIN(until, now + LIMITS_INTERVAL_NS);
        if (!ferry_source_listen(s, until, error) || !ferry_source_keep_alive(s, error)) {
            return FALSE;
        }
        if ((now = ferry_now_ns()) < until) { /* no return path, or something came in between */
            g_usleep((until - now) / 1000);
        }
    }
}

/* A capped channel never shows what the link can do. So now and then what the sender holds goes out
 * uncapped and its way to the peer is timed; waiting afterwards pays for it. */
static gboolean probe(FerrySource *s, GError **error)
{
    uint64_t begin_ns, written;

    begin_write(s);
    begin_ns = s->busy_since_ns;
    ferry_channel_ratelimit_set(s->channel, 0);
    if (!ferry_ram_sender_drain(s->sender, error)) {
        return FALSE;
    }
    while ((gint64)ferry_ram_sender_queued(s->sender) > s->queued_before &&
           ferry_now_ns() - begin_ns < PROBE_LIMIT_NS) {
        if (!ferry_source_listen(s, ferry_now_ns() + PROBE_STEP_NS, error)) {
            return FALSE;
        }
        if (!s->return_path) {
            g_usleep(PROBE_STEP_NS / 1000);
        }
    }
    learn_rate(s);
    ferry_rate_end_piece(&s->rate); /* one that is held up by chance shall not spoil the others */
    s->watching = FALSE;
    s->probed_ns = ferry_now_ns();
    /* A PING may be due in pay_back. */
    if (!ferry_ram_sender_end_section(s->sender, FALSE, error) ||
        !ferry_ram_sender_flush(s->sender, error)) {
        return FALSE;
    }
    written = ferry_ram_sender_bytes_written(s->sender) - s->written_before;
    return pay_back(s, begin_ns, written, error);
}

static gboolean probe_is_due(const FerrySource *s)
{
    return s->current.max_bandwidth && ferry_now_ns() - s->probed_ns > PROBE_INTERVAL_NS;
}

gboolean ferry_source_wants_flush(const FerrySource *s)
{
    uint64_t rate = ferry_rate_get(&s->rate), limit = s->paused ? 0 : s->current.max_bandwidth;

    if (ferry_ram_sender_is_in_background(s->sender) || rate == 0) {
        return FALSE;
    }
    rate = limit ? MIN(rate, limit) : rate;
    uint64_t gather_ns = GATHER_NS + CALLS_PER_GATHER * (uint64_t)s->call.mean;
    return s->gathered_pages * FERRY_PAGE_SIZE > ferry_scale(rate, gather_ns, 1000000000) &&
           (s->paused || !probe_is_due(s)); /* which a larger gather makes exacter */
}

uint64_t ferry_source_longest_queue_ns(const FerrySource *s)
{
    uint64_t limit = s->current.downtime_limit_ns / QUEUES_PER_LIMIT;

    return CLAMP(limit, QUEUE_LEAST_NS, QUEUE_NS) + s->peer.round_trip_ns;
}

/* The threads that write by themselves are held back by the kernel, which is told when what is
 * known of the link has changed much. */
static void bound_queues(FerrySource *s, uint64_t most)
{
    if (most < s->queue_limit * 3 / 4 || most > s->queue_limit * 5 / 4) {
        ferry_ram_sender_limit_queue(s->sender, most);
        s->queue_limit = most;
    }
}

/* Lets the channel's queue get short enough, and listens meanwhile: what is measured of the peer's
 * answers is then not how long we wrote. */
static gboolean await_queue(FerrySource *s, GError **error)
{
    uint64_t rate = ferry_rate_get(&s->rate), begin_ns = ferry_now_ns();
    uint64_t longest_ns = ferry_source_longest_queue_ns(s);
    uint64_t most = ferry_scale(rate, longest_ns, 1000000000) + QUEUE_LEAST_BYTES;

    if (rate == 0) {
        return TRUE;
    }
    if (ferry_ram_sender_is_in_background(s->sender)) {
        bound_queues(s, most);
        return TRUE;
    }
    while (ferry_ram_sender_queued(s->sender) > most &&
           ferry_now_ns() - begin_ns < PROBE_LIMIT_NS &&
           g_atomic_int_get(&s->owner) != OWNER_CANCELLED) {
        if (!ferry_source_listen(s, ferry_now_ns() + QUEUE_STEP_NS, error)) {
            return FALSE;
        }
        if (!s->return_path) {
            g_usleep(QUEUE_STEP_NS / 1000);
        }
    }
    return TRUE;
}

void ferry_source_begin_pages(FerrySource *s)
{
    if (ferry_ram_sender_is_in_background(s->sender) && !s->watching) {
        begin_write(s);
        s->watching = TRUE;
    }
}

static gboolean write_now(FerrySource *s, gboolean (*write)(FerryRamSender *sender, GError **error),
                          GError **error)
{
    if (!s->paused) {
        ferry_source_look_at_limits(s);
        if (probe_is_due(s) && !ferry_ram_sender_is_idle(s->sender)) {
            return probe(s, error);
        }
    }
    if (!write(s->sender, error) || !await_queue(s, error)) {
        return FALSE;
    }
    learn_rate(s);
    if (s->watching) {
        begin_write(s);
    }
    return TRUE;
}

/* What the sender writes by itself is timed from flush to flush for as long as there is something
 * to write; else the flush is. */
static gboolean write_out(FerrySource *s, gboolean (*write)(FerryRamSender *sender, GError **error),
                          GError **error)
{
    uint64_t begin_ns = ferry_now_ns();
    gboolean ok;

    if (!s->watching) {
        begin_write(s);
    }
    ok = write_now(s, write, error);
    s->gathered_pages = 0;
    s->round.write_ns += ferry_now_ns() - begin_ns;
    return ok;
}

gboolean ferry_source_flush(FerrySource *s, GError **error)
{
    uint64_t written = ferry_channel_bytes_written(s->channel);

    if (!write_out(s, ferry_ram_sender_flush, error)) {
        return FALSE;
    }
    if (ferry_channel_bytes_written(s->channel) != written) {
        s->peer.spoke_ns = ferry_now_ns();
    }
    return TRUE;
}

gboolean ferry_source_drain(FerrySource *s, GError **error)
{
    gboolean ok = write_out(s, ferry_ram_sender_drain, error);

    s->watching = FALSE;
    return ok;
}
