/* A guest that is paused stands still, from the instant pause returns, and loses nothing however
 * often that happens. Argument: the accelerator. */
#include <string.h>
#include "tests/vm/support.h"

int main(int argc, char **argv)
{
    g_autoptr(Vm) vm = support_vm("vm -m 32M -smp 4 -accel %s -workload zipf,size=2M,rate=100000",
                                  argc > 1 ? argv[1] : "kvm");
    g_autofree uint8_t *copy = g_malloc(vm->ram_bytes);

    for (unsigned i = 0; i < 40; i++) {
        vcpus_start(vm->vcpus);
        g_usleep(i * 500);
        vcpus_pause(vm->vcpus);
        memcpy(copy, vm->ram, vm->ram_bytes);
        g_usleep(2000);
        CHECK(memcmp(copy, vm->ram, vm->ram_bytes) == 0);
        support_check_pages(vm);
    }
    support_run(vm, 100);
    CHECK(vcpus_verdict(vm->vcpus) == VERDICT_NONE);
    return 0;
}
