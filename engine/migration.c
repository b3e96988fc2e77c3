#include "engine/migration-private.h"
#include <errno.h>
#include <string.h>
#include <time.h>

#define LET_GO_NS 5000000000u /* for a user of the dirty log that makes room */

const char *ferry_status_name(FerryStatus status)
{
    static const char *const names[] = {
        [FERRY_STATUS_NONE] = "none",
        [FERRY_STATUS_SETUP] = "setup",
        [FERRY_STATUS_CANCELLING] = "cancelling",
        [FERRY_STATUS_CANCELLED] = "cancelled",
        [FERRY_STATUS_ACTIVE] = "active",
        [FERRY_STATUS_PRE_SWITCHOVER] = "pre-switchover",
        [FERRY_STATUS_DEVICE] = "device",
        [FERRY_STATUS_COMPLETED] = "completed",
        [FERRY_STATUS_FAILED] = "failed",
        [FERRY_STATUS_IN_DOUBT] = "x-ferry-in-doubt",
    };
    return names[status];
}

/* Pthread's own, which thread sanitizers know. */
static void init_locks(FerryMigration *m)
{
    pthread_mutexattr_t recursive;
    pthread_condattr_t monotonic;

    pthread_mutex_init(&m->lock, NULL);
    pthread_mutexattr_init(&recursive);
    pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&m->report_lock, &recursive);
    pthread_mutexattr_destroy(&recursive);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&m->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

FerryMigration *ferry_migration_new(FerryGuest *guest, const FerryMigrationListener *listener,
                                    void *listener_self)
{
    FerryMigration *m = g_new0(FerryMigration, 1);

    m->guest = guest;
    m->listener = listener;
    m->listener_self = listener_self;
    m->finished = TRUE;
    init_locks(m);
    ferry_settings_init(&m->settings);
    return m;
}

void ferry_migration_set_listener(FerryMigration *m, const FerryMigrationListener *listener,
                                  void *listener_self)
{
    pthread_mutex_lock(&m->report_lock);
    m->listener = listener;
    m->listener_self = listener_self;
    pthread_mutex_unlock(&m->report_lock);
}

static gboolean refuse(GError **error, const char *why)
{
    g_set_error_literal(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED, why);
    return FALSE;
}

/* With the lock held. */
static gboolean may_begin(FerryMigration *m, gboolean incoming, GError **error)
{
    if (m->running) {
        return refuse(error, "A migration is already in progress");
    }
    if (m->log_user != NULL && m->log_user->let_go == NULL) {
        return refuse(error, m->log_user->refusal);
    }
    switch (m->owner) {
    case FERRY_OWNER_UNKNOWN:
        return TRUE;
    case FERRY_OWNER_HERE:
        return incoming ? refuse(error, "A guest lives here: another cannot come in") : TRUE;
    case FERRY_OWNER_THERE:
        return refuse(error, "The guest was migrated away from here");
    case FERRY_OWNER_NOBODY:
        return incoming ? TRUE : refuse(error, "The incoming migration failed: no guest is here");
    case FERRY_OWNER_IN_DOUBT:
        return refuse(error, "The last migration is in doubt: resolve it first");
    }
    g_assert_not_reached();
}

/* What only a source needs. */
static gboolean check_guest(FerryMigration *m, GError **error)
{
    g_autofree char *blocker = ferry_guest_dup_blocker(m->guest);

    if (blocker != NULL) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED,
                    "The guest cannot be migrated: %s", blocker);
        return FALSE;
    }
    if (ferry_guest_dirty_log(m->guest) == NULL) {
        return refuse(error, "The guest cannot be migrated: it has no dirty log");
    }
    return TRUE;
}

/* With the lock held; the new thread waits for it before it looks at anything. */
static void reset(FerryMigration *m, gboolean incoming)
{
    m->incoming = incoming;
    m->running = TRUE;
    m->finished = m->cancelled = m->paused = FALSE;
    m->result = FERRY_STATUS_NONE;
    m->status = FERRY_STATUS_SETUP;
    m->started_ns = ferry_now_ns();
    m->connect_ns = m->precopy_bytes = m->passes = 0;
    m->used = m->settings;
    memset(&m->progress, 0, sizeof m->progress);
    g_clear_pointer(&m->rounds, g_array_unref);
    g_clear_pointer(&m->io, g_free);
    g_clear_pointer(&m->incoming_uri, g_free);
    g_clear_error(&m->error);
}

