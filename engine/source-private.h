/* The inside of a source, shared by its files:
 *   source.c          the machine's actions, performed
 *   source-switchover.c  those of the end: from the pause to the release
 *   source-peer.c     the conversation with the destination
 *   source-devices.c  device sections and the end of the stream
 *   source-measure.c  the channel's rate and queue
 *   source-predict.c  the cost of a pause, what rounds tell, predictions
 *   source-sample.c   pages sent again for nothing
 *   source-report.c   rounds and progress, as they are told */
#pragma once
#include <pthread.h>
#include "engine/guest-private.h"
#include "engine/precopy/estimate.h"
#include "engine/ram-send.h"
#include "engine/source-sample.h"
#include "engine/source.h"
#include "protocol/description.h"
#include "protocol/return-path.h"

/* Who owns the guest. It is decided once, by compare-and-swap: a cancel and a release race for it.
 */
enum { OWNER_HERE, OWNER_CANCELLED, OWNER_RELEASED };

/* What the destination has said so far. */
typedef struct {
    gboolean greeted, is_ferry, loaded, running, shut_good, acknowledged;
    gboolean broke;         /* it said something that it must not */
    gboolean answered;      /* no ALIVE is out that waits for its answer */
    uint64_t pinged_ns;     /* when it was sent */
    uint64_t pinged_bytes;  /* written when it was sent, itself included */
    uint64_t pinged_queued; /* of those not yet in the peer's kernel */
    uint64_t taken_bytes;   /* of what was written, in the peer's kernel when we last looked */
    uint64_t taken_ns;      /* when a ping that was on its way was last seen to get on */
    uint64_t spoke_ns;      /* when we last sent, and last heard, something */
    uint64_t heard_ns;
    uint64_t round_trip_ns; /* the shortest seen */
    FerryReturnDecoder decoder;
} Peer;

/* What the parts of a downtime cost on this guest and this link, as measured during the migration.
 */
typedef struct {
    FerrySpread pause, save, resume; /* ns, rehearsed */
    FerrySpread lag;                 /* ns until the peer answered, beyond what was queued */
    uint64_t hash_ns;
    uint64_t merge_ns;                   /* what the machine did at the last sync */
    FerrySpread look;                    /* asking the log, and what the machine does then */
    FerrySpread sync;                    /* the same, and what the channels stood idle for it */
    uint64_t rehearsed_ns, rehearsal_ns; /* when, and how long it took */
} Costs;

/* Since the last dirty sync. */
typedef struct {
    uint64_t begin_ns, begin_bytes, begin_unsent, begin_clear_ns;
    FerryRamCounts begin_counts;
    uint64_t begin_unchanged; /* in the sample */
    uint64_t end_unsent;      /* pages never sent, when it ended */
    uint64_t write_ns;        /* in writes, with all waiting for the channel */
    uint64_t work_ns;         /* handing out pages, without that */
    uint64_t rest_ns;
} Round;

/* What is told of rates, over the last interval. */
typedef struct {
    uint64_t since_ns, dirtied_pages, sent_bytes;
    uint64_t dirty_pages_per_second, bytes_per_second;
} Told;

struct FerrySource {
    FerryGuest *guest;
    FerryMemory *memory;
    FerryDirtyLog *log;
    FerryChannel *channel; /* rate-limited */
    FerryInterrupt *interrupt;
    FerrySourceOptions options;
    FerryDialect dialect; /* for the peer as it was announced */
    uint8_t uuid[16];     /* zeros: it has none */
    uint64_t timeout_ns;
    gboolean return_path;

    gint owner; /* atomic */
    gint go_on; /* atomic: ferry_source_continue() */
    gint waits; /* atomic: in pre-switchover */

    pthread_mutex_t lock; /* limits, progress, rounds */
    FerryLimits limits;
    FerryProgress progress;
    GArray *rounds; /* FerryRoundReport; the last of them */

