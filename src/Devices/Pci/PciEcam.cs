using Vmm.Devices.Bus;

namespace Vmm.Devices.Pci;

/// <summary>Configuration space mapped into memory, 4 KiB for each function (PCI Express 3.0, section 7.2.2).</summary>
/// <remarks>
/// <code>
/// offset   27..20 bus | 19..15 device | 14..12 function | 11..0 register
/// </code>
/// </remarks>
public sealed class PciEcam(PciBus pci) : IBusDevice
{
    /// <summary>Bytes of window: bus 0, the only one.</summary>
    public const ulong WindowLength = 1 << 20;

    private const int FunctionLength = 0x1000;

    public string Name => "PCI";

    public void Read(ulong offset, Span<byte> data)
    {
        if (offset < WindowLength)
        {
            int register = (int)offset & (FunctionLength - 1);
            int count = Math.Min(data.Length, FunctionLength - register);
            pci.ReadConfig(0, (uint)offset >> 12, register, data[..count]);
        }
    }

    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset < WindowLength)
        {
            int register = (int)offset & (FunctionLength - 1);
            int count = Math.Min(data.Length, FunctionLength - register);
            pci.WriteConfig(0, (uint)offset >> 12, register, data[..count]);
        }
    }

    public string? RegisterName(ulong offset, bool write) => "ECAM";
}
