/* Migration as an embedder's user sees it: capabilities, parameters, status, one migration at a
 * time on a thread of its own. QEMU's names, units, ranges and defaults; Ferry's own begin with
 * "x-ferry-". Every function may be called by any thread. */
#pragma once
#include "engine/destination.h"
#include "engine/source.h"
#include "transport/transport.h"

G_BEGIN_DECLS

/* QEMU's MigrationStatus, and one of ours. */
typedef enum {
    FERRY_STATUS_NONE,
    FERRY_STATUS_SETUP,
    FERRY_STATUS_CANCELLING,
    FERRY_STATUS_CANCELLED,
    FERRY_STATUS_ACTIVE,
    FERRY_STATUS_PRE_SWITCHOVER,
    FERRY_STATUS_DEVICE,
    FERRY_STATUS_COMPLETED,
    FERRY_STATUS_FAILED,
    FERRY_STATUS_IN_DOUBT, /* "x-ferry-in-doubt" */
} FerryStatus;
const char *ferry_status_name(FerryStatus status);

/* Called from the migration's thread (after an in-doubt: resolve's), without locks held. They must
 * not start or free the migration. May be NULL. */
typedef struct {
    void (*status)(void *self, FerryStatus status, const GError *error);
    void (*pass)(void *self, uint64_t pass); /* QEMU's MIGRATION_PASS: a dirty sync */
} FerryMigrationListener;

typedef struct FerryMigration FerryMigration;
/* Borrows all of them. */
FerryMigration *ferry_migration_new(FerryGuest *guest, const FerryMigrationListener *listener,
                                    void *listener_self);
/* For a listener that is made after the migration (a FerryQmp). When it returns the one before is
 * called no more. NULL: none. */
void ferry_migration_set_listener(FerryMigration *m, const FerryMigrationListener *listener,
                                  void *listener_self);
/* Begins in the background. FERRY_ENGINE_ERROR_REFUSED or FERRY_TRANSPORT_ERROR_ADDRESS: nothing
 * was begun; a failure to connect is a status. */
gboolean ferry_migration_start(FerryMigration *m, const char *uri, GError **error);
/* Listens at once (errors are returned), receives in the background. @keep_paused: as -S. */
gboolean ferry_migration_incoming(FerryMigration *m, const char *uri, gboolean keep_paused,
                                  GError **error);
/* The address that incoming really bound; g_free; NULL when not listening. */
char *ferry_migration_get_incoming_uri(FerryMigration *m);
/* Does not wait for the end, which follows within a second. TRUE also when there is nothing to
 * cancel, as in QEMU. FALSE: too late, the guest is released. */
gboolean ferry_migration_cancel(FerryMigration *m, GError **error);
gboolean ferry_migration_continue(FerryMigration *m, GError **error); /* from pre-switchover */
/* After in doubt. @here: this side owns the guest; else the other side does. */
gboolean ferry_migration_resolve(FerryMigration *m, gboolean here, GError **error);
FerryStatus ferry_migration_get_status(FerryMigration *m);
/* Waits for the end of what runs; FALSE: the deadline passed (CLOCK_MONOTONIC, ns). */
gboolean ferry_migration_wait(FerryMigration *m, uint64_t deadline_ns);
/* *out_status, *out_progress; the error text (g_free) or NULL; rounds as FerryRoundReport
 * (g_array_unref) or NULL. Any may be NULL. */
void ferry_migration_query(FerryMigration *m, FerryStatus *out_status, FerryProgress *out_progress,
                           char **out_error, GArray **out_rounds);

/* Capabilities and parameters by QEMU's name. Unknown ones, ones not built yet and values out of
 * range are FERRY_ENGINE_ERROR_REFUSED by name; most cannot change while a migration runs, the
 * limits can. */
gboolean ferry_migration_set_capability(FerryMigration *m, const char *name, gboolean on,
                                        GError **error);
gboolean ferry_migration_get_capability(FerryMigration *m, const char *name, gboolean *out_on);
typedef enum {
    FERRY_PARAMETER_NUMBER,
    FERRY_PARAMETER_BOOL,
    FERRY_PARAMETER_TEXT
} FerryParameterType;
typedef struct {
    const char *name;
    FerryParameterType type;
    uint64_t number, minimum, maximum; /* NUMBER; BOOL: 0 or 1 */
    char text[256];                    /* TEXT */
} FerryParameter;
gboolean ferry_migration_set_parameter(FerryMigration *m, const char *name, uint64_t number,
                                       const char *text, GError **error);
/* The @index-th of all, FALSE behind the last. */
gboolean ferry_migration_get_parameter(FerryMigration *m, unsigned index, FerryParameter *out);
gboolean ferry_migration_nth_capability(FerryMigration *m, unsigned index, const char **out_name,
                                        gboolean *out_on);
/* Cancels what runs and waits for it. */
void ferry_migration_free(FerryMigration *m);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryMigration, ferry_migration_free)

G_END_DECLS
