using System.Buffers.Binary;
using System.Text;
using Vmm.Boot;
using Vmm.Host;
using Vmm.Text;

namespace Vmm.Backends.Disks.Qcow2;

/// <summary>The header of a qcow2 file, checked.</summary>
internal sealed class Qcow2Header
{
    private const int MaxHeader = 64 * 1024;

    private Qcow2Header()
    {
    }

    public int Version { get; private init; }

    public int ClusterBits { get; private init; }

    public ulong ClusterSize => 1UL << ClusterBits;

    /// <summary>Bytes of the disk.</summary>
    public ulong Size { get; private init; }

    public ulong L1Offset { get; private init; }

    public int L1Entries { get; private init; }

    public ulong RefcountTableOffset { get; private init; }

    public ulong RefcountTableClusters { get; private init; }

    /// <summary>A refcount has 2 to the power of this many bits.</summary>
    public int RefcountOrder { get; private init; } = 4;

    public ulong Incompatible { get; private init; }

    public ulong Autoclear { get; private init; }

    public bool IsZstd { get; private init; }

    public string? BackingName { get; private init; }

    /// <summary>What the image says about it: raw, qcow2; null where it says nothing.</summary>
    public string? BackingFormat { get; private init; }

    public bool IsDirty => (Incompatible & Qcow2Format.IncompatibleDirty) != 0;

    /// <summary>Entries of an L2 table, as a power of two.</summary>
    public int L2Bits => ClusterBits - 3;

    /// <exception cref="UsageException">It is no such image, is damaged, or uses a feature that vmm does not support, which the
    /// message names.</exception>
    public static Qcow2Header Read(BlockFile file)
    {
        var bytes = new byte[(int)Math.Min((ulong)MaxHeader, Math.Max(file.Length, 512))];
        Require(file, file.TryRead(0, bytes), "its header cannot be read");
        Require(file, U32(bytes, 0) == Qcow2Format.Magic, "no qcow2 image; give format=raw if it is a raw one");
        uint version = U32(bytes, 4);
        Require(file, version is 2 or 3, $"qcow2 version {version}; there are 2 and 3");
        uint clusterBits = U32(bytes, 20);
        Require(
            file, clusterBits is >= Qcow2Format.MinClusterBits and <= Qcow2Format.MaxClusterBits,
            $"clusters of 2^{clusterBits} bytes; vmm takes 512 bytes to 2 MiB");
        Require(file, U32(bytes, 32) == 0, "an encrypted image; convert it: qemu-img convert -O qcow2");
        Require(file, U32(bytes, 60) == 0, "it has internal snapshots; delete them: qemu-img snapshot -d NAME");

        uint headerLength = version == 2 ? 72 : U32(bytes, 100);
        ulong incompatible = version == 2 ? 0 : U64(bytes, Qcow2Format.IncompatibleField);
        int known = (int)Math.Min(1UL << (int)clusterBits, (ulong)bytes.Length);
        Require(
            file, headerLength % 8 == 0 && headerLength <= (uint)known
            && (version == 2 || headerLength >= Qcow2Format.MinHeaderV3),
            $"damaged: a header of {headerLength} bytes");
        (string? backingFormat, Dictionary<int, string> names) = ReadExtensions(file, bytes.AsSpan(0, known), (int)headerLength);
        CheckFeatures(file, incompatible, names);

        byte compression = headerLength > Qcow2Format.MinHeaderV3 ? bytes[Qcow2Format.MinHeaderV3] : (byte)0;
        Require(
            file,
            compression <= 1 && (compression != 0) == ((incompatible & Qcow2Format.IncompatibleCompression) != 0),
            $"compression type {compression}; vmm knows deflate and zstd");
        uint order = version == 2 ? 4 : U32(bytes, 96);
        Require(file, order <= 6, $"refcounts of 2^{order} bits; the format has up to 64");

        var header = new Qcow2Header
        {
            Version = (int)version,
            ClusterBits = (int)clusterBits,
            Size = U64(bytes, 24),
            L1Entries = (int)Math.Min(U32(bytes, 36), int.MaxValue),
            L1Offset = U64(bytes, 40),
            RefcountTableOffset = U64(bytes, Qcow2Format.RefcountTableField),
            RefcountTableClusters = U32(bytes, Qcow2Format.RefcountTableField + 8),
            RefcountOrder = (int)order,
            Incompatible = incompatible,
            Autoclear = version == 2 ? 0 : U64(bytes, Qcow2Format.AutoclearField),
            IsZstd = compression == 1,
            BackingName = ReadBackingName(file, bytes.AsSpan(0, known)),
            BackingFormat = backingFormat,
        };
        header.CheckTables(file);
        return header;
    }

    /// <summary>Writes one field of feature bits, durably.</summary>
    public static bool TryWriteFeatures(BlockFile file, int field, ulong value)
    {
        Span<byte> bytes = stackalloc byte[8];
        BinaryPrimitives.WriteUInt64BigEndian(bytes, value);
        return file.TryWrite((ulong)field, bytes) && file.TryFlush();
    }

    /// <summary>Writes the sizes of the disk and of its L1 table, durably.</summary>
    public static bool TryWriteSize(BlockFile file, ulong size, int l1Entries)
    {
        // size:64 at 24, crypt_method:32 (0: none), l1_size:32.
        Span<byte> bytes = stackalloc byte[16];
        bytes.Clear();
        BinaryPrimitives.WriteUInt64BigEndian(bytes, size);
        BinaryPrimitives.WriteInt32BigEndian(bytes[12..], l1Entries);
        return file.TryWrite(24, bytes) && file.TryFlush();
    }

