/* What a migration says of itself, and what it is told. */
#include "engine/migration-private.h"

/* With the lock held, dropped around the calls. A source's clock starts when it is connected, a
 * user's when the command was given. */
static void live_numbers(FerryMigration *m, FerryProgress *out_progress, GArray **out_rounds)
{
    FerrySource *source = m->source;
    FerryDestination *destination = m->destination;

    m->pins++;
    pthread_mutex_unlock(&m->lock);
    if (source != NULL) {
        ferry_source_get_progress(source, out_progress);
        *out_rounds = ferry_source_get_rounds(source);
    } else {
        ferry_destination_get_progress(destination, out_progress);
    }
    pthread_mutex_lock(&m->lock);
    m->pins--;
    pthread_cond_broadcast(&m->changed);
}

void ferry_migration_view(FerryMigration *m, FerryMigrationView *out_view)
{
    FerryDirtyLog *log = ferry_guest_dirty_log(m->guest);

    *out_view = (FerryMigrationView){0};
    pthread_mutex_lock(&m->lock);
    if (m->source != NULL || m->destination != NULL) {
        live_numbers(m, &out_view->progress, &out_view->rounds);
    } else {
        out_view->progress = m->progress;
        out_view->rounds = m->rounds != NULL ? g_array_ref(m->rounds) : NULL;
    }
    if (m->connect_ns > 0) {
        out_view->progress.setup_ns += m->connect_ns;
        out_view->progress.total_ns += m->connect_ns;
    } else if (m->running) {
        out_view->progress.total_ns = ferry_now_ns() - m->started_ns;
    }
    out_view->status = m->status;
    out_view->incoming = m->incoming;
    out_view->error = m->error != NULL ? g_strdup(m->error->message) : NULL;
    out_view->stalled = g_error_matches(m->error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_STALLED);
    out_view->io = g_strdup(m->io);
    out_view->incoming_uri = g_strdup(m->incoming_uri);
    out_view->dirty_log = log != NULL ? ferry_dirty_log_get_name(log) : NULL;
    out_view->main_bytes = out_view->progress.sent_bytes - out_view->progress.multifd_bytes;
    out_view->precopy_bytes = m->paused ? m->precopy_bytes : out_view->main_bytes;
    out_view->settings = m->settings;
    out_view->used = m->used;
    pthread_mutex_unlock(&m->lock);
}

void ferry_migration_view_clear(FerryMigrationView *view)
{
    g_clear_pointer(&view->rounds, g_array_unref);
    g_clear_pointer(&view->error, g_free);
    g_clear_pointer(&view->io, g_free);
    g_clear_pointer(&view->incoming_uri, g_free);
}

void ferry_migration_query(FerryMigration *m, FerryStatus *out_status, FerryProgress *out_progress,
                           char **out_error, GArray **out_rounds)
{
    g_auto(FerryMigrationView) view = {0};

    ferry_migration_view(m, &view);
    if (out_status != NULL) {
        *out_status = view.status;
    }
    if (out_progress != NULL) {
        *out_progress = view.progress;
    }
    if (out_error != NULL) {
        *out_error = g_steal_pointer(&view.error);
    }
    if (out_rounds != NULL) {
        *out_rounds = g_steal_pointer(&view.rounds);
    }
}

void ferry_migration_get_settings(FerryMigration *m, FerrySettings *out_settings)
{
    pthread_mutex_lock(&m->lock);
    *out_settings = m->settings;
    pthread_mutex_unlock(&m->lock);
}

/* With the lock held: takes @settings over and tells the source, if there is one. */
static void apply(FerryMigration *m, const FerrySettings *settings)
{
    FerryLimits limits;

    m->settings = *settings;
    if (m->running && m->source != NULL) {
        FerrySource *source = m->source;
        ferry_settings_get_limits(settings, &limits);
        m->pins++;
        pthread_mutex_unlock(&m->lock);
        ferry_source_set_limits(source, &limits);
        pthread_mutex_lock(&m->lock);
        m->pins--;
        pthread_cond_broadcast(&m->changed);
    }
}

gboolean ferry_migration_set_parameters(FerryMigration *m, const FerrySetting *settings, unsigned n,
                                        GError **error)
{
    FerrySettings next;
    gboolean ok = TRUE;

    pthread_mutex_lock(&m->lock);
    next = m->settings;
    for (unsigned i = 0; ok && i < n; i++) {
        ok = ferry_settings_set_parameter(&next, settings[i].name, settings[i].number,
                                          settings[i].text, m->running, error);
    }
    ok = ok && ferry_settings_check(&next, error);
    if (ok) {
        apply(m, &next);
    }
    pthread_mutex_unlock(&m->lock);
    return ok;
}

gboolean ferry_migration_set_capabilities(FerryMigration *m, const FerrySetting *settings,
                                          unsigned n, GError **error)
{
    FerrySettings next;
    gboolean ok = TRUE;

    pthread_mutex_lock(&m->lock);
    next = m->settings;
    if (m->running) {
        g_set_error_literal(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED,
                            "A migration is already in progress");
        ok = FALSE;
    }
    for (unsigned i = 0; ok && i < n; i++) {
        ok = ferry_settings_set_capability(&next, settings[i].name, settings[i].number != 0, error);
    }
    ok = ok && ferry_settings_check_capabilities(&next, error);
    if (ok) {
        m->settings = next;
    }
    pthread_mutex_unlock(&m->lock);
    return ok;
}

gboolean ferry_migration_set_parameter(FerryMigration *m, const char *name, uint64_t number,
                                       const char *text, GError **error)
{
    FerrySetting setting = {.name = name, .text = text, .number = number};

    return ferry_migration_set_parameters(m, &setting, 1, error);
}

gboolean ferry_migration_set_capability(FerryMigration *m, const char *name, gboolean on,
                                        GError **error)
{
    FerrySetting setting = {.name = name, .number = on != FALSE};

    return ferry_migration_set_capabilities(m, &setting, 1, error);
}

gboolean ferry_migration_get_parameter(FerryMigration *m, unsigned index, FerryParameter *out)
{
    FerrySettings settings;

    ferry_migration_get_settings(m, &settings);
    return ferry_settings_nth_parameter(&settings, index, out);
}

gboolean ferry_migration_nth_capability(FerryMigration *m, unsigned index, const char **out_name,
                                        gboolean *out_on)
{
    FerrySettings settings;

    ferry_migration_get_settings(m, &settings);
    return ferry_settings_nth_capability(&settings, index, out_name, out_on);
}

gboolean ferry_migration_get_capability(FerryMigration *m, const char *name, gboolean *out_on)
{
    const char *nth;
    gboolean on;

    for (unsigned i = 0; ferry_migration_nth_capability(m, i, &nth, &on); i++) {
        if (g_str_equal(nth, name)) {
            *out_on = on;
            return TRUE;
        }
    }
    return FALSE;
}
