/* The memory slots that both KVM logs cover. Not for other rooms. */
#pragma once
#include "dirtylog/dirtylog.h"

typedef struct {
    int vm_fd; /* borrowed */
    FerryKvmSlot *slots;
    unsigned n_slots;
    unsigned n_blocks;
    gboolean *all_reported; /* per block: the first sync has been */
} FerryKvmSlots;

/* Copies @slots. FERRY_DIRTY_LOG_ERROR_INVALID when one does not fit its block. */
gboolean ferry_kvm_slots_init(FerryKvmSlots *s, int vm_fd, const FerryKvmSlot *slots,
                              unsigned n_slots, const uint64_t *block_pages, unsigned n_blocks,
                              GError **error);
void ferry_kvm_slots_clear(FerryKvmSlots *s);
/* Sets or takes off KVM_MEM_LOG_DIRTY_PAGES on every slot. */
gboolean ferry_kvm_slots_log(FerryKvmSlots *s, gboolean on, GError **error);
/* Reports every page of @block when nothing has been reported since logging was set. */
void ferry_kvm_slots_first_sync(FerryKvmSlots *s, unsigned block, FerryBitmap *dirty);
/* KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE and KVM_DIRTY_LOG_INITIALLY_SET, as far as offered. */
uint64_t ferry_kvm_manual_protect_offered(int vm_fd);
gboolean ferry_kvm_set_manual_protect(int vm_fd, uint64_t flags, GError **error);

/* ioctl() that is tried again after a signal. */
int ferry_kvm_ioctl(int fd, unsigned long request, const void *arg);
/* Sets FERRY_DIRTY_LOG_ERROR_IOCTL from errno. */
void ferry_kvm_set_error(GError **error, const char *what);
