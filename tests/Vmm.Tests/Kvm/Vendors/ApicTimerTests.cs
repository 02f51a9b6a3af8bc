using Iced.Intel;
using Vmm.Machines;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Kvm.Vendors;

/// <summary>The local APIC's timer by the TSC (Intel SDM volume 3, "TSC-Deadline Mode"). While a guest runs, KVM on VT-x keeps
/// the deadline by the VMX-preemption timer, where the processor has one, and while it is halted by a timer of the host's; AMD-V and
/// PVM have the latter only. A guest sees the same.</summary>
public sealed class ApicTimerTests
{
    private const byte Vector = 0x40;
    private const uint ApicBase = 0x1b, TscDeadline = 0x6e0, Eoi = 0x80b, Spurious = 0x80f, LvtTimer = 0x832;
    private const uint DeadlineMode = 2 << 17;

    /// <summary>Cycles until the deadline: some 40 ms in Bochs, less than one elsewhere.</summary>
    private const int Wait = 2_000_000;

    /// <summary>KVM lets the interrupt go a little early, for the way into the guest, and waits there for the rest.</summary>
    private const int Early = Wait / 8;

    [KvmTheory]
    [InlineData(false)]
    [InlineData(true)]
    public void The_interrupt_comes_when_the_TSC_has_reached_the_deadline(bool halts)
    {
        using var guest = new TestGuest(code =>
        {
            Label handler = code.CreateLabel(), wrong = code.CreateLabel(), round = code.CreateLabel(), wait = code.CreateLabel();
            Label there = code.CreateLabel(), done = code.CreateLabel();
            SetUp(code, handler, ref done);
            code.mov(ebp, 5);
            code.Label(ref round);
            code.xor(r12d, r12d);               // the handler counts here
            Arm(code, Wait);
            code.ReadMsr(TscDeadline);          // armed, or gone off in the meantime, though not delivered: IF is 0
            code.test(rax, rax);
            code.jz(there);
            code.cmp(rax, rsi);
            code.jne(wrong);
            code.Label(ref there);
            code.sti();
            code.Label(ref wait);
            if (halts)
            {
                code.hlt();
            }
            else
            {
                code.pause();
            }

            code.test(r12d, r12d);
            code.jz(wait);
            code.cli();
            code.sub(rsi, Early);
            code.cmp(r13, rsi);                 // the TSC at the interrupt
            code.jb(wrong);
            code.ReadMsr(TscDeadline);          // disarmed
            code.ExpectRax(0, ref wrong);
            code.cmp(r12d, 1);
            code.jne(wrong);
            code.dec(ebp);
            code.jnz(round);
            code.Label(ref done);
            code.ExitWithVerdict(ref wrong);
            EmitHandler(code, ref handler);
        });
        Assert.Equal(MachineEnd.FromGuest(0), GuestCode.Run(guest));
    }

    /// <summary>A deadline in the past is an interrupt at once; 0 disarms, and then none comes, though a later one does.</summary>
    [KvmFact]
    public void A_deadline_in_the_past_fires_at_once_and_0_disarms()
    {
        using var guest = new TestGuest(static code =>
        {
            Label handler = code.CreateLabel(), wrong = code.CreateLabel(), past = code.CreateLabel(), wait = code.CreateLabel();
            Label again = code.CreateLabel(), last = code.CreateLabel(), done = code.CreateLabel();
            SetUp(code, handler, ref done);
            code.xor(r12d, r12d);
            code.WriteMsr(TscDeadline, 1);
            code.sti();
            code.Label(ref past);
            code.pause();
            code.test(r12d, r12d);
            code.jz(past);
            code.cmp(r12d, 1);
            code.jne(wrong);
            code.Label(ref again);
            code.nop();                         // what was on its way comes here
            code.cli();
            code.xor(r12d, r12d);
            Arm(code, Wait);
            code.WriteMsr(TscDeadline, 0);
            code.ReadTsc();
            code.sub(rax, rsi);
            code.sti();
            code.cmp(rax, -Early);
            code.jge(again);                    // this vCPU had to wait so long that it may have gone off before
            code.ReadMsr(TscDeadline);
            code.ExpectRax(0, ref wrong);
            code.Label(ref wait);               // longer than it would have taken
            code.pause();
            code.ReadTsc();
            code.sub(rax, rsi);
            code.cmp(rax, Wait);
            code.jl(wait);
            code.test(r12d, r12d);
            code.jnz(wrong);
            code.xor(r12d, r12d);
            Arm(code, Wait);
            code.Label(ref last);
            code.pause();
            code.test(r12d, r12d);
            code.jz(last);
            code.Label(ref done);
            code.ExitWithVerdict(ref wrong);
            EmitHandler(code, ref handler);
        });
        Assert.Equal(MachineEnd.FromGuest(0), GuestCode.Run(guest));
    }

    /// <summary>Goes to <paramref name="done"/> where the processor has no such timer.</summary>
    private static void SetUp(Assembler code, Label handler, ref Label done)
    {
        code.mov(eax, 1);
        code.cpuid();
        code.test(ecx, 1 << 24);                // TSC-deadline
        code.jz(done);
        code.WriteMsr(ApicBase, 0xfee0_0000 | 0xd00);       // enabled, x2APIC, boot processor
        code.WriteMsr(Spurious, 0x1ff);
        code.SetGate(Vector, handler);
        code.LoadIdt();
        code.WriteMsr(LvtTimer, DeadlineMode | Vector);
        code.mfence();
    }

    /// <summary>RSI becomes the deadline.</summary>
    private static void Arm(Assembler code, int cycles)
    {
        code.ReadTsc();
        code.lea(rsi, __[rax + cycles]);
        code.mov(rax, rsi);
        code.mov(rdx, rsi);
        code.shr(rdx, 32);
        code.mov(ecx, TscDeadline);
        code.wrmsr();
    }

    private static void EmitHandler(Assembler code, ref Label handler)
    {
        code.Label(ref handler);
        code.push(rax);
        code.push(rcx);
        code.push(rdx);
        code.ReadTsc();
        code.mov(r13, rax);
        code.inc(r12d);
        code.WriteMsr(Eoi, 0);
        code.pop(rdx);
        code.pop(rcx);
        code.pop(rax);
        code.iretq();
    }
}
