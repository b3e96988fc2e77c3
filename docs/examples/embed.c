/* A whole small embedder: a "virtual machine" whose only CPU is a thread that counts, and whose
 * only device is that counter. It is moved from one instance to another while it counts.
 *
 *   cc embed.c -o embed $(pkg-config --cflags --libs ferry) && ./embed */
#include <engine/ferry.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define RAM_BYTES (16u << 20)
#define PAGE_BYTES 4096u
#define RAM_PAGES (RAM_BYTES / PAGE_BYTES)

typedef struct {
    uint64_t *ram;
    uint64_t counter; /* the device's state */
    FerryDirtyMarks *marks;
    FerryGuest *guest;
    GThread *cpu;
    GMutex lock;
    GCond changed;
    gboolean running, quit; /* under lock */
} Machine;

/* The guest program: one write to the next page, for ever. Holding the lock for each write means
 * that whoever takes it has stopped the CPU. */
static gpointer run_cpu(gpointer data)
{
    Machine *machine = data;

    g_mutex_lock(&machine->lock);
    while (!machine->quit) {
        if (!machine->running) {
            g_cond_wait(&machine->changed, &machine->lock);
            continue;
        }
        uint64_t page = machine->counter++ % RAM_PAGES;
        machine->ram[page * (PAGE_BYTES / 8)] = machine->counter;
        ferry_mark_dirty(machine->marks, 0, page, 1); /* after the write */
        g_mutex_unlock(&machine->lock);
        g_usleep(10);
        g_mutex_lock(&machine->lock);
    }
    g_mutex_unlock(&machine->lock);
    return NULL;
}

static gboolean set_running(Machine *machine, gboolean running)
{
    g_mutex_lock(&machine->lock);
    gboolean was_running = machine->running;
    machine->running = running;
    g_cond_signal(&machine->changed);
    g_mutex_unlock(&machine->lock);
    return was_running;
}

/* What Ferry asks of a guest. */
static gboolean guest_pause(void *self, FerryPauseReason why G_GNUC_UNUSED,
                            gboolean *out_was_running, GError **error G_GNUC_UNUSED)
{
    *out_was_running = set_running(self, FALSE);
    return TRUE;
}

static gboolean guest_resume(void *self, GError **error G_GNUC_UNUSED)
{
    set_running(self, TRUE);
    return TRUE;
}

static const FerryGuestOps guest_ops = {.pause = guest_pause, .resume = guest_resume};

/* What Ferry asks of a device. */
static gboolean counter_save(void *self, GByteArray *body, GError **error G_GNUC_UNUSED)
{
    const Machine *machine = self;
    uint64_t wire = GUINT64_TO_BE(machine->counter);

    g_byte_array_append(body, (const guint8 *)&wire, sizeof wire);
    return TRUE;
}

static gboolean counter_load(void *self, const uint8_t *body, size_t length,
                             uint32_t version G_GNUC_UNUSED, GError **error)
{
    Machine *machine = self;
    uint64_t wire;

    if (length != sizeof wire) { /* the body comes from the network: trust nothing */
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_GUEST,
                    "counter: %zu bytes instead of %zu", length, sizeof wire);
        return FALSE;
    }
    memcpy(&wire, body, sizeof wire);
    machine->counter = GUINT64_FROM_BE(wire);
    return TRUE;
}

static const FerryDeviceOps counter_ops = {.save = counter_save, .load = counter_load};

static void machine_free(Machine *machine)
{
    g_mutex_lock(&machine->lock);
    machine->quit = TRUE;
    g_cond_signal(&machine->changed);
    g_mutex_unlock(&machine->lock);
    g_thread_join(machine->cpu);
    ferry_guest_free(machine->guest);
    ferry_dirty_marks_free(machine->marks);
    munmap(machine->ram, RAM_BYTES);
    g_mutex_clear(&machine->lock);
    g_cond_clear(&machine->changed);
    g_free(machine);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Machine, machine_free)

static Machine *machine_new(GError **error)
{
    const uint64_t block_pages[] = {RAM_PAGES};
    g_autoptr(Machine) machine = g_new0(Machine, 1);

    g_mutex_init(&machine->lock);
    g_cond_init(&machine->changed);
    machine->ram =
        mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (machine->ram == MAP_FAILED) {
        g_error("no memory for guest RAM");
    }
    machine->marks = ferry_dirty_marks_new(block_pages, G_N_ELEMENTS(block_pages));
    machine->guest = ferry_guest_new("counting-machine-1", &guest_ops, machine);
    ferry_guest_set_dirty_log(machine->guest, ferry_dirty_log_marks_new(machine->marks));
    machine->cpu = g_thread_new("cpu", run_cpu, machine);
    if (!ferry_memory_add(ferry_guest_memory(machine->guest), "ram", machine->ram, RAM_BYTES,
                          error) ||
        !ferry_guest_add_device(machine->guest, "counter", 0, 1, &counter_ops, machine, error)) {
        return NULL;
    }
    return g_steal_pointer(&machine);
}

/* TRUE when the migration behind @m completed. */
static gboolean finished(FerryMigration *m, const char *side)
{
    g_autofree char *why = NULL;
    FerryStatus status;

    ferry_migration_wait(m, FERRY_NO_DEADLINE);
    ferry_migration_query(m, &status, NULL, &why, NULL);
    printf("%s: %s%s%s\n", side, ferry_status_name(status), why ? ": " : "", why ? why : "");
    return status == FERRY_STATUS_COMPLETED;
}

static gboolean move(Machine *here, Machine *there, GError **error)
{
    g_autoptr(FerryMigration) outgoing = ferry_migration_new(here->guest, NULL, NULL);
    g_autoptr(FerryMigration) incoming = ferry_migration_new(there->guest, NULL, NULL);

    if (!ferry_migration_incoming(incoming, "tcp:127.0.0.1:0", FALSE, error)) {
        return FALSE;
    }
    g_autofree char *uri = ferry_migration_get_incoming_uri(incoming);
    if (!ferry_migration_start(outgoing, uri, error)) {
        return FALSE;
    }
    gboolean left = finished(outgoing, "source");
    gboolean arrived = finished(incoming, "destination");
    return left && arrived;
}

int main(void)
{
    g_autoptr(GError) error = NULL;
    g_autoptr(Machine) here = machine_new(&error);
    g_autoptr(Machine) there = here ? machine_new(&error) : NULL;

    if (there == NULL) {
        fprintf(stderr, "embed: %s\n", error->message);
        return EXIT_FAILURE;
    }
    set_running(here, TRUE);
    g_usleep(100000); /* let it count a while */
    if (!move(here, there, &error)) {
        fprintf(stderr, "embed: %s\n", error ? error->message : "the guest stays");
        return EXIT_FAILURE;
    }
    printf("moved at %" G_GUINT64_FORMAT "\n", here->counter);
    set_running(there, FALSE);
    return there->counter >= here->counter ? EXIT_SUCCESS : EXIT_FAILURE;
}
