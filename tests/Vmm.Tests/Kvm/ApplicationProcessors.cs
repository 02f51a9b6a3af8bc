using Iced.Intel;
using Vmm.Devices.Memory;
using Vmm.Machines;
using Vmm.Tests.Shared;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Kvm;

/// <summary>Code that application processors run once they are started, and the page where they store what they found.</summary>
internal static class ApplicationProcessors
{
    /// <summary>Where the code is (the start-up IPI's vector is its page), and the page of results, whose first word counts the
    /// processors that are done.</summary>
    public const ulong Trampoline = 0x4_0000, Found = 0x5_0000;

    /// <summary>MSRs: IA32_APIC_BASE, and the APIC id and the interrupt command register of an x2APIC.</summary>
    public const uint ApicBase = 0x1b, ApicId = 0x802, Icr = 0x830;

    /// <summary>IA32_APIC_BASE of a boot processor, and of another one: enabled, in x2APIC mode.</summary>
    public const uint BootX2Apic = 0xfee0_0000 | 0xd00, OtherX2Apic = 0xfee0_0000 | 0xc00;

    /// <summary>Reads a word of the page of results.</summary>
    public static uint Result(Machine machine, ulong offset) => machine.Ram.Memory.Read<uint>(new GuestAddress(Found + offset));

    /// <summary>Writes the code into the machine's memory: DS is the page of results, then <paramref name="store"/>, and the
    /// processor counts itself and halts.</summary>
    public static void Install(Machine machine, Action<Assembler> store)
    {
        var code = new Assembler(16);
        Label halt = code.CreateLabel();
        code.cli();
        code.mov(ax, (ushort)(Found >> 4));
        code.mov(ds, ax);
        store(code);
        code.@lock.inc(__dword_ptr[0]);
        code.Label(ref halt);
        code.hlt();
        code.jmp(halt);
        using var bytes = new MemoryStream();
        code.Assemble(new StreamCodeWriter(bytes), Trampoline & 0xffff);
        machine.Ram.Memory.Write(new GuestAddress(Trampoline), bytes.ToArray());
    }
}
