namespace Vmm.Devices.Virtio;

/// <summary>Receives a queue's events. Called with the device's gate held.</summary>
internal interface IVirtqueueOwner
{
    /// <summary>The driver is to be interrupted for this queue.</summary>
    void Interrupt(Virtqueue queue);

    /// <summary>The driver broke the rules; the queue pops nothing more until a reset.</summary>
    void Broken(Virtqueue queue, string fault);

    /// <summary>The last buffer of a queue that was stopped came back.</summary>
    void Drained(Virtqueue queue);
}
