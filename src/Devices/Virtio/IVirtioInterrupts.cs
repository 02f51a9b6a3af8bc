namespace Vmm.Devices.Virtio;

/// <summary>How a transport interrupts the driver. Called with the device's gate held, on any thread.</summary>
public interface IVirtioInterrupts
{
    /// <summary>A used buffer notification for this queue.</summary>
    void NotifyQueue(int queue);

    /// <summary>A configuration change notification.</summary>
    void NotifyConfiguration();

    /// <summary>The device was reset: no interrupt is pending any more, and vectors are unmapped.</summary>
    void Reset();
}
