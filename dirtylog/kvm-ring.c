#include "dirtylog/dirtylog.h"

#include <errno.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <sys/mman.h>

#include "dirtylog/kvm-reset.h"
#include "dirtylog/kvm-slots.h"
#include "dirtylog/private.h"

#define PAGE_BYTES 4096u

typedef struct {
    struct kvm_dirty_gfn *entries; /* shared with the kernel */
    uint32_t next;                 /* the entry to look at; wraps at the ring's length */
} Ring;

typedef struct {
    uint32_t ring_bytes;
    pthread_mutex_t mutex; /* guards what follows: vCPU threads collect too */
    FerryKvmSlots slots;
    FerryKvmReset *reset;
    Ring *rings; /* one per vCPU */
    unsigned n_rings;
    gboolean logging;       /* between start and stop; else what the rings hold is forgotten */
    FerryBitmap *collected; /* per block: harvested and protected again, not yet reported */
} KvmRing;

static const FerryKvmSlot *find_slot(const KvmRing *log, const struct kvm_dirty_gfn *entry)
{
    for (unsigned i = 0; i < log->slots.n_slots; i++) {
        const FerryKvmSlot *slot = &log->slots.slots[i];

        if (slot->slot == entry->slot) {
            return entry->offset < slot->n_pages ? slot : NULL;
        }
    }
    return NULL;
}

