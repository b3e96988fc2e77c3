/* What a clear of KVM's bitmap touches, seen by what the next sync reports: the guest never runs,
 * so KVM says of every page that it is dirty until it is cleared. And what a clear does not even
 * ask the kernel: while it would refuse, only those that need nothing from it succeed. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/dirtylog/guest.h"
#include "tests/fakes/expect.h"

/* Two slots; the second begins in the middle of a chunk and ends in the middle of a word. */
static const uint64_t slot_pages[] = {640, 1000};
#define N_PAGES UINT64_C(1640)

static FerryDirtyLog *log_;
static FerryBitmap reported;

static gboolean sync_log(void)
{
    ferry_bitmap_reset(&reported, 0, N_PAGES);
    return ferry_dirty_log_sync(log_, 0, &reported, NULL);
}

static gboolean clear(uint64_t first, uint64_t n)
{
    FerryBitmap found;

    ferry_bitmap_init(&found, N_PAGES);
    gboolean ok = ferry_dirty_log_clear(log_, 0, first, n, &found, NULL);
    EXPECT(ferry_bitmap_count(&found) == 0, "the kernel keeps what it has not told");
    ferry_bitmap_clear(&found);
    return ok;
}

/* All but pages [first, first + n). */
static gboolean all_but(uint64_t first, uint64_t n)
{
    return sync_log() && ferry_bitmap_count(&reported) == N_PAGES - n &&
           ferry_bitmap_count_range(&reported, first, n) == 0;
}

static void begin(uint64_t chunk)
{
    EXPECT(ferry_dirty_log_set_chunk(log_, chunk, NULL) && ferry_dirty_log_start(log_, NULL) &&
               sync_log() && ferry_bitmap_count(&reported) == N_PAGES,
           "the first sync reports all");
}

static void exact(uint64_t first, uint64_t n)
{
    FerryDirtyLogStats stats;

    begin(FERRY_DIRTY_LOG_CHUNK_EXACT);
    EXPECT(clear(first, n) && all_but(first, n), "exactly these pages");
    ferry_dirty_log_get_stats(log_, &stats);
    EXPECT(stats.cleared_pages == n, "they are counted");
    EXPECT(clear(0, N_PAGES) && sync_log() && ferry_bitmap_count(&reported) == 0, "then all");
    ferry_dirty_log_stop(log_);
}

static void chunks(void)
{
    begin(2u << 20);
    EXPECT(clear(513, 1) && all_but(512, 512), "a chunk, across the slots");
    EXPECT(clear(0, 1) && all_but(0, 1024), "another one");
    EXPECT(ferry_dirty_log_set_chunk(log_, FERRY_DIRTY_LOG_CHUNK_MIN, NULL), "smaller ones");
    EXPECT(clear(1100, 1) && sync_log() && ferry_bitmap_count(&reported) == N_PAGES - 1024 - 64,
           "a smaller one");
    ferry_dirty_log_stop(log_);
}

/* @vm_fd is something else meanwhile, which refuses all of KVM's ioctls. */
static void without_the_kernel(int vm_fd)
{
    int vm = dup(vm_fd), nothing = open("/dev/null", O_RDWR | O_CLOEXEC);

    begin(FERRY_DIRTY_LOG_CHUNK_MIN);
    EXPECT(clear(0, 640) && sync_log(), "clear");
    EXPECT(vm >= 0 && nothing >= 0 && dup2(nothing, vm_fd) == vm_fd, "dup");
    EXPECT(clear(0, 640), "chunks in which no sync found anything are free");
    EXPECT(!clear(640, 1), "one with dirty pages is not");
    EXPECT(ferry_dirty_log_set_chunk(log_, FERRY_DIRTY_LOG_CHUNK_EXACT, NULL), "exactly");
    EXPECT(clear(100, 50) && !clear(700, 1), "nor are single pages");
    EXPECT(dup2(vm, vm_fd) == vm_fd, "dup");
    EXPECT(clear(700, 1) && sync_log() && ferry_bitmap_count(&reported) == N_PAGES - 641,
           "a clear that failed can be done again");
    ferry_dirty_log_stop(log_);
    close(vm);
    close(nothing);
}

int main(void)
{
    g_autoptr(GError) error = NULL;
    uint64_t n_pages = N_PAGES;
    void *memory = mmap(NULL, N_PAGES * GUEST_PAGE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    GuestControl *control =
        mmap(NULL, GUEST_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED || control == MAP_FAILED) {
        perror("mmap");
        return 1;
    }
    control->n_pages = N_PAGES;
    g_autoptr(Guest) guest =
        guest_new(memory, control, slot_pages, 2, 1, 0, GUEST_RANDOM, 1, &error);
    if (guest) {
        log_ = ferry_dirty_log_kvm_bitmap_new(guest_vm_fd(guest), guest_slots(guest), 2, &n_pages,
                                              1, &error);
    }
    if (!log_ || strcmp(ferry_dirty_log_get_name(log_), "kvm-bitmap") != 0) {
        printf("no manual protection of KVM's: %s\n", error ? error->message : "not offered");
        ferry_dirty_log_free(log_);
        return 77;
    }
    ferry_bitmap_init(&reported, N_PAGES);
    exact(5, 1);
    exact(63, 2);
    exact(64, 64);
    exact(630, 100);
    exact(N_PAGES - 3, 3);
    chunks();
    without_the_kernel(guest_vm_fd(guest));
    ferry_dirty_log_free(log_);
    ferry_bitmap_clear(&reported);
    printf("%u failures\n", failures);
    return failures > 0;
}
