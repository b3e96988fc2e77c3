#include "tools/replay-clock.h"

static const FerryReplayPoint *last(const FerryReplayClock *c)
{
    return &g_array_index(c->points, FerryReplayPoint, c->points->len - 1);
}

void ferry_replay_clock_init(FerryReplayClock *c, double speed, uint64_t real_ns, uint64_t guest_ns)
{
    FerryReplayPoint first = {.real_ns = real_ns, .guest_ns = guest_ns};

    c->speed = speed;
    c->points = g_array_new(FALSE, FALSE, sizeof(FerryReplayPoint));
    g_array_append_val(c->points, first);
}

void ferry_replay_clock_clear(FerryReplayClock *c) { g_clear_pointer(&c->points, g_array_unref); }

/* Traces may say that a frame lasts for centuries. */
static uint64_t real_for(uint64_t guest_ns, double pace)
{
    return (uint64_t)MIN((double)guest_ns / pace, 1e18);
}

static uint64_t guest_at(const FerryReplayPoint *p, uint64_t real_ns)
{
    return p->guest_ns + (uint64_t)((double)(real_ns - MIN(real_ns, p->real_ns)) * p->pace);
}

uint64_t ferry_replay_clock_guest(const FerryReplayClock *c, uint64_t real_ns)
{
    return guest_at(last(c), real_ns);
}

void ferry_replay_clock_set(FerryReplayClock *c, uint64_t real_ns, gboolean runs,
                            unsigned throttle_percent)
{
    FerryReplayPoint next = {.real_ns = real_ns, .guest_ns = ferry_replay_clock_guest(c, real_ns)};

    next.pace = runs ? c->speed * (100 - MIN(throttle_percent, 99)) / 100 : 0;
    g_array_append_val(c->points, next);
}

uint64_t ferry_replay_clock_until(const FerryReplayClock *c, uint64_t real_ns, uint64_t guest_ns)
{
    uint64_t now = ferry_replay_clock_guest(c, real_ns);

    if (last(c)->pace <= 0) {
        return UINT64_MAX;
    }
    return guest_ns > now ? real_for(guest_ns - now, last(c)->pace) : 0;
}

uint64_t ferry_replay_clock_real(const FerryReplayClock *c, uint64_t guest_ns)
{
    guint at = 0;

    /* The last point that is not behind @guest_ns, but the first of several at the same time of the
     * guest's: it stood there. */
    for (guint i = 1; i < c->points->len; i++) {
        if (g_array_index(c->points, FerryReplayPoint, i).guest_ns < guest_ns) {
            at = i;
        }
    }
    const FerryReplayPoint *p = &g_array_index(c->points, FerryReplayPoint, at);
    if (guest_ns <= p->guest_ns) {
        return p->real_ns;
    }
    return p->pace > 0 ? p->real_ns + real_for(guest_ns - p->guest_ns, p->pace) : UINT64_MAX;
}
