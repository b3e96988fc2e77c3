/* Honest switchover: pause the guest when the downtime that follows, every part of it measured,
 * fits the budget, with a margin. The rate is the one nothing caps, because the last round is sent
 * uncapped. Pages go out cold ones first, so hot ones are left for the last copy; syncs are as
 * frequent as they are cheap. docs/convergence.md has the reasons. */
#include "engine/precopy/estimate.h"
#include "engine/precopy/stall.h"

#define MS 1000000ull

/* Rounds are useless while the parts that are no pages exceed the budget, or when nothing is dirty:
 * syncing all the time would only slow the guest. The user may raise the budget meanwhile. */
#define REST_HOPELESS_NS (50 * MS)
#define REST_IDLE_NS (5 * MS)

/* Syncs: the first ones soon, to learn; then often enough to switch over in time; and never so
 * often that they take more than a twentieth of the time. */
#define FIRST_SYNC_NS (10 * MS)
#define SYNC_MIN_NS (10 * MS)
#define SYNC_MAX_NS (100 * MS)
#define SYNCS_PER_LIMIT 8
#define SYNC_SHARE 20
#define EARLY_SYNC_NS (5 * MS) /* when the end seems near */

/* A margin that alone stands in the way loses its weight in so long: the guest shall move. */
#define PATIENCE_NS (5000 * MS)

/* A guest is quiet that writes so small a part of what is sent; and what takes no longer to send is
 * not worth a round. */
#define QUIET_SHARE 16
#define LITTLE_NS (2 * MS)

typedef struct {
    FerryStall stall;
    FerryRound last; /* what the last sync said; its forecast is not kept */
    unsigned syncs;
    uint64_t sending_ns;   /* the first page behind the last sync went out by then: what a busy host
                            * spends between the two is no time for sending; 0: not yet */
    uint64_t nearly_ns;    /* for how long, lately, only the margin stood in the way */
    double dirtied_per_ns; /* bytes that were clean, lately */
} Ferry;

/* The downtime if @dirty_bytes were left at the pause, @unseen_bytes of them neither sent
 * nor found written so far. */
static uint64_t downtime(const FerryRound *r, uint64_t dirty_bytes, uint64_t unseen_bytes,
                         uint64_t unsent_permille, uint64_t rate_permille)
{
    uint64_t again = dirty_bytes - MIN(unseen_bytes, dirty_bytes);
    uint64_t wire = ferry_scale(again, r->wire_permille, 1000) +
                    ferry_scale(MIN(unseen_bytes, dirty_bytes), unsent_permille, 1000) +
                    r->queued_bytes;
    uint64_t rate = ferry_scale(r->uncapped_bytes_per_second, rate_permille, 1000);

    if (wire == 0) {
        return r->fixed_ns;
    }
    if (rate == 0) {
        return UINT64_MAX;
    }
    uint64_t wire_ns = ferry_scale(wire, 1000 * MS, rate);
    return wire_ns < UINT64_MAX - r->fixed_ns ? r->fixed_ns + wire_ns : UINT64_MAX;
}

/* What is left at the pause if @dirty_bytes are known now: pages written while a sync looks, and
 * until the guest stands, come too. */
static uint64_t left_at_pause(const Ferry *f, const FerryRound *r, uint64_t dirty_bytes)
{
    double late = f->dirtied_per_ns * (double)(r->sync_ns + r->pause_ns);
    uint64_t room = r->ram_bytes - MIN(dirty_bytes, r->ram_bytes);

    return dirty_bytes + (late < (double)room ? (uint64_t)late : room);
}

static uint64_t expected_downtime(const Ferry *f, const FerryRound *r)
{
    uint64_t permille = r->unsent_wire_permille ? r->unsent_wire_permille : r->wire_permille;

    return downtime(r, left_at_pause(f, r, r->dirty_bytes), r->unseen_bytes, permille, 1000);
}

/* What is exceeded once in 20 times. Those pages may be anything. */
static uint64_t cautious_downtime(const Ferry *f, const FerryRound *r, uint64_t dirty_bytes,
                                  uint64_t unseen_bytes)
{
    uint64_t permille = MAX(MAX(r->unsent_wire_permille, r->wire_permille), 1000);
    uint64_t ns = downtime(r, left_at_pause(f, r, dirty_bytes), unseen_bytes, permille,
                           r->rate_permille_p5 ? r->rate_permille_p5 : 1000);

    return ns < UINT64_MAX - r->margin_ns ? ns + r->margin_ns : UINT64_MAX;
}

static uint64_t shortest_gap(const FerryRound *r) { return (SYNC_SHARE - 1) * r->sync_ns; }

/* From one sync to the next. */
static uint64_t sync_interval(const Ferry *f)
{
    uint64_t limit = f->last.downtime_limit_ns / SYNCS_PER_LIMIT;
    uint64_t interval = CLAMP(limit, SYNC_MIN_NS, SYNC_MAX_NS);

    if (f->syncs > 0 && f->syncs < 5) {
        interval = MIN(interval, FIRST_SYNC_NS << (f->syncs - 1));
    }
    return MAX(interval, shortest_gap(&f->last));
}

