using Vmm.Devices.Virtio;

namespace Vmm.Devices.Tests.Virtio;

public sealed class TokenBucketTests
{
    [Fact]
    public void A_burst_goes_through_and_then_the_rate_holds()
    {
        var time = new ManualTime();
        var bucket = new TokenBucket(time, tokensPerSecond: 100, burst: 10);
        for (int i = 0; i < 10; i++)
        {
            Assert.True(bucket.TryTake(1));
        }

        Assert.False(bucket.TryTake(1));
        Assert.Equal(10, bucket.WaitFor(1).TotalMilliseconds, 3);
        time.Advance(TimeSpan.FromMilliseconds(10));
        Assert.True(bucket.TryTake(1));
        Assert.False(bucket.TryTake(1));
        time.Advance(TimeSpan.FromHours(10));
        Assert.True(bucket.TryTake(10));
        Assert.False(bucket.TryTake(1));
    }

    [Fact]
    public void A_request_larger_than_the_burst_passes_and_delays_the_next()
    {
        var time = new ManualTime();
        var bucket = new TokenBucket(time, tokensPerSecond: 1000, burst: 100);
        Assert.True(bucket.TryTake(1100));
        Assert.False(bucket.TryTake(1));
        Assert.Equal(1.001, bucket.WaitFor(1).TotalSeconds, 3);
        Assert.Equal(1.1, bucket.WaitFor(5000).TotalSeconds, 3);
        time.Advance(TimeSpan.FromSeconds(1.1));
        Assert.True(bucket.TryTake(5000));
    }

    [Theory]
    [InlineData(1UL, 1UL)]
    [InlineData(ulong.MaxValue, ulong.MaxValue)]
    [InlineData(1UL, ulong.MaxValue)]
    [InlineData(ulong.MaxValue, 1UL)]
    public void Extremes_do_not_overflow(ulong rate, ulong burst)
    {
        var time = new ManualTime();
        var bucket = new TokenBucket(time, rate, burst);
        Assert.True(bucket.TryTake(1));
        bucket.Spend(1UL << 40);
        Assert.InRange(bucket.WaitFor(ulong.MaxValue), TimeSpan.FromMilliseconds(0.1), TimeSpan.FromDays(1));
        time.Advance(TimeSpan.FromSeconds(1));
        bucket.TryTake(ulong.MaxValue);
    }

    [Fact]
    public void Over_time_the_rate_is_exact()
    {
        var time = new ManualTime();
        var bucket = new TokenBucket(time, tokensPerSecond: 1_000_003, burst: 5000);
        ulong taken = 0;
        var random = new Random(3);
        for (int i = 0; i < 10_000; i++)
        {
            time.Advance(TimeSpan.FromMilliseconds(1));
            var size = (ulong)random.Next(1, 300);
            while (bucket.TryTake(size))
            {
                taken += size;
            }
        }

        Assert.InRange(taken, 10_000_030UL - 1000, 10_000_030UL + 6000);
    }
}
