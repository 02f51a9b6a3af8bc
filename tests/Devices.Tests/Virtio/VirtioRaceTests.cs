using Vmm.Devices.Bus;
using Vmm.Devices.Memory;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Rng;
using Vmm.Devices.Virtio.Transport;
using Vmm.Tests.Shared;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>The driver runs on another processor, at the same time.</summary>
public sealed class VirtioRaceTests
{
    private const ulong Memory = 0x40000;

    [Theory]
    [InlineData(RingKind.Split)]
    [InlineData(RingKind.Packed)]
    public unsafe void Rings_that_change_while_they_are_read_yield_only_what_lies_in_memory(RingKind kind)
    {
        using var test = new TestMemory(Memory);
        Assert.True(test.Memory.TryGetPointer(new GuestAddress(0), Memory, out byte* host));
        using var done = new CancellationTokenSource();
        var vandal = new Thread(() => Vandalize(test.Memory, done.Token));
        vandal.Start();
        var vectors = new IoVector[16];
        int chains = 0;
        int faults = 0;
        for (int attempts = 0; attempts < 30_000_000 && (chains < 500 || faults < 50);)
        {
            using var queue = new BareQueue(test.Memory, kind, 16);
            for (; attempts < 30_000_000 && queue.Faults.Count == 0 && (chains < 500 || faults < 50); attempts++)
            {
                if (!queue.Device.TryPop(vectors, out DescriptorChain chain))
                {
                    continue;
                }

                chains++;
                ulong total = 0;
                foreach (IoVector vector in vectors.AsSpan(0, chain.Count))
                {
                    ulong offset = (ulong)(vector.Base - (nint)host);
                    Assert.True(offset < Memory && vector.Length <= Memory - offset && vector.Length > 0);
                    total += vector.Length;
                }

                Assert.Equal(chain.ReadableBytes + chain.WritableBytes, total);
                Assert.True(chain.Count <= 16 && queue.Device.Outstanding <= 16);
                queue.Device.Complete(chain, 1);
                queue.Device.Publish();
            }

            faults += queue.Faults.Count;
            Assert.True(queue.Faults.Count <= 1);
        }

        done.Cancel();
        vandal.Join();
        Assert.True(chains > 0 && faults > 0, $"{chains} chains, {faults} faults");
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void A_vCPU_that_does_anything_while_the_loop_serves_does_no_harm(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant);
        target.KeepNoRecord();
        Exception? failure = null;
        var vcpu = new Thread(() =>
        {
            try
            {
                var random = new Random(9);
                for (int i = 0; i < 60; i++)
                {
                    target.Driver.Transport.Status = 0;
                    Bring(target, variant);
                    for (int j = 0; j < 100; j++)
                    {
                        Abuse(target, random);
                    }
                }
            }
            catch (Exception e)
            {
                failure = e;
            }
        });
        vcpu.Start();
        while (vcpu.IsAlive)
        {
            target.Rig.RunLoop(100);
            target.Disk?.CompleteAll();
        }

        vcpu.Join();
        Assert.Null(failure);
        target.Rig.RunLoop();
        target.Rig.Log.Clear();
        target.Driver.Start();
        while (target.Ring.TryTake(out _, out _))
        {
        }

        target.AssertServes();
    }

    [Theory]
    [InlineData(RingKind.Split, true)]
    [InlineData(RingKind.Split, false)]
    [InlineData(RingKind.Packed, true)]
    [InlineData(RingKind.Packed, false)]
    public void No_wake_up_is_ever_lost(RingKind kind, bool eventIndex)
    {
        const int Requests = 4000;
        using var rig = new TestRig();
        using var signals = new Signals();
        var device = new VirtioRng("rng", new FakeEntropy()) { RingFeatures = TestTransports.RingFeatures };
        var transport = new VirtioMmioTransport(device, rig.Memory, signals, signals, rig);
        var driver = new TestDriver(rig, new TestTransportMmio(transport), kind);
        driver.Start(eventIndex ? 0 : VirtioFeatures.EventIndex);
        bool stop = false;
        var loop = new Thread(() =>
        {
            while (!Volatile.Read(ref stop))
            {
                if (signals.Kicked.WaitOne(60_000))
                {
                    device.Notify(0);
                }
            }
        });
        loop.Start();
        TestDriverQueue queue = driver.Queues[0];
        var random = new Random(4);
        int added = 0;
        int taken = 0;
        bool slept = true;
        while (taken < Requests && slept)
        {
            for (int burst = random.Next(1, 4); burst > 0 && added < Requests && added - taken < 8; burst--)
            {
                queue.Add(new Buffer(TestDriver.DataStart, 16, true));
                added++;
            }

            if (queue.NeedsNotify())
            {
                driver.Transport.Notify(0);
            }

            queue.WantInterrupts(false);
            bool any = false;
            while (queue.TryTake(out _, out _))
            {
                taken++;
                any = true;
            }

            if (!any && added > taken && (added - taken == 8 || added == Requests))
            {
                queue.WantInterrupts(true);
                if (queue.TryTake(out _, out _))
                {
                    taken++;
                }
                else
                {
                    slept = signals.Interrupted.WaitOne(60_000);
                }
            }
        }

        Volatile.Write(ref stop, true);
        signals.Kicked.Set();
        loop.Join();
        Assert.True(slept, $"both sides sleep after {taken} of {added}");
        Assert.Equal(Requests, taken);
        Assert.Empty(rig.Log);
    }

