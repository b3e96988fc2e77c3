#include "dirtylog/dirtylog.h"

#include <linux/kvm.h>

#include "dirtylog/kvm-slots.h"
#include "dirtylog/private.h"

typedef struct {
    FerryKvmSlots slots;
    /* Of KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2. */
    uint64_t offered;
    /* Per slot: what the last GET fetched and no CLEAR has cleared. Only these bits may be cleared
     * in the kernel: one that we have not seen would be lost. */
    FerryBitmap *fetched;
    uint64_t cleared_pages;
} KvmBitmap;

static void bitmap_stop(void *self)
{
    KvmBitmap *log = self;

    ferry_kvm_slots_log(&log->slots, FALSE, NULL);
    if (log->offered) {
        ferry_kvm_set_manual_protect(log->slots.vm_fd, 0, NULL);
    }
}

/* @manual: flags of KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, 0 for a GET that clears. */
static gboolean start(KvmBitmap *log, uint64_t manual, GError **error)
{
    for (unsigned i = 0; i < log->slots.n_slots; i++) {
        ferry_bitmap_reset(&log->fetched[i], 0, log->fetched[i].n_bits);
    }
    log->cleared_pages = 0;
    /* The kernel makes a slot's bitmap when the flag goes from off to on. */
    return ferry_kvm_slots_log(&log->slots, FALSE, error) &&
           (!log->offered || ferry_kvm_set_manual_protect(log->slots.vm_fd, manual, error)) &&
           ferry_kvm_slots_log(&log->slots, TRUE, error);
}

static gboolean manual_start(void *self, GError **error)
{
    KvmBitmap *log = self;

    return start(log, log->offered, error);
}

static gboolean plain_start(void *self, GError **error) { return start(self, 0, error); }

static gboolean get(KvmBitmap *log, unsigned i, GError **error)
{
    FerryBitmap *fetched = &log->fetched[i];
    struct kvm_dirty_log get = {.slot = log->slots.slots[i].slot, .dirty_bitmap = fetched->words};

    if (ferry_kvm_ioctl(log->slots.vm_fd, KVM_GET_DIRTY_LOG, &get) < 0) {
        ferry_kvm_set_error(error, "KVM_GET_DIRTY_LOG");
        g_prefix_error(error, "slot %u: ", get.slot);
        return FALSE;
    }
    if (fetched->n_bits % 64 != 0) {
        fetched->words[fetched->n_bits / 64] &= UINT64_MAX >> (64 - fetched->n_bits % 64);
    }
    return TRUE;
}

static gboolean bitmap_sync(void *self, unsigned block, FerryBitmap *dirty, GError **error)
{
    KvmBitmap *log = self;

    for (unsigned i = 0; i < log->slots.n_slots; i++) {
        if (log->slots.slots[i].block == block) {
            if (!get(log, i, error)) {
                return FALSE;
            }
            ferry_bitmap_or_words(dirty, log->slots.slots[i].first_page, log->fetched[i].words,
                                  ferry_bitmap_n_words(&log->fetched[i]));
        }
    }
    /* Manual protect without "initially set", and the plain log, protect every page at start and
     * begin with an empty bitmap. */
    ferry_kvm_slots_first_sync(&log->slots, block, dirty);
    return TRUE;
}

/* Pages [first, first + n) of slot @i. The kernel takes whole words, and clears what is set in
 * them: so what lies outside is hidden from it. */
