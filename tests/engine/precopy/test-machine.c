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

Test(machine, the_same_inputs_give_the_same_actions)
{
    static const FerryPolicy ferry = {.ops = &ferry_policy_ferry};
    g_autoptr(FerryPrecopy) a = ferry_precopy_new(&ferry, two_blocks, 2);
    g_autoptr(FerryPrecopy) b = ferry_precopy_new(&ferry, two_blocks, 2);
    FerryEvent event = FERRY_EVENT_READY;
    uint64_t random = 88172645463325252u;
    for (unsigned i = 0; i < 2000; i++) {
        FerryBatch batch_a = {0}, batch_b = {0};
        FerryRound round = {.fixed_ns = 1, .uncapped_bytes_per_second = 1, .wire_permille = 1000},
                   same = round;
        FerryAction action = ferry_precopy_step(a, event, &round, &batch_a);
        cr_assert_eq(action, ferry_precopy_step(b, event, &same, &batch_b));
        cr_assert_arr_eq(&batch_a, &batch_b, sizeof batch_a);
        event = FERRY_EVENT_SENT;
        if (action == FERRY_ACTION_SYNC) {
            event = FERRY_EVENT_SYNCED;
            for (unsigned k = 0; k < 20; k++) {
                random ^= random << 13, random ^= random >> 7, random ^= random << 17;
                ferry_bitmap_set(ferry_precopy_found(a, 0), random % 300, 1);
                ferry_bitmap_set(ferry_precopy_found(b, 0), random % 300, 1);
            }
        }
    }
}
