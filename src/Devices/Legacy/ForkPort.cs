using System.Buffers.Binary;
using Vmm.Devices.Bus;
using Vmm.Devices.State;

namespace Vmm.Devices.Legacy;

/// <summary>Ports 0x6f4 to 0x6f7: a guest asks for forks of its machine, and reads which of them it is (docs/snapshots.md). PCs have
/// no device there.</summary>
/// <remarks>A write of 32 bits asks for that many forks. A read of 32 bits gives <see cref="Pending"/> until the request is answered;
/// then 0 in the machine that asked, the fork's number from 1 in forks, or <see cref="Refused"/> with an errno of Linux.</remarks>
/// <param name="asked">Called with the number of forks, on a vCPU's thread; not again before <see cref="Settle"/>.</param>
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

    /// <summary>Answers the pending request, if there is one. Any thread.</summary>
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
