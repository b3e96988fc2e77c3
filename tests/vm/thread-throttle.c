/* A throttled guest does less, is paused all the same, and does more again afterwards. Argument:
 * the accelerator. */
#include "tests/vm/support.h"

/* Writes in a stretch of running. */
static uint64_t stretch(Vm *vm, unsigned percent)
{
    uint64_t before = support_writes(vm);

    vcpus_throttle(vm->vcpus, percent);
    vcpus_start(vm->vcpus);
    g_usleep(200000);
    vcpus_pause(vm->vcpus);
    return support_writes(vm) - before;
}

int main(int argc, char **argv)
{
    g_autoptr(Vm) vm = support_vm("vm -m 32M -smp 1 -accel %s -workload sweep,size=4M",
                                  argc > 1 ? argv[1] : "kvm");
    uint64_t free_writes = 0, throttled_writes = 0;

    for (unsigned i = 0; i < 4; i++) { /* in turn: other programs come and go */
        free_writes += stretch(vm, 0);
        throttled_writes += stretch(vm, 90);
    }
    g_print("free %" G_GUINT64_FORMAT ", throttled by 90%%: %" G_GUINT64_FORMAT " writes\n",
            free_writes, throttled_writes);
    CHECK(throttled_writes > 0);
    CHECK(throttled_writes < free_writes / 2);

    /* While held for most of a second, and as soon as the throttle changes. */
    for (unsigned i = 0; i < 20; i++) {
        vcpus_throttle(vm->vcpus, 99);
        vcpus_start(vm->vcpus);
        g_usleep(15000);
        vcpus_pause(vm->vcpus);
        vcpus_throttle(vm->vcpus, i % 2 == 0 ? 0 : 50);
    }
    vcpus_throttle(vm->vcpus, 0);
    support_run(vm, 1000);
    return 0;
}
