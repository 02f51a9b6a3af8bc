using System.Numerics;

namespace Vmm.Boot;

/// <summary>How CPUID describes one package of single-threaded cores, with APIC ids 0 to count - 1.</summary>
internal sealed class CpuTopology(int cpus)
{
    private const uint LevelSmt = 1, LevelCore = 2;

    /// <summary>APIC ids are counted as if there were a power of two of them.</summary>
    private readonly uint _idRange = BitOperations.RoundUpToPowerOf2((uint)cpus);

    private uint IdBits => (uint)BitOperations.Log2(_idRange);

    /// <summary>What is the same for every vCPU.</summary>
    /// <param name="table">To be changed.</param>
    /// <param name="amd">Does the processor follow AMD's manual (or Hygon's, which is AMD's)?</param>
    public void Apply(CpuidTable table, bool amd)
    {
        foreach (ref CpuidEntry entry in table.Entries)
        {
            switch (entry.Function)
            {
                case 1:
                    // EBX[23:16] logical processors, EDX[28] says that this number is to be read.
                    entry.Ebx = (entry.Ebx & 0x0000_ffff) | Math.Min((uint)cpus, 255) << 16;
                    entry.Ebx |= (entry.Ebx & 0xff00) == 0 ? 8u << 8 : 0;      // CLFLUSH line of 8 * 8 bytes
                    entry.Edx = cpus > 1 ? entry.Edx | 1u << 28 : entry.Edx & ~(1u << 28);
                    break;
                case 4 when (entry.Eax & 0x1f) != 0:
                    entry.Eax = (entry.Eax & 0x3fff) | Sharing(entry.Eax) << 14 | Math.Min(_idRange - 1, 63) << 26;
                    break;
                case 0x8000_001d when (entry.Eax & 0x1f) != 0:
                    entry.Eax = (entry.Eax & 0x3fff) | Sharing(entry.Eax) << 14;
                    break;
                case 0x8000_0001 when amd:
                    // CmpLegacy: the logical processors of leaf 1 are cores.
                    entry.Ecx = cpus > 1 ? entry.Ecx | 1u << 1 : entry.Ecx & ~(1u << 1);
                    break;
                case 0x8000_0008:
                    // NC: cores less one; ApicIdSize: bits of the APIC id that number the cores.
                    entry.Ecx = amd ? Math.Min((uint)cpus - 1, 255) | IdBits << 12 : 0;
                    break;
            }
        }

        uint highest = table.Get(0).Eax;
        Levels(table, 0xb, present: highest >= 0xb);
        Levels(table, 0x1f, present: highest >= 0x1f && table.Has(0x1f));
        table.Remove(0x8000_0026);      // AMD's newer form of 0xB: without it, that one counts
    }

    /// <summary>What differs from vCPU to vCPU.</summary>
    public static void ApplyId(Span<CpuidEntry> entries, int vcpu)
    {
        uint id = (uint)vcpu;
        foreach (ref CpuidEntry entry in entries)
        {
            switch (entry.Function)
            {
                case 1:
                    entry.Ebx = (entry.Ebx & 0x00ff_ffff) | Math.Min(id, 255) << 24;
                    break;
                case 0xb or 0x1f:
                    entry.Edx = id;
                    break;
                case 0x8000_001e:
                    // Extended APIC id; core id with one thread; node 0 of 1.
                    (entry.Eax, entry.Ebx, entry.Ecx, entry.Edx) = (id, id & 0xff, 0, 0);
                    break;
            }
        }
    }

    /// <summary>Ids that share a cache, less one: the first two levels belong to one core.</summary>
    private uint Sharing(uint eax) => (eax >> 5 & 7) >= 3 ? Math.Min(_idRange - 1, 0xfff) : 0;

    private void Levels(CpuidTable table, uint leaf, bool present)
    {
        table.Remove(leaf);
        if (present)
        {
            // EAX: bits to shift the x2APIC id to get at the next level; EBX: processors at this level.
            table.Add(leaf, 0, 0, 1, LevelSmt << 8, 0, indexed: true);
            table.Add(leaf, 1, IdBits, (uint)Math.Min(cpus, 0xffff), LevelCore << 8 | 1, 0, indexed: true);
            table.Add(leaf, 2, 0, 0, 2, 0, indexed: true);
        }
    }
}