    /* Only the running thread from here on. */
    FerryPrecopy *machine;
    FerryRamSender *sender;
    FerrySample *sample;
    Peer peer;
    FerryLimits current; /* limits as last looked at */
    FerryPolicy policy;  /* the machine's */
    gboolean log_started, paused, was_running, all_sent;
    unsigned throttle_percent;
    uint64_t throttled_since_ns, throttled_ns;
    uint64_t begin_ns, pause_called_ns;
    FerryDowntime downtime, predicted;
    FerryDowntime fixed; /* what the last decision was made with: all but the pages */

    Costs costs;
    FerryRate rate;        /* of the channel, uncapped */
    FerryRate little_rate; /* what is known before anything of size was sent */
    FerrySpread call;      /* ns that a few bytes take to be written */
    gboolean watching; /* writes that go on in the background are being timed */
    uint64_t busy_since_ns, probed_ns;
    uint64_t written_before, waited_before;
    uint64_t queue_limit; /* of threads that write by themselves; 0: none */
    gint64 queued_before;
    uint64_t gathered_pages;           /* handed to the sender since the last flush */
    FerryShare first_wire, again_wire; /* bytes per page: sent for the first time, and again */
    FerryShare first_cpu, again_cpu;   /* ns per page, likewise */
    FerryShare dirtied;                /* pages per ns */
    FerryShare syncing;                /* of the time: syncs, and clearing */
    Round round;
    Told told;
    uint64_t dirty_syncs;

    uint32_t next_section_id;
    GByteArray *tail;  /* device sections; the end of stream too once it is due */
    GArray *described; /* FerryDescribedDevice of the sections in tail */
};

/* source-switchover.c */

/* FERRY_ACTION_PAUSE, and the leave to go on of the destination and of the user, if that was asked
 * for. */
gboolean ferry_source_pause_guest(FerrySource *s, GError **error);
/* FERRY_ACTION_SAVE: the end of ram, device state, and for a Ferry, which waits for GO, the end of
 * the stream. */
gboolean ferry_source_save_devices(FerrySource *s, FerryEvent *out_event, GError **error);
/* FERRY_ACTION_AWAIT_LOADED. */
gboolean ferry_source_await_loaded(FerrySource *s, GError **error);
/* FERRY_ACTION_RELEASE: the destination may run the guest. */
gboolean ferry_source_let_go(FerrySource *s, GError **error);
/* FERRY_ACTION_RESUME: everything is as if there had been no migration. */
void ferry_source_take_back(FerrySource *s, GError **first_error);
gboolean ferry_source_is_cancelled(FerrySource *s, GError **error);
void ferry_source_throttle(FerrySource *s, unsigned percent);
uint64_t ferry_source_throttled_ns(const FerrySource *s);
void ferry_source_stop_log(FerrySource *s);

/* source-peer.c */

/* Header, configuration, return path, greeting; waits for the destination's answer. */
gboolean ferry_source_greet(FerrySource *s, GError **error);
/* Takes what the destination has said until @deadline_ns passes (0: only what is there). A bad
 * message, a refusal and a closed connection are errors. */
gboolean ferry_source_listen(FerrySource *s, uint64_t deadline_ns, GError **error);
/* Listens until *@flag, for as long as the timeout allows. @what is missing, for the error. */
gboolean ferry_source_await(FerrySource *s, const gboolean *flag, uint64_t extra_ns,
                            const char *what, GError **error);
/* Between sections: lets the destination know that we are alive, and finds out whether it is. */
gboolean ferry_source_keep_alive(FerrySource *s, GError **error);
/* Between sections: asks the destination to answer when it has taken in everything sent so far. */
gboolean ferry_source_probe_lag(FerrySource *s, GError **error);
/* Between sections: waits until the destination has taken in everything sent so far. */
gboolean ferry_source_barrier(FerrySource *s, GError **error);
/* ferry_memory_hash() of our memory; takes cancels, and keeps alive, on the way. */
gboolean ferry_source_hash(FerrySource *s, uint64_t *out_hash, GError **error);
/* The one error that a caller sees: what it means comes first, what happened after. Takes
 * *happened. */
