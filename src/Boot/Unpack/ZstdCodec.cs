namespace Vmm.Boot.Unpack;

/// <summary>Zstandard (RFC 8878), by libzstd. Unpacking in one go needs no window besides the destination.</summary>
internal sealed unsafe class ZstdCodec : Codec
{
    public const string Library = "libzstd.so.1";

    // <zstd_errors.h>: the numbers are stable ("pinned down") from version 1.3.1 on.
    private const int ZSTD_error_memory_allocation = 64;
    private const int ZSTD_error_dstSize_tooSmall = 70;

    private readonly delegate* unmanaged<byte*, nuint, byte*, nuint, nuint> _decompress;
    private readonly delegate* unmanaged<nuint, uint> _isError;
    private readonly delegate* unmanaged<nuint, int> _errorCode;

    private ZstdCodec(nint decompress, nint isError, nint errorCode)
    {
        _decompress = (delegate* unmanaged<byte*, nuint, byte*, nuint, nuint>)decompress;
        _isError = (delegate* unmanaged<nuint, uint>)isError;
        _errorCode = (delegate* unmanaged<nuint, int>)errorCode;
    }

    public static ZstdCodec? TryLoad(SystemLibraries libraries)
    {
        nint decompress = libraries.Find(Library, "ZSTD_decompress");
        nint isError = libraries.Find(Library, "ZSTD_isError");
        nint errorCode = libraries.Find(Library, "ZSTD_getErrorCode");
        return decompress == 0 || isError == 0 || errorCode == 0 ? null : new ZstdCodec(decompress, isError, errorCode);
    }

    public override string? Decode(ReadOnlySpan<byte> packed, Span<byte> destination)
    {
        // SAFETY: the declarations of <zstd.h>; the library gets the true sizes of both buffers and keeps neither.
        fixed (byte* input = packed, output = destination)
        {
            nuint result = _decompress(output, (nuint)destination.Length, input, (nuint)packed.Length);
            if (_isError(result) == 0)
            {
                return result == (nuint)destination.Length ? null : TooShort;
            }

            return _errorCode(result) switch
            {
                ZSTD_error_dstSize_tooSmall => TooLong,
                ZSTD_error_memory_allocation => Hungry,
                _ => Damaged,
            };
        }
    }
}
