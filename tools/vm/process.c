/* -accel process: a vCPU is a thread that runs the workload itself. Facts come from this process's
 * own, checked copy, never from guest memory, which a peer may have filled. */
#include "tools/vm/error.h"
#include "tools/vm/vm.h"

static uint64_t clock_now(const Vm *vm) { return ferry_now_ns() + vm->process_offset; }

/* Guest memory is shared with whoever reads it while the guest runs, as a vCPU's is; the migration
 * makes sense of that, a race detector cannot. */
__attribute__((no_sanitize("thread"))) static Verdict process_run(void *self, Vcpus *vcpus,
                                                                  unsigned index)
{
    Vm *vm = self;
    WorkloadState *state = workload_state(vm->ram, index);

    if (!vm->has_workload) {
        g_printerr("ferry-vm: a guest without a workload cannot run under -accel process\n");
        return VERDICT_INTERNAL_ERROR;
    }
    while (!vcpus_interrupted(vcpus)) {
        uint64_t now = clock_now(vm);
        uint64_t rest = workload_slice(&vm->facts, state, vm->ram + WORKLOAD_BASE, index, now);
        unsigned char letter = workload_letter(&vm->facts, state, index, now);
        if (letter != 0) {
            serial_write(vm->serial, SERIAL_PORT, letter);
        }
        if (rest != 0) {
            vcpus_rest(vcpus, rest);
        }
    }
    return VERDICT_NONE;
}

const VcpuOps process_vcpu_ops = {.run = process_run, .stopped = vm_stopped};

/* Device "process", version 1: the guest's clock, be64, ns. All else is in guest memory. */
static gboolean process_save(void *self, GByteArray *body, GError **error)
{
    const Vm *vm = self;

    (void)error;
    section_put64(body, clock_now(vm));
    return TRUE;
}

static gboolean process_load(void *self, const uint8_t *body, size_t length, uint32_t version,
                             GError **error)
{
    Vm *vm = self;
    SectionReader reader = {.at = body, .left = length};
    uint64_t now;

    (void)version; /* there is one so far */
    if (!section_get64(&reader, "clock", &now, error) || !section_end(&reader, error)) {
        return FALSE;
    }
    vm->process_offset = now - ferry_now_ns(); /* may wrap; so does the sum */
    return TRUE;
}

const FerryDeviceOps process_device_ops = {.save = process_save, .load = process_load};
