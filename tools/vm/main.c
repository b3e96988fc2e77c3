/* ferry-vm: a small virtual machine that shows how a hypervisor uses Ferry. What any embedder does
 * is in this file and in runstate.c: describe the guest, make a migration and a monitor, and answer
 * when they ask to pause, resume or throttle. */
#include <glib-unix.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include "tools/vm/error.h"
#include "tools/vm/runstate.h"
#include "tools/vm/vm.h"

typedef struct {
    GMainLoop *loop;
    Vm *vm;
    Runstate *runstate;
    FerryGuest *guest;
    FerryMigration *migration;
    FerryQmp *qmp; /* atomic; NULL without -qmp, and until the guest has begun */
    gint incoming; /* atomic: a guest is still to come; when that fails there is nothing to be */
    gint stays;    /* atomic: then it can be tried again */
    gint failed;   /* atomic: exit status 1 */
} Program;

static gboolean quit_loop(gpointer data)
{
    g_main_loop_quit(((Program *)data)->loop);
    return G_SOURCE_REMOVE;
}

/* Any thread. Takes effect also when said before the loop runs. */
static void quit(Program *p) { g_idle_add(quit_loop, p); }

static void on_run_event(void *self, const char *name)
{
    Program *p = self;
    FerryQmp *qmp = g_atomic_pointer_get(&p->qmp);

    if (qmp != NULL) {
        ferry_qmp_event(qmp, name);
    }
}

static void say_how(const Program *p)
{
    g_autofree char *reason = NULL;
    const char *wanted = g_getenv("FERRY_IO");

    if (g_strcmp0(wanted, "poll") == 0) {
        g_printerr("ferry-vm: using poll (FERRY_IO)\n");
    } else if (!ferry_io_uring_usable(&reason)) {
        g_printerr("ferry-vm: io_uring refused (%s), using poll\n", reason);
    } else {
        g_printerr("ferry-vm: using io_uring\n");
    }
    if (!g_atomic_int_get(&p->incoming) && p->vm->log != NULL) {
        g_printerr("ferry-vm: dirty pages from %s\n", ferry_dirty_log_get_name(p->vm->log));
    }
}

static void on_status(void *self, FerryStatus status, const GError *error)
{
    Program *p = self;
    FerryQmp *qmp = g_atomic_pointer_get(&p->qmp);
    gboolean was_incoming = g_atomic_int_get(&p->incoming);

    if (status == FERRY_STATUS_SETUP) {
        say_how(p);
    }
    runstate_migration(p->runstate, status);
    if (status == FERRY_STATUS_COMPLETED) {
        g_atomic_int_set(&p->incoming, FALSE);
    }
    if (qmp != NULL) {
        ferry_qmp_listener.status(qmp, status, error);
    }
    if (error != NULL) {
        g_printerr("ferry-vm: migration %s: %s\n", ferry_status_name(status), error->message);
    }
    if (was_incoming && !g_atomic_int_get(&p->stays) &&
        (status == FERRY_STATUS_FAILED || status == FERRY_STATUS_CANCELLED)) {
        g_atomic_int_set(&p->failed, TRUE);
        quit(p);
    }
}

static void on_pass(void *self, uint64_t pass)
{
    Program *p = self;
    FerryQmp *qmp = g_atomic_pointer_get(&p->qmp);

    if (qmp != NULL) {
        ferry_qmp_listener.pass(qmp, pass);
    }
}

static const FerryMigrationListener listener = {.status = on_status, .pass = on_pass};

static gboolean qmp_stop(void *self, GError **error)
{
    return runstate_stop(((Program *)self)->runstate, error);
}

static gboolean qmp_cont(void *self, GError **error)
{
    return runstate_cont(((Program *)self)->runstate, error);
}

static const char *qmp_status(void *self) { return runstate_name(((Program *)self)->runstate); }

static void qmp_quit(void *self) { quit(self); }

static void qmp_exit_on_error(void *self, gboolean exit)
{
    g_atomic_int_set(&((Program *)self)->stays, !exit);
}

static const FerryQmpOps qmp_ops = {.stop = qmp_stop,
                                    .cont = qmp_cont,
                                    .quit = qmp_quit,
                                    .status = qmp_status,
                                    .exit_on_error = qmp_exit_on_error};

static gboolean settle(gpointer data)
{
    runstate_settle(((Program *)data)->runstate);
    return G_SOURCE_REMOVE;
}

