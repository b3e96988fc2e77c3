/* When to sync, when to switch over, how much to throttle, when to give up: a few functions from
 * values to values per policy. Pure. */
#pragma once
#include <glib.h>
#include <stdint.h>
#include "engine/precopy/forecast.h"

G_BEGIN_DECLS

/* What the user wants when the policy's forecast says that the downtime limit cannot be met. */
typedef enum {
    FERRY_ON_STALL_WAIT,  /* iterate until it can be met, or something else ends it: QEMU's way */
    FERRY_ON_STALL_PAUSE, /* switch over all the same, at the best moment */
    FERRY_ON_STALL_THROTTLE, /* slow the guest by as much as is needed */
    FERRY_ON_STALL_CANCEL,   /* give up: the guest runs on at the source */
    FERRY_N_ON_STALL
} FerryOnStall;
/* "wait", "pause", "throttle", "cancel". */
const char *ferry_on_stall_name(FerryOnStall on_stall);
gboolean ferry_on_stall_parse(const char *name, FerryOnStall *out_on_stall);

/* What is known at any moment. */
typedef struct {
    uint64_t now_ns;
    uint64_t sent_bytes; /* on the wire since the migration began, all channels */
} FerryMoment;

/* What is known at a dirty sync. The machine fills in what only it knows (*). */
typedef struct {
    FerryMoment moment;
    unsigned number;       /* of the round that just ended; 0: the first sync, nothing sent (*) */
    uint64_t ram_bytes;    /* of all blocks (*) */
    uint64_t dirty_bytes;  /* pending: what the last round would have to send, guest bytes (*) */
    uint64_t unsent_bytes; /* of those: never sent so far (*) */
    uint64_t unseen_bytes; /* of those: never found written either, if the machine watches (*) */
    uint64_t queued_bytes; /* written to the channel, not yet at the peer */
    uint64_t round_sent_bytes;    /* wire bytes of the round that ended */
    uint64_t round_dirtied_bytes; /* clean before, found written by this sync (*) */
    uint64_t round_ns;
    uint64_t sync_ns;                   /* what this sync cost: barrier, log and merging */
    uint64_t uncapped_bytes_per_second; /* the channel's rate when nothing but the link holds it
                                         * back; 0: unknown */
    uint64_t capped_bytes_per_second;   /* the rate at which rounds are sent: the same, or
                                         * max-bandwidth; 0: unknown */
    uint64_t wire_permille;        /* wire bytes per guest byte, in 1/1000, of pages sent again */
    uint64_t unsent_wire_permille; /* of pages that were neither sent nor found written */
    uint64_t fixed_ns;  /* measured parts of the downtime that do not depend on dirty_bytes */
    uint64_t pause_ns;  /* of those: until the guest stands, which writes on till then */
    uint64_t margin_ns; /* by how much those may be worse, 95 times in 100 */
    uint64_t rate_permille_p5; /* the uncapped rate that is exceeded 95 times in 100, in 1/1000 of
                                * the measured one; 1000: steady, or not known */
    uint64_t downtime_limit_ns;
    FerryOnStall on_stall;
    unsigned throttle_percent; /* as it is now */
    /* QEMU's auto-converge; 0 where the user does not want it. */
    unsigned throttle_initial, throttle_increment, throttle_max, throttle_trigger;
    gboolean throttle_tailslow;
    /* avail-switchover-bandwidth, which is in uncapped_bytes_per_second too; 0: not given. */
    uint64_t switchover_bytes_per_second;
    /* What the machine has learnt about this guest; NULL unless the policy watches it (*). */
    const FerryForecast *forecast;
} FerryRound;

typedef enum {
    FERRY_VERDICT_ANOTHER_ROUND,
    FERRY_VERDICT_SWITCH_OVER,
    FERRY_VERDICT_GIVE_UP, /* the guest stays: FERRY_ON_STALL_CANCEL, or a timeout */
} FerryVerdict;

typedef struct {
    FerryVerdict verdict;
    uint64_t predicted_downtime_ns; /* if it switched over now; UINT64_MAX: cannot be said */
    unsigned throttle_percent;      /* from now on */
    uint64_t rest_ns;               /* let so much time pass before the next sync */
} FerryDecision;

/* Which pending page comes next. */
typedef enum {
    FERRY_ORDER_PASS,       /* from the first block's first page; a pass ends with a sync */
    FERRY_ORDER_CURSOR,     /* in address order round and round; a sync does not move the cursor */
    FERRY_ORDER_COLD_FIRST, /* those least likely to be written again; syncs when the policy says */
} FerryOrder;

typedef struct {
    const char *name;
    gsize state_size; /* bytes of zeroed state that the machine keeps for it */
    FerryOrder order;
    gboolean watches;     /* clear the whole log behind the first sync, to see writes at once */
    uint64_t chunk_bytes; /* clear so much at once; 0: what suits link and log best */
    /* The number behind '=' in the policy's name; NULL: it takes none. */
    void (*begin)(void *self, unsigned argument);
    /* Between two batches of a round, @pending_bytes of guest memory still to be sent in it: TRUE
     * ends the round here. NULL: a round is a pass over all that was pending. A round ends by
     * itself when nothing is pending. */
    gboolean (*is_round_over)(void *self, const FerryMoment *moment, uint64_t pending_bytes);
    /* At every dirty sync but the last. */
    FerryDecision (*decide)(void *self, const FerryRound *round);
} FerryPolicyOps;

extern const FerryPolicyOps ferry_policy_ferry;   /* the default; docs/convergence.md */
extern const FerryPolicyOps ferry_policy_qemu;    /* a stock QEMU 10.0 */
extern const FerryPolicyOps ferry_policy_qemu_72; /* a stock QEMU 7.2 */
extern const FerryPolicyOps ferry_policy_fixed_rounds;

/* A policy as a user names it. */
typedef struct {
    const FerryPolicyOps *ops; /* NULL: ferry_policy_ferry */
    unsigned argument;
} FerryPolicy;
/* "ferry", "qemu", "qemu-7.2", "fixed-rounds=N" (N from 1 to 1000: switch over at the N-th sync
 * behind the first). FALSE: *out_why, static, says what is wrong. */
gboolean ferry_policy_parse(const char *name, FerryPolicy *out_policy, const char **out_why);

G_END_DECLS
