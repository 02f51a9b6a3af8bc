using Vmm.Devices.Bus;

namespace Vmm.Devices.Pci;

/// <summary>A message-signalled interrupt on its way to the interrupt controller: on KVM an irqfd with a GSI of its own
/// and the route of that GSI.</summary>
/// <remarks>Calls come one at a time for a device, on any thread, with a lock held: do not call the device.
/// <see cref="IInterruptTrigger.Trigger"/> is called only after an update that said unmasked.</remarks>
public interface IMsiVector : IInterruptTrigger
{
    /// <summary>The guest changed where or whether the interrupt goes.</summary>
    /// <param name="address">Message address, 0xfeexxxxx for a message that means anything; the guest's, unchecked.</param>
    /// <param name="data">Message data; the guest's, unchecked.</param>
    /// <param name="masked">Nothing will be triggered until the next update; address and data are as they last were
    /// and the route may stay.</param>
    void Update(ulong address, uint data, bool masked);
}
