/* How hard one channel had better compress, so that pages go over it as fast as they can: harder
 * while the link keeps the compressor waiting, less hard while the compressor does that to the
 * link. Pure; times are the caller's.
 *
 * Steps: 0 sends pages as they are, each next one compresses harder. What the step beside the
 * present one would do is learnt from trials: the same pages, compressed both ways. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

#define FERRY_LEVEL_STEPS_MAX 16

/* What came of a packet. */
typedef struct {
    uint64_t in_bytes, out_bytes;
    gboolean as_it_is; /* its content does not shrink: at no step is it compressed */
    uint64_t work_ns;  /* of compressing it, on the clock */
    uint64_t cpu_ns;   /* the same in CPU time: the difference is what others took */
    uint64_t write_ns;
    /* The link, or a limit, had something to do all the time, from before the work on. */
    gboolean link_busy;
    uint64_t now_ns, queued_bytes; /* then; what had not left for the peer */
} FerryLevelPacket;

/* One step against the step below it. */
typedef struct {
    double in_bytes, lower_ns, lower_bytes, upper_ns, upper_bytes;
} FerryLevelPair;

typedef struct {
    unsigned n_steps, step;
    FerryLevelPair pairs[FERRY_LEVEL_STEPS_MAX]; /* [i]: step i against i - 1 */
    /* Since the step was last thought over. */
    unsigned packets;
    double coded_in, coded_out, plain, work_ns, cpu_ns, busy_ns;
    uint64_t begin_ns, begin_queued;
    double out_bytes;
    double best_byte_ns;          /* the link's least time for a byte, lately; 0: not known */
    gboolean link_bound, starved; /* when it was thought over last */
    double trial_ns, all_ns;      /* trials may take a small part of all, */
    gboolean far; /* a smaller one where no step beside comes near the present one */
    unsigned since_trial;
    gboolean tried_above; /* by the last trial */
} FerryLevel;

void ferry_level_init(FerryLevel *level, unsigned n_steps, unsigned first_step);
/* What comes now has another link: the limit is off. Begin anew, with @step or less. */
void ferry_level_hurry(FerryLevel *level, unsigned step);
/* The step for the next packet. *out_trial: another one to try on the same pages, or the same. */
unsigned ferry_level_next(FerryLevel *level, unsigned *out_trial);
/* A trial of the same @in_bytes at the present step and @other, the one above or below it; both
 * times by the same clock. */
void ferry_level_tried(FerryLevel *level, uint64_t in_bytes, uint64_t out_bytes, uint64_t ns,
                       unsigned other, uint64_t other_bytes, uint64_t other_ns);
void ferry_level_sent(FerryLevel *level, const FerryLevelPacket *packet);

G_END_DECLS
