using Vmm.Devices.Bus;
using Vmm.Devices.State;

namespace Vmm.Devices.Legacy;

/// <summary>Port 0x92, system control port A of the PS/2 (Intel ICH9 data sheet, 13.7.3, "PORT92"): address line 20
/// and a fast reset.</summary>
/// <remarks>A20 is always on here, and reads so whatever was written. The processor is reset when INIT_NOW goes from 0
/// to 1, not when a 1 that was there is written back.</remarks>
public sealed class Port92(IPowerControl power) : IBusDevice, ISavedState
{
    public const ushort Port = 0x92;

    private const byte InitNow = 1 << 0, AlternateA20Gate = 1 << 1;

    private int _value;

    public string Name => "port92";

    public void Read(ulong offset, Span<byte> data)
    {
        if (offset == 0 && !data.IsEmpty)
        {
            data[0] = (byte)(Volatile.Read(ref _value) | AlternateA20Gate);
        }
    }

    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset != 0 || data.IsEmpty)
        {
            return;
        }

        int value = data[0] & InitNow;
        if (Interlocked.Exchange(ref _value, value) < value)
        {
            power.RequestReset();
        }
    }

    /// <inheritdoc/>
    public void Save(StateWriter state)
    {
        state.Version(1);
        state.Write("value", Volatile.Read(ref _value));
    }

    /// <inheritdoc/>
    public void Load(StateReader state)
    {
        state.Version(1);
        Volatile.Write(ref _value, (int)state.Bits("value", InitNow));
    }

    public string? RegisterName(ulong offset, bool write) => "PORT92";
}
