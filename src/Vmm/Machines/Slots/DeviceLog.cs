using Vmm.Devices.Virtio;
using Vmm.Host;

namespace Vmm.Machines.Slots;

/// <summary>Reports of devices about a misbehaving guest, on standard error.</summary>
internal sealed class DeviceLog : IDeviceLog
{
    public void Warn(string device, string message) => Stderr.WriteLine($"vmm: {device}: {message}");
}
