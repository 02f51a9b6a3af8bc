/*
 * Guests for bench-start and bench-machines, each an ELF file that is entered by PVH in 32-bit protected mode (Xen's pvh.pandoc):
 * with EXITS=0 it resets at its first instruction, else it writes to port 0x80 so many times before; with IDLE it halts for ever.
 */
        .section .note.pvh, "a", @note
        .long 4, 4, 18                  /* name, descriptor, XEN_ELFNOTE_PHYS32_ENTRY */
        .asciz "Xen"
        .long entry

        .text
        .code32
        .globl entry
entry:
#ifdef IDLE
0:      hlt
        jmp 0b
#endif
#if EXITS
        movl $EXITS, %ecx
1:      outb %al, $0x80
        loop 1b
#endif
        movb $0xfe, %al                 /* the keyboard controller's reset line */
        outb %al, $0x64
        outb %al, $0xf4                 /* where a peer has no such controller, QEMU's isa-debug-exit: status 253 */
        lidt nothing                    /* and without either a triple fault resets */
        int3
nothing:
        .long 0, 0
