/* Honest switchover: pause the guest when the downtime that follows, every part of it measured,
 * fits the budget. The rate is the one nothing caps, because the last round is sent uncapped. */
#include "engine/precopy/policy.h"
#include "engine/precopy/estimate.h"

/* Rounds are useless while the parts that are no pages exceed the budget, or when nothing is dirty:
 * syncing all the time would only slow the guest. The user may raise the budget meanwhile. */
#define REST_HOPELESS_NS 50000000u
#define REST_IDLE_NS 5000000u

typedef struct {
    unsigned hits; /* rounds in which the guest outran the link, since the last throttle step */
} Throttle;

static uint64_t predict(const FerryRound *r)
{
    uint64_t wire = ferry_scale(r->dirty_bytes, r->wire_permille, 1000) + r->queued_bytes;
    if (wire == 0) {
        return r->fixed_ns;
    }
    if (r->uncapped_bytes_per_second == 0) {
        return UINT64_MAX;
    }
    uint64_t wire_ns = ferry_scale(wire, 1000000000, r->uncapped_bytes_per_second);
    return wire_ns < UINT64_MAX - r->fixed_ns ? r->fixed_ns + wire_ns : UINT64_MAX;
}

/* QEMU's auto-converge: the second round that dirtied more than the trigger's share of what it sent
 * starts or raises the throttle. */
static unsigned throttle(Throttle *t, const FerryRound *r)
{
    if (r->throttle_max == 0 || r->number == 0) {
        return 0;
    }
    if (r->round_dirtied_bytes > ferry_scale(r->round_sent_bytes, r->throttle_trigger, 100) &&
        ++t->hits >= 2) {
        t->hits = 0;
        return MIN(r->throttle_percent ? r->throttle_percent + r->throttle_increment
                                       : r->throttle_initial,
                   r->throttle_max);
    }
    return r->throttle_percent;
}

static FerryDecision decide(void *self, const FerryRound *r)
{
    FerryDecision d = {.verdict = FERRY_VERDICT_ANOTHER_ROUND, .predicted_downtime_ns = predict(r)};
    /* The first sync comes before anything is sent. A budget of 0 asks for nothing left to send. */
    if (r->number > 0 && (d.predicted_downtime_ns <= r->downtime_limit_ns ||
                          (r->downtime_limit_ns == 0 && r->dirty_bytes == 0))) {
        d.verdict = FERRY_VERDICT_SWITCH_OVER;
        d.throttle_percent = r->throttle_percent;
        return d;
    }
    d.throttle_percent = throttle(self, r);
    if (r->number > 0 && r->fixed_ns > r->downtime_limit_ns && r->downtime_limit_ns > 0) {
        d.rest_ns = REST_HOPELESS_NS;
    } else if (r->dirty_bytes == 0) {
        d.rest_ns = REST_IDLE_NS;
    }
    return d;
}

const FerryPolicyOps ferry_policy_ferry = {
    .name = "ferry", .state_size = sizeof(Throttle), .order = FERRY_ORDER_PASS, .decide = decide};