/* Moves the new entries of one ring into collected and hands them back to the kernel. */
static gboolean harvest(KvmRing *log, Ring *ring, uint32_t *n, GError **error)
{
    uint32_t length = log->ring_bytes / (uint32_t)sizeof *ring->entries;

    for (;; (*n)++) {
        struct kvm_dirty_gfn *entry = &ring->entries[ring->next];

        /* Acquire: the flag is written after slot and offset. */
        if (!(__atomic_load_n(&entry->flags, __ATOMIC_ACQUIRE) & KVM_DIRTY_GFN_F_DIRTY)) {
            return TRUE;
        }
        if (log->logging) {
            const FerryKvmSlot *slot = find_slot(log, entry);

            if (!slot) {
                g_set_error(error, FERRY_DIRTY_LOG_ERROR, FERRY_DIRTY_LOG_ERROR_IOCTL,
                            "ring entry for page %" G_GUINT64_FORMAT " of slot %u: no such page",
                            (guint64)entry->offset, entry->slot);
                return FALSE;
            }
            ferry_bitmap_set(&log->collected[slot->block], slot->first_page + entry->offset, 1);
        }
        /* Release: the kernel may overwrite the entry from here on. */
        __atomic_store_n(&entry->flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
        ring->next = ring->next + 1 == length ? 0 : ring->next + 1;
    }
}

/* Protects all pages anew; the next sync of each block reports it whole. */
static gboolean start_over(KvmRing *log, GError **error)
{
    return ferry_kvm_slots_log(&log->slots, FALSE, error) &&
           ferry_kvm_slots_log(&log->slots, TRUE, error);
}

/* With the mutex held. */
static gboolean collect(KvmRing *log, GError **error)
{
    uint32_t n = 0;
    gboolean ok = TRUE, cut_short = FALSE;

    for (unsigned i = 0; i < log->n_rings && ok; i++) {
        ok = harvest(log, &log->rings[i], &n, error);
    }
    ok = ferry_kvm_reset(log->reset, n, &cut_short, ok ? error : NULL) && ok;
    return ok && (!cut_short || !log->logging || start_over(log, error));
}

/* With the mutex held. Ends logging and empties the rings: a vCPU does not run while its ring is
 * full. */
static gboolean end(KvmRing *log, GError **error)
{
    gboolean ok = ferry_kvm_slots_log(&log->slots, FALSE, error);

    log->logging = FALSE;
    collect(log, NULL);
    for (unsigned i = 0; i < log->slots.n_blocks; i++) {
        ferry_bitmap_reset(&log->collected[i], 0, log->collected[i].n_bits);
    }
    return ok;
}

/* With the mutex held. */
static gboolean begin(KvmRing *log, GError **error)
{
    /* "Initially set" belongs to the bitmap: with a ring it would leave pages unprotected and
     * unlogged. */
    if (ferry_kvm_manual_protect_offered(log->slots.vm_fd) &&
        !ferry_kvm_set_manual_protect(log->slots.vm_fd, 0, error)) {
        return FALSE;
    }
    log->logging = ferry_kvm_slots_log(&log->slots, TRUE, error);
    return log->logging;
}

static gboolean ring_start(void *self, GError **error)
{
    KvmRing *log = self;
    gboolean ok;

    pthread_mutex_lock(&log->mutex);
    ok = end(log, error) && begin(log, error);
    pthread_mutex_unlock(&log->mutex);
    return ok;
}

static gboolean ring_sync(void *self, unsigned block, FerryBitmap *dirty, GError **error)
{
    KvmRing *log = self;
    FerryBitmap *collected = &log->collected[block];
    gboolean ok;

    pthread_mutex_lock(&log->mutex);
    ok = collect(log, error);
    if (ok) {
        ferry_bitmap_or(dirty, collected);
        ferry_bitmap_reset(collected, 0, collected->n_bits);
        ferry_kvm_slots_first_sync(&log->slots, block, dirty);
    }
    pthread_mutex_unlock(&log->mutex);
    return ok;
}

static void ring_stop(void *self)
{
    KvmRing *log = self;

    pthread_mutex_lock(&log->mutex);
    end(log, NULL);
    pthread_mutex_unlock(&log->mutex);
}

static void ring_free(void *self)
{
    KvmRing *log = self;

    ferry_kvm_reset_free(log->reset);
    for (unsigned i = 0; i < log->n_rings; i++) {
        munmap(log->rings[i].entries, log->ring_bytes);
    }
    for (unsigned i = 0; i < log->slots.n_blocks; i++) {
        ferry_bitmap_clear(&log->collected[i]);
    }
    g_free(log->rings);
    g_free(log->collected);
    ferry_kvm_slots_clear(&log->slots);
    pthread_mutex_destroy(&log->mutex);
    g_free(log);
}

static const FerryDirtyLogOps ring_ops = {
    .name = "kvm-ring",
    .start = ring_start,
    .sync = ring_sync, /* protects again before it reports: nothing is left for clear */
    .stop = ring_stop,
    .free = ring_free,
};

static gboolean map_rings(KvmRing *log, const int *vcpu_fds, unsigned n_vcpus, GError **error)
{
    /* Answers EINVAL while the VM has no rings; touching them would be SIGBUS. */
    if (ferry_kvm_ioctl(log->slots.vm_fd, KVM_RESET_DIRTY_RINGS, NULL) < 0) {
        g_set_error(error, FERRY_DIRTY_LOG_ERROR, FERRY_DIRTY_LOG_ERROR_UNSUPPORTED,
                    "KVM_CAP_DIRTY_LOG_RING is not enabled: %s", g_strerror(errno));
        return FALSE;
    }
    for (; log->n_rings < n_vcpus; log->n_rings++) {
        void *entries = mmap(NULL, log->ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                             vcpu_fds[log->n_rings], KVM_DIRTY_LOG_PAGE_OFFSET * PAGE_BYTES);

        if (entries == MAP_FAILED) {
            ferry_kvm_set_error(error, "mmap of a dirty ring");
            return FALSE;
        }
        log->rings[log->n_rings].entries = entries;
    }
    return TRUE;
}

FerryDirtyLog *ferry_dirty_log_kvm_ring_new(int vm_fd, const int *vcpu_fds, unsigned n_vcpus,
                                            uint32_t ring_bytes, const FerryKvmSlot *slots,
                                            unsigned n_slots, const uint64_t *block_pages,
                                            unsigned n_blocks, GError **error)
{
    KvmRing *log;

    if (ring_bytes < PAGE_BYTES || (ring_bytes & (ring_bytes - 1)) != 0) {
        g_set_error(error, FERRY_DIRTY_LOG_ERROR, FERRY_DIRTY_LOG_ERROR_INVALID,
                    "a dirty ring of %u bytes: must be a power of two, %u or more", ring_bytes,
                    PAGE_BYTES);
        return NULL;
    }
    log = g_new0(KvmRing, 1);
    if (!ferry_kvm_slots_init(&log->slots, vm_fd, slots, n_slots, block_pages, n_blocks, error)) {
        g_free(log);
        return NULL;
    }
    pthread_mutex_init(&log->mutex, NULL);
    log->ring_bytes = ring_bytes;
    log->rings = g_new0(Ring, n_vcpus);
    log->collected = g_new0(FerryBitmap, n_blocks);
    for (unsigned i = 0; i < n_blocks; i++) {
        ferry_bitmap_init(&log->collected[i], block_pages[i]);
    }
    log->reset = ferry_kvm_reset_new(vm_fd, error);
    if (!log->reset || !map_rings(log, vcpu_fds, n_vcpus, error)) {
        ring_free(log);
        return NULL;
    }
    return ferry_dirty_log_new(&ring_ops, log, block_pages, n_blocks);
}

gboolean ferry_dirty_log_kvm_ring_collect(FerryDirtyLog *log, GError **error)
{
    KvmRing *self = ferry_dirty_log_get_self(log);
    gboolean ok;

    g_return_val_if_fail(ferry_dirty_log_get_ops(log) == &ring_ops, FALSE);
    pthread_mutex_lock(&self->mutex);
    ok = collect(self, error);
    pthread_mutex_unlock(&self->mutex);
    if (!ok) {
        g_prefix_error(error, "dirty log '%s': ", ring_ops.name);
    }
    return ok;
}
