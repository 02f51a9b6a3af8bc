/* What build puts into KVM's svm.c and x86.c besides; see guest.c. */
#ifndef VMM_PVM_H
#define VMM_PVM_H

/*
 * A second of the guest's clock is this many of the host's. A PVM host does 2-3 million instructions in one; here they take
 * ten to fifteen times as long. A tick is some 1,400 of them: with HZ=100 they hardly fit into 10 ms, and a Linux that does not
 * yet use high-resolution timers makes up for every tick that it missed before it does anything else, so for ever.
 *
 * KVM's clock and, by what it says, the TSC and its deadline run so; the PIT and the RTC, which Linux leaves early, do not.
 */
#define SLOWNESS 10

int pvm_handle_ud(struct kvm_vcpu *vcpu);

/* The processor is not to know SYSCALL. */
static inline u64 pvm_efer(u64 efer) { return efer & ~(u64)EFER_SCE; }

/* QEMU checks I/O permissions only where TR is not busy, though LTR makes it so. */
static inline u16 pvm_type(int segment, u16 type) { return segment == VCPU_SREG_TR ? type & ~2 : type; }

/* #BP is delivered with RIP as it is: PVM does not look for the instruction. */
#define kvm_exception_is_soft(vector) ((void)(vector), false)

#endif