static gboolean clear_slot(KvmBitmap *log, unsigned i, uint64_t first, uint64_t n, GError **error)
{
    FerryBitmap *fetched = &log->fetched[i];
    uint64_t word = first / 64, last = (first + n - 1) / 64, end = (first + n) % 64;
    uint64_t *words = fetched->words;
    uint64_t before = words[word] & ((UINT64_C(1) << first % 64) - 1);
    uint64_t behind = end ? words[last] & UINT64_MAX << end : 0;
    struct kvm_clear_dirty_log clear = {
        .slot = log->slots.slots[i].slot,
        /* a slot has less than 2^31 pages */
        .num_pages = (uint32_t)(MIN((last + 1) * 64, fetched->n_bits) - word * 64),
        .first_page = word * 64,
        .dirty_bitmap = words + word,
    };
    uint64_t count = ferry_bitmap_count_range(fetched, first, n);

    if (count == 0) {
        return TRUE;
    }
    words[word] &= ~before;
    words[last] &= ~behind;
    gboolean ok = ferry_kvm_ioctl(log->slots.vm_fd, KVM_CLEAR_DIRTY_LOG, &clear) >= 0;
    if (ok) {
        ferry_bitmap_reset(fetched, first, n);
        log->cleared_pages += count;
    } else {
        ferry_kvm_set_error(error, "KVM_CLEAR_DIRTY_LOG");
        g_prefix_error(error, "slot %u: ", clear.slot);
    }
    words[word] |= before;
    words[last] |= behind;
    return ok;
}

static gboolean manual_clear(void *self, unsigned block, uint64_t first, uint64_t n,
                             FerryBitmap *dirty, GError **error)
{
    KvmBitmap *log = self;

    (void)dirty; /* the kernel keeps what no GET has fetched */
    for (unsigned i = 0; i < log->slots.n_slots; i++) {
        const FerryKvmSlot *slot = &log->slots.slots[i];
        uint64_t from = MAX(first, slot->first_page);
        uint64_t to = MIN(first + n, slot->first_page + slot->n_pages);

        if (slot->block == block && from < to &&
            !clear_slot(log, i, from - slot->first_page, to - from, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static uint64_t manual_cleared_pages(const void *self)
{
    return ((const KvmBitmap *)self)->cleared_pages;
}

static void bitmap_free(void *self)
{
    KvmBitmap *log = self;

    for (unsigned i = 0; i < log->slots.n_slots; i++) {
        ferry_bitmap_clear(&log->fetched[i]);
    }
    g_free(log->fetched);
    ferry_kvm_slots_clear(&log->slots);
    g_free(log);
}

static const FerryDirtyLogOps manual_ops = {
    .name = "kvm-bitmap",
    .start = manual_start,
    .sync = bitmap_sync,
    .clear = manual_clear,
    .stop = bitmap_stop,
    .free = bitmap_free,
    .clears_exactly = TRUE,
    .cleared_pages = manual_cleared_pages,
};

/* GET reports, clears and protects in one. */
static const FerryDirtyLogOps plain_ops = {
    .name = "kvm-plain",
    .start = plain_start,
    .sync = bitmap_sync,
    .stop = bitmap_stop,
    .free = bitmap_free,
};

FerryDirtyLog *ferry_dirty_log_kvm_bitmap_new(int vm_fd, const FerryKvmSlot *slots,
                                              unsigned n_slots, const uint64_t *block_pages,
                                              unsigned n_blocks, GError **error)
{
    KvmBitmap *log = g_new0(KvmBitmap, 1);

    if (!ferry_kvm_slots_init(&log->slots, vm_fd, slots, n_slots, block_pages, n_blocks, error)) {
        g_free(log);
        return NULL;
    }
    log->offered = ferry_kvm_manual_protect_offered(vm_fd);
    log->fetched = g_new0(FerryBitmap, n_slots);
    for (unsigned i = 0; i < n_slots; i++) {
        ferry_bitmap_init(&log->fetched[i], slots[i].n_pages);
    }
    return ferry_dirty_log_new(log->offered ? &manual_ops : &plain_ops, log, block_pages, n_blocks);
}

void ferry_dirty_log_kvm_bitmap_set_plain(FerryDirtyLog *log)
{
    const FerryDirtyLogOps *ops = ferry_dirty_log_get_ops(log);

    g_return_if_fail(ops == &manual_ops || ops == &plain_ops);
    ferry_dirty_log_set_ops(log, &plain_ops);
}
