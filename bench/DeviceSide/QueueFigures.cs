using System.Diagnostics;
using Vmm.Devices.Bus;
using Vmm.Devices.Virtio;
using Vmm.Machines;

namespace Vmm.DeviceSide;

/// <summary>What a virtqueue itself costs: the driver offers one buffer, a device that does nothing else pops, completes
/// and publishes it, the driver takes it back. The driver's side and the device's lock are in the figure.</summary>
internal sealed class QueueFigures : IInterruptTrigger, IQueueNotifier
{
    private const int Rounds = 2_000_000;

    private long _interrupts;

    /// <returns>Nanoseconds a round, the median of nine runs, and the bytes that all rounds of the last allocated.</returns>
    public static (double Nanoseconds, long Bytes) RoundTrip()
    {
        using var ram = new GuestRam(32 << 20);
        var sides = new QueueFigures();
        var device = new Mirror();
        var ring = new SplitRing(ram.Memory, 256, 0x10000);
        var driver = new MmioDriver(device, ram.Memory, sides, sides);
        driver.Negotiate(VirtioFeatures.Default);
        driver.EnableQueue(0, ring);
        driver.Go();
        for (int i = 0; i < 256; i++)
        {
            ring.Describe(i, 0x100000 + ((ulong)i * 64), 64, SplitRing.Write, 0);
        }

        var times = new List<double>();
        long bytes = 0;
        for (int run = 0; run < 9; run++)
        {
            long allocated = GC.GetAllocatedBytesForCurrentThread();
            long start = Stopwatch.GetTimestamp();
            for (int i = 0; i < Rounds; i++)
            {
                ring.Add(i & 255);
                ring.Offer();
                device.Notify(0);
                if (!ring.TryTake(out int head) || head != (i & 255))
                {
                    throw new InvalidOperationException("a buffer did not come back");
                }
            }

            double nanoseconds = Stopwatch.GetElapsedTime(start).TotalNanoseconds / Rounds;
            bytes = GC.GetAllocatedBytesForCurrentThread() - allocated;
            times.Add(nanoseconds);
        }

        times.Sort();
        return (times[times.Count / 2], bytes);
    }

    public void Trigger() => _interrupts++;

    public void Kick(VirtioDevice device, int queue)
    {
    }

    private sealed class Mirror() : VirtioDevice("mirror", deviceId: 63, features: 0, 256)
    {
        private readonly IoVector[] _buffers = new IoVector[256];

        public override int ConfigLength => 0;

        protected internal override void ReadConfig(int offset, Span<byte> data)
        {
        }

        protected override void ProcessQueue(Virtqueue queue)
        {
            while (queue.TryPop(_buffers, out DescriptorChain chain))
            {
                queue.Complete(chain, 64);
            }

            queue.Publish();
        }
    }
}
