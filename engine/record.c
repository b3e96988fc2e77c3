#include "engine/record.h"
#include <string.h>
#include <time.h>
#include "engine/migration-private.h"
#include "engine/record-private.h"

#define FLUSH_NS 5000000000u /* what a crash may cost */

struct FerryRecorder {
    FerryMigration *migration;
    GThread *thread;
    /* The thread's own. */
    FerryRecordWork work;
    FerryTraceHeader *header;
    FerryRecordCosts costs;
    uint64_t begin_ns, cpu_ns, flushed_ns;
    FerryRecording now;

    pthread_mutex_t lock; /* guards what follows */
    uint64_t duration_ns; /* 0: until it is stopped. Set before the thread begins */
    pthread_cond_t changed;
    gboolean stop;
    FerryRecordEnd end;
    gboolean paused;
    uint64_t paused_ns; /* since then, or since the last frame's end */
    uint64_t stood_ns;  /* in this frame, before */
    FerryRecording told;
};

const char *ferry_record_status_name(FerryRecordStatus status)
{
    static const char *const names[] = {
        [FERRY_RECORD_NONE] = "none",           [FERRY_RECORD_STARTING] = "starting",
        [FERRY_RECORD_RECORDING] = "recording", [FERRY_RECORD_ENDED] = "ended",
        [FERRY_RECORD_FAILED] = "failed",
    };
    return names[status];
}

const char *ferry_record_end_name(FerryRecordEnd end)
{
    static const char *const names[] = {
        [FERRY_RECORD_END_DONE] = "done",
        [FERRY_RECORD_END_INTERRUPTED] = "interrupted",
        [FERRY_RECORD_END_GUEST_GONE] = "guest-gone",
    };
    return names[end];
}

