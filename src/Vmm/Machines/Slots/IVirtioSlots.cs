using Vmm.Devices.State;
using Vmm.Devices.Virtio;
using Vmm.Host;

namespace Vmm.Machines.Slots;

/// <summary>Where virtio devices are plugged in, whatever the transport.</summary>
internal interface IVirtioSlots : ISavedState, IDisposable
{
    /// <exception cref="UsageException">There are more devices than fit.</exception>
    void Plug(VirtioDevice device);

    /// <summary>The machine ends: no vCPU may wait for a device any longer. Any thread.</summary>
    void StopWaiting()
    {
    }
}
