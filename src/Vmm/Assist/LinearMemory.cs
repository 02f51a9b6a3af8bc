using System.Runtime.CompilerServices;
using Vmm.Devices.Memory;
using Vmm.Kvm.Abi;

namespace Vmm.Assist;

/// <summary>The guest's linear address space as one vCPU sees it. A range may cross pages: all of it is checked
/// before any of it is copied, so that an instruction that faults has written nothing.</summary>
internal sealed unsafe class LinearMemory(IAssistCpu cpu)
{
    /// <summary>Longest range: an XSAVE area with AMX tiles has 11,008 bytes, and there is room for more.</summary>
    public const int MaxLength = 64 * 1024;

    private const int PageSize = 4096;
    private const int MaxPages = (MaxLength / PageSize) + 1;

    /// <summary>Set when a method returns <see cref="AccessResult.Fault"/>.</summary>
    public GuestFault Fault { get; private set; }

    /// <summary>Copies out of the guest.</summary>
    [SkipLocalsInit]
    public AccessResult Read(ulong linear, Span<byte> destination, Access access = Access.Read)
    {
        byte** pages = stackalloc byte*[MaxPages];
        AccessResult result = Find(linear, destination.Length, access, pages);
        if (result != AccessResult.Ok)
        {
            return result;
        }

        int done = 0;
        for (int i = 0; done < destination.Length; i++)
        {
            int count = Chunk(linear, done, destination.Length);

            // SAFETY: Find located this chunk in guest memory. Small chunks are copied by single loads.
            Copy(pages[i], destination.Slice(done, count));
            done += count;
        }

        return AccessResult.Ok;
    }

    /// <summary>Copies into the guest.</summary>
    [SkipLocalsInit]
    public AccessResult Write(ulong linear, ReadOnlySpan<byte> source)
    {
        byte** pages = stackalloc byte*[MaxPages];
        AccessResult result = Find(linear, source.Length, Access.Write, pages);
        if (result != AccessResult.Ok)
        {
            return result;
        }

        int done = 0;
        for (int i = 0; done < source.Length; i++)
        {
            int count = Chunk(linear, done, source.Length);

            // SAFETY: as in Read.
            Copy(source.Slice(done, count), pages[i]);
            done += count;
        }

        return AccessResult.Ok;
    }

    /// <summary>Does everything of <see cref="Write"/> but writing.</summary>
    [SkipLocalsInit]
    public AccessResult Probe(ulong linear, int length, Access access)
    {
        byte** pages = stackalloc byte*[MaxPages];
        return Find(linear, length, access, pages);
    }

    /// <summary>Where a range that lies in one page is in this process, for atomic access.</summary>
    public AccessResult Locate(ulong linear, int length, Access access, out byte* pointer)
    {
        byte* page = null;
        AccessResult result = (linear & (PageSize - 1)) + (ulong)length > PageSize
            ? AccessResult.NotMemory
            : Find(linear, length, access, &page);
        pointer = page;
        return result;
    }

    /// <summary>Fetches instruction bytes.</summary>
    /// <returns>How many could be read, up to the length of <paramref name="destination"/>. If fewer than that,
    /// <paramref name="result"/> says why.</returns>
    public int Fetch(ulong linear, Span<byte> destination, out AccessResult result)
    {
        int done = 0;
        while (done < destination.Length)
        {
            int count = Math.Min(destination.Length - done, PageSize - (int)((linear + (ulong)done) & (PageSize - 1)));
            result = Read(linear + (ulong)done, destination.Slice(done, count), Access.Fetch);
            if (result != AccessResult.Ok)
            {
                return done;
            }

            done += count;
        }

        result = AccessResult.Ok;
        return done;
    }

    private static int Chunk(ulong linear, int done, int length) =>
        Math.Min(length - done, PageSize - (int)((linear + (ulong)done) & (PageSize - 1)));

    /// <summary>Finds each page's part of a range.</summary>
    private AccessResult Find(ulong linear, int length, Access access, byte** pages)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, MaxLength);
        ref readonly KvmSregs sregs = ref cpu.Sregs;
        bool isLong = (sregs.Efer & Bits.EferLma) != 0;
        int done = 0;
        for (int i = 0; done < length; i++)
        {
            ulong address = linear + (ulong)done;
            int count = Chunk(linear, done, length);
            if (!isLong)
            {
                address = (uint)address;
            }
            else if (!PageWalk.IsCanonical(in sregs, address))
            {
                Fault = GuestFault.Gp();
                return AccessResult.Fault;
            }

            AccessResult result = PageWalk.Translate(cpu, address, access, out ulong physical, out GuestFault fault);
            if (result != AccessResult.Ok)
            {
                Fault = fault;
                return result;
            }

            if (!cpu.Memory.TryGetPointer(new GuestAddress(physical), (ulong)count, out pages[i]))
            {
                return AccessResult.NotMemory;
            }

            done += count;
        }

        return AccessResult.Ok;
    }

    /// <summary>Operands of the usual widths are moved by one instruction, as the processor does it: other vCPUs may
    /// look at the same word.</summary>
    private static void Copy(byte* source, Span<byte> destination)
    {
        ref byte target = ref System.Runtime.InteropServices.MemoryMarshal.GetReference(destination);
        switch (destination.Length)
        {
            case 1: target = *source; break;
            case 2: Unsafe.WriteUnaligned(ref target, Unsafe.ReadUnaligned<ushort>(source)); break;
            case 4: Unsafe.WriteUnaligned(ref target, Unsafe.ReadUnaligned<uint>(source)); break;
            case 8: Unsafe.WriteUnaligned(ref target, Unsafe.ReadUnaligned<ulong>(source)); break;
            default: new ReadOnlySpan<byte>(source, destination.Length).CopyTo(destination); break;
        }
    }

    private static void Copy(ReadOnlySpan<byte> source, byte* destination)
    {
        ref byte origin = ref System.Runtime.InteropServices.MemoryMarshal.GetReference(source);
        switch (source.Length)
        {
            case 1: *destination = origin; break;
            case 2: Unsafe.WriteUnaligned(destination, Unsafe.ReadUnaligned<ushort>(ref origin)); break;
            case 4: Unsafe.WriteUnaligned(destination, Unsafe.ReadUnaligned<uint>(ref origin)); break;
            case 8: Unsafe.WriteUnaligned(destination, Unsafe.ReadUnaligned<ulong>(ref origin)); break;
            default: source.CopyTo(new Span<byte>(destination, source.Length)); break;
        }
    }
}
