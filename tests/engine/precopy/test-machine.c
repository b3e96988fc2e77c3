#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include "engine/precopy/machine.h"

/* Switches over at the n-th decision; the n is kept in the policy's own state. */
static FerryDecision after_three(void *self, const FerryRound *round)
{
    unsigned *calls = self;
    (void)round;
    return (FerryDecision){.verdict = ++*calls == 3 ? FERRY_VERDICT_SWITCH_OVER
                                                    : FERRY_VERDICT_ANOTHER_ROUND,
                           .predicted_downtime_ns = *calls};
}
static const FerryPolicyOps third_time_ops = {
    .name = "third-time", .state_size = sizeof(unsigned), .decide = after_three};
static const FerryPolicy third_time = {.ops = &third_time_ops};

static const uint64_t two_blocks[] = {300, 70};
static FerryRound round_values;

static FerryPrecopy *machine_at(FerryPhase phase)
{
    FerryPrecopy *m = ferry_precopy_new(&third_time, two_blocks, 2);
    FerryBatch batch;
    static const FerryEvent path[] = {FERRY_EVENT_READY,  FERRY_EVENT_SYNCED, FERRY_EVENT_SENT,
                                      FERRY_EVENT_SYNCED, FERRY_EVENT_SENT,   FERRY_EVENT_SYNCED,
                                      FERRY_EVENT_PAUSED, FERRY_EVENT_SYNCED, FERRY_EVENT_SAVED,
                                      FERRY_EVENT_LOADED, FERRY_EVENT_RUNNING};
    for (unsigned i = 0; ferry_precopy_phase(m) != phase; i++) {
        cr_assert_lt(i, G_N_ELEMENTS(path));
        ferry_precopy_step(m, path[i], &round_values, &batch);
    }
    return m;
}

Test(machine, hands_out_every_pending_page_once_and_in_order)
{
    g_autoptr(FerryPrecopy) m = ferry_precopy_new(&third_time, two_blocks, 2);
    FerryBatch b;
    cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_READY, &round_values, &b), FERRY_ACTION_SYNC);
    ferry_bitmap_set(ferry_precopy_found(m, 0), 0, 300);
    ferry_bitmap_set(ferry_precopy_found(m, 1), 69, 1);
    cr_assert_eq(ferry_precopy_pending_pages(m), 301);

    static const FerryBatch batches[] = {
        {0, 0,   128},
        {0, 128, 128},
        {0, 256, 44 },
        {1, 69,  1  }
    };
    FerryAction action = ferry_precopy_step(m, FERRY_EVENT_SYNCED, &round_values, &b);
    for (unsigned i = 0; i < G_N_ELEMENTS(batches); i++) {
        cr_assert_eq(action, FERRY_ACTION_SEND);
        cr_expect_eq(b.block, batches[i].block);
        cr_expect_eq(b.first_page, batches[i].first_page);
        cr_expect_eq(b.n_pages, batches[i].n_pages);
        action = ferry_precopy_step(m, FERRY_EVENT_SENT, &round_values, &b);
    }
    cr_assert_eq(action, FERRY_ACTION_SYNC);
    cr_assert_eq(ferry_precopy_pending_pages(m), 0);
}

Test(machine, what_is_found_during_a_round_waits_for_the_next_sync)
{
    g_autoptr(FerryPrecopy) m = ferry_precopy_new(&third_time, two_blocks, 2);
    FerryBatch b;
    ferry_precopy_step(m, FERRY_EVENT_READY, &round_values, &b);
    ferry_bitmap_set(ferry_precopy_found(m, 0), 10, 1);
    ferry_bitmap_set(ferry_precopy_found(m, 0), 20, 1);
    ferry_precopy_step(m, FERRY_EVENT_SYNCED, &round_values, &b);
    ferry_bitmap_set(ferry_precopy_found(m, 0), 5, 1);
    ferry_bitmap_set(ferry_precopy_found(m, 0), 20, 5);
    cr_expect_eq(ferry_precopy_pending_pages(m), 6);
    cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_SENT, &round_values, &b), FERRY_ACTION_SEND);
    cr_assert_eq(b.first_page, 20);
    cr_assert_eq(b.n_pages, 1);
    cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_SENT, &round_values, &b), FERRY_ACTION_SYNC);
    cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_SYNCED, &round_values, &b), FERRY_ACTION_SEND);
    cr_assert_eq(b.first_page, 5);
}

