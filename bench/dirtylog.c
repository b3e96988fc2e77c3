/* What does finding and clearing dirty pages cost, and how long does a writing vCPU stand still for
 * it, by log and chunk size?
 *
 * Cost: the guest sweeps once over every page ("all") or every 64th ("sparse") and waits; then one
 * sync and the clears of the whole memory are timed. Stall: the guest sweeps on while they run and
 * keeps the longest time between two of its writes; in turn with that, the same without logging.
 * Medians of the repeats; warm memory.
 *
 * One JSON line per case on stdout, a table for people on stderr. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <x86intrin.h>

#include "tests/dirtylog/guest.h"

#define REPEATS_MAX 99u
#define RING_BYTES (1u << 20)
#define HUGE_BYTES (UINT64_C(2) << 20)
#define BASELINE_US 20000

typedef struct {
    void *memory;
    GuestControl *control;
    uint64_t n_pages;
    unsigned repeats;
    double ticks_per_ms;
} Bench;

typedef struct {
    double sync_ms, clear_ms, longest_clear_ms, stall_ms, worst_stall_ms, baseline_ms;
} Result;

static double now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static void check(gboolean ok, const GError *error)
{
    if (!ok) {
        fprintf(stderr, "%s\n", error->message);
        exit(1);
    }
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, unsigned n)
{
    qsort(values, n, sizeof *values, compare);
    return values[n / 2];
}

static double calibrate_tsc(void)
{
    double begin = now_ms();
    uint64_t ticks = __rdtsc();

    g_usleep(100000);
    return (double)(__rdtsc() - ticks) / (now_ms() - begin);
}

static uint64_t load(const uint64_t *shared) { return __atomic_load_n(shared, __ATOMIC_RELAXED); }

static void store(uint64_t *shared, uint64_t value)
{
    __atomic_store_n(shared, value, __ATOMIC_RELAXED);
}

static void wait_for_sweeps(const Bench *b, uint64_t done)
{
    while (load(&b->control->sweeps_done) < done) {
        g_usleep(200);
    }
}

/* One more, while the guest waits for it. */
static void sweep_once(const Bench *b)
{
    uint64_t done = load(&b->control->sweeps_done) + 1;

    store(&b->control->sweeps_wanted, done);
    wait_for_sweeps(b, done);
}

static void sync_and_clear(const Bench *b, FerryDirtyLog *log, FerryBitmap *dirty, double *sync_ms,
                           double *clear_ms)
{
    g_autoptr(GError) error = NULL;
    double begin = now_ms(), synced;

    check(ferry_dirty_log_sync(log, 0, dirty, &error), error);
    synced = now_ms();
    check(ferry_dirty_log_clear(log, 0, 0, b->n_pages, dirty, &error), error);
    *sync_ms = synced - begin;
    *clear_ms = now_ms() - synced;
}

static double longest_gap_ms(const Bench *b)
{
    return (double)load(&b->control->longest_gap) / b->ticks_per_ms;
}

/* The guest sweeps on for at least so long, without logging. */
static double baseline(const Bench *b)
{
    wait_for_sweeps(b, load(&b->control->sweeps_done) + 2); /* huge pages come back */
    store(&b->control->longest_gap, 0);
    g_usleep(BASELINE_US);
    wait_for_sweeps(b, load(&b->control->sweeps_done) + 1);
    return longest_gap_ms(b);
}

static void measure_once(const Bench *b, FerryDirtyLog *log, FerryBitmap *dirty, Result *r)
{
    g_autoptr(GError) error = NULL;
    FerryDirtyLogStats stats;
    double sync_ms, clear_ms;

    store(&b->control->sweeps_wanted, UINT64_MAX);
    r->baseline_ms = baseline(b);
    store(&b->control->sweeps_wanted, 0);
    check(ferry_dirty_log_start(log, &error), error);
    sync_and_clear(b, log, dirty, &sync_ms, &clear_ms); /* the first reports all: not typical */
    sweep_once(b);
    sync_and_clear(b, log, dirty, &r->sync_ms, &r->clear_ms);
    store(&b->control->sweeps_wanted, UINT64_MAX);
    wait_for_sweeps(b, load(&b->control->sweeps_done) + 1);
    store(&b->control->longest_gap, 0);
    sync_and_clear(b, log, dirty, &sync_ms, &clear_ms);
    wait_for_sweeps(b, load(&b->control->sweeps_done) + 1);
    r->stall_ms = longest_gap_ms(b);
    ferry_dirty_log_get_stats(log, &stats);
    r->longest_clear_ms = (double)stats.longest_clear_ns * 1e-6;
    ferry_dirty_log_stop(log);
    store(&b->control->sweeps_wanted, 0);
}

#define MEDIAN_OF(member)                                                                          \
    for (unsigned i = 0; i < b->repeats; i++) {                                                    \
        values[i] = all[i].member;                                                                 \
    }                                                                                              \
    r.member = median(values, b->repeats)

static Result measure(const Bench *b, FerryDirtyLog *log)
{
    Result all[REPEATS_MAX], r = {0};
    double values[REPEATS_MAX];
    FerryBitmap dirty;

    ferry_bitmap_init(&dirty, b->n_pages);
    for (unsigned i = 0; i < b->repeats; i++) {
        measure_once(b, log, &dirty, &all[i]);
        r.worst_stall_ms = MAX(r.worst_stall_ms, all[i].stall_ms);
    }
    ferry_bitmap_clear(&dirty);
    MEDIAN_OF(sync_ms);
    MEDIAN_OF(clear_ms);
    MEDIAN_OF(longest_clear_ms);
    MEDIAN_OF(stall_ms);
    MEDIAN_OF(baseline_ms);
    return r;
}

