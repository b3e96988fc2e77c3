/* The migration's thread: from an address to a result. */
#include "engine/migration-private.h"

void ferry_migration_report(FerryMigration *m, FerryStatus status, const GError *error)
{
    pthread_mutex_lock(&m->report_lock);
    if (m->listener != NULL && m->listener->status != NULL) {
        m->listener->status(m->listener_self, status, error);
    }
    pthread_mutex_unlock(&m->report_lock);
}

static void report_passes(FerryMigration *m, uint64_t passes)
{
    pthread_mutex_lock(&m->report_lock);
    while (m->passes < passes) {
        m->passes++;
        if (m->listener != NULL && m->listener->pass != NULL) {
            m->listener->pass(m->listener_self, m->passes);
        }
    }
    pthread_mutex_unlock(&m->report_lock);
}

/* What a phase is called in QEMU; its destination says active until the end. */
static FerryStatus status_of(const FerryMigration *m, const FerryProgress *progress)
{
    gboolean waits;

    switch (progress->phase) {
    case FERRY_PHASE_SETUP:
        return FERRY_STATUS_SETUP;
    case FERRY_PHASE_PAUSING: /* it waits once the guest stands still */
        waits = m->used.pause_before_switchover && progress->downtime.pause_ns > 0;
        return !m->incoming && waits ? FERRY_STATUS_PRE_SWITCHOVER : FERRY_STATUS_ACTIVE;
    case FERRY_PHASE_FINAL:
    case FERRY_PHASE_STATE:
    case FERRY_PHASE_LOADING:
    case FERRY_PHASE_RELEASED:
        return m->incoming ? FERRY_STATUS_ACTIVE : FERRY_STATUS_DEVICE;
    case FERRY_PHASE_ITERATE:
        return FERRY_STATUS_ACTIVE;
    case FERRY_PHASE_DONE:
    case FERRY_PHASE_FAILED:
    case FERRY_PHASE_UNSURE:
    case FERRY_N_PHASES:
        break;
    }
    return m->status; /* ends are published by end(), after the fact */
}

static void on_notify(void *self, const FerryProgress *progress)
{
    FerryMigration *m = self;
    gboolean changed = FALSE;
    FerryStatus status;

    pthread_mutex_lock(&m->lock);
    if (!m->paused && progress->phase >= FERRY_PHASE_PAUSING) {
        m->paused = TRUE;
        m->precopy_bytes = progress->sent_bytes - progress->multifd_bytes;
    }
    status = status_of(m, progress);
    if (!m->cancelled && status != m->status) {
        m->status = status;
        changed = TRUE;
    }
    pthread_mutex_unlock(&m->lock);
    report_passes(m, progress->dirty_syncs);
    if (changed) {
        ferry_migration_report(m, status, NULL);
    }
}

/* Whether nobody will answer. The guest then stays here, paused, as in QEMU. */
static gboolean is_one_way(const FerryMigration *m, const FerryChannel *channel)
{
    /* A command may or may not answer; QEMU's scripts expect that it need not. */
    gboolean wanted =
        m->address.type == FERRY_ADDRESS_EXEC ? m->used.return_path_asked : m->used.return_path;
    return !wanted || !ferry_channel_can_read(channel);
}

/* All connections of one source; nobody else gets in behind them. Who is no source is sent away,
 * and the right one can still come. */
static FerryChannel *open_incoming(FerryMigration *m, GError **error)
{
    uint8_t uuid[16];
    FerryGatherOptions options = {
        .multifd_channels =
            m->used.multifd && !m->used.mapped_ram ? (unsigned)m->used.multifd_channels : 0,
        .uuid = ferry_guest_get_uuid(m->guest, uuid) ? uuid : NULL,
        .hello_ns = m->used.io_timeout_ms * 1000000,
        .complete_ns = m->used.io_timeout_ms * 1000000,
    };
    gboolean ok = ferry_gather(m->listener_socket, &options, &m->gathered, error);

    pthread_mutex_lock(&m->lock);
    m->listening = FALSE;
    pthread_mutex_unlock(&m->lock);
    g_clear_pointer(&m->listener_socket, ferry_listener_free);
    return ok ? g_steal_pointer(&m->gathered.main) : NULL;
}

