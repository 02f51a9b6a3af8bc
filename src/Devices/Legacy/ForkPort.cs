using System.Buffers.Binary;
using Vmm.Devices.Bus;
using Vmm.Devices.State;

namespace Vmm.Devices.Legacy;

/// <summary>Ports 0x6f4 to 0x6f7: a guest asks for forks of its machine, and learns which of them it is (docs/snapshots.md). No PC has
/// anything there.</summary>
/// <remarks>Four bytes written: so many forks are wanted. Four bytes read: <see cref="Pending"/> until it is settled; then 0 in the
/// machine that asked and 1 and more in its forks, or <see cref="Refused"/> with an errno of Linux.</remarks>
/// <param name="asked">Hears how many are wanted; not again before <see cref="Settle"/>. On a vCPU's thread.</param>
public sealed class ForkPort(Action<uint> asked) : IBusDevice, ISavedState
{
    public const ushort Port = 0x6f4;
    public const int PortCount = 4;

    public const uint Pending = 0xffff_fffe, Refused = 0x8000_0000;

    private uint _result;

    public string Name => "fork";

    public void Read(ulong offset, Span<byte> data)
    {
        if (offset == 0 && data.Length == sizeof(uint))
        {
            BinaryPrimitives.WriteUInt32LittleEndian(data, Volatile.Read(ref _result));
        }
    }

    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        if (offset == 0 && data.Length == sizeof(uint) && Interlocked.Exchange(ref _result, Pending) != Pending)
        {
            asked(BinaryPrimitives.ReadUInt32LittleEndian(data));
        }
    }

    /// <summary>The answer to what is pending; nothing where nothing is. Any thread.</summary>
    public void Settle(uint result) => Interlocked.CompareExchange(ref _result, result, Pending);

    /// <inheritdoc/>
    public void Save(StateWriter state)
    {
        state.Version(1);
        state.Write("result", Volatile.Read(ref _result));
    }

    /// <inheritdoc/>
    public void Load(StateReader state)
    {
        state.Version(1);
        _result = state.UInt32("result");
    }

    public string? RegisterName(ulong offset, bool write) => "FORK";
}
