/*
 * A floppy's boot sector. By now the BIOS has set up its tables, and the kernel, the initramfs and the start info are
 * in memory (Bochs' RAM images): enter 32-bit mode and jump to the kernel's PVH entry with EBX on the start info
 * (Xen: x86/HVM direct boot ABI). ENTRY and INFO are given by the assembler's command line.
 */
    .code16
    .globl _start
_start:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    inb $0x92, %al                      /* open gate A20 */
    orb $2, %al
    andb $0xfe, %al
    outb %al, $0x92
    lgdtl descriptor
    movl %cr0, %eax
    orl $1, %eax
    movl %eax, %cr0
    ljmpl $0x08, $protected

    .code32
protected:
    movw $0x10, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $INFO, %ebx
    movl $ENTRY, %eax
    jmp *%eax

    .balign 8
table:
    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
descriptor:
    .word descriptor - table - 1
    .long table

    .org 510
    .word 0xaa55
