/* Performs the machine's actions and brings it the events. */
#include "engine/source.h"
#include "engine/handover.h"
#include "engine/source-private.h"
#include "protocol/extension.h"
#include "transport/transport.h"

#define TIMEOUT_DEFAULT_NS 10000000000ull
#define SECTION_NS 50000000ull /* a PART is closed after so long: commands fit between */
#define DEAR_SECTION_NS 500000000ull
#define PUBLISH_NS 20000000ull

/* While the sender waits for its channels. */
static gboolean between(void *self, GError **error)
{
    FerrySource *s = self;

    return ferry_ram_sender_in_section(s->sender) ? ferry_source_listen(s, 0, error)
                                                  : ferry_source_keep_alive(s, error);
}

static FerryRamSender *new_sender(FerrySource *s)
{
    FerryRamSetup setup = {.memory = s->memory,
                           .channel = s->channel,
                           .options = &s->options,
                           .dialect = &s->dialect,
                           .uuid = s->uuid,
                           .progress_ns = s->timeout_ns,
                           .between = between,
                           .between_self = s};
    return ferry_ram_sender_new(&setup);
}

FerrySource *ferry_source_new(FerryGuest *guest, FerryChannel *channel, FerryInterrupt *interrupt,
                              const FerrySourceOptions *options, const FerryLimits *limits)
{
    static const FerryLimits default_limits = FERRY_LIMITS_DEFAULT;
    FerrySource *s = g_new0(FerrySource, 1);

    s->guest = guest;
    s->memory = ferry_guest_memory(guest);
    s->log = ferry_guest_dirty_log(guest);
    s->interrupt = interrupt;
    s->options = options ? *options : (FerrySourceOptions){0};
    s->options.record_path = g_strdup(s->options.record_path);
    s->timeout_ns = s->options.io_timeout_ns ? s->options.io_timeout_ns : TIMEOUT_DEFAULT_NS;
    s->limits = limits ? *limits : default_limits;
    s->return_path = !s->options.no_return_path && ferry_channel_can_read(channel);
    s->channel = ferry_channel_ratelimit(channel, s->limits.max_bandwidth, interrupt);
    if (s->options.dialect) {
        s->dialect = *s->options.dialect;
    } else if (ferry_dialect_for(ferry_guest_machine(guest), NULL, &s->dialect, NULL)) {
        s->dialect.compress_page = TRUE; /* not the machine's to say: whoever asked for it knows */
    } else {
        s->dialect = ferry_dialect_ferry;
    }
    (void)ferry_guest_get_uuid(guest, s->uuid);
    s->sender = new_sender(s);
    s->rounds = g_array_new(FALSE, FALSE, sizeof(FerryRoundReport));
    s->tail = g_byte_array_new();
    s->next_section_id = FERRY_RAM_SECTION_ID + 1;
    s->described = g_array_new(FALSE, FALSE, sizeof(FerryDescribedDevice));
    s->progress.ram_total_bytes = ferry_memory_total_bytes(s->memory);
    s->progress.ram_remaining_bytes = s->progress.ram_total_bytes;
    s->peer.answered = TRUE;
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

static gboolean refused(GError **error, const char *why)
{
    g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED,
                "this guest cannot be migrated: %s", why);
    return FALSE;
}

static gboolean preflight(FerrySource *s, GError **error)
{
    g_autofree char *blocker = ferry_guest_dup_blocker(s->guest);
    unsigned n = ferry_memory_n_blocks(s->memory);

    if (blocker) {
        return refused(error, blocker);
    }
    if (n == 0) {
        return refused(error, "it has no memory");
    }
    if (!s->log) {
        return refused(error, "its writes are not logged (no dirty log)");
    }
    gboolean fits = ferry_dirty_log_n_blocks(s->log) == n;
    for (unsigned i = 0; fits && i < n; i++) {
        fits = ferry_dirty_log_block_pages(s->log, i) * FERRY_PAGE_SIZE ==
               ferry_memory_block(s->memory, i)->length;
    }
    return fits || refused(error, "its dirty log is of other memory");
}

