using Vmm.Devices.Memory;

namespace Vmm.Devices.Virtio.Vhost;

/// <summary>One queue as it is handed over: its rings lie in guest memory, checked when the driver enabled it.</summary>
/// <param name="Queue">Its number within the device.</param>
/// <param name="Size">Descriptors, a power of two.</param>
/// <param name="Descriptors">Descriptor table.</param>
/// <param name="Driver">Available ring.</param>
/// <param name="Device">Used ring.</param>
/// <param name="Next">The first entry of the available ring to serve; all before it are done.</param>
public readonly record struct VhostRing(
    int Queue, ushort Size, GuestAddress Descriptors, GuestAddress Driver, GuestAddress Device, ushort Next = 0);

/// <summary>Another program that serves a device's queues. It gets the rings and the guest's memory, is kicked by the
/// guest and interrupts it, without this process in between.</summary>
/// <remarks>Called with the device's gate held, on vCPU threads. Nothing here throws: a back end that fails is treated as lost
/// from then on (<see cref="VhostDevice.OnLost"/>).</remarks>
public interface IVhostBackend
{
    /// <summary>The features that it offers, those of the device and those of the rings.</summary>
    ulong Features { get; }

    /// <summary>DRIVER_OK: these features are in force until the reset.</summary>
    void Begin(ulong features);

    /// <summary>Hands a queue over.</summary>
    void StartQueue(in VhostRing ring);

    /// <summary>Takes a queue back. The back end takes no more of its buffers; those that it has taken it still gives back.</summary>
    /// <returns>The entry of the available ring behind the last one that it took.</returns>
    ushort StopQueue(int queue);

    /// <summary>Can the program give what it knows of the guest, and take it over from another one?</summary>
    bool CanSave { get; }

    /// <summary>What the program knows of the guest (open files, for instance), in a form of its own. While its queues are stopped.</summary>
    /// <exception cref="NotSupportedException">It does not give it; the message says why.</exception>
    byte[] Save();

    /// <summary>Gives the program what another one knew, before any queue starts.</summary>
    /// <returns>Why it does not take it; null where it does.</returns>
    string? Load(ReadOnlySpan<byte> state);
}
