using System.Buffers.Binary;
using Iced.Intel;
using Vmm.Kvm.Abi;

namespace Vmm.Assist;

/// <summary>Instructions on system state: segment bases, extended control registers, protection keys, the time stamp
/// (Intel SDM volume 2, each under its name).</summary>
internal static class SystemInstructions
{
    /// <summary>CLAC and STAC: #UD outside CPL 0; otherwise EFLAGS.AC.</summary>
    public static Step SetAccess(AssistContext context, bool isOpen)
    {
        if (context.Cpl != 0)
        {
            return context.Raise(GuestFault.Ud);
        }

        context.SetStatusFlags(Bits.FlagAc, isOpen ? Bits.FlagAc : 0);
        return Step.Next;
    }

    /// <summary>RDFSBASE and RDGSBASE.</summary>
    public static Step ReadBase(AssistContext context, bool isGs)
    {
        if (!HasBaseInstructions(context))
        {
            return context.Raise(GuestFault.Ud);
        }

        ref readonly KvmSregs sregs = ref context.Cpu.Sregs;
        context.Set(context.Instruction.Op0Register, isGs ? sregs.Gs.Base : sregs.Fs.Base);
        return Step.Next;
    }

    /// <summary>WRFSBASE and WRGSBASE.</summary>
    public static Step WriteBase(AssistContext context, bool isGs)
    {
        if (!HasBaseInstructions(context))
        {
            return context.Raise(GuestFault.Ud);
        }

        ref KvmSregs sregs = ref context.Cpu.Sregs;
        ulong value = context.Get(context.Instruction.Op0Register);
        if (!PageWalk.IsCanonical(in sregs, value))
        {
            return context.Raise(GuestFault.Gp());
        }

        (isGs ? ref sregs.Gs : ref sregs.Fs).Base = value;
        context.Cpu.MarkSregsDirty();
        return Step.Next;
    }

    public static Step Swapgs(AssistContext context)
    {
        IAssistCpu cpu = context.Cpu;
        if (!context.Is64Bit)
        {
            return context.Raise(GuestFault.Ud);
        }

        if (context.Cpl != 0)
        {
            return context.Raise(GuestFault.Gp());
        }

        if (!cpu.TryGetMsr(Msr.KernelGsBase, out ulong kernelBase)
            || !cpu.TrySetMsr(Msr.KernelGsBase, cpu.Sregs.Gs.Base))
        {
            context.Reason = "KVM does not give access to MSR_KERNEL_GS_BASE";
            return Step.Unknown;
        }

        cpu.Sregs.Gs.Base = kernelBase;
        cpu.MarkSregsDirty();
        return Step.Next;
    }

    public static Step Xgetbv(AssistContext context)
    {
        IAssistCpu cpu = context.Cpu;
        if ((cpu.Sregs.Cr4 & Bits.Cr4OsXsave) == 0)
        {
            return context.Raise(GuestFault.Ud);
        }

        ulong value = cpu.Xcr0;
        switch ((uint)cpu.Regs.Rcx)
        {
            case 0:
                break;
            case 1:
                value &= BinaryPrimitives.ReadUInt64LittleEndian(cpu.LoadXsave()[XsaveLayout.HeaderOffset..]);
                break;
            default:
                return context.Raise(GuestFault.Gp());
        }

        cpu.Regs.Rax = (uint)value;
        cpu.Regs.Rdx = value >> 32;
        cpu.MarkRegsDirty();
        return Step.Next;
    }

    /// <summary>KVM checks the value: it knows which components the guest has.</summary>
    public static Step Xsetbv(AssistContext context)
    {
        IAssistCpu cpu = context.Cpu;
        if ((cpu.Sregs.Cr4 & Bits.Cr4OsXsave) == 0)
        {
            return context.Raise(GuestFault.Ud);
        }

        bool isDone = context.Cpl == 0 && (uint)cpu.Regs.Rcx == 0 && cpu.TrySetXcr0(context.EdxEax);
        return isDone ? Step.Next : context.Raise(GuestFault.Gp());
    }

