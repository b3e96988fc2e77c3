/* When to switch over, and how much to throttle: one function from values to values per policy.
 * Pure. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

/* What is known at a dirty sync. */
typedef struct {
    uint64_t now_ns;
    unsigned number;           /* of the round that just ended; 0: the first sync, nothing sent */
    uint64_t dirty_bytes;      /* pending: what the last round would have to send, guest bytes */
    uint64_t queued_bytes;     /* written to the channel, not yet at the peer */
    uint64_t round_sent_bytes; /* wire bytes of the round that ended */
    uint64_t round_dirtied_bytes; /* dirtied during it */
    uint64_t round_ns;
    uint64_t
        uncapped_bytes_per_second; /* measured while nothing held the channel back; 0: unknown */
    uint64_t wire_permille;        /* wire bytes per guest byte, in 1/1000, as measured */
    uint64_t fixed_ns; /* measured parts of the downtime that do not depend on dirty_bytes */
    uint64_t downtime_limit_ns;
    unsigned throttle_percent; /* as it is now */
    /* From FerryLimits; 0 where the user wants no throttling. */
    unsigned throttle_initial, throttle_increment, throttle_max, throttle_trigger;
} FerryRound;

typedef enum {
    FERRY_VERDICT_ANOTHER_ROUND,
    FERRY_VERDICT_SWITCH_OVER,
} FerryVerdict;

typedef struct {
    FerryVerdict verdict;
    uint64_t predicted_downtime_ns; /* if it switched over now; UINT64_MAX: cannot be said */
    unsigned throttle_percent;      /* from now on */
    uint64_t rest_ns;               /* let so much time pass before the next sync */
} FerryDecision;

/* decide is called at every dirty sync but the last. @self is the policy's own state, NULL for
 * policies that have none. */
typedef struct {
    const char *name;
    gsize state_size; /* bytes of zeroed state that the machine keeps for it */
    FerryDecision (*decide)(void *self, const FerryRound *round);
} FerryPolicyOps;

/* The default: switch over when fixed part + what is left at the measured uncapped rate fits. */
extern const FerryPolicyOps ferry_policy_downtime;
/* By name ("ferry"); NULL: no such policy. */
const FerryPolicyOps *ferry_policy_find(const char *name);

G_END_DECLS
