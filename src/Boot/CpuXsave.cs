namespace Vmm.Boot;

/// <summary>Leaf 0xD: the components of the XSAVE area (SDM volume 1, 13.2).</summary>
internal static class CpuXsave
{
    private const uint Leaf = 0xd, LegacyAndHeader = 576;

    /// <summary>XCR0 and IA32_XSS components that a table offers.</summary>
    public static ulong Components(CpuidTable table)
    {
        CpuidEntry user = table.Get(Leaf), supervisor = table.Get(Leaf, 1);
        return user.Eax | (ulong)user.Edx << 32 | supervisor.Ecx | (ulong)supervisor.Edx << 32;
    }

    /// <summary>Takes all components out that are not in <paramref name="keep"/> and makes the sizes fit. A table that
    /// has no others is left exactly as KVM gave it.</summary>
    public static void Keep(CpuidTable table, ulong keep)
    {
        if ((Components(table) & ~keep) == 0)
        {
            return;
        }

        if (keep == 0)
        {
            table.Remove(Leaf);
            table.Add(Leaf, 0, 0, 0, 0, 0, indexed: true);
            table.Add(Leaf, 1, 0, 0, 0, 0, indexed: true);
            return;
        }

        uint size = LegacyAndHeader, compacted = LegacyAndHeader;
        for (uint component = 2; component < 64; component++)
        {
            if (!table.TryFind(Leaf, component, out int at))
            {
                continue;
            }

            if ((keep >> (int)component & 1) == 0)
            {
                table.Remove(Leaf, component);
                continue;
            }

            // EAX: size; EBX: offset in the standard format; ECX: bit 0 supervisor, bit 1 aligned when compacted.
            CpuidEntry entry = table.Entries[at];
            size = (entry.Ecx & 1) == 0 ? Math.Max(size, entry.Eax + entry.Ebx) : size;
            compacted = ((entry.Ecx & 2) != 0 ? (compacted + 63) & ~63u : compacted) + entry.Eax;
        }

        if (table.TryFind(Leaf, 0, out int user))
        {
            ref CpuidEntry entry = ref table.Entries[user];
            (entry.Eax, entry.Edx) = (entry.Eax & (uint)keep, entry.Edx & (uint)(keep >> 32));
            (entry.Ebx, entry.Ecx) = (size, size);
        }

        if (table.TryFind(Leaf, 1, out int supervisor))
        {
            ref CpuidEntry entry = ref table.Entries[supervisor];
            (entry.Ecx, entry.Edx) = (entry.Ecx & (uint)keep, entry.Edx & (uint)(keep >> 32));
            entry.Ebx = entry.Ebx == 0 ? 0 : compacted;
        }
    }
}
