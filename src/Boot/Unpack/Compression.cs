namespace Vmm.Boot.Unpack;

/// <summary>How the payload of a bzImage is compressed: the CONFIG_KERNEL_* choices of Linux on x86.</summary>
public enum Compression
{
    /// <summary>None that vmm knows; the kernel's own unpacker may.</summary>
    Unknown,
    Gzip,
    Bzip2,
    Lzma,
    Xz,
    Lzo,
    Lz4,
    Zstd,
}
