/* A migration in virtual time: the machine of engine/precopy against a model of guest, log and
 * link. The same values give the same result, byte for byte. Pure. */
#pragma once
#include "engine/precopy/machine.h"
#include "simulator/workload.h"
#include "trace/trace.h"

G_BEGIN_DECLS

/* From @at_ns on the link has another rate; 0: nothing goes. */
typedef struct {
    uint64_t at_ns, bytes_per_second;
} FerrySimLinkStep;

typedef struct {
    uint64_t bytes_per_second;     /* until the first step */
    const FerrySimLinkStep *steps; /* ascending; borrowed */
    unsigned n_steps;
    uint64_t repeat_ns;   /* all begins anew after so long; 0: the last step stays */
    uint64_t queue_bytes; /* written, not yet on the way: socket buffers */
    uint64_t round_trip_ns;
    unsigned jitter_permille; /* the rate of every 100 ms is off by up to so much */
} FerrySimLink;

/* How pages are packed, and what that takes. */
typedef enum {
    FERRY_SIM_CODEC_NONE,
    FERRY_SIM_CODEC_ZLIB,
    FERRY_SIM_CODEC_ZSTD,
    FERRY_SIM_CODEC_XBZRLE, /* a page sent again as a difference, if the cache still has it */
    FERRY_N_SIM_CODECS
} FerrySimCodecKind;
typedef struct {
    FerrySimCodecKind kind;
    uint64_t page_ns; /* CPU time to pack a page; 0: that of the kind */
    unsigned threads; /* which pack at once; 0: 1 */
    /* Of its bytes, a page of which is not known how far it packs; 0: 1000. xbzrle: a difference;
     * 0: 250. */
    unsigned wire_permille;
    uint64_t cache_bytes; /* xbzrle; 0: 64 MiB */
} FerrySimCodec;
const char *ferry_sim_codec_name(FerrySimCodecKind kind); /* "none", "zlib", "zstd", "xbzrle" */
gboolean ferry_sim_codec_parse(const char *name, FerrySimCodecKind *out_kind);
uint64_t ferry_sim_codec_page_ns(FerrySimCodecKind kind); /* where nothing else is said */

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
    uint64_t deferred_pages, packed_pages;
    uint64_t threshold_bytes;        /* of guest memory, that would fit the budget */
    uint64_t dirty_pages_per_second; /* found clean before, of the round; 0: there was none */
    unsigned throttle_percent;       /* while it lasted */
} FerrySimRound;

typedef struct {
    /* What writes: a model, or a trace. */
    const FerryWorkload *workload; /* NULL: the trace */
    FerryTraceReader *trace;       /* borrowed; read from its beginning */
    uint64_t trace_start_ns;       /* the migration begins so far behind the trace's beginning */
    gboolean trace_once; /* the migration ends with the trace, unfinished; else it is repeated */
    FerrySimLink link;
    FerrySimCodec codec;
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
    FERRY_SIM_UNFINISHED, /* max_ns passed, or the trace did */
} FerrySimEnd;

typedef struct {
    FerrySimEnd end;
    gboolean timed_out;
    unsigned rounds; /* syncs behind the first, the last one's included */
    uint64_t wire_bytes, ram_bytes;
    uint64_t sent_pages, zero_pages, false_dirty_pages;
    uint64_t residual_pages; /* left when the guest was paused */
    uint64_t packed_pages;   /* sent ones that were made smaller */
    uint64_t total_ns, downtime_ns;
    uint64_t first_pass_ns;     /* when every page had been sent once; UINT64_MAX: not before the
                                 * pause */
    uint64_t pause_at_ns;       /* the guest is told to pause; UINT64_MAX: it was not */
    uint64_t pause_at_guest_ns; /* in its own time: of a trace, since the trace began */
    /* Parts of the downtime: until it stands, the last sync and round, all that is fixed. */
    uint64_t pause_ns, last_round_ns, fixed_ns;
    gboolean trace_ended;           /* at least once */
    unsigned trace_laps;            /* that it began anew */
    uint64_t predicted_downtime_ns; /* at the last decision; UINT64_MAX: was not said */
    double throttle_percent_seconds;
    unsigned throttle_max_percent;
    /* The first verdict other than unknown, and the last one. */
    uint64_t first_outlook_ns;
    FerryForecast first_forecast, last_forecast;
} FerrySimResult;

/* FALSE: values that make no sense, or a trace that is damaged or was cut (FERRY_TRACE_ERROR) where
 * the migration got to. */
gboolean ferry_simulate(const FerrySimulation *simulation, FerrySimResult *out_result,
                        GError **error);
const char *ferry_sim_end_name(FerrySimEnd end); /* "done", "gave-up", "unfinished" */

G_END_DECLS
