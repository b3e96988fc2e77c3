#include "tools/replay-guest.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>

#include "tools/replay-frame.h"

#define FILL_STEP 4096u /* pages */

struct FerryReplayGuest {
    FerryReplayGuestOptions options;
    FerryReplayPlace *places;
    uint64_t *first; /* of each place: its first page */
    pthread_t thread;
    gboolean has_thread; /* that is not joined */
    gint stop;           /* atomic: no further write. Set and taken back under the lock */

    pthread_mutex_t lock;
    pthread_cond_t changed; /* running, throttle, quit, writing */
    FerryReplayClock clock;
    gboolean running, quit, gone; /* gone: the thread is at its end */
    gboolean writing;             /* the thread is between begin_writing and end_writing */
    unsigned throttle_percent;
    FerryReplayStats stats;
    double late_sum_ns;

    /* The writing thread's own. */
    FerryReplayFrame frame;
    uint64_t lap;
    unsigned place; /* that was written last */
};

/* Under the lock. */
static void set_pace(FerryReplayGuest *g, gboolean running, unsigned throttle_percent)
{
    g->running = running;
    g->throttle_percent = throttle_percent;
    ferry_replay_clock_set(&g->clock, ferry_now_ns(), running, throttle_percent);
    g_atomic_int_set(&g->stop, !running || g->quit);
    pthread_cond_broadcast(&g->changed);
}

static gboolean pause_guest(void *self, FerryPauseReason why, gboolean *out_was_running,
                            GError **error)
{
    FerryReplayGuest *g = self;

    (void)why;
    (void)error;
    pthread_mutex_lock(&g->lock);
    *out_was_running = g->running;
    if (g->running) {
        set_pace(g, FALSE, g->throttle_percent);
    }
    while (g->writing) {
        pthread_cond_wait(&g->changed, &g->lock);
    }
    pthread_mutex_unlock(&g->lock);
    return TRUE;
}

static gboolean resume_guest(void *self, GError **error)
{
    FerryReplayGuest *g = self;

    (void)error;
    pthread_mutex_lock(&g->lock);
    set_pace(g, TRUE, g->throttle_percent);
    pthread_mutex_unlock(&g->lock);
    return TRUE;
}

static void throttle_guest(void *self, unsigned percent)
{
    FerryReplayGuest *g = self;

    pthread_mutex_lock(&g->lock);
    set_pace(g, g->running, percent);
    pthread_mutex_unlock(&g->lock);
}

const FerryGuestOps ferry_replay_guest_ops = {
    .pause = pause_guest, .resume = resume_guest, .throttle = throttle_guest};

static gboolean save_clock(void *self, GByteArray *body, GError **error)
{
    FerryReplayStats stats;

    (void)error;
    ferry_replay_guest_get_stats(self, &stats);
    uint64_t wire = GUINT64_TO_BE(stats.guest_ns);
    g_byte_array_append(body, (const guint8 *)&wire, sizeof wire);
    return TRUE;
}

static gboolean load_clock(void *self, const uint8_t *body, size_t length, uint32_t version,
                           GError **error)
{
    (void)self;
    (void)body;
    (void)length;
    (void)version;
    g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_GUEST,
                "a replay is a source, it takes no guest in");
    return FALSE;
}

const FerryDeviceOps ferry_replay_device_ops = {.save = save_clock, .load = load_clock};

/* Under the lock. */
static void wait_for_change(FerryReplayGuest *g, uint64_t longest_ns)
{
    uint64_t until;
    struct timespec t;

    if (longest_ns == UINT64_MAX) {
        pthread_cond_wait(&g->changed, &g->lock);
        return;
    }
    until = ferry_now_ns() + MIN(longest_ns, UINT64_C(1000000000));
    t = (struct timespec){.tv_sec = (time_t)(until / 1000000000),
                          .tv_nsec = (long)(until % 1000000000)};
    pthread_cond_timedwait(&g->changed, &g->lock, &t);
}

/* Waits until the guest runs and its time is @due_ns; FALSE: it is to end. With @write, writes may
 * follow, until end_writing. */