    private void CheckTables(BlockFile file)
    {
        Require(file, Size != 0 && Size % 512 == 0, $"a disk of {Size} bytes; it must be a multiple of 512 and not empty");
        ulong perTable = 1UL << (ClusterBits + L2Bits);
        ulong needed = (Size / perTable) + (Size % perTable == 0 ? 0UL : 1);
        Require(
            file, needed * 8 <= Qcow2Format.MaxL1Bytes,
            $"a disk of {Size} bytes is too large for clusters of {ClusterSize} bytes");
        Require(
            file, (ulong)L1Entries >= needed && (ulong)L1Entries * 8 <= Qcow2Format.MaxL1Bytes,
            $"damaged: an L1 table of {L1Entries} entries, where {needed} are needed");
        Require(file, IsTable(file, L1Offset, (ulong)L1Entries * 8), "damaged: the L1 table lies outside the file");
        Require(
            file,
            RefcountTableClusters != 0 && RefcountTableClusters * ClusterSize <= Qcow2Format.MaxRefcountTableBytes,
            $"damaged: a refcount table of {RefcountTableClusters} clusters");
        Require(
            file, IsTable(file, RefcountTableOffset, RefcountTableClusters * ClusterSize),
            "damaged: the refcount table lies outside the file");
        ulong l1End = L1Offset + ((ulong)L1Entries * 8);
        ulong tableEnd = RefcountTableOffset + (RefcountTableClusters * ClusterSize);
        Require(
            file, l1End <= RefcountTableOffset || tableEnd <= L1Offset,
            "damaged: the L1 table and the refcount table overlap");
    }

    private bool IsTable(BlockFile file, ulong offset, ulong length) =>
        offset != 0 && offset % ClusterSize == 0 && length <= file.Length && offset <= file.Length - length;

    private static void CheckFeatures(BlockFile file, ulong incompatible, Dictionary<int, string> names)
    {
        Require(
            file, (incompatible & Qcow2Format.IncompatibleDataFile) == 0,
            "its data is in an external data file; convert it: qemu-img convert -O qcow2");
        Require(
            file, (incompatible & Qcow2Format.IncompatibleExtendedL2) == 0,
            "it has extended L2 entries (subclusters); convert it: qemu-img convert -O qcow2");
        const ulong Known = Qcow2Format.IncompatibleDirty | Qcow2Format.IncompatibleCorrupt
            | Qcow2Format.IncompatibleCompression;
        for (int bit = 0; bit < 64; bit++)
        {
            if ((incompatible & ~Known & (1UL << bit)) != 0)
            {
                string name = names.TryGetValue(bit, out string? given) ? $"'{given}'" : $"bit {bit}";
                throw Wrong(file, $"it uses the feature {name}, which vmm does not support");
            }
        }

        Require(
            file, file.IsReadOnly || (incompatible & Qcow2Format.IncompatibleCorrupt) == 0,
            $"marked as corrupt; repair it: qemu-img check -r all {file.Path}, or add ',readonly'");
    }

    private static (string? BackingFormat, Dictionary<int, string> Names) ReadExtensions(
        BlockFile file, ReadOnlySpan<byte> header, int at)
    {
        string? backingFormat = null;
        var names = new Dictionary<int, string>();
        while (at + 8 <= header.Length)
        {
            uint type = U32(header, at);
            uint length = U32(header, at + 4);
            at += 8;
            if (type == Qcow2Format.ExtensionEnd)
            {
                break;
            }

            Require(file, length <= (uint)(header.Length - at), "damaged: a header extension reaches past the first cluster");
            ReadOnlySpan<byte> data = header.Slice(at, (int)length);
            if (type == Qcow2Format.ExtensionBackingFormat)
            {
                backingFormat = Encoding.UTF8.GetString(data);
            }
            else if (type == Qcow2Format.ExtensionFeatureNames)
            {
                // Entries of 48 bytes: type (0 = incompatible), bit, name.
                for (int i = 0; i + 48 <= data.Length; i += 48)
                {
                    if (data[i] == 0)
                    {
                        names[data[i + 1]] = PrintableText.Of(Encoding.UTF8.GetString(data.Slice(i + 2, 46)).TrimEnd('\0'));
                    }
                }
            }

            at += (int)Math.Min((length + 7) & ~7u, (uint)(header.Length - at));
        }

        return (backingFormat, names);
    }

    private static string? ReadBackingName(BlockFile file, ReadOnlySpan<byte> header)
    {
        ulong offset = U64(header, 8);
        uint length = U32(header, 16);
        if (offset == 0)
        {
            return null;
        }

        Require(
            file, length is > 0 and <= 1023 && offset <= (ulong)header.Length && length <= (ulong)header.Length - offset,
            "damaged: its backing file's name lies outside the first cluster");
        string name = FileNames.FromBytes(header.Slice((int)offset, (int)length));
        Require(file, !name.Contains('\0', StringComparison.Ordinal), "damaged: its backing file's name has a zero in it");
        return name;
    }

    private static uint U32(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt32BigEndian(bytes[at..]);

    private static ulong U64(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt64BigEndian(bytes[at..]);

    private static void Require(BlockFile file, bool condition, string what)
    {
        if (!condition)
        {
            throw Wrong(file, what);
        }
    }

    public static UsageException Wrong(BlockFile file, string what) => new($"--disk {file.Path}: {what}");
}
