/* What a stock QEMU does, so that every other policy can be held against it: rounds that end when
 * what is known to be dirty falls under last window's rate times the downtime limit, and
 * auto-converge. Version 10.0, and 7.2 where it differs. */
#include "engine/precopy/policy.h"
#include "engine/precopy/estimate.h"

#define MS 1000000ull
#define WINDOW_NS (100 * MS)     /* the rate is that of the last window at least so long */
#define WINDOW_BYTES_MIN 10000   /* less says nothing about the expected downtime */
#define STEP_NS (50 * MS)        /* the threshold is looked at so often */
#define PERIOD_NS (1000 * MS)    /* of the guest's dirty rate and of auto-converge, at least */
#define TIMER_NS (5000 * MS)     /* a round may be longer: then auto-converge syncs in it */
#define CHUNK_BYTES (1ull << 30) /* cleared at once */
#define HITS 2                   /* periods over the trigger until a throttle step */

typedef struct {
    uint64_t step_ns;           /* when this step began */
    FerryMoment window, period; /* when each began */
    uint64_t bytes_per_second;  /* of the last window; avail-switchover-bandwidth in its place */
    uint64_t window_bytes;
    uint64_t threshold_bytes;
    uint64_t expected_ns;
    uint64_t period_dirtied_bytes, dirty_bytes_per_second;
    unsigned hits; /* periods over the trigger; a good one does not take them back */
    gboolean is_rate_known;
    gboolean is_dry; /* nothing was pending at the last look */
    /* As of the last sync. */
    unsigned syncs;
    uint64_t limit_ns, switchover_bytes_per_second;
    gboolean auto_converges;
    /* The timer's. */
    uint64_t timer_ns;
    unsigned timer_syncs;
} Qemu;

static uint64_t time_for(uint64_t bytes, uint64_t bytes_per_second)
{
    return ferry_scale(bytes, 1000 * MS, MAX(bytes_per_second, 1));
}

static void end_window(Qemu *q, const FerryMoment *now)
{
    uint64_t ns = now->now_ns - q->window.now_ns;

    /* QEMU counts what it has put together too, so its windows are never empty. */
    if (ns < WINDOW_NS || now->sent_bytes == q->window.sent_bytes) {
        return;
    }
    q->is_rate_known = TRUE;
    q->window_bytes = now->sent_bytes - q->window.sent_bytes;
    q->bytes_per_second = q->switchover_bytes_per_second
                              ? q->switchover_bytes_per_second
                              : ferry_scale(q->window_bytes, 1000 * MS, ns);
    q->threshold_bytes = ferry_scale(q->bytes_per_second, q->limit_ns, 1000 * MS);
    q->window = *now;
}

/* The 5 s timer looks whether there was a sync since it last did; the first pass is left alone. */
static gboolean timer_syncs(Qemu *q, const FerryMoment *now)
{
    gboolean syncs;

    if (!q->auto_converges || now->now_ns - q->timer_ns < TIMER_NS) {
        return FALSE;
    }
    q->timer_ns += TIMER_NS * ((now->now_ns - q->timer_ns) / TIMER_NS);
    syncs = q->syncs > 1 && q->syncs == q->timer_syncs;
    q->timer_syncs = q->syncs + (syncs ? 1 : 0);
    return syncs;
}

static gboolean is_step_over(Qemu *q, const FerryMoment *now, uint64_t pending_bytes)
{
    q->is_dry = pending_bytes == 0;
    if (!q->is_dry && now->now_ns - q->step_ns < STEP_NS) {
        return FALSE;
    }
    q->step_ns = now->now_ns;
    end_window(q, now);
    return pending_bytes < q->threshold_bytes;
}

static gboolean is_round_over(void *self, const FerryMoment *now, uint64_t pending_bytes)
{
    gboolean due = timer_syncs(self, now);

    return is_step_over(self, now, pending_bytes) || due;
}