    public static Step Rdpkru(AssistContext context)
    {
        IAssistCpu cpu = context.Cpu;
        if ((cpu.Sregs.Cr4 & Bits.Cr4Pke) == 0)
        {
            return context.Raise(GuestFault.Ud);
        }

        if ((uint)cpu.Regs.Rcx != 0)
        {
            return context.Raise(GuestFault.Gp());
        }

        cpu.Regs.Rax = XsaveLayout.Host.ReadPkru(cpu.LoadXsave());
        cpu.Regs.Rdx = 0;
        cpu.MarkRegsDirty();
        return Step.Next;
    }

    public static Step Wrpkru(AssistContext context)
    {
        IAssistCpu cpu = context.Cpu;
        if ((cpu.Sregs.Cr4 & Bits.Cr4Pke) == 0)
        {
            return context.Raise(GuestFault.Ud);
        }

        if ((uint)cpu.Regs.Rcx != 0 || (uint)cpu.Regs.Rdx != 0)
        {
            return context.Raise(GuestFault.Gp());
        }

        if (!XsaveLayout.Host.TryWritePkru(cpu.LoadXsave(), (uint)cpu.Regs.Rax))
        {
            context.Reason = "this processor's XSAVE area has no place for PKRU";
            return Step.Unknown;
        }

        context.MarkXsaveDirty();
        return Step.Next;
    }

    public static Step Rdtscp(AssistContext context)
    {
        IAssistCpu cpu = context.Cpu;
        if (!cpu.TryGetMsr(Msr.Tsc, out ulong tsc) || !cpu.TryGetMsr(Msr.TscAux, out ulong aux))
        {
            context.Reason = "KVM does not give access to the time stamp counter or to MSR_TSC_AUX";
            return Step.Unknown;
        }

        cpu.Regs.Rax = (uint)tsc;
        cpu.Regs.Rdx = tsc >> 32;
        cpu.Regs.Rcx = (uint)aux;
        cpu.MarkRegsDirty();
        return Step.Next;
    }

    public static Step Rdpid(AssistContext context)
    {
        if (!context.Cpu.TryGetMsr(Msr.TscAux, out ulong aux))
        {
            context.Reason = "KVM does not give access to MSR_TSC_AUX";
            return Step.Unknown;
        }

        context.Set(context.Instruction.Op0Register, (uint)aux);
        return Step.Next;
    }

    /// <summary>Flushing every translation is more than INVPCID asks for, and always allowed.</summary>
    public static Step Invpcid(AssistContext context)
    {
        if (context.Cpl != 0)
        {
            return context.Raise(GuestFault.Gp());
        }

        Span<byte> descriptor = stackalloc byte[16];
        Step step = context.Address(16, out ulong linear);
        step = step == Step.Next ? context.From(context.Memory.Read(linear, descriptor)) : step;
        if (step != Step.Next)
        {
            return step;
        }

        ulong type = context.Get(context.Instruction.Op0Register);
        ulong pcid = BinaryPrimitives.ReadUInt64LittleEndian(descriptor);
        ulong address = BinaryPrimitives.ReadUInt64LittleEndian(descriptor[8..]);
        bool isValid = type <= 3
            && (type >= 2 || pcid <= 0xFFF)
            && (type != 0 || PageWalk.IsCanonical(in context.Cpu.Sregs, address));
        if (!isValid)
        {
            return context.Raise(GuestFault.Gp());
        }

        if (!context.Cpu.TryFlushTlb())
        {
            context.Reason = "the host cannot flush the guest's translations";
            return Step.Unknown;
        }

        return Step.Next;
    }

    /// <summary>The flushes of a cache line: a load as far as faults go, otherwise without effect, since the memory
    /// of guests is coherent.</summary>
    public static Step FlushLine(AssistContext context)
    {
        Step step = context.Address(1, out ulong linear);
        if (step != Step.Next)
        {
            return step;
        }

        AccessResult result = context.Memory.Probe(linear, 1, Access.Read);
        return result == AccessResult.Fault ? context.Raise(context.Memory.Fault) : Step.Next;
    }

    private static bool HasBaseInstructions(AssistContext context) =>
        context.Is64Bit && (context.Cpu.Sregs.Cr4 & Bits.Cr4FsGsBase) != 0;
}
