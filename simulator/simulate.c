#include "simulator/simulate.h"
#include <string.h>
#include "engine/precopy/estimate.h"
#include "simulator/codec.h"
#include "simulator/guest.h"
#include "simulator/link.h"

#define PAGE FERRY_WORKLOAD_PAGE
#define RECORD_BYTES 8u /* in front of each page */
#define ZERO_BYTES 9u   /* a zero page's record */
#define CHUNK_DEFAULT (2u << 20)
#define MAX_NS_DEFAULT 600000000000u
#define GATHER_MAX 8u

typedef struct {
    const FerrySimulation *how;
    FerrySimResult *result;
    FerryPrecopy *machine;
    FerrySimGuest *guest;
    FerrySimPacker packer;
    FerryRate rate; /* of the link, as it is seen */
    uint64_t now_ns;
    double guest_ns;
    unsigned throttle_percent;
    gboolean paused;
    double link_free_ns, cap_free_ns; /* when all that was handed over is gone */
    uint64_t chunk_pages;
    FerryBitmap to_clear; /* by chunk: not since the last sync */
    FerryBatch gather[GATHER_MAX];
    unsigned n_gathered;
    uint64_t gathered_pages;
    FerrySimRound round;
    uint64_t round_begin_ns, round_begin_bytes;
    FerryBitmap sent;
    uint64_t resent_bytes, resent_pages, first_bytes, first_pages;
} Simulator;

static void pass(Simulator *s, uint64_t ns)
{
    s->now_ns += ns;
    if (!s->paused) {
        s->guest_ns += (double)ns * (100 - s->throttle_percent) / 100;
        s->result->throttle_percent_seconds += s->throttle_percent * (double)ns / 1e9;
    }
    ferry_sim_guest_run(s->guest, s->guest_ns);
}

static void pass_until(Simulator *s, double ns)
{
    if (ns > (double)s->now_ns) {
        pass(s, (uint64_t)(ns - (double)s->now_ns) + 1);
    }
}

static double link_gone(const Simulator *s, double from_ns, double bytes)
{
    return ferry_sim_link_gone(&s->how->link, s->how->seed, from_ns, bytes);
}

static gboolean is_steady(const Simulator *s)
{
    return s->how->link.n_steps == 0 && s->how->codec.kind == FERRY_SIM_CODEC_NONE;
}

static double rate_now(const Simulator *s)
{
    uint64_t until_ns;

    return ferry_sim_link_rate(&s->how->link, s->how->seed, s->now_ns, &until_ns);
}

/* Its pages are read one after the other as they go out. */
static uint64_t weigh(Simulator *s, const FerryBatch *b)
{
    FerrySimResult *r = s->result;
    uint64_t bytes = 0;

    for (uint64_t page = b->first_page; page < b->first_page + b->n_pages; page++) {
        gboolean again = ferry_bitmap_test(&s->sent, page);
        FerrySimContent content;
        ferry_sim_guest_content(s->guest, page, &content);
        uint64_t weight = ferry_sim_packer_weigh(&s->packer, page, &content, again, r->rounds);
        uint64_t wire = weight ? weight + RECORD_BYTES : ZERO_BYTES;
        r->sent_pages += weight != 0;
        r->zero_pages += weight == 0;
        r->packed_pages += weight != 0 && weight < content.plain;
        *(again ? &s->resent_bytes : &s->first_bytes) += wire;
        *(again ? &s->resent_pages : &s->first_pages) += 1;
        bytes += wire;
    }
    ferry_bitmap_set(&s->sent, b->first_page, b->n_pages);
    return bytes;
}

