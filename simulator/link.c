#include "simulator/link.h"
#include "simulator/random.h"

#define JITTER_NS 100000000u

const char *ferry_sim_link_check(const FerrySimLink *l)
{
    gboolean any = l->bytes_per_second > 0;

    for (unsigned i = 0; i < l->n_steps; i++) {
        if (i > 0 && l->steps[i].at_ns <= l->steps[i - 1].at_ns) {
            return "the link's steps do not follow one another";
        }
        any = any || l->steps[i].bytes_per_second > 0;
    }
    if (l->n_steps > 0 && l->repeat_ns > 0 && l->repeat_ns <= l->steps[l->n_steps - 1].at_ns) {
        return "the link's steps begin anew before the last of them";
    }
    if (!any ||
        (l->n_steps > 0 && l->repeat_ns == 0 && l->steps[l->n_steps - 1].bytes_per_second == 0)) {
        return "nothing goes over the link";
    }
    return l->jitter_permille >= 1000 ? "the link's rate is off by all of it" : NULL;
}

/* Of the steps; UINT64_MAX: for good. */
static uint64_t nominal(const FerrySimLink *l, uint64_t now_ns, uint64_t *out_until_ns)
{
    uint64_t rate = l->bytes_per_second;
    uint64_t lap = l->n_steps > 0 && l->repeat_ns ? now_ns / l->repeat_ns * l->repeat_ns : 0;

    *out_until_ns = l->n_steps > 0 && l->repeat_ns ? lap + l->repeat_ns : UINT64_MAX;
    for (unsigned i = 0; i < l->n_steps; i++) {
        if (lap + l->steps[i].at_ns > now_ns) {
            *out_until_ns = lap + l->steps[i].at_ns;
            break;
        }
        rate = l->steps[i].bytes_per_second;
    }
    return rate;
}

double ferry_sim_link_rate(const FerrySimLink *l, uint64_t seed, uint64_t now_ns,
                           uint64_t *out_until_ns)
{
    double rate = (double)nominal(l, now_ns, out_until_ns);

    if (l->jitter_permille == 0) {
        return rate;
    }
    double off = (double)(ferry_random_hash(seed * 31 + now_ns / JITTER_NS) % 2001) / 1000 - 1;
    *out_until_ns = MIN(*out_until_ns, (now_ns / JITTER_NS + 1) * JITTER_NS);
    return rate * (1 + off * l->jitter_permille / 1000);
}

double ferry_sim_link_gone(const FerrySimLink *l, uint64_t seed, double from_ns, double bytes)
{
    for (;;) {
        uint64_t until_ns;
        double per_ns = ferry_sim_link_rate(l, seed, (uint64_t)from_ns, &until_ns) / 1e9;
        double room = per_ns * ((double)until_ns - from_ns);
        if (room >= bytes) {
            return from_ns + bytes / per_ns;
        }
        bytes -= room;
        from_ns = (double)until_ns;
    }
}
