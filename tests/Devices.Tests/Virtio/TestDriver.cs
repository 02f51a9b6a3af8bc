using Vmm.Devices.Memory;
using Vmm.Devices.Virtio;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>A driver in the test's process: brings a device up over any transport, with real rings in real memory.
/// Queue q lies at <see cref="RingStart"/> + q * <see cref="RingStride"/>; everything from
/// <see cref="DataStart"/> on is free for buffers.</summary>
internal sealed class TestDriver
{
    public const ulong RingStart = 0x10000;
    public const ulong RingStride = 0x10000;
    public const ulong DataStart = 0x10_0000;

    public const uint Acknowledge = 1;
    public const uint DriverBit = 2;
    public const uint DriverOk = 4;
    public const uint FeaturesOk = 8;
    public const uint NeedsReset = 64;
    public const uint Failed = 128;
    public const uint Live = Acknowledge | DriverBit | FeaturesOk | DriverOk;

    private readonly TestRig _rig;
    private ulong _next = DataStart;

    private readonly ulong _refuse;

    /// <param name="rig">Around the device.</param>
    /// <param name="device">Offers packed rings.</param>
    /// <param name="variant">What it is driven over.</param>
    /// <param name="waitsForResets">See VirtioMmioTransport.</param>
    public TestDriver(TestRig rig, VirtioDevice device, Variant variant, bool waitsForResets = false)
        : this(rig, TestTransports.Create(variant.Transport, rig, device, waitsForResets), variant.Ring)
    {
    }

    public TestDriver(TestRig rig, TestTransport transport, RingKind ring)
    {
        _rig = rig;
        _refuse = ring == RingKind.Packed ? 0 : VirtioFeatures.RingPacked;
        Transport = transport;
    }

    public TestTransport Transport { get; set; }

    public ulong Features { get; private set; }

    public ulong RingBase { get; set; } = RingStart;

    public ulong RingGap { get; set; } = RingStride;

    public TestDriverQueue[] Queues { get; private set; } = [];

    public TestDriverSplit Split(int queue = 0) => (TestDriverSplit)Queues[queue];

    /// <summary>Section 3.1.1, all of it.</summary>
    public void Start(ulong refuse = 0, uint queueSize = 0, uint queues = uint.MaxValue)
    {
        Transport.Status = 0;
        Negotiate(refuse);
        SetUpQueues(queueSize, queues);
        Transport.Status |= DriverOk;
        Assert.Equal(Live, Transport.Status);
        _rig.RunLoop();
    }

    public void Negotiate(ulong refuse = 0)
    {
        Transport.Status = Acknowledge;
        Transport.Status |= DriverBit;
        Features = Transport.DeviceFeatures & ~(refuse | _refuse);
        Transport.DriverFeatures = Features;
        Transport.Status |= FeaturesOk;
        Assert.Equal(Acknowledge | DriverBit | FeaturesOk, Transport.Status);
    }

    public void SetUpQueues(uint queueSize = 0, uint queues = uint.MaxValue)
    {
        var made = new List<TestDriverQueue>();
        for (int i = 0; i < queues && Transport.QueueMaxSize(i) != 0; i++)
        {
            made.Add(SetUpQueue(i, queueSize));
        }

        Queues = [.. made];
    }

    public TestDriverQueue SetUpQueue(int index, uint queueSize = 0)
    {
        uint size = queueSize != 0 ? queueSize : Transport.QueueMaxSize(index);
        ulong start = RingBase + ((ulong)index * RingGap);
        _rig.Memory.Write(new GuestAddress(start), new byte[(size * 32) + 256]);

        bool eventIndex = (Features & VirtioFeatures.EventIndex) != 0;
        TestDriverQueue queue = (Features & VirtioFeatures.RingPacked) != 0
            ? new TestDriverPacked(_rig.Memory, index, size, start, eventIndex)
            : new TestDriverSplit(_rig.Memory, index, size, start, eventIndex);
        Transport.SetQueue(index, size, queue.DescriptorArea, queue.DriverArea, queue.DeviceArea);
        Transport.EnableQueue(index);
        Assert.True(Transport.IsQueueEnabled(index));
        if (Queues.Length > index)
        {
            Queues[index] = queue;
        }

        return queue;
    }

    /// <summary>Room for data, never given twice.</summary>
    public ulong Allocate(ulong bytes)
    {
        ulong at = _next;
        _next += (bytes + 15) & ~15UL;
        Assert.True(_next <= TestRig.LowMemory);
        return at;
    }

    /// <summary>Puts data for the device somewhere; where.</summary>
    public ulong Place(ReadOnlySpan<byte> bytes)
    {
        ulong at = Allocate((ulong)bytes.Length);
        _rig.Memory.Write(new GuestAddress(at), bytes);
        return at;
    }

    public byte[] Fetch(ulong address, int length)
    {
        byte[] bytes = new byte[length];
        _rig.Memory.Read(new GuestAddress(address), bytes);
        return bytes;
    }

    /// <summary>Notifies if the device wants it, and lets the loop run.</summary>
    public void Kick(int queue = 0)
    {
        if (Queues[queue].NeedsNotify())
        {
            Transport.Notify((uint)queue);
        }

        _rig.RunLoop();
    }
}
