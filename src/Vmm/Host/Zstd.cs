using System.Runtime.InteropServices;

namespace Vmm.Host;

/// <summary>The system's libzstd, loaded when first needed.</summary>
internal sealed unsafe class Zstd : IDisposable
{
    private readonly nint _library;
    private nint _context;
    private readonly delegate* unmanaged<nint, Buffer*, Buffer*, nuint> _decompressStream;
    private readonly delegate* unmanaged<nint, nuint> _initialise;
    private readonly delegate* unmanaged<nuint, uint> _isError;
    private readonly delegate* unmanaged<nint, nuint> _free;

    /// <exception cref="HostException">There is none.</exception>
    public Zstd()
    {
        if (!NativeLibrary.TryLoad("libzstd.so.1", out _library))
        {
            throw new HostException("zstd-compressed clusters need libzstd; install it (Debian: libzstd1)");
        }

        var create = (delegate* unmanaged<nint>)NativeLibrary.GetExport(_library, "ZSTD_createDStream");
        _decompressStream = (delegate* unmanaged<nint, Buffer*, Buffer*, nuint>)
            NativeLibrary.GetExport(_library, "ZSTD_decompressStream");
        _initialise = (delegate* unmanaged<nint, nuint>)NativeLibrary.GetExport(_library, "ZSTD_initDStream");
        _isError = (delegate* unmanaged<nuint, uint>)NativeLibrary.GetExport(_library, "ZSTD_isError");
        _free = (delegate* unmanaged<nint, nuint>)NativeLibrary.GetExport(_library, "ZSTD_freeDStream");
        _context = create();
        if (_context == 0)
        {
            throw new HostException("libzstd has no memory");
        }
    }

    /// <summary>ZSTD_inBuffer and ZSTD_outBuffer.</summary>
    private struct Buffer
    {
        public void* Start;
        public nuint Size;
        public nuint Position;
    }

    /// <summary>Fills <paramref name="output"/>; input behind the end is ignored.</summary>
    /// <returns>False: the input is damaged, or gives less.</returns>
    public bool TryDecompress(ReadOnlySpan<byte> input, Span<byte> output)
    {
        fixed (byte* from = input, to = output)
        {
            // SAFETY: both pieces are pinned, and libzstd keeps within the sizes.
            var source = new Buffer { Start = from, Size = (nuint)input.Length };
            var target = new Buffer { Start = to, Size = (nuint)output.Length };
            if (_isError(_initialise(_context)) != 0)
            {
                return false;
            }

            while (target.Position < target.Size)
            {
                nuint before = source.Position + target.Position;
                nuint left = _decompressStream(_context, &target, &source);
                if (_isError(left) != 0 || source.Position + target.Position == before)
                {
                    return false;
                }

                if (left == 0)
                {
                    break;      // the frame's end
                }
            }

            return target.Position == target.Size;
        }
    }

    public void Dispose()
    {
        // Null is freed too, as nothing.
        _ = _free(_context);
        _context = 0;
    }
}