void ferry_source_judge(FerrySource *s, GError **happened, GError **error);
gboolean ferry_source_ping(FerrySource *s, uint32_t value, GError **error);
gboolean ferry_source_write(FerrySource *s, const void *bytes, size_t n, GError **error);

/* Tells a destination that wants to know that the guest is paused, between sections. */
gboolean ferry_source_announce_switchover(FerrySource *s, GError **error);

/* source-devices.c */

/* Puts the sections that stand in front of the pages into s->tail. */
void ferry_source_collect_early(FerrySource *s);
/* Puts the engine's own sections and the embedder's, one after another, into s->tail. */
gboolean ferry_source_collect_devices(FerrySource *s, GError **error);
/* Puts the end of the stream and the description of what was collected behind them. */
void ferry_source_append_end(FerrySource *s);
/* Writes s->tail and empties it. */
gboolean ferry_source_write_tail(FerrySource *s, GError **error);

/* source-measure.c */

void ferry_source_look_at_limits(FerrySource *s);
/* What the channel takes, uncapped, bytes/s; 0: not known. */
uint64_t ferry_source_rate(const FerrySource *s);
/* What waits in sockets after a write, at most. */
uint64_t ferry_source_longest_queue_ns(const FerrySource *s);
/* Pages are about to be handed to the sender. */
void ferry_source_begin_pages(FerrySource *s);
/* Whether so much is gathered that its way out keeps us busy for long enough. */
gboolean ferry_source_wants_flush(const FerrySource *s);
/* Writes out what the sender holds, and learns the channel's rate from it. */
gboolean ferry_source_flush(FerrySource *s, GError **error);
/* The same, until nothing is under way inside the sender: no more pages follow for now. */
gboolean ferry_source_drain(FerrySource *s, GError **error);

/* source-predict.c */

/* Behind the first round; then a few times more where it is cheap, to learn the spread, and now and
 * then while what was measured alone exceeds the budget: it may have been a busy moment. */
gboolean ferry_source_should_rehearse(FerrySource *s);
/* Pauses and resumes the guest once to learn what that and saving its devices costs. */
gboolean ferry_source_rehearse(FerrySource *s, GError **error);
FerryMoment ferry_source_moment(const FerrySource *s);
/* The last action handed out pages and took @ns; round.write_ns was @write_ns_before. */
void ferry_source_worked(FerrySource *s, uint64_t ns, uint64_t write_ns_before);
/* A dirty sync took so long, and the link stood idle for it so long. */
void ferry_source_learn_sync(FerrySource *s, uint64_t looked_ns, uint64_t idle_ns);
/* The peer's answer took so long. */
void ferry_source_learn_lag(FerrySource *s, uint64_t lag_ns);
/* Closes the round that ended with this sync, of which costs has been told; fills in what the
 * policy is asked with. */
void ferry_source_round(FerrySource *s, FerryRound *out_values);
/* The wire bytes/s that rounds reach: with the limit, and with what is lost by syncs. */
uint64_t ferry_source_round_rate(const FerrySource *s);
/* After the decision: its prediction, by parts. */
void ferry_source_decided(FerrySource *s, const FerryRound *values);
/* The same for what was decided in the middle of a round. */
void ferry_source_predict_now(FerrySource *s);

/* source-report.c */

/* The first round begins. */
void ferry_source_begin_rounds(FerrySource *s);
/* After the decision: the round's report. The next one begins. */
void ferry_source_report(FerrySource *s, const FerryRound *values);
/* The same for the round that was sent while the guest was paused. */
void ferry_source_report_last(FerrySource *s);
/* Brings the progress up to date; with @notify also tells the embedder. */
void ferry_source_publish(FerrySource *s, gboolean notify);
