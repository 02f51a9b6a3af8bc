using Vmm.Boot;
using Vmm.Devices.Memory;
using Vmm.Kvm.Abi;

namespace Vmm.Assist;

/// <summary>Completes SYSCALL on hosts where the instruction, run natively in user mode, does everything except raising the
/// privilege level (PVM; see docs/hosts.md). One per vCPU.</summary>
/// <remarks>
/// MSR_LSTAR holds, instead of the kernel's entry, an address that user mode may fetch from but that no memory is
/// behind. KVM gives up at that fetch, and here the rest of SYSCALL is done. The address lies in the last 2 MiB,
/// which Linux leaves empty in the page directory of its fixmap; the entry for them is written into the guest's own
/// tables. They are static and shared by all processes unless the guest isolates its page tables, so it must not
/// (kernel parameter <c>nopti</c>).
/// </remarks>
internal sealed class SyscallLanding(IAssistCpu cpu)
{
    /// <summary>The address to which SYSCALL jumps.</summary>
    public const ulong Address = 0xFFFF_FFFF_FFF0_0000;

    // Present, user, accessed, large, and nothing else: not writable, executable.
    private const ulong Entry = Layout.SyscallLanding | 0b1010_0101;
    private const ulong Present = 1, User = 4, Large = 1 << 7, Frame = 0x000F_FFFF_FFFF_F000;
    private const int LastIndex = 511;

    /// <summary>Flags that a program can change: all that POPF changes at CPL 3.</summary>
    private const ulong UserFlags = Bits.StatusFlags | Bits.FlagTf | Bits.FlagDf | Bits.FlagNt | Bits.FlagAc | (1 << 21);

    private ulong _entryPoint;

    /// <summary>SYSCALLs completed.</summary>
    public long Count { get; private set; }

    /// <summary>Does LSTAR hold the landing?</summary>
    public bool IsInstalled { get; private set; }

    /// <summary>The guest writes MSR_LSTAR.</summary>
    /// <returns>false if the value is none that the MSR can take: #GP. Where the guest's page tables have no place for the
    /// landing, LSTAR gets the guest's value unchanged.</returns>
    public bool OnWriteLstar(ulong value)
    {
        if (!PageWalk.IsCanonical(in cpu.Sregs, value))
        {
            return false;
        }

        bool isPossible = value != 0 && TryMapLanding();
        if (!cpu.TrySetMsr(Msr.Lstar, isPossible ? Address : value))
        {
            return false;
        }

        _entryPoint = value;
        IsInstalled = isPossible;
        return true;
    }

    /// <summary>The guest reads MSR_LSTAR: it gets what it wrote.</summary>
    public ulong OnReadLstar()
    {
        if (!IsInstalled && cpu.TryGetMsr(Msr.Lstar, out ulong value))
        {
            return value;
        }

        return _entryPoint;
    }

    /// <summary>If KVM gave up because of the landing, does the rest of SYSCALL (Intel SDM volume 2, "SYSCALL").
    /// RIP, RCX, R11 and RFLAGS are set already.</summary>
    /// <remarks>A user program can also jump to the landing. Then it makes a system call, with flags of its choice
    /// in RFLAGS and R11: so the mask is applied here too, and R11 keeps only what user mode may have.</remarks>
    public bool TryComplete()
    {
        if (!IsInstalled || cpu.Regs.Rip != Address || GuestMode.Cpl(cpu) != 3
            || !cpu.TryGetMsr(Msr.Star, out ulong star) || !cpu.TryGetMsr(Msr.Sfmask, out ulong mask))
        {
            return false;
        }

        cpu.Regs.Rflags = (cpu.Regs.Rflags & ~(mask | Bits.FlagRf)) | 2;
        cpu.Regs.R11 = (cpu.Regs.R11 & UserFlags) | Bits.FlagIf | 2;

        ref KvmSregs sregs = ref cpu.Sregs;
        ushort selector = (ushort)(star >> 32 & 0xFFFC);
        sregs.Cs = new KvmSegment
        {
            Limit = 0xFFFF_FFFF,
            Selector = selector,
            Type = 11,
            S = 1,
            Present = 1,
            L = 1,
            G = 1,
        };
        sregs.Ss = new KvmSegment
        {
            Limit = 0xFFFF_FFFF,
            Selector = (ushort)(selector + 8),
            Type = 3,
            S = 1,
            Present = 1,
            Db = 1,
            G = 1,
        };
        cpu.Regs.Rip = _entryPoint;
        cpu.MarkRegsDirty();
        cpu.MarkSregsDirty();
        Count++;
        return true;
    }

    /// <summary>Writes the page-directory entry of the last 2 MiB. KVM does not see it, and need not: there was
    /// none before.</summary>
    private bool TryMapLanding()
    {
        ref readonly KvmSregs sregs = ref cpu.Sregs;
        if ((sregs.Efer & Bits.EferLma) == 0 || (sregs.Cr0 & Bits.Cr0Pg) == 0)
        {
            return false;
        }

        ulong table = sregs.Cr3 & Frame;
        for (int level = (sregs.Cr4 & Bits.Cr4La57) != 0 ? 5 : 4; level > 2; level--)
        {
            if (!cpu.Memory.TryRead(SlotOf(table), out ulong entry)
                || (entry & (Present | User)) != (Present | User)
                || (entry & Large) != 0)
            {
                return false;
            }

            table = entry & Frame;
        }

        if (!cpu.Memory.TryRead(SlotOf(table), out ulong last))
        {
            return false;
        }

        // Another vCPU has written it already, or the guest has a mapping of its own.
        return last == 0 ? cpu.Memory.TryWrite(SlotOf(table), Entry) : (last & ~0x60UL) == (Entry & ~0x60UL);
    }

    private static GuestAddress SlotOf(ulong table) => new(table + (LastIndex * 8));
}
