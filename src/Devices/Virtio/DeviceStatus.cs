namespace Vmm.Devices.Virtio;

/// <summary>The device status field (virtio 1.2, section 2.1).</summary>
[Flags]
internal enum DeviceStatus
{
    None = 0,
    Acknowledge = 1,
    Driver = 2,
    DriverOk = 4,
    FeaturesOk = 8,
    NeedsReset = 64,
    Failed = 128,
}
