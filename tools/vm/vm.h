/* The machine: RAM, vCPUs, devices, and what Ferry is told about them. Made and freed by one
 * thread; while it lives, the members below do not change unless a comment says so. */
#pragma once
#include <linux/kvm.h>
#include "engine/ferry.h"
#include "tools/vm/options.h"
#include "tools/vm/ports.h"
#include "tools/vm/section.h"
#include "tools/vm/vcpus.h"

G_BEGIN_DECLS

/* RAM is one block, "pc.ram". Its first 3 GiB are guest-physical 0 to 3 GiB, the rest begins at
 * 4 GiB. */
#define VM_HOLE (UINT64_C(3) << 30)
#define VM_HOLE_END (UINT64_C(4) << 30)
#define VM_MAX_SLOTS 2
#define VM_MAX_CPUID 256
#define VM_MAX_MSRS 512

/* A struct kvm_cpuid2 with its entries. */
typedef struct {
    uint32_t nent, padding;
    struct kvm_cpuid_entry2 entries[VM_MAX_CPUID];
} VmCpuid;
G_STATIC_ASSERT(G_STRUCT_OFFSET(VmCpuid, entries) == sizeof(struct kvm_cpuid2));

typedef struct Vm Vm;
typedef struct {
    Vm *vm;
    unsigned index;
    int fd;
    struct kvm_run *run;
} KvmVcpu;

/* One line of the machine's list of device sections. */
typedef struct {
    const char *idstr;
    uint32_t instance;
    uint32_t version;
    const FerryDeviceOps *ops;
    void *self;
} VmDevice;

typedef struct {
    Vm *vm;
    uint32_t chip; /* KVM_IRQCHIP_... */
} VmIrqchip;

struct Vm {
    Accel accel;
    unsigned n_vcpus;
    uint8_t *ram;
    uint64_t ram_bytes;
    Serial *serial;
    Ports *ports;
    Vcpus *vcpus;
    GArray *devices; /* VmDevice, in the order of the stream */

    /* The workload, if there is one; on a destination only after "ferry-vm" has been loaded. */
    gboolean has_workload;
    WorkloadFacts facts;
    char *workload_text;     /* -workload as it was given; NULL: it was not */
    uint64_t process_offset; /* ACCEL_PROCESS: added to the clock of this host */

    FerryDirtyLog *log; /* the guest's, once vm_describe has succeeded; NULL: none */

    /* ACCEL_KVM */
    int kvm_fd, vm_fd;
    uint32_t ring_bytes;
    size_t run_bytes, xsave_bytes;
    FerryKvmSlot slots[VM_MAX_SLOTS];
    unsigned n_slots;
    KvmVcpu kvm_vcpus[WORKLOAD_MAX_VCPUS];
    VmIrqchip irqchips[KVM_NR_IRQCHIPS];
    VmCpuid cpuid; /* before each vCPU's own ids are put in */
    uint32_t msrs[VM_MAX_MSRS];
    unsigned n_msrs;

    /* Called in a vCPU's thread when it cannot go on; must not wait for vCPUs. May be NULL. Set
     * before the first start. */
    void (*stopped)(void *self, Verdict verdict);
    void *stopped_self;
};

/* The whole machine, standing still: with -incoming empty, else with its guest in memory. */
Vm *vm_new(const Options *options, GError **error);
/* Memory, devices and dirty log. Where this host has no way to see what the guest writes, the guest
 * gets a blocker that says why: it can run and be received, not sent. */
gboolean vm_describe(Vm *vm, FerryGuest *guest, GError **error);
void vm_free(Vm *vm);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(Vm, vm_free)

/* The parts, one file each. */
gboolean memory_new(Vm *vm, const char *mem_path, GError **error); /* memory.c */
void memory_free(Vm *vm);
gboolean kvm_machine_new(Vm *vm, uint32_t ring_entries, GError **error); /* kvm-machine.c */
void kvm_machine_free(Vm *vm);
gboolean boot_load(Vm *vm, const char *path, GError **error); /* boot.c */
gboolean boot_workload(Vm *vm, const WorkloadOptions *options, GError **error);
gboolean cpuid_read(Vm *vm, GError **error); /* cpuid.c */
gboolean cpuid_apply(Vm *vm, unsigned vcpu, GError **error);
void cpuid_save(const Vm *vm, GByteArray *body);
/* Takes over the source's CPUID, provided that this host has its features. */
gboolean cpuid_load(Vm *vm, SectionReader *reader, GError **error);
extern const VcpuOps kvm_vcpu_ops;     /* kvm-vcpu.c */
extern const VcpuOps process_vcpu_ops; /* process.c */
extern const FerryDeviceOps process_device_ops;
extern const FerryDeviceOps cpu_device_ops; /* cpu-state.c */
extern const FerryDeviceOps clock_device_ops, irqchip_device_ops,
    pit_device_ops;                             /* board-state.c */
extern const FerryDeviceOps machine_device_ops; /* machine-state.c */

/* VcpuOps.stopped of both kinds of vCPU: passes it on to vm->stopped. */
void vm_stopped(void *self, Verdict verdict);
/* VM_ERROR_HOST with the call's name and errno. Always FALSE. */
gboolean vm_host_error(GError **error, const char *call);

G_END_DECLS
