#include "engine/precopy/machine.h"

struct FerryPrecopy {
    FerryPhase phase;
    const FerryPolicyOps *policy;
    void *policy_state;
    FerryDecision decision;
    unsigned n_blocks;
    FerryBitmap *pending;
    unsigned cursor_block; /* where the pass stands */
    uint64_t cursor_page;
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
    [FERRY_PHASE_ITERATE] = ON(SYNCED) | ON(SENT),
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

FerryPrecopy *ferry_precopy_new(const FerryPolicyOps *policy, const uint64_t *block_pages,
                                unsigned n_blocks)
{
    FerryPrecopy *m = g_new0(FerryPrecopy, 1);
    m->policy = policy;
    m->policy_state = g_malloc0(MAX(policy->state_size, 1));
    m->decision.predicted_downtime_ns = UINT64_MAX;
    m->n_blocks = n_blocks;
    m->pending = g_new0(FerryBitmap, n_blocks);
    for (unsigned i = 0; i < n_blocks; i++) {
        ferry_bitmap_init(&m->pending[i], block_pages[i]);
    }
    return m;
}

/* One pass over all blocks, in address order: from the cursor to the end. */
static gboolean next_batch(FerryPrecopy *m, FerryBatch *out_batch)
{
    for (; m->cursor_block < m->n_blocks; m->cursor_block++, m->cursor_page = 0) {
        FerryBitmap *pending = &m->pending[m->cursor_block];
        uint64_t first, n;
        if (!ferry_bitmap_next_run(pending, m->cursor_page, FERRY_BATCH_PAGES, &first, &n)) {
            continue;
        }
        ferry_bitmap_reset(pending, first, n);
        m->cursor_page = first + n;
        *out_batch = (FerryBatch){.block = m->cursor_block, .first_page = first, .n_pages = n};
        return TRUE;
    }
    m->cursor_block = 0;
    m->cursor_page = 0;
    return FALSE;
}

static FerryAction after_batch(FerryPrecopy *m, FerryBatch *out_batch)
{
    if (next_batch(m, out_batch)) {
        return enter(m, m->phase, FERRY_ACTION_SEND);
    }
    if (m->phase == FERRY_PHASE_FINAL) {
        return enter(m, FERRY_PHASE_STATE, FERRY_ACTION_SAVE);
    }
    if (!m->rested) {
        m->rested = TRUE;
        return enter(m, FERRY_PHASE_ITERATE, FERRY_ACTION_REST);
    }
    return enter(m, FERRY_PHASE_ITERATE, FERRY_ACTION_SYNC);
}

static FerryAction after_sync(FerryPrecopy *m, const FerryRound *values, FerryBatch *out_batch)
{
    if (m->phase == FERRY_PHASE_FINAL) {
        return after_batch(m, out_batch);
    }
    m->decision = m->policy->decide(m->policy_state, values);
    m->rested = m->decision.rest_ns == 0;
    if (m->decision.verdict == FERRY_VERDICT_SWITCH_OVER) {
        return enter(m, FERRY_PHASE_PAUSING, FERRY_ACTION_PAUSE);
    }
    return after_batch(m, out_batch);
}

FerryAction ferry_precopy_step(FerryPrecopy *m, FerryEvent event, const FerryRound *values,
                               FerryBatch *out_batch)
{
    g_assert(event == FERRY_EVENT_STOPPED || (expected[m->phase] & (1u << event)));
    switch (event) { /* no default: the compiler names a forgotten event */
    case FERRY_EVENT_READY:
        return enter(m, FERRY_PHASE_ITERATE, FERRY_ACTION_SYNC);
    case FERRY_EVENT_SYNCED:
        return after_sync(m, values, out_batch);
    case FERRY_EVENT_SENT:
        return after_batch(m, out_batch);
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

FerryBitmap *ferry_precopy_pending(FerryPrecopy *m, unsigned block)
{
    g_assert(block < m->n_blocks);
    return &m->pending[block];
}

uint64_t ferry_precopy_pending_pages(const FerryPrecopy *m)
{
    uint64_t pages = 0;
    for (unsigned i = 0; i < m->n_blocks; i++) {
        pages += ferry_bitmap_count(&m->pending[i]);
    }
    return pages;
}

const FerryDecision *ferry_precopy_decision(const FerryPrecopy *m) { return &m->decision; }

void ferry_precopy_free(FerryPrecopy *m)
{
    if (!m) {
        return;
    }
    for (unsigned i = 0; i < m->n_blocks; i++) {
        ferry_bitmap_clear(&m->pending[i]);
    }
    g_free(m->pending);
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