static void read_batch(Simulator *s, const FerryBatch *b)
{
    double queue = (double)s->how->link.queue_bytes, rate = rate_now(s);
    uint64_t cap = s->paused ? 0 : s->how->max_bandwidth, begin_ns = s->now_ns;

    pass(s, (s->how->costs.page_ns + ferry_sim_packer_page_ns(&s->packer)) * b->n_pages);
    uint64_t cpu_ns = s->now_ns - begin_ns;
    pass_until(s, s->link_free_ns - (rate > 0 ? queue / rate * 1e9 : 0));
    if (cap) {
        pass_until(s, s->cap_free_ns);
    }
    if (!s->paused) {
        s->result->false_dirty_pages += ferry_sim_guest_dirty(s->guest, b->first_page, b->n_pages);
    }
    uint64_t bytes = weigh(s, b);
    double from_ns = MAX(s->link_free_ns, (double)s->now_ns);
    s->result->wire_bytes += bytes;
    s->link_free_ns = link_gone(s, from_ns, (double)bytes);
    ferry_rate_add(&s->rate, bytes, MAX((uint64_t)(s->link_free_ns - from_ns), cpu_ns));
    if (cap) {
        s->cap_free_ns = MAX(s->cap_free_ns, (double)s->now_ns) + (double)bytes / (double)cap * 1e9;
    }
    if (s->result->first_pass_ns == UINT64_MAX && !s->paused &&
        ferry_precopy_unsent_pages(s->machine) == 0) {
        s->result->first_pass_ns = s->now_ns;
    }
}

static void write_out(Simulator *s)
{
    for (unsigned i = 0; i < s->n_gathered; i++) {
        read_batch(s, &s->gather[i]);
    }
    s->n_gathered = 0;
    s->gathered_pages = 0;
}

static void set_chunk(Simulator *s)
{
    uint64_t bytes = ferry_precopy_policy(s->machine)->chunk_bytes;

    bytes = bytes ? bytes : s->how->costs.chunk_bytes ? s->how->costs.chunk_bytes : CHUNK_DEFAULT;
    s->chunk_pages = MAX(bytes / PAGE / 64, 1) * 64;
    ferry_bitmap_init(&s->to_clear, s->sent.n_bits / s->chunk_pages + 1);
}

static void clear(Simulator *s, const FerryBatch *b)
{
    uint64_t last = (b->first_page + b->n_pages - 1) / s->chunk_pages;

    for (uint64_t chunk = b->first_page / s->chunk_pages; chunk <= last; chunk++) {
        if (ferry_bitmap_test(&s->to_clear, chunk)) {
            ferry_bitmap_reset(&s->to_clear, chunk, 1);
            pass(s, s->how->costs.clear_ns);
            ferry_sim_guest_clear(s->guest, chunk * s->chunk_pages, s->chunk_pages);
        }
    }
}

/* What a source believes of its channel. A link that never changes is known from the first byte on,
 * so that what models say does not depend on a measurement. */
static uint64_t seen_rate(const Simulator *s)
{
    uint64_t rate = ferry_rate_get(&s->rate);

    return is_steady(s) || rate == 0 ? s->how->link.bytes_per_second : rate;
}

/* As many pages as are protected before the first of them is read. */
static uint64_t gather_room(const Simulator *s)
{
    uint64_t rate = seen_rate(s), cap = s->how->max_bandwidth;
    uint64_t in_time =
        ferry_scale(cap ? MIN(rate, cap) : rate, s->how->costs.gather_ns, 1000000000);

    if (s->paused || s->how->costs.gather_ns == 0) {
        return s->paused ? 0 : s->how->costs.gather_pages;
    }
    return MIN(s->how->costs.gather_pages, in_time / PAGE);
}

static void send(Simulator *s, const FerryBatch *b)
{
    uint64_t room = gather_room(s);

    if (s->n_gathered == GATHER_MAX || s->gathered_pages + b->n_pages > room) {
        write_out(s);
    }
    if (!s->paused) {
        clear(s, b);
        ferry_bitmap_reset(ferry_precopy_found(s->machine, 0), b->first_page, b->n_pages);
    }
    s->gather[s->n_gathered++] = *b;
    s->gathered_pages += b->n_pages;
    if (s->gathered_pages >= room) {
        write_out(s);
    }
}

static void watch(Simulator *s)
{
    uint64_t chunks = s->sent.n_bits / s->chunk_pages + 1;

    pass(s, s->how->costs.clear_ns * chunks);
    ferry_sim_guest_clear(s->guest, 0, s->sent.n_bits);
    ferry_bitmap_reset(&s->to_clear, 0, s->to_clear.n_bits);
}

