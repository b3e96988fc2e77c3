/* The last 256 bytes of a 64 KiB ROM for QEMU's -bios, which begins with boot.S's image: copies it
 * to 0x7c00 and jumps there. No BIOS takes part, so a guest runs within milliseconds. */
#define IMAGE_BYTES 0x4000
        .code16
        .globl  _start
_start:
        cli
        cld
        movw    $0xf000, %ax
        movw    %ax, %ds
        xorw    %ax, %ax
        movw    %ax, %es
        xorw    %si, %si
        movw    $0x7c00, %di
        movw    $IMAGE_BYTES, %cx
        rep movsb
        ljmp    $0, $0x7c00
        .org    0xf0
        ljmp    $0xf000, $0xff00
        .org    0x100
        .section .note.GNU-stack, "", @progbits
