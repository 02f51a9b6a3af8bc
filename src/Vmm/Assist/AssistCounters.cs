using Iced.Intel;

namespace Vmm.Assist;

/// <summary>How often each instruction was assisted. Written by one vCPU's thread; others may read.</summary>
internal sealed class AssistCounters
{
    private const int Growth = 256;

    /// <summary>Indexed by <see cref="Mnemonic"/>, which is a compact enumeration.</summary>
    private long[] _counts = [];

    public void Add(Mnemonic mnemonic)
    {
        if ((int)mnemonic >= _counts.Length)
        {
            Array.Resize(ref _counts, (int)mnemonic + Growth);
        }

        _counts[(int)mnemonic]++;
    }

    /// <summary>Instructions by name, the commonest first.</summary>
    public IEnumerable<(string Name, long Count)> ByCount()
    {
        long[] counts = _counts;
        return Enumerable.Range(0, counts.Length)
            .Where(i => counts[i] != 0)
            .Select(i => (((Mnemonic)i).ToString().ToLowerInvariant(), counts[i]))
            .OrderByDescending(entry => entry.Item2);
    }
}
