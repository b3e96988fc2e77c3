/* What policy "ferry" does when the downtime limit cannot be met. Pure. */
#pragma once
#include "engine/precopy/policy.h"

G_BEGIN_DECLS

typedef struct {
    uint64_t stalls_ns;           /* for how long, lately, the forecast has said so */
    uint64_t firm_ns;             /* since when that is relied upon; 0: it is not */
    uint64_t best_ns, best_at_ns; /* the shortest downtime predicted lately, and when */
    uint64_t first_pass_ns;       /* when most of what was sent was last sent for the first time */
    uint64_t throttled_ns;        /* when the throttle was last looked at; 0: never */
    unsigned throttle_min;        /* less was tried and did not help */
    uint64_t unsent_bytes;        /* at the last sync, */
    uint64_t noted_ns;            /* which was then; 0: there was none */
} FerryStall;

/* At a sync at which @predicted_ns, the downtime now, does not fit. */
FerryVerdict ferry_stall_verdict(FerryStall *stall, const FerryRound *round, uint64_t predicted_ns);
/* From now on; behind the verdict. */
unsigned ferry_stall_throttle(FerryStall *stall, const FerryRound *round);

G_END_DECLS
