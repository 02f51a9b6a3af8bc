using Vmm.Devices.Memory;

namespace Vmm.DeviceSide;

/// <summary>The driver's side of a split ring with event indexes (virtio 1.2, section 2.7), as Linux does it.</summary>
internal sealed unsafe class SplitRing
{
    public const ushort Next = 1, Write = 2, Indirect = 4;

    private readonly byte* _table;
    private readonly byte* _avail;
    private readonly byte* _used;
    private ushort _added;          // avail.idx including what is not offered yet
    private ushort _offered;        // avail.idx as the device sees it
    private ushort _taken;          // used entries up to here are taken

    /// <param name="start">Address of 64 KiB below 4 GiB for the rings of up to 1024 descriptors.</param>
    public SplitRing(GuestMemory memory, int size, ulong start)
    {
        Size = size;
        Table = start;
        Avail = start + 0x8000;
        Used = start + 0xc000;
        _table = Locate(memory, Table, 0x4000);
        _avail = Locate(memory, Avail, 0x1000);
        _used = Locate(memory, Used, 0x4000);
    }

    public int Size { get; }

    public ulong Table { get; }

    public ulong Avail { get; }

    public ulong Used { get; }

    /// <summary>Host address of guest memory.</summary>
    public static byte* Locate(GuestMemory memory, ulong address, ulong length) =>
        memory.TryGetPointer(new GuestAddress(address), length, out byte* pointer)
            ? pointer
            : throw new InvalidOperationException($"no memory at 0x{address:x}");

    public void Describe(int index, ulong address, uint length, ushort flags, ushort next) =>
        Describe(_table, index, address, length, flags, next);

    public static void Describe(byte* table, int index, ulong address, uint length, ushort flags, ushort next)
    {
        // SAFETY: tables are as long as the ring, and so are the benchmark's indexes.
        byte* descriptor = table + (index * 16);
        *(ulong*)descriptor = address;
        *(uint*)(descriptor + 8) = length;
        *(ushort*)(descriptor + 12) = flags;
        *(ushort*)(descriptor + 14) = next;
    }

    /// <summary>Adds a chain; <see cref="Offer"/> shows it to the device.</summary>
    public void Add(int head)
    {
        // SAFETY: within the ring.
        *(ushort*)(_avail + 4 + ((_added & (Size - 1)) * 2)) = (ushort)head;
        _added++;
    }

    /// <returns>Does the device want to be notified?</returns>
    public bool Offer()
    {
        ushort before = _offered;
        _offered = _added;

        // SAFETY: avail.idx and used.avail_event. Release: entries before the index; full fence: index before the wish.
        Volatile.Write(ref *(ushort*)(_avail + 2), _offered);
        Interlocked.MemoryBarrier();
        ushort wanted = Volatile.Read(ref *(ushort*)(_used + 4 + (Size * 8)));
        return (ushort)(_offered - wanted - 1) < (ushort)(_offered - before);
    }

    /// <summary>Takes a chain that the device gave back.</summary>
    public bool TryTake(out int head)
    {
        head = 0;

        // SAFETY: used.idx and its ring.
        if (Volatile.Read(ref *(ushort*)(_used + 2)) == _taken)
        {
            return false;
        }

        head = *(int*)(_used + 4 + ((_taken & (Size - 1)) * 8));
        _taken++;
        return true;
    }

    /// <summary>Asks for an interrupt with the next chain that comes back.</summary>
    /// <returns>Did one come meanwhile, for which there may be none?</returns>
    public bool WantInterrupt()
    {
        // SAFETY: avail.used_event, then used.idx behind a full fence.
        Volatile.Write(ref *(ushort*)(_avail + 4 + (Size * 2)), _taken);
        Interlocked.MemoryBarrier();
        return Volatile.Read(ref *(ushort*)(_used + 2)) != _taken;
    }
}
