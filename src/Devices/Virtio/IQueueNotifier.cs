namespace Vmm.Devices.Virtio;

/// <summary>How a queue is handed to the event-loop thread.</summary>
public interface IQueueNotifier
{
    /// <summary>Has <see cref="VirtioDevice.Notify"/> called for this queue on the event-loop thread, soon. Called on
    /// any thread, also on the loop's own, with or without the device's gate held: neither blocks nor calls back.
    /// Kicks for a queue that is kicked already may merge.</summary>
    void Kick(VirtioDevice device, int queue);
}
