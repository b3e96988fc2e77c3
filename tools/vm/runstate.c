#include "tools/vm/runstate.h"

typedef enum {
    PRELAUNCH,
    INMIGRATE,
    RUNNING,
    PAUSED,
    FINISH_MIGRATE, /* paused by the engine; what was before is kept */
    POSTMIGRATE,
    SHUTDOWN,
    INTERNAL_ERROR,
    N_STATES
} State;

static const char *const names[N_STATES] = {
    [PRELAUNCH] = "prelaunch", [INMIGRATE] = "inmigrate",           [RUNNING] = "running",
    [PAUSED] = "paused",       [FINISH_MIGRATE] = "finish-migrate", [POSTMIGRATE] = "postmigrate",
    [SHUTDOWN] = "shutdown",   [INTERNAL_ERROR] = "internal-error",
};

struct Runstate {
    Vcpus *vcpus;
    RunstateEvent event;
    void *event_self;
    GMutex
        lock; /* guards the rest; vCPU threads never take it, so it may be held while they stop */
    State state;
    State before;      /* FINISH_MIGRATE: what a failed migration goes back to */
    gboolean incoming; /* nothing came in yet */
    gboolean hold;     /* the engine's next resume leaves the guest paused: -S, or stop meanwhile */
    gboolean wanted;   /* cont was said while the guest was coming in */
    gboolean rehearses; /* FINISH_MIGRATE for a moment only: nobody hears of it */
};

Runstate *runstate_new(Vcpus *vcpus, gboolean incoming, gboolean start_paused, RunstateEvent event,
                       void *self)
{
    Runstate *r = g_new0(Runstate, 1);

    g_mutex_init(&r->lock);
    r->vcpus = vcpus;
    r->event = event;
    r->event_self = self;
    r->incoming = incoming;
    r->hold = incoming && start_paused;
    r->state = incoming ? INMIGRATE : PRELAUNCH;
    return r;
}

const char *runstate_name(Runstate *r)
{
    State state;

    g_mutex_lock(&r->lock);
    state = r->rehearses ? r->before : r->state;
    g_mutex_unlock(&r->lock);
    return names[state];
}

/* Below: with the lock held, answering which event to send once it is released. */

static const char *start(Runstate *r)
{
    r->hold = r->wanted = FALSE;
    r->state = RUNNING;
    vcpus_start(r->vcpus);
    return "RESUME";
}

/* Stops a running guest, which may have stopped itself a moment ago. */
static const char *halt(Runstate *r)
{
    vcpus_pause(r->vcpus);
    switch (vcpus_verdict(r->vcpus)) {
    case VERDICT_NONE:
        r->state = PAUSED;
        break;
    case VERDICT_SHUTDOWN:
        r->state = SHUTDOWN;
        break;
    case VERDICT_INTERNAL_ERROR:
        r->state = INTERNAL_ERROR;
        break;
    }
    return "STOP";
}

static void unlock(Runstate *r, const char *event)
{
    g_mutex_unlock(&r->lock);
    if (event != NULL) {
        r->event(r->event_self, event);
    }
}

gboolean runstate_stop(void *runstate, GError **error)
{
    Runstate *r = runstate;
    const char *event = NULL;

    (void)error; /* cannot fail */
    g_mutex_lock(&r->lock);
    if (r->state == RUNNING) {
        event = halt(r);
    } else if (r->state == INMIGRATE || r->state == FINISH_MIGRATE) {
        r->hold = TRUE;
        r->wanted = FALSE;
    }
    unlock(r, event);
    return TRUE;
}

gboolean runstate_cont(void *runstate, GError **error)
{
    Runstate *r = runstate;
    const char *event = NULL, *refused = NULL;

    g_mutex_lock(&r->lock);
    switch (r->state) {
    case RUNNING:
        break;
    case PRELAUNCH:
    case PAUSED:
    case POSTMIGRATE: /* into a file: the guest may go on here, as in QEMU */
        event = start(r);
        break;
    case INMIGRATE:
        r->hold = FALSE;
        r->wanted = TRUE;
        break;
    case FINISH_MIGRATE:
        if (r->rehearses) {
            r->hold = FALSE;
            break;
        }
        refused = "a migration holds the guest; in doubt, x-ferry-resolve decides who runs it";
        break;
    case SHUTDOWN:
    case INTERNAL_ERROR:
    case N_STATES:
        refused = "the guest has stopped for good";
        break;
    }
    unlock(r, event);
    if (refused != NULL) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED, "%s", refused);
    }
    return refused == NULL;
}

static gboolean engine_pause(void *self, FerryPauseReason why, gboolean *out_was_running,
                             GError **error)
{
    Runstate *r = self;
    const char *event = NULL;

    (void)error; /* cannot fail */
    g_mutex_lock(&r->lock);
    if (r->state == RUNNING) {
        event = halt(r);
        *out_was_running = r->state == PAUSED; /* not when the guest had stopped by itself */
    } else {
        *out_was_running = FALSE;
    }
    r->rehearses = why == FERRY_PAUSE_REHEARSAL && *out_was_running;
    if (r->rehearses) {
        r->before = RUNNING;
        event = NULL;
    } else {
        r->before = r->state;
    }
    if (why == FERRY_PAUSE_SWITCHOVER || r->rehearses) {
        r->state = FINISH_MIGRATE;
    }
    unlock(r, event);
    return TRUE;
}

static gboolean engine_resume(void *self, GError **error)
{
    Runstate *r = self;
    const char *event = NULL;

    (void)error; /* cannot fail */
    g_mutex_lock(&r->lock);
    if (r->hold) {
        r->hold = FALSE;
        r->state = PAUSED;
        event = r->rehearses ? "STOP" : NULL;
    } else {
        event = start(r);
        event = r->rehearses ? NULL : event;
    }
    r->rehearses = FALSE;
    unlock(r, event);
    return TRUE;
}

static void engine_throttle(void *self, unsigned percent)
{
    Runstate *r = self;

    vcpus_throttle(r->vcpus, percent);
}

const FerryGuestOps runstate_guest_ops = {
    .pause = engine_pause, .resume = engine_resume, .throttle = engine_throttle};

/* A guest that was paused where it came from, or is kept paused here, gets no resume. */
static const char *received(Runstate *r)
{
    r->incoming = FALSE;
    if (r->state != INMIGRATE) {
        return NULL;
    }
    if (r->wanted) {
        return start(r);
    }
    r->hold = FALSE;
    r->state = PAUSED;
    return NULL;
}

void runstate_migration(Runstate *r, FerryStatus status)
{
    const char *event = NULL;
    gboolean ended = status == FERRY_STATUS_COMPLETED || status == FERRY_STATUS_FAILED ||
                     status == FERRY_STATUS_CANCELLED;

    g_mutex_lock(&r->lock);
    if (r->incoming) {
        event = status == FERRY_STATUS_COMPLETED ? received(r) : NULL;
    } else if (ended && r->state == FINISH_MIGRATE) {
        r->state = status == FERRY_STATUS_COMPLETED ? POSTMIGRATE : r->before;
        r->hold = FALSE;
    }
    unlock(r, event);
}

void runstate_settle(Runstate *r)
{
    const char *event = NULL;

    g_mutex_lock(&r->lock);
    if (r->state == RUNNING && vcpus_verdict(r->vcpus) != VERDICT_NONE) {
        event = halt(r);
    }
    unlock(r, event);
}

void runstate_free(Runstate *r)
{
    if (r != NULL) {
        g_mutex_clear(&r->lock);
        g_free(r);
    }
}
