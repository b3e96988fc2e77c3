/* A guest that is taken at an I/O instruction neither loses nor repeats it. */
#include <string.h>
#include <unistd.h>
#include "tests/vm/support.h"

/* Real mode: prints A to Z for ever, each letter the one before plus what the keyboard controller
 * answers (3, and only to the first read after the command) less 2. */
static const uint8_t image[512] = {
    0xba, 0xf8, 0x03, /*     mov dx, 0x3f8   */
    0xb3, 0x41,       /* 1:  mov bl, 'A'     */
    0xb0, 0xd0,       /* 2:  mov al, 0xd0    */
    0xe6, 0x64,       /*     out 0x64, al    */
    0xe4, 0x60,       /*     in al, 0x60     */
    0x2c, 0x02,       /*     sub al, 2       */
    0x88, 0xc4,       /*     mov ah, al      */
    0x88, 0xd8,       /*     mov al, bl      */
    0xee,             /*     out dx, al      */
    0x00, 0xe3,       /*     add bl, ah      */
    0x80, 0xfb, 0x5b, /*     cmp bl, 'Z' + 1 */
    0x75, 0xec,       /*     jne 2           */
    0xeb, 0xe8,       /*     jmp 1           */
};

static gsize printed(const char *path, gsize before)
{
    g_autofree char *text = NULL;
    gsize length;

    CHECK(g_file_get_contents(path, &text, &length, NULL));
    for (gsize i = 0; i < length; i++) {
        CHECK(text[i] == 'A' + (char)((before + i) % 26));
    }
    return before + length;
}

static void run(Vm *vm, const char *path, gsize before)
{
    vcpus_start(vm->vcpus);
    while (printed(path, before) < before + 100) {
        CHECK(vcpus_verdict(vm->vcpus) == VERDICT_NONE);
        g_usleep(500);
    }
    vcpus_pause(vm->vcpus);
}

int main(void)
{
    g_autofree char *directory = g_dir_make_tmp("ferry-vm-XXXXXX", NULL);
    g_autofree char *boot = g_build_filename(directory, "boot", NULL);
    g_autofree char *serial = g_build_filename(directory, "serial", NULL);
    gsize length = 0;
    Vm *vm, *next;

    CHECK(g_file_set_contents(boot, (const char *)image, sizeof image, NULL));
    vm = support_vm("vm -m 2M -boot-sector %s -serial file:%s", boot, serial);
    for (unsigned hop = 0; hop < 24; hop++) {
        run(vm, serial, length);
        length = printed(serial, length);
        next = support_vm("vm -m 2M -incoming defer -serial file:%s", serial); /* begins it anew */
        support_move(vm, next);
        vm_free(vm);
        vm = next;
    }
    vm_free(vm);
    unlink(boot);
    unlink(serial);
    rmdir(directory);
    return 0;
}
