using Vmm.Devices.Memory;

namespace Vmm.Boot;

/// <summary>Types of address ranges (ACPI 6.5, table 15.4).</summary>
public enum E820Type
{
    Ram = 1,
    Reserved = 2,
    Acpi = 3,
    Nvs = 4,
}

/// <summary>One range of guest-physical addresses and what the guest may use it for.</summary>
public readonly record struct E820Range(GuestAddress Start, ulong Length, E820Type Type)
{
    /// <summary>First address behind the range.</summary>
    public GuestAddress End => Start + Length;
}

/// <summary>The memory map that every boot protocol hands to the guest, each in its own format.</summary>
public static class E820Map
{
    /// <summary>Ranges that are reserved in every machine.</summary>
    private static ReadOnlySpan<E820Range> Fixed => new E820Range[]
    {
        // The end of base memory, the VGA window, the ACPI and MP tables: as in a PC.
        Reserved(Layout.Ebda, Layout.HighMemory - Layout.Ebda),
        // Reserved so that a kernel does not assign these addresses to devices.
        Reserved(Layout.SyscallLanding, Layout.SyscallLandingSize),
        // Linux trusts an MCFG table only if the map says so too (PCI firmware 3.3, 4.1.2).
        Reserved(Layout.PciEcam, Layout.PciEcamSize),
        Reserved(Layout.KvmIdentityMap, Layout.KvmPagesSize),
    };

    /// <summary>Makes the map, sorted by address: what is reserved, and all memory that is not.</summary>
    /// <param name="memory">The guest's memory.</param>
    /// <param name="reserved">More ranges that are not to be used as memory; without overlap.</param>
    public static E820Range[] Build(GuestMemory memory, params ReadOnlySpan<E820Range> reserved)
    {
        var kept = new List<E820Range>(Fixed.Length + reserved.Length);
        kept.AddRange(Fixed);
        kept.AddRange(reserved);
        kept.Sort(ByStart);

        var map = new List<E820Range>(kept);
        foreach (ref readonly GuestRegion region in memory.Regions)
        {
            GuestAddress start = region.Start;
            foreach (E820Range range in kept)
            {
                AddRam(map, start, range.Start < region.End ? range.Start : region.End);
                start = range.End > start ? range.End : start;
            }

            AddRam(map, start, region.End);
        }

        map.Sort(ByStart);
        return [.. map];
    }

    private static void AddRam(List<E820Range> map, GuestAddress start, GuestAddress end)
    {
        if (start < end)
        {
            map.Add(new E820Range(start, end - start, E820Type.Ram));
        }
    }

    private static int ByStart(E820Range a, E820Range b) => a.Start.Value.CompareTo(b.Start.Value);

    private static E820Range Reserved(ulong start, ulong length) =>
        new(new GuestAddress(start), length, E820Type.Reserved);
}