static FerryDecision rests(void *self, const FerryRound *round)
{
    (void)self;
    return (FerryDecision){.rest_ns = round->downtime_limit_ns};
}
static const FerryPolicyOps resting_ops = {.name = "resting", .decide = rests};
static const FerryPolicy resting = {.ops = &resting_ops};

Test(machine, rests_once_before_the_next_sync_when_the_policy_says_so)
{
    g_autoptr(FerryPrecopy) m = ferry_precopy_new(&resting, two_blocks, 2);
    FerryRound one = {.downtime_limit_ns = 1}, none = {.downtime_limit_ns = 0};
    FerryBatch b;
    ferry_precopy_step(m, FERRY_EVENT_READY, &round_values, &b);
    cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_SYNCED, &one, &b), FERRY_ACTION_REST);
    cr_assert_eq(ferry_precopy_decision(m)->rest_ns, 1);
    cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_SENT, &round_values, &b), FERRY_ACTION_SYNC);
    ferry_bitmap_set(ferry_precopy_found(m, 0), 10, 1);
    cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_SYNCED, &one, &b), FERRY_ACTION_SEND);
    cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_SENT, &round_values, &b), FERRY_ACTION_REST);
    cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_SENT, &round_values, &b), FERRY_ACTION_SYNC);
    cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_SYNCED, &none, &b), FERRY_ACTION_SYNC);
}

Test(machine, goes_through_the_handover)
{
    g_autoptr(FerryPrecopy) m = machine_at(FERRY_PHASE_PAUSING);
    FerryBatch b;
    cr_expect_eq(ferry_precopy_decision(m)->predicted_downtime_ns, 3);
    cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_PAUSED, NULL, &b), FERRY_ACTION_SYNC);
    ferry_bitmap_set(ferry_precopy_found(m, 1), 3, 2);
    cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_SYNCED, &round_values, &b), FERRY_ACTION_SEND);
    cr_assert_eq(ferry_precopy_phase(m), FERRY_PHASE_FINAL);
    cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_SENT, &round_values, &b), FERRY_ACTION_SAVE);
    cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_SAVED, NULL, &b), FERRY_ACTION_AWAIT_LOADED);
    cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_LOADED, NULL, &b), FERRY_ACTION_RELEASE);
    cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_RUNNING, NULL, &b), FERRY_ACTION_FINISH);
    cr_assert_eq(ferry_precopy_phase(m), FERRY_PHASE_DONE);
}

Test(machine, a_destination_that_starts_by_itself_is_released_without_loaded)
{
    g_autoptr(FerryPrecopy) m = machine_at(FERRY_PHASE_STATE);
    FerryBatch b;
    cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_OFFERED, NULL, &b), FERRY_ACTION_RELEASE);
    cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_STOPPED, NULL, &b), FERRY_ACTION_HOLD);
}

typedef struct {
    FerryPhase phase;
    FerryAction action;
    FerryPhase next;
} Stop;
ParameterizedTestParameters(machine, a_failure_resumes_until_released)
{
    static Stop rows[] = {
        {FERRY_PHASE_SETUP,    FERRY_ACTION_RESUME, FERRY_PHASE_FAILED},
        {FERRY_PHASE_ITERATE,  FERRY_ACTION_RESUME, FERRY_PHASE_FAILED},
        {FERRY_PHASE_PAUSING,  FERRY_ACTION_RESUME, FERRY_PHASE_FAILED},
        {FERRY_PHASE_FINAL,    FERRY_ACTION_RESUME, FERRY_PHASE_FAILED},
        {FERRY_PHASE_STATE,    FERRY_ACTION_RESUME, FERRY_PHASE_FAILED},
        {FERRY_PHASE_LOADING,  FERRY_ACTION_RESUME, FERRY_PHASE_FAILED},
        {FERRY_PHASE_RELEASED, FERRY_ACTION_HOLD,   FERRY_PHASE_UNSURE},
    };
    return cr_make_param_array(Stop, rows, G_N_ELEMENTS(rows));
}
ParameterizedTest(Stop *row, machine, a_failure_resumes_until_released)
{
    g_autoptr(FerryPrecopy) m = machine_at(row->phase);
    FerryBatch b;
    cr_expect_eq(ferry_precopy_step(m, FERRY_EVENT_STOPPED, NULL, &b), row->action, "%s",
                 ferry_phase_name(row->phase));
    cr_expect_eq(ferry_precopy_phase(m), row->next);
}

