namespace Vmm.Boot;

/// <summary>A set of CPU features: the named bits of CPUID.</summary>
public sealed class CpuFeatureSet
{
    private readonly uint[] _words = new uint[CpuFeatureNames.Words];

    internal CpuFeatureSet()
    {
    }

    /// <summary>The features that a CPUID table shows.</summary>
    public CpuFeatureSet(ReadOnlySpan<CpuidEntry> entries)
    {
        var table = new CpuidTable(entries);
        for (int word = 0; word < _words.Length; word++)
        {
            CpuFeatureWord where = CpuFeatureNames.WordAt(word);
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
                int bit = 0;
                foreach (char letter in CpuFeatureNames.NamesOf(word))
                {
                    bit += letter == ' ' ? 1 : 0;
                    set._words[word] |= letter is ' ' or '.' ? 0 : 1u << bit;
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
                        && CpuFeatureNames.NameOf(word, bit) is { } name
                        && seen.Add(name))
                    {
                        yield return name;
                    }
                }
            }
        }
    }

    /// <summary>Is a feature of that name (as in /proc/cpuinfo) in the set? False for unknown names.</summary>
    public bool Contains(string name) => CpuFeatureNames.TryFind(name, out CpuFeature feature) && Has(feature);

    /// <summary>A word of the set: the bits for one register of CPUID.</summary>
    internal uint this[int word] => _words[word];

    /// <summary>Is any of the bits that the name stands for in the set?</summary>
    internal bool Has(CpuFeature feature) =>
        (_words[feature.First >> 5] >> feature.First | _words[feature.Second >> 5] >> feature.Second) % 2 != 0;

    internal bool HasAny(ReadOnlySpan<CpuFeature> features)
    {
        foreach (CpuFeature feature in features)
        {
            if (Has(feature))
            {
                return true;
            }
        }

        return false;
    }

    internal bool HasAll(ReadOnlySpan<CpuFeature> features)
    {
        foreach (CpuFeature feature in features)
        {
            if (!Has(feature))
            {
                return false;
            }
        }

        return true;
    }

    internal void Set(CpuFeature feature)
    {
        _words[feature.First >> 5] |= 1u << feature.First;
        _words[feature.Second >> 5] |= 1u << feature.Second;
    }

    internal void Clear(CpuFeature feature)
    {
        _words[feature.First >> 5] &= ~(1u << feature.First);
        _words[feature.Second >> 5] &= ~(1u << feature.Second);
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
