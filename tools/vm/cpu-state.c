/* Device "cpu", version 1, one per vCPU. In this order, each struct as a part (section.h):
 *
 *   be32 TSC frequency in kHz
 *   kvm_sregs2, kvm_xcrs, KVM_GET_XSAVE2's bytes, kvm_regs, kvm_debugregs, kvm_lapic_state
 *   be32 number of MSRs; for each be32 index, be64 value
 *   kvm_mp_state, kvm_vcpu_events
 *
 * which is also the order of loading: the LAPIC needs the APIC base of sregs, the MSRs (the TSC
 * deadline) need the LAPIC, and nothing may touch pending events after they are set. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include "tools/vm/error.h"
#include "tools/vm/msrs.h"

#define MSR_TSC 0x10
#define TSC_TOLERANCE_PPM 250 /* as KVM's own: between measurements of one and the same clock */

typedef struct {
    struct kvm_sregs2 sregs;
    struct kvm_xcrs xcrs;
    struct kvm_regs regs;
    struct kvm_debugregs debugregs;
    struct kvm_lapic_state lapic;
    struct kvm_mp_state mp_state;
    struct kvm_vcpu_events events;
} Fixed;

static gboolean call(int fd, unsigned long request, void *argument, const char *name,
                     GError **error)
{
    return ioctl(fd, request, argument) >= 0 || vm_host_error(error, name);
}
#define CALL(fd, request, argument) call(fd, request, argument, #request, error)

static gboolean save_msrs(const KvmVcpu *vcpu, GByteArray *body, GError **error)
{
    const Vm *vm = vcpu->vm;
    uint64_t value;

    section_put32(body, vm->n_msrs);
    for (unsigned i = 0; i < vm->n_msrs; i++) {
        if (!msr_get(vcpu->fd, vm->msrs[i], &value)) {
            g_set_error(error, VM_ERROR, VM_ERROR_HOST, "MSR %#x cannot be read", vm->msrs[i]);
            return FALSE;
        }
        section_put32(body, vm->msrs[i]);
        section_put64(body, value);
    }
    return TRUE;
}

static gboolean cpu_save(void *self, GByteArray *body, GError **error)
{
    KvmVcpu *vcpu = self;
    g_autofree uint8_t *xsave = g_malloc0(vcpu->vm->xsave_bytes);
    int fd = vcpu->fd, khz = ioctl(fd, KVM_GET_TSC_KHZ, 0);
    Fixed f;

    memset(&f, 0, sizeof f);
    if (!CALL(fd, KVM_GET_MP_STATE, &f.mp_state) || !CALL(fd, KVM_GET_SREGS2, &f.sregs) ||
        !CALL(fd, KVM_GET_XCRS, &f.xcrs) || !CALL(fd, KVM_GET_REGS, &f.regs) ||
        !CALL(fd, KVM_GET_DEBUGREGS, &f.debugregs) || !CALL(fd, KVM_GET_LAPIC, &f.lapic) ||
        !CALL(fd, KVM_GET_VCPU_EVENTS, &f.events)) {
        return FALSE;
    }
    if (vcpu->vm->xsave_bytes > sizeof(struct kvm_xsave) ? !CALL(fd, KVM_GET_XSAVE2, xsave)
                                                         : !CALL(fd, KVM_GET_XSAVE, xsave)) {
        return FALSE;
    }
    section_put32(body, khz < 0 ? 0 : (uint32_t)khz);
    section_put_part(body, &f.sregs, sizeof f.sregs);
    section_put_part(body, &f.xcrs, sizeof f.xcrs);
    section_put_part(body, xsave, vcpu->vm->xsave_bytes);
    section_put_part(body, &f.regs, sizeof f.regs);
    section_put_part(body, &f.debugregs, sizeof f.debugregs);
    section_put_part(body, &f.lapic, sizeof f.lapic);
    if (!save_msrs(vcpu, body, error)) {
        return FALSE;
    }
    section_put_part(body, &f.mp_state, sizeof f.mp_state);
    section_put_part(body, &f.events, sizeof f.events);
    return TRUE;
}

static gboolean load_frequency(int fd, uint32_t khz, GError **error)
{
    int own = ioctl(fd, KVM_GET_TSC_KHZ, 0);
    uint64_t difference = own < 0 ? 0 : (uint64_t)ABS((int64_t)own - (int64_t)khz);

    if (own <= 0 || khz == 0 || difference * 1000000 <= (uint64_t)own * TSC_TOLERANCE_PPM ||
        ioctl(fd, KVM_SET_TSC_KHZ, (unsigned long)khz) == 0) {
        return TRUE;
    }
    g_set_error(error, VM_ERROR, VM_ERROR_STATE,
                "the guest's TSC runs at %u kHz, this host's at %d kHz and cannot be scaled", khz,
                own);
    return FALSE;
}

