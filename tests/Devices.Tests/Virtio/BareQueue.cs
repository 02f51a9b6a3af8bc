using Vmm.Devices.Memory;
using Vmm.Devices.Virtio;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>A queue without a device or a transport, and its driver.</summary>
internal sealed class BareQueue : IDisposable, IVirtqueueOwner
{
    private const ulong Start = 0x10000;

    public BareQueue(GuestMemory memory, RingKind ring, ushort size, ulong features = ulong.MaxValue)
    {
        memory.Write(new GuestAddress(Start), new byte[(size * 32) + 4096]);
        bool eventIndex = (features & VirtioFeatures.EventIndex) != 0;
        Device = ring == RingKind.Split ? new VirtqueueSplit(this, memory, 0) : new VirtqueuePacked(this, memory, 0);
        Driver = ring == RingKind.Split
            ? new TestDriverSplit(memory, 0, size, Start, eventIndex)
            : new TestDriverPacked(memory, 0, size, Start, eventIndex);
        var configuration = new QueueConfiguration(32768)
        {
            Size = size,
            DescriptorArea = new GuestAddress(Driver.DescriptorArea),
            DriverArea = new GuestAddress(Driver.DriverArea),
            DeviceArea = new GuestAddress(Driver.DeviceArea),
        };
        Assert.Null(Device.Enable(configuration, features));
        Device.Run();
    }

    public Virtqueue Device { get; }

    public TestDriverQueue Driver { get; }

    public List<string> Faults { get; } = [];

    public int Interrupts { get; private set; }

    public int DrainedCount { get; private set; }

    public void Interrupt(Virtqueue queue) => Interrupts++;

    public void Broken(Virtqueue queue, string fault) => Faults.Add(fault);

    public void Drained(Virtqueue queue) => DrainedCount++;

    public void Dispose() => Device.Stop();
}
