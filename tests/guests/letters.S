/* A boot sector that is never done: in 32-bit protected mode, without paging, it writes the number
 * of its round (from 1) to the first 4 bytes of every page from 1 MiB to 33 MiB, for ever. After
 * every fourth round it prints a letter on COM1: A to Z, and round again. So at any instant the
 * pages hold one number up to some page and the number before from there on, and the letters tell
 * in order how often that came about. Runs under a BIOS as well as without. */
#define FIRST 0x100000
#define BEHIND 0x2100000
#define COM1 0x3f8
#define COM1_STATUS (COM1 + 5)
#define TRANSMITTER_EMPTY 0x20

        .code16
        .globl  _start
_start:
        cli
        ljmp    $0, $1f                 /* some BIOSes come in as 07c0:0000 */
1:      xorw    %ax, %ax
        movw    %ax, %ds
        inb     $0x92, %al              /* open A20, without the reset in bit 0 */
        orb     $2, %al
        andb    $0xfe, %al
        outb    %al, $0x92
        lgdtl   descriptor
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        ljmpl   $8, $flat

        .code32
flat:
        movw    $16, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movb    $'A', %cl
        xorl    %ebx, %ebx
round:
        incl    %ebx
        movl    $FIRST, %edi
1:      movl    %ebx, (%edi)
        addl    $4096, %edi
        cmpl    $BEHIND, %edi
        jb      1b
        testb   $3, %bl
        jnz     round

        movw    $COM1_STATUS, %dx
2:      inb     %dx, %al
        testb   $TRANSMITTER_EMPTY, %al
        jz      2b
        movw    $COM1, %dx
        movb    %cl, %al
        outb    %al, %dx
        incb    %cl
        cmpb    $'Z', %cl
        jbe     round
        movb    $'A', %cl
        jmp     round

        .balign 8
table:
        .quad   0
        .quad   0x00cf9b000000ffff      /* 8: code, 4 GiB from 0 on */
        .quad   0x00cf93000000ffff      /* 16: data, the same */
descriptor:
        .word   descriptor - table - 1
        .long   table

        .org    510
        .word   0xaa55
        .section .note.GNU-stack, "", @progbits
