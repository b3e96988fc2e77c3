/* Migrations that do not converge, both ends in one process: each ends as the user chose, the guest
 * whole, unthrottled and on one side, and what it is told while it runs is obeyed. */
#include <pthread.h>
#include <string.h>
#include "engine/guest-private.h"
#include "tests/fakes/counting-guest.h"
#include "tests/fakes/expect.h"

#define PAGES 2048ull
#define MS 1000000ull

/* Policies that do one thing each. */
static FerryDecision go_on(void *self, const FerryRound *round)
{
    (void)self;
    (void)round;
    return (FerryDecision){.verdict = FERRY_VERDICT_ANOTHER_ROUND,
                           .predicted_downtime_ns = UINT64_MAX};
}

static FerryDecision slow_down(void *self, const FerryRound *round)
{
    FerryDecision d = go_on(self, round);

    d.throttle_percent = 70;
    d.rest_ns = MS;
    return d;
}

static FerryDecision slow_down_and_give_up(void *self, const FerryRound *round)
{
    FerryDecision d = slow_down(self, round);

    d.verdict = round->number >= 3 ? FERRY_VERDICT_GIVE_UP : FERRY_VERDICT_ANOTHER_ROUND;
    return d;
}

static FerryDecision move(void *self, const FerryRound *round)
{
    FerryDecision d = slow_down(self, round);

    d.verdict = round->number > 0 ? FERRY_VERDICT_SWITCH_OVER : FERRY_VERDICT_ANOTHER_ROUND;
    return d;
}

static const FerryPolicyOps endless = {.name = "endless", .decide = go_on};
static const FerryPolicyOps slowing = {.name = "slowing", .decide = slow_down};
static const FerryPolicyOps hopeless = {.name = "hopeless", .decide = slow_down_and_give_up};
static const FerryPolicyOps moving = {.name = "moving", .decide = move};

typedef struct {
    CountingGuest *from, *to;
    FerryInterrupt *from_interrupt, *to_interrupt;
    FerrySource *source;
    FerryDestination *destination;
    pthread_t sending, receiving;
    GError *from_error, *to_error;
    gboolean sent, received;
} Run;

static void *receive(void *data)
{
    Run *r = data;
    r->received = ferry_destination_run(r->destination, &r->to_error);
    return NULL;
}

static void *send(void *data)
{
    Run *r = data;
    r->sent = ferry_source_run(r->source, &r->from_error);
    if (!r->sent) { /* or the destination waits for the next word until it loses patience */
        ferry_interrupt_raise(r->to_interrupt);
    }
    return NULL;
}

static FerryLimits limits_of(const FerryPolicyOps *policy)
{
    FerryLimits limits = FERRY_LIMITS_DEFAULT;

    limits.policy.ops = policy;
    limits.downtime_limit_ns = 10000 * MS;
    limits.max_bandwidth = 0;
    return limits;
}

static void begin(Run *r, const FerrySourceOptions *options, const FerryLimits *limits)
{
    FerryChannel *a, *b;

    memset(r, 0, sizeof *r);
    r->from = counting_guest_new(PAGES, 0, 1);
    r->to = counting_guest_new(PAGES, 20, 2);
    r->from_interrupt = ferry_interrupt_new(NULL);
    r->to_interrupt = ferry_interrupt_new(NULL);
    ferry_channel_pair(64 << 10, NULL, &a, &b);
    r->source =
        ferry_source_new(counting_guest_describe(r->from), a, r->from_interrupt, options, limits);
    r->destination =
        ferry_destination_new(counting_guest_describe(r->to), b, r->to_interrupt, NULL);
    counting_guest_run(r->from);
    counting_guest_await_writes(r->from);
    g_assert(pthread_create(&r->receiving, NULL, receive, r) == 0);
    g_assert(pthread_create(&r->sending, NULL, send, r) == 0);
}

static FerryProgress progress_of(Run *r)
{
    FerryProgress p;

    ferry_source_get_progress(r->source, &p);
    return p;
}

static void await_syncs(Run *r, uint64_t n)
{
    while (progress_of(r).dirty_syncs < n) {
        g_usleep(1000);
    }
}

static void hold(CountingGuest *g)
{
    gboolean was_running;

    g_assert(
        ferry_guest_pause(counting_guest_describe(g), FERRY_PAUSE_SWITCHOVER, &was_running, NULL));
}

static void join(Run *r)
{
    pthread_join(r->sending, NULL);
    pthread_join(r->receiving, NULL);
}

static const char *text(const GError *error) { return error ? error->message : "success"; }

static void expect_moved(Run *r)
{
    join(r);
    EXPECT(r->sent && r->received, "%s; %s", text(r->from_error), text(r->to_error));
    EXPECT(counting_guest_is_running(r->to) && !counting_guest_is_running(r->from), "who runs?");
    EXPECT(counting_guest_throttle(r->to) == 0, "%u", counting_guest_throttle(r->to));
    hold(r->to);
    EXPECT(counting_guest_is_whole(r->to), "it was torn");
}

