#include "tools/vm/vcpus.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

#define KICK_SIGNAL SIGUSR1
#define THROTTLE_RUN_NS UINT64_C(10000000)

typedef struct {
    Vcpus *vcpus;
    unsigned index;
    pthread_t thread;
} Member;

struct Vcpus {
    const VcpuOps *ops;
    void *self;
    unsigned n;
    Member *members;
    pthread_t throttler;

    /* Everything below is under the lock; interrupted sums it up for those without. */
    pthread_mutex_t lock;
    pthread_cond_t changed; /* any of these */
    gboolean running, held, quit;
    unsigned n_still; /* vCPUs that stand still */
    unsigned throttle_percent;
    Verdict verdict;
    atomic_bool interrupted;
};

static __thread volatile uint8_t *kicked;

static void kick_handler(int signal_number)
{
    (void)signal_number;
    if (kicked != NULL) {
        *kicked = 1;
    }
}

void vcpus_set_immediate_exit(volatile uint8_t *immediate_exit) { kicked = immediate_exit; }

gboolean vcpus_interrupted(const Vcpus *vcpus) { return atomic_load(&vcpus->interrupted); }

/* After each change, with the lock held. */
static void announce(Vcpus *v)
{
    gboolean interrupted = !v->running || v->held || v->quit;

    atomic_store(&v->interrupted, interrupted);
    pthread_cond_broadcast(&v->changed);
    for (unsigned i = 0; interrupted && i < v->n; i++) {
        pthread_kill(v->members[i].thread, KICK_SIGNAL);
    }
}

/* With the lock held: FALSE when @deadline (CLOCK_MONOTONIC, ns) has passed. */
static gboolean wait_until(Vcpus *v, uint64_t deadline)
{
    struct timespec at = {.tv_sec = (time_t)(deadline / 1000000000),
                          .tv_nsec = (long)(deadline % 1000000000)};

    return pthread_cond_timedwait(&v->changed, &v->lock, &at) != ETIMEDOUT;
}

static uint64_t after_ns(uint64_t ns)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec + ns;
}

void vcpus_rest(Vcpus *v, uint64_t ns)
{
    uint64_t deadline = after_ns(ns);

    pthread_mutex_lock(&v->lock);
    while (!atomic_load(&v->interrupted) && wait_until(v, deadline)) {
    }
    pthread_mutex_unlock(&v->lock);
}

static void stand_still(Vcpus *v)
{
    v->n_still++;
    pthread_cond_broadcast(&v->changed);
    while (!v->running && !v->quit) {
        pthread_cond_wait(&v->changed, &v->lock);
    }
    v->n_still--;
}

static void *member_main(void *arg)
{
    Member *member = arg;
    Vcpus *v = member->vcpus;
    Verdict verdict;

    pthread_mutex_lock(&v->lock);
    while (!v->quit) {
        if (!v->running) {
            stand_still(v);
            continue;
        }
        if (v->held) {
            pthread_cond_wait(&v->changed, &v->lock);
            continue;
        }
        pthread_mutex_unlock(&v->lock);
        verdict = v->ops->run(v->self, v, member->index);
        pthread_mutex_lock(&v->lock);
        if (verdict != VERDICT_NONE && v->verdict == VERDICT_NONE) {
            v->verdict = verdict;
            v->running = FALSE;
            announce(v);
            pthread_mutex_unlock(&v->lock);
            v->ops->stopped(v->self, verdict);
            pthread_mutex_lock(&v->lock);
        }
    }
    pthread_mutex_unlock(&v->lock);
    return NULL;
}

/* Waits @ns while @percent is still the throttle of a running guest. */
static void throttle_wait(Vcpus *v, unsigned percent, uint64_t ns)
{
    uint64_t deadline = after_ns(ns);

    while (!v->quit && v->running && v->throttle_percent == percent && wait_until(v, deadline)) {
    }
}

static void *throttler_main(void *arg)
{
    Vcpus *v = arg;

    pthread_mutex_lock(&v->lock);
    while (!v->quit) {
        unsigned percent = v->throttle_percent;
        if (percent == 0 || !v->running) {
            pthread_cond_wait(&v->changed, &v->lock);
            continue;
        }
        throttle_wait(v, percent, THROTTLE_RUN_NS);
        v->held = TRUE;
        announce(v);
        throttle_wait(v, percent, THROTTLE_RUN_NS * percent / (100 - percent));
        v->held = FALSE;
        announce(v);
    }
    pthread_mutex_unlock(&v->lock);
    return NULL;
}

static void start_thread(pthread_t *thread, void *(*function)(void *), void *arg)
{
    int status = pthread_create(thread, NULL, function, arg);

    if (status != 0) { /* as GLib does when there is no memory */
        g_error("cannot start a thread: %s", g_strerror(status));
    }
}

Vcpus *vcpus_new(unsigned n, const VcpuOps *ops, void *self)
{
    Vcpus *v = g_new0(Vcpus, 1);
    struct sigaction action = {.sa_handler = kick_handler};
    pthread_condattr_t monotonic;

    sigaction(KICK_SIGNAL, &action, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&v->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&v->lock, NULL);
    v->ops = ops;
    v->self = self;
    v->n = n;
    v->members = g_new0(Member, n);
    atomic_init(&v->interrupted, TRUE);
    for (unsigned i = 0; i < n; i++) {
        v->members[i].vcpus = v;
        v->members[i].index = i;
        start_thread(&v->members[i].thread, member_main, &v->members[i]);
    }
    start_thread(&v->throttler, throttler_main, v);
    return v;
}

void vcpus_start(Vcpus *v)
{
    pthread_mutex_lock(&v->lock);
    v->running = TRUE;
    v->verdict = VERDICT_NONE;
    announce(v);
    pthread_mutex_unlock(&v->lock);
}

void vcpus_pause(Vcpus *v)
{
    pthread_mutex_lock(&v->lock);
    v->running = FALSE;
    announce(v);
    while (v->n_still < v->n) {
        pthread_cond_wait(&v->changed, &v->lock);
    }
    pthread_mutex_unlock(&v->lock);
}

void vcpus_throttle(Vcpus *v, unsigned percent)
{
    pthread_mutex_lock(&v->lock);
    v->throttle_percent = MIN(percent, 99);
    pthread_cond_broadcast(&v->changed);
    pthread_mutex_unlock(&v->lock);
}

Verdict vcpus_verdict(Vcpus *v)
{
    Verdict verdict;

    pthread_mutex_lock(&v->lock);
    verdict = v->verdict;
    pthread_mutex_unlock(&v->lock);
    return verdict;
}

void vcpus_free(Vcpus *v)
{
    if (v == NULL) {
        return;
    }
    pthread_mutex_lock(&v->lock);
    v->quit = TRUE;
    announce(v);
    pthread_mutex_unlock(&v->lock);
    for (unsigned i = 0; i < v->n; i++) {
        pthread_join(v->members[i].thread, NULL);
    }
    pthread_join(v->throttler, NULL);
    pthread_cond_destroy(&v->changed);
    pthread_mutex_destroy(&v->lock);
    g_free(v->members);
    g_free(v);
}