static void print(const Bench *b, const char *log, uint64_t chunk_bytes, const char *pattern,
                  const Result *r)
{
    double gib = (double)b->n_pages * GUEST_PAGE / (double)(UINT64_C(1) << 30);

    printf("{\"bench\": \"dirtylog\", \"log\": \"%s\", \"chunk_bytes\": %" G_GUINT64_FORMAT
           ", \"pattern\": \"%s\", \"memory_bytes\": %" G_GUINT64_FORMAT
           ", \"repeats\": %u, \"sync_ms_per_gib\": %.3f, \"clear_ms_per_gib\": %.3f, "
           "\"longest_clear_ms\": %.3f, \"stall_ms\": %.3f, \"worst_stall_ms\": %.3f, "
           "\"stall_without_log_ms\": %.3f}\n",
           log, chunk_bytes, pattern, b->n_pages * GUEST_PAGE, b->repeats, r->sync_ms / gib,
           r->clear_ms / gib, r->longest_clear_ms, r->stall_ms, r->worst_stall_ms, r->baseline_ms);
    fflush(stdout);
    fprintf(stderr, "%-10s %6" G_GUINT64_FORMAT "K %-6s %9.3f %9.3f %9.3f %9.3f %9.3f %9.3f\n", log,
            chunk_bytes >> 10, pattern, r->sync_ms / gib, r->clear_ms / gib, r->longest_clear_ms,
            r->stall_ms, r->worst_stall_ms, r->baseline_ms);
}

static FerryDirtyLog *new_log(const Bench *b, const char *name, Guest *guest, GError **error)
{
    FerryPagemapRegion region = {.address = (uintptr_t)b->memory, .n_pages = b->n_pages};
    FerryDirtyLog *log;

    if (strcmp(name, "pagemap") == 0) {
        return ferry_dirty_log_pagemap_new(0, -1, &region, 1, error);
    }
    if (strcmp(name, "kvm-ring") == 0) {
        log = ferry_dirty_log_kvm_ring_new(guest_vm_fd(guest), guest_vcpu_fds(guest), 1, RING_BYTES,
                                           guest_slots(guest), 1, &b->n_pages, 1, error);
        guest_set_ring_log(guest, log);
        return log;
    }
    log = ferry_dirty_log_kvm_bitmap_new(guest_vm_fd(guest), guest_slots(guest), 1, &b->n_pages, 1,
                                         error);
    if (log && strcmp(name, "kvm-plain") == 0) {
        ferry_dirty_log_kvm_bitmap_set_plain(log);
    }
    return log;
}

/* The logs that protect in sync have no chunks: one size is enough. */
static void run_log(const Bench *b, const char *name, gboolean chunked)
{
    static const uint64_t chunks[] = {256u << 10, 2u << 20, 16u << 20, 64u << 20, 1u << 30};
    g_autoptr(GError) error = NULL;
    g_autoptr(Guest) guest =
        guest_new(b->memory, b->control, &b->n_pages, 1, 1,
                  strcmp(name, "kvm-ring") == 0 ? RING_BYTES : 0, GUEST_SWEEP, 1, &error);
    g_autoptr(FerryDirtyLog) log = guest ? new_log(b, name, guest, &error) : NULL;

    if (!log) {
        fprintf(stderr, "%s: skipped: %s\n", name, error->message);
        return;
    }
    b->control->sweeps_wanted = b->control->sweeps_done = 0;
    b->control->stride = 1;
    guest_run(guest);
    for (unsigned i = 0; i < (chunked ? G_N_ELEMENTS(chunks) : 1); i++) {
        for (unsigned sparse = 0; sparse < 2; sparse++) {
            Result r;

            check(ferry_dirty_log_set_chunk(log, chunks[chunked ? i : 1], &error), error);
            store(&b->control->stride, sparse ? 64 : 1);
            r = measure(b, log);
            print(b, name, chunks[chunked ? i : 1], sparse ? "sparse" : "all", &r);
        }
    }
    guest_pause(guest);
}

static void *map_memory(uint64_t bytes)
{
    uint8_t *memory =
        mmap(NULL, bytes + HUGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    memory += (HUGE_BYTES - (uintptr_t)memory % HUGE_BYTES) % HUGE_BYTES;
    madvise(memory, bytes, MADV_HUGEPAGE);
    memset(memory, 1, bytes);
    return memory;
}

int main(int argc, char **argv)
{
    uint64_t mib = argc > 1 ? strtoull(argv[1], NULL, 0) : 1024;
    Bench b = {.repeats = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : 5};

    if (argc > 3 || mib == 0 || mib << 20 > GUEST_MEMORY_MAX || b.repeats == 0 ||
        b.repeats > REPEATS_MAX) {
        fprintf(stderr, "usage: bench-dirtylog [MEMORY_MIB [REPEATS]]\n");
        return 2;
    }
    b.n_pages = (mib << 20) / GUEST_PAGE;
    b.memory = map_memory(mib << 20);
    b.control = mmap(NULL, GUEST_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (b.control == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    b.ticks_per_ms = calibrate_tsc();
    fprintf(stderr,
            "%" G_GUINT64_FORMAT " MiB, median of %u; ms\n"
            "log          chunk pages   sync/GiB clear/GiB  longest     vCPU     worst  without\n"
            "                                                  clear    stall     stall  logging\n",
            mib, b.repeats);
    run_log(&b, "kvm-bitmap", TRUE);
    run_log(&b, "kvm-plain", FALSE);
    run_log(&b, "kvm-ring", FALSE);
    run_log(&b, "pagemap", TRUE);
    return 0;
}
