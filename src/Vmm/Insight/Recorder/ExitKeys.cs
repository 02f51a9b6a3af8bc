using Vmm.Devices.Bus;
using Vmm.Insight.Profile;

namespace Vmm.Insight.Recorder;

/// <summary>Which row an exit belongs to: a hash table of fixed size, as a guest can touch any address.</summary>
/// <remarks>Open addressing with linear probing; never more than three quarters full, so that a search ends.</remarks>
internal sealed class ExitKeys
{
    public const int Capacity = 4096;
    private const int Room = Capacity / 4 * 3;
    private const int HashBits = 12;

    private readonly Slot[] _slots = new Slot[Capacity];

    public int Count { get; private set; }

    /// <summary>The row of a key; null where the key is new.</summary>
    /// <param name="address">Port, guest-physical address, instruction, MSR: as the kind has it.</param>
    /// <param name="kind">Everything else that distinguishes rows.</param>
    public ExitRow? Find(ulong address, uint kind)
    {
        for (int i = Hash(address, kind); ; i = (i + 1) & (Capacity - 1))
        {
            ref Slot slot = ref _slots[i];
            if (slot.Row is null)
            {
                return null;
            }

            if (slot.Address == address && slot.Kind == kind && (slot.Device is null || slot.Bank == slot.Device.RegisterBank))
            {
                return slot.Row;
            }
        }
    }

    /// <summary>Adds a key that was not found.</summary>
    /// <param name="device">The device at the address, where the key is an address.</param>
    /// <returns>False when the table is full.</returns>
    public bool TryAdd(ulong address, uint kind, IBusDevice? device, ExitRow row)
    {
        if (Count == Room)
        {
            return false;
        }

        int i = Hash(address, kind);
        while (_slots[i].Row is not null)
        {
            i = (i + 1) & (Capacity - 1);
        }

        var banked = device as IBankedRegisters;
        _slots[i] = new Slot(address, kind, banked?.RegisterBank ?? 0, banked, row);
        Count++;
        return true;
    }

    /// <summary>Removes all keys, after devices have moved.</summary>
    public void Clear()
    {
        Array.Clear(_slots);
        Count = 0;
    }

    private static int Hash(ulong address, uint kind)
    {
        const ulong Golden = 0x9e37_79b9_7f4a_7c15;         // 2^64 divided by the golden ratio: Knuth's hash
        return (int)(((address ^ ((ulong)kind << 40)) * Golden) >> (64 - HashBits));
    }

    private readonly record struct Slot(ulong Address, uint Kind, int Bank, IBankedRegisters? Device, ExitRow? Row);
}
