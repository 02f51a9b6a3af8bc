using Vmm.Devices.State;

namespace Vmm.Devices.Legacy;

/// <summary>The 16 received bytes of a <see cref="Serial16550"/>, each with flags. Not thread-safe.</summary>
internal sealed class ReceiveFifo
{
    /// <summary>Not a byte but a break, which reads as zero.</summary>
    public const ushort Break = 0x100;

    /// <summary>Sent by the guest to itself, in loopback.</summary>
    public const ushort Looped = 0x200;

    private const int Depth = 16;

    private readonly ushort[] _entries = new ushort[Depth];
    private int _first;

    public int Count { get; private set; }

    public bool NextIsBreak => Count > 0 && (_entries[_first] & Break) != 0;

    public bool HasBreak
    {
        get
        {
            bool found = false;
            for (int i = 0; i < Count; i++)
            {
                found |= (_entries[(_first + i) % Depth] & Break) != 0;
            }

            return found;
        }
    }

    /// <summary>The FIFO must not be full.</summary>
    public void Put(ushort entry) => _entries[(_first + Count++) % Depth] = entry;

    /// <summary>The FIFO must not be empty.</summary>
    public ushort Take()
    {
        ushort entry = _entries[_first];
        _first = (_first + 1) % Depth;
        Count--;
        return entry;
    }

    /// <summary>Empties this FIFO. Bytes that came from the host (not by loopback) go to the front of
    /// <paramref name="wire"/>.</summary>
    public void ReturnTo(ReceiveFifo wire)
    {
        while (Count > 0)
        {
            ushort entry = _entries[(_first + --Count) % Depth];
            if ((entry & Looped) == 0)
            {
                wire.PutBack(entry);
            }
        }
    }

    /// <summary>Writes what is held, the oldest first.</summary>
    public void Save(StateWriter state, string name) =>
        state.Write(name, Enumerable.Range(0, Count), (writer, i) => writer.Write("entry", (uint)_entries[(_first + i) % Depth]));

    /// <summary>Takes over what <see cref="Save"/> wrote.</summary>
    public void Load(StateReader state, string name)
    {
        (_first, Count) = (0, 0);
        foreach (StateReader entry in state.List(name, 0, Depth))
        {
            Put((ushort)entry.Bits("entry", 0xff | Break | Looped));
            entry.End();
        }
    }

    private void PutBack(ushort entry)
    {
        _first = (_first + Depth - 1) % Depth;
        _entries[_first] = entry;
        Count++;
    }
}
