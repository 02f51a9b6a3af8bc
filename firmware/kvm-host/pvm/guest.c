/*
 * Makes KVM on an AMD-V processor treat guests as a PVM host does (docs/hosts.md, kind 3): what runs at CPL 0 in long
 * mode goes through KVM's emulator, one instruction at a time; what runs at CPL 3 is the processor's. With it comes
 * what a guest meets there besides:
 *
 * - SYSCALL leaves the processor at CPL 3 and goes to MSR_LSTAR there.
 * - VMCALL repeats for ever.
 * - SWAPGS, SYSRET, RDTSCP and a return from an interrupt are the host's, though KVM's emulator lacks them.
 *
 * This file is included into KVM's x86.c, in front of vcpu_enter_guest(); `build` puts the calls where they belong.
 */
#include "pvm.h"

enum special { NOT_SPECIAL, DONE, FOR_PROCESSOR };

static enum special swap_gs(struct kvm_vcpu *vcpu)
{
	u64 user, kernel;

	if (kvm_get_msr(vcpu, MSR_GS_BASE, &kernel) || kvm_get_msr(vcpu, MSR_KERNEL_GS_BASE, &user))
		return FOR_PROCESSOR;
	kvm_set_msr(vcpu, MSR_GS_BASE, user);
	kvm_set_msr(vcpu, MSR_KERNEL_GS_BASE, kernel);
	kvm_rip_write(vcpu, kvm_rip_read(vcpu) + 3);
	return DONE;
}

/* IRETQ to where the kernel was interrupted. To a program the processor goes by itself, and stays out of the kernel then. */
static enum special return_to_kernel(struct kvm_vcpu *vcpu)
{
	struct { u64 rip, cs, rflags, rsp, ss; } frame;
	struct x86_exception fault;
	struct kvm_segment cs;

	if (kvm_read_guest_virt(vcpu, kvm_rsp_read(vcpu), &frame, sizeof(frame), &fault))
		return FOR_PROCESSOR;
	kvm_get_segment(vcpu, &cs, VCPU_SREG_CS);
	if (cs.selector != frame.cs)
		return FOR_PROCESSOR;
	kvm_rip_write(vcpu, frame.rip);
	kvm_set_rflags(vcpu, frame.rflags | X86_EFLAGS_FIXED);
	kvm_rsp_write(vcpu, frame.rsp);
	static_call(kvm_x86_set_nmi_mask)(vcpu, false);
	kvm_make_request(KVM_REQ_EVENT, vcpu);
	return DONE;
}

/* SYSRETQ (AMD64 manual, volume 3): flat segments of CPL 3, RIP from RCX, RFLAGS from R11. */
static enum special system_return(struct kvm_vcpu *vcpu)
{
	struct kvm_segment cs = { .limit = ~0u, .type = 11, .present = 1, .dpl = 3, .s = 1, .l = 1, .g = 1 };
	struct kvm_segment ss = { .limit = ~0u, .type = 3, .present = 1, .dpl = 3, .s = 1, .db = 1, .g = 1 };
	u64 star;

	if (kvm_get_msr(vcpu, MSR_STAR, &star))
		return FOR_PROCESSOR;
	cs.selector = (u16)((star >> 48) + 16) | 3;
	ss.selector = (u16)((star >> 48) + 8) | 3;
	kvm_set_segment(vcpu, &cs, VCPU_SREG_CS);
	kvm_set_segment(vcpu, &ss, VCPU_SREG_SS);
	kvm_rip_write(vcpu, kvm_rcx_read(vcpu));
	kvm_set_rflags(vcpu, (kvm_r11_read(vcpu) & 0x3c7fd7) | X86_EFLAGS_FIXED);
	kvm_make_request(KVM_REQ_EVENT, vcpu);
	return DONE;
}

static enum special read_time(struct kvm_vcpu *vcpu)
{
	u64 tsc = kvm_read_l1_tsc(vcpu, rdtsc()), aux;

	if (kvm_get_msr(vcpu, MSR_TSC_AUX, &aux))
		return FOR_PROCESSOR;
	kvm_rax_write(vcpu, (u32)tsc);
	kvm_rdx_write(vcpu, tsc >> 32);
	kvm_rcx_write(vcpu, (u32)aux);
	kvm_rip_write(vcpu, kvm_rip_read(vcpu) + 3);
	return DONE;
}

