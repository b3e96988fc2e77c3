/* The start of a guest that writes memory at a known rate: a flat image for 0x7c00, which runs
 * under a BIOS, in ferry-vm (-boot-sector) and behind rom.S. Enters long mode and goes on in ring 3
 * with writer.c: only there some kernels' KVM run a guest natively, without virtualization by the
 * processor. An idle guest halts instead, for ever. Facts (writer.h) are patched in at `facts`. */
#include "bench/guest/writer.h"

#define PML4 0x1000
#define PDPT 0x2000
#define GIBS 2
#define MSR_EFER 0xc0000080
#define MSR_SYSENTER_CS 0x174
#define CODE32 0x18
#define DATA 0x10
#define CODE64 0x08
#define USER_CODE 0x2b                  /* where SYSEXIT takes it: CODE64 + 32, ring 3 */
#define USER_DATA 0x33

        .section .boot, "ax"
        .code16
        .globl  _start
_start:
        cli
        cld
        ljmp    $0, $1f                 /* some BIOSes come in as 07c0:0000 */
1:      xorw    %ax, %ax
        movw    %ax, %ds
        inb     $0x92, %al              /* open A20, without the reset in bit 0 */
        orb     $2, %al
        andb    $0xfe, %al
        outb    %al, $0x92
        lgdtl   table_descriptor
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        ljmpl   $CODE32, $flat

        .code32
flat:
        movw    $DATA, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movl    $facts, %esi
        movl    $WRITER_FACTS, %edi
        movl    $(WRITER_FACTS_BYTES / 4), %ecx
        rep movsl
        cmpl    $WRITER_IDLE, facts + WRITER_KIND_OFFSET
        jne     1f
        movl    $1, WRITER_READY        /* as it stands in writer.h */
2:      hlt                             /* interrupts are off */
        jmp     2b

        /* Everything is mapped where it is, in pages of 2 MiB that ring 3 may write; accessed and
         * dirty already, so that the processor never writes to the tables. */
1:      xorl    %eax, %eax
        movl    $PML4, %edi
        movl    $2048, %ecx
        rep stosl
        movl    $(PDPT + 0x27), PML4
        movl    $(WRITER_DIRECTORIES + 0x27), PDPT
        movl    $(WRITER_DIRECTORIES + 0x1027), PDPT + 8
        movl    $WRITER_DIRECTORIES, %edi
        movl    $0xe7, %eax
3:      movl    %eax, (%edi)
        movl    $0, 4(%edi)
        addl    $0x200000, %eax
        addl    $8, %edi
        cmpl    $(WRITER_DIRECTORIES + GIBS * 0x1000), %edi
        jb      3b
        movl    $PML4, %eax
        movl    %eax, %cr3
        movl    $0x20, %eax             /* PAE */
        movl    %eax, %cr4
        movl    $MSR_EFER, %ecx
        rdmsr
        orl     $0x100, %eax            /* long mode */
        wrmsr
        movl    %cr0, %eax
        orl     $0x80000001, %eax       /* paging, protection */
        andl    $0x9fffffff, %eax       /* caches */
        movl    %eax, %cr0
        ljmpl   $CODE64, $long

        .code64
long:
        lidt    interrupt_descriptor
        movl    $WRITER_STACK, %esp
        pushq   $0x3002                 /* ring 3 may use ports; interrupts stay off */
        popfq
        movl    $MSR_SYSENTER_CS, %ecx
        movl    $CODE64, %eax
        xorl    %edx, %edx
        wrmsr
        movl    $writer_main, %edx
        movl    $WRITER_STACK, %ecx
        sysexitq                       /* KVM's emulator knows this way to ring 3, and no IRET; */

        /* AMD's processors know only the other. */
invalid_opcode:
        movl    $WRITER_STACK, %esp
        pushq   $USER_DATA
        pushq   $WRITER_STACK
        pushq   $0x3002
        pushq   $USER_CODE
        pushq   $writer_main
        iretq

        .balign 8
table:
        .quad   0
        .quad   0x00af9b000000ffff      /* CODE64 */
        .quad   0x00cf93000000ffff      /* DATA */
        .quad   0x00cf9b000000ffff      /* CODE32 */
        .quad   0
        .quad   0x00affb000000ffff      /* USER_CODE */
        .quad   0x00cff3000000ffff      /* USER_DATA */
table_descriptor:
        .word   table_descriptor - table - 1
        .long   table
        .balign 8
interrupts:
        .skip   6 * 16
        .word   invalid_opcode, CODE64, 0x8e00, 0
        .quad   0
interrupt_descriptor:
        .word   interrupt_descriptor - interrupts - 1
        .quad   interrupts

        .org    WRITER_IMAGE_FACTS
facts:
        .fill   WRITER_FACTS_BYTES, 1, 0
        .section .note.GNU-stack, "", @progbits
