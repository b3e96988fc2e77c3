/* A 64 KiB ROM for QEMU's -bios: a guest that writes memory for ever, checks what it wrote before,
 * and says so on COM1. No BIOS takes part, so it runs within milliseconds of power on.
 *
 * At reset it copies itself to 0x7c00, enters 32-bit protected mode and fills once
 *   SAME    with one byte for each page, different from page to page (compresses well)
 *   RANDOM  with a function of the address that looks random (does not compress)
 * Then for ever, in rounds from 1: the first 4 bytes of each page of HOT get the number of the round
 * (the rest of a page stays zero: xbzrle); the pages of FLIP turn by turn get it or become zero; one
 * page of RANDOM is compared. What is found before it is overwritten must be of the round before;
 * if not, "!" is printed. After each 16th round: its number, 8 hexadecimal digits and a newline. */
#define HOT 0x100000
#define HOT_END 0x300000
#define FLIP HOT_END
#define FLIP_END 0x400000
#define SAME 0x400000
#define SAME_END 0x600000
#define RANDOM SAME_END
#define RANDOM_END 0x620000
#define COM1 0x3f8
#define COM1_STATUS (COM1 + 5)
#define TRANSMITTER_EMPTY 0x20
#define STACK 0x7000

        .code16
        .globl  _start
        .org    0x7c00                  /* here in the ROM and there in memory: one address */
_start:
        cli
        cld
        movw    $0xf000, %ax
        movw    %ax, %ds
        xorw    %ax, %ax
        movw    %ax, %es
        movw    $_start, %si
        movw    %si, %di
        movw    $(end - _start), %cx
        rep movsb
        ljmp    $0, $1f
1:      movw    %ax, %ds
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
        movl    $STACK, %esp

        movl    $SAME, %edi
1:      movl    %edi, %eax
        shrl    $12, %eax
        imull   $0x01010101, %eax, %eax
        movl    $1024, %ecx
        rep stosl
        cmpl    $SAME_END, %edi
        jb      1b
1:      call    looks_random
        stosl
        cmpl    $RANDOM_END, %edi
        jb      1b

        xorl    %ebx, %ebx              /* the round */
        movl    $RANDOM, %ebp           /* what is compared next */
round:
        incl    %ebx
        movl    $HOT, %edi
        leal    -1(%ebx), %edx          /* what the round before wrote */
hot:
        cmpl    %edx, (%edi)
        jne     hot_is_wrong
1:      movl    %ebx, (%edi)
        addl    $4096, %edi
        cmpl    $HOT_END, %edi
        jb      hot
flip:
        movl    %edi, %ecx              /* page number + round odd: its turn to hold the number */
        shrl    $12, %ecx
        addl    %ebx, %ecx
        andl    $1, %ecx
        negl    %ecx                    /* all ones if so */
        movl    %ecx, %eax
        notl    %eax
        andl    %edx, %eax
        cmpl    %eax, (%edi)
        jne     flip_is_wrong
2:      andl    %ebx, %ecx
        movl    %ecx, (%edi)
        addl    $4096, %edi
        cmpl    $FLIP_END, %edi
        jb      flip

        movl    %ebp, %edi
3:      call    looks_random
        cmpl    %eax, (%edi)
        jne     random_is_wrong
4:      addl    $64, %edi
        testl   $0xfff, %edi
        jnz     3b
        movl    %edi, %ebp
        cmpl    $RANDOM_END, %ebp
        jb      5f
        movl    $RANDOM, %ebp
5:      testb   $15, %bl
        jnz     round

        movl    %ebx, %esi
        movl    $8, %edi
6:      roll    $4, %esi
        movl    %esi, %eax
        andl    $15, %eax
        movb    digits(%eax), %al
        call    print
        decl    %edi
        jnz     6b
        movb    $'\n', %al
        call    print
        jmp     round

hot_is_wrong:
        call    complain
        jmp     1b
flip_is_wrong:
        call    complain
        jmp     2b
random_is_wrong:
        call    complain
        jmp     4b

complain:
        movb    $'!', %al
print:                                  /* %al; spoils %eax */
        pushl   %edx
        movb    %al, %ah
        movw    $COM1_STATUS, %dx
1:      inb     %dx, %al
        testb   $TRANSMITTER_EMPTY, %al
        jz      1b
        movb    %ah, %al
        movw    $COM1, %dx
        outb    %al, %dx
        popl    %edx
        ret

looks_random:                           /* %edi: an address; %eax: what stands there */
        imull   $0x9e3779b1, %edi, %eax
        movl    %eax, %ecx
        shrl    $15, %ecx
        xorl    %ecx, %eax
        imull   $0x85ebca6b, %eax, %eax
        movl    %eax, %ecx
        shrl    $13, %ecx
        xorl    %ecx, %eax
        ret

digits: .ascii  "0123456789abcdef"
        .balign 8
table:
        .quad   0
        .quad   0x00cf9b000000ffff      /* 8: code, 4 GiB from 0 on */
        .quad   0x00cf93000000ffff      /* 16: data, the same */
descriptor:
        .word   descriptor - table - 1
        .long   table
end:
        .code16
        .org    0xfff0
        ljmp    $0xf000, $_start
        .org    0x10000
        .section .note.GNU-stack, "", @progbits
