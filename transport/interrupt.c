#include "transport/interrupt.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

struct FerryInterrupt {
    int fd;                /* an eventfd: for waits in the kernel */
    gboolean raised;       /* atomic */
    pthread_mutex_t mutex; /* taken before a waitable's */
    GSList *waitables;     /* under mutex: for waits on a condition variable */
};

FerryInterrupt *ferry_interrupt_new(GError **error)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    FerryInterrupt *interrupt;

    if (fd < 0) {
        g_set_error(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_IO, "eventfd: %s",
                    g_strerror(errno));
        return NULL;
    }
    interrupt = g_new0(FerryInterrupt, 1);
    interrupt->fd = fd;
    pthread_mutex_init(&interrupt->mutex, NULL);
    return interrupt;
}

void ferry_interrupt_raise(FerryInterrupt *interrupt)
{
    uint64_t one = 1;
    gssize written;

    __atomic_store_n(&interrupt->raised, TRUE, __ATOMIC_SEQ_CST);
    do { /* fails otherwise only when the counter is full, and then it is readable anyway */
        written = write(interrupt->fd, &one, sizeof one);
    } while (written < 0 && errno == EINTR);
    pthread_mutex_lock(&interrupt->mutex);
    for (GSList *l = interrupt->waitables; l != NULL; l = l->next) {
        FerryWaitable *w = l->data;
        ferry_waitable_lock(w); /* after this the waiter waits, and wakes, or has seen the flag */
        ferry_waitable_wake(w);
        ferry_waitable_unlock(w);
    }
    pthread_mutex_unlock(&interrupt->mutex);
}

void ferry_interrupt_lower(FerryInterrupt *interrupt)
{
    uint64_t count;

    if (interrupt != NULL) {
        while (read(interrupt->fd, &count, sizeof count) < 0 && errno == EINTR) {
        }
        __atomic_store_n(&interrupt->raised, FALSE, __ATOMIC_SEQ_CST);
    }
}

gboolean ferry_interrupt_is_raised(const FerryInterrupt *interrupt)
{
    return interrupt != NULL && __atomic_load_n(&interrupt->raised, __ATOMIC_SEQ_CST);
}

void ferry_interrupt_free(FerryInterrupt *interrupt)
{
    if (interrupt == NULL) {
        return;
    }
    g_assert(interrupt->waitables == NULL); /* it outlives its channels */
    pthread_mutex_destroy(&interrupt->mutex);
    close(interrupt->fd);
    g_free(interrupt);
}

int ferry_interrupt_get_fd(const FerryInterrupt *interrupt)
{
    return interrupt != NULL ? interrupt->fd : -1;
}

gboolean ferry_interrupt_check(const FerryInterrupt *interrupt, GError **error)
{
    if (ferry_interrupt_is_raised(interrupt)) {
        g_set_error_literal(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_INTERRUPTED,
                            "interrupted");
        return FALSE;
    }
    return TRUE;
}

void ferry_waitable_init(FerryWaitable *w, FerryInterrupt *interrupt)
{
    pthread_condattr_t attr;

    pthread_mutex_init(&w->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&w->cond, &attr);
    pthread_condattr_destroy(&attr);
    w->interrupt = interrupt;
    if (interrupt != NULL) {
        pthread_mutex_lock(&interrupt->mutex);
        interrupt->waitables = g_slist_prepend(interrupt->waitables, w);
        pthread_mutex_unlock(&interrupt->mutex);
    }
}

void ferry_waitable_clear(FerryWaitable *w)
{
    if (w->interrupt != NULL) {
        pthread_mutex_lock(&w->interrupt->mutex);
        w->interrupt->waitables = g_slist_remove(w->interrupt->waitables, w);
        pthread_mutex_unlock(&w->interrupt->mutex);
    }
    pthread_cond_destroy(&w->cond);
    pthread_mutex_destroy(&w->mutex);
}

void ferry_waitable_lock(FerryWaitable *w) { pthread_mutex_lock(&w->mutex); }

void ferry_waitable_unlock(FerryWaitable *w) { pthread_mutex_unlock(&w->mutex); }

void ferry_waitable_wake(FerryWaitable *w) { pthread_cond_broadcast(&w->cond); }

gboolean ferry_waitable_wait(FerryWaitable *w, uint64_t deadline_ns, GError **error)
{
    struct timespec at = {.tv_sec = (time_t)(deadline_ns / 1000000000),
                          .tv_nsec = (long)(deadline_ns % 1000000000)};

    if (!ferry_interrupt_check(w->interrupt, error)) {
        return FALSE;
    }
    if (deadline_ns == FERRY_NO_DEADLINE) {
        pthread_cond_wait(&w->cond, &w->mutex);
    } else if (ferry_now_ns() >= deadline_ns ||
               pthread_cond_timedwait(&w->cond, &w->mutex, &at) == ETIMEDOUT) {
        g_set_error_literal(error, FERRY_TRANSPORT_ERROR, FERRY_TRANSPORT_ERROR_TIMED_OUT,
                            "the deadline passed");
        return FALSE;
    }
    return TRUE;
}
