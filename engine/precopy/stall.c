#include "engine/precopy/stall.h"
#include "engine/precopy/estimate.h"

#define MS 1000000ull
/* A forecast must stand for so long; for what cannot be taken back longer; and longer still where
 * the fixed parts of the downtime alone are too long: they are rehearsed each second, and it may
 * have been a busy moment. */
#define FIRM_NS (100 * MS)
#define VERY_FIRM_NS (1000 * MS)
#define FIXED_FIRM_NS (3000 * MS)
/* Whatever the forecast says: no shorter downtime in sight for so long is a stall. */
#define STUCK_NS (10000 * MS)
#define PROGRESS_PERMILLE 980
/* The best moment to pause is one as good as the best seen, once that is not bettered any more, or
 * has been bettered for long enough. The longer that takes the less is asked for, soon much less:
 * the best may have been a moment in which the guest got no time to write. */
#define SETTLE_NS (1000 * MS)
#define OVERDUE_NS (5000 * MS)  /* behind the first pass */
#define SLACK_STEP_NS (20 * MS) /* per 1/1000 */
#define SLACK_DOUBLE_NS (2500 * MS)
#define SLACK_DOUBLINGS 10

#define THROTTLE_PERIOD_NS (1000 * MS)
#define THROTTLE_MAX 99
#define THROTTLE_STEP 10 /* where there is no forecast to go by */

static gboolean is_too_long_without_pages(const FerryRound *r)
{
    return r->fixed_ns + r->margin_ns > r->downtime_limit_ns;
}

static uint64_t since(const FerryRound *r, uint64_t ns)
{
    return r->moment.now_ns - MIN(ns, r->moment.now_ns);
}

static gboolean is_stuck(const FerryStall *s, const FerryRound *r)
{
    return since(r, s->best_at_ns) >= STUCK_NS;
}

static gboolean stalls_for(const FerryStall *s, const FerryRound *r, uint64_t ns)
{
    return is_stuck(s, r) ||
           s->stalls_ns >= (is_too_long_without_pages(r) ? MAX(ns, FIXED_FIRM_NS) : ns);
}

static unsigned throttle_allowed(const FerryRound *r)
{
    return r->throttle_max > 0                      ? MIN(r->throttle_max, THROTTLE_MAX)
           : r->on_stall == FERRY_ON_STALL_THROTTLE ? THROTTLE_MAX
                                                    : 0;
}

/* The least throttle that is needed; 0 where the forecast knows of none. */
static unsigned throttle_needed(const FerryRound *r)
{
    return r->forecast ? r->forecast->throttle_percent : 0;
}

static gboolean can_be_throttled_enough(const FerryStall *s, const FerryRound *r)
{
    gboolean did_not_help = is_stuck(s, r) && r->throttle_percent >= throttle_allowed(r);

    return throttle_needed(r) > 0 && !did_not_help && throttle_needed(r) <= throttle_allowed(r) &&
           !is_too_long_without_pages(r);
}

/* Most of what the round sent was sent for the first time. */
static gboolean is_first_pass(const FerryStall *s, const FerryRound *r)
{
    return s->unsent_bytes > r->unsent_bytes &&
           s->unsent_bytes - r->unsent_bytes > r->round_sent_bytes / 2;
}

static void note(FerryStall *s, const FerryRound *r, uint64_t predicted_ns)
{
    uint64_t ns = s->noted_ns ? since(r, s->noted_ns) : 0;
    gboolean first_pass = is_first_pass(s, r);

    /* One forecast that says otherwise does not begin it all anew. */
    if (r->forecast && r->forecast->outlook == FERRY_OUTLOOK_STALLS) {
        s->stalls_ns = MIN(s->stalls_ns + MIN(ns, FIXED_FIRM_NS), FIXED_FIRM_NS);
    } else {
        s->stalls_ns -= MIN(s->stalls_ns, 2 * MIN(ns, FIXED_FIRM_NS));
    }
    if (s->best_at_ns == 0 || first_pass ||
        predicted_ns < ferry_scale(s->best_ns, PROGRESS_PERMILLE, 1000)) {
        s->best_ns = predicted_ns;
        s->best_at_ns = MAX(r->moment.now_ns, 1);
    }
    s->first_pass_ns = first_pass ? r->moment.now_ns : s->first_pass_ns;
    s->unsent_bytes = r->unsent_bytes;
    s->noted_ns = MAX(r->moment.now_ns, 1);
}

static gboolean is_best_moment(const FerryStall *s, const FerryRound *r, uint64_t predicted_ns)
{
    uint64_t firm = since(r, s->firm_ns);
    uint64_t settled = MIN(since(r, s->best_at_ns), firm + SETTLE_NS);
    uint64_t overdue = MIN(since(r, s->first_pass_ns), firm);
    uint64_t late = MAX(settled - MIN(settled, SETTLE_NS), overdue - MIN(overdue, OVERDUE_NS));

    uint64_t slack = (1000 + late / SLACK_STEP_NS) << MIN(late / SLACK_DOUBLE_NS, SLACK_DOUBLINGS);

    return (settled >= SETTLE_NS || overdue >= OVERDUE_NS) &&
           predicted_ns <= ferry_scale(s->best_ns, slack, 1000);
}

FerryVerdict ferry_stall_verdict(FerryStall *s, const FerryRound *r, uint64_t predicted_ns)
{
    note(s, r, predicted_ns);
    if (can_be_throttled_enough(s, r) || !stalls_for(s, r, VERY_FIRM_NS)) {
        s->firm_ns = 0;
        return FERRY_VERDICT_ANOTHER_ROUND;
    }
    s->firm_ns = s->firm_ns ? s->firm_ns : MAX(r->moment.now_ns, 1);
    if (r->on_stall == FERRY_ON_STALL_CANCEL) {
        return FERRY_VERDICT_GIVE_UP;
    }
    return r->on_stall == FERRY_ON_STALL_PAUSE && is_best_moment(s, r, predicted_ns)
               ? FERRY_VERDICT_SWITCH_OVER
               : FERRY_VERDICT_ANOTHER_ROUND;
}

/* What the forecast asks for, at once; less of it step by step, since that may be wrong; and not
 * less again than what once was too little. */
static unsigned throttle_wanted(FerryStall *s, const FerryRound *r)
{
    unsigned now = r->throttle_percent, needed = MAX(throttle_needed(r), s->throttle_min);

    if (is_stuck(s, r)) {
        s->throttle_min = MIN(now + THROTTLE_STEP, THROTTLE_MAX);
        return MAX(needed, s->throttle_min);
    }
    if (!r->forecast || r->forecast->outlook == FERRY_OUTLOOK_UNKNOWN || needed >= now) {
        return MAX(needed, now);
    }
    return needed + (now - needed) / 2;
}

unsigned ferry_stall_throttle(FerryStall *s, const FerryRound *r)
{
    unsigned allowed = throttle_allowed(r), now = r->throttle_percent, wanted;

    if (allowed == 0 || is_too_long_without_pages(r)) {
        return 0;
    }
    /* While pages go out for the first time, cold ones first, a slower guest gains nothing. */
    if (now == 0 && (!stalls_for(s, r, FIRM_NS) || since(r, s->first_pass_ns) < FIRM_NS)) {
        return 0;
    }
    if (now > 0 && since(r, s->throttled_ns) < THROTTLE_PERIOD_NS) {
        return now;
    }
    s->throttled_ns = MAX(r->moment.now_ns, 1);
    wanted = MIN(throttle_wanted(s, r), allowed);
    if (wanted != now) {
        s->best_at_ns = 0; /* the guest is another one now */
    }
    return wanted;
}
