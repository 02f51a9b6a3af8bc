using Iced.Intel;
using Vmm.Assist;
using Vmm.Bench.Operations;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Bench.Guests;

/// <summary>All that guests time here.</summary>
internal static class Scenarios
{
    private const int Many = 20_000, Some = 5_000, Few = 300;
    private const string Privileged = "privileged: #GP in a program";

    // In KVM: the microcode's revision, of which writes are ignored. In user space: LSTAR, by the MSR filter.
    private const uint MsrInKernel = 0x8b, MsrFiltered = 0xc000_0082;
    private const uint IcrLow = 0x300, IcrHigh = 0x310, ToVcpu1 = 1 << 24, ToSelf = 1 << 18;

    public static IReadOnlyList<Scenario> Exits { get; } =
    [
        new("nothing: the cost of timing", Many, _ => { }),
        new("port out", Many, code => code.@out(GuestImage.SinkPort, al)),
        new("port in", Many, code => code.@in(al, GuestImage.SinkPort)),
        new("MMIO write", Many, code => code.mov(__dword_ptr[r12], eax)),
        new("MMIO read", Many, code => code.mov(eax, __dword_ptr[r12])),
        new("CPUID", Many, code =>
        {
            code.xor(eax, eax);
            code.cpuid();
        }),
        new("RDMSR in KVM", Many, code => Msr(code, MsrInKernel, write: false)) { KernelOnly = Privileged },
        new("WRMSR in KVM", Many, code => Msr(code, MsrInKernel, write: true)) { KernelOnly = Privileged },
        new("RDMSR in user space", Many, code => Msr(code, MsrFiltered, write: false)) { KernelOnly = Privileged },
        new("WRMSR in user space", Many, code => Msr(code, MsrFiltered, write: true)) { KernelOnly = Privileged },
    ];

    public static IReadOnlyList<Scenario> Interrupts { get; } =
    [
        new("ioeventfd kick", Many, code => code.mov(__dword_ptr[r11], eax)),
        new("port exit, irqfd, handler", Some, code =>
        {
            code.mov(__dword_ptr[r10], 0);
            code.@out(GuestImage.RaisePort, al);
            SpinUntilFlag(code);
        }),
        new("kick, event loop, irqfd, handler", Some, code =>
        {
            code.mov(__dword_ptr[r10], 0);
            code.mov(__dword_ptr[r11], eax);
            SpinUntilFlag(code);
        }),
        new("the same, waiting in HLT", Some, code =>
        {
            code.mov(__dword_ptr[r10], 0);
            code.mov(__dword_ptr[r11], eax);
            HaltUntilFlag(code);
        }) { KernelOnly = Privileged },
        new("IPI to a spinning vCPU and its answer", Few, SendIpi) { NeedsPartner = true },
        new("IPI to a halted vCPU and its answer", Some, SendIpi)
        {
            NeedsPartner = true, PartnerHalts = true, KernelOnly = "HLT is privileged: #GP in a program",
        },
        new("timer: lateness, spinning", Few, code => WaitForTimer(code, halt: false)) { HandlerSamples = true },
        new("timer: lateness, in HLT", Few, code => WaitForTimer(code, halt: true))
        {
            HandlerSamples = true, KernelOnly = Privileged,
        },
    ];

    /// <summary>On PVM hosts the assist finishes these; on others the processor does, and the rows say what it takes.
    /// </summary>
    public static IReadOnlyList<Scenario> Assisted { get; } =
    [
        Exits[0],
        .. AssistOperations.Instructions.Where(each => each.IsHere && each.RunsInGuest).Select(each =>
            new Scenario(each.Name, Some, code =>
            {
                if (each.TakesMask)
                {
                    code.or(eax, -1);
                    code.or(edx, -1);
                }

                each.Write(code);
            })
            {
                Before = code =>
                {
                    code.or(eax, -1);
                    code.or(edx, -1);
                    each.Before?.Invoke(code);
                },
                KernelOnly = "",
                HasYardstick = false,
            }),
    ];

    private static void Msr(Assembler code, uint index, bool write)
    {
        code.mov(ecx, index);
        if (write)
        {
            code.wrmsr();
        }
        else
        {
            code.rdmsr();
        }
    }

    private static void SendIpi(Assembler code)
    {
        code.mov(__dword_ptr[r10], 0);
        code.mov(__dword_ptr[r13 + IcrHigh], ToVcpu1);
        code.mov(__dword_ptr[r13 + IcrLow], GuestImage.IpiVector);
        SpinUntilFlag(code);
    }

    private static void SpinUntilFlag(Assembler code)
    {
        Label again = code.CreateLabel(), done = code.CreateLabel();
        code.Label(ref again);
        code.cmp(__dword_ptr[r10], 0);
        code.jne(done);
        code.pause();
        code.jmp(again);
        code.Label(ref done);
    }

    private static void HaltUntilFlag(Assembler code)
    {
        Label again = code.CreateLabel(), done = code.CreateLabel();
        code.Label(ref again);
        code.cli();
        code.cmp(__dword_ptr[r10], 0);
        code.jne(done);
        code.sti();
        code.hlt();
        code.jmp(again);
        code.Label(ref done);
        code.sti();
    }

    private static void WaitForTimer(Assembler code, bool halt)
    {
        Label again = code.CreateLabel(), done = code.CreateLabel();
        code.mov(__dword_ptr[r13 + IcrLow], ToSelf | GuestImage.ArmVector);     // a program cannot write the MSR
        code.Label(ref again);
        if (halt)
        {
            code.cli();
        }

        code.test(r15d, r15d);
        code.jz(done);
        if (halt)
        {
            code.sti();
            code.hlt();
        }
        else
        {
            code.pause();
        }

        code.jmp(again);
        code.Label(ref done);
        if (halt)
        {
            code.sti();
        }
    }
}
