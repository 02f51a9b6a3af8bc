using Vmm.Devices.Memory;
using Vmm.Devices.Virtio;
using Vmm.Tests.Shared;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>The queue core by itself: order, notifications both ways, allocation.</summary>
public sealed class VirtqueueTests
{
    private const ulong Data = 0x8_0000;

    public static TheoryData<RingKind, bool> Formats => new()
    {
        { RingKind.Split, false },
        { RingKind.Split, true },
        { RingKind.Packed, false },
        { RingKind.Packed, true },
    };

    private static ulong Features(bool eventIndex) =>
        VirtioFeatures.IndirectDescriptors | (eventIndex ? VirtioFeatures.EventIndex : 0);

    [Theory]
    [MemberData(nameof(Formats))]
    public void Buffers_come_in_order_and_go_in_any(RingKind kind, bool eventIndex)
    {
        using var test = new TestMemory(1 << 20);
        using var queue = new BareQueue(test.Memory, kind, 16, Features(eventIndex));
        var vectors = new IoVector[16];
        var random = new Random(5);
        var inFlight = new List<DescriptorChain>();
        var expected = new Queue<int>();
        int free = 16;
        int served = 0;
        for (int step = 0; step < 20_000; step++)
        {
            int descriptors = random.Next(1, 4);
            switch (random.Next(4))
            {
                case 0 when descriptors <= free:
                    var buffers = new Buffer[descriptors];
                    for (int i = 0; i < descriptors; i++)
                    {
                        buffers[i] = new Buffer(Data + ((ulong)descriptors * 16), 16, i > 0);
                    }

                    expected.Enqueue(queue.Driver.Add(buffers));
                    free -= descriptors;
                    break;
                case 1 when queue.Device.TryPop(vectors, out DescriptorChain chain):
                    Assert.Equal(expected.Dequeue(), chain.Id);
                    inFlight.Add(chain);
                    break;
                case 2 when inFlight.Count > 0:
                    int at = random.Next(inFlight.Count);
                    queue.Device.Complete(inFlight[at], (uint)inFlight[at].Count);
                    inFlight.RemoveAt(at);
                    break;
                default:
                    queue.Device.Publish();
                    while (queue.Driver.TryTake(out _, out uint length))
                    {
                        free += (int)length;
                        served++;
                    }

                    break;
            }
        }

        Assert.Empty(queue.Faults);
        Assert.InRange(served, 1000, int.MaxValue);
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void A_buffer_can_be_put_back(RingKind kind, bool eventIndex)
    {
        using var test = new TestMemory(1 << 20);
        using var queue = new BareQueue(test.Memory, kind, 4, Features(eventIndex));
        var vectors = new IoVector[4];
        for (int round = 0; round < 10; round++)
        {
            int first = queue.Driver.Add(new Buffer(Data, 1, false), new Buffer(Data, 1, false), new Buffer(Data, 1, true));
            Assert.True(queue.Device.TryPop(vectors, out DescriptorChain chain));
            queue.Device.ReturnToQueue(chain);
            Assert.Equal(0, queue.Device.Outstanding);
            Assert.True(queue.Device.EnableNotify());
            Assert.True(queue.Device.TryPop(vectors, out chain));
            Assert.Equal(first, chain.Id);
            queue.Device.Complete(chain, 1);
            queue.Device.Publish();
            Assert.True(queue.Driver.TryTake(out _, out _));
        }
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void Interrupts_come_when_they_are_wanted(RingKind kind, bool eventIndex)
    {
        using var test = new TestMemory(1 << 20);
        using var queue = new BareQueue(test.Memory, kind, 8, Features(eventIndex));
        var vectors = new IoVector[8];
        for (int round = 0; round < 50; round++)
        {
            bool want = round % 3 != 0;
            queue.Driver.WantInterrupts(want);
            int before = queue.Interrupts;
            for (int i = 0; i < 3; i++)
            {
                queue.Driver.Add(new Buffer(Data, 1, true));
                Assert.True(queue.Device.TryPop(vectors, out DescriptorChain chain));
                queue.Device.Complete(chain, 1);
            }

            queue.Device.Publish();
            queue.Device.Publish();     // nothing new: no interrupt
            Assert.Equal(before + (want ? 1 : 0), queue.Interrupts);
            for (int i = 0; i < 3; i++)
            {
                Assert.True(queue.Driver.TryTake(out _, out _));
            }
        }
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void With_event_indexes_one_batch_is_one_interrupt_and_the_next_none(RingKind kind, bool eventIndex)
    {
        using var test = new TestMemory(1 << 20);
        using var queue = new BareQueue(test.Memory, kind, 64, Features(eventIndex));
        var vectors = new IoVector[64];
        queue.Driver.WantInterrupts(true);
        for (int i = 0; i < 40; i++)
        {
            queue.Driver.Add(new Buffer(Data, 1, true));
            Assert.True(queue.Device.TryPop(vectors, out DescriptorChain chain));
            queue.Device.Complete(chain, 1);
            queue.Device.Publish();
        }

        Assert.Equal(eventIndex ? 1 : 40, queue.Interrupts);
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void Notifications_are_asked_for_only_while_the_queue_is_not_polled(RingKind kind, bool eventIndex)
    {
        using var test = new TestMemory(1 << 20);
        using var queue = new BareQueue(test.Memory, kind, 8, Features(eventIndex));
        var vectors = new IoVector[8];
        for (int round = 0; round < 50; round++)
        {
            Assert.False(queue.Device.EnableNotify());
            queue.Driver.Add(new Buffer(Data, 1, true));
            Assert.True(queue.Driver.NeedsNotify());
            queue.Device.DisableNotify();
            Assert.True(queue.Device.TryPop(vectors, out DescriptorChain first));
            queue.Driver.Add(new Buffer(Data, 1, true));
            Assert.False(queue.Driver.NeedsNotify());
            Assert.True(queue.Device.EnableNotify());       // came in between: look again
            Assert.True(queue.Device.TryPop(vectors, out DescriptorChain second));
            queue.Device.Complete(first, 0);
            queue.Device.Complete(second, 0);
            queue.Device.Publish();
            Assert.True(queue.Driver.TryTake(out _, out _));
            Assert.True(queue.Driver.TryTake(out _, out _));
        }
    }

    [Theory]
    [MemberData(nameof(Formats))]
    public void A_stopped_queue_touches_nothing_and_tells_when_it_is_empty(RingKind kind, bool eventIndex)
    {
        using var test = new TestMemory(1 << 20);
        using var queue = new BareQueue(test.Memory, kind, 8, Features(eventIndex));
        var vectors = new IoVector[8];
        queue.Driver.Add(new Buffer(Data, 1, true));
        queue.Driver.Add(new Buffer(Data, 1, true));
        Assert.True(queue.Device.TryPop(vectors, out DescriptorChain first));
        Assert.True(queue.Device.TryPop(vectors, out DescriptorChain second));
        queue.Device.Complete(first, 1);        // not published any more
        queue.Device.Stop();
        var before = new byte[0x4000];
        var after = new byte[0x4000];
        test.Memory.Read(new GuestAddress(0x10000), before);
        queue.Device.Publish();
        queue.Device.DisableNotify();
        Assert.False(queue.Device.EnableNotify());
        Assert.False(queue.Device.TryPop(vectors, out _));
        Assert.Equal(0, queue.DrainedCount);
        queue.Device.Complete(second, 1);
        queue.Device.Publish();
        Assert.Equal(1, queue.DrainedCount);
        test.Memory.Read(new GuestAddress(0x10000), after);
        Assert.Equal(before, after);
        Assert.Equal(0, queue.Interrupts);
    }

    [Theory]
    [MemberData(nameof(TestTarget.All), MemberType = typeof(TestTarget))]
    public void Serving_a_request_allocates_nothing(Variant variant, TargetKind kind)
    {
        using var target = new TestTarget(kind, variant);
        target.KeepNoRecord();
        Buffer[] request = target.Valid();
        const ulong Table = 0x1e_0000;
        int id = target.Ring.AddIndirect(Table, request);       // writes the table; served below
        Assert.Equal(0, Allocations.Least(() =>
        {
            for (int i = 0; i < 3000; i++)
            {
                target.ServeNow();
                if (target.Ring is TestDriverSplit split)
                {
                    split.Offer((ushort)id);
                }
                else
                {
                    ((TestDriverPacked)target.Ring).Raw(Table, (uint)request.Length * 16, (ushort)id, TestDriverPacked.Indirect);
                }
            }
        }));
        Assert.Empty(target.Rig.Log);
        Assert.True(target.Served >= 2500);
    }
}
