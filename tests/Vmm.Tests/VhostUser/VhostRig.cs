using System.Buffers.Binary;
using Vmm.Backends.VhostUser;
using Vmm.Devices.Memory;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Vhost;
using Vmm.Host;
using Vmm.Machines;
using Vmm.Machines.Slots;

namespace Vmm.Tests.VhostUser;

/// <summary>A file system device in front of a back end, and its driver: no KVM, but shared memory, eventfds and an event
/// loop that turns when the test says so.</summary>
internal sealed class VhostRig : IVirtioInterrupts, IDeviceLog, IDisposable
{
    public const int QueueSize = 8;
    private const uint Live = 15;

    private readonly QueueEvents _events;
    private readonly GuestRam _ram;

    /// <param name="open">Makes the back end.</param>
    /// <param name="device">Makes the device with two queues; a file system if not given.</param>
    public VhostRig(
        Func<EventLoop, MemoryTable, Action<string>, VhostUserBackend> open, Func<VhostUserBackend, VhostDevice>? device = null)
    {
        _ram = new GuestRam(MachineSpec.MinimumMemory, shared: true);
        Backend = open(Loop, _ram.ToMemoryTable(), Told.Add);
        Served = device?.Invoke(Backend) ?? new FileSystem("virtio-fs0", "tag", Backend);
        _events = new QueueEvents(Loop, Served);
        Device = new CommonConfiguration(Served, Memory, this, _events, this);
    }

    public VhostDevice Served { get; }

    public EventLoop Loop { get; } = new();

    public VhostUserBackend Backend { get; }

    public GuestMemory Memory => _ram.Memory;

    public CommonConfiguration Device { get; }

    public List<string> Told { get; } = [];

    public List<int> Interrupts { get; } = [];

    public EventFd Kick(int queue) => _events[queue];

    public static ulong Ring(int queue) => 0x10_0000 + ((ulong)queue * 0x1_0000);

    /// <summary>Section 3.1.1 of virtio 1.2.</summary>
    public void Start()
    {
        Backend.Greet(queues: 2);
        StartDriver();
    }

    public void StartDriver()
    {
        Device.Status = 1;
        Device.Status |= 2;
        for (uint half = 0; half < 2; half++)
        {
            Device.DeviceFeaturesSelect = Device.DriverFeaturesSelect = half;
            Device.DriverFeatures = Device.DeviceFeatures & ~(half == 0 ? (uint)VirtioFeatures.EventIndex : 0);
        }

        Device.Status |= 8;
        for (int queue = 0; queue < 2; queue++)
        {
            Device.QueueSelect = (uint)queue;
            Device.QueueSize = QueueSize;
            Device.QueueDescriptorArea = Ring(queue);
            Device.QueueDriverArea = Ring(queue) + 0x1000;
            Device.QueueDeviceArea = Ring(queue) + 0x2000;
            Device.EnableQueue();
        }

        Device.Status |= 4;
        Assert.Equal(Live, Device.Status);
    }

    /// <summary>Puts a FUSE request with room for an answer into descriptors 2 * place and the one behind it.</summary>
    /// <returns>Where the answer will be.</returns>
    public ulong Request(int queue, int place, uint opcode, ulong unique, ReadOnlySpan<byte> body = default, uint room = 256)
    {
        ulong at = 0x80_0000 + ((ulong)queue << 16) + ((ulong)place << 12);
        byte[] request = new byte[40 + body.Length];
        BinaryPrimitives.WriteUInt32LittleEndian(request, (uint)request.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(request.AsSpan(4), opcode);
        BinaryPrimitives.WriteUInt64LittleEndian(request.AsSpan(8), unique);
        body.CopyTo(request.AsSpan(40));
        Memory.TryWrite(new GuestAddress(at), request);
        ushort head = (ushort)(place * 2);
        Descriptor(queue, head, at, (uint)request.Length, flags: 1, next: (ushort)(head + 1));
        Descriptor(queue, (ushort)(head + 1), at + 0x800, room, flags: 2, next: 0);
        ushort index = Read<ushort>(Ring(queue) + 0x1002);
        Write(Ring(queue) + 0x1004 + ((ulong)(index % QueueSize) * 2), head);
        Write(Ring(queue) + 0x1002, (ushort)(index + 1));
        return at + 0x800;
    }

    /// <summary>As a back end does: gives a buffer back.</summary>
    public void Use(int queue, uint head)
    {
        ushort index = Read<ushort>(Ring(queue) + 0x2002);
        Write(Ring(queue) + 0x2004 + ((ulong)(index % QueueSize) * 8), head);
        Write(Ring(queue) + 0x2002, (ushort)(index + 1));
    }

    public ushort UsedIndex(int queue) => Read<ushort>(Ring(queue) + 0x2002);

    public T Read<T>(ulong address)
        where T : unmanaged => Memory.TryRead(new GuestAddress(address), out T value) ? value : throw new InvalidOperationException();

    public void Write<T>(ulong address, T value)
        where T : unmanaged => Assert.True(Memory.TryWrite(new GuestAddress(address), value));

    /// <summary>Lets the loop turn until something is so.</summary>
    public void Until(Func<bool> isSo)
    {
        long end = Environment.TickCount64 + 60_000;
        while (!isSo())
        {
            Assert.True(Environment.TickCount64 < end, "it never came to be");
            Loop.Turn(10);
        }
    }

    /// <summary>All of the guest's memory, for another rig.</summary>
    public byte[] CopyMemory()
    {
        byte[] copy = new byte[MachineSpec.MinimumMemory];
        Assert.True(Memory.TryRead(new GuestAddress(0), copy));
        return copy;
    }

    public void FillMemory(byte[] content) => Assert.True(Memory.TryWrite(new GuestAddress(0), content));

    public void NotifyQueue(int queue) => Interrupts.Add(queue);

    public int ConfigurationInterrupts { get; private set; }

    public void NotifyConfiguration() => ConfigurationInterrupts++;

    public void Reset()
    {
    }

    public void Warn(string device, string message) => Told.Add(message);

    public void Dispose()
    {
        _events.Dispose();
        Backend.Dispose();
        Loop.Dispose();
        _ram.Dispose();
    }

    private void Descriptor(int queue, ushort index, ulong address, uint length, ushort flags, ushort next)
    {
        ulong at = Ring(queue) + (index * 16ul);
        Write(at, address);
        Write(at + 8, length);
        Write(at + 12, flags);
        Write(at + 14, next);
    }
}
