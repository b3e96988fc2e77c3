/* What does watching a guest cost, by the parts that policy "ferry" asks of a log?
 *
 *   get      a sync of KVM's bitmap that finds nothing, by size of memory (which is never touched)
 *   watch    the clear of all memory at once behind the first sync, while the guest sweeps over it:
 *            how long, and the longest time in which the guest did not write
 *   beside   every 16th page is sent at 128 MiB/s while the guest writes all the time: what it gets
 *            done per CPU time of its own, against the same without any clear, and how many pages
 *            each one sent protects
 *
 * Medians of the repeats. One JSON line per case on stdout, a table for people on stderr. */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "tests/dirtylog/guest.h"

#define REPEATS_MAX 99u
#define BESIDE_STEP 16u /* pages */
#define BESIDE_PASSES 12u
#define BESIDE_NS_PER_PAGE 30518u /* 128 MiB/s */

typedef struct {
    uint8_t *memory;
    GuestControl *control;
    uint64_t n_pages;
    unsigned repeats;
    double ticks_per_ms;
    Guest *guest;
    FerryDirtyLog *log;
    FerryBitmap dirty;
} Bench;

static double clock_ms(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static double now_ms(void) { return clock_ms(CLOCK_MONOTONIC); }

/* What others on this machine do does not count. */
static double vcpu_ms(void)
{
    return clock_ms(CLOCK_PROCESS_CPUTIME_ID) - clock_ms(CLOCK_THREAD_CPUTIME_ID);
}

static void check(gboolean ok, const char *what)
{
    if (!ok) {
        perror(what);
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

static void *map(uint64_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    check(memory != MAP_FAILED, "mmap");
    return memory;
}

/* ---- get ---- */

/* A machine without a processor: KVM says of each page that it is dirty until it is cleared. */
static void get(uint64_t gib, unsigned repeats)
{
    uint64_t bytes = gib << 30, n_pages = bytes / GUEST_PAGE;
    struct kvm_userspace_memory_region region = {
        .memory_size = bytes, .userspace_addr = (uintptr_t)map(bytes), .guest_phys_addr = 4u << 30};
    FerryKvmSlot slot = {.guest_address = region.guest_phys_addr,
                         .host = (void *)(uintptr_t)region.userspace_addr,
                         .n_pages = n_pages};
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int vm = kvm < 0 ? -1 : ioctl(kvm, KVM_CREATE_VM, 0);
    double values[REPEATS_MAX], all_ms;
    FerryBitmap dirty;

    check(vm >= 0 && ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) == 0, "/dev/kvm");
    FerryDirtyLog *log = ferry_dirty_log_kvm_bitmap_new(vm, &slot, 1, &n_pages, 1, NULL);
    ferry_bitmap_init(&dirty, n_pages);
    check(log && ferry_dirty_log_start(log, NULL), "start");
    all_ms = now_ms();
    check(ferry_dirty_log_sync(log, 0, &dirty, NULL), "sync");
    all_ms = now_ms() - all_ms;
    check(ferry_dirty_log_clear(log, 0, 0, n_pages, &dirty, NULL), "clear");
    for (unsigned i = 0; i < repeats; i++) {
        values[i] = now_ms();
        check(ferry_dirty_log_sync(log, 0, &dirty, NULL), "sync");
        values[i] = now_ms() - values[i];
    }
    printf("{\"bench\": \"watch\", \"case\": \"get\", \"memory_bytes\": %" G_GUINT64_FORMAT
           ", \"sync_ms\": %.4f, \"first_sync_ms\": %.4f}\n",
           bytes, median(values, repeats), all_ms);
    fprintf(stderr, "get    %4" G_GUINT64_FORMAT " GiB   sync %8.3f ms, the first %8.3f ms\n", gib,
            median(values, repeats), all_ms);
    ferry_dirty_log_free(log);
    ferry_bitmap_clear(&dirty);
    close(vm);
    close(kvm);
    munmap((void *)(uintptr_t)region.userspace_addr, bytes);
}

/* ---- watch ---- */

static void await_sweeps(const Bench *b, uint64_t more)
{
    for (uint64_t until = load(&b->control->sweeps_done) + more;
         load(&b->control->sweeps_done) < until;) {
        g_usleep(200);
    }
}

static void begin(const Bench *b, FerryBitmap *dirty)
{
    await_sweeps(b, 2); /* huge pages come back */
    check(ferry_dirty_log_start(b->log, NULL) && ferry_dirty_log_sync(b->log, 0, dirty, NULL),
          "start");
}

static void reset_gap(const Bench *b)
{
    __atomic_store_n(&b->control->longest_gap, 0, __ATOMIC_RELAXED);
}

static double gap_ms(const Bench *b)
{
    return (double)load(&b->control->longest_gap) / b->ticks_per_ms;
}

/* @piece: bytes cleared by one call. */
static void watch(Bench *b, uint64_t piece)
{
    double took[REPEATS_MAX], stall[REPEATS_MAX], without[REPEATS_MAX];

    for (unsigned i = 0; i < b->repeats; i++) {
        await_sweeps(b, 1);
        reset_gap(b);
        g_usleep(50000);
        without[i] = gap_ms(b);
        begin(b, &b->dirty);
        reset_gap(b);
        took[i] = now_ms();
        for (uint64_t at = 0; at < b->n_pages; at += piece / GUEST_PAGE) {
            check(ferry_dirty_log_clear(b->log, 0, at, MIN(piece / GUEST_PAGE, b->n_pages - at),
                                        &b->dirty, NULL),
                  "clear");
        }
        took[i] = now_ms() - took[i];
        await_sweeps(b, 1);
        stall[i] = gap_ms(b);
        ferry_dirty_log_stop(b->log);
    }
    double ms = median(took, b->repeats), ms_stall = median(stall, b->repeats);
    printf("{\"bench\": \"watch\", \"case\": \"watch\", \"memory_bytes\": %" G_GUINT64_FORMAT
           ", \"piece_bytes\": %" G_GUINT64_FORMAT ", \"clear_ms\": %.3f, \"stall_ms\": %.3f, "
           "\"stall_without_log_ms\": %.3f}\n",
           b->n_pages * GUEST_PAGE, piece, ms, ms_stall, median(without, b->repeats));
    fprintf(stderr,
            "watch  %4" G_GUINT64_FORMAT " MiB at once: %8.3f ms, vCPU stall %7.3f ms, without log "
            "%7.3f ms\n",
            piece >> 20, ms, ms_stall, median(without, b->repeats));
}

/* ---- beside ---- */

/* @chunk 0: nothing is cleared. Pages written per ms. */
static double beside_once(Bench *b, uint64_t chunk, double *out_protected, double *out_clear_us)
{
    FerryDirtyLogStats before, after;
    uint64_t sent = 0, sweeps;
    double began, vcpu;

    check(ferry_dirty_log_set_chunk(b->log, MAX(chunk, GUEST_PAGE), NULL), "chunk");
    begin(b, &b->dirty);
    check(ferry_dirty_log_clear(b->log, 0, 0, b->n_pages, &b->dirty, NULL), "clear");
    await_sweeps(b, 2);
    ferry_dirty_log_get_stats(b->log, &before);
    sweeps = load(&b->control->sweeps_done);
    began = now_ms();
    vcpu = vcpu_ms();
    for (unsigned pass = 0; pass < BESIDE_PASSES; pass++) {
        check(ferry_dirty_log_sync(b->log, 0, &b->dirty, NULL), "sync");
        for (uint64_t page = pass; page < b->n_pages; page += BESIDE_STEP, sent++) {
            if (chunk && !ferry_dirty_log_clear(b->log, 0, page, 1, &b->dirty, NULL)) {
                check(FALSE, "clear");
            }
            if (sent % 16 == 0) {
                double ahead = (double)sent * BESIDE_NS_PER_PAGE / 1e6 - (now_ms() - began);
                g_usleep(ahead > 0 ? (gulong)(ahead * 1e3) : 0);
            }
        }
    }
    vcpu = vcpu_ms() - vcpu;
    sweeps = load(&b->control->sweeps_done) - sweeps;
    ferry_dirty_log_get_stats(b->log, &after);
    ferry_dirty_log_stop(b->log);
    *out_protected = (double)(after.cleared_pages - before.cleared_pages) / (double)sent;
    *out_clear_us = (double)(after.clear_ns - before.clear_ns) / 1e3 / (double)sent;
    return (double)sweeps * (double)b->n_pages / vcpu;
}

static void beside(Bench *b, uint64_t chunk)
{
    double speed[REPEATS_MAX], protected_pages[REPEATS_MAX], clear_us[REPEATS_MAX];

    for (unsigned i = 0; i < b->repeats; i++) {
        speed[i] = beside_once(b, chunk, &protected_pages[i], &clear_us[i]);
    }
    double writes = median(speed, b->repeats), pages = median(protected_pages, b->repeats);
    double us = median(clear_us, b->repeats);
    printf("{\"bench\": \"watch\", \"case\": \"beside\", \"chunk_bytes\": %" G_GUINT64_FORMAT
           ", \"guest_writes_per_cpu_ms\": %.0f, \"protected_per_page_sent\": %.2f, "
           "\"clear_us_per_page_sent\": %.3f}\n",
           chunk, writes, pages, us);
    fprintf(stderr,
            "beside %5" G_GUINT64_FORMAT "K chunk: %9.0f writes per ms of the guest, %7.2f pages "
            "protected and %6.2f us of clearing per page sent\n",
            chunk >> 10, writes, pages, us);
}

int main(int argc, char **argv)
{
    static const uint64_t gibs[] = {1, 4, 16, 64}, pieces[] = {2, 16, 64, 1024};
    static const uint64_t chunks[] = {0, 4096, 256u << 10, 2u << 20, 64u << 20, 1u << 30};
    g_autoptr(GError) error = NULL;
    uint64_t mib = argc > 1 ? g_ascii_strtoull(argv[1], NULL, 10) : 256;
    Bench b = {.repeats = argc > 2 ? (unsigned)g_ascii_strtoull(argv[2], NULL, 10) : 5};

    if (argc > 3 || mib < 2 || mib << 20 > GUEST_MEMORY_MAX || b.repeats == 0 ||
        b.repeats > REPEATS_MAX) {
        fputs("usage: bench-watch [MEMORY_MIB [REPEATS]]\n", stderr);
        return 2;
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(gibs); i++) {
        get(gibs[i], b.repeats);
    }
    b.n_pages = (mib << 20) / GUEST_PAGE;
    b.memory = map(mib << 20);
    madvise(b.memory, mib << 20, MADV_HUGEPAGE);
    b.control = mmap(NULL, GUEST_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    check(b.control != MAP_FAILED, "mmap");
    b.ticks_per_ms = calibrate_tsc();
    b.guest = guest_new(b.memory, b.control, &b.n_pages, 1, 1, 0, GUEST_SWEEP, 1, &error);
    b.log = b.guest ? ferry_dirty_log_kvm_bitmap_new(guest_vm_fd(b.guest), guest_slots(b.guest), 1,
                                                     &b.n_pages, 1, &error)
                    : NULL;
    if (!b.log) {
        fprintf(stderr, "bench-watch: %s\n", error->message);
        return 1;
    }
    ferry_bitmap_init(&b.dirty, b.n_pages);
    b.control->stride = 1;
    b.control->sweeps_wanted = UINT64_MAX;
    guest_run(b.guest);
    for (unsigned i = 0; i < G_N_ELEMENTS(pieces); i++) {
        check(ferry_dirty_log_set_chunk(b.log, pieces[i] << 20, NULL), "chunk");
        watch(&b, pieces[i] << 20);
    }
    for (unsigned i = 0; i < G_N_ELEMENTS(chunks); i++) {
        beside(&b, chunks[i]);
    }
    guest_pause(b.guest);
    ferry_dirty_log_free(b.log);
    guest_free(b.guest);
    ferry_bitmap_clear(&b.dirty);
    return 0;
}