static void expect_stalled(Run *r, const char *why)
{
    join(r);
    EXPECT(g_error_matches(r->from_error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_STALLED), "%s",
           text(r->from_error));
    EXPECT(strstr(text(r->from_error), why) != NULL, "%s", text(r->from_error));
    EXPECT(!r->received && counting_guest_is_running(r->from), "who runs?");
    EXPECT(!counting_guest_is_running(r->to) && counting_guest_is_zero(r->to), "something is left");
    EXPECT(counting_guest_throttle(r->from) == 0, "%u", counting_guest_throttle(r->from));
    hold(r->from);
    EXPECT(counting_guest_is_whole(r->from), "it was torn");
}

static void finish(Run *r)
{
    ferry_source_free(r->source);
    ferry_destination_free(r->destination);
    counting_guest_free(r->from);
    counting_guest_free(r->to);
    ferry_interrupt_free(r->from_interrupt);
    ferry_interrupt_free(r->to_interrupt);
    g_clear_error(&r->from_error);
    g_clear_error(&r->to_error);
}

static void a_policy_that_gives_up_leaves_the_guest_here(void)
{
    FerryLimits limits = limits_of(&hopeless);
    Run r;

    begin(&r, NULL, &limits);
    expect_stalled(&r, "cannot be met");
    EXPECT(progress_of(&r).throttled_ns > 0, "it was throttled for a while");
    EXPECT(!progress_of(&r).timed_out, "there was no limit to its time");
    finish(&r);
}

static void out_of_time_the_guest_stays_here(void)
{
    FerryLimits limits = limits_of(&slowing);
    Run r;

    limits.timeout = (FerryTimeout){.timeout_ns = 30 * MS};
    begin(&r, NULL, &limits);
    expect_stalled(&r, "in the time");
    EXPECT(progress_of(&r).timed_out, "it does not say so");
    finish(&r);
}

/* In the middle of a round: nothing of it may be lost, nor be under way twice. */
static void out_of_time_the_guest_is_moved(void)
{
    const FerrySourceOptions ways[] = {
        {.verify = TRUE},
        { .verify = TRUE,                                  .xbzrle = TRUE},
        { .verify = TRUE, .page_method = FERRY_MULTIFD_ZLIB, .page_level = 1},
    };

    for (unsigned i = 0; i < G_N_ELEMENTS(ways); i++) {
        FerryLimits limits = limits_of(&slowing);
        Run r;

        limits.max_bandwidth = 100 << 20;
        limits.timeout = (FerryTimeout){.timeout_ns = 50 * MS, .pause = TRUE};
        begin(&r, &ways[i], &limits);
        expect_moved(&r);
        EXPECT(progress_of(&r).timed_out && progress_of(&r).verified, "way %u", i);
        EXPECT(progress_of(&r).predicted.total_ns > 0, "it was not predicted");
        finish(&r);
    }
}

static void time_may_be_limited_later(void)
{
    FerryLimits limits = limits_of(&endless);
    Run r;

    begin(&r, NULL, &limits);
    await_syncs(&r, 3);
    limits.timeout = (FerryTimeout){.timeout_ns = 1};
    ferry_source_set_limits(r.source, &limits);
    expect_stalled(&r, "in the time");
    finish(&r);
}

static void the_policy_may_change_meanwhile(void)
{
    FerryLimits limits = limits_of(&endless);
    Run r;

    begin(&r, NULL, &limits);
    await_syncs(&r, 3);
    EXPECT(strcmp(progress_of(&r).policy, "endless") == 0, "%s", progress_of(&r).policy);
    limits.policy.ops = &moving;
    ferry_source_set_limits(r.source, &limits);
    expect_moved(&r);
    EXPECT(strcmp(progress_of(&r).policy, "moving") == 0, "%s", progress_of(&r).policy);
    EXPECT(counting_guest_throttle(r.from) == 0, "%u", counting_guest_throttle(r.from));
    finish(&r);
}

/* One that learns from writes begins in the middle, and the other way round. */
static void what_watches_may_come_and_go(void)
{
    FerryLimits limits = limits_of(&endless);
    Run r;

    begin(&r, NULL, &limits);
    await_syncs(&r, 2);
    limits.policy.ops = &ferry_policy_ferry;
    limits.downtime_limit_ns = 1;
    ferry_source_set_limits(r.source, &limits);
    await_syncs(&r, progress_of(&r).dirty_syncs + 3);
    limits.policy.ops = &endless;
    ferry_source_set_limits(r.source, &limits);
    await_syncs(&r, progress_of(&r).dirty_syncs + 3);
    limits.policy.ops = &ferry_policy_ferry;
    limits.downtime_limit_ns = 10000 * MS;
    ferry_source_set_limits(r.source, &limits);
    expect_moved(&r);
    finish(&r);
}

int main(void)
{
    a_policy_that_gives_up_leaves_the_guest_here();
    out_of_time_the_guest_stays_here();
    out_of_time_the_guest_is_moved();
    time_may_be_limited_later();
    the_policy_may_change_meanwhile();
    what_watches_may_come_and_go();
    printf("%u failures\n", failures);
    return failures != 0;
}
