#include "engine/precopy/level.h"

#define WINDOW_BYTES 2097152.0 /* thought over after so much, or so many packets */
#define WINDOW_PACKETS 32
#define TRIAL_EVERY 4  /* packets, at most, and */
#define TRIAL_SHARE 32 /* no more than so small a part of the time */
#define FAR_SHARE 128
#define ALL_NS 1e9         /* what was before that fades */
#define FAR 1.5            /* times as long as at the present step */
#define PAIR_BYTES 4194304 /* of trials; older ones fade */
#define BETTER 0.96        /* what a harder step must promise: it takes CPU time */
#define HARDLY_WORSE 1.01  /* what an easier one may cost */
#define FADE 1.125         /* of the link's best, from window to window */
#define STARVED 0.8        /* of the time the work had a processor: there is none to spare */

void ferry_level_init(FerryLevel *l, unsigned n_steps, unsigned first_step)
{
    g_assert(n_steps > 1 && n_steps <= FERRY_LEVEL_STEPS_MAX && first_step < n_steps);
    *l = (FerryLevel){.n_steps = n_steps, .step = first_step};
}

static void open_window(FerryLevel *l)
{
    l->packets = 0;
    l->coded_in = l->coded_out = l->plain = 0;
    l->work_ns = l->cpu_ns = l->busy_ns = 0;
}

void ferry_level_hurry(FerryLevel *l, unsigned step)
{
    l->step = MIN(l->step, step);
    l->link_bound = FALSE;
    l->best_byte_ns = 0;
    l->begin_ns = 0;
    open_window(l);
}

/* The first trial of two steps is always worth its time. */
static gboolean may_try(const FerryLevel *l, unsigned upper)
{
    return l->pairs[upper].in_bytes == 0 ||
           l->trial_ns * (l->far ? FAR_SHARE : TRIAL_SHARE) <= l->all_ns;
}

unsigned ferry_level_next(FerryLevel *l, unsigned *out_trial)
{
    gboolean above = l->step == 0 || (l->link_bound && !l->starved && !l->tried_above);

    *out_trial = l->step;
    if (l->since_trial++ < TRIAL_EVERY) {
        return l->step;
    }
    if (above && l->step + 1 < l->n_steps && may_try(l, l->step + 1)) {
        *out_trial = l->step + 1;
    } else if (!above && l->step > 1 && may_try(l, l->step)) {
        *out_trial = l->step - 1; /* what step 0 would do needs no trial */
    }
    l->tried_above = above;
    l->since_trial = *out_trial != l->step ? 0 : l->since_trial;
    return l->step;
}

void ferry_level_tried(FerryLevel *l, uint64_t in_bytes, uint64_t out_bytes, uint64_t ns,
                       unsigned other, uint64_t other_bytes, uint64_t other_ns)
{
    FerryLevelPair *p = &l->pairs[MAX(other, l->step)];
    double fade = MAX(p->in_bytes + (double)in_bytes - PAIR_BYTES, 0) /
                  MAX(p->in_bytes + (double)in_bytes, 1);
    gboolean above = other > l->step;

    g_assert(other < l->n_steps && (other == l->step + 1 || other + 1 == l->step));
    l->trial_ns += (double)other_ns;
    p->in_bytes = (p->in_bytes + (double)in_bytes) * (1 - fade);
    p->lower_ns = (p->lower_ns + (double)(above ? ns : other_ns)) * (1 - fade);
    p->lower_bytes = (p->lower_bytes + (double)(above ? out_bytes : other_bytes)) * (1 - fade);
    p->upper_ns = (p->upper_ns + (double)(above ? other_ns : ns)) * (1 - fade);
    p->upper_bytes = (p->upper_bytes + (double)(above ? other_bytes : out_bytes)) * (1 - fade);
}

/* How long the window's packets would have taken at the step beside: the longer of what the
 * compressor and what the link needs, as each works while the other does. */
