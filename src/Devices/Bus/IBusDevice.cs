namespace Vmm.Devices.Bus;

/// <summary>Something that answers to port or memory accesses of the guest.</summary>
/// <remarks>Called on vCPU threads, several at once: a device guards its own state. Offsets and widths come from
/// the guest: any offset below the range's length, any width from 1 to 8 bytes (a width may reach past the end of
/// the range). Nothing here throws for what a guest did, blocks, or allocates.</remarks>
public interface IBusDevice
{
    /// <summary>The name in messages and statistics: <c>COM1</c>, <c>virtio-blk0</c>.</summary>
    string Name { get; }

    /// <summary>Fills <paramref name="data"/>; little-endian. It arrives filled with ones, which is what a bus reads as where
    /// no device answers.</summary>
    void Read(ulong offset, Span<byte> data);

    void Write(ulong offset, ReadOnlySpan<byte> data);

    /// <summary>The specification's name for the register at <paramref name="offset"/> (<c>THR</c>,
    /// <c>QueueNotify</c>), for profiles; null where it has none.</summary>
    string? RegisterName(ulong offset, bool write) => null;
}

/// <summary>A device with more registers than offsets.</summary>
public interface IBankedRegisters
{
    /// <summary>Which of several sets of registers answers now (the 16550's divisor latch); the names in one set never
    /// change.</summary>
    int RegisterBank { get; }
}
