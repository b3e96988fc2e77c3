/* The sending half of a migration. A FerrySource belongs to the thread that runs it. */
#pragma once
#include "engine/dialect.h"
#include "engine/guest.h"
#include "engine/progress.h"
#include "protocol/method.h"
#include "transport/channel.h"

G_BEGIN_DECLS

/* May be replaced while the migration runs; what concerns decisions counts from the next dirty sync
 * on. QEMU's names, defaults and meaning. */
typedef struct {
    uint64_t max_bandwidth;              /* bytes/s; 0 = none */
    uint64_t downtime_limit_ns;          /* the downtime budget */
    uint64_t avail_switchover_bandwidth; /* bytes/s; 0 = measure it */
    gboolean auto_converge;              /* throttle the guest when it outruns the link */
    unsigned cpu_throttle_initial, cpu_throttle_increment, max_cpu_throttle; /* percent */
    unsigned throttle_trigger_threshold;                                     /* percent */
    gboolean cpu_throttle_tailslow; /* auto-converge: smaller steps towards the end */
    /* Ours. */
    FerryPolicy policy;    /* its ops are borrowed; NULL there = the default, "ferry" */
    FerryOnStall on_stall; /* when the policy foresees that the downtime limit cannot be met */
    FerryTimeout timeout;
} FerryLimits;
#define FERRY_LIMITS_DEFAULT                                                                       \
    {                                                                                              \
        .max_bandwidth = 128u << 20, .downtime_limit_ns = 300000000, .cpu_throttle_initial = 20,   \
        .cpu_throttle_increment = 10, .max_cpu_throttle = 99, .throttle_trigger_threshold = 50     \
    }

/* Who looks for zero pages: QEMU's zero-page-detection. */
typedef enum {
    FERRY_ZERO_PAGES_MULTIFD, /* the workers; without multifd as LEGACY */
    FERRY_ZERO_PAGES_LEGACY,  /* the migration's thread; ZERO records on main */
    FERRY_ZERO_PAGES_NONE,    /* nobody: all pages are sent whole */
} FerryZeroPages;

typedef struct {
    uint64_t io_timeout_ns;  /* longest wait for the peer; 0 = 10 s */
    gboolean no_return_path; /* the channel is one way (file:, exec:) or the user wants so */
    gboolean pause_before_switchover; /* wait, guest paused, for ferry_source_continue() */
    gboolean verify;                  /* send XXH3 of all RAM at the pause to a Ferry peer */
    const char *record_path;          /* handover record, written before GO; NULL = none. Copied */
    const FerryDialect *dialect;      /* for a QEMU; NULL = by the guest's machine type, which if it
                                       * is none of QEMU's only a Ferry has. Copied */
    gboolean switchover_ack;          /* wait for the destination's leave to switch over */
    gboolean send_uuid;               /* in the configuration (validate-uuid) */

    /* How pages travel. */
    uint64_t
        dirty_chunk_bytes; /* of the dirty log, cleared at once; 0 = what suits policy and log */
    FerryZeroPages zero_pages;
    unsigned multifd_channels;         /* 0 = all on the main channel */
    FerryMultifdMethod multifd_method; /* NONE, ZLIB, ZSTD */
    int multifd_level;
    gboolean multifd_adaptive;      /* the level follows link, CPU and content from there */
    gboolean xbzrle;                /* not with multifd */
    uint64_t xbzrle_cache_bytes;    /* 0 = 64 MiB */
    FerryMultifdMethod page_method; /* COMPRESS_PAGE records by ZLIB or ZSTD; NONE = plain pages */
    int page_level;
    gboolean mapped_ram; /* at fixed places of @channel, a regular file; not with the other ways */
    /* Makes one more connection to the destination; called by the running thread,
     * multifd_channels times. */
    FerryChannel *(*connect)(void *self, GError **error);
    void *connect_self;
    /* Called at each change of phase and each dirty sync, by the running thread. May be NULL. */
    void (*notify)(void *self, const FerryProgress *progress);
    void *notify_self;
} FerrySourceOptions;

typedef struct FerrySource FerrySource;
/* Borrows @guest and @interrupt, the one @channel was made with; takes @channel, on which
 * ferry_channel_ratelimit() is put. @options and @limits are copied; NULL: defaults. */
FerrySource *ferry_source_new(FerryGuest *guest, FerryChannel *channel, FerryInterrupt *interrupt,
                              const FerrySourceOptions *options, const FerryLimits *limits);
/* Blocks until the destination owns the guest. On FALSE the guest runs on here exactly as it was,
 * except after FERRY_ENGINE_ERROR_UNSURE: then neither side may run it until somebody who knows the
 * other side's fate decides. */
gboolean ferry_source_run(FerrySource *source, GError **error);
/* Any thread. TRUE: run() returns FERRY_ENGINE_ERROR_CANCELLED within a second. FALSE: too late,
 * the guest is already released to the destination. */
gboolean ferry_source_cancel(FerrySource *source);
/* Any thread. Goes on from pre-switchover; FALSE when not there. */
gboolean ferry_source_continue(FerrySource *source);
/* Any thread. */
void ferry_source_set_limits(FerrySource *source, const FerryLimits *limits);
void ferry_source_get_progress(FerrySource *source, FerryProgress *out_progress);
/* Any thread. The finished rounds, the last FERRY_ROUNDS_KEPT of them, FerryRoundReport each; free
 * with g_array_unref. */
#define FERRY_ROUNDS_KEPT 1000
GArray *ferry_source_get_rounds(FerrySource *source);
/* After UNSURE, when the destination is known not to run the guest: the guest runs on here. */
gboolean ferry_source_resolve(FerrySource *source, GError **error);
void ferry_source_free(FerrySource *source);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerrySource, ferry_source_free)

G_END_DECLS
