using System.Numerics;

namespace Vmm.Insight.Profile;

/// <summary>Durations in nanoseconds, counted in buckets whose width grows with the value: 16 for each power of two.
/// Of fixed size, whatever is recorded; a quantile is off by at most 1/32 of itself.</summary>
/// <remarks>
/// <code>
/// value    0..15  16..31  32..63      64..127     ...  2^43..2^44-1
/// bucket   0..15  16..31  32..47 (2)  48..63 (4)  ...  640..655 (2^39 wide)
/// </code>
/// One thread records; others may read at the same time and may see slightly older values.
/// </remarks>
internal sealed class LatencyHistogram
{
    private const int SubBits = 4;
    private const int SubCount = 1 << SubBits;

    /// <summary>2^44 ns are almost five hours: longer ones share the last bucket, while the maximum stays exact.</summary>
    private const int MostBits = 44;
    private const long Most = (1L << MostBits) - 1;

    public const int BucketCount = SubCount * (MostBits - SubBits + 1);

    private readonly long[] _buckets = new long[BucketCount];
    private long _minimum = long.MaxValue;

    public long Count { get; private set; }

    /// <summary>Sum of all values, in nanoseconds.</summary>
    public long Sum { get; private set; }

    /// <summary>0 if there is none.</summary>
    public long Minimum => Count == 0 ? 0 : _minimum;

    public long Maximum { get; private set; }

    /// <param name="nanoseconds">Below zero counts as zero.</param>
    public void Record(long nanoseconds)
    {
        long value = Math.Max(nanoseconds, 0);
        _buckets[BucketOf(value)]++;
        Count++;
        Sum += value;
        _minimum = Math.Min(_minimum, value);
        Maximum = Math.Max(Maximum, value);
    }

    public void Add(LatencyHistogram other)
    {
        for (int i = 0; i < BucketCount; i++)
        {
            _buckets[i] += other._buckets[i];
        }

        Count += other.Count;
        Sum += other.Sum;
        _minimum = Math.Min(_minimum, other._minimum);
        Maximum = Math.Max(Maximum, other.Maximum);
    }

    /// <summary>The value below or at which this part of all values lies (nearest rank); 0 if there is none.</summary>
    /// <param name="part">Above 0, at most 1: 0.5 is the median.</param>
    public long Quantile(double part)
    {
        long rank = Math.Clamp((long)Math.Ceiling(part * Count), 1, Math.Max(Count, 1));
        if (rank >= Count)
        {
            return Maximum;
        }

        long seen = 0;
        int bucket = 0;
        while ((seen += _buckets[bucket]) < rank)
        {
            bucket++;
        }

        (long first, long width) = Bounds(bucket);
        return Math.Clamp(first + (width / 2), _minimum, Maximum);
    }

    /// <summary>How many values are below a power of two.</summary>
    /// <param name="power">0 to 43.</param>
    public long CountBelow(int power)
    {
        long count = 0;
        for (int bucket = BucketOf(1L << power) - 1; bucket >= 0; bucket--)
        {
            count += _buckets[bucket];
        }

        return count;
    }

    internal static int BucketOf(long value)
    {
        value = Math.Min(value, Most);
        if (value < SubCount)
        {
            return (int)value;
        }

        // The highest bit and the four below it choose the bucket.
        int shift = BitOperations.Log2((ulong)value) - SubBits;
        return (shift << SubBits) + (int)(value >> shift);
    }

    /// <summary>The smallest value of a bucket, and how many values share it.</summary>
    internal static (long First, long Width) Bounds(int bucket)
    {
        if (bucket < SubCount)
        {
            return (bucket, 1);
        }

        int shift = (bucket >> SubBits) - 1;
        return ((long)(SubCount + (bucket & (SubCount - 1))) << shift, 1L << shift);
    }
}
