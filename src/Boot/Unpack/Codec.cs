namespace Vmm.Boot.Unpack;

/// <summary>One compression format: unpacks from memory to memory in one go, never past the destination.</summary>
internal abstract class Codec
{
    protected const string Damaged = "is damaged or cut short: fetch or build the kernel again";
    protected const string TooLong = "unpacks to more than the size that it declares: fetch or build the kernel again";
    protected const string TooShort = "unpacks to less than the size that it declares: fetch or build the kernel again";
    protected const string OutOfMemory = "needs more memory to unpack than vmm allows it or the host has";

    /// <summary>Bytes at the end of the payload that are no part of the compressed stream: the unpacked size, which
    /// the kernel's build appends (scripts/Makefile.lib, size_append) to all formats that do not end in it.</summary>
    public virtual int AppendedBytes => sizeof(uint);

    /// <summary>Unpacks.</summary>
    /// <param name="packed">The compressed stream. What follows its end is ignored, as the kernel does.</param>
    /// <param name="destination">Room for exactly what is to come out.</param>
    /// <returns>What is wrong with the payload, or null: then <paramref name="destination"/> is full and the stream
    /// ended there. Otherwise what is in it means nothing.</returns>
    public abstract string? Decode(ReadOnlySpan<byte> packed, Span<byte> destination);

    /// <summary>Tells the format by its first bytes, as lib/decompress.c of Linux does.</summary>
    public static Compression Identify(ReadOnlySpan<byte> payload) => payload switch
    {
        [0x1f, 0x8b or 0x9e, ..] => Compression.Gzip,
        [(byte)'B', (byte)'Z', (byte)'h', ..] => Compression.Bzip2,
        [0x5d, 0x00, 0x00, ..] => Compression.Lzma,
        [0xfd, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0x00, ..] => Compression.Xz,
        [0x89, (byte)'L', (byte)'Z', (byte)'O', ..] => Compression.Lzo,
        [0x02, 0x21, 0x4c, 0x18, ..] => Compression.Lz4,
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression.Zstd,
        _ => Compression.Unknown,
    };

    /// <summary>Makes the codec, loading the library that it needs.</summary>
    /// <param name="compression">The format.</param>
    /// <param name="libraries">Where libraries come from.</param>
    /// <param name="missing">Why there is none: the library's name, or that the format is unknown.</param>
    public static Codec? TryCreate(Compression compression, SystemLibraries libraries, out string? missing)
    {
        missing = null;
        switch (compression)
        {
            case Compression.Gzip:
                return new GzipCodec();
            case Compression.Bzip2:
                return Bzip2Codec.TryLoad(libraries) ?? Missing<Codec>(Bzip2Codec.Library, out missing);
            case Compression.Lzma:
                return LzmaCodec.TryLoad(libraries, isXz: false) ?? Missing<Codec>(LzmaCodec.Library, out missing);
            case Compression.Xz:
                return LzmaCodec.TryLoad(libraries, isXz: true) ?? Missing<Codec>(LzmaCodec.Library, out missing);
            case Compression.Lzo:
                return LzoCodec.TryLoad(libraries) ?? Missing<Codec>(LzoCodec.Library, out missing);
            case Compression.Lz4:
                return Lz4Codec.TryLoad(libraries) ?? Missing<Codec>(Lz4Codec.Library, out missing);
            case Compression.Zstd:
                return ZstdCodec.TryLoad(libraries) ?? Missing<Codec>(Zstd.Library, out missing);
            default:
                missing = "its compression is unknown to vmm";
                return null;
        }
    }

    private static T? Missing<T>(string library, out string? missing)
        where T : class
    {
        missing = $"this system has no {library}";
        return null;
    }
}

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
