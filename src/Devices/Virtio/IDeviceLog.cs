namespace Vmm.Devices.Virtio;

/// <summary>Where devices report what a guest did wrong. A guest can provoke it: implementations limit the rate.</summary>
public interface IDeviceLog
{
    /// <param name="device">The device's name.</param>
    /// <param name="message">One line.</param>
    void Warn(string device, string message);
}