static uint64_t permille(uint64_t bytes, uint64_t pages)
{
    return pages ? ferry_scale(bytes, 1000, pages * PAGE) : 1000 + RECORD_BYTES * 1000 / PAGE;
}

static uint64_t sync_cost(const Simulator *s)
{
    return s->how->costs.sync_ns +
           ferry_scale(s->how->costs.sync_ns_per_gib, s->sent.n_bits * PAGE, 1u << 30);
}

static void fill_in(Simulator *s, FerryRound *v)
{
    const FerrySimulation *h = s->how;
    double backlog_ns = MAX(s->link_free_ns - (double)s->now_ns, 0);
    uint64_t rate = s->result->wire_bytes ? seen_rate(s) : 0;

    *v = (FerryRound){
        .moment = {.now_ns = s->now_ns, .sent_bytes = s->result->wire_bytes},
        .queued_bytes = (uint64_t)(backlog_ns / 1e9 * rate_now(s)),
        .round_sent_bytes = s->result->wire_bytes - s->round_begin_bytes,
        .round_ns = s->now_ns - s->round_begin_ns,
        .sync_ns = sync_cost(s),
        .uncapped_bytes_per_second =
            h->avail_switchover_bandwidth ? h->avail_switchover_bandwidth : rate,
        .capped_bytes_per_second = h->max_bandwidth ? MIN(rate, h->max_bandwidth) : rate,
        .wire_permille = permille(s->resent_bytes, s->resent_pages),
        .unsent_wire_permille = permille(s->first_bytes, s->first_pages),
        .fixed_ns = h->costs.pause_ns + sync_cost(s) + h->costs.fixed_ns + h->link.round_trip_ns,
        .pause_ns = h->costs.pause_ns,
        .margin_ns = h->margin_ns,
        .rate_permille_p5 = is_steady(s) ? 1000 - h->link.jitter_permille * 9 / 10
                                         : ferry_rate_permille_p5(&s->rate),
        .downtime_limit_ns = h->downtime_limit_ns,
        .on_stall = h->on_stall,
        .throttle_percent = s->throttle_percent,
        .throttle_initial = h->throttle_initial,
        .throttle_increment = h->throttle_increment,
        .throttle_max = h->throttle_max,
        .throttle_trigger = h->throttle_trigger,
        .switchover_bytes_per_second = h->avail_switchover_bandwidth,
    };
}

static void sync_log(Simulator *s, FerryRound *values)
{
    write_out(s);
    pass(s, sync_cost(s));
    ferry_sim_guest_sync(s->guest, ferry_precopy_found(s->machine, 0));
    ferry_bitmap_set(&s->to_clear, 0, s->to_clear.n_bits);
    fill_in(s, values);
}

/* Guest memory that fits what the limit leaves for pages. */
static uint64_t threshold(const FerryRound *v)
{
    uint64_t ns = v->downtime_limit_ns - MIN(v->fixed_ns, v->downtime_limit_ns);
    uint64_t bytes = ferry_scale(v->uncapped_bytes_per_second, ns, 1000000000);

    return ferry_scale(bytes, 1000, MAX(v->wire_permille, 1));
}

static uint64_t dirty_rate(const FerryRound *v)
{
    return v->round_ns ? ferry_scale(v->round_dirtied_bytes / PAGE, 1000000000, v->round_ns) : 0;
}

