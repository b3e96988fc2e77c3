/* How waits hear of an interrupt: by its descriptor, or by a condition variable of their own. */
#pragma once
#include <pthread.h>

#include "transport/channel.h"

G_BEGIN_DECLS

/* Polls as readable once the interrupt is raised; -1 for NULL, which poll ignores. */
int ferry_interrupt_get_fd(const FerryInterrupt *interrupt);
/* FALSE with FERRY_TRANSPORT_ERROR_INTERRUPTED when raised. @interrupt may be NULL. */
gboolean ferry_interrupt_check(const FerryInterrupt *interrupt, GError **error);

/* A wait on a condition variable with a deadline that an interrupt ends, too. pthread's, not
 * GLib's: ThreadSanitizer does not see GLib's. */
typedef struct {
    pthread_mutex_t mutex;
    pthread_cond_t cond;
    FerryInterrupt *interrupt; /* borrowed; may be NULL */
} FerryWaitable;
/* @w must not move. */
void ferry_waitable_init(FerryWaitable *w, FerryInterrupt *interrupt);
/* Not while the mutex is held. */
void ferry_waitable_clear(FerryWaitable *w);
void ferry_waitable_lock(FerryWaitable *w);
void ferry_waitable_unlock(FerryWaitable *w);
/* With the mutex held: wakes all who wait. */
void ferry_waitable_wake(FerryWaitable *w);
/* With the mutex held: waits for a wake; TRUE also without one. FALSE when the interrupt is raised
 * or the deadline has passed. */
gboolean ferry_waitable_wait(FerryWaitable *w, uint64_t deadline_ns, GError **error);

G_END_DECLS
