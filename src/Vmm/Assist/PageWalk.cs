using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using Vmm.Devices.Memory;
using Vmm.Kvm.Abi;

namespace Vmm.Assist;

/// <summary>The kinds of accesses to linear memory.</summary>
[Flags]
internal enum Access
{
    Read = 0,
    Write = 1,
    Fetch = 2,

    /// <summary>An implicit supervisor access (descriptor tables, TSS): supervisor at any CPL, and EFLAGS.AC does
    /// not open user pages to it (Intel SDM volume 3, 4.6).</summary>
    Implicit = 4,
}

/// <summary>The result of an access to linear memory.</summary>
internal enum AccessResult
{
    Ok,

    /// <summary>The guest gets an exception.</summary>
    Fault,

    /// <summary>The address translates to a physical address without guest memory.</summary>
    NotMemory,
}

/// <summary>From a linear to a guest-physical address through the guest's page tables, with the checks, the error
/// code and the accessed and dirty bits of Intel SDM volume 3, chapter 4.</summary>
/// <remarks>
/// KVM on a host with shadow page tables does not see what is stored here, and does not have to: an additional accessed or
/// dirty bit does not invalidate its shadow entries.
/// </remarks>
internal static unsafe class PageWalk
{
    private const ulong Present = 1 << 0, Writable = 1 << 1, User = 1 << 2, Accessed = 1 << 5, Dirty = 1 << 6,
        Large = 1 << 7, NoExecute = 1UL << 63;

    private const ulong Frame = 0x000F_FFFF_FFFF_F000;

    private const uint ErrorPresent = 1, ErrorWrite = 2, ErrorUser = 4, ErrorReserved = 8, ErrorFetch = 16,
        ErrorKey = 32;

    /// <summary>How often entries may change during the walk (another vCPU writes them) before a page fault is raised, after
    /// which the guest tries again.</summary>
    private const int Attempts = 16;

    private const int MaxLevels = 5;

    /// <summary>Width of a physical address, from this processor: bits above it are reserved in an entry.</summary>
    private static readonly ulong ReservedFrame = Frame & ~((1UL << PhysicalAddressBits()) - 1);

    /// <summary>Is this a canonical address under the guest's present paging mode?</summary>
    public static bool IsCanonical(in KvmSregs sregs, ulong linear)
    {
        int unused = (sregs.Cr4 & Bits.Cr4La57) != 0 ? 7 : 16;
        return (ulong)((long)(linear << unused) >> unused) == linear;
    }

    /// <summary>Translates one byte's address.</summary>
    /// <param name="cpu">Whose page tables and privilege.</param>
    /// <param name="linear">Canonical, if the guest is in long mode.</param>
    /// <param name="access">What is to be done there.</param>
    /// <param name="physical">Where it is.</param>
    /// <param name="fault">#PF, if the result is <see cref="AccessResult.Fault"/>.</param>
    /// <returns><see cref="AccessResult.NotMemory"/> only when a page table itself is not in memory.</returns>
    public static AccessResult Translate(
        IAssistCpu cpu, ulong linear, Access access, out ulong physical, out GuestFault fault)
    {
        fault = default;
        ref readonly KvmSregs sregs = ref cpu.Sregs;
        if ((sregs.Cr0 & Bits.Cr0Pg) == 0)
        {
            physical = (uint)linear;
            return AccessResult.Ok;
        }

        uint error = 0;
        for (int i = 0; i < Attempts; i++)
        {
            AccessResult? result = (sregs.Cr4 & Bits.Cr4Pae) != 0
                ? WalkWide(cpu, in sregs, linear, access, out physical, out error)
                : WalkNarrow(cpu, in sregs, (uint)linear, access, out physical, out error);
            if (result == AccessResult.Fault)
            {
                fault = PageFault(cpu, in sregs, linear, access, error);
            }

            if (result is { } final)
            {
                return final;
            }
        }

        physical = 0;
        fault = PageFault(cpu, in sregs, linear, access, error);
        return AccessResult.Fault;
    }

    private static GuestFault PageFault(
        IAssistCpu cpu, in KvmSregs sregs, ulong linear, Access access, uint error)
    {
        error |= (access & Access.Write) != 0 ? ErrorWrite : 0;
        error |= IsUser(cpu, access) ? ErrorUser : 0;
        bool reportsFetch = (sregs.Efer & Bits.EferNxe) != 0 || (sregs.Cr4 & Bits.Cr4Smep) != 0;
        error |= (access & Access.Fetch) != 0 && reportsFetch ? ErrorFetch : 0;
        return GuestFault.PageFault(error, linear);
    }

