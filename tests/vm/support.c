#include "tests/vm/support.h"
#include <string.h>
#include <unistd.h>

Vm *support_vm(const char *format, ...)
{
    g_autoptr(GError) error = NULL;
    g_auto(Options) options = {0};
    g_autofree char *line = NULL;
    g_auto(GStrv) argv = NULL;
    va_list args;
    Vm *vm;

    va_start(args, format);
    line = g_strdup_vprintf(format, args);
    va_end(args);
    argv = g_strsplit(line, " ", -1);
    CHECK_OK(options_parse((int)g_strv_length(argv), argv, &options, &error), error);
    if (options.accel == ACCEL_KVM && access("/dev/kvm", R_OK | W_OK) != 0) {
        g_printerr("no /dev/kvm\n");
        exit(77);
    }
    vm = vm_new(&options, &error);
    CHECK_OK(vm, error);
    return vm;
}

uint64_t support_writes(const Vm *vm)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < vm->n_vcpus; i++) {
        sum += workload_state(vm->ram, i)->counter;
    }
    return sum;
}

void support_wait(const Vm *vm, uint64_t n)
{
    uint64_t before = support_writes(vm);

    while (support_writes(vm) - before < n) {
        CHECK(vcpus_verdict(vm->vcpus) == VERDICT_NONE);
        g_usleep(1000);
    }
}

void support_run(Vm *vm, uint64_t n)
{
    vcpus_start(vm->vcpus);
    support_wait(vm, n);
    vcpus_pause(vm->vcpus);
}

static void check_vcpu(const Vm *vm, unsigned vcpu)
{
    const uint64_t *words = (const uint64_t *)(vm->ram + WORKLOAD_BASE);
    uint64_t counter = workload_state(vm->ram, vcpu)->counter;
    g_autofree uint64_t *latest = g_new0(uint64_t, vm->facts.pages);
    uint64_t before_last = 0;

    for (uint64_t c = 1; c <= counter; c++) {
        uint64_t page = workload_page(&vm->facts, vcpu, c);
        CHECK(page < vm->facts.pages);
        before_last = latest[page];
        latest[page] = workload_value(vcpu, c);
    }
    for (uint64_t page = 0; page < vm->facts.pages; page++) {
        uint64_t held = words[page * WORKLOAD_PAGE / sizeof *words + vcpu];
        /* The last write may be begun, and not done. */
        gboolean last = counter > 0 && latest[page] == workload_value(vcpu, counter);
        CHECK(held == latest[page] || (last && held == before_last));
    }
}

void support_check_pages(const Vm *vm)
{
    for (unsigned i = 0; i < vm->n_vcpus; i++) {
        check_vcpu(vm, i);
    }
}

VmDevice support_device(const Vm *vm, guint i) { return g_array_index(vm->devices, VmDevice, i); }

GByteArray *support_save(const VmDevice *device)
{
    g_autoptr(GError) error = NULL;
    GByteArray *body = g_byte_array_new();

    CHECK_OK(device->ops->save(device->self, body, &error), error);
    return body;
}

void support_move(Vm *from, Vm *to)
{
    memcpy(to->ram, from->ram, from->ram_bytes);
    CHECK(from->devices->len == to->devices->len);
    for (guint i = 0; i < from->devices->len; i++) {
        VmDevice source = support_device(from, i), destination = support_device(to, i);
        g_autoptr(GByteArray) body = support_save(&source);
        g_autoptr(GError) error = NULL;
        CHECK(g_str_equal(source.idstr, destination.idstr));
        CHECK_OK(
            destination.ops->load(destination.self, body->data, body->len, source.version, &error),
            error);
    }
}
