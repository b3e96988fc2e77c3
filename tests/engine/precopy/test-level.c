/* A channel in virtual time: a compressor, a socket's buffer and a link. Is the sum of decisions as
 * good as the best fixed step? */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include "engine/precopy/level.h"

#define MIB 1048576.0
#define PACKET 524288.0
#define BUFFER (2 * MIB)
#define COPY_NS 0.1 /* a byte, into the socket */
#define N_STEPS 9

typedef enum { TEXT, RANDOM, MIXED, TURNING, N_CONTENTS } Content;

/* ns a byte and what is left of it. */
static const double cost[2][N_STEPS] = {
    {0, 0.8, 1.2, 2.0, 3.5, 8.0, 14, 25, 60},
    {0, 0.3, 0.3, 0.5, 0.6, 1.5, 2,  3,  5 },
};
static const double left[2][N_STEPS] = {
    {1, 0.55, 0.45, 0.33, 0.30, 0.27, 0.25, 0.24, 0.23},
    {1, 1,    1,    1,    1,    1,    1,    1,    1   },
};

typedef struct {
    double rate; /* bytes a ns; 0: as fast as it is copied */
    double now, queued;
    FerryLevel level;
    double processors; /* that the compressor has */
    double trial_ns;   /* in all */
} Channel;

static Content content_of(Content content, unsigned packet, unsigned n)
{
    switch (content) {
    case MIXED:
        return packet % 3 == 0 ? RANDOM : TEXT;
    case TURNING:
        return packet < n / 2 ? TEXT : RANDOM;
    default:
        return content;
    }
}

static void drain(Channel *c, double ns)
{
    c->now += ns;
    c->queued = c->rate > 0 ? MAX(c->queued - c->rate * ns, 0) : 0;
}

/* @step: fixed; or -1, and the level chooses. */
static void send_packet(Channel *c, Content content, int step)
{
    unsigned trial, chosen = step < 0 ? ferry_level_next(&c->level, &trial) : (unsigned)step;
    double work = PACKET * cost[content][chosen] / c->processors;
    double out = PACKET * left[content][chosen], before, write;

    drain(c, work);
    if (step < 0 && trial != chosen) {
        double other = PACKET * cost[content][trial] / c->processors;
        ferry_level_tried(&c->level, (uint64_t)PACKET, (uint64_t)out, (uint64_t)work, trial,
                          (uint64_t)(PACKET * left[content][trial]), (uint64_t)other);
        drain(c, other);
        c->trial_ns += other;
    }
    gboolean busy = c->queued > 0;
    before = c->now;
    drain(c, out * COPY_NS);
    c->queued += out;
    if (c->rate > 0 && c->queued > BUFFER) {
        drain(c, (c->queued - BUFFER) / c->rate);
    }
    write = c->now - before;
    if (step < 0) {
        FerryLevelPacket packet = {.in_bytes = (uint64_t)PACKET,
                                   .out_bytes = (uint64_t)out,
                                   .work_ns = (uint64_t)work,
                                   .cpu_ns = (uint64_t)(work * MIN(c->processors, 1)),
                                   .write_ns = (uint64_t)write,
                                   .link_busy = busy,
                                   .now_ns = 1 + (uint64_t)c->now,
                                   .queued_bytes = (uint64_t)c->queued};
        ferry_level_sent(&c->level, &packet);
    }
}

static double send_all(Channel *c, Content content, unsigned packets, int step)
{
    for (unsigned i = 0; i < packets; i++) {
        send_packet(c, content_of(content, i, packets), step);
    }
    return c->now + (c->rate > 0 ? c->queued / c->rate : 0);
}

static Channel channel(double mib_per_second)
{
    Channel c = {.rate = mib_per_second * MIB / 1e9, .processors = 1};

    ferry_level_init(&c.level, N_STEPS, 3);
    return c;
}

typedef struct {
    double mib_per_second;
    Content content;
} Row;

ParameterizedTestParameters(level, is_as_good_as_the_best)
{
    static Row rows[7 * N_CONTENTS];
    static const double links[] = {4, 32, 128, 400, 1024, 4096, 0};

    for (unsigned i = 0; i < G_N_ELEMENTS(rows); i++) {
        rows[i] = (Row){links[i / N_CONTENTS], (Content)(i % N_CONTENTS)};
    }
    return cr_make_param_array(Row, rows, G_N_ELEMENTS(rows));
}

