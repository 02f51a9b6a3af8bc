using Vmm.Devices.Memory;

namespace Vmm.Devices.Virtio.Vhost;

/// <summary>One queue for the back end: its rings lie in guest memory, checked when the driver enabled it.</summary>
/// <param name="Queue">Its number within the device.</param>
/// <param name="Size">Descriptors, a power of two.</param>
/// <param name="Descriptors">Descriptor table.</param>
/// <param name="Driver">Available ring.</param>
/// <param name="Device">Used ring.</param>
/// <param name="Next">The first entry of the available ring to serve; all before it are done.</param>
public readonly record struct VhostRing(
    int Queue, ushort Size, GuestAddress Descriptors, GuestAddress Driver, GuestAddress Device, ushort Next = 0);

/// <summary>Another program that serves a device's queues. It gets the rings and the guest's memory, is notified
/// by the guest and interrupts it without this process.</summary>
/// <remarks>Called with the device's gate held, on vCPU threads. Nothing here throws: a back end that fails is treated as lost
/// from then on (<see cref="VhostDevice.OnLost"/>).</remarks>
public interface IVhostBackend
{
    /// <summary>The features that it offers, those of the device and those of the rings.</summary>
    ulong Features { get; }

    /// <summary>The driver set DRIVER_OK: these features apply until the reset.</summary>
    void Begin(ulong features);

    /// <summary>Starts to serve a queue.</summary>
    void StartQueue(in VhostRing ring);

    /// <summary>Stops serving a queue. The back end takes no more buffers of it, but still returns those that it has taken.</summary>
    /// <returns>The entry of the available ring behind the last one that it took.</returns>
    ushort StopQueue(int queue);

    /// <summary>Can the program save and load its state?</summary>
    bool CanSave { get; }

    /// <summary>The program's own state of the guest (open files, for instance), in a format of its own. While its queues are stopped.</summary>
    /// <exception cref="NotSupportedException">The program refused; the message says why.</exception>
    byte[] Save();

    /// <summary>Loads the state that another process of the program saved, before any queue starts.</summary>
    /// <returns>Why the program refused it; null on success.</returns>
    string? Load(ReadOnlySpan<byte> state);
}
