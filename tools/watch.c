#include "tools/watch.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "engine/ferry.h"

#define STEP_NS 100000000

struct FerryWatch {
    const FerryWatchOps *ops;
    void *self;
    uint64_t deadline_ns; /* UINT64_MAX: none */
    sigset_t signals, before;
    pthread_t thread;
    gint stop, reason; /* atomic */
    gboolean running;
};

static void note(FerryWatch *w, FerryWatchReason reason)
{
    g_atomic_int_compare_and_exchange(&w->reason, FERRY_WATCH_NOTHING, (gint)reason);
}

static void *watch(void *data)
{
    const struct timespec step = {.tv_nsec = STEP_NS};
    FerryWatch *w = data;

    while (!g_atomic_int_get(&w->stop)) {
        int number = sigtimedwait(&w->signals, NULL, &step);
        if (g_atomic_int_get(&w->stop)) {
            break;
        }
        if (number == SIGINT || number == SIGTERM) {
            note(w, FERRY_WATCH_SIGNAL);
        } else if (ferry_now_ns() >= w->deadline_ns) {
            note(w, FERRY_WATCH_TIME);
        }
        if (g_atomic_int_get(&w->reason) != FERRY_WATCH_NOTHING) {
            w->ops->cancel(w->self);
        } else if (w->ops->tick && number != SIGUSR2) {
            w->ops->tick(w->self);
        }
    }
    return NULL;
}

FerryWatch *ferry_watch_new(const FerryWatchOps *ops, void *self, uint64_t limit_ns)
{
    FerryWatch *w = g_new0(FerryWatch, 1);

    w->ops = ops;
    w->self = self;
    w->deadline_ns = limit_ns ? ferry_now_ns() + limit_ns : UINT64_MAX;
    sigemptyset(&w->signals);
    sigaddset(&w->signals, SIGINT);
    sigaddset(&w->signals, SIGTERM);
    sigaddset(&w->signals, SIGUSR2); /* ours: wakes the thread to stop it */
    pthread_sigmask(SIG_BLOCK, &w->signals, &w->before);
    w->running = pthread_create(&w->thread, NULL, watch, w) == 0;
    if (!w->running) { /* then signals end us as they end anybody */
        pthread_sigmask(SIG_SETMASK, &w->before, NULL);
    }
    return w;
}

FerryWatchReason ferry_watch_reason(FerryWatch *w)
{
    return (FerryWatchReason)g_atomic_int_get(&w->reason);
}

void ferry_watch_stop(FerryWatch *w)
{
    if (!w->running) {
        return;
    }
    g_atomic_int_set(&w->stop, 1);
    pthread_kill(w->thread, SIGUSR2);
    pthread_join(w->thread, NULL);
    w->running = FALSE;
    pthread_sigmask(SIG_SETMASK, &w->before, NULL);
    ferry_watch_wipe();
}

void ferry_watch_free(FerryWatch *w)
{
    if (w) {
        ferry_watch_stop(w);
        g_free(w);
    }
}

gboolean ferry_watch_can_show(void) { return isatty(STDERR_FILENO); }

void ferry_watch_show(const char *line)
{
    fprintf(stderr, "\r\033[K%s", line);
    fflush(stderr);
}

void ferry_watch_wipe(void)
{
    if (ferry_watch_can_show()) {
        fputs("\r\033[K", stderr);
        fflush(stderr);
    }
}
