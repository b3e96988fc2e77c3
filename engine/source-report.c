/* What a source tells: rounds, and how far it is. */
#include "engine/source-private.h"
#include "transport/transport.h"

#define TOLD_INTERVAL_NS 100000000ull /* of rates: a round of a millisecond says little */

static uint64_t per_second(uint64_t count, uint64_t ns)
{
    return ns ? ferry_scale(count, 1000000000, ns) : 0;
}

static void learn_told_rates(FerrySource *s, const FerryRound *v, uint64_t now)
{
    Told *t = &s->told;

    if (t->since_ns == 0) {
        t->since_ns = s->round.begin_ns;
    }
    t->dirtied_pages += v->round_dirtied_bytes / FERRY_PAGE_SIZE;
    t->sent_bytes += v->round_sent_bytes;
    if (now - t->since_ns >= TOLD_INTERVAL_NS) {
        t->dirty_pages_per_second = per_second(t->dirtied_pages, now - t->since_ns);
        t->bytes_per_second = per_second(t->sent_bytes, now - t->since_ns);
        t->dirtied_pages = t->sent_bytes = 0;
        t->since_ns = now;
    }
}

static uint64_t packed_pages(const FerryRamCounts *c)
{
    return c->xbzrle_pages + c->skipped_pages + c->compressed_pages;
}

/* The next round begins. What the machine has handed out since the sync is the next one's. */
static void begin_round(FerrySource *s, const FerryRamCounts *counts)
{
    FerryDirtyLogStats stats;

    ferry_dirty_log_get_stats(s->log, &stats);
    s->round = (Round){.begin_ns = ferry_now_ns(),
                       .begin_bytes = ferry_ram_sender_bytes_written(s->sender),
                       .begin_counts = *counts,
                       .begin_unsent = s->round.end_unsent,
                       .begin_clear_ns = stats.clear_ns,
                       .begin_unchanged = ferry_sample_unchanged(s->sample)};
}

void ferry_source_begin_rounds(FerrySource *s)
{
    FerryRamCounts none = {0};

    s->round.end_unsent = ferry_precopy_unsent_pages(s->machine);
    begin_round(s, &none);
}

void ferry_source_report(FerrySource *s, const FerryRound *v)
{
    FerryRamCounts counts = ferry_ram_sender_counts(s->sender);
    const FerryRamCounts *before = &s->round.begin_counts;
    FerryRoundReport report = {
        .number = v->number,
        .normal_pages = counts.normal_pages - before->normal_pages,
        .zero_pages = counts.zero_pages - before->zero_pages,
        .packed_pages = packed_pages(&counts) - packed_pages(before),
        .first_pages = s->round.begin_unsent - s->round.end_unsent,
        .unchanged_pages_estimate =
            (ferry_sample_unchanged(s->sample) - s->round.begin_unchanged) * FERRY_SAMPLE_PAGES,
        .deferred_pages = s->paused ? 0 : ferry_precopy_deferred_pages(s->machine),
        .sent_bytes = v->round_sent_bytes,
        .duration_ns = v->round_ns,
        .dirtied_pages = v->round_dirtied_bytes / FERRY_PAGE_SIZE,
        .bytes_per_second = per_second(v->round_sent_bytes, v->round_ns),
        .dirty_pages_per_second = per_second(v->round_dirtied_bytes / FERRY_PAGE_SIZE, v->round_ns),
        .predicted_downtime_ns = ferry_precopy_decision(s->machine)->predicted_downtime_ns,
        .throttle_percent = v->throttle_percent,
    };

    if (v->number > 0) {
        learn_told_rates(s, v, ferry_now_ns());
        pthread_mutex_lock(&s->lock);
        if (s->rounds->len == 2 * FERRY_ROUNDS_KEPT) {
            g_array_remove_range(s->rounds, 0, FERRY_ROUNDS_KEPT);
        }
        g_array_append_val(s->rounds, report);
        s->progress.rounds++;
        s->progress.bytes_per_second =
            s->told.bytes_per_second ? s->told.bytes_per_second : report.bytes_per_second;
        pthread_mutex_unlock(&s->lock);
    }
    begin_round(s, &counts);
}

void ferry_source_report_last(FerrySource *s)
{
    uint64_t now = ferry_now_ns();
    FerryRound values = {
        .number = (unsigned)s->dirty_syncs - 1,
        .round_sent_bytes = ferry_ram_sender_bytes_written(s->sender) - s->round.begin_bytes,
        .round_ns = now - s->round.begin_ns,
        .throttle_percent = s->throttle_percent,
    };
    s->round.end_unsent = ferry_precopy_unsent_pages(s->machine);
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
    p->unchanged_pages_estimate = ferry_sample_unchanged(s->sample) * FERRY_SAMPLE_PAGES;
    p->unsent_pages = ferry_precopy_unsent_pages(s->machine);
    p->dirty_pages_per_second = s->told.dirty_pages_per_second;
    p->uncapped_bytes_per_second = ferry_source_rate(s);
    p->total_ns = ferry_now_ns() - s->begin_ns;
    p->predicted = s->predicted;
    p->predicted_downtime_ns = s->predicted.total_ns;
    p->downtime = s->downtime;
    p->throttle_percent = s->throttle_percent;
    p->throttled_ns = ferry_source_throttled_ns(s);
    p->policy = ferry_precopy_policy(s->machine)->name;
    p->downtime_limit_ns = s->limits.downtime_limit_ns;
    p->timed_out = ferry_precopy_timed_out(s->machine);
    p->forecast = *ferry_precopy_forecast(s->machine);
    copy = *p;
    pthread_mutex_unlock(&s->lock);
    if (notify && s->options.notify) {
        s->options.notify(s->options.notify_self, &copy);
    }
}
