using Vmm.Devices.Memory;

namespace Vmm.Devices.Tests.Virtio;

/// <summary>A stretch of guest memory in a request.</summary>
internal readonly record struct Buffer(ulong Address, uint Length, bool Writable);

/// <summary>The driver's side of one virtqueue, written from the specification and not from the device's code.</summary>
internal abstract class TestDriverQueue(GuestMemory memory, int index, uint size)
{
    public GuestMemory Memory { get; } = memory;

    public int Index { get; } = index;

    public uint Size { get; } = size;

    public abstract ulong DescriptorArea { get; }

    public abstract ulong DriverArea { get; }

    public abstract ulong DeviceArea { get; }

    /// <summary>Makes one request available, as a chain of direct descriptors.</summary>
    /// <returns>The id with which it comes back.</returns>
    public abstract int Add(params ReadOnlySpan<Buffer> buffers);

    /// <summary>The same through an indirect table at <paramref name="table"/>.</summary>
    public abstract int AddIndirect(ulong table, params ReadOnlySpan<Buffer> buffers);

    public abstract bool TryTake(out int id, out uint length);

    /// <summary>Is the device to be notified of what was added since the last call?</summary>
    public abstract bool NeedsNotify();

    /// <summary>Asks for an interrupt with the next used buffer, or for none at all.</summary>
    public abstract void WantInterrupts(bool want);

    public T Read<T>(ulong address)
        where T : unmanaged => Memory.Read<T>(new GuestAddress(address));

    public void Write<T>(ulong address, T value)
        where T : unmanaged => Memory.Write(new GuestAddress(address), value);
}
