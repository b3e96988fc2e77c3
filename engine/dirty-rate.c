#include "engine/dirty-rate.h"
#include <string.h>
#include <time.h>
#include "engine/migration-private.h"
#include "engine/page.h"

#define SAMPLES 2048u

struct FerryDirtyRateMeter {
    FerryMigration *migration;
    GThread *thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    gboolean stop;
    FerryDirtyRate rate;
};

const char *ferry_dirty_rate_status_name(FerryDirtyRateStatus status)
{
    static const char *const names[] = {
        [FERRY_DIRTY_RATE_UNSTARTED] = "unstarted",
        [FERRY_DIRTY_RATE_MEASURING] = "measuring",
        [FERRY_DIRTY_RATE_MEASURED] = "measured",
    };
    return names[status];
}

FerryDirtyRateMeter *ferry_dirty_rate_meter_new(FerryMigration *migration)
{
    FerryDirtyRateMeter *m = g_new0(FerryDirtyRateMeter, 1);
    pthread_condattr_t monotonic;

    m->migration = migration;
    pthread_mutex_init(&m->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&m->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return m;
}

/* FALSE: it is to stop. */
static gboolean sleep_until(FerryDirtyRateMeter *m, uint64_t ns)
{
    struct timespec deadline = {.tv_sec = (time_t)(ns / 1000000000),
                                .tv_nsec = (long)(ns % 1000000000)};
    gboolean go_on;

    pthread_mutex_lock(&m->lock);
    while (!m->stop && ferry_now_ns() < ns) {
        pthread_cond_timedwait(&m->changed, &m->lock, &deadline);
    }
    go_on = !m->stop;
    pthread_mutex_unlock(&m->lock);
    return go_on;
}

static gboolean sync_all(FerryDirtyLog *log, FerryBitmap *dirty, uint64_t *out_pages,
                         GError **error)
{
    uint64_t pages = 0;

    for (unsigned i = 0; i < ferry_dirty_log_n_blocks(log); i++) {
        if (!ferry_dirty_log_sync(log, i, &dirty[i], error)) {
            return FALSE;
        }
        pages += ferry_bitmap_count(&dirty[i]);
    }
    *out_pages = pages;
    return TRUE;
}

/* Everything is clean and watched from here on; @dirty is what was written already. */
static gboolean watch(FerryDirtyLog *log, FerryBitmap *dirty, GError **error)
{
    uint64_t pages;

    if (!ferry_dirty_log_start(log, error) || !sync_all(log, dirty, &pages, error)) {
        return FALSE;
    }
    for (unsigned i = 0; i < ferry_dirty_log_n_blocks(log); i++) {
        ferry_bitmap_reset(&dirty[i], 0, dirty[i].n_bits);
        if (!ferry_dirty_log_clear(log, i, 0, dirty[i].n_bits, &dirty[i], error)) {
            return FALSE;
        }
    }
    return TRUE;
}

/* 10, 20, 50, 100, ... ms, and the whole time. */
static unsigned plan(uint64_t calc_ms, uint64_t *out_ms)
{
    static const unsigned steps[] = {1, 2, 5};
    uint64_t decade = 10;
    unsigned n = 0;

    for (unsigned i = 0; steps[i % 3] * decade < calc_ms; i++) {
        out_ms[n++] = steps[i % 3] * decade;
        decade *= i % 3 == 2 ? 10 : 1;
    }
    out_ms[n++] = calc_ms;
    g_assert(n <= FERRY_DIRTY_RATE_WINDOWS);
    return n;
}

static gboolean measure_windows(FerryDirtyRateMeter *m, FerryDirtyLog *log, FerryBitmap *dirty,
                                uint64_t calc_ms, GError **error)
{
    uint64_t ms[FERRY_DIRTY_RATE_WINDOWS], begin_ns, pages;
    unsigned n = plan(calc_ms, ms);

    if (!watch(log, dirty, error)) {
        return FALSE;
    }
    begin_ns = ferry_now_ns();
    for (unsigned i = 0; i < n; i++) {
        if (!sleep_until(m, begin_ns + ms[i] * 1000000)) {
            g_set_error_literal(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_CANCELLED,
                                "it was ended");
            return FALSE;
        }
        uint64_t looked_ns = ferry_now_ns(); /* a sync of much memory takes a while itself */
        if (!sync_all(log, dirty, &pages, error)) {
            return FALSE;
        }
        pthread_mutex_lock(&m->lock);
        m->rate.windows[i].ns = looked_ns + (ferry_now_ns() - looked_ns) / 2 - begin_ns;
        m->rate.windows[i].pages = pages;
        m->rate.n_windows = i + 1;
        pthread_mutex_unlock(&m->lock);
    }
    return TRUE;
}

/* Pages at equal distances: what a first pass will find. */
static void sample_zeros(FerryDirtyRateMeter *m)
{
    const FerryMemory *memory = ferry_guest_memory(m->migration->guest);
    uint64_t total = ferry_memory_total_bytes(memory) / FERRY_PAGE_SIZE;
    uint64_t step = total / SAMPLES + 1, at = step / 2, sampled = 0, zero = 0;

    for (unsigned i = 0; i < ferry_memory_n_blocks(memory); i++) {
        const FerryMemoryBlock *block = ferry_memory_block(memory, i);
        uint64_t pages = block->length / FERRY_PAGE_SIZE;
        for (; at < pages; at += step) {
            sampled++;
            zero += ferry_page_is_zero(block->host + at * FERRY_PAGE_SIZE) != FALSE;
        }
        at -= pages;
    }
    pthread_mutex_lock(&m->lock);
    m->rate.ram_bytes = total * FERRY_PAGE_SIZE;
    m->rate.sampled_pages = sampled;
    m->rate.zero_pages = zero;
    pthread_mutex_unlock(&m->lock);
}

static void *measure(void *data)
{
    FerryDirtyRateMeter *m = data;
    FerryDirtyLog *log = ferry_guest_dirty_log(m->migration->guest);
    unsigned n = ferry_dirty_log_n_blocks(log);
    g_autofree FerryBitmap *dirty = g_new0(FerryBitmap, n);
    g_autoptr(GError) error = NULL;
    gboolean ok;

    for (unsigned i = 0; i < n; i++) {
        ferry_bitmap_init(&dirty[i], ferry_dirty_log_block_pages(log, i));
    }
    ok = measure_windows(m, log, dirty, m->rate.calc_ms, &error);
    ferry_dirty_log_stop(log);
    if (ok) {
        sample_zeros(m);
    }
    for (unsigned i = 0; i < n; i++) {
        ferry_bitmap_clear(&dirty[i]);
    }
    ferry_migration_release_log(m->migration);
    pthread_mutex_lock(&m->lock);
    m->rate.status = ok ? FERRY_DIRTY_RATE_MEASURED : FERRY_DIRTY_RATE_UNSTARTED;
    if (!ok) {
        g_strlcpy(m->rate.error, error->message, sizeof m->rate.error);
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

/* A minute at most, and worth nothing if it is cut short. */
static const FerryLogUser log_user = {.refusal =
                                          "The dirty rate is being measured: wait for its end"};

gboolean ferry_dirty_rate_meter_start(FerryDirtyRateMeter *m, uint64_t calc_ms, GError **error)
{
    FerryDirtyRate now;

    ferry_dirty_rate_meter_get(m, &now);
    if (now.status == FERRY_DIRTY_RATE_MEASURING) {
        g_set_error_literal(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED,
                            "the dirty rate is already being measured.");
        return FALSE;
    }
    g_clear_pointer(&m->thread, g_thread_join);
    if (!ferry_migration_hold_log(m->migration, &log_user, m, error)) {
        return FALSE;
    }
    m->rate = (FerryDirtyRate){
        .status = FERRY_DIRTY_RATE_MEASURING, .start_ns = ferry_now_ns(), .calc_ms = calc_ms};
    m->thread = g_thread_try_new("ferry-dirty-rate", measure, m, error);
    if (m->thread == NULL) {
        m->rate.status = FERRY_DIRTY_RATE_UNSTARTED;
        ferry_migration_release_log(m->migration);
    }
    return m->thread != NULL;
}

void ferry_dirty_rate_meter_get(FerryDirtyRateMeter *m, FerryDirtyRate *out_rate)
{
    pthread_mutex_lock(&m->lock);
    *out_rate = m->rate;
    pthread_mutex_unlock(&m->lock);
}

void ferry_dirty_rate_meter_free(FerryDirtyRateMeter *m)
{
    if (m == NULL) {
        return;
    }
    pthread_mutex_lock(&m->lock);
    m->stop = TRUE;
    pthread_cond_broadcast(&m->changed);
    pthread_mutex_unlock(&m->lock);
    g_clear_pointer(&m->thread, g_thread_join);
    pthread_cond_destroy(&m->changed);
    pthread_mutex_destroy(&m->lock);
    g_free(m);
}