static FerryChannel *open_channel(FerryMigration *m, GError **error)
{
    uint64_t deadline = ferry_now_ns() + m->used.io_timeout_ms * 1000000;
    FerryTransportOptions options = {.interrupt = m->interrupt};
    FerryChannel *channel;
    FerryFault fault;

    channel = m->incoming ? open_incoming(m, error)
                          : ferry_transport_connect(&m->address, deadline, &options, error);
    if (channel != NULL && m->used.fault[0] != '\0') {
        gboolean parsed = ferry_fault_parse(m->used.fault, &fault, NULL);
        g_assert(parsed); /* it was when it was set */
        channel = ferry_channel_fault(channel, &fault, m->interrupt);
    }
    return channel;
}

/* One more for multifd, to where the first one went. */
static FerryChannel *connect_again(void *self, GError **error)
{
    FerryMigration *m = self;
    FerryTransportOptions options = {.interrupt = m->interrupt};
    uint64_t deadline = ferry_now_ns() + m->used.io_timeout_ms * 1000000;

    return ferry_transport_connect(&m->address, deadline, &options, error);
}

/* How pages are to travel. */
static void choose_way(FerryMigration *m, FerrySourceOptions *options)
{
    const FerrySettings *s = &m->used;

    options->zero_pages = (FerryZeroPages)s->zero_pages;
    options->mapped_ram = s->mapped_ram;
    options->xbzrle = s->xbzrle;
    options->xbzrle_cache_bytes = s->xbzrle_cache_size;
    if (s->compress) {
        options->page_method = FERRY_MULTIFD_ZLIB;
        options->page_level = (int)s->compress_level;
    }
    if (s->multifd && !s->mapped_ram) {
        options->multifd_channels = (unsigned)s->multifd_channels;
        options->multifd_method = (FerryMultifdMethod)s->multifd_compression;
        options->multifd_level =
            (int)(s->multifd_compression == FERRY_MULTIFD_ZLIB ? s->multifd_zlib_level
                                                               : s->multifd_zstd_level);
        options->multifd_adaptive = s->adaptive_compression != 0;
        options->connect = connect_again;
        options->connect_self = m;
    }
}

static FerrySource *make_source(FerryMigration *m, FerryChannel *channel)
{
    FerrySourceOptions options = {
        .io_timeout_ns = m->used.io_timeout_ms * 1000000,
        .no_return_path = m->one_way,
        .pause_before_switchover = m->used.pause_before_switchover,
        .verify = m->used.verify,
        .switchover_ack = m->used.switchover_ack,
        .send_uuid = m->used.validate_uuid,
        .dirty_chunk_bytes = m->used.dirty_chunk_bytes,
        .record_path = m->used.record[0] != '\0' ? m->used.record : NULL,
        .notify = on_notify,
        .notify_self = m,
    };
    FerryLimits limits;

    choose_way(m, &options);
    ferry_settings_get_limits(&m->used, &limits);
    return ferry_source_new(m->guest, channel, m->interrupt, &options, &limits);
}

static FerryDestination *make_destination(FerryMigration *m, FerryChannel *channel)
{
    FerryDestinationOptions options = {
        .io_timeout_ns = m->used.io_timeout_ms * 1000000,
        .keep_paused = m->keep_paused,
        .mapped_ram = m->used.mapped_ram,
        .record_path = m->used.record[0] != '\0' ? m->used.record : NULL,
        .switchover_ack = m->used.switchover_ack,
        .multifd = m->gathered.multifd,
        .n_multifd = m->gathered.n_multifd,
        .multifd_uuid = m->gathered.n_multifd ? m->gathered.uuid : NULL,
        .multifd_method = (FerryMultifdMethod)m->used.multifd_compression,
        .notify = on_notify,
        .notify_self = m,
    };
    FerryDestination *destination =
        ferry_destination_new(m->guest, channel, m->interrupt, &options);

    m->gathered.n_multifd = 0; /* they are the destination's */
    ferry_gathering_clear(&m->gathered);
    return destination;
}

