#include <sys/ioctl.h>
#include "tools/vm/msrs.h"

#define MSR_TSC 0x10

/* A struct kvm_msrs of one entry. */
typedef struct {
    uint32_t nmsrs, padding;
    struct kvm_msr_entry entry;
} OneMsr;
G_STATIC_ASSERT(G_STRUCT_OFFSET(OneMsr, entry) == sizeof(struct kvm_msrs));

/* A struct kvm_msr_list. */
typedef struct {
    uint32_t nmsrs;
    uint32_t indices[VM_MAX_MSRS];
} MsrList;
G_STATIC_ASSERT(G_STRUCT_OFFSET(MsrList, indices) == sizeof(struct kvm_msr_list));

gboolean msr_get(int vcpu_fd, uint32_t index, uint64_t *out)
{
    OneMsr msr = {.nmsrs = 1, .entry.index = index};

    if (ioctl(vcpu_fd, KVM_GET_MSRS, &msr) != 1) {
        return FALSE;
    }
    *out = msr.entry.data;
    return TRUE;
}

gboolean msr_set(int vcpu_fd, uint32_t index, uint64_t value)
{
    OneMsr msr = {
        .nmsrs = 1, .entry = {.index = index, .data = value}
    };

    return ioctl(vcpu_fd, KVM_SET_MSRS, &msr) == 1;
}

/* Kept when it can be read, and written back as it was. */
static void consider(Vm *vm, uint32_t index)
{
    int fd = vm->kvm_vcpus[0].fd;
    uint64_t value;

    for (unsigned i = 0; i < vm->n_msrs; i++) {
        if (vm->msrs[i] == index) {
            return;
        }
    }
    if (vm->n_msrs < VM_MAX_MSRS && msr_get(fd, index, &value) &&
        (index == MSR_TSC || msr_set(fd, index, value))) {
        vm->msrs[vm->n_msrs++] = index;
    }
}

/* State that a guest sets up and that KVM keeps, but does not list everywhere. */
static void consider_unlisted(Vm *vm)
{
    static const uint32_t fixed_ranges[] = {0x250, 0x258, 0x259, 0x268, 0x269, 0x26a,
                                            0x26b, 0x26c, 0x26d, 0x26e, 0x26f};

    consider(vm, 0x2ff); /* MTRR default type */
    for (uint32_t index = 0x200; index < 0x210; index++) {
        consider(vm, index);
    }
    for (size_t i = 0; i < G_N_ELEMENTS(fixed_ranges); i++) {
        consider(vm, fixed_ranges[i]);
    }
    consider(vm, 0xda0); /* IA32_XSS */
}

gboolean msrs_find(Vm *vm, GError **error)
{
    MsrList list = {.nmsrs = VM_MAX_MSRS};

    if (ioctl(vm->kvm_fd, KVM_GET_MSR_INDEX_LIST, &list) < 0) {
        return vm_host_error(error, "KVM_GET_MSR_INDEX_LIST");
    }
    for (uint32_t i = 0; i < list.nmsrs; i++) {
        consider(vm, list.indices[i]);
    }
    consider_unlisted(vm);
    return TRUE;
}