static gboolean is_round_over_72(void *self, const FerryMoment *now, uint64_t pending_bytes)
{
    return is_step_over(self, now, pending_bytes);
}

static unsigned throttle_step(const FerryRound *r, uint64_t dirty, uint64_t trigger)
{
    unsigned increment = r->throttle_increment;

    if (r->throttle_percent == 0) {
        return r->throttle_initial;
    }
    if (r->throttle_tailslow) { /* no more than what would match the trigger */
        unsigned speed = 100 - MIN(r->throttle_percent, 100);
        increment = MIN(increment, speed - (unsigned)ferry_scale(speed, trigger, dirty));
    }
    return MIN(r->throttle_percent + increment, r->throttle_max);
}

/* Looked at in syncs only, and not more often than each second. */
static unsigned end_period(Qemu *q, const FerryRound *r)
{
    uint64_t ns = r->moment.now_ns - q->period.now_ns;
    uint64_t sent = r->moment.sent_bytes - q->period.sent_bytes;
    uint64_t trigger = ferry_scale(sent, r->throttle_trigger, 100);
    unsigned percent = r->throttle_percent;

    q->period_dirtied_bytes += r->round_dirtied_bytes;
    if (ns <= PERIOD_NS) {
        return percent;
    }
    if (r->throttle_max > 0 && q->period_dirtied_bytes > trigger && ++q->hits >= HITS) {
        q->hits = 0;
        percent = throttle_step(r, q->period_dirtied_bytes, trigger);
    }
    q->dirty_bytes_per_second = ferry_scale(q->period_dirtied_bytes, 1000 * MS, ns);
    q->period_dirtied_bytes = 0;
    q->period = r->moment;
    return percent;
}

static FerryDecision decide(void *self, const FerryRound *r)
{
    Qemu *q = self;
    FerryDecision d = {.verdict = FERRY_VERDICT_ANOTHER_ROUND};

    if (q->syncs++ == 0) { /* the migration's first, or the first of this policy */
        q->is_dry = FALSE;
        q->window = r->moment;
        q->period = r->moment;
        q->timer_ns = r->moment.now_ns;
        q->expected_ns = r->downtime_limit_ns;
    }
    q->step_ns = r->moment.now_ns;
    q->limit_ns = r->downtime_limit_ns;
    q->switchover_bytes_per_second = r->switchover_bytes_per_second;
    q->auto_converges = r->throttle_max > 0;
    d.throttle_percent = end_period(q, r);
    if (q->dirty_bytes_per_second > 0 && q->window_bytes > WINDOW_BYTES_MIN) {
        q->expected_ns = time_for(r->dirty_bytes, q->bytes_per_second);
    }
    d.predicted_downtime_ns = q->expected_ns;
    /* All sent before there was a threshold: what was written meanwhile is not even looked for. */
    if (r->number > 0 && (r->dirty_bytes == 0 || r->dirty_bytes < q->threshold_bytes ||
                          (q->is_dry && !q->is_rate_known))) {
        d.verdict = FERRY_VERDICT_SWITCH_OVER;
    }
    return d;
}

static FerryDecision decide_72(void *self, const FerryRound *r)
{
    FerryRound without = *r;

    without.switchover_bytes_per_second = 0;
    without.throttle_tailslow = FALSE;
    return decide(self, &without);
}

const FerryPolicyOps ferry_policy_qemu = {.name = "qemu",
                                          .state_size = sizeof(Qemu),
                                          .order = FERRY_ORDER_CURSOR,
                                          .chunk_bytes = CHUNK_BYTES,
                                          .is_round_over = is_round_over,
                                          .decide = decide};
const FerryPolicyOps ferry_policy_qemu_72 = {.name = "qemu-7.2",
                                             .state_size = sizeof(Qemu),
                                             .order = FERRY_ORDER_CURSOR,
                                             .chunk_bytes = CHUNK_BYTES,
                                             .is_round_over = is_round_over_72,
                                             .decide = decide_72};
