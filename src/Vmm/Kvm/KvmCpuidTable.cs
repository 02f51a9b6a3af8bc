using Vmm.Boot;

namespace Vmm.Kvm;

/// <summary>struct kvm_cpuid2: a count, padding, then that many entries (KVM API 4.46).</summary>
internal static unsafe class KvmCpuidTable
{
    /// <summary>The most entries that KVM has (KVM_MAX_CPUID_ENTRIES).</summary>
    public const int MostEntries = 256;

    private const int HeaderSize = 8;

    public static int SizeOf(int entries) => HeaderSize + (entries * sizeof(CpuidEntry));

    public static CpuidEntry[] Read(byte* table)
    {
        // SAFETY: KVM wrote as many entries as it says, at most as many as the caller made room for.
        return new ReadOnlySpan<CpuidEntry>(table + HeaderSize, (int)*(uint*)table).ToArray();
    }

    public static void Write(byte* table, ReadOnlySpan<CpuidEntry> entries)
    {
        *(ulong*)table = (uint)entries.Length;

        // SAFETY: the caller made room with SizeOf.
        entries.CopyTo(new Span<CpuidEntry>(table + HeaderSize, entries.Length));
    }
}
