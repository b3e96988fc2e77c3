/* What a downtime would be made of, were the guest paused now, and what rounds tell of that. */
#include "engine/source-private.h"
#include "transport/transport.h"

#define REHEARSE_INTERVAL_NS 1000000000ull
#define REHEARSE_SHARE 200 /* of the time, what rehearsals may take at most: 1/200 */
#define REHEARSALS 8       /* enough to know the spread */
/* Pages, or time, after which what was learnt before weighs half; and how much is enough to go by.
 */
#define FIRST_PAGES 65536.0
#define AGAIN_PAGES 4096.0
#define PAGES_ENOUGH 64.0
#define CPU_PAGES 16384.0
#define DIRTY_NS 200e6
#define SYNC_NS 1e9
#define PLAIN_PERMILLE 1002 /* 4096 + 8 bytes for each 4096: until rounds say better */

void ferry_source_learn_lag(FerrySource *s, uint64_t lag_ns)
{
    uint64_t rate = ferry_source_rate(s);
    uint64_t behind_ns = rate ? ferry_scale(s->peer.pinged_queued, 1000000000, rate) : 0;

    ferry_spread_add(&s->costs.lag, (double)(lag_ns - MIN(lag_ns, behind_ns)));
}

/* One that was held up by chance shall not put off all that follow. */
static void add_damped(FerrySpread *spread, double sample)
{
    ferry_spread_add(spread, spread->n > 0 ? MIN(sample, 3 * spread->mean) : sample);
}

void ferry_source_learn_sync(FerrySource *s, uint64_t looked_ns, uint64_t idle_ns)
{
    add_damped(&s->costs.sync, (double)(looked_ns + idle_ns));
    add_damped(&s->costs.look, (double)looked_ns);
}

/* How long the destination takes for an answer, besides what it has to receive before. */
static uint64_t lag(const FerrySource *s)
{
    uint64_t usual = MAX((uint64_t)s->costs.lag.mean, s->peer.round_trip_ns), waits;

    if (!s->return_path) {
        return 0;
    }
    waits = s->peer.answered ? 0 : ferry_now_ns() - s->peer.pinged_ns;
    return MAX(usual, waits);
}

static uint64_t wire_permille(const FerryShare *wire)
{
    return (uint64_t)ferry_share_get(wire, 1000.0 / FERRY_PAGE_SIZE, PAGES_ENOUGH, PLAIN_PERMILLE);
}

static double first_page_ns(const FerrySource *s)
{
    return ferry_share_get(&s->first_cpu, 1, PAGES_ENOUGH, 0);
}

/* At this rate pages travel when finding, testing and packing them takes its time too, where one
 * thread does all of it. Bytes/s on the wire. */
static uint64_t with_cpu(const FerrySource *s, uint64_t rate)
{
    double page_ns = ferry_share_get(&s->again_cpu, 1, PAGES_ENOUGH, first_page_ns(s));
    double wire = (double)wire_permille(&s->again_wire) * FERRY_PAGE_SIZE / 1000;

    if (rate == 0 || ferry_ram_sender_is_in_background(s->sender) || wire <= 0) {
        return rate;
    }
    return (uint64_t)(wire * 1e9 / (page_ns + wire * 1e9 / (double)rate));
}

static uint64_t switchover_rate(const FerrySource *s)
{
    uint64_t given = s->current.avail_switchover_bandwidth;

    return with_cpu(s, given ? given : ferry_source_rate(s));
}

/* What a page costs that goes for the first time, in wire bytes of as much time at @rate for 1000
 * of its own: a zero page is next to none on the wire, but finding that it is one takes its time.
 */
static uint64_t unseen_permille(const FerrySource *s, uint64_t rate)
{
    double cpu_ns = ferry_ram_sender_is_in_background(s->sender) ? 0 : first_page_ns(s);
    double raw = (double)ferry_source_rate(s), given = (double)rate;
    double permille = (double)wire_permille(&s->first_wire);

    return raw > 0 ? (uint64_t)(permille * given / raw + cpu_ns * given * 1e-6 / FERRY_PAGE_SIZE)
                   : (uint64_t)permille;
}

static uint64_t wire_ns(uint64_t pages, uint64_t permille, uint64_t rate)
{
    uint64_t bytes = ferry_scale(pages * FERRY_PAGE_SIZE, permille, 1000);

    return rate ? ferry_scale(bytes, 1000000000, rate) : 0;
}

/* What the guest will write between the sync and its pause is sent while it stands still. */
static uint64_t late_pages(const FerrySource *s)
{
    double gap_ns = s->costs.look.mean + s->costs.pause.mean;

    return (uint64_t)(ferry_share_get(&s->dirtied, 1, 1, 0) * gap_ns);
}

static void add_up(FerryDowntime *d)
{
    d->total_ns = d->pause_ns + d->last_round_ns + d->device_state_ns + d->verify_ns + d->load_ns +
                  d->start_ns;
}