static double time_above(const FerryLevel *l, double byte_ns)
{
    const FerryLevelPair *p = &l->pairs[l->step + 1];
    double work, out;

    if (l->step + 1 == l->n_steps || p->in_bytes == 0) {
        return G_MAXDOUBLE;
    }
    if (l->step == 0) {
        work = l->coded_in * p->upper_ns / p->in_bytes;
        out = l->coded_in * p->upper_bytes / p->in_bytes;
        return MAX(work, (out + l->plain) * byte_ns);
    }
    work = p->lower_ns > 0 ? l->work_ns * p->upper_ns / p->lower_ns : G_MAXDOUBLE;
    out = p->lower_bytes > 0 ? l->coded_out * p->upper_bytes / p->lower_bytes : l->coded_out;
    return MAX(work, (out + l->plain) * byte_ns);
}

static double time_below(const FerryLevel *l, double byte_ns)
{
    const FerryLevelPair *p = &l->pairs[l->step];
    double work, out;

    if (l->step == 0) {
        return G_MAXDOUBLE;
    }
    if (l->step == 1) { /* step 0 is known without a trial */
        return (l->coded_in + l->plain) * byte_ns;
    }
    if (p->in_bytes == 0) {
        return G_MAXDOUBLE;
    }
    work = p->upper_ns > 0 ? l->work_ns * p->lower_ns / p->upper_ns : 0;
    out = p->upper_bytes > 0 ? l->coded_out * p->lower_bytes / p->upper_bytes : l->coded_out;
    return MAX(work, (out + l->plain) * byte_ns);
}

/* What left for the peer since the window was opened, and when: the link can do that at least. What
 * it could do a while ago counts less and less. */
static void learn_link(FerryLevel *l, const FerryLevelPacket *last)
{
    double took = (double)(last->now_ns - l->begin_ns);
    double left = l->out_bytes + (double)l->begin_queued - (double)last->queued_bytes;
    double byte_ns = left > 0 ? took / left : 0;

    if (l->begin_ns > 0 && byte_ns > 0) {
        l->best_byte_ns = l->best_byte_ns > 0 ? MIN(l->best_byte_ns * FADE, byte_ns) : byte_ns;
    }
    l->begin_ns = last->now_ns;
    l->begin_queued = last->queued_bytes;
    l->out_bytes = 0;
}

static void think_over(FerryLevel *l)
{
    double out = l->coded_out + l->plain;
    double byte_ns = out > 0 ? l->busy_ns / out : 0;

    if (l->best_byte_ns > 0) { /* or somebody else was slow: the peer's processor, or ours */
        byte_ns = MIN(byte_ns, l->best_byte_ns);
    }
    double now = MAX(l->work_ns, out * byte_ns);
    double below = time_below(l, byte_ns), above = time_above(l, byte_ns);

    l->starved = l->cpu_ns < l->work_ns * STARVED;
    l->link_bound = out * byte_ns > l->work_ns;
    l->far = MIN(below, above) > now * FAR && MIN(below, above) < G_MAXDOUBLE;
    if (below < now * HARDLY_WORSE) {
        l->step--;
    } else if (l->link_bound && !l->starved && above < now * BETTER) {
        l->step++;
    }
    /* What was long ago says little about what trials cost now. */
    if (l->all_ns > ALL_NS) {
        l->trial_ns /= 2;
        l->all_ns /= 2;
    }
    open_window(l);
}

void ferry_level_sent(FerryLevel *l, const FerryLevelPacket *p)
{
    double took = (double)(p->work_ns + p->write_ns);

    l->packets++;
    if (p->as_it_is) {
        l->plain += (double)p->out_bytes;
    } else {
        l->coded_in += (double)p->in_bytes;
        l->coded_out += (double)p->out_bytes;
    }
    l->work_ns += (double)p->work_ns;
    l->cpu_ns += (double)p->cpu_ns;
    l->busy_ns += p->link_busy ? took : (double)p->write_ns;
    l->all_ns += took;
    l->out_bytes += (double)p->out_bytes;
    if (l->coded_in + l->plain >= WINDOW_BYTES || l->packets >= WINDOW_PACKETS) {
        learn_link(l, p);
        think_over(l);
    }
}
