using System.Diagnostics;
using Vmm.Host;

namespace Vmm.Tests.Host;

public sealed class MonotonicClockTests
{
    [Fact]
    public void Agrees_with_Stopwatch()
    {
        Assert.Equal(1_000_000_000, Stopwatch.Frequency);
        for (int i = 0; i < 1000; i++)
        {
            long before = Stopwatch.GetTimestamp();
            long now = MonotonicClock.Now();
            Assert.InRange(now, before, Stopwatch.GetTimestamp());
        }
    }
}
