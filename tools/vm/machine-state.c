/* Device "ferry-vm", version 1, the first of the stream: what both machines must have in common, so
 * that a wrong command line is an error with both values and not a guest that does not run.
 *
 *   be32 accelerator (Accel), be32 vCPUs, be64 bytes of RAM, be32 whether there is a workload
 *   if so: WorkloadFacts as numbers, be64 each
 *   with KVM: the CPUID entries (kvm_cpuid_entry2) as one part */
#include "tools/vm/error.h"
#include "tools/vm/vm.h"

static void put_facts(GByteArray *body, const WorkloadFacts *f)
{
    const uint64_t numbers[] = {
        f->kind, f->n_vcpus,          f->pages,         f->hot_pages, f->hot_share,
        f->seed, f->ticks_per_second, f->write_ticks_q8};

    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        section_put64(body, numbers[i]);
    }
}

static gboolean get_facts(SectionReader *reader, WorkloadFacts *out, GError **error)
{
    uint64_t kind, n_vcpus;

    out->magic = WORKLOAD_MAGIC;
    if (!section_get64(reader, "workload", &kind, error) ||
        !section_get64(reader, "workload", &n_vcpus, error) ||
        !section_get64(reader, "workload", &out->pages, error) ||
        !section_get64(reader, "workload", &out->hot_pages, error) ||
        !section_get64(reader, "workload", &out->hot_share, error) ||
        !section_get64(reader, "workload", &out->seed, error) ||
        !section_get64(reader, "workload", &out->ticks_per_second, error) ||
        !section_get64(reader, "workload", &out->write_ticks_q8, error)) {
        return FALSE;
    }
    out->kind = (uint32_t)MIN(kind, UINT32_MAX);
    out->n_vcpus = (uint32_t)MIN(n_vcpus, UINT32_MAX);
    return TRUE;
}

static gboolean machine_save(void *self, GByteArray *body, GError **error)
{
    const Vm *vm = self;

    (void)error;
    section_put32(body, vm->accel);
    section_put32(body, vm->n_vcpus);
    section_put64(body, vm->ram_bytes);
    section_put32(body, vm->has_workload ? 1 : 0);
    if (vm->has_workload) {
        put_facts(body, &vm->facts);
    }
    if (vm->accel == ACCEL_KVM) {
        cpuid_save(vm, body);
    }
    return TRUE;
}

static gboolean check_machine(const Vm *vm, uint32_t accel, uint32_t n_vcpus, uint64_t ram_bytes,
                              GError **error)
{
    if (accel != vm->accel) {
        g_set_error(error, VM_ERROR, VM_ERROR_STATE, "the source has -accel %s, this machine %s",
                    accel_name(accel), accel_name(vm->accel));
        return FALSE;
    }
    if (n_vcpus != vm->n_vcpus) {
        g_set_error(error, VM_ERROR, VM_ERROR_STATE,
                    "the source has %u vCPUs (-smp), this machine %u", n_vcpus, vm->n_vcpus);
        return FALSE;
    }
    if (ram_bytes != vm->ram_bytes) {
        g_set_error(error, VM_ERROR, VM_ERROR_STATE,
                    "the source has -m %" G_GUINT64_FORMAT "K, this machine %" G_GUINT64_FORMAT "K",
                    ram_bytes / 1024, vm->ram_bytes / 1024);
        return FALSE;
    }
    return TRUE;
}

static gboolean machine_load(void *self, const uint8_t *body, size_t length, uint32_t version,
                             GError **error)
{
    Vm *vm = self;
    SectionReader reader = {.at = body, .left = length};
    WorkloadFacts facts = {0};
    uint32_t accel, n_vcpus, has_workload;
    uint64_t ram_bytes;

    (void)version; /* there is one so far */
    if (!section_get32(&reader, "accelerator", &accel, error) ||
        !section_get32(&reader, "vCPUs", &n_vcpus, error) ||
        !section_get64(&reader, "RAM", &ram_bytes, error) ||
        !section_get32(&reader, "workload", &has_workload, error) ||
        !check_machine(vm, accel, n_vcpus, ram_bytes, error)) {
        return FALSE;
    }
    if (has_workload != 0 && (!get_facts(&reader, &facts, error) ||
                              !workload_facts_check(&facts, vm->ram_bytes, vm->n_vcpus, error))) {
        return FALSE;
    }
    if ((vm->accel == ACCEL_KVM && !cpuid_load(vm, &reader, error)) ||
        !section_end(&reader, error)) {
        return FALSE;
    }
    vm->has_workload = has_workload != 0;
    vm->facts = facts;
    return TRUE;
}

const FerryDeviceOps machine_device_ops = {.save = machine_save, .load = machine_load};