ParameterizedTest(Row *row, level, is_as_good_as_the_best)
{
    Channel c = channel(row->mib_per_second);
    double took = send_all(&c, row->content, 2000, -1), best = G_MAXDOUBLE, worst = 0;

    for (int step = 0; step < N_STEPS; step++) {
        Channel fixed = channel(row->mib_per_second);
        double ns = send_all(&fixed, row->content, 2000, step);
        best = MIN(best, ns);
        worst = MAX(worst, ns);
    }
    cr_assert_lt(took, best * 1.12 + 10e6, "%.0f MiB/s, content %d: %.0f ms, best %.0f, worst %.0f",
                 row->mib_per_second, row->content, took / 1e6, best / 1e6, worst / 1e6);
}

/* Which step it ends at. */
static unsigned settles(double mib_per_second, Content content, double processors)
{
    Channel c = channel(mib_per_second);

    c.processors = processors;
    send_all(&c, content, 2000, -1);
    return c.level.step;
}

Test(level, harder_on_slower_links)
{
    unsigned before = N_STEPS;

    for (double rate = 8; rate < 20000; rate *= 4) {
        unsigned step = settles(rate, TEXT, 1);
        cr_assert_leq(step, before, "%.0f MiB/s", rate);
        before = step;
    }
    cr_assert_geq(settles(8, TEXT, 1), 6);
    cr_assert_eq(settles(20000, TEXT, 1), 0);
}

Test(level, what_does_not_shrink_is_not_compressed)
{
    cr_assert_eq(settles(32, RANDOM, 1), 0);
    cr_assert_eq(settles(1024, RANDOM, 1), 0);
}

Test(level, a_processor_that_others_want_is_left_to_them)
{
    cr_assert_gt(settles(8, TEXT, 1), 3);
    cr_assert_leq(settles(8, TEXT, 0.3), 3);
}

Test(level, trials_take_little_of_the_time)
{
    for (double rate = 8; rate < 20000; rate *= 4) {
        Channel c = channel(rate);
        double took = send_all(&c, TEXT, 4000, -1);
        cr_assert_gt(c.trial_ns, 0, "%.0f MiB/s", rate);
        cr_assert_lt(c.trial_ns, took / 16, "%.0f MiB/s: %f", rate, c.trial_ns / took);
    }
}

/* A reader that is held up now and then, for reasons of its own, always has something to read: it
 * is no slow link, and nothing is won by compressing harder. */
Test(level, a_peer_held_up_is_no_slow_link)
{
    Channel c = channel(4096);
    unsigned sum = 0;

    for (unsigned i = 0; i < 2000; i++) {
        c.rate = i / 12 % 2 ? 64 * MIB / 1e9 : 4096 * MIB / 1e9;
        send_packet(&c, TEXT, -1);
        sum += c.level.step;
    }
    cr_assert_lt(sum / 2000.0, 3.0, "%f", sum / 2000.0);
}

/* The guest stands still, the link's limit is off: what paid before may be too slow now. */
Test(level, hurrying_begins_no_harder_than_told)
{
    Channel c = channel(8);

    send_all(&c, TEXT, 1000, -1);
    cr_assert_gt(c.level.step, 3);
    ferry_level_hurry(&c.level, 3);
    cr_assert_eq(c.level.step, 3);
    c = channel(20000);
    send_all(&c, TEXT, 1000, -1);
    ferry_level_hurry(&c.level, 3);
    cr_assert_eq(c.level.step, 0);
}

Test(level, the_same_packets_lead_to_the_same_steps)
{
    Channel a = channel(128), b = channel(128);

    for (unsigned i = 0; i < 500; i++) {
        send_packet(&a, content_of(MIXED, i, 500), -1);
        send_packet(&b, content_of(MIXED, i, 500), -1);
        cr_assert_eq(a.level.step, b.level.step);
    }
}

/* Clocks that stand still, packets of nothing. */
Test(level, survives_nothing)
{
    FerryLevel level;
    unsigned trial;

    for (unsigned first = 0; first < 3; first++) {
        ferry_level_init(&level, 3, first);
        for (unsigned i = 0; i < 1000; i++) {
            unsigned step = ferry_level_next(&level, &trial);
            if (trial != step) {
                ferry_level_tried(&level, 0, 0, 0, trial, 0, 0);
            }
            ferry_level_sent(&level, &(FerryLevelPacket){.link_busy = i % 2});
            cr_assert_lt(level.step, 3);
        }
    }
}
