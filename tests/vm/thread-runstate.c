/* The run states follow the monitor, the engine, a migration's end and the guest itself. */
#include <string.h>
#include <stdatomic.h>
#include "tests/vm/support.h"
#include "tools/vm/runstate.h"

static atomic_int gives_up; /* Verdict */
static char events[32];     /* first letters, in order */

static Verdict fake_run(void *self, Vcpus *vcpus, unsigned index)
{
    (void)self, (void)index;
    while (!vcpus_interrupted(vcpus)) {
        Verdict verdict = (Verdict)atomic_load(&gives_up);
        if (verdict != VERDICT_NONE) {
            return verdict;
        }
        vcpus_rest(vcpus, 1000000);
    }
    return VERDICT_NONE;
}

static void fake_stopped(void *self, Verdict verdict) { (void)self, (void)verdict; }

static const VcpuOps fake_ops = {.run = fake_run, .stopped = fake_stopped};

static void on_event(void *self, const char *name)
{
    (void)self;
    events[strlen(events)] = name[0];
}

/* The state and the events since the last look. */
static gboolean shows(Runstate *r, const char *state, const char *seen)
{
    gboolean right = g_str_equal(runstate_name(r), state) && g_str_equal(events, seen);

    if (!right) {
        g_printerr("state %s, events %s\n", runstate_name(r), events);
    }
    memset(events, 0, sizeof events);
    return right;
}

static void pause_for_migration(Runstate *r, gboolean expected_running)
{
    gboolean was_running;

    CHECK(runstate_guest_ops.pause(r, FERRY_PAUSE_SWITCHOVER, &was_running, NULL));
    CHECK(was_running == expected_running);
}

static void a_source(Vcpus *vcpus)
{
    g_autoptr(Runstate) r = runstate_new(vcpus, FALSE, FALSE, on_event, NULL);
    g_autoptr(GError) error = NULL;

    CHECK(shows(r, "prelaunch", ""));
    CHECK(runstate_cont(r, NULL) && shows(r, "running", "R"));
    CHECK(runstate_cont(r, NULL) && shows(r, "running", ""));
    CHECK(runstate_stop(r, NULL) && shows(r, "paused", "S"));
    CHECK(runstate_stop(r, NULL) && shows(r, "paused", ""));

    /* A paused guest is not started by a migration that fails. */
    pause_for_migration(r, FALSE);
    CHECK(shows(r, "finish-migrate", ""));
    runstate_migration(r, FERRY_STATUS_FAILED);
    CHECK(shows(r, "paused", ""));

    /* A running one is, unless the operator stopped it meanwhile. */
    CHECK(runstate_cont(r, NULL) && shows(r, "running", "R"));
    pause_for_migration(r, TRUE);
    CHECK(shows(r, "finish-migrate", "S"));
    CHECK(!runstate_cont(r, &error) && strstr(error->message, "x-ferry-resolve") != NULL);
    CHECK(runstate_guest_ops.resume(r, NULL) && shows(r, "running", "R"));
    runstate_migration(r, FERRY_STATUS_CANCELLED);
    CHECK(shows(r, "running", ""));
    pause_for_migration(r, TRUE);
    CHECK(runstate_stop(r, NULL) && runstate_guest_ops.resume(r, NULL));
    CHECK(shows(r, "paused", "S"));

    /* A rehearsal is not heard of, but an operator's stop in the middle of one is. */
    gboolean was_running;
    CHECK(runstate_cont(r, NULL) && shows(r, "running", "R"));
    CHECK(runstate_guest_ops.pause(r, FERRY_PAUSE_REHEARSAL, &was_running, NULL) && was_running);
    CHECK(shows(r, "running", ""));
    CHECK(runstate_guest_ops.resume(r, NULL) && shows(r, "running", ""));
    CHECK(runstate_guest_ops.pause(r, FERRY_PAUSE_REHEARSAL, &was_running, NULL));
    CHECK(runstate_stop(r, NULL) && runstate_guest_ops.resume(r, NULL));
    CHECK(shows(r, "paused", "S"));
    CHECK(runstate_guest_ops.pause(r, FERRY_PAUSE_REHEARSAL, &was_running, NULL) && !was_running);
    CHECK(shows(r, "paused", "")); /* nobody resumes what did not run */
    CHECK(runstate_cont(r, NULL) && shows(r, "running", "R"));

    /* In doubt it stays where it is. */
    pause_for_migration(r, TRUE);
    runstate_migration(r, FERRY_STATUS_IN_DOUBT);
    CHECK(shows(r, "finish-migrate", "S"));
    runstate_migration(r, FERRY_STATUS_COMPLETED);
    CHECK(shows(r, "postmigrate", ""));
    vcpus_pause(vcpus);
}

