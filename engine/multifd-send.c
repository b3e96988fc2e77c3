#include "engine/multifd-send.h"
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include "engine/error.h"
#include "engine/multifd-packet.h"

/* Jobs that may wait besides those being done: enough that no thread finds none, few enough that
 * the end of a round is not far. */
#define WAITING_MAX 8

typedef struct {
    FerryMultifdSend *send;
    FerryChannel *channel;
    pthread_t thread;
    unsigned id;
    gboolean joined;
    unsigned synced; /* under the lock: the last SYNC that it has said */
    gboolean waited; /* to write the last packet; and what then had yet to be taken */
    gint64 queued;
    FerryMultifdPacker packer;
    FerryMultifdJob job;
} Worker;

struct FerryMultifdSend {
    FerryMultifdSendOptions options;
    pthread_mutex_t lock;     /* guards all that follows, up to the workers */
    pthread_cond_t work;      /* something to do, or the end */
    pthread_cond_t done;      /* what the source's thread waits for */
    gboolean is_awaited;      /* whether it waits, */
    FerryMultifdWait awaited; /* and for what */
    gboolean quit;
    GError *error; /* the first */
    FerryMultifdJob waiting[WAITING_MAX];
    unsigned first_waiting, n_waiting;
    unsigned n_busy;   /* threads with a job or a SYNC in hand */
    unsigned sync;     /* the last SYNC that was asked for */
    unsigned n_synced; /* threads that have said it */
    uint64_t next_packet;
    FerryMultifdSendCounts counts;

    Worker *workers[FERRY_MULTIFD_CHANNELS_MAX];
    unsigned n_workers;
};

