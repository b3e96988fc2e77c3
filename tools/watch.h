/* Ends what a verb does when the user says so or when it takes too long, and shows how far it is.
 * A thread of its own: whatever the verb waits for cannot keep it from answering. */
#pragma once
#include <glib.h>
#include <stdint.h>

G_BEGIN_DECLS

typedef enum {
    FERRY_WATCH_NOTHING, /* it was not asked to end */
    FERRY_WATCH_SIGNAL,  /* Ctrl-C, SIGTERM */
    FERRY_WATCH_TIME,    /* the deadline */
} FerryWatchReason;

/* Called by the watching thread. tick may be NULL. */
typedef struct {
    /* Cancel; again and again until it works out. */
    void (*cancel)(void *self);
    /* Several times a second: a progress line, for instance. */
    void (*tick)(void *self);
} FerryWatchOps;

typedef struct FerryWatch FerryWatch;
/* Before any other thread is made: they inherit that signals are not theirs. @limit_ns: 0 = none.
 * Borrows @ops and @self. */
FerryWatch *ferry_watch_new(const FerryWatchOps *ops, void *self, uint64_t limit_ns);
FerryWatchReason ferry_watch_reason(FerryWatch *watch);
/* No call of @ops follows. */
void ferry_watch_stop(FerryWatch *watch);
void ferry_watch_free(FerryWatch *watch);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryWatch, ferry_watch_free)

/* One moving line on standard error, where that is a terminal. */
gboolean ferry_watch_can_show(void);
void ferry_watch_show(const char *line);
void ferry_watch_wipe(void);

G_END_DECLS