    private static bool IsUser(IAssistCpu cpu, Access access) =>
        (access & Access.Implicit) == 0 && GuestMode.Cpl(cpu) == 3;

    /// <summary>Entries of eight bytes: PAE, four and five levels (SDM volume 3, 4.4 and 4.5).</summary>
    /// <returns>null if an entry changed meanwhile: walk again.</returns>
    [SkipLocalsInit]
    private static AccessResult? WalkWide(
        IAssistCpu cpu, in KvmSregs sregs, ulong linear, Access access, out ulong physical, out uint error)
    {
        bool isLong = (sregs.Efer & Bits.EferLma) != 0;
        bool noExecuteEnabled = (sregs.Efer & Bits.EferNxe) != 0;
        int level = !isLong ? 3 : (sregs.Cr4 & Bits.Cr4La57) != 0 ? 5 : 4;
        ulong table = isLong ? sregs.Cr3 & Frame : sregs.Cr3 & 0xFFFF_FFE0;
        ulong linearBits = isLong ? linear : (uint)linear;
        ulong** slots = stackalloc ulong*[MaxLevels];
        ulong* entries = stackalloc ulong[MaxLevels];
        int count = 0;
        ulong rights = Writable | User;
        ulong noExecute = 0;
        physical = 0;
        error = 0;

        while (true)
        {
            int shift = 12 + (9 * (level - 1));
            bool isDirectoryPointer = !isLong && level == 3;         // PAE: four entries without rights
            ulong index = (linearBits >> shift) & (isDirectoryPointer ? 3u : 511u);
            if (!cpu.Memory.TryGetPointer(new GuestAddress(table + (index * 8)), 8, out byte* slot))
            {
                return AccessResult.NotMemory;
            }

            // SAFETY: in bounds as just checked; aligned, since the table is and index * 8 is. Fetched once.
            ulong entry = Volatile.Read(ref *(ulong*)slot);
            if ((entry & Present) == 0)
            {
                return AccessResult.Fault;
            }

            bool isLeaf = level == 1 || ((entry & Large) != 0 && level <= (isLong ? 3 : 2));
            ulong reserved = ReservedFrame | (noExecuteEnabled ? 0 : NoExecute);
            if (isDirectoryPointer)
            {
                reserved |= NoExecute | 0x7FF0_0000_0000_01E6;        // figure 4-7
            }
            else if (!isLong)
            {
                reserved |= 0x7FF0_0000_0000_0000;
            }

            if (level >= 4 || isDirectoryPointer)
            {
                reserved |= Large;
            }
            else if (isLeaf && level > 1)
            {
                reserved |= (1UL << shift) - 0x2000;                  // below the frame, above PAT (bit 12)
            }

            if ((entry & reserved) != 0)
            {
                error = ErrorPresent | ErrorReserved;
                return AccessResult.Fault;
            }

            if (!isDirectoryPointer)
            {
                rights &= entry;
                noExecute |= entry & NoExecute;
                slots[count] = (ulong*)slot;
                entries[count++] = entry;
            }

            if (isLeaf)
            {
                if (!IsAllowed(cpu, in sregs, access, rights, noExecute != 0, entry, isLong, ref error))
                {
                    return AccessResult.Fault;
                }

                ulong inPage = (1UL << shift) - 1;
                physical = (entry & Frame & ~inPage) | (linearBits & inPage);
                return MarkUsed(slots, entries, count, access) ? AccessResult.Ok : null;
            }

            table = entry & Frame;
            level--;
        }
    }