static FerryDecision gives_up(void *self, const FerryRound *round)
{
    (void)self;
    return (FerryDecision){.verdict =
                               round->number ? FERRY_VERDICT_GIVE_UP : FERRY_VERDICT_ANOTHER_ROUND};
}
static const FerryPolicyOps giving_up_ops = {.name = "giving-up", .decide = gives_up};
static const FerryPolicy giving_up = {.ops = &giving_up_ops};

Test(machine, a_policy_that_gives_up_leaves_the_guest_where_it_is)
{
    g_autoptr(FerryPrecopy) m = ferry_precopy_new(&giving_up, two_blocks, 2);
    FerryBatch b;
    ferry_precopy_step(m, FERRY_EVENT_READY, &round_values, &b);
    cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_SYNCED, &round_values, &b), FERRY_ACTION_SYNC);
    cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_SYNCED, &round_values, &b), FERRY_ACTION_RESUME);
    cr_expect_eq(ferry_precopy_phase(m), FERRY_PHASE_FAILED);
    cr_expect_eq(ferry_precopy_decision(m)->verdict, FERRY_VERDICT_GIVE_UP);
    cr_expect_not(ferry_precopy_timed_out(m));
}

/* Iterates for ever, watching, cold pages first; 30 pages a round; says what it was asked with. */
typedef struct {
    FerryRound last;
    unsigned looks;
} Watcher;
static FerryDecision watcher_decide(void *self, const FerryRound *round)
{
    Watcher *w = self;
    w->looks = 0;
    w->last = *round;
    return (FerryDecision){.verdict = FERRY_VERDICT_ANOTHER_ROUND,
                           .throttle_percent = round->throttle_percent};
}
static gboolean watcher_is_over(void *self, const FerryMoment *moment, uint64_t pending_bytes)
{
    Watcher *w = self;
    (void)moment;
    (void)pending_bytes;
    return ++w->looks > 1;
}
static const FerryPolicyOps watching_ops = {.name = "watching",
                                            .state_size = sizeof(Watcher),
                                            .order = FERRY_ORDER_COLD_FIRST,
                                            .watches = TRUE,
                                            .is_round_over = watcher_is_over,
                                            .decide = watcher_decide};
static const FerryPolicy watching = {.ops = &watching_ops};

static FerryRound at(uint64_t now_ns) { return (FerryRound){.moment = {.now_ns = now_ns}}; }

/* All is dirty, and watched; the first batch is out. */
static FerryPrecopy *watched_machine(FerryBatch *b)
{
    FerryPrecopy *m = ferry_precopy_new(&watching, two_blocks, 2);
    FerryRound r = at(1000);
    ferry_precopy_step(m, FERRY_EVENT_READY, &r, b);
    ferry_bitmap_set(ferry_precopy_found(m, 0), 0, 300);
    ferry_bitmap_set(ferry_precopy_found(m, 1), 0, 70);
    cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_SYNCED, &r, b), FERRY_ACTION_WATCH);
    cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_WATCHED, &r, b), FERRY_ACTION_SEND);
    return m;
}