static void new_machine(FerrySource *s)
{
    unsigned n = ferry_memory_n_blocks(s->memory);
    g_autofree uint64_t *pages = g_new(uint64_t, n);

    for (unsigned i = 0; i < n; i++) {
        pages[i] = ferry_memory_block(s->memory, i)->length / FERRY_PAGE_SIZE;
    }
    s->sample = ferry_sample_new(s->memory);
    ferry_source_look_at_limits(s);
    s->policy = s->current.policy;
    s->machine = ferry_precopy_new(&s->policy, pages, n);
    ferry_precopy_set_timeout(s->machine, &s->current.timeout);
}

/* Before every sync: the user's, or the policy's, or what suits. The policy may have changed. */
static gboolean choose_chunk(FerrySource *s, GError **error)
{
    uint64_t wanted = s->options.dirty_chunk_bytes;

    if (wanted == 0) {
        wanted = ferry_precopy_policy(s->machine)->chunk_bytes;
    }
    if (wanted == 0 && s->dirty_syncs > 0) {
        ferry_dirty_log_suit_chunk(s->log);
        return TRUE;
    }
    return ferry_dirty_log_set_chunk(s->log, wanted ? wanted : FERRY_DIRTY_LOG_CHUNK_DEFAULT,
                                     error);
}

static gboolean set_up(FerrySource *s, GError **error)
{
    if (!ferry_source_greet(s, error)) {
        return FALSE;
    }
    s->log_started = TRUE;
    if (!ferry_dirty_log_start(s->log, error) || !ferry_ram_sender_start(s->sender, error)) {
        return FALSE;
    }
    pthread_mutex_lock(&s->lock);
    s->progress.setup_ns = ferry_now_ns() - s->begin_ns;
    pthread_mutex_unlock(&s->lock);
    ferry_source_begin_rounds(s);
    return TRUE;
}

/* What the user may have changed of how decisions are made. */
static void obey_limits(FerrySource *s)
{
    const FerryPolicy *wanted = &s->current.policy;

    if (!s->paused && (wanted->ops != s->policy.ops || wanted->argument != s->policy.argument)) {
        s->policy = *wanted;
        ferry_precopy_set_policy(s->machine, wanted);
    }
    ferry_precopy_set_timeout(s->machine, &s->current.timeout);
}

/* All of the round goes out. *out_idle_ns: what the link could have sent meanwhile and did not. */
static gboolean end_round(FerrySource *s, uint64_t *out_idle_ns, GError **error)
{
    uint64_t begin_ns = ferry_now_ns(), before = ferry_ram_sender_bytes_written(s->sender);
    uint64_t rate = ferry_source_round_rate(s), took_ns, sent_ns;

    if (!s->paused && (!ferry_ram_sender_end_round(s->sender, FALSE, error) ||
                       !ferry_ram_sender_end_section(s->sender, FALSE, error))) {
        return FALSE;
    }
    if (!ferry_source_drain(s, error) || !ferry_source_listen(s, 0, error) ||
        (s->dirty_syncs > 0 && !s->paused && !ferry_source_probe_lag(s, error))) {
        return FALSE;
    }
    took_ns = ferry_now_ns() - begin_ns;
    sent_ns =
        rate ? ferry_scale(ferry_ram_sender_bytes_written(s->sender) - before, 1000000000, rate)
             : took_ns;
    *out_idle_ns = took_ns - MIN(took_ns, sent_ns);
    return TRUE;
}