    /// <summary>Entries of four bytes, pages of 4 KiB and 4 MiB (SDM volume 3, 4.3).</summary>
    private static AccessResult? WalkNarrow(
        IAssistCpu cpu, in KvmSregs sregs, uint linear, Access access, out ulong physical, out uint error)
    {
        physical = 0;
        error = 0;
        if (!TryGetNarrow(cpu, (sregs.Cr3 & 0xFFFF_F000) + ((linear >> 22) * 4), out uint* directorySlot))
        {
            return AccessResult.NotMemory;
        }

        uint directory = Volatile.Read(ref *directorySlot);
        if ((directory & Present) == 0)
        {
            return AccessResult.Fault;
        }

        bool isLarge = (directory & Large) != 0 && (sregs.Cr4 & Bits.Cr4Pse) != 0;
        uint* leafSlot = directorySlot;
        uint leaf = directory;
        if (isLarge)
        {
            if ((directory & (1 << 21)) != 0)
            {
                error = ErrorPresent | ErrorReserved;
                return AccessResult.Fault;
            }

            physical = (directory & 0xFFC0_0000UL) | ((ulong)(directory & 0x1F_E000) << 19) | (linear & 0x3F_FFFF);
        }
        else
        {
            if (!TryGetNarrow(cpu, (directory & 0xFFFF_F000) + (((linear >> 12) & 1023) * 4), out leafSlot))
            {
                return AccessResult.NotMemory;
            }

            leaf = Volatile.Read(ref *leafSlot);
            if ((leaf & Present) == 0)
            {
                return AccessResult.Fault;
            }

            physical = (leaf & 0xFFFF_F000) | (linear & 0xFFF);
        }

        if (!IsAllowed(cpu, in sregs, access, directory & leaf, noExecute: false, leaf, hasKeys: false, ref error))
        {
            return AccessResult.Fault;
        }

        uint used = leaf | (uint)Accessed | ((access & Access.Write) != 0 ? (uint)Dirty : 0);
        if (!isLarge && !Replace(directorySlot, directory, directory | (uint)Accessed))
        {
            return null;
        }

        return Replace(leafSlot, leaf, used) ? AccessResult.Ok : null;
    }

    private static bool TryGetNarrow(IAssistCpu cpu, ulong address, out uint* slot)
    {
        bool found = cpu.Memory.TryGetPointer(new GuestAddress(address), 4, out byte* pointer);

        // SAFETY: aligned, since tables are and indices are multiples of 4; in bounds if found.
        slot = (uint*)pointer;
        return found;
    }

    /// <summary>SDM volume 3, 4.6.1 (rights) and 4.6.2 (protection keys).</summary>
    private static bool IsAllowed(
        IAssistCpu cpu, in KvmSregs sregs, Access access, ulong rights, bool noExecute, ulong leaf, bool hasKeys,
        ref uint error)
    {
        error = ErrorPresent;
        bool isUserPage = (rights & User) != 0;
        bool isUserAccess = IsUser(cpu, access);
        bool isWrite = (access & Access.Write) != 0;
        bool protectsWrites = isUserAccess || (sregs.Cr0 & Bits.Cr0Wp) != 0;
        if (isUserAccess && !isUserPage)
        {
            return false;
        }

        if ((access & Access.Fetch) != 0)
        {
            return !noExecute && (isUserAccess || !isUserPage || (sregs.Cr4 & Bits.Cr4Smep) == 0);
        }

        if (isWrite && protectsWrites && (rights & Writable) == 0)
        {
            return false;
        }

        bool isOpen = (access & Access.Implicit) == 0 && (cpu.Regs.Rflags & Bits.FlagAc) != 0;
        if (isUserPage && !isUserAccess && (sregs.Cr4 & Bits.Cr4Smap) != 0 && !isOpen)
        {
            return false;
        }

        if (isUserPage && hasKeys && (sregs.Cr4 & Bits.Cr4Pke) != 0)
        {
            uint key = XsaveLayout.Host.ReadPkru(cpu.LoadXsave()) >> (int)((leaf >> 59) & 15) * 2;
            if ((key & 1) != 0 || ((key & 2) != 0 && isWrite && protectsWrites))
            {
                error |= ErrorKey;
                return false;
            }
        }

        return true;
    }

    private static bool MarkUsed(ulong** slots, ulong* entries, int count, Access access)
    {
        for (int i = 0; i < count; i++)
        {
            ulong used = entries[i] | Accessed;
            if (i == count - 1 && (access & Access.Write) != 0)
            {
                used |= Dirty;
            }

            // SAFETY: the slots were found in guest memory by the walk and are aligned to 8 bytes. Locked, as the
            // processor does it: another vCPU may change the entry, and then its new value must stand.
            if (used != entries[i]
                && Interlocked.CompareExchange(ref *slots[i], used, entries[i]) != entries[i])
            {
                return false;
            }
        }

        return true;
    }

    // SAFETY: the caller found the slot in guest memory; it is aligned to 4 bytes.
    private static bool Replace(uint* slot, uint seen, uint used) =>
        used == seen || Interlocked.CompareExchange(ref *slot, used, seen) == seen;

    private static int PhysicalAddressBits()
    {
        int bits = X86Base.CpuId(unchecked((int)0x8000_0008), 0).Eax & 0xFF;
        return bits is >= 36 and <= 52 ? bits : 52;
    }
}