/* With the lock held. Moving a guest goes before watching it. */
static gboolean reclaim_log(FerryMigration *m, GError **error)
{
    uint64_t until_ns = ferry_now_ns() + LET_GO_NS;
    struct timespec deadline = {.tv_sec = (time_t)(until_ns / 1000000000),
                                .tv_nsec = (long)(until_ns % 1000000000)};

    m->log_user->let_go(m->log_user_self);
    while (m->log_user != NULL &&
           pthread_cond_timedwait(&m->changed, &m->lock, &deadline) != ETIMEDOUT) {
    }
    return m->log_user == NULL ? TRUE : refuse(error, m->log_user->refusal);
}

/* With the lock held, which it drops while it waits: for who uses the dirty log, and for the thread
 * before, whose result is published but whose listener may still be at work. */
static gboolean make_ready(FerryMigration *m, gboolean incoming, GError **error)
{
    while (may_begin(m, incoming, error)) {
        if (m->log_user == NULL && m->finished) {
            return TRUE;
        }
        if (m->log_user != NULL && !reclaim_log(m, error)) {
            return FALSE;
        }
        while (!m->finished) {
            pthread_cond_wait(&m->changed, &m->lock);
        }
    }
    return FALSE;
}

/* With the lock held; on TRUE it takes *interrupt. */
static gboolean launch(FerryMigration *m, gboolean incoming, FerryInterrupt **interrupt,
                       GError **error)
{
    GThread *thread;

    if (m->thread == g_thread_self()) {
        return refuse(error, "A migration cannot be started by the listener of the one before");
    }
    if (!make_ready(m, incoming, error)) {
        return FALSE;
    }
    g_clear_pointer(&m->thread, g_thread_join);
    thread = g_thread_try_new("ferry-migration", ferry_migration_thread, m, error);
    if (thread == NULL) {
        return FALSE;
    }
    reset(m, incoming);
    m->thread = thread;
    m->interrupt = g_steal_pointer(interrupt);
    return TRUE;
}

gboolean ferry_migration_start(FerryMigration *m, const char *uri, GError **error)
{
    g_auto(FerryAddress) address = {0};
    g_autoptr(FerryInterrupt) interrupt = NULL;
    gboolean ok;

    if (!ferry_address_parse(uri, &address, error) || !check_guest(m, error)) {
        return FALSE;
    }
    interrupt = ferry_interrupt_new(error);
    if (interrupt == NULL) {
        return FALSE;
    }
    pthread_mutex_lock(&m->lock);
    ok = ferry_settings_check_address(&m->settings, &address, error) &&
         launch(m, FALSE, &interrupt, error);
    if (ok) {
        m->address = address;
        memset(&address, 0, sizeof address);
    }
    pthread_mutex_unlock(&m->lock);
    return ok;
}

gboolean ferry_migration_incoming(FerryMigration *m, const char *uri, gboolean keep_paused,
                                  GError **error)
{
    g_auto(FerryAddress) address = {0};
    g_autoptr(FerryInterrupt) interrupt = NULL;
    g_autoptr(FerryListener) listener = NULL; /* freed before the interrupt it borrows */
    FerryTransportOptions options = {0};
    gboolean ok;

    if (!ferry_address_parse(uri, &address, error)) {
        return FALSE;
    }
    /* Before the address is touched: it may be the one that the migration in progress uses. */
    pthread_mutex_lock(&m->lock);
    ok = may_begin(m, TRUE, error) && ferry_settings_check_address(&m->settings, &address, error);
    pthread_mutex_unlock(&m->lock);
    if (!ok || (interrupt = ferry_interrupt_new(error)) == NULL) {
        return FALSE;
    }
    options.interrupt = interrupt;
    listener = ferry_listener_new(&address, &options, error);
    if (listener == NULL) {
        return FALSE;
    }
    pthread_mutex_lock(&m->lock);
    ok = launch(m, TRUE, &interrupt, error);
    if (ok) {
        m->incoming_uri = g_strdup(ferry_listener_get_uri(listener));
        m->listening = TRUE;
        m->keep_paused = keep_paused;
        m->listener_socket = g_steal_pointer(&listener);
    }
    pthread_mutex_unlock(&m->lock);
    return ok;
}

