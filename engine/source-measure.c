/* What a source learns about its channel and its guest, and how it tells. */
#include "engine/source-private.h"
#include <string.h>
#include "transport/transport.h"

#define PROBE_INTERVAL_NS 200000000ull /* of a capped channel's real rate */
#define PROBE_LIMIT_NS 1000000000ull
#define PROBE_STEP_NS 100000ull
#define DIRTY_RATE_INTERVAL_NS 100000000ull
#define REHEARSE_INTERVAL_NS 1000000000ull
#define LIMITS_INTERVAL_NS 50000000ull
#define PLAIN_PERMILLE                                                                             \
    1002 /* 4096 + 8 bytes for each 4096: until rounds of dirty pages say better */
#define ROUND_PAGES_MIN 64 /* a smaller round says nothing about the content */

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

/* What left for the peer since the last look, and how long that took. */
static void learn_rate(FerrySource *s)
{
    uint64_t written = ferry_ram_sender_bytes_written(s->sender) - s->written_before;
    gint64 delivered =
        (gint64)written + s->queued_before - (gint64)ferry_ram_sender_queued(s->sender);
    uint64_t busy = ferry_now_ns() - s->busy_since_ns;
    uint64_t waited = ferry_ram_sender_waited_ns(s->sender) - s->waited_before;

    /* Bytes that left while the limit held us back say nothing about the channel. */
    if (written > 0 && delivered > 0 && waited < busy / 16) {
        ferry_rate_add(&s->rate, (uint64_t)delivered, busy - waited);
    }
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

void ferry_source_begin_pages(FerrySource *s)
{
    if (ferry_ram_sender_is_in_background(s->sender) && !s->watching) {
        begin_write(s);
        s->watching = TRUE;
    }
}

/* What the sender writes by itself is timed from flush to flush for as long as there is something
 * to write; else the flush is. */
static gboolean write_out(FerrySource *s, gboolean (*write)(FerryRamSender *sender, GError **error),
                          GError **error)
{
    if (!s->watching) {
        begin_write(s);
    }
    if (!s->paused) {
        ferry_source_look_at_limits(s);
        if (s->current.max_bandwidth && !ferry_ram_sender_is_idle(s->sender) &&
            ferry_now_ns() - s->probed_ns > PROBE_INTERVAL_NS) {
            return probe(s, error);
        }
    }
    if (!write(s->sender, error)) {
        return FALSE;
    }
    learn_rate(s);
    if (s->watching) {
        begin_write(s);
    }
    return TRUE;
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

/* The parts of the downtime if the guest were paused now. */
static FerryDowntime predict(FerrySource *s)
{
    FerryDowntime d = {
        .pause_ns = s->costs.pause_ns,
        .last_round_ns = s->costs.sync_ns,
        .device_state_ns = s->costs.save_ns,
        .verify_ns = s->costs.hash_ns,
        .load_ns = s->costs.save_ns + s->costs.hash_ns + ferry_source_lag(s),
        .start_ns = s->costs.resume_ns + s->peer.round_trip_ns,
    };
    d.total_ns =
        d.pause_ns + d.last_round_ns + d.device_state_ns + d.verify_ns + d.load_ns + d.start_ns;
    return d;
}

gboolean ferry_source_should_rehearse(FerrySource *s)
{
    if (s->paused || s->dirty_syncs < 2) {
        return s->dirty_syncs == 1;
    }
    return predict(s).total_ns > s->current.downtime_limit_ns &&
           ferry_now_ns() - s->costs.rehearsed_ns > REHEARSE_INTERVAL_NS;
}

gboolean ferry_source_rehearse(FerrySource *s, GError **error)
{
    g_autoptr(GByteArray) scratch = g_byte_array_new();
    uint64_t called_ns, paused_ns, saved_ns;
    gboolean was_running, saved = TRUE;

    if (s->options.verify && s->peer.is_ferry) {
        uint64_t begin_ns = ferry_now_ns(), changing; /* for its duration only: the guest runs */
        if (!ferry_source_hash(s, &changing, error)) {
            return FALSE;
        }
        s->costs.hash_ns = ferry_now_ns() - begin_ns;
    }
    called_ns = ferry_now_ns();
    if (!ferry_guest_pause(s->guest, FERRY_PAUSE_REHEARSAL, &was_running, error)) {
        return FALSE;
    }
    paused_ns = ferry_now_ns();
    for (unsigned i = 0; saved && i < ferry_guest_n_devices(s->guest); i++) {
        saved = ferry_device_save(ferry_guest_device(s->guest, i), scratch, error);
    }
    saved_ns = ferry_now_ns();
    if (was_running && !ferry_guest_resume(s->guest, saved ? error : NULL)) {
        return FALSE;
    }
    s->costs.rehearsed_ns = called_ns;
    s->costs.pause_ns = paused_ns - called_ns;
    s->costs.save_ns = saved_ns - paused_ns;
    s->costs.resume_ns = ferry_now_ns() - saved_ns;
    return saved;
}

static uint64_t per_second(uint64_t count, uint64_t ns)
{
    return ns ? ferry_scale(count, 1000000000, ns) : 0;
}

/* Distinct pages per second, over no less than the interval: a round of a millisecond says little.
 */
static void learn_dirty_rate(FerrySource *s, uint64_t pages, uint64_t now)
{
    if (s->dirtied_since_ns == 0) {
        s->dirtied_since_ns = s->round_begin_ns;
    }
    s->dirtied_since += pages;
    if (now - s->dirtied_since_ns >= DIRTY_RATE_INTERVAL_NS) {
        s->dirty_pages_per_second = per_second(s->dirtied_since, now - s->dirtied_since_ns);
        s->dirtied_since = 0;
        s->dirtied_since_ns = now;
    }
}

FerryMoment ferry_source_moment(const FerrySource *s)
{
    return (FerryMoment){.now_ns = ferry_now_ns(),
                         .sent_bytes = ferry_ram_sender_bytes_written(s->sender)};
}

void ferry_source_round(FerrySource *s, uint64_t sync_ns, FerryRound *out_values)
{
    FerryRamCounts counts = ferry_ram_sender_counts(s->sender);
    uint64_t now = ferry_now_ns();
    uint64_t sent = ferry_ram_sender_bytes_written(s->sender) - s->round_begin_bytes;
    uint64_t pages =
        ferry_ram_counts_pages(&counts) - ferry_ram_counts_pages(&s->round_begin_counts);
    unsigned number = (unsigned)s->dirty_syncs;
    const FerryLimits *l = &s->current;

    s->dirty_syncs++;
    s->costs.sync_ns = sync_ns;
    s->fixed = predict(s);
    /* The first round sends everything, mostly pages that will not be dirty at the end. */
    if (number >= 2 && pages >= ROUND_PAGES_MIN) {
        s->wire_permille = ferry_scale(sent, 1000, pages * FERRY_PAGE_SIZE);
    }
    *out_values = (FerryRound){
        .moment = ferry_source_moment(s),
        /* With a return path the destination itself says how far it is behind. */
        .queued_bytes = s->return_path ? 0 : ferry_ram_sender_queued(s->sender),
        .round_sent_bytes = sent,
        .round_ns = now - s->round_begin_ns,
        .uncapped_bytes_per_second = l->avail_switchover_bandwidth ? l->avail_switchover_bandwidth
                                                                   : ferry_rate_get(&s->rate),
        .switchover_bytes_per_second = l->avail_switchover_bandwidth,
        .sync_ns = sync_ns,
        .capped_bytes_per_second = l->max_bandwidth
                                       ? MIN(l->max_bandwidth, ferry_rate_get(&s->rate))
                                       : ferry_rate_get(&s->rate),
        .unsent_wire_permille = PLAIN_PERMILLE,
        .rate_permille_p5 = 1000,
        .wire_permille = s->wire_permille ? s->wire_permille : PLAIN_PERMILLE,
        .fixed_ns = s->fixed.total_ns,
        .downtime_limit_ns = l->downtime_limit_ns,
        .on_stall = l->on_stall,
        .throttle_percent = s->throttle_percent,
        .throttle_initial = l->auto_converge ? l->cpu_throttle_initial : 0,
        .throttle_increment = l->auto_converge ? l->cpu_throttle_increment : 0,
        .throttle_max = l->auto_converge ? l->max_cpu_throttle : 0,
        .throttle_trigger = l->throttle_trigger_threshold,
    };
}

static uint64_t packed_pages(const FerryRamCounts *c)
{
    return c->xbzrle_pages + c->skipped_pages + c->compressed_pages;
}

void ferry_source_report(FerrySource *s, const FerryRound *v)
{
    FerryRamCounts counts = ferry_ram_sender_counts(s->sender);
    if (v->number && !s->paused) {
        learn_dirty_rate(s, v->round_dirtied_bytes / FERRY_PAGE_SIZE, ferry_now_ns());
    }
    uint64_t predicted = ferry_precopy_decision(s->machine)->predicted_downtime_ns;
    FerryRoundReport report = {
        .number = v->number,
        .normal_pages = counts.normal_pages - s->round_begin_counts.normal_pages,
        .zero_pages = counts.zero_pages - s->round_begin_counts.zero_pages,
        .packed_pages = packed_pages(&counts) - packed_pages(&s->round_begin_counts),
        .sent_bytes = v->round_sent_bytes,
        .duration_ns = v->round_ns,
        .dirtied_pages = v->round_dirtied_bytes / FERRY_PAGE_SIZE,
        .bytes_per_second = per_second(v->round_sent_bytes, v->round_ns),
        .dirty_pages_per_second = per_second(v->round_dirtied_bytes / FERRY_PAGE_SIZE, v->round_ns),
        .predicted_downtime_ns = predicted,
        .throttle_percent = v->throttle_percent,
    };

    if (!s->paused && predicted != UINT64_MAX) {
        s->predicted = s->fixed;
        s->predicted.last_round_ns += predicted - s->predicted.total_ns;
        s->predicted.total_ns = predicted;
    }
    if (v->number > 0) {
        pthread_mutex_lock(&s->lock);
        if (s->rounds->len == 2 * FERRY_ROUNDS_KEPT) {
            g_array_remove_range(s->rounds, 0, FERRY_ROUNDS_KEPT);
        }
        g_array_append_val(s->rounds, report);
        s->progress.rounds++;
        s->progress.bytes_per_second = report.bytes_per_second;
        pthread_mutex_unlock(&s->lock);
    }
    s->round_begin_ns = ferry_now_ns();
    s->round_begin_bytes = ferry_ram_sender_bytes_written(s->sender);
    s->round_begin_counts = counts;
}

void ferry_source_report_last(FerrySource *s)
{
    uint64_t now = ferry_now_ns();
    FerryRound values = {
        .number = (unsigned)s->dirty_syncs - 1,
        .round_sent_bytes = ferry_ram_sender_bytes_written(s->sender) - s->round_begin_bytes,
        .round_ns = now - s->round_begin_ns,
        .throttle_percent = s->throttle_percent,
    };
    ferry_source_report(s, &values);
    s->downtime.last_round_ns = now - s->pause_called_ns - s->downtime.pause_ns;
}

static void put_counts(FerryProgress *p, const FerryRamCounts *counts)
{
    p->normal_pages = counts->normal_pages;
    p->zero_pages = counts->zero_pages;
    p->xbzrle_pages = counts->xbzrle_pages;
    p->xbzrle_bytes = counts->xbzrle_bytes;
    p->xbzrle_cache_bytes = counts->xbzrle_cache_bytes;
    p->xbzrle_misses = counts->xbzrle_misses;
    p->xbzrle_overflows = counts->xbzrle_overflows;
    p->unchanged_pages = counts->skipped_pages;
    p->xbzrle_miss_rate = counts->xbzrle_miss_rate;
    p->xbzrle_encoding_rate = counts->xbzrle_encoding_rate;
    p->compressed_pages = counts->compressed_pages;
    p->compressed_bytes = counts->compressed_bytes;
    p->coded_pages = counts->coded_pages;
    p->coded_bytes = counts->coded_bytes;
    p->multifd_bytes = counts->multifd_bytes;
}

void ferry_source_publish(FerrySource *s, gboolean notify)
{
    FerryRamCounts counts = ferry_ram_sender_counts(s->sender);
    uint64_t remaining = ferry_precopy_pending_pages(s->machine) * FERRY_PAGE_SIZE;
    FerryProgress copy;

    pthread_mutex_lock(&s->lock);
    FerryProgress *p = &s->progress;
    p->phase = ferry_precopy_phase(s->machine);
    p->peer_is_ferry = s->peer.is_ferry;
    p->ram_remaining_bytes = remaining;
    p->way = ferry_ram_sender_get_name(s->sender);
    p->sent_bytes = ferry_ram_sender_bytes_written(s->sender);
    put_counts(p, &counts);
    p->dirty_syncs = s->dirty_syncs;
    p->dirty_pages_per_second = s->dirty_pages_per_second;
    p->uncapped_bytes_per_second = ferry_rate_get(&s->rate);
    p->total_ns = ferry_now_ns() - s->begin_ns;
    p->predicted = s->predicted;
    p->predicted_downtime_ns = s->predicted.total_ns;
    p->downtime = s->downtime;
    p->throttle_percent = s->throttle_percent;
    copy = *p;
    pthread_mutex_unlock(&s->lock);
    if (notify && s->options.notify) {
        s->options.notify(s->options.notify_self, &copy);
    }
}
