namespace Vmm.Bench.Guests;

/// <summary>Every sample, sorted: percentiles are exact.</summary>
internal sealed class Distribution
{
    private readonly double[] _sorted;

    /// <param name="ticks">In any order.</param>
    /// <param name="tscKhz">Ticks in a millisecond.</param>
    public Distribution(IEnumerable<uint> ticks, uint tscKhz)
    {
        _sorted = [.. ticks.Select(each => (int)each * 1e6 / tscKhz)];
        Array.Sort(_sorted);
    }

    public int Count => _sorted.Length;

    /// <summary>Nanoseconds below which this part of the samples lies.</summary>
    /// <param name="part">0 is the least, 0.5 the median, 0.999 all but the worst in a thousand.</param>
    public double At(double part) => _sorted[Math.Min((int)(part * _sorted.Length), _sorted.Length - 1)];
}