/* What follows from a TSC that had to be behind: never let the guest see it go back. Before Linux
 * 6.8 KVM may take a TSC within a second of its own for an attempt to synchronise vCPUs. */
static gboolean forward_tsc(int fd, uint64_t saved, GError **error)
{
    uint64_t now, offset;
    struct kvm_device_attr attribute = {
        .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)&offset};

    if (!msr_get(fd, MSR_TSC, &now)) {
        return vm_host_error(error, "KVM_GET_MSRS of the TSC");
    }
    if (now >= saved) {
        return TRUE;
    }
    if (!CALL(fd, KVM_GET_DEVICE_ATTR, &attribute)) {
        return FALSE;
    }
    offset += saved - now;
    return CALL(fd, KVM_SET_DEVICE_ATTR, &attribute);
}

static gboolean is_known(const Vm *vm, uint32_t index)
{
    for (unsigned i = 0; i < vm->n_msrs; i++) {
        if (vm->msrs[i] == index) {
            return TRUE;
        }
    }
    return FALSE;
}

static gboolean load_msr(const KvmVcpu *vcpu, uint32_t index, uint64_t value, GError **error)
{
    if (!is_known(vcpu->vm, index)) {
        if (value == 0) {
            return TRUE; /* never used by the guest */
        }
        g_set_error(error, VM_ERROR, VM_ERROR_STATE, "MSR %#x is not there on this host", index);
        return FALSE;
    }
    if (!msr_set(vcpu->fd, index, value)) {
        g_set_error(error, VM_ERROR, VM_ERROR_STATE,
                    "MSR %#x does not take %#" G_GINT64_MODIFIER "x", index, value);
        return FALSE;
    }
    return index != MSR_TSC || forward_tsc(vcpu->fd, value, error);
}

static gboolean load_msrs(const KvmVcpu *vcpu, SectionReader *reader, GError **error)
{
    uint32_t n, index;
    uint64_t value;

    if (!section_get32(reader, "MSRs", &n, error)) {
        return FALSE;
    }
    if (n > VM_MAX_MSRS) {
        g_set_error(error, VM_ERROR, VM_ERROR_STATE, "%u MSRs, at most %d", n, VM_MAX_MSRS);
        return FALSE;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (!section_get32(reader, "MSR", &index, error) ||
            !section_get64(reader, "MSR", &value, error) || !load_msr(vcpu, index, value, error)) {
            return FALSE;
        }
    }
    return TRUE;
}

static gboolean load_xsave(const KvmVcpu *vcpu, SectionReader *reader, GError **error)
{
    g_autofree uint8_t *xsave = g_malloc0(vcpu->vm->xsave_bytes);

    return section_get_part_up_to(reader, "xsave", xsave, sizeof(struct kvm_xsave),
                                  vcpu->vm->xsave_bytes, NULL, error) &&
           CALL(vcpu->fd, KVM_SET_XSAVE, xsave);
}

#define LOAD(member, request)                                                                      \
    (section_get_part(&reader, #member, &f.member, sizeof f.member, error) &&                      \
     CALL(vcpu->fd, request, &f.member))

static gboolean cpu_load(void *self, const uint8_t *body, size_t length, uint32_t version,
                         GError **error)
{
    KvmVcpu *vcpu = self;
    SectionReader reader = {.at = body, .left = length};
    uint32_t khz;
    Fixed f;

    (void)version; /* there is one so far */
    if (!section_get32(&reader, "TSC frequency", &khz, error) ||
        !load_frequency(vcpu->fd, khz, error)) {
        return FALSE;
    }
    return LOAD(sregs, KVM_SET_SREGS2) && LOAD(xcrs, KVM_SET_XCRS) &&
           load_xsave(vcpu, &reader, error) && LOAD(regs, KVM_SET_REGS) &&
           LOAD(debugregs, KVM_SET_DEBUGREGS) && LOAD(lapic, KVM_SET_LAPIC) &&
           load_msrs(vcpu, &reader, error) && LOAD(mp_state, KVM_SET_MP_STATE) &&
           LOAD(events, KVM_SET_VCPU_EVENTS) && section_end(&reader, error);
}

const FerryDeviceOps cpu_device_ops = {.save = cpu_save, .load = cpu_load};
