/* Devices of the kernel that belong to the whole machine, version 1 each:
 *   "kvmclock"  be64, ns: what the guest's paravirtual clock shows
 *   "irqchip"   0 and 1 the two PICs, 2 the IOAPIC: kvm_irqchip as a part
 *   "pit"       kvm_pit_state2 as a part */
#include <string.h>
#include <sys/ioctl.h>
#include "tools/vm/error.h"
#include "tools/vm/vm.h"

static gboolean clock_save(void *self, GByteArray *body, GError **error)
{
    const Vm *vm = self;
    struct kvm_clock_data clock;

    memset(&clock, 0, sizeof clock);
    if (ioctl(vm->vm_fd, KVM_GET_CLOCK, &clock) < 0) {
        return vm_host_error(error, "KVM_GET_CLOCK");
    }
    section_put64(body, clock.clock);
    return TRUE;
}

static gboolean clock_load(void *self, const uint8_t *body, size_t length, uint32_t version,
                           GError **error)
{
    const Vm *vm = self;
    SectionReader reader = {.at = body, .left = length};
    struct kvm_clock_data clock;
    uint64_t ns;

    (void)version; /* there is one so far */
    memset(&clock, 0, sizeof clock);
    if (!section_get64(&reader, "clock", &ns, error) || !section_end(&reader, error)) {
        return FALSE;
    }
    clock.clock = ns;
    return ioctl(vm->vm_fd, KVM_SET_CLOCK, &clock) == 0 || vm_host_error(error, "KVM_SET_CLOCK");
}

const FerryDeviceOps clock_device_ops = {.save = clock_save, .load = clock_load};

static gboolean irqchip_save(void *self, GByteArray *body, GError **error)
{
    const VmIrqchip *irqchip = self;
    struct kvm_irqchip state;

    memset(&state, 0, sizeof state);
    state.chip_id = irqchip->chip;
    if (ioctl(irqchip->vm->vm_fd, KVM_GET_IRQCHIP, &state) < 0) {
        return vm_host_error(error, "KVM_GET_IRQCHIP");
    }
    section_put_part(body, &state, sizeof state);
    return TRUE;
}

static gboolean irqchip_load(void *self, const uint8_t *body, size_t length, uint32_t version,
                             GError **error)
{
    const VmIrqchip *irqchip = self;
    SectionReader reader = {.at = body, .left = length};
    struct kvm_irqchip state;

    (void)version; /* there is one so far */
    if (!section_get_part(&reader, "irqchip", &state, sizeof state, error) ||
        !section_end(&reader, error)) {
        return FALSE;
    }
    if (state.chip_id != irqchip->chip) {
        g_set_error(error, VM_ERROR, VM_ERROR_STATE, "chip %u in the place of %u", state.chip_id,
                    irqchip->chip);
        return FALSE;
    }
    return ioctl(irqchip->vm->vm_fd, KVM_SET_IRQCHIP, &state) == 0 ||
           vm_host_error(error, "KVM_SET_IRQCHIP");
}

const FerryDeviceOps irqchip_device_ops = {.save = irqchip_save, .load = irqchip_load};

static gboolean pit_save(void *self, GByteArray *body, GError **error)
{
    const Vm *vm = self;
    struct kvm_pit_state2 state;

    memset(&state, 0, sizeof state);
    if (ioctl(vm->vm_fd, KVM_GET_PIT2, &state) < 0) {
        return vm_host_error(error, "KVM_GET_PIT2");
    }
    section_put_part(body, &state, sizeof state);
    return TRUE;
}

static gboolean pit_load(void *self, const uint8_t *body, size_t length, uint32_t version,
                         GError **error)
{
    const Vm *vm = self;
    SectionReader reader = {.at = body, .left = length};
    struct kvm_pit_state2 state;

    (void)version; /* there is one so far */
    return section_get_part(&reader, "pit", &state, sizeof state, error) &&
           section_end(&reader, error) &&
           (ioctl(vm->vm_fd, KVM_SET_PIT2, &state) == 0 || vm_host_error(error, "KVM_SET_PIT2"));
}

const FerryDeviceOps pit_device_ops = {.save = pit_save, .load = pit_load};