Test(machine, a_round_that_the_policy_ends_leaves_pages_for_later)
{
    FerryBatch b;
    g_autoptr(FerryPrecopy) m = watched_machine(&b);
    FerryRound r = at(2000);
    cr_expect_eq(b.n_pages, FERRY_BATCH_PAGES);
    cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_SENT, &r, &b), FERRY_ACTION_SYNC);
    cr_expect_eq(ferry_precopy_pending_pages(m), 370 - FERRY_BATCH_PAGES);
    ferry_bitmap_set(ferry_precopy_found(m, 0), 5, 2);   /* sent, written again */
    ferry_bitmap_set(ferry_precopy_found(m, 0), 200, 7); /* still pending */
    cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_SYNCED, &r, &b), FERRY_ACTION_SEND);
    cr_expect_eq(ferry_precopy_deferred_pages(m), 370 - FERRY_BATCH_PAGES);
    cr_expect_eq(r.number, 1);
    cr_expect_eq(r.ram_bytes, 370 * 4096);
    cr_expect_eq(r.dirty_bytes, (370 - FERRY_BATCH_PAGES + 2) * 4096);
    cr_expect_eq(r.unsent_bytes, (370 - FERRY_BATCH_PAGES) * 4096);
    cr_expect_eq(r.unseen_bytes, (370 - FERRY_BATCH_PAGES - 7) * 4096);
    cr_expect_eq(r.round_dirtied_bytes, 2 * 4096);
    cr_expect(r.forecast == ferry_precopy_forecast(m));
}

Test(machine, counts_what_goes_out_again)
{
    FerryBatch b;
    g_autoptr(FerryPrecopy) m = watched_machine(&b);
    FerryRound r = at(2000);
    ferry_precopy_step(m, FERRY_EVENT_SENT, &r, &b);
    ferry_bitmap_set(ferry_precopy_found(m, 0), 5, 2);
    FerryAction action = ferry_precopy_step(m, FERRY_EVENT_SYNCED, &r, &b);
    for (unsigned i = 0; ferry_precopy_pending_pages(m) > 0; i++) {
        cr_assert_lt(i, 100);
        r = at(3000 + i);
        action = ferry_precopy_step(
            m, action == FERRY_ACTION_SEND ? FERRY_EVENT_SENT : FERRY_EVENT_SYNCED, &r, &b);
    }
    cr_expect_eq(ferry_precopy_unsent_pages(m), 0);
    cr_expect_eq(ferry_precopy_handed_pages(m), 372);
    cr_expect_eq(ferry_precopy_resent_pages(m), 2);
}

typedef struct {
    char what[40];
    uint64_t timeout_ns, now_ns;
    gboolean pause;
    FerryAction action;
    gboolean timed_out;
} Patience;
ParameterizedTestParameters(machine, ends_when_the_users_patience_does)
{
    static Patience rows[] = {
        {"none",             0,    UINT64_MAX, TRUE,  FERRY_ACTION_SYNC,   FALSE},
        {"not yet",          5000, 5999,       TRUE,  FERRY_ACTION_SYNC,   FALSE},
        {"then switch over", 5000, 6000,       TRUE,  FERRY_ACTION_PAUSE,  TRUE },
        {"then give up",     5000, 6000,       FALSE, FERRY_ACTION_RESUME, TRUE },
    };
    return cr_make_param_array(Patience, rows, G_N_ELEMENTS(rows));
}
ParameterizedTest(Patience *row, machine, ends_when_the_users_patience_does)
{
    FerryBatch b;
    g_autoptr(FerryPrecopy) m = watched_machine(&b);
    FerryTimeout timeout = {.timeout_ns = row->timeout_ns, .pause = row->pause};
    FerryRound r = at(row->now_ns);

    ferry_precopy_set_timeout(m, &timeout);
    cr_expect_eq(ferry_precopy_step(m, FERRY_EVENT_SENT, &r, &b), row->action, "%s", row->what);
    cr_expect_eq(ferry_precopy_timed_out(m), row->timed_out);
    if (row->action == FERRY_ACTION_PAUSE) { /* once it is pausing there is no way back */
        cr_expect_eq(ferry_precopy_step(m, FERRY_EVENT_PAUSED, &r, &b), FERRY_ACTION_SYNC);
        cr_expect_eq(ferry_precopy_decision(m)->verdict, FERRY_VERDICT_SWITCH_OVER);
    }
}