/* In the thread of the vCPU that gave up, which must not wait for itself to stand still. */
static void on_stopped(void *self, Verdict verdict)
{
    (void)verdict;
    g_idle_add(settle, self);
}

static gboolean on_signal(gpointer data)
{
    g_main_loop_quit(((Program *)data)->loop);
    return G_SOURCE_CONTINUE;
}

static gboolean set_up(Program *p, const Options *o, GError **error)
{
    p->loop = g_main_loop_new(NULL, FALSE);
    g_unix_signal_add(SIGTERM, on_signal, p);
    g_unix_signal_add(SIGINT, on_signal, p);
    p->vm = vm_new(o, error);
    if (p->vm == NULL) {
        return FALSE;
    }
    p->vm->stopped = on_stopped;
    p->vm->stopped_self = p;
    p->incoming = o->incoming != NULL;
    p->runstate = runstate_new(p->vm->vcpus, p->incoming, o->start_paused, on_run_event, p);
    p->guest = ferry_guest_new(o->machine, &runstate_guest_ops, p->runstate);
    if (o->has_uuid) {
        ferry_guest_set_uuid(p->guest, o->uuid);
    }
    if (!vm_describe(p->vm, p->guest, error)) {
        return FALSE;
    }
    p->migration = ferry_migration_new(p->guest, NULL, NULL);
    ferry_migration_set_listener(p->migration, &listener, p);
    return TRUE;
}

static gboolean begin(Program *p, const Options *o, GError **error)
{
    if (o->incoming == NULL) {
        return o->start_paused || runstate_cont(p->runstate, error);
    }
    if (g_str_equal(o->incoming, "defer")) {
        if (o->qmp_path == NULL) {
            g_set_error(error, VM_ERROR, VM_ERROR_USAGE, "-incoming defer needs -qmp");
            return FALSE;
        }
        return TRUE;
    }
    return ferry_migration_incoming(p->migration, o->incoming, o->start_paused, error);
}

/* Last: who reaches the monitor finds a guest that runs, or listens, as the options say. */
static gboolean open_monitor(Program *p, const Options *o, GError **error)
{
    if (o->qmp_path == NULL) {
        return TRUE;
    }
    FerryQmp *qmp = ferry_qmp_new(o->qmp_path, p->migration, &qmp_ops, p, error);
    if (qmp != NULL) {
        ferry_qmp_set_start_paused(qmp, o->start_paused);
        g_atomic_pointer_set(&p->qmp, qmp);
    }
    return qmp != NULL;
}

/* The reverse of set_up. The vCPUs stand still before the dirty log goes, which is the guest's. */
static void tear_down(Program *p)
{
    if (p->migration != NULL) {
        ferry_migration_set_listener(p->migration, NULL, NULL);
    }
    ferry_qmp_free(p->qmp);
    p->qmp = NULL;
    ferry_migration_free(p->migration);
    if (p->vm != NULL) {
        vcpus_pause(p->vm->vcpus);
    }
    ferry_guest_free(p->guest);
    runstate_free(p->runstate);
    vm_free(p->vm);
    g_main_loop_unref(p->loop);
}

static int fail(const GError *error)
{
    g_printerr("ferry-vm: %s\n", error->message);
    return g_error_matches(error, VM_ERROR, VM_ERROR_USAGE) ? 2 : 1;
}

static int run(const Options *o)
{
    g_autoptr(GError) error = NULL;
    Program p = {0};
    int status = 0;

    if (set_up(&p, o, &error) && begin(&p, o, &error) && open_monitor(&p, o, &error)) {
        g_main_loop_run(p.loop);
        status = g_atomic_int_get(&p.failed) ? 1 : 0;
    } else {
        status = fail(error);
    }
    tear_down(&p);
    return status;
}

int main(int argc, char **argv)
{
    g_auto(Options) options = {0};
    g_autoptr(GError) error = NULL;

    setlocale(LC_CTYPE, ""); /* names in messages; numbers stay as they are */
    signal(SIGPIPE, SIG_IGN);
    if (!options_parse(argc, argv, &options, &error)) {
        return fail(error);
    }
    if (options.help || options.version) {
        fputs(options.help ? options_help : "ferry-vm " FERRY_VERSION "\n", stdout);
        return fflush(stdout) == 0 ? 0 : 1;
    }
    return run(&options);
}