/* FERRY_ACTION_SYNC: what was written since the last sync is pending again. */
static gboolean sync_log(FerrySource *s, FerryRound *out_values, GError **error)
{
    uint64_t idle_ns, begin_ns;

    if (!end_round(s, &idle_ns, error)) {
        return FALSE;
    }
    if (!choose_chunk(s, error) ||
        (ferry_source_should_rehearse(s) && !ferry_source_rehearse(s, error))) {
        return FALSE;
    }
    begin_ns = ferry_now_ns();
    for (unsigned i = 0; i < ferry_memory_n_blocks(s->memory); i++) {
        if (!ferry_dirty_log_sync(s->log, i, ferry_precopy_found(s->machine, i), error)) {
            return FALSE;
        }
    }
    ferry_source_learn_sync(s, ferry_now_ns() - begin_ns + s->costs.merge_ns, idle_ns);
    ferry_source_look_at_limits(s);
    obey_limits(s);
    ferry_source_round(s, out_values);
    return TRUE;
}

/* Also now and then where there is always room: pages on other channels leave main silent, and the
 * destination must hear that we are alive. */
static gboolean make_room(FerrySource *s, uint64_t *section_ns, uint64_t longest, GError **error)
{
    if (ferry_now_ns() - *section_ns > longest) {
        if (!s->paused && !ferry_ram_sender_end_section(s->sender, FALSE, error)) {
            return FALSE;
        }
        *section_ns = ferry_now_ns();
    }
    return ferry_source_flush(s, error) &&
           (ferry_ram_sender_is_in_background(s->sender) ? between(s, error)
                                                         : ferry_source_listen(s, 0, error));
}

