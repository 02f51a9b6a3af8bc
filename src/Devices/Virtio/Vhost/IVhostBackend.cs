using Vmm.Devices.Memory;

namespace Vmm.Devices.Virtio.Vhost;

/// <summary>One queue as it is handed over: its rings lie in guest memory, checked when the driver enabled it.</summary>
/// <param name="Queue">Its number within the device.</param>
/// <param name="Size">Descriptors, a power of two.</param>
/// <param name="Descriptors">Descriptor table.</param>
/// <param name="Driver">Available ring.</param>
/// <param name="Device">Used ring.</param>
public readonly record struct VhostRing(
    int Queue, ushort Size, GuestAddress Descriptors, GuestAddress Driver, GuestAddress Device);

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

    /// <summary>Takes a queue back. When this returns, the back end touches neither its rings nor its buffers.</summary>
    void StopQueue(int queue);
}
