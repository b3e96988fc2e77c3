/* A migration from the inside: what its thread (migration-run.c) and its callers (migration.c)
 * share, and what the monitor asks besides the public functions. */
#pragma once
#include <pthread.h>
#include "engine/gather.h"
#include "engine/guest-private.h"
#include "engine/parameters.h"

G_BEGIN_DECLS

/* Who owns the guest when nothing runs. The guest never runs on two sides, so nothing may begin,
 * and the monitor may not let the guest run, where it is not. */
typedef enum {
    FERRY_OWNER_UNKNOWN, /* nothing was done yet: the embedder knows */
    FERRY_OWNER_HERE,
    FERRY_OWNER_THERE,  /* it moved away, or an in-doubt was resolved so */
    FERRY_OWNER_NOBODY, /* an incoming migration failed: memory is empty */
    FERRY_OWNER_IN_DOUBT,
} FerryOwner;

/* Who uses the guest's dirty log while no migration runs. */
typedef struct {
    const char *refusal; /* why nothing else may begin, in a sentence */
    /* A migration is to begin: release it soon. Called with the migration's lock held, perhaps more
     * than once: only to be noted. NULL: it is kept, and the migration refused. */
    void (*let_go)(void *self);
} FerryLogUser;

struct FerryMigration {
    FerryGuest *guest;
    pthread_mutex_t report_lock; /* held while the listener is called, so that it can be replaced */
    const FerryMigrationListener *listener;
    void *listener_self;

    pthread_mutex_t lock;   /* guards all below; never held while calling out */
    pthread_cond_t changed; /* finished, pins or log_user changed */
    FerrySettings settings;
    FerryStatus status;
    FerryOwner owner;
    gboolean incoming;            /* the direction of the last migration */
    gboolean running;             /* no result yet */
    gboolean finished;            /* the thread has nothing more to do; it may be joined */
    gboolean cancelled;           /* a cancel was accepted */
    const FerryLogUser *log_user; /* NULL: the dirty log is free */
    void *log_user_self;
    FerryStatus result; /* known and about to be published; NONE: not yet */
    GThread *thread;
    FerryInterrupt *interrupt;
    /* Kept after the end when in doubt. A caller that is not the thread pins them while it uses
     * them without the lock; they are freed when nobody does. */
    FerrySource *source;
    FerryDestination *destination;
    unsigned pins;
    /* The last migration's numbers. */
    uint64_t started_ns, connect_ns; /* until the channel was there; 0: it is not */
    uint64_t precopy_bytes;          /* sent on main before the guest was paused */
    gboolean paused;
    FerryProgress progress; /* the last one, when neither source nor destination exists */
    GArray *rounds;
    GError *error;
    char *io;
    char *incoming_uri; /* of the last incoming; listening says whether it still is */
    gboolean listening;

    /* The thread's own. */
    FerryAddress address;
    FerryListener *listener_socket;
    FerryGathering gathered; /* until the destination has them */
    FerrySettings used;      /* settings at the start */
    gboolean keep_paused, one_way;
    uint64_t passes;
};

/* To the embedder's listener. Without the lock held. */
void ferry_migration_report(FerryMigration *m, FerryStatus status, const GError *error);
/* The thread's function; @data is the FerryMigration. */
void *ferry_migration_thread(void *data);
/* Frees what the migration kept for resolve. With the lock held, which it drops and takes again. */
void ferry_migration_drop(FerryMigration *m);

/* Everything at one instant. */
typedef struct {
    FerryStatus status;
    gboolean incoming;
    FerryProgress progress;
    GArray *rounds; /* FerryRoundReport; may be NULL */
    char *error, *io, *incoming_uri;
    gboolean stalled;                   /* it was given up because it did not converge */
    const char *dirty_log;              /* borrowed from the guest; NULL: none */
    uint64_t main_bytes, precopy_bytes; /* on the main channel; before the pause */
    FerrySettings settings, used;       /* now; of the last migration */
} FerryMigrationView;
void ferry_migration_view(FerryMigration *m, FerryMigrationView *out_view);
void ferry_migration_view_clear(FerryMigrationView *view);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(FerryMigrationView, ferry_migration_view_clear)

/* A copy of the settings, and its way back: all of it or nothing. */
void ferry_migration_get_settings(FerryMigration *m, FerrySettings *out_settings);
typedef struct {
    const char *name, *text;
    uint64_t number;
} FerrySetting;
gboolean ferry_migration_set_parameters(FerryMigration *m, const FerrySetting *settings, unsigned n,
                                        GError **error);
gboolean ferry_migration_set_capabilities(FerryMigration *m, const FerrySetting *settings,
                                          unsigned n, GError **error);
/* The guest's dirty log for somebody else: refused while a migration runs, while another has it or
 * where there is none. No migration begins until it is released. Borrows @user and @self. */
gboolean ferry_migration_hold_log(FerryMigration *m, const FerryLogUser *user, void *self,
                                  GError **error);
void ferry_migration_release_log(FerryMigration *m);
/* Whether the guest may be let run by hand now: not while a migration holds it, and not where it is
 * not. */
gboolean ferry_migration_may_run(FerryMigration *m, GError **error);

G_END_DECLS