char *ferry_migration_get_incoming_uri(FerryMigration *m)
{
    char *uri;

    pthread_mutex_lock(&m->lock);
    uri = m->listening ? g_strdup(m->incoming_uri) : NULL;
    pthread_mutex_unlock(&m->lock);
    return uri;
}

/* With the lock held, which is dropped around the call: a source may wait for its own lock while
 * its notify waits for ours. */
static gboolean cancel_running(FerryMigration *m)
{
    FerrySource *source = m->source;
    FerryDestination *destination = m->destination;
    gboolean ok = TRUE;

    if (source != NULL || destination != NULL) {
        m->pins++;
        pthread_mutex_unlock(&m->lock);
        ok = source != NULL ? ferry_source_cancel(source) : ferry_destination_cancel(destination);
        pthread_mutex_lock(&m->lock);
        m->pins--;
        pthread_cond_broadcast(&m->changed);
    } else {
        ferry_interrupt_raise(m->interrupt);
    }
    if (ok) {
        m->cancelled = TRUE;
        m->status = FERRY_STATUS_CANCELLING;
    }
    return ok;
}

gboolean ferry_migration_cancel(FerryMigration *m, GError **error)
{
    gboolean ok = TRUE;
    FerryStatus end;

    pthread_mutex_lock(&m->lock);
    end = m->running ? m->result : m->status;
    if (m->running && m->result != FERRY_STATUS_NONE) {
        ok = end != FERRY_STATUS_COMPLETED && end != FERRY_STATUS_IN_DOUBT;
    } else if (m->running) {
        ok = m->cancelled || cancel_running(m);
    } else {
        ok = end != FERRY_STATUS_IN_DOUBT;
    }
    pthread_mutex_unlock(&m->lock);
    return ok ? TRUE : refuse(error, "Too late to cancel: the guest is released");
}

gboolean ferry_migration_continue(FerryMigration *m, GError **error)
{
    gboolean ok = FALSE;
    FerrySource *source;
    FerryStatus status;

    pthread_mutex_lock(&m->lock);
    status = m->status;
    source = m->source;
    if (status == FERRY_STATUS_PRE_SWITCHOVER && source != NULL) {
        m->pins++;
        pthread_mutex_unlock(&m->lock);
        ok = ferry_source_continue(source);
        pthread_mutex_lock(&m->lock);
        m->pins--;
        pthread_cond_broadcast(&m->changed);
    }
    pthread_mutex_unlock(&m->lock);
    if (!ok) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED,
                    "Migration not in expected state: %s", ferry_status_name(status));
    }
    return ok;
}

void ferry_migration_drop(FerryMigration *m)
{
    FerrySource *source = g_steal_pointer(&m->source);
    FerryDestination *destination = g_steal_pointer(&m->destination);
    FerryInterrupt *interrupt = g_steal_pointer(&m->interrupt);

    while (m->pins > 0) {
        pthread_cond_wait(&m->changed, &m->lock);
    }
    pthread_mutex_unlock(&m->lock);
    ferry_source_free(source);
    ferry_destination_free(destination);
    ferry_interrupt_free(interrupt);
    pthread_mutex_lock(&m->lock);
}

/* With the lock held: after an in-doubt was decided. */
static void settle(FerryMigration *m, gboolean here)
{
    gboolean moved = here == m->incoming; /* the guest ends where the migration was to bring it */

    ferry_migration_drop(m);
    g_clear_error(&m->error);
    if (!moved) {
        m->error = g_error_new(FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER,
                               "in doubt, and resolved: the guest stays at the source");
    }
    m->owner = here ? FERRY_OWNER_HERE : FERRY_OWNER_THERE;
    m->status = moved ? FERRY_STATUS_COMPLETED : FERRY_STATUS_FAILED;
}

