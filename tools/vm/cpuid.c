#include <linux/kvm_para.h>
#include <sys/ioctl.h>
#include "tools/vm/error.h"
#include "tools/vm/vm.h"

gboolean cpuid_read(Vm *vm, GError **error)
{
    vm->cpuid.nent = VM_MAX_CPUID;
    return ioctl(vm->kvm_fd, KVM_GET_SUPPORTED_CPUID, &vm->cpuid) == 0 ||
           vm_host_error(error, "KVM_GET_SUPPORTED_CPUID");
}

gboolean cpuid_apply(Vm *vm, unsigned vcpu, GError **error)
{
    g_autofree VmCpuid *own = g_memdup2(&vm->cpuid, sizeof *own);

    for (unsigned i = 0; i < own->nent; i++) {
        struct kvm_cpuid_entry2 *entry = &own->entries[i];
        if (entry->function == 1) {
            entry->ebx = (entry->ebx & 0x0000ffff) | vm->n_vcpus << 16 | vcpu << 24;
        } else if (entry->function == 0xb || entry->function == 0x1f) {
            entry->edx = vcpu;
        }
    }
    return ioctl(vm->kvm_vcpus[vcpu].fd, KVM_SET_CPUID2, own) == 0 ||
           vm_host_error(error, "KVM_SET_CPUID2");
}

void cpuid_save(const Vm *vm, GByteArray *body)
{
    section_put_part(body, vm->cpuid.entries, vm->cpuid.nent * sizeof vm->cpuid.entries[0]);
}

static const struct kvm_cpuid_entry2 *find(const VmCpuid *cpuid, uint32_t function, uint32_t index)
{
    for (unsigned i = 0; i < cpuid->nent; i++) {
        if (cpuid->entries[i].function == function && cpuid->entries[i].index == index) {
            return &cpuid->entries[i];
        }
    }
    return NULL;
}

enum { EAX, EBX, ECX, EDX };

static uint32_t value(const struct kvm_cpuid_entry2 *entry, int reg)
{
    const uint32_t values[] = {
        [EAX] = entry->eax, [EBX] = entry->ebx, [ECX] = entry->ecx, [EDX] = entry->edx};

    return values[reg];
}

/* A guest that has seen a feature may use it at any time. */
static gboolean check_features(const Vm *vm, const VmCpuid *theirs, GError **error)
{
    static const struct {
        uint32_t function, index;
        int reg;
    } features[] = {
        {1,                  0, ECX},
        {1,                  0, EDX},
        {7,                  0, EBX},
        {7,                  0, ECX},
        {7,                  0, EDX},
        {7,                  1, EAX},
        {0xd,                1, EAX},
        {0x80000001,         0, ECX},
        {0x80000001,         0, EDX},
        {KVM_CPUID_FEATURES, 0, EAX},
    };

    for (size_t i = 0; i < G_N_ELEMENTS(features); i++) {
        const struct kvm_cpuid_entry2 *their =
            find(theirs, features[i].function, features[i].index);
        const struct kvm_cpuid_entry2 *our =
            find(&vm->cpuid, features[i].function, features[i].index);
        uint32_t missing = their == NULL ? 0 : value(their, features[i].reg);
        missing &= our == NULL ? UINT32_MAX : ~value(our, features[i].reg);
        if (missing != 0) {
            g_set_error(error, VM_ERROR, VM_ERROR_STATE,
                        "the guest's CPU has features that this host lacks: CPUID %#x.%u %s, bits "
                        "%#010x",
                        features[i].function, features[i].index,
                        (const char *[]){"EAX", "EBX", "ECX", "EDX"}[features[i].reg], missing);
            return FALSE;
        }
    }
    return TRUE;
}

gboolean cpuid_load(Vm *vm, SectionReader *reader, GError **error)
{
    g_autofree VmCpuid *theirs = g_new0(VmCpuid, 1);
    size_t length;

    if (!section_get_part_up_to(reader, "CPUID", theirs->entries, sizeof theirs->entries[0],
                                sizeof theirs->entries, &length, error)) {
        return FALSE;
    }
    if (length % sizeof theirs->entries[0] != 0) {
        g_set_error(error, VM_ERROR, VM_ERROR_STATE, "CPUID: not whole entries");
        return FALSE;
    }
    theirs->nent = (uint32_t)(length / sizeof theirs->entries[0]);
    if (!check_features(vm, theirs, error)) {
        return FALSE;
    }
    vm->cpuid = *theirs;
    for (unsigned i = 0; i < vm->n_vcpus; i++) {
        if (!cpuid_apply(vm, i, error)) {
            return FALSE;
        }
    }
    return TRUE;
}