/* Takes @channel. From here on a cancel goes to the source or destination. */
static gboolean attach(FerryMigration *m, FerryChannel *channel, GError **error)
{
    g_autofree char *io = g_strdup(ferry_channel_get_io(channel));
    g_autoptr(FerrySource) source = NULL;
    g_autoptr(FerryDestination) destination = NULL;
    FerryLimits limits;

    m->one_way = is_one_way(m, channel);
    if (m->incoming) {
        destination = make_destination(m, channel);
    } else {
        source = make_source(m, channel);
    }
    pthread_mutex_lock(&m->lock);
    if (m->cancelled) {
        pthread_mutex_unlock(&m->lock);
        g_set_error_literal(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_CANCELLED, "cancelled");
        return FALSE;
    }
    ferry_settings_get_limits(&m->settings, &limits); /* they may have changed while connecting */
    m->source = g_steal_pointer(&source);
    m->destination = g_steal_pointer(&destination);
    m->io = g_steal_pointer(&io);
    m->connect_ns = ferry_now_ns() - m->started_ns;
    pthread_mutex_unlock(&m->lock);
    if (m->source != NULL) {
        ferry_source_set_limits(m->source, &limits);
    }
    return TRUE;
}

static gboolean transfer(FerryMigration *m, GError **error)
{
    FerryChannel *channel = open_channel(m, error);

    if (channel == NULL || !attach(m, channel, error)) {
        return FALSE;
    }
    return m->incoming ? ferry_destination_run(m->destination, error)
                       : ferry_source_run(m->source, error);
}

static FerryStatus result_of(const FerryMigration *m, gboolean ok, const GError *error)
{
    if (ok) {
        return FERRY_STATUS_COMPLETED;
    }
    if (g_error_matches(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_UNSURE)) {
        return FERRY_STATUS_IN_DOUBT;
    }
    return m->cancelled || g_error_matches(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_CANCELLED)
               ? FERRY_STATUS_CANCELLED
               : FERRY_STATUS_FAILED;
}

static FerryOwner owner_of(const FerryMigration *m, FerryStatus result)
{
    switch (result) {
    case FERRY_STATUS_COMPLETED:
        return m->incoming || m->one_way ? FERRY_OWNER_HERE : FERRY_OWNER_THERE;
    case FERRY_STATUS_IN_DOUBT:
        return FERRY_OWNER_IN_DOUBT;
    default:
        if (!m->incoming) {
            return FERRY_OWNER_HERE;
        }
        return m->connect_ns > 0 ? FERRY_OWNER_NOBODY : m->owner; /* nobody came: as it was */
    }
}

/* The last numbers, for whoever asks after the end. */
static void keep_numbers(FerryMigration *m)
{
    FerryProgress progress = {0};
    GArray *rounds = NULL;

    if (m->source != NULL) {
        ferry_source_get_progress(m->source, &progress);
        rounds = ferry_source_get_rounds(m->source);
    } else if (m->destination != NULL) {
        ferry_destination_get_progress(m->destination, &progress);
    }
    pthread_mutex_lock(&m->lock);
    m->progress = progress;
    m->rounds = rounds;
    pthread_mutex_unlock(&m->lock);
}

/* Frees what the migration held, then publishes how it ended. Takes @error. */
static void end(FerryMigration *m, gboolean ok, GError *error)
{
    gboolean cancelled;
    FerryStatus result;

    keep_numbers(m);
    pthread_mutex_lock(&m->lock);
    while (m->pins > 0) { /* a cancel that was accepted may not have said so yet */
        pthread_cond_wait(&m->changed, &m->lock);
    }
    cancelled = m->cancelled;
    m->result = result = result_of(m, ok, error);
    if (result != FERRY_STATUS_IN_DOUBT) {
        ferry_migration_drop(m);
    }
    m->owner = owner_of(m, result);
    m->status = result;
    m->error = error != NULL ? g_error_copy(error) : NULL;
    m->running = FALSE;
    ferry_address_clear(&m->address);
    pthread_mutex_unlock(&m->lock);
    if (cancelled) {
        ferry_migration_report(m, FERRY_STATUS_CANCELLING, NULL);
    }
    ferry_migration_report(m, result, error);
    g_clear_error(&error);
}

void *ferry_migration_thread(void *data)
{
    FerryMigration *m = data;
    GError *error = NULL;
    gboolean ok;

    pthread_mutex_lock(&m->lock); /* until launch has filled everything in */
    pthread_mutex_unlock(&m->lock);
    ferry_migration_report(m, FERRY_STATUS_SETUP, NULL);
    ok = transfer(m, &error);
    end(m, ok, error);
    pthread_mutex_lock(&m->lock);
    m->finished = TRUE;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    return NULL;
}