/* The machine has seen the sync's values and decided. */
static void after_sync(Simulator *s, const FerryRound *values)
{
    FerrySimResult *r = s->result;
    const FerryForecast *forecast = ferry_precopy_forecast(s->machine);
    FerrySimRound round = {.values = *values,
                           .decision = *ferry_precopy_decision(s->machine),
                           .forecast = *forecast,
                           .sent_pages = r->sent_pages - s->round.sent_pages,
                           .zero_pages = r->zero_pages - s->round.zero_pages,
                           .false_dirty_pages = r->false_dirty_pages - s->round.false_dirty_pages,
                           .deferred_pages = ferry_precopy_deferred_pages(s->machine),
                           .packed_pages = r->packed_pages - s->round.packed_pages,
                           .threshold_bytes = threshold(values),
                           .dirty_pages_per_second = dirty_rate(values),
                           .throttle_percent = s->throttle_percent};

    round.values.forecast = NULL; /* of the machine */
    r->rounds += values->number > 0;
    if (s->paused) {
        r->residual_pages = values->dirty_bytes / PAGE;
    } else {
        s->throttle_percent = MIN(round.decision.throttle_percent, 99);
        r->throttle_max_percent = MAX(r->throttle_max_percent, s->throttle_percent);
        r->predicted_downtime_ns = round.decision.predicted_downtime_ns;
        r->last_forecast = *forecast;
        if (r->first_forecast.outlook == FERRY_OUTLOOK_UNKNOWN) {
            r->first_forecast = *forecast;
            r->first_outlook_ns = s->now_ns;
        }
    }
    if (s->how->round) {
        s->how->round(s->how->self, &round);
    }
    s->round = (FerrySimRound){.sent_pages = r->sent_pages,
                               .zero_pages = r->zero_pages,
                               .false_dirty_pages = r->false_dirty_pages,
                               .packed_pages = r->packed_pages};
    s->round_begin_ns = s->now_ns;
    s->round_begin_bytes = r->wire_bytes;
}

static FerryEvent pause_guest(Simulator *s)
{
    write_out(s);
    s->result->pause_at_ns = s->now_ns;
    s->result->pause_at_guest_ns = (uint64_t)s->guest_ns + s->how->trace_start_ns;
    pass(s, s->how->costs.pause_ns);
    s->result->pause_ns = s->how->costs.pause_ns;
    s->paused = TRUE;
    return FERRY_EVENT_PAUSED;
}

/* What a phase that has no model of its own takes; the guest runs again when it is over. */
static FerryEvent finish(Simulator *s)
{
    FerrySimResult *r = s->result;

    write_out(s);
    pass_until(s, s->link_free_ns);
    r->last_round_ns = s->now_ns - r->pause_at_ns - r->pause_ns;
    r->fixed_ns = s->how->costs.fixed_ns + s->how->link.round_trip_ns;
    pass(s, r->fixed_ns);
    r->downtime_ns = s->now_ns - r->pause_at_ns;
    return FERRY_EVENT_OFFERED;
}

static FerryEvent perform(Simulator *s, FerryAction action, const FerryBatch *batch,
                          FerryRound *values)
{
    switch (action) {
    case FERRY_ACTION_SYNC:
        sync_log(s, values);
        return FERRY_EVENT_SYNCED;
    case FERRY_ACTION_WATCH:
        watch(s);
        return FERRY_EVENT_WATCHED;
    case FERRY_ACTION_SEND:
        send(s, batch);
        return FERRY_EVENT_SENT;
    case FERRY_ACTION_REST:
        write_out(s);
        pass(s, MAX(ferry_precopy_decision(s->machine)->rest_ns, 1));
        return FERRY_EVENT_SENT;
    case FERRY_ACTION_PAUSE:
        return pause_guest(s);
    case FERRY_ACTION_SAVE:
        return finish(s);
    case FERRY_ACTION_AWAIT_LOADED:
        return FERRY_EVENT_LOADED;
    case FERRY_ACTION_RELEASE:
        return FERRY_EVENT_RUNNING;
    case FERRY_ACTION_FINISH:
    case FERRY_ACTION_RESUME:
    case FERRY_ACTION_HOLD:
        break;
    }
    g_assert_not_reached();
}

/* Nobody watches any longer, or there is nothing more to see. */
static gboolean is_over(const Simulator *s)
{
    uint64_t max_ns = s->how->max_ns ? s->how->max_ns : MAX_NS_DEFAULT;

    return !s->paused && (s->now_ns >= max_ns || ferry_sim_guest_ended(s->guest));
}

