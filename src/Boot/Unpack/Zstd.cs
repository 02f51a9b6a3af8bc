namespace Vmm.Boot.Unpack;

/// <summary>The system's libzstd, loaded when first needed: for kernels' payloads and for disk images.</summary>
/// <remarks>Unpacking in one go needs no window besides the destination.</remarks>
public sealed unsafe class Zstd : IDisposable
{
    internal const string Library = "libzstd.so.1";

    // <zstd_errors.h>: the numbers are stable ("pinned down") from version 1.3.1 on.
    private const int ZSTD_error_memory_allocation = 64;
    private const int ZSTD_error_dstSize_tooSmall = 70;

    private readonly delegate* unmanaged<nint, byte*, nuint, byte*, nuint, nuint> _decompress;
    private readonly delegate* unmanaged<byte*, nuint, nuint> _frameSize;
    private readonly delegate* unmanaged<nuint, uint> _isError;
    private readonly delegate* unmanaged<nuint, int> _errorCode;
    private readonly delegate* unmanaged<nint, nuint> _free;
    private nint _context;

    private Zstd(SystemLibraries libraries)
    {
        _decompress = (delegate* unmanaged<nint, byte*, nuint, byte*, nuint, nuint>)
            libraries.Find(Library, "ZSTD_decompressDCtx");
        _frameSize = (delegate* unmanaged<byte*, nuint, nuint>)libraries.Find(Library, "ZSTD_findFrameCompressedSize");
        _isError = (delegate* unmanaged<nuint, uint>)libraries.Find(Library, "ZSTD_isError");
        _errorCode = (delegate* unmanaged<nuint, int>)libraries.Find(Library, "ZSTD_getErrorCode");
        _free = (delegate* unmanaged<nint, nuint>)libraries.Find(Library, "ZSTD_freeDCtx");
        var create = (delegate* unmanaged<nint>)libraries.Find(Library, "ZSTD_createDCtx");
        bool isThere = _decompress is not null && _frameSize is not null && _isError is not null && _errorCode is not null
            && _free is not null && create is not null;
        _context = isThere ? create() : 0;
    }

    /// <summary>The result of decompression.</summary>
    public enum Result
    {
        /// <summary>The destination is full, and the last frame ended there.</summary>
        Ok,
        Damaged,

        /// <summary>All frames gave less than the destination has room for.</summary>
        TooShort,
        TooLong,
        NoMemory,
    }

    /// <returns>Null: this system has no libzstd, or no memory for it.</returns>
    public static Zstd? TryLoad() => TryLoad(SystemLibraries.Default);

    /// <summary>Fills <paramref name="output"/> from one frame or several (RFC 8878, 3.1); input behind them is
    /// ignored.</summary>
    public Result Decompress(ReadOnlySpan<byte> input, Span<byte> output)
    {
        // SAFETY: the declarations of <zstd.h>; the library gets the true sizes of both buffers and keeps neither.
        fixed (byte* from = input, to = output)
        {
            nuint read = 0;
            nuint written = 0;
            do
            {
                if (read == (nuint)input.Length)
                {
                    return Result.TooShort;
                }

                nuint frame = _frameSize(from + read, (nuint)input.Length - read);
                if (_isError(frame) != 0)
                {
                    return written == 0 ? Result.Damaged : Result.TooShort;
                }

                nuint count = _decompress(_context, to + written, (nuint)output.Length - written, from + read, frame);
                if (_isError(count) != 0)
                {
                    return _errorCode(count) switch
                    {
                        ZSTD_error_dstSize_tooSmall => Result.TooLong,
                        ZSTD_error_memory_allocation => Result.NoMemory,
                        _ => Result.Damaged,
                    };
                }

                read += frame;
                written += count;
            }
            while (written < (nuint)output.Length);
            return Result.Ok;
        }
    }

    public void Dispose()
    {
        if (_context != 0)
        {
            _ = _free(_context);
            _context = 0;
        }
    }

    internal static Zstd? TryLoad(SystemLibraries libraries)
    {
        var zstd = new Zstd(libraries);
        return zstd._context != 0 ? zstd : null;
    }
}