static gboolean await(FerryReplayGuest *g, uint64_t due_ns, gboolean write)
{
    uint64_t left;

    pthread_mutex_lock(&g->lock);
    while (!g->quit && (left = ferry_replay_clock_until(&g->clock, ferry_now_ns(), due_ns)) > 0) {
        wait_for_change(g, left);
    }
    gboolean go_on = !g->quit;
    g->writing = go_on && write;
    pthread_mutex_unlock(&g->lock);
    return go_on;
}

/* @n writes were done that were due at @due_ns. */
static void end_writing(FerryReplayGuest *g, uint64_t due_ns, uint64_t n)
{
    pthread_mutex_lock(&g->lock);
    uint64_t now = ferry_replay_clock_guest(&g->clock, ferry_now_ns());
    uint64_t late = (uint64_t)((double)(now - MIN(now, due_ns)) / g->clock.speed);
    g->stats.writes += n;
    g->stats.late_ns_max = MAX(g->stats.late_ns_max, n ? late : 0);
    g->stats.late_writes += late > FERRY_REPLAY_LATE_NS ? n : 0;
    g->late_sum_ns += (double)late * (double)n;
    g->writing = FALSE;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
}

/* The last one that does not begin behind it: the reader keeps frames within the blocks. */
static unsigned place_of(const FerryReplayGuest *g, uint64_t page)
{
    unsigned low = 0, high = g->options.n_places;

    while (high - low > 1) {
        unsigned middle = low + (high - low) / 2;
        if (g->first[middle] <= page) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

/* Pages of one step ascend, so the next one is mostly in the same place. */
static void write_page(FerryReplayGuest *g, const FerryReplayWrite *w)
{
    unsigned i = g->place;

    if (w->page < g->first[i] || w->page - g->first[i] >= g->places[i].n_pages) {
        i = g->place = place_of(g, w->page);
    }
    const FerryReplayPlace *p = &g->places[i];
    uint64_t page = w->page - g->first[i];
    g_assert(page < p->n_pages);
    ferry_replay_write(g->options.content, p->host + page * FERRY_REPLAY_PAGE, w->class_,
                       g->options.seed ^ (g->frame.begin_ns << 20) ^ w->page);
    if (g->options.marks) {
        ferry_mark_dirty(g->options.marks, p->block, page, 1);
    }
}

/* FALSE: it is to end. */
static gboolean play_frame(FerryReplayGuest *g)
{
    const FerryReplayWrite *w = (const FerryReplayWrite *)(void *)g->frame.writes->data;
    guint n = g->frame.writes->len, at = 0;

    while (at < n) {
        uint64_t due_ns = g->frame.begin_ns + w[at].at_ns;
        guint from = at;

        if (!await(g, due_ns, TRUE)) {
            return FALSE;
        }
        while (at < n && g->frame.begin_ns + w[at].at_ns == due_ns && !g_atomic_int_get(&g->stop)) {
            write_page(g, &w[at++]);
        }
        end_writing(g, due_ns, at - from);
    }
    return TRUE;
}

static void play(FerryReplayGuest *g)
{
    FerryTraceFrame frame;
    uint64_t end_ns = g->options.start_ns;

    while (g->options.frames.next(g->options.frames.self, &frame, &g->lap)) {
        ferry_replay_frame_lay_out(&g->frame, &frame, g->options.seed, g->lap);
        end_ns = frame.begin_ns + frame.span_ns;
        if (!play_frame(g)) {
            return;
        }
    }
    if (await(g, end_ns, FALSE)) {
        pthread_mutex_lock(&g->lock);
        g->stats.ended = TRUE;
        pthread_mutex_unlock(&g->lock);
    }
}

static void *live(void *data)
{
    FerryReplayGuest *g = data;
    struct timespec cpu;

    play(g);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu);
    pthread_mutex_lock(&g->lock);
    g->stats.cpu_ns = (uint64_t)cpu.tv_sec * 1000000000u + (uint64_t)cpu.tv_nsec;
    g->gone = TRUE;
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

/* Zero pages are written, too: as in a guest that booted they are there, and cost no fault later.
 */
static gboolean fill(FerryReplayGuest *g, GError **error)
{
    const FerryReplayGuestOptions *o = &g->options;

    for (unsigned i = 0; i < o->n_places && o->content != FERRY_REPLAY_KEEP; i++) {
        for (uint64_t p = 0; p < g->places[i].n_pages; p++) {
            uint64_t page = g->first[i] + p;
            if (p % FILL_STEP == 0 && o->interrupt && ferry_interrupt_is_raised(o->interrupt)) {
                g_set_error_literal(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_CANCELLED,
                                    "cancelled");
                return FALSE;
            }
            ferry_replay_write(o->content, g->places[i].host + p * FERRY_REPLAY_PAGE,
                               o->classes[page], ~(o->seed ^ page));
        }
    }
    return TRUE;
}

FerryReplayGuest *ferry_replay_guest_new(const FerryReplayGuestOptions *options, GError **error)
{
    g_autoptr(FerryReplayGuest) g = g_new0(FerryReplayGuest, 1);
    pthread_condattr_t monotonic;
    uint64_t first = 0;

    g->options = *options;
    g->places = g_memdup2(options->places, options->n_places * sizeof *options->places);
    g->first = g_new0(uint64_t, MAX(options->n_places, 1));
    for (unsigned i = 0; i < options->n_places; i++) {
        g->first[i] = first;
        first += options->places[i].n_pages;
    }
    pthread_mutex_init(&g->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&g->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    ferry_replay_clock_init(&g->clock, options->speed, ferry_now_ns(), options->start_ns);
    ferry_replay_frame_init(&g->frame);
    g->stop = TRUE;
    if (!fill(g, error)) {
        return NULL;
    }
    int failed = pthread_create(&g->thread, NULL, live, g);
    if (failed) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED, "a writing thread: %s",
                    g_strerror(failed));
        return NULL;
    }
    g->has_thread = TRUE;
    return g_steal_pointer(&g);
}

void ferry_replay_guest_start(FerryReplayGuest *g)
{
    pthread_mutex_lock(&g->lock);
    set_pace(g, TRUE, 0);
    pthread_mutex_unlock(&g->lock);
}

void ferry_replay_guest_get_stats(FerryReplayGuest *g, FerryReplayStats *out_stats)
{
    struct timespec cpu = {0};
    clockid_t clock;

    pthread_mutex_lock(&g->lock);
    *out_stats = g->stats;
    out_stats->running = g->running;
    out_stats->guest_ns = ferry_replay_clock_guest(&g->clock, ferry_now_ns());
    out_stats->late_ns_mean =
        g->stats.writes ? (uint64_t)(g->late_sum_ns / (double)g->stats.writes) : 0;
    if (g->has_thread && !g->gone && pthread_getcpuclockid(g->thread, &clock) == 0 &&
        clock_gettime(clock, &cpu) == 0) {
        out_stats->cpu_ns = (uint64_t)cpu.tv_sec * 1000000000u + (uint64_t)cpu.tv_nsec;
    }
    pthread_mutex_unlock(&g->lock);
}

const FerryReplayClock *ferry_replay_guest_clock(const FerryReplayGuest *g) { return &g->clock; }

void ferry_replay_guest_end(FerryReplayGuest *g)
{
    if (g->has_thread) {
        pthread_mutex_lock(&g->lock);
        g->quit = TRUE;
        set_pace(g, FALSE, 0);
        pthread_mutex_unlock(&g->lock);
        pthread_join(g->thread, NULL);
        g->has_thread = FALSE;
    }
}

void ferry_replay_guest_free(FerryReplayGuest *g)
{
    if (!g) {
        return;
    }
    ferry_replay_guest_end(g);
    ferry_replay_frame_clear(&g->frame);
    ferry_replay_clock_clear(&g->clock);
    pthread_cond_destroy(&g->changed);
    pthread_mutex_destroy(&g->lock);
    g_free(g->places);
    g_free(g->first);
    g_free(g);
}
