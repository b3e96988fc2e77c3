#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include "tools/vm/vm.h"

#define LONGEST_REST_NS UINT64_C(1000000000)

static void print_registers(const KvmVcpu *vcpu, const char *what)
{
    struct kvm_regs r;
    struct kvm_sregs s;

    g_printerr("ferry-vm: vCPU %u: %s\n", vcpu->index, what);
    if (ioctl(vcpu->fd, KVM_GET_REGS, &r) < 0 || ioctl(vcpu->fd, KVM_GET_SREGS, &s) < 0) {
        return;
    }
    g_printerr(
        "  rip %016llx rsp %016llx rflags %08llx cs %04x ss %04x\n"
        "  rax %016llx rbx %016llx rcx %016llx rdx %016llx\n"
        "  rsi %016llx rdi %016llx cr0 %08llx cr2 %016llx cr3 %016llx cr4 %08llx efer %04llx\n",
        r.rip, r.rsp, r.rflags, s.cs.selector, s.ss.selector, r.rax, r.rbx, r.rcx, r.rdx, r.rsi,
        r.rdi, s.cr0, s.cr2, s.cr3, s.cr4, s.efer);
}

static Verdict internal_error(const KvmVcpu *vcpu, const char *what)
{
    print_registers(vcpu, what);
    return VERDICT_INTERNAL_ERROR;
}

static void rest(KvmVcpu *vcpu, Vcpus *vcpus, uint32_t ticks)
{
    uint64_t per_second = vcpu->vm->facts.ticks_per_second;

    if (vcpu->vm->has_workload && per_second != 0) {
        uint64_t ns = ticks * UINT64_C(1000000000) / per_second;
        vcpus_rest(vcpus, MIN(ns, LONGEST_REST_NS));
    }
}

static Verdict handle_io(KvmVcpu *vcpu, Vcpus *vcpus)
{
    struct kvm_run *run = vcpu->run;
    uint8_t *data = (uint8_t *)run + run->io.data_offset;
    unsigned size = run->io.size;
    uint32_t value;

    for (uint32_t i = 0; i < run->io.count; i++, data += size) {
        if (run->io.direction == KVM_EXIT_IO_IN) {
            value = ports_read(vcpu->vm->ports, run->io.port, size);
            memcpy(data, &value, size);
            continue;
        }
        value = 0;
        memcpy(&value, data, size);
        if (run->io.port == WORKLOAD_REST_PORT && size == 4) {
            rest(vcpu, vcpus, value);
        } else if (!ports_write(vcpu->vm->ports, run->io.port, size, value)) {
            g_printerr("ferry-vm: the guest reset the machine\n");
            return VERDICT_SHUTDOWN;
        }
    }
    return VERDICT_NONE;
}

static Verdict ring_full(KvmVcpu *vcpu)
{
    g_autoptr(GError) error = NULL;

    if (vcpu->vm->log == NULL || !ferry_dirty_log_kvm_ring_collect(vcpu->vm->log, &error)) {
        return internal_error(vcpu, error == NULL ? "dirty ring without a log" : error->message);
    }
    return VERDICT_NONE;
}

static Verdict handle_exit(KvmVcpu *vcpu, Vcpus *vcpus)
{
    struct kvm_run *run = vcpu->run;
    g_autofree char *what = NULL;

    switch (run->exit_reason) {
    case KVM_EXIT_IO:
        return handle_io(vcpu, vcpus);
    case KVM_EXIT_MMIO: /* nothing is there: reads find all ones */
        if (!run->mmio.is_write) {
            memset(run->mmio.data, 0xff, sizeof run->mmio.data);
        }
        return VERDICT_NONE;
    case KVM_EXIT_DIRTY_RING_FULL:
        return ring_full(vcpu);
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
        return VERDICT_NONE;
    case KVM_EXIT_SHUTDOWN:
        print_registers(vcpu, "triple fault");
        return VERDICT_SHUTDOWN;
    case KVM_EXIT_SYSTEM_EVENT:
        print_registers(vcpu, "the guest asked for shutdown or reset");
        return VERDICT_SHUTDOWN;
    case KVM_EXIT_FAIL_ENTRY:
        what = g_strdup_printf("entry failed, hardware reason %#llx",
                               run->fail_entry.hardware_entry_failure_reason);
        return internal_error(vcpu, what);
    case KVM_EXIT_INTERNAL_ERROR:
        what = g_strdup_printf("KVM internal error, suberror %u", run->internal.suberror);
        return internal_error(vcpu, what);
    default:
        what = g_strdup_printf("exit reason %u is not known", run->exit_reason);
        return internal_error(vcpu, what);
    }
}

/* FALSE: KVM_RUN came back because of a kick; then nothing is pending in the kernel. */
static gboolean enter(KvmVcpu *vcpu, Vcpus *vcpus, Verdict *verdict)
{
    if (ioctl(vcpu->fd, KVM_RUN, 0) == 0) {
        *verdict = handle_exit(vcpu, vcpus);
        return TRUE;
    }
    if (errno == EINTR || errno == EAGAIN) {
        return FALSE;
    }
    /* A full dirty ring and failed emulation have exit reasons; this is the call itself. */
    *verdict = internal_error(vcpu, g_strerror(errno));
    return TRUE;
}

static Verdict kvm_vcpu_run(void *self, Vcpus *vcpus, unsigned index)
{
    Vm *vm = self;
    KvmVcpu *vcpu = &vm->kvm_vcpus[index];
    volatile uint8_t *immediate_exit = &vcpu->run->immediate_exit;
    Verdict verdict = VERDICT_NONE;

    vcpus_set_immediate_exit(immediate_exit);
    do {
        /* First lower the flag, then look: a kick after the look raises it again. */
        *immediate_exit = 0;
        if (vcpus_interrupted(vcpus)) {
            break;
        }
        enter(vcpu, vcpus, &verdict);
    } while (verdict == VERDICT_NONE);
    /* An instruction that is half done (its I/O handled here, its end in the kernel) is finished by
     * entering once more; only then do the registers show it. */
    do {
        *immediate_exit = 1;
    } while (verdict == VERDICT_NONE && enter(vcpu, vcpus, &verdict));
    vcpus_set_immediate_exit(NULL);
    return verdict;
}

const VcpuOps kvm_vcpu_ops = {.run = kvm_vcpu_run, .stopped = vm_stopped};