FerryRecorder *ferry_recorder_new(FerryMigration *migration)
{
    FerryRecorder *r = g_new0(FerryRecorder, 1);
    pthread_condattr_t monotonic;

    r->migration = migration;
    pthread_mutex_init(&r->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&r->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return r;
}

static gboolean must_stop(void *self)
{
    FerryRecorder *r = self;
    gboolean stop;

    pthread_mutex_lock(&r->lock);
    stop = r->stop;
    pthread_mutex_unlock(&r->lock);
    return stop;
}

/* FALSE: it is to stop. */
static gboolean sleep_until(FerryRecorder *r, uint64_t ns)
{
    struct timespec deadline = {.tv_sec = (time_t)(ns / 1000000000),
                                .tv_nsec = (long)(ns % 1000000000)};
    gboolean go_on;

    pthread_mutex_lock(&r->lock);
    while (!r->stop && ferry_now_ns() < ns) {
        pthread_cond_timedwait(&r->changed, &r->lock, &deadline);
    }
    go_on = !r->stop;
    pthread_mutex_unlock(&r->lock);
    return go_on;
}

/* How long the guest stood still in the frame that ends at @now_ns. */
static uint64_t take_stood(FerryRecorder *r, uint64_t now_ns)
{
    uint64_t stood_ns;

    pthread_mutex_lock(&r->lock);
    if (r->paused && r->paused_ns < now_ns) {
        r->stood_ns += now_ns - r->paused_ns;
        r->paused_ns = now_ns;
    }
    stood_ns = r->stood_ns;
    r->stood_ns = 0;
    pthread_mutex_unlock(&r->lock);
    return stood_ns;
}

static void tell(FerryRecorder *r, FerryRecordStatus status)
{
    r->now.status = status;
    pthread_mutex_lock(&r->lock);
    r->told = r->now;
    r->told.end = r->end;
    pthread_mutex_unlock(&r->lock);
}

static uint64_t cpu_now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void account(FerryRecorder *r, uint64_t span_ns, uint64_t took_ns)
{
    FerryRecording *now = &r->now;

    ferry_record_costs_add(&r->costs, took_ns);
    now->frames++;
    now->late_frames += span_ns > now->interval_ns + now->interval_ns / 2;
    now->pages += r->work.n_pages;
    now->length_ns += span_ns;
    now->bytes = ferry_trace_writer_bytes(r->work.writer);
    now->frame_ns = ferry_record_costs_median(&r->costs);
    now->longest_frame_ns = r->costs.longest;
    now->cpu_permille = (unsigned)((cpu_now_ns() - r->cpu_ns) * 1000 / now->length_ns);
    tell(r, FERRY_RECORD_RECORDING);
}

static gboolean one_frame(FerryRecorder *r, GError **error)
{
    FerryTraceFrame frame = FERRY_TRACE_FRAME_INIT;
    uint64_t before_ns = r->work.looked_ns, begin_ns = ferry_now_ns(), stood_ns;

    if (!ferry_record_work_look(&r->work, error)) {
        return FALSE;
    }
    frame.span_ns = r->work.looked_ns - before_ns;
    stood_ns = take_stood(r, r->work.looked_ns);
    if (stood_ns > 0) {
        frame.ran_ns = frame.span_ns - MIN(stood_ns, frame.span_ns);
    }
    if (!ferry_record_work_write(&r->work, &frame, error)) {
        return FALSE;
    }
    account(r, frame.span_ns, ferry_now_ns() - begin_ns);
    if (r->work.looked_ns - r->flushed_ns < FLUSH_NS) {
        return TRUE;
    }
    r->flushed_ns = r->work.looked_ns;
    return ferry_trace_writer_flush(r->work.writer, error);
}

/* Frames end at whole intervals from the beginning on; what is missed is left out. */
static uint64_t next_end(const FerryRecorder *r)
{
    uint64_t passed = ferry_now_ns() - r->begin_ns, interval = r->now.interval_ns;
    uint64_t next = passed / interval * interval + interval;

    return r->begin_ns + (r->duration_ns > 0 ? MIN(next, r->duration_ns) : next);
}

static gboolean capture(FerryRecorder *r, GError **error)
{
    gboolean go_on = TRUE;

    if (!ferry_record_work_begin(&r->work, r->header, error)) {
        return FALSE;
    }
    r->begin_ns = r->flushed_ns = r->work.looked_ns;
    (void)take_stood(r, r->begin_ns); /* what was before */
    r->cpu_ns = cpu_now_ns();
    tell(r, FERRY_RECORD_RECORDING);
    while (go_on && (r->duration_ns == 0 || r->work.looked_ns - r->begin_ns < r->duration_ns)) {
        go_on = sleep_until(r, next_end(r));
        if (!one_frame(r, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean finish(FerryRecorder *r, GError **error)
{
    FerryTraceTotals totals = {
        .capture_ns_per_frame = r->now.frame_ns,
        .late_frames = r->now.late_frames,
        .capture_cpu_permille = r->now.cpu_permille,
        .slowdown_permille = -1,
    };

    pthread_mutex_lock(&r->lock);
    totals.ended = ferry_record_end_name(r->end);
    pthread_mutex_unlock(&r->lock);
    gboolean ok = ferry_record_work_end(&r->work, &totals, error);
    r->now.bytes = ferry_trace_writer_bytes(r->work.writer);
    return ok;
}

static void *record(void *data)
{
    FerryRecorder *r = data;
    g_autoptr(GError) error = NULL;
    gboolean ok = capture(r, &error);

    ferry_record_work_unwatch(&r->work);
    ferry_migration_release_log(r->migration); /* who waits for it need not wait for the file */
    ok = ok && finish(r, &error);
    ferry_record_work_clear(&r->work);
    g_clear_pointer(&r->header, ferry_trace_header_free);
    if (!ok) {
        g_strlcpy(r->now.error, error->message, sizeof r->now.error);
    }
    tell(r, ok ? FERRY_RECORD_ENDED : FERRY_RECORD_FAILED);
    return NULL;
}

/* Called with the migration's lock held, which we never ask for with ours held. */
static void let_go(void *self) { ferry_recorder_stop(self, FERRY_RECORD_END_INTERRUPTED); }

static const FerryLogUser log_user = {
    .refusal = "Dirty pages are being recorded: x-ferry-record-stop ends that",
    .let_go = let_go,
};

/* Before the thread; with the lock held, since the guest may stop or go on any time. */
static void prepare(FerryRecorder *r, const FerryRecorderOptions *o, FerryTraceFile *file)
{
    ferry_record_work_init(&r->work, r->migration->guest, file, o->content);
    r->work.hurry = must_stop;
    r->work.hurry_self = r;
    r->header = ferry_trace_header_new();
    r->header->interval_ns = o->interval_ns;
    r->header->workload = g_strdup(o->workload);
    r->header->licence = g_strdup(o->licence);
    r->header->provenance = g_strdup(o->provenance);
    r->costs = (FerryRecordCosts){0};
    r->duration_ns = o->duration_ns;
    r->now = (FerryRecording){.interval_ns = o->interval_ns};
    r->stood_ns = 0;
    r->paused = o->paused;
    r->paused_ns = ferry_now_ns();
}

gboolean ferry_recorder_start(FerryRecorder *r, const FerryRecorderOptions *o, GError **error)
{
    FerryTraceFile *file;
    FerryRecording now;

    ferry_recorder_get(r, &now);
    if (now.status == FERRY_RECORD_STARTING || now.status == FERRY_RECORD_RECORDING) {
        g_set_error_literal(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED,
                            log_user.refusal);
        return FALSE;
    }
    g_clear_pointer(&r->thread, g_thread_join);
    pthread_mutex_lock(&r->lock);
    r->stop = FALSE; /* let_go may set it as soon as we hold the log */
    r->end = FERRY_RECORD_END_DONE;
    pthread_mutex_unlock(&r->lock);
    if (!ferry_migration_hold_log(r->migration, &log_user, r, error)) {
        return FALSE;
    }
    file = ferry_trace_file_create(o->file, error);
    if (file == NULL) {
        ferry_migration_release_log(r->migration);
        return FALSE;
    }
    pthread_mutex_lock(&r->lock);
    prepare(r, o, file);
    pthread_mutex_unlock(&r->lock);
    tell(r, FERRY_RECORD_STARTING);
    r->thread = g_thread_try_new("ferry-record", record, r, error);
    if (r->thread == NULL) {
        ferry_record_work_clear(&r->work);
        g_clear_pointer(&r->header, ferry_trace_header_free);
        ferry_migration_release_log(r->migration);
        tell(r, FERRY_RECORD_NONE);
    }
    return r->thread != NULL;
}

void ferry_recorder_stop(FerryRecorder *r, FerryRecordEnd end)
{
    pthread_mutex_lock(&r->lock);
    if (!r->stop) {
        r->stop = TRUE;
        r->end =
            end == FERRY_RECORD_END_DONE && r->duration_ns > 0 ? FERRY_RECORD_END_INTERRUPTED : end;
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
}

void ferry_recorder_set_paused(FerryRecorder *r, gboolean paused)
{
    uint64_t now_ns = ferry_now_ns();

    pthread_mutex_lock(&r->lock);
    if (r->paused && !paused && r->paused_ns < now_ns) {
        r->stood_ns += now_ns - r->paused_ns;
    }
    if (!r->paused && paused) {
        r->paused_ns = now_ns;
    }
    r->paused = paused;
    pthread_mutex_unlock(&r->lock);
}

void ferry_recorder_get(FerryRecorder *r, FerryRecording *out_recording)
{
    pthread_mutex_lock(&r->lock);
    *out_recording = r->told;
    pthread_mutex_unlock(&r->lock);
}

void ferry_recorder_free(FerryRecorder *r)
{
    if (r == NULL) {
        return;
    }
    ferry_recorder_stop(r, FERRY_RECORD_END_GUEST_GONE);
    g_clear_pointer(&r->thread, g_thread_join);
    pthread_cond_destroy(&r->changed);
    pthread_mutex_destroy(&r->lock);
    g_free(r);
}
