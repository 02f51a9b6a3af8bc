using Vmm.Devices.Pci;

namespace Vmm.Devices.Virtio.Transport;

/// <summary>The PCI ids of a virtio device (virtio 1.2, section 4.1.2).</summary>
internal static class VirtioPciIdentity
{
    private const ushort Vendor = 0x1af4, FirstModernDevice = 0x1040, FirstModernSubsystem = 0x40;
    private const byte ModernRevision = 1;

    public static PciIdentity Of(VirtioDevice device) => new(
        Vendor,
        (ushort)(FirstModernDevice + device.DeviceId),
        Class(device.DeviceId),
        ModernRevision,
        SubsystemVendor: Vendor,
        Subsystem: (ushort)(FirstModernSubsystem + device.DeviceId));

    /// <summary>For people who look at lspci; drivers go by the device id. Appendix D of PCI Local Bus 3.0.</summary>
    private static uint Class(uint deviceId) => deviceId switch
    {
        1 => 0x020000,          // network: Ethernet
        2 or 26 => 0x018000,    // block, file system: mass storage, other
        3 => 0x078000,          // console: communication, other
        19 => 0x028000,         // socket: network, other
        _ => 0xff0000,          // fits no class
    };
}
