#include "tests/fakes/counting-guest.h"
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include "engine/guest-private.h"

#define PAGE 4096ull
#define ROM_PAGES 3

typedef struct {
    uint64_t count, random; /* what a CPU's registers would be */
    uint64_t last_page;     /* where write number count went */
} Register;

struct CountingGuest {
    FerryGuest *guest;
    FerryDirtyMarks *marks;
    uint8_t *ram, *rom;
    uint64_t pages;
    unsigned rate;
    pthread_mutex_t lock;
    pthread_cond_t changed; /* running or quit */
    pthread_cond_t stood;   /* a thread has begun to stand */
    gboolean running, quit, fail_save, fail_load;
    unsigned standing; /* threads that wait for running */
    unsigned throttle;
    Register registers[COUNTING_THREADS];
    pthread_t threads[COUNTING_THREADS];
    struct Arg {
        CountingGuest *guest;
        unsigned index;
    } args[COUNTING_THREADS];
};

/* Page p belongs to thread p % COUNTING_THREADS: its writes have an order that can be checked. */
static void write_once(CountingGuest *g, unsigned index)
{
    Register *r = &g->registers[index];
    r->random ^= r->random << 13, r->random ^= r->random >> 7, r->random ^= r->random << 17;
    uint64_t page = r->random % (g->pages / COUNTING_THREADS) * COUNTING_THREADS + index;
    uint64_t *words = (uint64_t *)(g->ram + page * PAGE);

    r->count++;
    r->last_page = page;
    /* The migration reads pages while they are written; that is its business, not a race of ours.
     */
    __atomic_store_n(&words[r->random % 512], r->count, __ATOMIC_RELAXED);
    __atomic_store_n(&words[0], r->count, __ATOMIC_RELAXED);
    ferry_mark_dirty(g->marks, 0, page, 1);
}

static void *live(void *data)
{
    struct Arg *arg = data;
    CountingGuest *g = arg->guest;

    pthread_mutex_lock(&g->lock);
    while (!g->quit) {
        if (!g->running) {
            g->standing++;
            pthread_cond_signal(&g->stood);
            pthread_cond_wait(&g->changed, &g->lock);
            g->standing--;
            continue;
        }
        pthread_mutex_unlock(&g->lock);
        for (unsigned i = 0; i < (g->rate ? g->rate : 64); i++) {
            write_once(g, arg->index);
        }
        if (g->rate) {
            g_usleep(1000);
        }
        pthread_mutex_lock(&g->lock);
    }
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

static gboolean stop(void *self, FerryPauseReason why, gboolean *out_was_running, GError **error)
{
    CountingGuest *g = self;
    (void)why;
    (void)error;
    pthread_mutex_lock(&g->lock);
    *out_was_running = g->running;
    g->running = FALSE;
    while (g->standing < COUNTING_THREADS) {
        pthread_cond_wait(&g->stood, &g->lock);
    }
    pthread_mutex_unlock(&g->lock);
    return TRUE;
}

static gboolean resume(void *self, GError **error)
{
    CountingGuest *g = self;
    (void)error;
    pthread_mutex_lock(&g->lock);
    g_assert(!g->running);
    g->running = TRUE;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
    return TRUE;
}

static void slow_down(void *self, unsigned percent)
{
    CountingGuest *g = self;
    pthread_mutex_lock(&g->lock);
    g->throttle = percent;
    pthread_mutex_unlock(&g->lock);
}

static gboolean save(void *self, GByteArray *body, GError **error)
{
    CountingGuest *g = self;
    if (g->fail_save) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_GUEST, "told to fail");
        return FALSE;
    }
    g_byte_array_append(body, (const uint8_t *)g->registers, sizeof g->registers);
    return TRUE;
}

static gboolean load(void *self, const uint8_t *body, size_t length, uint32_t version,
                     GError **error)
{
    CountingGuest *g = self;
    (void)version;
    if (g->fail_load || length != sizeof g->registers) {
        g_set_error(error, FERRY_ENGINE_ERROR, FERRY_ENGINE_ERROR_PEER, "told to fail");
        return FALSE;
    }
    memcpy(g->registers, body, length);
    return TRUE;
}

static const FerryGuestOps guest_ops = {stop, resume, slow_down};
static const FerryDeviceOps device_ops = {save, load};

static void *map(uint64_t pages)
{
    void *memory =
        mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    g_assert(memory != MAP_FAILED);
    return memory;
}

