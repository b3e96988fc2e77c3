/* A migration in virtual time: the machine of engine/precopy against a model of guest, log and
 * link. The same values give the same result, byte for byte. Pure. */
#pragma once
#include "engine/precopy/machine.h"
#include "simulator/workload.h"

G_BEGIN_DECLS

typedef struct {
    uint64_t bytes_per_second;
    uint64_t queue_bytes; /* written, not yet on the way: socket buffers */
    uint64_t round_trip_ns;
    unsigned jitter_permille; /* the rate of every 100 ms is off by up to so much */
} FerrySimLink;

/* What things take on the host. */
typedef struct {
    uint64_t sync_ns, sync_ns_per_gib;
    uint64_t clear_ns; /* of one chunk */
    uint64_t page_ns;  /* CPU time per page sent */
    uint64_t pause_ns;
    uint64_t fixed_ns;     /* of the downtime besides pause, sync, pages and round trip */
    uint64_t chunk_bytes;  /* cleared at once where the policy does not mind; 0: 2 MiB */
    uint64_t gather_pages; /* protected before the first of them is read; 0: each batch by itself */
    uint64_t gather_ns;    /* and no more of them than go out in this time; 0: it does not matter */
} FerrySimCosts;
#define FERRY_SIM_COSTS_DEFAULT                                                                    \
    {                                                                                              \
        .sync_ns = 50000, .sync_ns_per_gib = 1000000, .clear_ns = 10000, .page_ns = 300,           \
        .pause_ns = 200000, .fixed_ns = 2000000, .gather_pages = 384, .gather_ns = 4000000,        \
    }

/* One round, as it ended. */
typedef struct {
    FerryRound values; /* what the policy saw */
    FerryDecision decision;
    FerryForecast forecast;
    uint64_t sent_pages, zero_pages; /* zero ones besides */
    uint64_t false_dirty_pages;      /* written between being protected and being read */
    uint64_t deferred_pages;
} FerrySimRound;

typedef struct {
    const FerryWorkload *workload;
    FerrySimLink link;
    FerrySimCosts costs;
    FerryPolicy policy;
    FerryTimeout timeout;
    uint64_t max_bandwidth; /* bytes/s of rounds; 0: as fast as the link */
    uint64_t avail_switchover_bandwidth;
    uint64_t downtime_limit_ns;
    uint64_t margin_ns;
    FerryOnStall on_stall;
    unsigned throttle_initial, throttle_increment, throttle_max, throttle_trigger;
    uint64_t max_ns; /* nobody watches for longer; 0: 10 min of virtual time */
    uint64_t seed;
    void (*round)(void *self, const FerrySimRound *round); /* at each sync; may be NULL */
    void *self;
} FerrySimulation;

typedef enum {
    FERRY_SIM_DONE,
    FERRY_SIM_GAVE_UP,    /* the policy did, or its timeout */
    FERRY_SIM_UNFINISHED, /* max_ns passed */
} FerrySimEnd;

typedef struct {
    FerrySimEnd end;
    gboolean timed_out;
    unsigned rounds; /* syncs behind the first, the last one's included */
    uint64_t wire_bytes, ram_bytes;
    uint64_t sent_pages, zero_pages, false_dirty_pages;
    uint64_t residual_pages; /* left when the guest was paused */
    uint64_t total_ns, downtime_ns;
    uint64_t predicted_downtime_ns; /* at the last decision; UINT64_MAX: was not said */
    double throttle_percent_seconds;
    unsigned throttle_max_percent;
    /* The first verdict other than unknown, and the last one. */
    uint64_t first_outlook_ns;
    FerryForecast first_forecast, last_forecast;
} FerrySimResult;

void ferry_simulate(const FerrySimulation *simulation, FerrySimResult *out_result);
const char *ferry_sim_end_name(FerrySimEnd end); /* "done", "gave-up", "unfinished" */

G_END_DECLS
