/* Numbers of a migration, as a snapshot that any thread may take. All are measured unless their
 * name begins with predicted or expected. */
#pragma once
#include <glib.h>
#include <stdint.h>
#include "engine/precopy/machine.h"

G_BEGIN_DECLS

/* Parts of the time between the call that pauses the guest and the guest running at the
 * destination, in the order in which they happen. ns. */
typedef struct {
    uint64_t pause_ns;        /* until every vCPU stood still */
    uint64_t last_round_ns;   /* last dirty sync and the pages it found */
    uint64_t device_state_ns; /* saving device state, and handing it to the channel */
    uint64_t verify_ns;       /* hashing all RAM here; 0 unless asked for */
    uint64_t load_ns;         /* until the destination said LOADED */
    uint64_t start_ns;        /* from GO until the destination said RUNNING */
    uint64_t total_ns;
} FerryDowntime;

/* One round: from a dirty sync to the next. */
typedef struct {
    unsigned number; /* from 1; the last one is sent while the guest is paused */
    uint64_t normal_pages, zero_pages;
    uint64_t packed_pages;   /* otherwise: XBZRLE (also those found unchanged), COMPRESS_PAGE */
    uint64_t first_pages;    /* of all these: sent for the first time */
    uint64_t deferred_pages; /* were to be sent, and are left for later */
    /* Falsely dirty: sent again with the content that was sent before. Estimated from a sample of
     * one page in 64; not of the last round. */
    uint64_t unchanged_pages_estimate;
    uint64_t sent_bytes;    /* on all channels */
    uint64_t duration_ns;   /* sending and the sync that ended it */
    uint64_t dirtied_pages; /* found by the sync that ended the round */
    uint64_t bytes_per_second;
    uint64_t dirty_pages_per_second;
    uint64_t predicted_downtime_ns; /* had we switched over at the round's end */
    unsigned throttle_percent;
} FerryRoundReport;

typedef struct {
    FerryPhase phase;
    gboolean peer_is_ferry;
    const char *way; /* in which a source sends: "plain", "xbzrle", "compress", "multifd",
                      * "mapped-ram"; NULL at a destination */
    uint64_t ram_total_bytes;
    uint64_t ram_remaining_bytes; /* pending and not yet read */
    uint64_t sent_bytes;          /* on all channels, everything included */
    uint64_t normal_pages, zero_pages;
    /* How much less travelled than was meant: pages, and the bytes that stood for them. */
    uint64_t xbzrle_pages, xbzrle_bytes;
    /* A source's alone: its cache, and what did not come of it. The rates are the last round's. */
    uint64_t xbzrle_cache_bytes, xbzrle_misses, xbzrle_overflows, unchanged_pages;
    double xbzrle_miss_rate, xbzrle_encoding_rate;
    uint64_t compressed_pages, compressed_bytes; /* COMPRESS_PAGE records */
    uint64_t coded_pages, coded_bytes;           /* multifd's compression */
    uint64_t multifd_bytes;                      /* on multifd's channels; part of sent_bytes */
    uint64_t dirty_syncs;
    uint64_t dirty_pages_per_second;
    uint64_t bytes_per_second;          /* over the last round or part of it */
    uint64_t uncapped_bytes_per_second; /* what the link took when nothing held it back */
    uint64_t setup_ns, total_ns;
    uint64_t predicted_downtime_ns; /* when it was last decided; at the end: at the switchover */
    FerryDowntime predicted;        /* its parts */
    FerryDowntime downtime;
    unsigned throttle_percent;
    uint64_t throttled_ns; /* of the guest's time, taken by throttling: percent times time */
    uint64_t unchanged_pages_estimate; /* sent again for nothing, of all rounds but the last */
    uint64_t unsent_pages;             /* never sent so far */
    const char *policy;                /* its name, static; NULL at a destination */
    gboolean timed_out;                /* FerryLimits.timeout ended the rounds */
    FerryForecast forecast;            /* at the last dirty sync */
    uint64_t downtime_limit_ns;
    unsigned rounds;   /* finished */
    uint64_t ram_hash; /* XXH3 of all RAM at the handover; 0 unless verifying */
    gboolean verified; /* the destination's RAM had the same */
} FerryProgress;

/* What is foreseen, in words: "will finish in about 3.1 s with 180 ms downtime", or "cannot meet
 * 300 ms ...: the shortest downtime is about 1.2 s; choices: ...". NULL: nothing is known yet.
 * g_free. */
char *ferry_forecast_dup_text(const FerryForecast *forecast, uint64_t downtime_limit_ns);

G_END_DECLS
