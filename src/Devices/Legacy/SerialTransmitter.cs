using Vmm.Devices.State;

namespace Vmm.Devices.Legacy;

/// <summary>The sending half of a <see cref="Serial16550"/>: bytes go to the output at once, or wait here while it is
/// full. Not thread-safe.</summary>
internal sealed class SerialTransmitter(ISerialOutput output)
{
    /// <summary>More than the 16 bytes of FIFO that the guest is told of: Linux's console waits 10 ms for a full port
    /// to drain and then writes on, byte by byte.</summary>
    private const int Capacity = 1024;

    private readonly byte[] _waiting = new byte[Capacity];
    private int _first, _count;

    /// <summary>No byte is pending: THRE and TEMT.</summary>
    public bool IsEmpty => _count == 0;

    /// <summary>Bytes that were lost because the buffer was full.</summary>
    public long Lost => Volatile.Read(ref _lost);
    private long _lost;

    /// <summary>Sends a byte, keeps it, or loses it.</summary>
    public void Send(byte value)
    {
        if (_count == 0 && output.Write(new ReadOnlySpan<byte>(in value)) > 0)
        {
            return;
        }

        if (_count == Capacity)
        {
            Volatile.Write(ref _lost, _lost + 1);
            return;
        }

        _waiting[(_first + _count++) % Capacity] = value;
    }

    /// <summary>Writes the pending bytes, the oldest first.</summary>
    public void Save(StateWriter state, string name)
    {
        byte[] waiting = [.. Enumerable.Range(0, _count).Select(i => _waiting[(_first + i) % Capacity])];
        state.Write(name, waiting);
    }

    /// <summary>Takes over what <see cref="Save"/> wrote.</summary>
    public void Load(StateReader state, string name)
    {
        byte[] waiting = state.Bytes(name, 0, Capacity);
        waiting.CopyTo(_waiting, 0);
        (_first, _count) = (0, waiting.Length);
    }

    /// <summary>Sends pending bytes, as many as the output takes.</summary>
    public void Drain()
    {
        int run, taken;
        do
        {
            run = Math.Min(_count, Capacity - _first);
            taken = run == 0 ? 0 : Math.Clamp(output.Write(_waiting.AsSpan(_first, run)), 0, run);
            _first = (_first + taken) % Capacity;
            _count -= taken;
        }
        while (taken == run && _count > 0);
    }
}
