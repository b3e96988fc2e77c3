/* QEMU's monitor protocol on a Unix socket, for any embedder: a script that drives QEMU's migration
 * drives this. One thread of its own serves any number of connections. */
#pragma once
#include "engine/migration.h"

G_BEGIN_DECLS

/* What the monitor asks of the embedder. Called from the monitor's thread. */
typedef struct {
    gboolean (*stop)(void *self, GError **error);
    gboolean (*cont)(void *self, GError **error);
    void (*quit)(void *self); /* once the answer is sent */
    /* QEMU's RunState: "running", "paused", "inmigrate", "postmigrate", "prelaunch", ... */
    const char *(*status)(void *self);
    /* migrate-incoming's exit-on-error: whether a failure of what begins next is to end the
     * program, as it does unless somebody says no. NULL: nobody is interested. */
    void (*exit_on_error)(void *self, gboolean exit);
} FerryQmpOps;

typedef struct FerryQmp FerryQmp;
/* Listens on @path at once. Borrows @migration, @ops, @self. */
FerryQmp *ferry_qmp_new(const char *path, FerryMigration *migration, const FerryQmpOps *ops,
                        void *self, GError **error);
/* Any thread. Sends an event to every connection: STOP, RESUME, ... without data. MIGRATION and
 * MIGRATION_PASS come from ferry_qmp_listener. */
void ferry_qmp_event(FerryQmp *qmp, const char *name);
/* For ferry_migration_set_listener, or to be called by the embedder's own listener: emits MIGRATION
 * and MIGRATION_PASS when the capability "events" is on. self is the FerryQmp. */
extern const FerryMigrationListener ferry_qmp_listener;
/* Any thread. What -S is to QEMU: after migrate-incoming the guest waits for cont. */
void ferry_qmp_set_start_paused(FerryQmp *qmp, gboolean start_paused);
/* After answers that fit into the sockets are sent. The migration must no longer have
 * ferry_qmp_listener as its listener. Not from the ops. */
void ferry_qmp_free(FerryQmp *qmp);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(FerryQmp, ferry_qmp_free)

G_END_DECLS