/* The parts of the downtime if the guest were paused now, all but the pages that are pending. */
static FerryDowntime predict(const FerrySource *s)
{
    const Costs *c = &s->costs;
    uint64_t late_ns = wire_ns(late_pages(s), wire_permille(&s->again_wire), switchover_rate(s));
    FerryDowntime d = {
        .pause_ns = (uint64_t)c->pause.mean,
        .last_round_ns = (uint64_t)c->look.mean + late_ns,
        .device_state_ns = (uint64_t)c->save.mean,
        .verify_ns = c->hash_ns,
        .load_ns = (uint64_t)c->save.mean + c->hash_ns + lag(s),
        .start_ns = (uint64_t)c->resume.mean + s->peer.round_trip_ns,
    };

    add_up(&d);
    return d;
}

static uint64_t margin(const FerrySource *s)
{
    const Costs *c = &s->costs;

    return (uint64_t)(ferry_spread_margin(&c->pause) + 2 * ferry_spread_margin(&c->save) +
                      ferry_spread_margin(&c->resume) + ferry_spread_margin(&c->look) +
                      (s->return_path ? ferry_spread_margin(&c->lag) : 0));
}

gboolean ferry_source_should_rehearse(FerrySource *s)
{
    uint64_t ago_ns = ferry_now_ns() - s->costs.rehearsed_ns;

    if (s->paused || s->dirty_syncs == 0 || s->costs.pause.n == 0) {
        return !s->paused && s->dirty_syncs > 0;
    }
    if (ago_ns < REHEARSE_INTERVAL_NS) {
        return FALSE;
    }
    return predict(s).total_ns + margin(s) > s->current.downtime_limit_ns ||
           (s->costs.pause.n < REHEARSALS && ago_ns > REHEARSE_SHARE * s->costs.rehearsal_ns);
}

/* The first time, and as long as what was measured alone exceeds the limit: it may have been a busy
 * moment. It stops the sending for its duration. */
static gboolean rehearse_hash(FerrySource *s, GError **error)
{
    uint64_t begin_ns = ferry_now_ns(), changing; /* for its duration only: the guest runs */

    if (!s->options.verify || !s->peer.is_ferry ||
        (s->costs.hash_ns > 0 && predict(s).total_ns <= s->current.downtime_limit_ns)) {
        return TRUE;
    }
    if (!ferry_source_hash(s, &changing, error)) {
        return FALSE;
    }
    s->costs.hash_ns = ferry_now_ns() - begin_ns;
    return TRUE;
}

