namespace Vmm.Backends.Disks.Qcow2;

/// <summary>Numbers of the format (QEMU, docs/interop/qcow2, versions 2 and 3). All fields are big-endian.</summary>
/// <remarks>
/// <code>
///  L1 entry   63 COPIED   62..56 0   55..9 offset of the L2 table   8..0 0
///  L2 entry   63 COPIED   62 COMPRESSED = 0   55..9 offset of the data   8..1 0   0 ZERO (version 3)
///             62 COMPRESSED = 1   61..x sectors of 512 behind the first   x-1..0 offset, of any alignment
///             where x = 62 - (cluster_bits - 8)
///  refcount table entry   63..9 offset of the refcount block   8..0 0
/// </code>
/// COPIED says that the refcount is exactly one, so that the cluster may be written in place.
/// </remarks>
internal static class Qcow2Format
{
    public const uint Magic = 0x514649fb;       // QFI\xfb

    public const int MinClusterBits = 9;
    public const int MaxClusterBits = 21;

    public const ulong Copied = 1UL << 63;
    public const ulong Compressed = 1UL << 62;
    public const ulong Zero = 1;
    public const ulong OffsetMask = 0x00ff_ffff_ffff_fe00;

    public const ulong IncompatibleDirty = 1 << 0;
    public const ulong IncompatibleCorrupt = 1 << 1;
    public const ulong IncompatibleDataFile = 1 << 2;
    public const ulong IncompatibleCompression = 1 << 3;
    public const ulong IncompatibleExtendedL2 = 1 << 4;

    public const uint ExtensionEnd = 0;
    public const uint ExtensionBackingFormat = 0xe2792aca;
    public const uint ExtensionFeatureNames = 0x6803f857;

    // Offsets in the header.
    public const int RefcountTableField = 48;
    public const int IncompatibleField = 72;
    public const int AutoclearField = 88;
    public const int MinHeaderV3 = 104;

    /// <summary>Bytes of an L1 table at most: 32 MiB, QEMU's own limit.</summary>
    public const ulong MaxL1Bytes = 32 << 20;

    /// <summary>Bytes of a refcount table at most: 8 MiB, QEMU's own limit.</summary>
    public const ulong MaxRefcountTableBytes = 8 << 20;

    /// <summary>The longest chain of backing files.</summary>
    public const int MaxBackingDepth = 16;
}
