#include "engine/precopy/machine.h"
#include "engine/precopy/estimate.h"
#include "engine/precopy/order.h"

#define FERRY_PAGE_BYTES 4096u /* as in engine/memory.h */

struct FerryPrecopy {
    FerryPhase phase;
    const FerryPolicyOps *policy;
    void *policy_state;
    FerryDecision decision;
    FerryForecast forecast;
    FerryTimeout timeout;
    gboolean timed_out;
    unsigned n_blocks;
    uint64_t *block_pages;
    uint64_t ram_pages;
    FerryPending *pending;
    FerryBitmap *found; /* per block: found written, pending from the next SYNCED on */
    FerryBitmap *sent;  /* per block: handed out at least once */
    FerryBitmap *seen;  /* per block: that, or found written since the machine watches */
    uint64_t unsent_pages, unseen_pages, deferred_pages, handed_pages, resent_pages;
    FerryHeat *heat; /* NULL until a policy watches */
    uint64_t ready_ns, synced_ns;
    /* The guest's own time, which a throttle slows: writes are learnt about in that. */
    uint64_t guest_ns, guest_synced_ns, guest_since_ns;
    unsigned throttle_percent;
    unsigned syncs;
    gboolean rested; /* since the last sync */
};

#define TO(phase) (1u << FERRY_PHASE_##phase)
static const unsigned allowed[FERRY_N_PHASES] = {
    [FERRY_PHASE_SETUP] = TO(ITERATE) | TO(FAILED),
    [FERRY_PHASE_ITERATE] = TO(ITERATE) | TO(PAUSING) | TO(FAILED),
    [FERRY_PHASE_PAUSING] = TO(FINAL) | TO(FAILED),
    [FERRY_PHASE_FINAL] = TO(FINAL) | TO(STATE) | TO(FAILED),
    [FERRY_PHASE_STATE] = TO(LOADING) | TO(RELEASED) | TO(FAILED),
    [FERRY_PHASE_LOADING] = TO(RELEASED) | TO(FAILED),
    [FERRY_PHASE_RELEASED] = TO(DONE) | TO(UNSURE), /* the other side may already run the guest */
};

/* Which event each phase can take, apart from STOPPED. */
#define ON(event) (1u << FERRY_EVENT_##event)
static const unsigned expected[FERRY_N_PHASES] = {
    [FERRY_PHASE_SETUP] = ON(READY),
    [FERRY_PHASE_ITERATE] = ON(SYNCED) | ON(WATCHED) | ON(SENT),
    [FERRY_PHASE_PAUSING] = ON(PAUSED),
    [FERRY_PHASE_FINAL] = ON(SYNCED) | ON(SENT),
    [FERRY_PHASE_STATE] = ON(SAVED) | ON(OFFERED),
    [FERRY_PHASE_LOADING] = ON(LOADED),
    [FERRY_PHASE_RELEASED] = ON(RUNNING),
};

static FerryAction enter(FerryPrecopy *m, FerryPhase next, FerryAction action)
{
    g_assert(allowed[m->phase] & (1u << next));
    m->phase = next;
    return action;
}

void ferry_precopy_set_policy(FerryPrecopy *m, const FerryPolicy *policy)
{
    g_free(m->policy_state);
    m->policy = policy->ops ? policy->ops : &ferry_policy_ferry;
    m->policy_state = g_malloc0(MAX(m->policy->state_size, 1));
    if (m->policy->begin) {
        m->policy->begin(m->policy_state, policy->argument);
    }
    if (m->policy->watches && !m->heat) {
        m->heat = ferry_heat_new(m->block_pages, m->n_blocks);
        ferry_heat_watch(m->heat, m->guest_synced_ns);
        ferry_pending_unexpose(m->pending);
    }
}

void ferry_precopy_set_timeout(FerryPrecopy *m, const FerryTimeout *timeout)
{
    m->timeout = *timeout;
}