FerryMultifdSend *ferry_multifd_send_new(const FerryMultifdSendOptions *options)
{
    FerryMultifdSend *m = g_new0(FerryMultifdSend, 1);
    pthread_condattr_t monotonic;

    m->options = *options;
    pthread_mutex_init(&m->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&m->work, &monotonic);
    pthread_cond_init(&m->done, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return m;
}

static gboolean is_over(const FerryMultifdSend *m) { return m->quit || m->error; }

/* With the lock held. */
static gboolean has_room(const FerryMultifdSend *m) { return m->n_waiting < WAITING_MAX; }

static gboolean is_idle(const FerryMultifdSend *m)
{
    return m->n_waiting == 0 && m->n_busy == 0 && (m->sync == 0 || m->n_synced == m->n_workers);
}

/* With the lock held. Whoever waits for room gets some for several jobs: a wake-up for each costs a
 * tenth of what sending it does. Meanwhile every thread finds one. */
static void wake_source(FerryMultifdSend *m)
{
    unsigned enough = MAX(WAITING_MAX / 2, MIN(m->n_workers, WAITING_MAX - 1));

    if (m->is_awaited &&
        (m->error || (m->awaited == FERRY_MULTIFD_ROOM ? m->n_waiting <= enough : is_idle(m)))) {
        pthread_cond_signal(&m->done);
    }
}

/* With the lock held. A job comes before a SYNC: nothing may follow that. */
typedef enum { NOTHING, JOB, SYNC } Task;
static Task next_task(Worker *w)
{
    FerryMultifdSend *m = w->send;

    if (m->n_waiting > 0) {
        w->job = m->waiting[m->first_waiting];
        m->first_waiting = (m->first_waiting + 1) % WAITING_MAX;
        m->n_waiting--;
        return JOB;
    }
    return w->synced != m->sync ? SYNC : NOTHING;
}

/* A write that takes more than 1 ns a byte is more than a copy into the kernel: it waited. */
#define COPY_BYTE_NS 1

/* Tells the packer whose fault it was that this took so long: the link's, or a limit's, where it
 * has had something to take all the while, and took it. A peer on this machine that has yet to be
 * given a processor takes nothing. */
static gboolean write_packet(Worker *w, GError **error)
{
    FerryMultifdPacker *p = &w->packer;
    uint64_t progress_ns = w->send->options.progress_ns;

    if (!p->adaptive) {
        return ferry_channel_writev_all(w->channel, p->iov, p->n_iov, progress_ns, error);
    }
    gint64 queued = ferry_channel_queued(w->channel);
    gboolean busy = queued > 0 && (w->waited || queued < w->queued);
    uint64_t waited_ns = ferry_channel_ratelimit_waited_ns(w->channel), begin_ns = ferry_now_ns();
    uint64_t written = ferry_channel_bytes_written(w->channel);

    if (!ferry_channel_writev_all(w->channel, p->iov, p->n_iov, progress_ns, error)) {
        return FALSE;
    }
    written = ferry_channel_bytes_written(w->channel) - written;
    busy |= ferry_channel_ratelimit_waited_ns(w->channel) > waited_ns;
    uint64_t took_ns = ferry_now_ns() - begin_ns;
    w->waited = took_ns > written * COPY_BYTE_NS;
    w->queued = ferry_channel_queued(w->channel);
    ferry_multifd_packer_written(p, took_ns, busy, w->queued);
    return TRUE;
}

/* Without the lock. */
static gboolean perform(Worker *w, Task task, uint64_t packet_num, GError **error)
{
    const FerryMultifdSendOptions *options = &w->send->options;

    if (task == JOB) {
        const FerryMemoryBlock *block = ferry_memory_block(options->memory, w->job.block);
        ferry_multifd_packer_pages(&w->packer, block, &w->job, packet_num);
    } else {
        ferry_multifd_packer_sync(&w->packer, packet_num);
    }
    return write_packet(w, error);
}

static void add_counts(FerryMultifdSendCounts *sum, const FerryMultifdSendCounts *more)
{
    sum->normal_pages += more->normal_pages;
    sum->zero_pages += more->zero_pages;
    sum->coded_pages += more->coded_pages;
    sum->coded_bytes += more->coded_bytes;
}

/* With the lock held. */
static void finish(Worker *w, Task task, gboolean ok, GError *error)
{
    FerryMultifdSend *m = w->send;

    m->n_busy--;
    add_counts(&m->counts, &w->packer.counts);
    w->packer.counts = (FerryMultifdSendCounts){0};
    if (task == SYNC) {
        w->synced = m->sync;
        m->n_synced++;
    }
    if (!ok && !m->error) {
        g_prefix_error(&error, "multifd channel %u: ", w->id);
        m->error = g_steal_pointer(&error);
        pthread_cond_broadcast(&m->work);
    }
    g_clear_error(&error);
    wake_source(m);
}

static void *run(void *data)
{
    Worker *w = data;
    FerryMultifdSend *m = w->send;

    pthread_mutex_lock(&m->lock);
    while (!is_over(m)) {
        Task task = next_task(w);
        GError *error = NULL;
        if (task == NOTHING) {
            pthread_cond_wait(&m->work, &m->lock);
            continue;
        }
        uint64_t packet_num = m->next_packet++;
        m->n_busy++;
        wake_source(m);
        pthread_mutex_unlock(&m->lock);
        gboolean ok = perform(w, task, packet_num, &error);
        pthread_mutex_lock(&m->lock);
        finish(w, task, ok, error);
    }
    pthread_mutex_unlock(&m->lock);
    return NULL;
}

gboolean ferry_multifd_send_add(FerryMultifdSend *m, FerryChannel *channel, GError **error)
{
    uint8_t hello[FERRY_MULTIFD_HELLO_SIZE];
    FerryMultifdHello said = {.id = (uint8_t)m->n_workers};
    Worker *w = g_new0(Worker, 1);
    int failed;

    g_assert(m->n_workers < FERRY_MULTIFD_CHANNELS_MAX);
    w->send = m;
    w->id = m->n_workers;
    w->channel = ferry_channel_ratelimit_join(channel, m->options.limited);
    w->joined = TRUE;
    ferry_multifd_packer_init(&w->packer, &m->options);
    m->workers[m->n_workers++] = w;
    memcpy(said.uuid, m->options.uuid, sizeof said.uuid);
    ferry_multifd_hello_encode(&said, hello);
    if (!ferry_channel_write_all(w->channel, hello, sizeof hello, m->options.progress_ns, error)) {
        g_prefix_error(error, "multifd channel %u: ", w->id);
        return FALSE;
    }
    failed = pthread_create(&w->thread, NULL, run, w);
    if (failed) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_REFUSED,
                    "multifd channel %u: no thread for it: %s", w->id, g_strerror(failed));
        return FALSE;
    }
    w->joined = FALSE;
    return TRUE;
}

gboolean ferry_multifd_send_has_room(FerryMultifdSend *m)
{
    pthread_mutex_lock(&m->lock);
    gboolean room = has_room(m);
    pthread_mutex_unlock(&m->lock);
    return room;
}

gboolean ferry_multifd_send_is_idle(FerryMultifdSend *m)
{
    pthread_mutex_lock(&m->lock);
    gboolean idle = is_idle(m);
    pthread_mutex_unlock(&m->lock);
    return idle;
}

