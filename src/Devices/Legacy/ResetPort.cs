using Vmm.Devices.Bus;
using Vmm.Devices.State;

namespace Vmm.Devices.Legacy;

/// <summary>Port 0xcf9, the reset control register of Intel's chipsets (ICH9 data sheet, 13.7.5), which ACPI's FADT
/// names as the reset register.</summary>
/// <remarks>It lies inside PCI's configuration ports, which claim only the ports where their accesses start: a
/// 4-byte access to 0xcf8 does not come here.</remarks>
public sealed class ResetPort(IPowerControl power) : IBusDevice, ISavedState
{
    public const ushort Port = 0xcf9;

    /// <summary>What to write for a reset: SYS_RST and RST_CPU.</summary>
    public const byte ResetValue = 0x06;

    private const byte SystemReset = 0x02, ResetCpu = 0x04, FullReset = 0x08;

    private volatile byte _value;

    public string Name => "reset";

    public void Read(ulong offset, Span<byte> data)
    {
        if (offset == 0 && !data.IsEmpty)
        {
            data[0] = _value;
        }
    }

    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset != 0 || data.IsEmpty)
        {
            return;
        }

        byte value = data[0];
        _value = (byte)(value & (SystemReset | FullReset));
        if ((value & ResetCpu) != 0)
        {
            power.RequestReset();
        }
    }

    /// <inheritdoc/>
    public void Save(StateWriter state)
    {
        state.Version(1);
        state.Write("value", (uint)_value);
    }

    /// <inheritdoc/>
    public void Load(StateReader state)
    {
        state.Version(1);
        _value = (byte)state.Bits("value", SystemReset | FullReset);
    }

    public string? RegisterName(ulong offset, bool write) => "RST_CNT";
}
