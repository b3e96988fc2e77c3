/* A guest without a hypervisor behind a monitor, for scripts that want to talk to one:
 * interop-monitor PATH; it ends with "quit". */
#include <stdio.h>
#include "engine/guest-private.h"
#include "tests/fakes/counting-guest.h"

typedef struct {
    CountingGuest *guest;
    gint quit; /* atomic */
} Machine;

static gboolean do_stop(void *self, GError **error)
{
    Machine *m = self;
    gboolean was_running;

    return ferry_guest_pause(counting_guest_describe(m->guest), FERRY_PAUSE_SWITCHOVER,
                             &was_running, error);
}

static gboolean do_cont(void *self, GError **error)
{
    Machine *m = self;

    return counting_guest_is_running(m->guest) ||
           ferry_guest_resume(counting_guest_describe(m->guest), error);
}

static void do_quit(void *self)
{
    Machine *m = self;

    g_atomic_int_set(&m->quit, 1);
}

static const char *do_status(void *self)
{
    Machine *m = self;

    return counting_guest_is_running(m->guest) ? "running" : "paused";
}

static const FerryQmpOps ops = {
    .stop = do_stop, .cont = do_cont, .quit = do_quit, .status = do_status};

int main(int argc, char **argv)
{
    g_autoptr(FerryMigration) migration = NULL;
    g_autoptr(FerryQmp) qmp = NULL;
    g_autoptr(GError) error = NULL;
    Machine m = {0};

    m.guest = counting_guest_new(256, 1, 1);
    migration = ferry_migration_new(counting_guest_describe(m.guest), NULL, NULL);
    qmp = argc == 2 ? ferry_qmp_new(argv[1], migration, &ops, &m, &error) : NULL;
    if (qmp == NULL) {
        fprintf(stderr, "%s\n", error != NULL ? error->message : "usage: interop-monitor PATH");
        return 1;
    }
    ferry_migration_set_listener(migration, &ferry_qmp_listener, qmp);
    while (!g_atomic_int_get(&m.quit)) {
        g_usleep(2000);
    }
    ferry_migration_set_listener(migration, NULL, NULL);
    g_clear_pointer(&qmp, ferry_qmp_free);
    g_clear_pointer(&migration, ferry_migration_free);
    counting_guest_free(m.guest);
    return 0;
}