static enum special special_instruction(struct kvm_vcpu *vcpu)
{
	struct x86_exception fault;
	u8 code[3];

	if (kvm_read_guest_virt(vcpu, kvm_rip_read(vcpu), code, sizeof(code), &fault))
		return NOT_SPECIAL;
	if (!memcmp(code, "\x0f\x01\xf8", 3))
		return swap_gs(vcpu);
	if (!memcmp(code, "\x0f\x01\xf9", 3))
		return read_time(vcpu);
	if (!memcmp(code, "\x48\xcf", 2))
		return return_to_kernel(vcpu);
	if (!memcmp(code, "\x48\x0f\x07", 3))
		return system_return(vcpu);
	if (!memcmp(code, "\x0f\x01\xc1", 3) || !memcmp(code, "\x0f\x01\xd9", 3))
		return DONE;                    /* VMCALL, VMMCALL: where it was */
	return NOT_SPECIAL;
}

enum { TO_PROCESSOR = 2 };

/* What vcpu_enter_guest() returns, or TO_PROCESSOR when the guest is to be entered as ever. */
static int emulate_kernel(struct kvm_vcpu *vcpu)
{
	enum special special;
	int i, r;

	for (i = 0; i < 256; i++) {
		if (static_call(kvm_x86_get_cpl)(vcpu) != 0)
			return i ? 1 : TO_PROCESSOR;
		special = special_instruction(vcpu);
		if (special == FOR_PROCESSOR)
			return TO_PROCESSOR;
		if (special == NOT_SPECIAL) {
			r = kvm_emulate_instruction(vcpu, 0);
			if (vcpu->arch.halt_request) {
				vcpu->arch.halt_request = 0;
				return kvm_emulate_halt_noskip(vcpu);
			}
			if (r <= 0)
				return r;
		}
		if (kvm_request_pending(vcpu) || vcpu->arch.exception.pending || __xfer_to_guest_mode_work_pending() ||
		    vcpu->arch.mp_state != KVM_MP_STATE_RUNNABLE)
			break;
	}
	return 1;
}

/*
 * In vcpu_enter_guest(), when all is ready to enter. An event is delivered by the processor, which leaves the guest
 * again before the first instruction of the handler.
 */
#define ENTER_GUEST_AS_PVM() do {                                                                          \
	bool injects = vcpu->arch.exception.injected || vcpu->arch.interrupt.injected || vcpu->arch.nmi_injected; \
	if (injects) {                                                                                     \
		req_immediate_exit = true;                                                                 \
	} else if (is_long_mode(vcpu) && is_paging(vcpu) && !req_immediate_exit) {                         \
		r = emulate_kernel(vcpu);                                                                  \
		if (r != TO_PROCESSOR) {                                                                   \
			if (vcpu->arch.apic_attention)                                                     \
				kvm_lapic_sync_from_vapic(vcpu);                                           \
			goto out;                                                                          \
		}                                                                                          \
		r = 1;                                                                                     \
	}                                                                                                  \
} while (0)

/* With EFER.SCE hidden from the processor SYSCALL ends here. */
int pvm_handle_ud(struct kvm_vcpu *vcpu)
{
	struct x86_exception fault;
	unsigned long rip = kvm_rip_read(vcpu), flags = kvm_get_rflags(vcpu);
	u64 target, mask;
	u8 code[2];

	if (static_call(kvm_x86_get_cpl)(vcpu) != 3 || !(vcpu->arch.efer & EFER_SCE) ||
	    kvm_read_guest_virt(vcpu, rip, code, sizeof(code), &fault) || memcmp(code, "\x0f\x05", 2) ||
	    kvm_get_msr(vcpu, MSR_LSTAR, &target) || kvm_get_msr(vcpu, MSR_SYSCALL_MASK, &mask))
		return handle_ud(vcpu);
	kvm_rcx_write(vcpu, rip + 2);
	kvm_r11_write(vcpu, flags & ~X86_EFLAGS_RF);
	kvm_set_rflags(vcpu, (flags & ~(mask | X86_EFLAGS_RF)) | X86_EFLAGS_FIXED);
	kvm_rip_write(vcpu, target);
	return 1;
}
EXPORT_SYMBOL_GPL(pvm_handle_ud);
