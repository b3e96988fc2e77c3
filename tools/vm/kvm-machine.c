#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "tools/vm/error.h"
#include "tools/vm/msrs.h"
#include "tools/vm/vm.h"

/* Three pages and one that KVM needs on Intel processors; the ones QEMU gives it. */
#define TSS_ADDRESS 0xfffbd000u
#define IDENTITY_MAP_ADDRESS UINT64_C(0xfffbc000)

static gboolean open_kvm(Vm *vm, GError **error)
{
    static const struct {
        int number;
        const char *name;
    } needed[] = {
        {KVM_CAP_IRQCHIP,        "KVM_CAP_IRQCHIP"            },
        {KVM_CAP_PIT2,           "KVM_CAP_PIT2"               },
        {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"     },
        {KVM_CAP_XSAVE,          "KVM_CAP_XSAVE"              },
        {KVM_CAP_XCRS,           "KVM_CAP_XCRS"               },
        {KVM_CAP_SREGS2,         "KVM_CAP_SREGS2 (Linux 5.14)"},
        {KVM_CAP_VCPU_EVENTS,    "KVM_CAP_VCPU_EVENTS"        },
        {KVM_CAP_DEBUGREGS,      "KVM_CAP_DEBUGREGS"          },
        {KVM_CAP_ADJUST_CLOCK,   "KVM_CAP_ADJUST_CLOCK"       },
    };

    vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (vm->kvm_fd < 0) {
        g_set_error(error, VM_ERROR, VM_ERROR_HOST,
                    "/dev/kvm: %s; -accel process runs a -workload without it", g_strerror(errno));
        return FALSE;
    }
    if (ioctl(vm->kvm_fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) {
        return vm_host_error(error, "KVM_GET_API_VERSION");
    }
    for (size_t i = 0; i < G_N_ELEMENTS(needed); i++) {
        if (ioctl(vm->kvm_fd, KVM_CHECK_EXTENSION, needed[i].number) <= 0) {
            g_set_error(error, VM_ERROR, VM_ERROR_HOST, "/dev/kvm lacks %s", needed[i].name);
            return FALSE;
        }
    }
    return TRUE;
}

/* Before the first vCPU. */
static gboolean enable_ring(Vm *vm, uint32_t entries, GError **error)
{
    struct kvm_enable_cap cap = {.cap = KVM_CAP_DIRTY_LOG_RING_ACQ_REL};
    int maximum = ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, cap.cap);

    if (maximum <= 0) {
        cap.cap = KVM_CAP_DIRTY_LOG_RING;
        maximum = ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, cap.cap);
    }
    vm->ring_bytes = entries * (uint32_t)sizeof(struct kvm_dirty_gfn);
    if (maximum <= 0 || vm->ring_bytes > (uint32_t)maximum) {
        g_set_error(error, VM_ERROR, VM_ERROR_HOST,
                    "dirty-ring-size=%u: this kernel's rings have at most %d entries", entries,
                    MAX(maximum, 0) / (int)sizeof(struct kvm_dirty_gfn));
        return FALSE;
    }
    cap.args[0] = vm->ring_bytes;
    return ioctl(vm->vm_fd, KVM_ENABLE_CAP, &cap) == 0 ||
           vm_host_error(error, "KVM_ENABLE_CAP of the dirty ring");
}

static gboolean make_board(Vm *vm, GError **error)
{
    uint64_t identity_map = IDENTITY_MAP_ADDRESS;
    struct kvm_pit_config pit = {.flags = KVM_PIT_SPEAKER_DUMMY};

    if (ioctl(vm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) < 0 ||
        ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, TSS_ADDRESS) < 0) {
        return vm_host_error(error, "KVM_SET_TSS_ADDR");
    }
    if (ioctl(vm->vm_fd, KVM_CREATE_IRQCHIP, 0) < 0) {
        return vm_host_error(error, "KVM_CREATE_IRQCHIP");
    }
    if (ioctl(vm->vm_fd, KVM_CREATE_PIT2, &pit) < 0) {
        return vm_host_error(error, "KVM_CREATE_PIT2");
    }
    for (uint32_t chip = 0; chip < KVM_NR_IRQCHIPS; chip++) {
        vm->irqchips[chip] = (VmIrqchip){.vm = vm, .chip = chip};
    }
    return TRUE;
}

static gboolean add_slot(Vm *vm, uint64_t offset, uint64_t bytes, uint64_t guest_address,
                         GError **error)
{
    struct kvm_userspace_memory_region region = {
        .slot = vm->n_slots,
        .guest_phys_addr = guest_address,
        .memory_size = bytes,
        .userspace_addr = (uint64_t)(uintptr_t)(vm->ram + offset),
    };

    if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0) {
        return vm_host_error(error, "KVM_SET_USER_MEMORY_REGION");
    }
    vm->slots[vm->n_slots] = (FerryKvmSlot){
        .slot = vm->n_slots,
        .guest_address = guest_address,
        .host = vm->ram + offset,
        .n_pages = bytes / 4096,
        .block = 0,
        .first_page = offset / 4096,
    };
    vm->n_slots++;
    return TRUE;
}

static gboolean add_slots(Vm *vm, GError **error)
{
    uint64_t low = MIN(vm->ram_bytes, VM_HOLE);

    return add_slot(vm, 0, low, 0, error) &&
           (low == vm->ram_bytes || add_slot(vm, low, vm->ram_bytes - low, VM_HOLE_END, error));
}

static gboolean make_vcpu(Vm *vm, unsigned index, GError **error)
{
    KvmVcpu *vcpu = &vm->kvm_vcpus[index];
    void *run;

    vcpu->vm = vm;
    vcpu->index = index;
    vcpu->fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, index);
    if (vcpu->fd < 0) {
        return vm_host_error(error, "KVM_CREATE_VCPU");
    }
    run = mmap(NULL, vm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
    if (run == MAP_FAILED) {
        return vm_host_error(error, "mmap of kvm_run");
    }
    vcpu->run = run;
    return cpuid_apply(vm, index, error);
}

gboolean kvm_machine_new(Vm *vm, uint32_t ring_entries, GError **error)
{
    int bytes;

    if (!open_kvm(vm, error)) {
        return FALSE;
    }
    vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
    if (vm->vm_fd < 0) {
        return vm_host_error(error, "KVM_CREATE_VM");
    }
    bytes = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (bytes < (int)sizeof(struct kvm_run)) {
        return vm_host_error(error, "KVM_GET_VCPU_MMAP_SIZE");
    }
    vm->run_bytes = (size_t)bytes;
    bytes = ioctl(vm->vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_XSAVE2);
    vm->xsave_bytes = MAX((size_t)MAX(bytes, 0), sizeof(struct kvm_xsave));
    if ((ring_entries != 0 && !enable_ring(vm, ring_entries, error)) || !make_board(vm, error) ||
        !add_slots(vm, error) || !cpuid_read(vm, error)) {
        return FALSE;
    }
    for (unsigned i = 0; i < vm->n_vcpus; i++) {
        if (!make_vcpu(vm, i, error)) {
            return FALSE;
        }
    }
    return msrs_find(vm, error);
}

void kvm_machine_free(Vm *vm)
{
    for (unsigned i = 0; i < vm->n_vcpus; i++) {
        if (vm->kvm_vcpus[i].run != NULL) {
            munmap(vm->kvm_vcpus[i].run, vm->run_bytes);
        }
        ferry_fd_clear(&vm->kvm_vcpus[i].fd);
    }
    ferry_fd_clear(&vm->vm_fd);
    ferry_fd_clear(&vm->kvm_fd);
}
