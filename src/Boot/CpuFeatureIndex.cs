namespace Vmm.Boot;

/// <summary>What a name stands for: one bit of CPUID, or two that say the same (Intel's and AMD's).</summary>
internal readonly record struct CpuFeature
{
    private CpuFeature(ushort first, ushort second) => (First, Second) = (first, second);

    /// <param name="word">A word of <see cref="CpuFeatureNames"/>.</param>
    /// <param name="bit">0 to 31.</param>
    public CpuFeature(int word, int bit)
        : this((ushort)(word << 5 | bit), (ushort)(word << 5 | bit))
    {
    }

    /// <summary>A word's number times 32, plus the bit.</summary>
    public ushort First { get; }

    /// <summary>The other one; the same where there is one only.</summary>
    public ushort Second { get; }

    /// <summary>The same feature with one more bit.</summary>
    public CpuFeature With(int word, int bit) => First == Second
        ? new CpuFeature(First, (ushort)(word << 5 | bit))
        : throw new InvalidOperationException("a third bit of one name");
}

/// <summary>Finds features by their names.</summary>
/// <remarks>A hash table of positions in the text of <see cref="CpuFeatureNames"/>. It is made at every start: no substrings
/// are made, since a dictionary of them would cost 20 page faults.</remarks>
internal static class CpuFeatureIndex
{
    private const int Size = 1024;      // a power of two; some 340 names

    private static readonly Entry[] Entries = Make();

    private struct Entry
    {
        public byte Word;
        public byte Length;             // 0: nothing here
        public ushort Start;
        public CpuFeature Feature;
    }

    /// <summary>All of them.</summary>
    public static IEnumerable<string> Names
    {
        get
        {
            foreach (Entry entry in Entries)
            {
                if (entry.Length > 0)
                {
                    yield return CpuFeatureNames.NamesOf(entry.Word).Substring(entry.Start, entry.Length);
                }
            }
        }
    }

    public static bool TryFind(ReadOnlySpan<char> name, out CpuFeature feature)
    {
        ref Entry entry = ref SlotOf(Entries, name);
        feature = entry.Feature;
        return entry.Length > 0;
    }

    private static Entry[] Make()
    {
        var entries = new Entry[Size];
        for (int word = 0; word < CpuFeatureNames.Words; word++)
        {
            ReadOnlySpan<char> row = CpuFeatureNames.NamesOf(word);
            int bit = 0;
            for (int start = 0, end = 0; end <= row.Length; end++)
            {
                if (end < row.Length && row[end] is not (' ' or '/'))
                {
                    continue;
                }

                if (row[start..end] is not ".")
                {
                    Add(entries, row[start..end], word, start, bit);
                }

                bit += end < row.Length && row[end] == ' ' ? 1 : 0;
                start = end + 1;
            }
        }

        return entries;
    }

    private static void Add(Entry[] entries, ReadOnlySpan<char> name, int word, int start, int bit)
    {
        ref Entry entry = ref SlotOf(entries, name);
        if (entry.Length > 0)
        {
            entry.Feature = entry.Feature.With(word, bit);
            return;
        }

        (entry.Word, entry.Length, entry.Start) = ((byte)word, (byte)name.Length, (ushort)start);
        entry.Feature = new CpuFeature(word, bit);
    }

    /// <summary>Where a name is, or the free place where it would be. (There always is one.)</summary>
    private static ref Entry SlotOf(Entry[] entries, ReadOnlySpan<char> name)
    {
        uint hash = 2166136261;         // FNV-1a
        foreach (char letter in name)
        {
            hash = (hash ^ letter) * 16777619;
        }

        for (uint at = hash ^ hash >> 16; ; at++)
        {
            ref Entry entry = ref entries[at % Size];
            if (entry.Length == 0
                || CpuFeatureNames.NamesOf(entry.Word).AsSpan(entry.Start, entry.Length).SequenceEqual(name))
            {
                return ref entry;
            }
        }
    }
}
