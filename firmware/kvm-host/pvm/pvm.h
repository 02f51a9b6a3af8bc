/* What build puts into KVM's svm.c besides; see guest.c. */
#ifndef VMM_PVM_H
#define VMM_PVM_H

int pvm_handle_ud(struct kvm_vcpu *vcpu);

/* The processor is not to know SYSCALL. */
static inline u64 pvm_efer(u64 efer) { return efer & ~(u64)EFER_SCE; }

/* QEMU checks I/O permissions only where TR is not busy, though LTR makes it so. */
static inline u16 pvm_type(int segment, u16 type) { return segment == VCPU_SREG_TR ? type & ~2 : type; }

/* #BP is delivered with RIP as it is: PVM does not look for the instruction. */
#define kvm_exception_is_soft(vector) ((void)(vector), false)

#endif