Test(machine, a_timeout_may_be_set_and_taken_back_while_it_runs)
{
    FerryBatch b;
    g_autoptr(FerryPrecopy) m = watched_machine(&b);
    FerryTimeout timeout = {.timeout_ns = 10}, none = {0};
    FerryRound r = at(5000);
    ferry_precopy_set_timeout(m, &timeout);
    ferry_precopy_set_timeout(m, &none);
    cr_expect_eq(ferry_precopy_step(m, FERRY_EVENT_SENT, &r, &b), FERRY_ACTION_SYNC);
    ferry_precopy_set_timeout(m, &timeout);
    cr_expect_eq(ferry_precopy_step(m, FERRY_EVENT_SYNCED, &r, &b), FERRY_ACTION_RESUME);
}

Test(machine, another_policy_begins_with_a_state_of_its_own)
{
    FerryBatch b;
    g_autoptr(FerryPrecopy) m = watched_machine(&b);
    FerryRound r = at(2000);
    ferry_precopy_set_policy(m, &third_time);
    cr_expect_eq(ferry_precopy_policy(m), &third_time_ops);
    for (unsigned i = 1; i <= 3; i++) {
        FerryAction action = FERRY_ACTION_SEND;
        while (action == FERRY_ACTION_SEND) { /* to the end: it has no say in that */
            action = ferry_precopy_step(m, FERRY_EVENT_SENT, &r, &b);
        }
        cr_assert_eq(action, FERRY_ACTION_SYNC);
        cr_expect_eq(ferry_precopy_pending_pages(m), 0);
        ferry_bitmap_set(ferry_precopy_found(m, 0), 0, 1);
        cr_expect_eq(ferry_precopy_step(m, FERRY_EVENT_SYNCED, &r, &b),
                     i < 3 ? FERRY_ACTION_SEND : FERRY_ACTION_PAUSE);
    }
}

Test(machine, a_policy_that_watches_may_take_over)
{
    g_autoptr(FerryPrecopy) m = ferry_precopy_new(&resting, two_blocks, 2);
    FerryRound r = at(1000);
    FerryBatch b;
    ferry_precopy_step(m, FERRY_EVENT_READY, &r, &b);
    ferry_bitmap_set(ferry_precopy_found(m, 0), 0, 300);
    cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_SYNCED, &r, &b), FERRY_ACTION_SEND);
    ferry_precopy_set_policy(m, &watching);
    for (unsigned i = 0; i < 20; i++) {
        r = at(2000 + i);
        cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_SENT, &r, &b),
                     i ? FERRY_ACTION_SYNC : FERRY_ACTION_SEND, "%u", i);
        if (i) {
            ferry_bitmap_set(ferry_precopy_found(m, 0), 0, 300);
            cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_SYNCED, &r, &b), FERRY_ACTION_SEND);
        }
    }
}

/* A guest at half speed writes half as often: nothing else is learnt about it. */
Test(machine, learns_in_the_guests_own_time)
{
    FerryBatch b;
    FerryRound r[2];
    g_autoptr(FerryPrecopy) full = watched_machine(&b);
    g_autoptr(FerryPrecopy) half = watched_machine(&b);

    for (unsigned i = 1; i <= 60; i++) {
        for (unsigned k = 0; k < 2; k++) {
            FerryPrecopy *m = k ? half : full;
            /* The first sync is where the throttle begins. */
            r[k] = (FerryRound){.moment = {.now_ns = 1000 + 10000000ull * (k ? 2 * i - 1 : i)},
                                .capped_bytes_per_second = 1 << 20,
                                .uncapped_bytes_per_second = 1 << 20,
                                .wire_permille = 1000,
                                .downtime_limit_ns = 1000000,
                                .throttle_percent = k ? 50 : 0};
            FerryEvent event = FERRY_EVENT_SENT;
            while (ferry_precopy_step(m, event, &r[k], &b) != FERRY_ACTION_SYNC) {
            }
            ferry_bitmap_set(ferry_precopy_found(m, 0), i % 4 * 60, 60);
            cr_assert_eq(ferry_precopy_step(m, FERRY_EVENT_SYNCED, &r[k], &b), FERRY_ACTION_SEND);
        }
        cr_assert_eq(ferry_precopy_forecast(half)->floor_ns, ferry_precopy_forecast(full)->floor_ns,
                     "sync %u", i);
    }
    cr_expect_gt(ferry_precopy_forecast(full)->floor_ns, 0);
}

