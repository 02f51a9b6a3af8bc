using FsCheck;
using FsCheck.Fluent;
using Vmm.Insight.Profile;
using Vmm.Tests.Shared;

namespace Vmm.Tests.Profiling;

public sealed class LatencyHistogramTests
{
    private static readonly double[] Parts = [0.001, 0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1];

    [Fact]
    public void Quantiles_of_any_values_are_within_their_bound() => Prop.ForAll(
        Values(), values =>
        {
            var histogram = new LatencyHistogram();
            foreach (long value in values)
            {
                histogram.Record(value);
            }

            long[] sorted = [.. values.Order()];
            Assert.Equal(sorted.Length, histogram.Count);
            Assert.Equal(sorted.Sum(), histogram.Sum);
            Assert.Equal(sorted[0], histogram.Minimum);
            Assert.Equal(sorted[^1], histogram.Maximum);
            for (int power = 0; power < 44; power++)
            {
                Assert.Equal(sorted.Count(value => value < 1L << power), histogram.CountBelow(power));
            }

            foreach (double part in Parts)
            {
                long exact = sorted[Math.Max(0, (int)Math.Ceiling(part * sorted.Length) - 1)];
                long said = histogram.Quantile(part);
                Assert.True(
                    Math.Abs(said - exact) <= exact / 32.0 + 0.5, $"{part} of {sorted.Length}: {said} instead of {exact}");
            }
        }).QuickCheckThrowOnFailure();

    [Fact]
    public void Buckets_follow_one_another_without_gap_or_overlap()
    {
        long next = 0;
        for (int bucket = 0; bucket < LatencyHistogram.BucketCount; bucket++)
        {
            (long first, long width) = LatencyHistogram.Bounds(bucket);
            Assert.Equal(next, first);
            Assert.Equal(bucket, LatencyHistogram.BucketOf(first));
            Assert.Equal(bucket, LatencyHistogram.BucketOf(first + width - 1));
            Assert.True(width <= Math.Max(1, first / 16));
            next = first + width;
        }

        Assert.Equal(LatencyHistogram.BucketCount - 1, LatencyHistogram.BucketOf(next));
    }

    [Fact]
    public void Adding_two_is_as_recording_all_in_one()
    {
        var one = new LatencyHistogram();
        var two = new LatencyHistogram();
        var both = new LatencyHistogram();
        for (int i = 0; i < 1000; i++)
        {
            long value = (long)i * i * 7;
            (i % 3 == 0 ? one : two).Record(value);
            both.Record(value);
        }

        one.Add(two);
        Assert.Equal((both.Count, both.Sum, both.Minimum, both.Maximum), (one.Count, one.Sum, one.Minimum, one.Maximum));
        Assert.All(Parts, part => Assert.Equal(both.Quantile(part), one.Quantile(part)));
    }

    [Fact]
    public void Extremes_do_no_harm()
    {
        var histogram = new LatencyHistogram();
        Assert.Equal(0, histogram.Quantile(0.5));
        Assert.Equal(0, histogram.Minimum);
        histogram.Record(long.MaxValue / 2);
        histogram.Record(-5);
        Assert.Equal(0, histogram.Minimum);
        Assert.Equal(long.MaxValue / 2, histogram.Maximum);
        Assert.Equal(long.MaxValue / 2, histogram.Quantile(1));
        Assert.Equal(0, histogram.Quantile(0.5));
    }

    [Fact]
    public void Recording_allocates_nothing()
    {
        var histogram = new LatencyHistogram();
        Assert.Equal(0, Allocations.Least(() =>
        {
            for (int i = 0; i < 10_000; i++)
            {
                histogram.Record((long)i * 977);
            }
        }));
    }

    /// <summary>Of all sizes, not of one: an exponent, then digits.</summary>
    private static Arbitrary<long[]> Values() => (
        from bits in Gen.Choose(0, 43)
        from low in Gen.Choose(0, int.MaxValue)
        select (1L << bits) + (low % (1L << bits)))
        .NonEmptyListOf().Select(list => list.ToArray()).ToArbitrary();
}