static void a_destination(Vcpus *vcpus)
{
    g_autoptr(Runstate) runs = runstate_new(vcpus, TRUE, FALSE, on_event, NULL);
    g_autoptr(Runstate) waits = runstate_new(vcpus, TRUE, TRUE, on_event, NULL);
    g_autoptr(Runstate) stopped = runstate_new(vcpus, TRUE, FALSE, on_event, NULL);
    g_autoptr(Runstate) wanted = runstate_new(vcpus, TRUE, TRUE, on_event, NULL);

    CHECK(shows(runs, "inmigrate", ""));
    CHECK(runstate_guest_ops.resume(runs, NULL));
    runstate_migration(runs, FERRY_STATUS_COMPLETED);
    CHECK(shows(runs, "running", "R"));
    vcpus_pause(vcpus);

    runstate_migration(waits, FERRY_STATUS_IN_DOUBT);
    CHECK(shows(waits, "inmigrate", ""));
    runstate_migration(waits, FERRY_STATUS_COMPLETED);
    CHECK(shows(waits, "paused", ""));
    CHECK(runstate_cont(waits, NULL) && shows(waits, "running", "R"));
    vcpus_pause(vcpus);

    CHECK(runstate_stop(stopped, NULL) && runstate_guest_ops.resume(stopped, NULL));
    CHECK(shows(stopped, "paused", ""));

    CHECK(runstate_cont(wanted, NULL) && shows(wanted, "inmigrate", ""));
    runstate_migration(wanted, FERRY_STATUS_COMPLETED);
    CHECK(shows(wanted, "running", "R"));
    vcpus_pause(vcpus);
}

static void await_verdict(Vcpus *vcpus)
{
    while (vcpus_verdict(vcpus) == VERDICT_NONE) {
        g_usleep(1000);
    }
}

static void a_guest_that_ends(Vcpus *vcpus)
{
    g_autoptr(Runstate) r = runstate_new(vcpus, FALSE, FALSE, on_event, NULL);
    g_autoptr(Runstate) late = runstate_new(vcpus, FALSE, FALSE, on_event, NULL);

    atomic_store(&gives_up, VERDICT_SHUTDOWN);
    CHECK(runstate_cont(r, NULL));
    await_verdict(vcpus);
    runstate_settle(r);
    CHECK(shows(r, "shutdown", "RS"));
    CHECK(!runstate_cont(r, NULL));

    /* The engine may be first to notice. */
    atomic_store(&gives_up, VERDICT_INTERNAL_ERROR);
    CHECK(runstate_cont(late, NULL));
    await_verdict(vcpus);
    pause_for_migration(late, FALSE);
    runstate_migration(late, FERRY_STATUS_FAILED);
    CHECK(shows(late, "internal-error", "RS"));
}

int main(void)
{
    g_autoptr(Vcpus) vcpus = vcpus_new(3, &fake_ops, NULL);

    a_source(vcpus);
    a_destination(vcpus);
    a_guest_that_ends(vcpus);
    return 0;
}