static uint64_t next_random(uint64_t *random)
{
    *random ^= *random << 13, *random ^= *random >> 7, *random ^= *random << 17;
    return *random;
}

/* What the world answers to an action; the same for both machines. */
static FerryEvent answer(FerryAction action, FerryPrecopy *a, FerryPrecopy *b, uint64_t *random)
{
    if (action == FERRY_ACTION_SYNC) {
        for (unsigned k = 0; k < 40; k++) {
            uint64_t page = next_random(random) % (k % 2 ? 300 : 20);
            ferry_bitmap_set(ferry_precopy_found(a, 0), page, 1);
            ferry_bitmap_set(ferry_precopy_found(b, 0), page, 1);
        }
        return FERRY_EVENT_SYNCED;
    }
    return action == FERRY_ACTION_WATCH ? FERRY_EVENT_WATCHED : FERRY_EVENT_SENT;
}

typedef struct {
    char policy[24];
} Named;
ParameterizedTestParameters(machine, the_same_inputs_give_the_same_actions)
{
    static Named rows[] = {{"ferry"}, {"qemu"}, {"qemu-7.2"}, {"fixed-rounds=1000"}};
    return cr_make_param_array(Named, rows, G_N_ELEMENTS(rows));
}
ParameterizedTest(Named *row, machine, the_same_inputs_give_the_same_actions)
{
    FerryPolicy policy;
    const char *why;
    cr_assert(ferry_policy_parse(row->policy, &policy, &why));
    g_autoptr(FerryPrecopy) a = ferry_precopy_new(&policy, two_blocks, 2);
    g_autoptr(FerryPrecopy) b = ferry_precopy_new(&policy, two_blocks, 2);
    FerryEvent event = FERRY_EVENT_READY;
    uint64_t random = 88172645463325252u, now_ns = 0, sent = 0;
    for (unsigned i = 0; i < 4000; i++) {
        FerryBatch batch_a = {0}, batch_b = {0};
        now_ns += next_random(&random) % 20000000;
        sent += next_random(&random) % 10000;
        FerryRound round =
                       {
                           .moment = {.now_ns = now_ns, .sent_bytes = sent},
                           .on_stall = FERRY_ON_STALL_THROTTLE,
                           .throttle_max = 99,
                           .throttle_initial = 20,
                           .throttle_trigger = 50,
                           .capped_bytes_per_second = 1 << 20,
                           .uncapped_bytes_per_second = 1 << 20,
                           .round_ns = 1000000,
                           .wire_permille = 1000,
                           .downtime_limit_ns = 1000000
        },
                   same = round;
        FerryAction action = ferry_precopy_step(a, event, &round, &batch_a);
        cr_assert_eq(action, ferry_precopy_step(b, event, &same, &batch_b));
        cr_assert_arr_eq(&batch_a, &batch_b, sizeof batch_a);
        const FerryDecision *x = ferry_precopy_decision(a), *y = ferry_precopy_decision(b);
        cr_assert_eq(x->verdict, y->verdict); /* one by one: there are holes between them */
        cr_assert_eq(x->predicted_downtime_ns, y->predicted_downtime_ns);
        cr_assert_eq(x->throttle_percent, y->throttle_percent);
        cr_assert_eq(x->rest_ns, y->rest_ns);
        if (ferry_precopy_phase(a) != FERRY_PHASE_ITERATE) {
            break;
        }
        event = answer(action, a, b, &random);
    }
}