void ferry_multifd_send_job(FerryMultifdSend *m, const FerryMultifdJob *job)
{
    pthread_mutex_lock(&m->lock);
    g_assert(has_room(m));
    m->waiting[(m->first_waiting + m->n_waiting++) % WAITING_MAX] = *job;
    pthread_cond_signal(&m->work);
    pthread_mutex_unlock(&m->lock);
}

void ferry_multifd_send_sync(FerryMultifdSend *m)
{
    pthread_mutex_lock(&m->lock);
    m->sync++;
    m->n_synced = 0;
    pthread_cond_broadcast(&m->work);
    pthread_mutex_unlock(&m->lock);
}

int ferry_multifd_send_wait(FerryMultifdSend *m, FerryMultifdWait what, uint64_t deadline_ns,
                            GError **error)
{
    struct timespec at = {.tv_sec = (time_t)(deadline_ns / 1000000000),
                          .tv_nsec = (long)(deadline_ns % 1000000000)};
    gboolean reached;

    pthread_mutex_lock(&m->lock);
    m->is_awaited = TRUE;
    m->awaited = what;
    for (;;) {
        reached = what == FERRY_MULTIFD_ROOM ? has_room(m) : is_idle(m);
        if (reached || m->error || pthread_cond_timedwait(&m->done, &m->lock, &at) == ETIMEDOUT) {
            break;
        }
    }
    m->is_awaited = FALSE;
    if (m->error) {
        g_propagate_error(error, g_error_copy(m->error));
    }
    int result = m->error ? -1 : reached;
    pthread_mutex_unlock(&m->lock);
    return result;
}

FerryMultifdSendCounts ferry_multifd_send_counts(FerryMultifdSend *m)
{
    pthread_mutex_lock(&m->lock);
    FerryMultifdSendCounts counts = m->counts;
    pthread_mutex_unlock(&m->lock);
    return counts;
}

uint64_t ferry_multifd_send_bytes_written(const FerryMultifdSend *m)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < m->n_workers; i++) {
        sum += ferry_channel_bytes_written(m->workers[i]->channel);
    }
    return sum;
}

void ferry_multifd_send_limit_queue(FerryMultifdSend *m, uint64_t bytes)
{
    for (unsigned i = 0; i < m->n_workers; i++) {
        ferry_channel_limit_queue(m->workers[i]->channel, bytes / m->n_workers);
    }
}

uint64_t ferry_multifd_send_queued(const FerryMultifdSend *m)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < m->n_workers; i++) {
        gint64 queued = ferry_channel_queued(m->workers[i]->channel);
        sum += queued > 0 ? (uint64_t)queued : 0;
    }
    return sum;
}

uint64_t ferry_multifd_send_waited_ns(const FerryMultifdSend *m)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < m->n_workers; i++) {
        sum += ferry_channel_ratelimit_waited_ns(m->workers[i]->channel);
    }
    return m->n_workers ? sum / m->n_workers : 0;
}

void ferry_multifd_send_stop(FerryMultifdSend *m)
{
    pthread_mutex_lock(&m->lock);
    gboolean busy = !is_idle(m);
    m->quit = TRUE;
    pthread_cond_broadcast(&m->work);
    pthread_mutex_unlock(&m->lock);
    if (busy) { /* a thread may be in a write that nobody takes, or held back by the limit */
        for (unsigned i = 0; i < m->n_workers; i++) {
            ferry_channel_abort(m->workers[i]->channel);
        }
        ferry_channel_ratelimit_set(m->options.limited, 0);
    }
    for (unsigned i = 0; i < m->n_workers; i++) {
        if (!m->workers[i]->joined) {
            pthread_join(m->workers[i]->thread, NULL);
            m->workers[i]->joined = TRUE;
        }
    }
}

static void free_worker(Worker *w)
{
    ferry_channel_free(w->channel);
    ferry_multifd_packer_clear(&w->packer);
    g_free(w);
}

void ferry_multifd_send_free(FerryMultifdSend *m)
{
    if (!m) {
        return;
    }
    ferry_multifd_send_stop(m);
    for (unsigned i = 0; i < m->n_workers; i++) {
        free_worker(m->workers[i]);
    }
    g_clear_error(&m->error);
    pthread_cond_destroy(&m->work);
    pthread_cond_destroy(&m->done);
    pthread_mutex_destroy(&m->lock);
    g_free(m);
}