gboolean ferry_migration_resolve(FerryMigration *m, gboolean here, GError **error)
{
    gboolean ok = TRUE;
    FerryStatus status;
    g_autoptr(GError) failure = NULL;

    pthread_mutex_lock(&m->lock);
    if (m->status != FERRY_STATUS_IN_DOUBT || m->running) {
        pthread_mutex_unlock(&m->lock);
        return refuse(error, "No migration is in doubt");
    }
    m->running = TRUE; /* keeps others out */
    pthread_mutex_unlock(&m->lock);
    if (here) {
        ok = m->incoming ? ferry_destination_resolve(m->destination, error)
                         : ferry_source_resolve(m->source, error);
    }
    pthread_mutex_lock(&m->lock);
    if (ok) {
        settle(m, here);
    }
    m->running = FALSE;
    status = m->status;
    failure = m->error != NULL ? g_error_copy(m->error) : NULL;
    pthread_mutex_unlock(&m->lock);
    if (ok) {
        ferry_migration_report(m, status, failure);
    }
    return ok;
}

FerryStatus ferry_migration_get_status(FerryMigration *m)
{
    FerryStatus status;

    pthread_mutex_lock(&m->lock);
    status = m->status;
    pthread_mutex_unlock(&m->lock);
    return status;
}

gboolean ferry_migration_wait(FerryMigration *m, uint64_t deadline_ns)
{
    struct timespec deadline = {.tv_sec = (time_t)(deadline_ns / 1000000000),
                                .tv_nsec = (long)(deadline_ns % 1000000000)};
    gboolean finished;

    pthread_mutex_lock(&m->lock);
    while (!m->finished && pthread_cond_timedwait(&m->changed, &m->lock, &deadline) != ETIMEDOUT) {
    }
    finished = m->finished;
    pthread_mutex_unlock(&m->lock);
    return finished;
}

gboolean ferry_migration_may_run(FerryMigration *m, GError **error)
{
    gboolean ok = FALSE;

    pthread_mutex_lock(&m->lock);
    if (m->running) {
        ok = m->incoming || m->status == FERRY_STATUS_PRE_SWITCHOVER ||
                     m->status == FERRY_STATUS_DEVICE
                 ? refuse(error, "Migration is not finalized yet")
                 : TRUE;
    } else if (m->owner == FERRY_OWNER_IN_DOUBT) {
        refuse(error, "The last migration is in doubt: the guest may run at the other side");
    } else if (m->owner == FERRY_OWNER_THERE) {
        refuse(error, "The guest was migrated away from here: it must not run twice");
    } else if (m->owner == FERRY_OWNER_NOBODY) {
        refuse(error, "The incoming migration failed: no guest is here");
    } else {
        ok = TRUE;
    }
    pthread_mutex_unlock(&m->lock);
    return ok;
}

gboolean ferry_migration_hold_log(FerryMigration *m, const FerryLogUser *user, void *self,
                                  GError **error)
{
    gboolean ok = FALSE;

    pthread_mutex_lock(&m->lock);
    if (m->log_user != NULL) {
        refuse(error, m->log_user->refusal);
    } else if (may_begin(m, FALSE, error) && check_guest(m, error)) {
        m->log_user = user;
        m->log_user_self = self;
        ok = TRUE;
    }
    pthread_mutex_unlock(&m->lock);
    return ok;
}

void ferry_migration_release_log(FerryMigration *m)
{
    pthread_mutex_lock(&m->lock);
    m->log_user = NULL;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
}

void ferry_migration_free(FerryMigration *m)
{
    if (m == NULL) {
        return;
    }
    ferry_migration_cancel(m, NULL);
    ferry_migration_wait(m, FERRY_NO_DEADLINE);
    g_clear_pointer(&m->thread, g_thread_join);
    pthread_mutex_lock(&m->lock);
    ferry_migration_drop(m);
    pthread_mutex_unlock(&m->lock);
    g_clear_pointer(&m->rounds, g_array_unref);
    g_clear_error(&m->error);
    g_free(m->io);
    g_free(m->incoming_uri);
    pthread_mutex_destroy(&m->lock);
    pthread_mutex_destroy(&m->report_lock);
    pthread_cond_destroy(&m->changed);
    g_free(m);
}