FerryPrecopy *ferry_precopy_new(const FerryPolicy *policy, const uint64_t *block_pages,
                                unsigned n_blocks)
{
    FerryPrecopy *m = g_new0(FerryPrecopy, 1);

    m->decision.predicted_downtime_ns = UINT64_MAX;
    m->n_blocks = n_blocks;
    m->block_pages = g_memdup2(block_pages, n_blocks * sizeof *block_pages);
    m->pending = ferry_pending_new(block_pages, n_blocks);
    m->found = g_new0(FerryBitmap, n_blocks);
    m->sent = g_new0(FerryBitmap, n_blocks);
    m->seen = g_new0(FerryBitmap, n_blocks);
    for (unsigned i = 0; i < n_blocks; i++) {
        ferry_bitmap_init(&m->found[i], block_pages[i]);
        ferry_bitmap_init(&m->sent[i], block_pages[i]);
        ferry_bitmap_init(&m->seen[i], block_pages[i]);
        m->ram_pages += block_pages[i];
    }
    m->unsent_pages = m->unseen_pages = m->ram_pages;
    ferry_precopy_set_policy(m, policy);
    return m;
}

static uint64_t guest_time(FerryPrecopy *m, uint64_t now_ns)
{
    uint64_t ns = now_ns - MIN(m->guest_since_ns, now_ns);

    m->guest_ns += ferry_scale(ns, 100 - MIN(m->throttle_percent, 100), 100);
    m->guest_since_ns = now_ns;
    return m->guest_ns;
}

static gboolean next_batch(FerryPrecopy *m, uint64_t now_ns, FerryBatch *out_batch)
{
    FerryOrder order = m->phase == FERRY_PHASE_FINAL ? FERRY_ORDER_PASS : m->policy->order;
    FerryRun run;

    if (!ferry_pending_next(m->pending, order, m->heat, FERRY_BATCH_PAGES, &run)) {
        return FALSE;
    }
    m->handed_pages += run.n;
    if (m->unsent_pages > 0) {
        uint64_t again = ferry_bitmap_count_range(&m->sent[run.block], run.first, run.n);
        m->unsent_pages -= run.n - again;
        m->resent_pages += again;
        m->unseen_pages -= run.n - ferry_bitmap_count_range(&m->seen[run.block], run.first, run.n);
        ferry_bitmap_set(&m->sent[run.block], run.first, run.n);
        ferry_bitmap_set(&m->seen[run.block], run.first, run.n);
    } else {
        m->resent_pages += run.n;
    }
    if (m->heat && m->phase == FERRY_PHASE_ITERATE) {
        ferry_heat_sent(m->heat, run.block, run.first, run.n, guest_time(m, now_ns));
    }
    *out_batch = (FerryBatch){.block = run.block, .first_page = run.first, .n_pages = run.n};
    return TRUE;
}

static FerryAction give_up(FerryPrecopy *m)
{
    m->decision.verdict = FERRY_VERDICT_GIVE_UP;
    return enter(m, FERRY_PHASE_FAILED, FERRY_ACTION_RESUME);
}

static FerryAction switch_over(FerryPrecopy *m)
{
    m->decision.verdict = FERRY_VERDICT_SWITCH_OVER;
    return enter(m, FERRY_PHASE_PAUSING, FERRY_ACTION_PAUSE);
}

static FerryAction after_batch(FerryPrecopy *m, const FerryMoment *moment, FerryBatch *out_batch)
{
    if (m->phase == FERRY_PHASE_FINAL) {
        return next_batch(m, 0, out_batch) ? enter(m, m->phase, FERRY_ACTION_SEND)
                                           : enter(m, FERRY_PHASE_STATE, FERRY_ACTION_SAVE);
    }
    if (m->timeout.timeout_ns > 0 && moment->now_ns - m->ready_ns >= m->timeout.timeout_ns) {
        m->timed_out = TRUE;
        return m->timeout.pause ? switch_over(m) : give_up(m);
    }
    gboolean over = m->policy->is_round_over &&
                    m->policy->is_round_over(m->policy_state, moment,
                                             ferry_pending_count(m->pending) * FERRY_PAGE_BYTES);
    if (!over && next_batch(m, moment->now_ns, out_batch)) {
        return enter(m, m->phase, FERRY_ACTION_SEND);
    }
    if (!m->rested) {
        m->rested = TRUE;
        return enter(m, FERRY_PHASE_ITERATE, FERRY_ACTION_REST);
    }
    return enter(m, FERRY_PHASE_ITERATE, FERRY_ACTION_SYNC);
}

