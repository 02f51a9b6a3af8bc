using System.Buffers.Binary;
using System.Numerics;

namespace Vmm.Devices.Virtio.Block;

/// <summary><c>struct virtio_blk_config</c> and the features that go with its fields (virtio 1.2, sections 5.2.3 and
/// 5.2.4).</summary>
internal static class BlockConfig
{
    public const ulong SegMax = 1 << 2;
    public const ulong ReadOnly = 1 << 5;
    public const ulong BlkSize = 1 << 6;
    public const ulong Flush = 1 << 9;
    public const ulong Topology = 1 << 10;
    public const ulong ConfigWce = 1 << 11;
    public const ulong MultiQueue = 1 << 12;
    public const ulong Discard = 1 << 13;
    public const ulong WriteZeroes = 1 << 14;

    public const int Length = 60;
    public const int WritebackOffset = 32;

    public const int SectorBytes = 512;

    /// <summary>Segments of one discard or write-zeroes request.</summary>
    public const int MaxRanges = 16;

    /// <summary>Sectors of one such segment: 1 GiB.</summary>
    public const uint MaxRangeSectors = 1 << 21;

    /// <exception cref="ArgumentException">What the user asked for cannot be.</exception>
    public static void Check(BlockOptions options, IDiskBackend backend)
    {
        Require(options.Serial.Length <= 20 && System.Text.Ascii.IsValid(options.Serial), "serial: up to 20 ASCII characters");
        Require(options.Queues is >= 1 and <= 64, "queues: 1 to 64");
        Require(options.QueueSize is >= 4 and <= 1024 && BitOperations.IsPow2((uint)options.QueueSize),
            "queue size: a power of two from 4 to 1024");
        Require(options.MaxInFlight is >= 1 and <= 4096, "requests in flight: 1 to 4096");
        Require(options.BlockSize is >= 512 and <= 65536 && BitOperations.IsPow2(options.BlockSize),
            "block size: a power of two from 512 to 65536");
        Require(options.PhysicalBlockSize >= options.BlockSize && BitOperations.IsPow2(options.PhysicalBlockSize),
            "physical block size: a power of two, no smaller than the block size");
        Require(backend.Length % options.BlockSize == 0,
            $"the disk's length of {backend.Length} bytes is no multiple of its block size of {options.BlockSize}");
    }

    public static ulong Features(BlockOptions options, IDiskBackend backend)
    {
        bool readOnly = options.ReadOnly || backend.IsReadOnly;
        return SegMax | BlkSize | Topology
            | (readOnly ? ReadOnly : 0)
            | (options.Writeback ? Flush | ConfigWce : 0)
            | (options.Queues > 1 ? MultiQueue : 0)
            | (backend.CanDiscard && !readOnly ? Discard : 0)
            | (backend.CanWriteZeroes && !readOnly ? WriteZeroes : 0);
    }

    public static void SetCapacity(Span<byte> config, ulong sectors) => BinaryPrimitives.WriteUInt64LittleEndian(config, sectors);

    public static void Fill(Span<byte> config, BlockOptions options, IDiskBackend backend)
    {
        uint blockSectors = options.BlockSize / SectorBytes;
        SetCapacity(config, backend.Length / SectorBytes);
        BinaryPrimitives.WriteUInt32LittleEndian(config[12..], options.QueueSize - 2u);             // seg_max
        BinaryPrimitives.WriteUInt32LittleEndian(config[20..], options.BlockSize);                  // blk_size
        config[24] = (byte)BitOperations.Log2(options.PhysicalBlockSize / options.BlockSize);       // physical_block_exp
        uint physical = options.PhysicalBlockSize / options.BlockSize;
        BinaryPrimitives.WriteUInt16LittleEndian(config[26..], (ushort)Math.Min(physical, ushort.MaxValue)); // min_io_size
        config[WritebackOffset] = (byte)(options.Writeback ? 1 : 0);
        BinaryPrimitives.WriteUInt16LittleEndian(config[34..], (ushort)options.Queues);             // num_queues
        if (backend.CanDiscard)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(config[36..], MaxRangeSectors);                // max_discard_sectors
            BinaryPrimitives.WriteUInt32LittleEndian(config[40..], MaxRanges);                      // max_discard_seg
            BinaryPrimitives.WriteUInt32LittleEndian(config[44..], blockSectors);                   // discard_sector_alignment
        }

        if (backend.CanWriteZeroes)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(config[48..], MaxRangeSectors);                // max_write_zeroes_sectors
            BinaryPrimitives.WriteUInt32LittleEndian(config[52..], MaxRanges);                      // max_write_zeroes_seg
            config[56] = 1;                                                                         // write_zeroes_may_unmap
        }
    }

    private static void Require(bool condition, string what)
    {
        if (!condition)
        {
            throw new ArgumentException(what);
        }
    }
}
