using System.Buffers.Binary;
using Vmm.Boot;
using Vmm.Host;

namespace Vmm.Backends.Disks.Qcow2;

/// <summary>New qcow2 images (version 3, 64-KiB clusters, 16-bit refcounts).</summary>
internal static class Qcow2Image
{
    public const int ClusterBits = 16;

    private const ulong ClusterSize = 1 << ClusterBits;
    private const int HeaderLength = 112;

    /// <summary>Makes an image file, for <c>vmm disk create</c>.</summary>
    /// <param name="path">Must not exist yet.</param>
    /// <param name="size">Bytes of the disk; a multiple of 512.</param>
    /// <param name="backing">The backing file, as it will be written in the image; null for none.</param>
    /// <param name="backingFormat">The backing file's format.</param>
    /// <exception cref="UsageException">The file is there already or cannot be made, or the size does not fit.</exception>
    public static void Create(
        string path, ulong size, string? backing = null, DiskFormat backingFormat = DiskFormat.Raw)
    {
        byte[] image = Build(path, size, backing, backingFormat);
        NewFile.Create(path, fd => NewFile.Write(path, fd, image));
    }

    /// <summary>Makes an empty file an image.</summary>
    public static void Create(BlockFile file, ulong size)
    {
        if (!file.TryWrite(0, Build(file.Path, size, backing: null, DiskFormat.Raw)))
        {
            throw new HostException($"{file.Path}: cannot be written; is the file system full?");
        }
    }

    /// <summary>Header, refcount table, refcount blocks, L1 table, each from a cluster of its own on.</summary>
    private static byte[] Build(string path, ulong size, string? backing, DiskFormat backingFormat)
    {
        const ulong PerTable = ClusterSize * ClusterSize / 8;
        ulong l1Entries = (size / PerTable) + (size % PerTable == 0 ? 0UL : 1);
        if (size == 0 || size % 512 != 0 || l1Entries * 8 > Qcow2Format.MaxL1Bytes)
        {
            throw new UsageException($"{path}: a disk of {size} bytes; give a multiple of 512, up to 2 PiB");
        }

        byte[] name = backing is null ? [] : FileNames.ToBytes(backing);
        if (name.Length > 1023)
        {
            throw new UsageException($"{path}: the backing file's name has more than 1023 bytes");
        }

        // The refcount table is large enough for a full disk, so that it never has to move. Data clusters, an L2
        // table for each 8192 of them, a block for each 32768, and a little.
        ulong dataClusters = (size + ClusterSize - 1) / ClusterSize;
        ulong most = dataClusters + (dataClusters / 4096) + l1Entries + 1024;
        ulong blocksAtMost = (most / (ClusterSize / 2)) + 1;
        ulong tableClusters = ((blocksAtMost * 8) + ClusterSize - 1) / ClusterSize;
        ulong l1Clusters = ((l1Entries * 8) + ClusterSize - 1) / ClusterSize;
        const ulong Blocks = 1;                 // counts 32768 clusters; header and tables are at most some 640
        ulong used = 1 + tableClusters + Blocks + l1Clusters;

        var image = new byte[used * ClusterSize];
        Span<byte> header = image;
        U32(header, 0, Qcow2Format.Magic);
        U32(header, 4, 3);
        U32(header, 20, ClusterBits);
        U64(header, 24, size);
        U32(header, 36, (uint)l1Entries);
        U64(header, 40, (1 + tableClusters + Blocks) * ClusterSize);
        U64(header, 48, ClusterSize);
        U32(header, 56, (uint)tableClusters);
        U32(header, 96, 4);
        U32(header, 100, HeaderLength);
        int at = HeaderLength;
        if (backing is not null)
        {
            byte[] format = backingFormat == DiskFormat.Qcow2 ? "qcow2"u8.ToArray() : "raw"u8.ToArray();
            U32(header, at, Qcow2Format.ExtensionBackingFormat);
            U32(header, at + 4, (uint)format.Length);
            format.CopyTo(header[(at + 8)..]);
            at += 16;
        }

        at += 8;                                // the extension that ends them: all zero
        if (backing is not null)
        {
            U64(header, 8, (ulong)at);
            U32(header, 16, (uint)name.Length);
            name.CopyTo(header[at..]);
        }

        U64(image, (int)ClusterSize, (1 + tableClusters) * ClusterSize);
        Span<byte> block = image.AsSpan((int)((1 + tableClusters) * ClusterSize));
        for (int i = 0; i < (int)used; i++)
        {
            BinaryPrimitives.WriteUInt16BigEndian(block[(i * 2)..], 1);
        }

        return image;
    }

    private static void U32(Span<byte> bytes, int at, uint value) =>
        BinaryPrimitives.WriteUInt32BigEndian(bytes[at..], value);

    private static void U64(Span<byte> bytes, int at, ulong value) =>
        BinaryPrimitives.WriteUInt64BigEndian(bytes[at..], value);
}