gboolean ferry_source_rehearse(FerrySource *s, GError **error)
{
    g_autoptr(GByteArray) scratch = g_byte_array_new();
    uint64_t called_ns, paused_ns, saved_ns;
    gboolean was_running, saved = TRUE;

    if (!rehearse_hash(s, error)) {
        return FALSE;
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
    s->costs.rehearsed_ns = ferry_now_ns();
    s->costs.rehearsal_ns = s->costs.rehearsed_ns - called_ns;
    ferry_spread_add(&s->costs.pause, (double)(paused_ns - called_ns));
    ferry_spread_add(&s->costs.save, (double)(saved_ns - paused_ns));
    ferry_spread_add(&s->costs.resume, (double)(s->costs.rehearsed_ns - saved_ns));
    return saved;
}

FerryMoment ferry_source_moment(const FerrySource *s)
{
    /* What is gathered counts as sent: else a stretch of zero pages, which take long to fill a
     * gather, looked as if nothing was done. */
    return (FerryMoment){.now_ns = ferry_now_ns(),
                         .sent_bytes = ferry_ram_sender_bytes_written(s->sender) +
                                       ferry_ram_sender_gathered(s->sender)};
}

void ferry_source_worked(FerrySource *s, uint64_t ns, uint64_t write_ns_before)
{
    uint64_t wrote_ns = s->round.write_ns - write_ns_before;

    s->round.work_ns += ns - MIN(ns, wrote_ns);
}

/* What pages cost on the wire: apart for those that go for the first time, of which many are empty,
 * as far as rounds have mostly the one kind. */
static void learn_wire(FerrySource *s, uint64_t sent, uint64_t pages, uint64_t first)
{
    double again = (double)(pages - first);

    if (first * 10 >= pages * 9) {
        ferry_share_add(&s->first_wire, (double)sent, (double)pages, FIRST_PAGES);
    } else if (first * 10 <= pages) {
        double others = (double)first * ferry_share_get(&s->first_wire, 1, 1, FERRY_PAGE_SIZE);
        ferry_share_add(&s->again_wire, MAX((double)sent - others, 0), again, AGAIN_PAGES);
    }
}

static uint64_t clear_ns(const FerrySource *s)
{
    FerryDirtyLogStats stats;

    ferry_dirty_log_get_stats(s->log, &stats);
    return stats.clear_ns;
}

/* What the round that ends with this sync says of all that follow. */
static void learn_round(FerrySource *s, uint64_t sent, uint64_t now)
{
    const Round *r = &s->round;
    FerryRamCounts counts = ferry_ram_sender_counts(s->sender);
    uint64_t pages = ferry_ram_counts_pages(&counts) - ferry_ram_counts_pages(&r->begin_counts);
    uint64_t first = MIN(r->begin_unsent - ferry_precopy_unsent_pages(s->machine), pages);
    uint64_t cleared_ns = clear_ns(s) - r->begin_clear_ns;

    if (pages > 0) {
        learn_wire(s, sent, pages, first);
        ferry_share_add(first * 10 >= pages * 9 ? &s->first_cpu : &s->again_cpu,
                        (double)(r->work_ns - MIN(cleared_ns, r->work_ns)), (double)pages,
                        CPU_PAGES);
    }
    ferry_share_add(&s->syncing, (double)cleared_ns + s->costs.sync.mean,
                    (double)(now - r->begin_ns - MIN(r->rest_ns, now - r->begin_ns)), SYNC_NS);
}

void ferry_source_round(FerrySource *s, FerryRound *out_values)
{
    uint64_t now = ferry_now_ns(), rate = switchover_rate(s);
    uint64_t sent = ferry_ram_sender_bytes_written(s->sender) - s->round.begin_bytes;
    const FerryLimits *l = &s->current;

    if (s->dirty_syncs++ > 0 && !s->paused) {
        learn_round(s, sent, now);
    }
    s->round.end_unsent = ferry_precopy_unsent_pages(s->machine);
    s->fixed = predict(s);
    *out_values = (FerryRound){
        .moment = ferry_source_moment(s),
        .queued_bytes = ferry_ram_sender_queued(s->sender),
        .round_sent_bytes = sent,
        .round_ns = now - s->round.begin_ns,
        .sync_ns = (uint64_t)s->costs.sync.mean,
        .uncapped_bytes_per_second = rate,
        .capped_bytes_per_second = ferry_source_round_rate(s),
        .wire_permille = wire_permille(&s->again_wire),
        .unsent_wire_permille = unseen_permille(s, rate),
        .rate_permille_p5 = l->avail_switchover_bandwidth ? 1000 : ferry_rate_permille_p5(&s->rate),
        .fixed_ns = s->fixed.total_ns,
        .pause_ns = s->fixed.pause_ns,
        .margin_ns = margin(s),
        .downtime_limit_ns = l->downtime_limit_ns,
        .on_stall = l->on_stall,
        .throttle_percent = s->throttle_percent,
        .throttle_initial = l->auto_converge ? l->cpu_throttle_initial : 0,
        .throttle_increment = l->auto_converge ? l->cpu_throttle_increment : 0,
        .throttle_max = l->auto_converge ? l->max_cpu_throttle : 0,
        .throttle_trigger = l->throttle_trigger_threshold,
        .throttle_tailslow = l->cpu_throttle_tailslow,
        .switchover_bytes_per_second = l->avail_switchover_bandwidth,
    };
}

uint64_t ferry_source_round_rate(const FerrySource *s)
{
    uint64_t rate = with_cpu(s, ferry_source_rate(s)), limit = s->current.max_bandwidth;
    double rest = 1 - ferry_share_get(&s->syncing, 1, 1, 0);

    rate = (uint64_t)((double)rate * CLAMP(rest, 0.1, 1));
    return limit ? MIN(limit, rate) : rate;
}

void ferry_source_decided(FerrySource *s, const FerryRound *v)
{
    uint64_t predicted = ferry_precopy_decision(s->machine)->predicted_downtime_ns;

    if (v->number > 0) {
        ferry_share_add(&s->dirtied, (double)v->round_dirtied_bytes / FERRY_PAGE_SIZE,
                        (double)v->round_ns, DIRTY_NS);
    }
    if (predicted == UINT64_MAX) {
        return;
    }
    if (predicted < s->fixed.total_ns) { /* by who reckons with less than we measure */
        s->predicted = (FerryDowntime){.last_round_ns = predicted, .total_ns = predicted};
        return;
    }
    uint64_t pages_ns = predicted - s->fixed.total_ns;
    uint64_t queue_ns = MIN(pages_ns, ferry_source_longest_queue_ns(s));
    s->predicted = s->fixed;
    s->predicted.last_round_ns += pages_ns - queue_ns;
    s->predicted.load_ns += queue_ns; /* written, and on its way until the peer has it */
    s->predicted.total_ns = predicted;
}

void ferry_source_predict_now(FerrySource *s)
{
    uint64_t rate = switchover_rate(s), unseen = ferry_precopy_unseen_pages(s->machine);
    uint64_t pages = ferry_precopy_pending_pages(s->machine);

    s->predicted = predict(s);
    s->predicted.last_round_ns +=
        wire_ns(unseen, unseen_permille(s, rate), rate) +
        wire_ns(pages - MIN(unseen, pages), wire_permille(&s->again_wire), rate) +
        (rate ? ferry_scale(ferry_ram_sender_queued(s->sender), 1000000000, rate) : 0);
    add_up(&s->predicted);
}
