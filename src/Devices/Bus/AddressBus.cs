namespace Vmm.Devices.Bus;

/// <summary>Finds the device of an address. A machine has two: one for ports, one for memory-mapped registers.</summary>
/// <remarks>Look-ups take no lock: the table is sorted, never changed in place, and replaced as a whole when a range
/// is added or moved.</remarks>
public sealed class AddressBus(string name)
{
    private readonly Lock _changing = new();
    private volatile BusRange[] _ranges = [];
    private volatile int _changes;

    /// <summary>The name in messages: <c>port</c>, <c>mmio</c>.</summary>
    public string Name { get; } = name;

    /// <summary>All ranges, sorted by start, as they are now.</summary>
    public ReadOnlySpan<BusRange> Ranges => _ranges;

    /// <summary>How often ranges were added or removed.</summary>
    public int Changes => _changes;

    /// <summary>Accesses to addresses without a device.</summary>
    public long Unclaimed => Interlocked.Read(ref _unclaimed);
    private long _unclaimed;

    /// <summary>Claims [start, start + length) for a device.</summary>
    /// <exception cref="ArgumentException">The range is empty, wraps, or overlaps another.</exception>
    public BusRange Add(ulong start, ulong length, IBusDevice device) =>
        TryAdd(start, length, device) ?? throw new ArgumentException(
            $"{Name} bus: {device.Name} at 0x{start:x}+0x{length:x} is empty, wraps, or overlaps another device");

    /// <summary>As <see cref="Add"/>, for ranges that the guest chooses (BARs): null when the range overlaps another.</summary>
    public BusRange? TryAdd(ulong start, ulong length, IBusDevice device)
    {
        lock (_changing)
        {
            BusRange[] old = _ranges;
            if (length == 0 || start > ulong.MaxValue - (length - 1))
            {
                return null;
            }

            int at = 0;
            while (at < old.Length && old[at].Start < start)
            {
                at++;
            }

            bool overlapsPrevious = at > 0 && start - old[at - 1].Start < old[at - 1].Length;
            bool overlapsNext = at < old.Length && old[at].Start - start < length;
            if (overlapsPrevious || overlapsNext)
            {
                return null;
            }

            var range = new BusRange(start, length, device);
            _ranges = [.. old.AsSpan(0, at), range, .. old.AsSpan(at)];
            _changes++;
            return range;
        }
    }

    /// <summary>Removes a range. An access that another vCPU has begun may still reach the device once.</summary>
    public void Remove(BusRange range)
    {
        lock (_changing)
        {
            _ranges = [.. _ranges.Where(other => other != range)];
            _changes++;
        }
    }

    /// <summary>The range that holds <paramref name="address"/>, or null.</summary>
    public BusRange? Find(ulong address)
    {
        BusRange[] ranges = _ranges;
        int low = 0;
        int high = ranges.Length - 1;
        while (low <= high)
        {
            int middle = (int)((uint)(low + high) >> 1);
            BusRange range = ranges[middle];
            if (address < range.Start)
            {
                high = middle - 1;
            }
            else if (address - range.Start >= range.Length)
            {
                low = middle + 1;
            }
            else
            {
                return range;
            }
        }

        return null;
    }

    /// <summary>A read by the guest; returns the range of the device that answered, or null (then data is all ones).</summary>
    public BusRange? Read(ulong address, Span<byte> data)
    {
        data.Fill(0xff);
        BusRange? range = Find(address);
        if (range is null)
        {
            Interlocked.Increment(ref _unclaimed);
            return null;
        }

        range.CountAccess();
        range.Device.Read(address - range.Start, data);
        return range;
    }

    /// <summary>A write by the guest; returns the range of the device that took it, or null (then it is lost, as on a real
    /// bus).</summary>
    public BusRange? Write(ulong address, ReadOnlySpan<byte> data)
    {
        BusRange? range = Find(address);
        if (range is null)
        {
            Interlocked.Increment(ref _unclaimed);
            return null;
        }

        range.CountAccess();
        range.Device.Write(address - range.Start, data);
        return range;
    }
}
