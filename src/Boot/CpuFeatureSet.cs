namespace Vmm.Boot;

/// <summary>A set of CPU features: the named bits of CPUID.</summary>
public sealed class CpuFeatureSet
{
    private readonly uint[] _words = new uint[CpuFeatureNames.Words.Length];

    internal CpuFeatureSet()
    {
    }

    /// <summary>The features that a CPUID table shows.</summary>
    public CpuFeatureSet(ReadOnlySpan<CpuidEntry> entries)
    {
        var table = new CpuidTable(entries);
        for (int word = 0; word < _words.Length; word++)
        {
            CpuFeatureWord where = CpuFeatureNames.Words[word];
            _words[word] = table.Get(where.Leaf, where.Index)[where.Register];
        }
    }

    internal static CpuFeatureSet Of(params ReadOnlySpan<string> names)
    {
        var set = new CpuFeatureSet();
        foreach (string name in names)
        {
            set.Set(CpuFeatureNames.Find(name));
        }

        return set;
    }

    /// <summary>Every bit that has a name.</summary>
    internal static CpuFeatureSet Named
    {
        get
        {
            var set = new CpuFeatureSet();
            for (int word = 0; word < set._words.Length; word++)
            {
                for (int bit = 0; bit < 32; bit++)
                {
                    if (CpuFeatureNames.NameOf(new CpuFeatureBit(word, bit)) is not null)
                    {
                        set._words[word] |= 1u << bit;
                    }
                }
            }

            return set;
        }
    }

    /// <summary>The names of all members that have one, without repetition, in the order of the words.</summary>
    public IEnumerable<string> Names
    {
        get
        {
            var seen = new HashSet<string>(StringComparer.Ordinal);
            for (int word = 0; word < _words.Length; word++)
            {
                for (int bit = 0; bit < 32; bit++)
                {
                    if ((_words[word] >> bit & 1) != 0
                        && CpuFeatureNames.NameOf(new CpuFeatureBit(word, bit)) is { } name
                        && seen.Add(name))
                    {
                        yield return name;
                    }
                }
            }
        }
    }

    /// <summary>Is a feature of that name (as in /proc/cpuinfo) in the set? False for unknown names.</summary>
    public bool Contains(string name) => CpuFeatureNames.TryFind(name, out CpuFeatureBit[] bits) && Has(bits);

    /// <summary>A word of the set: the bits for one register of CPUID.</summary>
    internal uint this[int word] => _words[word];

    /// <summary>Is any of the bits that one name stands for in the set?</summary>
    internal bool Has(CpuFeatureBit[] feature)
    {
        foreach (CpuFeatureBit bit in feature)
        {
            if ((_words[bit.Word] >> bit.Bit & 1) != 0)
            {
                return true;
            }
        }

        return false;
    }

    internal bool HasAny(CpuFeatureBit[][] features) => Array.Exists(features, Has);

    internal bool HasAll(CpuFeatureBit[][] features) => Array.TrueForAll(features, Has);

    internal void Set(CpuFeatureBit[] feature)
    {
        foreach (CpuFeatureBit bit in feature)
        {
            _words[bit.Word] |= 1u << bit.Bit;
        }
    }

    internal void Clear(CpuFeatureBit[] feature)
    {
        foreach (CpuFeatureBit bit in feature)
        {
            _words[bit.Word] &= ~(1u << bit.Bit);
        }
    }

    internal CpuFeatureSet Copy() => Combine(this, static (mine, _) => mine);

    internal CpuFeatureSet And(CpuFeatureSet other) => Combine(other, static (mine, its) => mine & its);

    internal CpuFeatureSet Or(CpuFeatureSet other) => Combine(other, static (mine, its) => mine | its);

    internal CpuFeatureSet Without(CpuFeatureSet other) => Combine(other, static (mine, its) => mine & ~its);

    private CpuFeatureSet Combine(CpuFeatureSet other, Func<uint, uint, uint> each)
    {
        var result = new CpuFeatureSet();
        for (int word = 0; word < _words.Length; word++)
        {
            result._words[word] = each(_words[word], other._words[word]);
        }

        return result;
    }
}