    /// <summary>Writes random values of a plausible kind into the rings, without a pause.</summary>
    private static void Vandalize(GuestMemory memory, CancellationToken done)
    {
        var random = new Random(1);
        while (!done.IsCancellationRequested)
        {
            for (int i = 0; i < 1000; i++)
            {
                ulong at = 0x10000 + ((ulong)random.Next(0x100) * 2);
                switch (random.Next(8))
                {
                    case 0:
                        memory.Write(new GuestAddress(at & ~15UL), (ulong)random.Next((int)Memory + 0x1000));
                        break;
                    case 1:
                        memory.Write(new GuestAddress((at & ~15UL) + 8), random.Next(0x800) & ~15);
                        break;
                    case 2:
                        memory.Write(new GuestAddress((at & ~15UL) + 12), (ushort)random.Next(16));
                        break;
                    case 3:
                        memory.Write(new GuestAddress((at & ~15UL) + 14), (ushort)(random.Next(8) | 0x80));
                        break;
                    case 4:
                        memory.Write(new GuestAddress(0x10102), (ushort)random.Next(17));    // avail.idx
                        break;
                    case 5:
                        memory.Write(new GuestAddress(0x10104 + ((ulong)random.Next(16) * 2)), (ushort)random.Next(17));
                        break;
                    case 6:
                        memory.Write(new GuestAddress(at), (ushort)random.Next(4));
                        break;
                    default:
                        memory.Write(new GuestAddress(at), (byte)random.Next(256));
                        break;
                }
            }
        }
    }

    /// <summary>As TestDriver.Start, but nothing is expected and no loop runs here.</summary>
    private static void Bring(TestTarget target, Variant variant)
    {
        TestTransport transport = target.Driver.Transport;
        transport.Status = 3;
        transport.DriverFeatures = transport.DeviceFeatures
            & ~(variant.Ring == RingKind.Packed ? 0 : VirtioFeatures.RingPacked);
        transport.Status = 11;
        for (int i = 0; i < target.Device.QueueSizes.Length; i++)
        {
            TestDriverQueue ring = target.Driver.Queues[i];
            transport.SetQueue(i, ring.Size, ring.DescriptorArea, ring.DriverArea, ring.DeviceArea);
            transport.EnableQueue(i);
        }

        transport.Status = 15;
    }

    private static void Abuse(TestTarget target, Random random)
    {
        TestTransport transport = target.Driver.Transport;
        TestDriverQueue ring = target.Ring;
        switch (random.Next(8))
        {
            case 0:
                transport.ResetQueue(target.Queue);
                break;
            case 1:
                transport.EnableQueue(target.Queue);
                break;
            case 2:
                Span<byte> data = stackalloc byte[4];
                transport.Raw((ulong)random.Next((int)transport.RawLength), data, write: false);
                break;
            case 3:
                transport.TakeInterrupts();
                break;
            default:
                for (int i = 0; i < 16; i++)
                {
                    ulong at = ring.DescriptorArea + ((ulong)random.Next(64) * 16);
                    ring.Write(at, (ulong)random.Next((int)TestRig.LowMemory));
                    ring.Write(at + 8, random.Next(0x400));
                    ring.Write(at + 12, random.Next() & 0x0083_003f);
                }

                if (ring is TestDriverSplit split)
                {
                    split.Offer((ushort)random.Next(64));
                }

                transport.Notify((uint)target.Queue);
                break;
        }
    }

    private sealed class Signals : IQueueNotifier, IInterruptTrigger, IDisposable
    {
        public AutoResetEvent Kicked { get; } = new(false);

        public AutoResetEvent Interrupted { get; } = new(false);

        public void Kick(VirtioDevice device, int queue) => Kicked.Set();

        public void Trigger() => Interrupted.Set();

        public void Dispose()
        {
            Kicked.Dispose();
            Interrupted.Dispose();
        }
    }
}
