#include "tools/vm/vm.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include "tools/vm/error.h"

gboolean vm_host_error(GError **error, const char *call)
{
    g_set_error(error, VM_ERROR, VM_ERROR_HOST, "%s: %s", call, g_strerror(errno));
    return FALSE;
}

void vm_stopped(void *self, Verdict verdict)
{
    Vm *vm = self;

    if (vm->stopped != NULL) {
        vm->stopped(vm->stopped_self, verdict);
    }
}

static void add_device(Vm *vm, const char *idstr, uint32_t instance, const FerryDeviceOps *ops,
                       void *self)
{
    VmDevice device = {idstr, instance, 1, ops, self};

    g_array_append_val(vm->devices, device);
}

static const FerryDeviceOps serial_device_ops = {.save = serial_save, .load = serial_load};
static const FerryDeviceOps ports_device_ops = {.save = ports_save, .load = ports_load};

static void add_devices(Vm *vm)
{
    add_device(vm, "ferry-vm", 0, &machine_device_ops, vm);
    if (vm->accel == ACCEL_KVM) {
        for (unsigned i = 0; i < KVM_NR_IRQCHIPS; i++) {
            add_device(vm, "irqchip", i, &irqchip_device_ops, &vm->irqchips[i]);
        }
        add_device(vm, "pit", 0, &pit_device_ops, vm);
        for (unsigned i = 0; i < vm->n_vcpus; i++) {
            add_device(vm, "cpu", i, &cpu_device_ops, &vm->kvm_vcpus[i]);
        }
        add_device(vm, "kvmclock", 0, &clock_device_ops,
                   vm); /* sets what the CPUs' MSRs announce */
    } else {
        add_device(vm, "process", 0, &process_device_ops, vm);
    }
    add_device(vm, "serial", 0, &serial_device_ops, vm->serial);
    add_device(vm, "ports", 0, &ports_device_ops, vm->ports);
}

static gboolean open_serial(Vm *vm, const Options *options, GError **error)
{
    int fd = -1;

    if (options->serial == SERIAL_STDIO) {
        fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    } else if (options->serial == SERIAL_FILE) {
        fd = open(options->serial_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    }
    if (fd < 0 && (options->serial == SERIAL_STDIO || options->serial == SERIAL_FILE)) {
        g_set_error(error, VM_ERROR, VM_ERROR_HOST, "-serial %s: %s",
                    options->serial == SERIAL_STDIO ? "stdio" : options->serial_path,
                    g_strerror(errno));
        return FALSE;
    }
    vm->serial = serial_new(fd);
    vm->ports = ports_new(vm->serial);
    return TRUE;
}

static gboolean load_guest(Vm *vm, const Options *options, GError **error)
{
    if (options->incoming != NULL) {
        return TRUE; /* it is on its way, into memory that is zero */
    }
    return options->has_workload ? boot_workload(vm, &options->workload, error)
                                 : boot_load(vm, options->boot_sector, error);
}

Vm *vm_new(const Options *options, GError **error)
{
    g_autoptr(Vm) vm = g_new0(Vm, 1);

    vm->accel = options->accel;
    vm->n_vcpus = options->n_vcpus;
    vm->ram_bytes = options->ram_bytes;
    vm->workload_text = g_strdup(options->workload_text);
    vm->kvm_fd = vm->vm_fd = -1;
    for (unsigned i = 0; i < WORKLOAD_MAX_VCPUS; i++) {
        vm->kvm_vcpus[i].fd = -1;
    }
    vm->devices = g_array_new(FALSE, FALSE, sizeof(VmDevice));
    if (!memory_new(vm, options->mem_path, error) || !open_serial(vm, options, error)) {
        return NULL;
    }
    if (vm->accel == ACCEL_KVM && !kvm_machine_new(vm, options->dirty_ring_entries, error)) {
        return NULL;
    }
    if (!load_guest(vm, options, error)) {
        return NULL;
    }
    add_devices(vm);
    vm->vcpus =
        vcpus_new(vm->n_vcpus, vm->accel == ACCEL_KVM ? &kvm_vcpu_ops : &process_vcpu_ops, vm);
    return g_steal_pointer(&vm);
}

static FerryDirtyLog *make_log(Vm *vm, GError **error)
{
    const uint64_t pages = vm->ram_bytes / 4096;
    int vcpu_fds[WORKLOAD_MAX_VCPUS];

    if (vm->accel == ACCEL_PROCESS) {
        const FerryPagemapRegion region = {(uint64_t)(uintptr_t)vm->ram, pages};
        return ferry_dirty_log_pagemap_new(0, -1, &region, 1, error);
    }
    if (vm->ring_bytes == 0) {
        return ferry_dirty_log_kvm_bitmap_new(vm->vm_fd, vm->slots, vm->n_slots, &pages, 1, error);
    }
    for (unsigned i = 0; i < vm->n_vcpus; i++) {
        vcpu_fds[i] = vm->kvm_vcpus[i].fd;
    }
    return ferry_dirty_log_kvm_ring_new(vm->vm_fd, vcpu_fds, vm->n_vcpus, vm->ring_bytes, vm->slots,
                                        vm->n_slots, &pages, 1, error);
}

/* No marks beside the kernel's log: none of the devices here writes guest memory. */
gboolean vm_describe(Vm *vm, FerryGuest *guest, GError **error)
{
    g_autoptr(GError) no_log = NULL;

    if (!ferry_memory_add(ferry_guest_memory(guest), "pc.ram", vm->ram, vm->ram_bytes, error)) {
        return FALSE;
    }
    ferry_memory_set_guest_address(ferry_guest_memory(guest), 0, 0);
    ferry_guest_set_profile(guest, vm->n_vcpus, vm->workload_text);
    for (guint i = 0; i < vm->devices->len; i++) {
        const VmDevice *device = &g_array_index(vm->devices, VmDevice, i);
        if (!ferry_guest_add_device(guest, device->idstr, device->instance, device->version,
                                    device->ops, device->self, error)) {
            return FALSE;
        }
    }
    vm->log = make_log(vm, &no_log);
    if (vm->log == NULL) {
        ferry_guest_set_blocker(guest, no_log->message);
    } else {
        ferry_guest_set_dirty_log(guest, vm->log);
    }
    return TRUE;
}

void vm_free(Vm *vm)
{
    if (vm == NULL) {
        return;
    }
    vcpus_free(vm->vcpus);
    kvm_machine_free(vm);
    ports_free(vm->ports);
    serial_free(vm->serial);
    memory_free(vm);
    if (vm->devices != NULL) {
        g_array_unref(vm->devices);
    }
    g_free(vm->workload_text);
    g_free(vm);
}
