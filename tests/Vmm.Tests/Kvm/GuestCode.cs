using Iced.Intel;
using Vmm.Boot;
using Vmm.Machines;
using static Iced.Intel.AssemblerRegisters;

namespace Vmm.Tests.Kvm;

/// <summary>Pieces that guests of several tests are made of.</summary>
internal static class GuestCode
{
    public const byte ExitPort = 0xf4;

    /// <summary>#UD and #GP (Intel SDM volume 3, "Exceptions and Interrupts").</summary>
    public const int InvalidOpcode = 6, GeneralProtection = 13;

    private const ulong Idt = 0x21_0000;

    public static void WriteMsr(this Assembler code, uint index, uint low, uint high = 0)
    {
        code.mov(ecx, index);
        code.mov(eax, low);
        code.mov(edx, high);
        code.wrmsr();
    }

    /// <summary>RDTSC into RAX. Spoils RDX.</summary>
    public static void ReadTsc(this Assembler code)
    {
        code.rdtsc();
        code.shl(rdx, 32);
        code.or(rax, rdx);
    }

    /// <summary>Does nothing but take interrupts.</summary>
    public static void HaltForEver(this Assembler code)
    {
        Label loop = code.CreateLabel();
        code.Label(ref loop);
        code.hlt();
        code.jmp(loop);
    }

    /// <summary>In loops that wait with interrupts off for another vCPU: Bochs' older models have no exits for loops of PAUSE, and
    /// without any the host there does not get to the other vCPU (docs/hosts.md).</summary>
    public static void WaitByExit(this Assembler code) => code.@out(0x80, al);

    /// <summary>Ends the machine.</summary>
    public static void Exit(this Assembler code, sbyte verdict)
    {
        code.mov(al, verdict);
        code.@out(ExitPort, al);
    }

    /// <summary>The guest's code is 0 where it comes here, and 1 where it jumps to <paramref name="wrong"/>.</summary>
    public static void ExitWithVerdict(this Assembler code, ref Label wrong)
    {
        code.Exit(0);
        code.Label(ref wrong);
        code.Exit(1);
    }

    /// <summary>Spoils RBX.</summary>
    public static void ExpectRax(this Assembler code, long value, ref Label wrong)
    {
        code.mov(rbx, value);
        code.cmp(rax, rbx);
        code.jne(wrong);
    }

    /// <summary>RDMSR into RAX.</summary>
    public static void ReadMsr(this Assembler code, uint index)
    {
        code.mov(ecx, index);
        code.rdmsr();
        code.shl(rdx, 32);
        code.or(rax, rdx);
    }

    /// <summary>The current code segment's handler of an interrupt or exception: a gate of 16 bytes (Intel SDM volume 3,
    /// "64-Bit Mode IDT").</summary>
    public static void SetGate(this Assembler code, int vector, Label handler)
    {
        code.lea(rax, __[handler]);
        code.mov(rdi, Idt + ((ulong)vector * 16));
        code.mov(__word_ptr[rdi], ax);
        code.mov(ebx, cs);
        code.mov(__word_ptr[rdi + 2], bx);
        code.mov(__word_ptr[rdi + 4], 0x8e00);
        code.shr(rax, 16);
        code.mov(__word_ptr[rdi + 6], ax);
        code.mov(__qword_ptr[rdi + 8], 0);
    }

    public static void LoadIdt(this Assembler code)
    {
        code.sub(rsp, 16);
        code.mov(__word_ptr[rsp], 0xfff);
        code.mov(rax, Idt);
        code.mov(__qword_ptr[rsp + 2], rax);
        code.lidt(__[rsp]);
        code.add(rsp, 16);
    }

    /// <summary>At the beginning of a guest that calls <see cref="ExpectFault"/>: R14 and R15 are taken from here on.</summary>
    public static void CatchFaults(this Assembler code)
    {
        Label opcode = code.CreateLabel(), protection = code.CreateLabel(), after = code.CreateLabel();
        code.SetGate(InvalidOpcode, opcode);
        code.SetGate(GeneralProtection, protection);
        code.LoadIdt();
        code.jmp(after);
        code.Label(ref protection);
        code.add(rsp, 8);                   // the error code
        code.mov(r15d, GeneralProtection);
        code.mov(__[rsp], r14);
        code.iretq();
        code.Label(ref opcode);
        code.mov(r15d, InvalidOpcode);
        code.mov(__[rsp], r14);
        code.iretq();
        code.Label(ref after);
    }

    /// <summary>What <paramref name="emit"/> emits must raise an exception.</summary>
    /// <param name="vector">0 for none.</param>
    public static void ExpectFault(this Assembler code, int vector, ref Label wrong, Action<Assembler> emit)
    {
        Label after = code.CreateLabel();
        code.xor(r15d, r15d);
        code.lea(r14, __[after]);
        emit(code);
        code.Label(ref after);
        code.cmp(r15d, vector);
        code.jne(wrong);
    }

    public static MachineEnd Run(TestGuest guest, int cpus = 1, string cpu = "host")
    {
        using Machine machine = Machine.Build(new MachineSpec
        {
            Kernel = guest.Path,
            Memory = 64UL << 20,
            Cpus = cpus,
            CpuModel = CpuModel.Parse(cpu),
        });
        return machine.Run();
    }
}