/* A sync is due, or what is left would fit, as far as is known. */
static gboolean is_round_over(void *self, const FerryMoment *now, uint64_t pending_bytes)
{
    Ferry *f = self;
    const FerryRound *r = &f->last;
    uint64_t ns = now->now_ns - r->moment.now_ns;

    if (f->syncs == 0) {
        return TRUE;
    }
    if (f->sending_ns == 0 && ns > 0) {
        f->sending_ns = now->now_ns;
    }
    if (f->sending_ns > 0 && now->now_ns - f->sending_ns >= sync_interval(f)) {
        return TRUE;
    }
    if (ns < MAX(shortest_gap(r), EARLY_SYNC_NS)) {
        return FALSE;
    }
    uint64_t sent = r->dirty_bytes - MIN(pending_bytes, r->dirty_bytes);
    uint64_t unseen = r->unseen_bytes - MIN(sent, r->unseen_bytes);
    double dirtied = MIN(f->dirtied_per_ns * (double)ns, (double)r->ram_bytes);
    return r->downtime_limit_ns > 0 && cautious_downtime(f, r, pending_bytes + (uint64_t)dirtied,
                                                         unseen) <= r->downtime_limit_ns;
}

static void learn(Ferry *f, const FerryRound *r)
{
    if (r->number > 0 && r->round_ns > 0) {
        /* As in FerryRate: old rounds fade with the time that passes. */
        double fresh = (double)r->round_dirtied_bytes / (double)r->round_ns;
        double keep = 1.0 / (1.0 + (double)r->round_ns / (double)(20 * MS));
        f->dirtied_per_ns = f->dirtied_per_ns * keep + fresh * (1 - keep);
    }
    f->last = *r;
    f->last.forecast = NULL;
    f->sending_ns = 0;
    f->syncs++;
}

static gboolean fits(Ferry *f, const FerryRound *r, uint64_t expected_ns)
{
    uint64_t limit = r->downtime_limit_ns;
    uint64_t cautious = cautious_downtime(f, r, r->dirty_bytes, r->unseen_bytes);

    if (r->number == 0 || expected_ns > limit) {
        f->nearly_ns -= MIN(f->nearly_ns, r->round_ns);
        /* A budget of 0 asks for nothing left to send. */
        return r->number > 0 && limit == 0 && r->dirty_bytes == 0;
    }
    if (cautious <= limit) {
        return TRUE;
    }
    f->nearly_ns = MIN(f->nearly_ns + MIN(r->round_ns, PATIENCE_NS), PATIENCE_NS);
    return ferry_scale(cautious - expected_ns, PATIENCE_NS - f->nearly_ns, PATIENCE_NS) <=
           limit - expected_ns;
}

/* The limit could be met now, but the guest writes so little that sending on hardly makes the
 * migration longer, or more, and the downtime shorter: until what is left is what rounds bring. */
static gboolean sending_on_pays(const Ferry *f, const FerryRound *r, uint64_t expected_ns)
{
    uint64_t rate =
        r->capped_bytes_per_second ? r->capped_bytes_per_second : r->uncapped_bytes_per_second;

    return expected_ns > r->fixed_ns + LITTLE_NS && rate >= r->uncapped_bytes_per_second / 2 &&
           r->dirty_bytes > 2 * r->round_dirtied_bytes &&
           f->dirtied_per_ns * QUIET_SHARE < (double)rate / (1000 * MS);
}

/* Before the next sync, when there is not enough to send until it is due. */
static uint64_t rest(const FerryRound *r)
{
    uint64_t rate =
        r->capped_bytes_per_second ? r->capped_bytes_per_second : r->uncapped_bytes_per_second;
    uint64_t sending_ns = rate ? ferry_scale(r->dirty_bytes, 1000 * MS, rate) : UINT64_MAX;
    uint64_t wanted = shortest_gap(r);

    if (r->number > 0 && r->fixed_ns > r->downtime_limit_ns && r->downtime_limit_ns > 0) {
        wanted = MAX(wanted, REST_HOPELESS_NS);
    } else if (r->dirty_bytes == 0) {
        return MAX(wanted, REST_IDLE_NS);
    }
    return wanted - MIN(wanted, sending_ns);
}

static FerryDecision decide(void *self, const FerryRound *r)
{
    Ferry *f = self;
    FerryDecision d = {.verdict = FERRY_VERDICT_ANOTHER_ROUND,
                       .throttle_percent = r->throttle_percent};

    learn(f, r);
    d.predicted_downtime_ns = expected_downtime(f, r);
    if (fits(f, r, d.predicted_downtime_ns) && !sending_on_pays(f, r, d.predicted_downtime_ns)) {
        d.verdict = FERRY_VERDICT_SWITCH_OVER;
        return d;
    }
    d.verdict = ferry_stall_verdict(&f->stall, r, d.predicted_downtime_ns);
    d.throttle_percent = ferry_stall_throttle(&f->stall, r);
    d.rest_ns = d.verdict == FERRY_VERDICT_ANOTHER_ROUND ? rest(r) : 0;
    return d;
}

const FerryPolicyOps ferry_policy_ferry = {.name = "ferry",
                                           .state_size = sizeof(Ferry),
                                           .order = FERRY_ORDER_COLD_FIRST,
                                           .watches = TRUE,
                                           .is_round_over = is_round_over,
                                           .decide = decide};
