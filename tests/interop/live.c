/* A guest whose machine and RAM a QEMU has as well, and no devices: what a live source sends of it
 * can be compared with what a QEMU makes of that. Its memory is RAM-FILE; one thread writes the
 * number of its round into some pages and turns others to zero and back.
 *
 *   interop-live MONITOR MACHINE RAM-FILE; it ends with "quit". */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "engine/ferry.h"

#define PAGE 4096u
#define HOT 256u /* pages that are written in each round, from here on */
#define FLIP 768u
#define END 1024u

typedef struct {
    FerryGuest *guest;
    FerryDirtyMarks *marks;
    uint8_t *ram;
    pthread_mutex_t lock; /* held while a round writes: who has it finds memory still */
    gboolean running, quit;
    uint64_t round;
} Live;

static void write_round(Live *live)
{
    live->round++;
    for (unsigned page = HOT; page < END; page++) {
        uint64_t value = page < FLIP || (page + live->round) % 2 ? live->round : 0;
        /* Its migration reads pages while they are written. */
        __atomic_store_n((uint64_t *)(live->ram + (size_t)page * PAGE), value, __ATOMIC_RELAXED);
        ferry_mark_dirty(live->marks, 0, page, 1);
    }
}

static void *write_on(void *data)
{
    Live *live = data;

    pthread_mutex_lock(&live->lock);
    while (!live->quit) {
        if (live->running) {
            write_round(live);
        }
        pthread_mutex_unlock(&live->lock);
        g_usleep(2000);
        pthread_mutex_lock(&live->lock);
    }
    pthread_mutex_unlock(&live->lock);
    return NULL;
}

static gboolean set_running(Live *live, gboolean running)
{
    pthread_mutex_lock(&live->lock);
    gboolean was = live->running;
    live->running = running;
    pthread_mutex_unlock(&live->lock);
    return was;
}

static gboolean guest_stop(void *self, FerryPauseReason why, gboolean *out_was_running,
                           GError **error)
{
    (void)why;
    (void)error;
    *out_was_running = set_running(self, FALSE);
    return TRUE;
}

static gboolean guest_resume(void *self, GError **error)
{
    (void)error;
    set_running(self, TRUE);
    return TRUE;
}

static gboolean do_stop(void *self, GError **error)
{
    (void)error;
    set_running(self, FALSE);
    return TRUE;
}

static gboolean is_set(Live *live, const gboolean *what)
{
    pthread_mutex_lock(&live->lock);
    gboolean is = *what;
    pthread_mutex_unlock(&live->lock);
    return is;
}

static void do_quit(void *self)
{
    Live *live = self;

    pthread_mutex_lock(&live->lock);
    live->quit = TRUE;
    pthread_mutex_unlock(&live->lock);
}

static const char *do_status(void *self)
{
    Live *live = self;

    return is_set(live, &live->running) ? "running" : "paused";
}

/* 0: there is no such file. */
static uint64_t map_ram(Live *live, const char *path)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat status;

    if (fd < 0 || fstat(fd, &status) < 0) {
        return 0;
    }
    live->ram = mmap(NULL, (size_t)status.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    return live->ram == MAP_FAILED ? 0 : (uint64_t)status.st_size;
}

static gboolean serve(Live *live, const char *monitor, GError **error)
{
    static const FerryQmpOps ops = {
        .stop = do_stop, .cont = guest_resume, .quit = do_quit, .status = do_status};
    g_autoptr(FerryMigration) migration = ferry_migration_new(live->guest, NULL, NULL);
    g_autoptr(FerryQmp) qmp = ferry_qmp_new(monitor, migration, &ops, live, error);
    pthread_t writer;

    if (!qmp) {
        return FALSE;
    }
    ferry_migration_set_listener(migration, &ferry_qmp_listener, qmp);
    g_assert(pthread_create(&writer, NULL, write_on, live) == 0);
    set_running(live, TRUE);
    while (!is_set(live, &live->quit)) {
        g_usleep(2000);
    }
    pthread_join(writer, NULL);
    ferry_migration_set_listener(migration, NULL, NULL);
    g_clear_pointer(&qmp, ferry_qmp_free);
    return TRUE;
}

int main(int argc, char **argv)
{
    static const FerryGuestOps guest_ops = {guest_stop, guest_resume, NULL};
    g_autoptr(GError) error = NULL;
    Live live = {.lock = PTHREAD_MUTEX_INITIALIZER};
    uint64_t size = argc == 4 ? map_ram(&live, argv[3]) : 0, pages = size / PAGE;

    if (pages < END) {
        fprintf(stderr, "usage: interop-live MONITOR MACHINE RAM-FILE (of 4 MiB and more)\n");
        return 2;
    }
    live.marks = ferry_dirty_marks_new(&pages, 1);
    live.guest = ferry_guest_new(argv[2], &guest_ops, &live);
    ferry_guest_set_dirty_log(live.guest, ferry_dirty_log_marks_new(live.marks));
    gboolean ok =
        ferry_memory_add(ferry_guest_memory(live.guest), "pc.ram", live.ram, size, &error) &&
        serve(&live, argv[1], &error);
    if (!ok) {
        fprintf(stderr, "%s\n", error->message);
    }
    ferry_guest_free(live.guest);
    ferry_dirty_marks_free(live.marks);
    munmap(live.ram, size);
    return ok ? 0 : 1;
}
