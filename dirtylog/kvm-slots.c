#include "dirtylog/kvm-slots.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#define PAGE_BYTES 4096u

int ferry_kvm_ioctl(int fd, unsigned long request, const void *arg)
{
    int r;

    do {
        r = ioctl(fd, request, arg);
    } while (r < 0 && errno == EINTR);
    return r;
}

void ferry_kvm_set_error(GError **error, const char *what)
{
    g_set_error(error, FERRY_DIRTY_LOG_ERROR, FERRY_DIRTY_LOG_ERROR_IOCTL, "%s: %s", what,
                g_strerror(errno));
}

gboolean ferry_kvm_slots_init(FerryKvmSlots *s, int vm_fd, const FerryKvmSlot *slots,
                              unsigned n_slots, const uint64_t *block_pages, unsigned n_blocks,
                              GError **error)
{
    for (unsigned i = 0; i < n_slots; i++) {
        const FerryKvmSlot *slot = &slots[i];

        if (slot->block >= n_blocks || slot->first_page % 64 != 0 || slot->n_pages == 0 ||
            slot->first_page > block_pages[slot->block] ||
            slot->n_pages > block_pages[slot->block] - slot->first_page) {
            g_set_error(error, FERRY_DIRTY_LOG_ERROR, FERRY_DIRTY_LOG_ERROR_INVALID,
                        "slot %u: does not fit its block, or begins off a multiple of 64 pages",
                        slot->slot);
            return FALSE;
        }
    }
    *s = (FerryKvmSlots){.vm_fd = vm_fd, .n_slots = n_slots, .n_blocks = n_blocks};
    s->slots = g_memdup2(slots, n_slots * sizeof *slots);
    s->all_reported = g_new0(gboolean, n_blocks);
    return TRUE;
}

void ferry_kvm_slots_clear(FerryKvmSlots *s)
{
    g_free(s->slots);
    g_free(s->all_reported);
    *s = (FerryKvmSlots){0};
}

gboolean ferry_kvm_slots_log(FerryKvmSlots *s, gboolean on, GError **error)
{
    gboolean ok = TRUE;

    for (unsigned i = 0; i < s->n_slots; i++) {
        const FerryKvmSlot *slot = &s->slots[i];
        struct kvm_userspace_memory_region region = {
            .slot = slot->slot,
            .flags = on ? KVM_MEM_LOG_DIRTY_PAGES : 0,
            .guest_phys_addr = slot->guest_address,
            .memory_size = slot->n_pages * PAGE_BYTES,
            .userspace_addr = (uintptr_t)slot->host,
        };

        if (ferry_kvm_ioctl(s->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0 && ok) {
            ferry_kvm_set_error(error, "KVM_SET_USER_MEMORY_REGION");
            g_prefix_error(error, "slot %u: ", slot->slot);
            ok = FALSE; /* go on: taking logging off must reach every slot that lets it */
        }
    }
    for (unsigned i = 0; i < s->n_blocks; i++) {
        s->all_reported[i] = FALSE;
    }
    return ok;
}

void ferry_kvm_slots_first_sync(FerryKvmSlots *s, unsigned block, FerryBitmap *dirty)
{
    if (!s->all_reported[block]) {
        s->all_reported[block] = TRUE;
        ferry_bitmap_set(dirty, 0, dirty->n_bits);
    }
}

uint64_t ferry_kvm_manual_protect_offered(int vm_fd)
{
    int r = ioctl(vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2);

    return r < 0
               ? 0
               : (uint64_t)r & (KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE | KVM_DIRTY_LOG_INITIALLY_SET);
}

gboolean ferry_kvm_set_manual_protect(int vm_fd, uint64_t flags, GError **error)
{
    struct kvm_enable_cap cap = {.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2, .args = {flags}};

    if (ferry_kvm_ioctl(vm_fd, KVM_ENABLE_CAP, &cap) < 0) {
        ferry_kvm_set_error(error, "KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2");
        return FALSE;
    }
    return TRUE;
}