CountingGuest *counting_guest_new(uint64_t pages, unsigned rate, uint64_t seed)
{
    CountingGuest *g = g_new0(CountingGuest, 1);
    const uint64_t sizes[] = {pages, ROM_PAGES};

    g->pages = pages;
    g->rate = rate;
    g->ram = map(pages);
    g->rom = map(ROM_PAGES);
    g->marks = ferry_dirty_marks_new(sizes, 2);
    g->guest = ferry_guest_new("counting-1", &guest_ops, g);
    g_assert(ferry_memory_add(ferry_guest_memory(g->guest), "ram", g->ram, pages * PAGE, NULL));
    g_assert(ferry_memory_add(ferry_guest_memory(g->guest), "rom", g->rom, ROM_PAGES * PAGE, NULL));
    g_assert(ferry_guest_add_device(g->guest, "registers", 0, 1, &device_ops, g, NULL));
    ferry_guest_set_dirty_log(g->guest, ferry_dirty_log_marks_new(g->marks));
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->changed, NULL);
    pthread_cond_init(&g->stood, NULL);
    for (unsigned i = 0; i < COUNTING_THREADS; i++) {
        g->registers[i].random = seed * 2654435761u + i + 1;
        g->args[i] = (struct Arg){g, i};
        g_assert(pthread_create(&g->threads[i], NULL, live, &g->args[i]) == 0);
    }
    gboolean was_running;
    stop(g, FERRY_PAUSE_SWITCHOVER, &was_running, NULL); /* every thread stands */
    return g;
}

FerryGuest *counting_guest_describe(CountingGuest *g) { return g->guest; }

void counting_guest_run(CountingGuest *g)
{
    memset(g->rom, 0x5a, PAGE); /* something that is written once and then only read */
    resume(g, NULL);
}

void counting_guest_await_writes(CountingGuest *g)
{
    for (unsigned i = 0; i < COUNTING_THREADS; i++) {
        while (__atomic_load_n(&g->registers[i].count, __ATOMIC_RELAXED) == 0) {
            g_usleep(100);
        }
    }
}

gboolean counting_guest_is_running(CountingGuest *g)
{
    pthread_mutex_lock(&g->lock);
    gboolean running = g->running;
    pthread_mutex_unlock(&g->lock);
    return running;
}

uint64_t counting_guest_count(CountingGuest *g)
{
    uint64_t count = 0;
    for (unsigned i = 0; i < COUNTING_THREADS; i++) {
        count += g->registers[i].count;
    }
    return count;
}

uint64_t counting_guest_hash(CountingGuest *g)
{
    return ferry_memory_hash(ferry_guest_memory(g->guest));
}

gboolean counting_guest_is_whole(CountingGuest *g)
{
    for (unsigned i = 0; i < COUNTING_THREADS; i++) {
        const Register *r = &g->registers[i];
        if (r->count && *(uint64_t *)(g->ram + r->last_page * PAGE) != r->count) {
            return FALSE;
        }
    }
    for (uint64_t w = 0; w < g->pages * PAGE / 8; w++) {
        uint64_t page = w / (PAGE / 8);
        if (((uint64_t *)g->ram)[w] > g->registers[page % COUNTING_THREADS].count) {
            return FALSE;
        }
    }
    return TRUE;
}

unsigned counting_guest_throttle(CountingGuest *g)
{
    pthread_mutex_lock(&g->lock);
    unsigned percent = g->throttle;
    pthread_mutex_unlock(&g->lock);
    return percent;
}

gboolean counting_guest_is_zero(CountingGuest *g)
{
    for (uint64_t w = 0; w < g->pages * PAGE / 8; w++) {
        if (((uint64_t *)g->ram)[w]) {
            return FALSE;
        }
    }
    return g->rom[0] == 0;
}

void counting_guest_fail_save(CountingGuest *g, gboolean fail) { g->fail_save = fail; }

void counting_guest_fail_load(CountingGuest *g, gboolean fail) { g->fail_load = fail; }

void counting_guest_free(CountingGuest *g)
{
    if (!g) {
        return;
    }
    pthread_mutex_lock(&g->lock);
    g->quit = TRUE;
    pthread_cond_broadcast(&g->changed);
    pthread_mutex_unlock(&g->lock);
    for (unsigned i = 0; i < COUNTING_THREADS; i++) {
        pthread_join(g->threads[i], NULL);
    }
    ferry_guest_free(g->guest);
    ferry_dirty_marks_free(g->marks);
    munmap(g->ram, g->pages * PAGE);
    munmap(g->rom, ROM_PAGES * PAGE);
    pthread_cond_destroy(&g->changed);
    pthread_cond_destroy(&g->stood);
    pthread_mutex_destroy(&g->lock);
    g_free(g);
}
