namespace Vmm.Boot.Unpack;

/// <summary>Zstandard (RFC 8878).</summary>
internal sealed class ZstdCodec : Codec
{
    private readonly SystemLibraries _libraries;

    private ZstdCodec(SystemLibraries libraries) => _libraries = libraries;

    public static ZstdCodec? TryLoad(SystemLibraries libraries)
    {
        using Zstd? zstd = Zstd.TryLoad(libraries);
        return zstd is null ? null : new ZstdCodec(libraries);
    }

    public override string? Decode(ReadOnlySpan<byte> packed, Span<byte> destination)
    {
        using Zstd? zstd = Zstd.TryLoad(_libraries);
        return zstd?.Decompress(packed, destination) switch
        {
            Zstd.Result.Ok => null,
            Zstd.Result.TooShort => TooShort,
            Zstd.Result.TooLong => TooLong,
            null or Zstd.Result.NoMemory => OutOfMemory,
            _ => Damaged,
        };
    }
}