static gboolean run(Simulator *s, FerryAction *out_action, GError **error)
{
    FerryEvent event = FERRY_EVENT_READY;
    FerryRound values = {0};
    FerryBatch batch;

    while (ferry_sim_guest_check(s->guest, error)) {
        if (event != FERRY_EVENT_SYNCED) {
            values.moment = (FerryMoment){.now_ns = s->now_ns, .sent_bytes = s->result->wire_bytes};
        }
        FerryAction action = ferry_precopy_step(s->machine, event, &values, &batch);
        if (event == FERRY_EVENT_SYNCED) {
            after_sync(s, &values);
        }
        if (action == FERRY_ACTION_FINISH || action == FERRY_ACTION_RESUME ||
            action == FERRY_ACTION_HOLD) {
            *out_action = action;
            return TRUE;
        }
        if (is_over(s)) {
            *out_action = FERRY_ACTION_HOLD;
            return TRUE;
        }
        event = perform(s, action, &batch, &values);
    }
    return FALSE;
}

static FerrySimEnd end_of(FerryAction action)
{
    return action == FERRY_ACTION_FINISH   ? FERRY_SIM_DONE
           : action == FERRY_ACTION_RESUME ? FERRY_SIM_GAVE_UP
                                           : FERRY_SIM_UNFINISHED;
}

static gboolean set_up(Simulator *s, GError **error)
{
    const FerrySimulation *how = s->how;
    const char *why = ferry_sim_link_check(&how->link);

    if (!why && !how->workload == !how->trace) {
        why = "one of a workload and a trace is needed";
    }
    if (why) {
        g_set_error_literal(error, FERRY_SIM_ERROR, FERRY_SIM_ERROR_VALUE, why);
        return FALSE;
    }
    if (how->workload && !ferry_sim_pages_check(ferry_workload_pages(how->workload), error)) {
        return FALSE;
    }
    s->guest = how->workload ? ferry_sim_guest_new(how->workload, how->seed)
                             : ferry_sim_guest_new_trace(how->trace, how->trace_start_ns,
                                                         how->trace_once, how->seed, error);
    if (!s->guest) {
        return FALSE;
    }
    uint64_t pages = ferry_sim_guest_pages(s->guest);
    s->result->ram_bytes = pages * PAGE;
    s->machine = ferry_precopy_new(&how->policy, &pages, 1);
    ferry_precopy_set_timeout(s->machine, &how->timeout);
    ferry_bitmap_init(&s->sent, pages);
    ferry_sim_packer_init(&s->packer, &how->codec);
    set_chunk(s);
    return TRUE;
}

static void clear_up(Simulator *s)
{
    ferry_bitmap_clear(&s->sent);
    ferry_bitmap_clear(&s->to_clear);
    ferry_sim_packer_clear(&s->packer);
    ferry_sim_guest_free(s->guest);
    ferry_precopy_free(s->machine);
}

gboolean ferry_simulate(const FerrySimulation *how, FerrySimResult *out_result, GError **error)
{
    FerrySimResult result = {.predicted_downtime_ns = UINT64_MAX,
                             .first_pass_ns = UINT64_MAX,
                             .pause_at_ns = UINT64_MAX};
    Simulator s = {.how = how, .result = &result};
    FerryAction action;
    gboolean ran = set_up(&s, error) && run(&s, &action, error);

    if (ran) {
        result.total_ns = s.now_ns;
        result.timed_out = ferry_precopy_timed_out(s.machine);
        result.trace_laps = ferry_sim_guest_laps(s.guest);
        result.trace_ended = result.trace_laps > 0 || ferry_sim_guest_ended(s.guest);
        result.end = end_of(action);
        if (result.end == FERRY_SIM_UNFINISHED) {
            result.residual_pages = ferry_precopy_pending_pages(s.machine);
        }
        *out_result = result;
    }
    clear_up(&s);
    return ran;
}

const char *ferry_sim_end_name(FerrySimEnd end)
{
    static const char *const names[] = {
        [FERRY_SIM_DONE] = "done",
        [FERRY_SIM_GAVE_UP] = "gave-up",
        [FERRY_SIM_UNFINISHED] = "unfinished",
    };
    return names[end];
}
