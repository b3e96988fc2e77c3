#include <string.h>
#include <sys/ioctl.h>
#include "tools/vm/error.h"
#include "tools/vm/vm.h"

#define BOOT_ADDRESS 0x7c00u
#define IRET_ADDRESS 0x500u
#define LONGEST_IMAGE (0x9fc00u - BOOT_ADDRESS) /* up to where a PC's conventional memory ends */

/* What a BIOS leaves at the jump to the boot sector: CS:IP 0:7c00, DL the first hard disk, a small
 * stack, interrupts on. */
static gboolean set_real_mode(Vm *vm, GError **error)
{
    struct kvm_regs regs = {.rip = BOOT_ADDRESS, .rsp = BOOT_ADDRESS, .rdx = 0x80, .rflags = 0x202};
    struct kvm_sregs sregs;
    int fd = vm->kvm_vcpus[0].fd;

    if (ioctl(fd, KVM_GET_SREGS, &sregs) < 0) {
        return vm_host_error(error, "KVM_GET_SREGS");
    }
    sregs.cs.base = 0;
    sregs.cs.selector = 0;
    if (ioctl(fd, KVM_SET_SREGS, &sregs) < 0) {
        return vm_host_error(error, "KVM_SET_SREGS");
    }
    return ioctl(fd, KVM_SET_REGS, &regs) == 0 || vm_host_error(error, "KVM_SET_REGS");
}

gboolean boot_load(Vm *vm, const char *path, GError **error)
{
    g_autofree char *image = NULL;
    uint16_t *vectors = (uint16_t *)vm->ram;
    gsize length;

    if (!g_file_get_contents(path, &image, &length, error)) {
        g_prefix_error(error, "-boot-sector: ");
        return FALSE;
    }
    if (length < 512 || length > LONGEST_IMAGE) {
        g_set_error(error, VM_ERROR, VM_ERROR_USAGE,
                    "-boot-sector %s: %" G_GSIZE_FORMAT " bytes, not 512 to %u", path, length,
                    LONGEST_IMAGE);
        return FALSE;
    }
    memcpy(vm->ram + BOOT_ADDRESS, image, length);
    /* There is no BIOS: every call to it returns at once. */
    vm->ram[IRET_ADDRESS] = 0xcf;
    for (unsigned i = 0; i < 256; i++) {
        vectors[2 * i] = GUINT16_TO_LE(IRET_ADDRESS);
        vectors[2 * i + 1] = 0;
    }
    return set_real_mode(vm, error);
}

/* Flat segments in ring 3 of long mode, the page tables of workload.c, and no interrupts. I/O
 * privilege 3 lets the program use ports. */
static gboolean set_long_mode(Vm *vm, unsigned index, GError **error)
{
    const struct kvm_segment code = {.limit = 0xffffffff,
                                     .selector = 0x1b,
                                     .type = 11,
                                     .present = 1,
                                     .dpl = 3,
                                     .s = 1,
                                     .l = 1,
                                     .g = 1};
    const struct kvm_segment data = {.limit = 0xffffffff,
                                     .selector = 0x23,
                                     .type = 3,
                                     .present = 1,
                                     .dpl = 3,
                                     .db = 1,
                                     .s = 1,
                                     .g = 1};
    struct kvm_regs regs = {
        .rip = WORKLOAD_CODE,
        .rdi = index,
        .rsp = WORKLOAD_STATES + (index + 1) * WORKLOAD_PAGE - 8, /* as after a call */
        .rflags = 0x3002,
    };
    struct kvm_mp_state runnable = {.mp_state = KVM_MP_STATE_RUNNABLE};
    struct kvm_sregs sregs;
    int fd = vm->kvm_vcpus[index].fd;

    if (ioctl(fd, KVM_GET_SREGS, &sregs) < 0) {
        return vm_host_error(error, "KVM_GET_SREGS");
    }
    sregs.cs = code;
    sregs.ds = sregs.es = sregs.ss = sregs.fs = sregs.gs = data;
    sregs.cr3 = WORKLOAD_PAGE_TABLES;
    sregs.cr4 |= 0x20;                  /* PAE */
    sregs.efer |= 0x500;                /* long mode enabled and active */
    sregs.cr0 |= 0x80000001;            /* paging, protection */
    sregs.cr0 &= ~UINT64_C(0x60000000); /* caches on */
    if (ioctl(fd, KVM_SET_SREGS, &sregs) < 0) {
        return vm_host_error(error, "KVM_SET_SREGS");
    }
    if (ioctl(fd, KVM_SET_REGS, &regs) < 0) {
        return vm_host_error(error, "KVM_SET_REGS");
    }
    return ioctl(fd, KVM_SET_MP_STATE, &runnable) == 0 || vm_host_error(error, "KVM_SET_MP_STATE");
}

static uint64_t ticks_per_second(const Vm *vm)
{
    int khz;

    if (vm->accel == ACCEL_PROCESS) {
        return 1000000000; /* CLOCK_MONOTONIC */
    }
    khz = ioctl(vm->kvm_vcpus[0].fd, KVM_GET_TSC_KHZ, 0);
    return khz <= 0 ? 0 : (uint64_t)khz * 1000;
}

gboolean boot_workload(Vm *vm, const WorkloadOptions *options, GError **error)
{
    uint64_t ticks = ticks_per_second(vm);
    uint64_t now = vm->accel == ACCEL_PROCESS ? ferry_now_ns() : 0;

    if (ticks == 0) {
        return vm_host_error(error, "KVM_GET_TSC_KHZ");
    }
    if (!workload_facts(options, vm->ram_bytes, vm->n_vcpus, ticks, &vm->facts, error)) {
        g_prefix_error(error, "-workload: ");
        return FALSE;
    }
    workload_install(&vm->facts, options->fill, vm->ram, vm->ram_bytes, VM_HOLE, VM_HOLE_END, now);
    vm->has_workload = TRUE;
    for (unsigned i = 0; vm->accel == ACCEL_KVM && i < vm->n_vcpus; i++) {
        if (!set_long_mode(vm, i, error)) {
            return FALSE;
        }
    }
    return TRUE;
}