/* What the sync found becomes pending; what only the machine knows goes into @values. */
static void take_in(FerryPrecopy *m, FerryRound *values)
{
    FerryHeat *heat = m->syncs > 0 && m->phase == FERRY_PHASE_ITERATE ? m->heat : NULL;
    uint64_t fresh = 0, now_ns = guest_time(m, values->moment.now_ns);

    m->deferred_pages = ferry_pending_count(m->pending);
    for (unsigned i = 0; i < m->n_blocks; i++) {
        if (heat && m->unseen_pages > 0) {
            m->unseen_pages -= ferry_bitmap_or(&m->seen[i], &m->found[i]);
        }
        fresh += ferry_pending_merge(m->pending, i, &m->found[i], heat, m->guest_synced_ns, now_ns);
    }
    if (m->syncs == 0 && !m->policy->watches) {
        ferry_pending_unexpose(m->pending);
    }
    values->number = m->syncs++;
    values->ram_bytes = m->ram_pages * FERRY_PAGE_BYTES;
    values->dirty_bytes = ferry_pending_count(m->pending) * FERRY_PAGE_BYTES;
    values->unsent_bytes = m->unsent_pages * FERRY_PAGE_BYTES;
    values->unseen_bytes = m->unseen_pages * FERRY_PAGE_BYTES;
    values->round_dirtied_bytes = values->number ? fresh * FERRY_PAGE_BYTES : 0;
    values->forecast = NULL;
    m->synced_ns = values->moment.now_ns;
    m->guest_synced_ns = now_ns;
}

static void look_ahead(FerryPrecopy *m, FerryRound *values)
{
    FerryCensus census;
    FerryForecastInput input = {
        .pending_pages = ferry_pending_count(m->pending),
        .unsent_pages = m->unsent_pages,
        .capped_bytes_per_second = values->capped_bytes_per_second,
        .uncapped_bytes_per_second = values->uncapped_bytes_per_second,
        .wire_permille = values->wire_permille,
        .unsent_wire_permille = values->unsent_wire_permille,
        .fixed_ns = values->fixed_ns,
        .margin_ns = values->margin_ns,
        .rate_permille_p5 = values->rate_permille_p5,
        .downtime_limit_ns = values->downtime_limit_ns,
        .throttle_percent = m->throttle_percent,
    };

    if (!m->heat || values->number == 0) {
        m->forecast = (FerryForecast){.finish_ns = UINT64_MAX, .downtime_ns = UINT64_MAX};
        return;
    }
    ferry_heat_census(m->heat, m->guest_synced_ns, &census);
    m->forecast = ferry_forecast(&census, &input);
    values->forecast = &m->forecast;
}

static FerryAction after_sync(FerryPrecopy *m, FerryRound *values, FerryBatch *out_batch)
{
    take_in(m, values);
    ferry_pending_begin_round(m->pending, m->policy->order, m->phase == FERRY_PHASE_FINAL);
    if (m->phase == FERRY_PHASE_FINAL) {
        return after_batch(m, &values->moment, out_batch);
    }
    look_ahead(m, values);
    m->decision = m->policy->decide(m->policy_state, values);
    m->throttle_percent = m->decision.throttle_percent;
    m->rested = m->decision.rest_ns == 0;
    if (m->decision.verdict == FERRY_VERDICT_SWITCH_OVER) {
        return switch_over(m);
    }
    if (m->decision.verdict == FERRY_VERDICT_GIVE_UP) {
        return give_up(m);
    }
    if (values->number == 0 && m->policy->watches) {
        return enter(m, FERRY_PHASE_ITERATE, FERRY_ACTION_WATCH);
    }
    return after_batch(m, &values->moment, out_batch);
}