/* FERRY_ACTION_WATCH. What was written before is pending already. */
static gboolean watch_log(FerrySource *s, GError **error)
{
    for (unsigned i = 0; i < ferry_memory_n_blocks(s->memory); i++) {
        uint64_t n = ferry_dirty_log_block_pages(s->log, i);
        if (!ferry_dirty_log_clear(s->log, i, 0, n, ferry_precopy_found(s->machine, i), error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* FERRY_ACTION_SEND. The order keeps pages: protect, then forget, then read (here or later). While
 * the guest is paused nothing can be written, so nothing needs protection. */
static gboolean send_batch(FerrySource *s, const FerryBatch *b, uint64_t *section_ns,
                           GError **error)
{
    FerryBitmap *found = ferry_precopy_found(s->machine, b->block);
    uint64_t longest = ferry_ram_sender_has_dear_sections(s->sender) ? DEAR_SECTION_NS : SECTION_NS;
    gboolean due =
        ferry_ram_sender_is_in_background(s->sender) && ferry_now_ns() - *section_ns > longest;

    if ((due || !ferry_ram_sender_has_room(s->sender, b->n_pages) || ferry_source_wants_flush(s)) &&
        !make_room(s, section_ns, longest, error)) {
        return FALSE;
    }
    if (!s->paused) {
        if (!ferry_dirty_log_clear(s->log, b->block, b->first_page, b->n_pages, found, error)) {
            return FALSE;
        }
        ferry_bitmap_reset(found, b->first_page, b->n_pages);
        ferry_sample_pages(s->sample, b->block, b->first_page, b->n_pages);
    }
    ferry_source_begin_pages(s);
    s->gathered_pages += b->n_pages;
    if (!ferry_ram_sender_pages(s->sender, b->block, b->first_page, b->n_pages, s->paused, error)) {
        return FALSE;
    }
    if (ferry_precopy_unsent_pages(s->machine) == 0) {
        ferry_ram_sender_end_first_pass(s->sender);
    }
    return TRUE;
}

static gboolean rest(FerrySource *s, GError **error)
{
    uint64_t begin_ns = ferry_now_ns(),
             until = begin_ns + ferry_precopy_decision(s->machine)->rest_ns;

    if (!ferry_ram_sender_end_section(s->sender, FALSE, error) || !ferry_source_drain(s, error)) {
        return FALSE;
    }
    while (ferry_now_ns() < until) {
        if (!s->return_path) {
            g_usleep((until - ferry_now_ns()) / 1000);
        } else if (!ferry_source_listen(s, until, error)) {
            return FALSE;
        }
    }
    s->round.rest_ns += ferry_now_ns() - begin_ns;
    return ferry_source_keep_alive(s, error);
}

/* One action; *out_event is what it brought. FERRY_ACTION_FINISH and what ends a failure are the
 * caller's. */
static gboolean perform(FerrySource *s, FerryAction action, const FerryBatch *batch,
                        uint64_t *section_ns, FerryRound *values, FerryEvent *out_event,
                        GError **error)
{
    switch (action) {
    case FERRY_ACTION_SYNC:
        *out_event = FERRY_EVENT_SYNCED;
        return sync_log(s, values, error);
    case FERRY_ACTION_WATCH:
        *out_event = FERRY_EVENT_WATCHED;
        return watch_log(s, error);
    case FERRY_ACTION_SEND:
        *out_event = FERRY_EVENT_SENT;
        return send_batch(s, batch, section_ns, error);
    case FERRY_ACTION_REST:
        *out_event = FERRY_EVENT_SENT;
        return rest(s, error);
    case FERRY_ACTION_PAUSE:
        *out_event = FERRY_EVENT_PAUSED;
        return ferry_source_pause_guest(s, error) && ferry_source_announce_switchover(s, error);
    case FERRY_ACTION_SAVE:
        return ferry_source_save_devices(s, out_event, error);
    case FERRY_ACTION_AWAIT_LOADED:
        *out_event = FERRY_EVENT_LOADED;
        return ferry_source_await_loaded(s, error);
    case FERRY_ACTION_RELEASE:
        *out_event = FERRY_EVENT_RUNNING;
        return ferry_source_let_go(s, error);
    case FERRY_ACTION_FINISH:
    case FERRY_ACTION_RESUME:
    case FERRY_ACTION_HOLD:
        break;
    }
    g_assert_not_reached();
}

/* What the machine decided at a sync takes effect, and is told. */
static void after_step(FerrySource *s, FerryEvent event, FerryPhase before,
                       const FerryRound *values, uint64_t *published_ns)
{
    gboolean moved = ferry_precopy_phase(s->machine) != before;
    gboolean synced = event == FERRY_EVENT_SYNCED;

    if (synced && !s->paused) {
        s->costs.merge_ns = ferry_now_ns() - values->moment.now_ns;
        ferry_source_throttle(s, ferry_precopy_decision(s->machine)->throttle_percent);
        ferry_source_decided(s, values);
        ferry_source_report(s, values);
    }
    if (moved || synced || ferry_now_ns() - *published_ns > PUBLISH_NS) {
        *published_ns = ferry_now_ns();
        ferry_source_publish(s, moved || synced);
    }
}

/* The machine's own end: neither the peer nor the user asked for it now. */
static void give_up(FerrySource *s, GError **error)
{
    if (ferry_precopy_timed_out(s->machine)) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_STALLED,
                    "the migration did not converge in the time that it was given");
        return;
    }
    g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_STALLED,
                "the migration does not converge: the downtime limit of %.0f ms cannot be met, the "
                "shortest downtime possible is about %.0f ms",
                (double)s->current.downtime_limit_ns / 1e6,
                (double)ferry_precopy_forecast(s->machine)->floor_ns / 1e6);
}

gboolean ferry_source_run(FerrySource *s, GError **error)
{
    FerryRound values = {0};
    FerryBatch batch;
    FerryAction action;
    uint64_t published_ns = 0, section_ns = 0, write_ns = 0;
    gboolean handing_out = FALSE;
    GError *happened = NULL;

    if (!preflight(s, error)) {
        return FALSE;
    }
    s->begin_ns = ferry_now_ns();
    new_machine(s);
    ferry_source_publish(s, TRUE);
    FerryEvent event = set_up(s, &happened) ? FERRY_EVENT_READY : FERRY_EVENT_STOPPED;
    for (;;) {
        FerryPhase before = ferry_precopy_phase(s->machine);
        if (event != FERRY_EVENT_SYNCED) {
            uint64_t since_ns = values.moment.now_ns;
            values.moment = ferry_source_moment(s);
            if (handing_out) {
                ferry_source_worked(s, values.moment.now_ns - since_ns, write_ns);
            }
        }
        write_ns = s->round.write_ns;
        action = ferry_precopy_step(s->machine, event, &values, &batch);
        if (action == FERRY_ACTION_FINISH || action == FERRY_ACTION_RESUME ||
            action == FERRY_ACTION_HOLD) {
            break;
        }
        handing_out = action == FERRY_ACTION_SEND && event != FERRY_EVENT_SYNCED;
        after_step(s, event, before, &values, &published_ns);
        if (ferry_source_is_cancelled(s, &happened) ||
            !perform(s, action, &batch, &section_ns, &values, &event, &happened)) {
            event = FERRY_EVENT_STOPPED;
        }
    }
    ferry_ram_sender_stop(s->sender);
    if (action == FERRY_ACTION_RESUME) {
        ferry_source_take_back(s, &happened);
    } else {
        ferry_source_throttle(s, 0); /* the guest may be let run here by hand */
        ferry_source_stop_log(s);
        pthread_mutex_lock(&s->lock);
        s->progress.verified = action == FERRY_ACTION_FINISH && s->downtime.verify_ns > 0;
        pthread_mutex_unlock(&s->lock);
    }
    if (!happened && action == FERRY_ACTION_RESUME) {
        give_up(s, &happened);
    }
    if (action != FERRY_ACTION_FINISH) {
        ferry_source_judge(s, &happened, error);
    }
    ferry_source_publish(s, TRUE);
    return action == FERRY_ACTION_FINISH;
}

gboolean ferry_source_cancel(FerrySource *s)
{
    if (g_atomic_int_compare_and_exchange(&s->owner, OWNER_HERE, OWNER_CANCELLED)) {
        ferry_interrupt_raise(s->interrupt);
    }
    return g_atomic_int_get(&s->owner) == OWNER_CANCELLED;
}

gboolean ferry_source_continue(FerrySource *s)
{
    if (!g_atomic_int_get(&s->waits)) {
        return FALSE;
    }
    g_atomic_int_set(&s->go_on, 1);
    return TRUE;
}

void ferry_source_set_limits(FerrySource *s, const FerryLimits *limits)
{
    pthread_mutex_lock(&s->lock);
    s->limits = *limits;
    pthread_mutex_unlock(&s->lock);
}

void ferry_source_get_progress(FerrySource *s, FerryProgress *out_progress)
{
    pthread_mutex_lock(&s->lock);
    *out_progress = s->progress;
    pthread_mutex_unlock(&s->lock);
}

GArray *ferry_source_get_rounds(FerrySource *s)
{
    pthread_mutex_lock(&s->lock);
    guint kept = MIN(s->rounds->len, FERRY_ROUNDS_KEPT);
    GArray *rounds = g_array_sized_new(FALSE, FALSE, sizeof(FerryRoundReport), kept);
    if (kept) { /* an empty array has no place to point at */
        g_array_append_vals(
            rounds, &g_array_index(s->rounds, FerryRoundReport, s->rounds->len - kept), kept);
    }
    pthread_mutex_unlock(&s->lock);
    return rounds;
}

gboolean ferry_source_resolve(FerrySource *s, GError **error)
{
    if (!s->machine || ferry_precopy_phase(s->machine) != FERRY_PHASE_UNSURE) {
        return refused(error, "its handover is not in doubt");
    }
    if (!ferry_handover_record(s->options.record_path, "source", "aborted",
                               ferry_guest_machine(s->guest),
                               ferry_channel_get_description(s->channel), error) ||
        (s->was_running && !ferry_guest_resume(s->guest, error))) {
        return FALSE;
    }
    s->paused = FALSE;
    return TRUE;
}

void ferry_source_free(FerrySource *s)
{
    if (!s) {
        return;
    }
    ferry_precopy_free(s->machine);
    ferry_ram_sender_free(s->sender);
    ferry_sample_free(s->sample);
    ferry_channel_free(s->channel);
    g_array_unref(s->rounds);
    g_byte_array_unref(s->tail);
    g_array_unref(s->described);
    pthread_mutex_destroy(&s->lock);
    g_free((char *)s->options.record_path);
    g_free(s);
}
