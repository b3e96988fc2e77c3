/* A boot sector runs as on a PC: real mode, A20, protected mode, COM1. Argument: letters.bin. */
#include <string.h>
#include <unistd.h>
#include "tests/vm/support.h"

#define FIRST 0x100000u
#define BEHIND 0x2100000u

static uint32_t number_at(const Vm *vm, uint64_t offset)
{
    return *(const volatile uint32_t *)(vm->ram + offset);
}

/* One number up to some page, the number before from there on. */
static void check_sweep(const Vm *vm)
{
    uint32_t round = number_at(vm, FIRST), expected = round;

    for (uint64_t offset = FIRST; offset < BEHIND; offset += 4096) {
        uint32_t number = number_at(vm, offset);
        if (number != expected) {
            CHECK(expected == round && number == round - 1);
            expected = number;
        }
    }
}

static void check_letters(const char *path, const Vm *vm)
{
    g_autofree char *text = NULL;
    gsize length, rounds = number_at(vm, FIRST);

    CHECK(g_file_get_contents(path, &text, &length, NULL));
    for (gsize i = 0; i < length; i++) {
        CHECK(text[i] == 'A' + (char)(i % 26));
    }
    CHECK(length >= (rounds - 1) / 4 && length <= rounds / 4 + 1);
}

int main(int argc, char **argv)
{
    g_autofree char *directory = g_dir_make_tmp("ferry-vm-XXXXXX", NULL);
    g_autofree char *serial = g_build_filename(directory, "serial", NULL);
    Vm *vm = support_vm("vm -m 64M -boot-sector %s -serial file:%s",
                        argc > 1 ? argv[1] : "letters.bin", serial);
    uint32_t round = 0;

    for (unsigned i = 0; i < 3; i++) {
        round = number_at(vm, FIRST);
        vcpus_start(vm->vcpus);
        while (number_at(vm, FIRST) - round < 6) {
            CHECK(vcpus_verdict(vm->vcpus) == VERDICT_NONE);
            g_usleep(1000);
        }
        vcpus_pause(vm->vcpus);
        check_sweep(vm);
        check_letters(serial, vm);
    }
    vm_free(vm);
    unlink(serial);
    rmdir(directory);
    return 0;
}