FerryAction ferry_precopy_step(FerryPrecopy *m, FerryEvent event, FerryRound *values,
                               FerryBatch *out_batch)
{
    g_assert(event == FERRY_EVENT_STOPPED || (expected[m->phase] & (1u << event)));
    switch (event) { /* no default: the compiler names a forgotten event */
    case FERRY_EVENT_READY:
        m->ready_ns = values->moment.now_ns;
        m->guest_since_ns = values->moment.now_ns;
        return enter(m, FERRY_PHASE_ITERATE, FERRY_ACTION_SYNC);
    case FERRY_EVENT_SYNCED:
        return after_sync(m, values, out_batch);
    case FERRY_EVENT_WATCHED:
        ferry_heat_watch(m->heat, guest_time(m, values->moment.now_ns));
        return after_batch(m, &values->moment, out_batch);
    case FERRY_EVENT_SENT:
        return after_batch(m, &values->moment, out_batch);
    case FERRY_EVENT_PAUSED:
        return enter(m, FERRY_PHASE_FINAL, FERRY_ACTION_SYNC);
    case FERRY_EVENT_SAVED:
        return enter(m, FERRY_PHASE_LOADING, FERRY_ACTION_AWAIT_LOADED);
    case FERRY_EVENT_OFFERED:
    case FERRY_EVENT_LOADED:
        return enter(m, FERRY_PHASE_RELEASED, FERRY_ACTION_RELEASE);
    case FERRY_EVENT_RUNNING:
        return enter(m, FERRY_PHASE_DONE, FERRY_ACTION_FINISH);
    case FERRY_EVENT_STOPPED:
        return m->phase == FERRY_PHASE_RELEASED ? enter(m, FERRY_PHASE_UNSURE, FERRY_ACTION_HOLD)
                                                : enter(m, FERRY_PHASE_FAILED, FERRY_ACTION_RESUME);
    }
    g_assert_not_reached();
}

FerryPhase ferry_precopy_phase(const FerryPrecopy *m) { return m->phase; }

gboolean ferry_precopy_timed_out(const FerryPrecopy *m) { return m->timed_out; }

FerryBitmap *ferry_precopy_found(FerryPrecopy *m, unsigned block)
{
    g_assert(block < m->n_blocks);
    return &m->found[block];
}

uint64_t ferry_precopy_pending_pages(const FerryPrecopy *m)
{
    uint64_t pages = ferry_pending_count(m->pending);

    for (unsigned i = 0; i < m->n_blocks; i++) {
        pages += ferry_pending_count_new(m->pending, i, &m->found[i]);
    }
    return pages;
}

uint64_t ferry_precopy_unsent_pages(const FerryPrecopy *m) { return m->unsent_pages; }

uint64_t ferry_precopy_unseen_pages(const FerryPrecopy *m) { return m->unseen_pages; }

uint64_t ferry_precopy_deferred_pages(const FerryPrecopy *m) { return m->deferred_pages; }

uint64_t ferry_precopy_handed_pages(const FerryPrecopy *m) { return m->handed_pages; }

uint64_t ferry_precopy_resent_pages(const FerryPrecopy *m) { return m->resent_pages; }

const FerryDecision *ferry_precopy_decision(const FerryPrecopy *m) { return &m->decision; }

const FerryForecast *ferry_precopy_forecast(const FerryPrecopy *m) { return &m->forecast; }

const FerryPolicyOps *ferry_precopy_policy(const FerryPrecopy *m) { return m->policy; }

void ferry_precopy_free(FerryPrecopy *m)
{
    if (!m) {
        return;
    }
    for (unsigned i = 0; i < m->n_blocks; i++) {
        ferry_bitmap_clear(&m->found[i]);
        ferry_bitmap_clear(&m->sent[i]);
        ferry_bitmap_clear(&m->seen[i]);
    }
    g_free(m->found);
    g_free(m->sent);
    g_free(m->seen);
    ferry_pending_free(m->pending);
    ferry_heat_free(m->heat);
    g_free(m->block_pages);
    g_free(m->policy_state);
    g_free(m);
}

const char *ferry_phase_name(FerryPhase phase)
{
    static const char *const names[FERRY_N_PHASES] = {
        [FERRY_PHASE_SETUP] = "setup",       [FERRY_PHASE_ITERATE] = "iterate",
        [FERRY_PHASE_PAUSING] = "pausing",   [FERRY_PHASE_FINAL] = "final",
        [FERRY_PHASE_STATE] = "state",       [FERRY_PHASE_LOADING] = "loading",
        [FERRY_PHASE_RELEASED] = "released", [FERRY_PHASE_DONE] = "done",
        [FERRY_PHASE_FAILED] = "failed",     [FERRY_PHASE_UNSURE] = "unsure",
    };
    return phase < FERRY_N_PHASES ? names[phase] : "unknown";
}
