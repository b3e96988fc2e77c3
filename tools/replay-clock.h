/* How a guest's time passes in a replay: as real time does, times a speed; more slowly while it is
 * throttled, not at all while it stands. Values only: no clock is read here, and who shares one
 * locks it. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

/* From here on the guest's time passed at another pace. */
typedef struct {
    uint64_t real_ns, guest_ns;
    double pace; /* ns of the guest's time in a real one; 0: it stands */
} FerryReplayPoint;

typedef struct {
    double speed;
    GArray *points; /* FerryReplayPoint, at least one */
} FerryReplayClock;

/* It stands at @guest_ns. */
void ferry_replay_clock_init(FerryReplayClock *clock, double speed, uint64_t real_ns,
                             uint64_t guest_ns);
void ferry_replay_clock_clear(FerryReplayClock *clock);
/* From @real_ns on, which is not before the last change. */
void ferry_replay_clock_set(FerryReplayClock *clock, uint64_t real_ns, gboolean runs,
                            unsigned throttle_percent);
/* The guest's time at @real_ns, behind the last change. */
uint64_t ferry_replay_clock_guest(const FerryReplayClock *clock, uint64_t real_ns);
/* How long, in real time, until the guest's time is @guest_ns; UINT64_MAX: it stands. */
uint64_t ferry_replay_clock_until(const FerryReplayClock *clock, uint64_t real_ns,
                                  uint64_t guest_ns);
/* The real time at which the guest's time first was @guest_ns, if nothing changes any more. */
uint64_t ferry_replay_clock_real(const FerryReplayClock *clock, uint64_t guest_ns);

G_END_DECLS
