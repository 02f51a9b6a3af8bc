using System.Runtime.InteropServices;

namespace Vmm.Boot.Unpack;

/// <summary>xz, and the older lzma format, by liblzma.</summary>
internal sealed unsafe class LzmaCodec : Codec
{
    public const string Library = "liblzma.so.5";

    /// <summary>Most memory for the decoder's dictionary: kernels use up to 128 MiB (scripts/xz_wrap.sh). Only what a
    /// stream really fills becomes resident.</summary>
    public const ulong MemoryLimit = 160 << 20;

    // <lzma/base.h>
    private const int LZMA_OK = 0;
    private const int LZMA_STREAM_END = 1;
    private const int LZMA_MEM_ERROR = 5;
    private const int LZMA_MEMLIMIT_ERROR = 6;
    private const int LZMA_FINISH = 3;

    private readonly bool _isXz;
    private readonly delegate* unmanaged<lzma_stream*, ulong, uint, int> _streamDecoder;
    private readonly delegate* unmanaged<lzma_stream*, ulong, int> _aloneDecoder;
    private readonly delegate* unmanaged<lzma_stream*, int, int> _code;
    private readonly delegate* unmanaged<lzma_stream*, void> _end;

    private LzmaCodec(bool isXz, nint decoder, nint code, nint end)
    {
        _isXz = isXz;
        _streamDecoder = (delegate* unmanaged<lzma_stream*, ulong, uint, int>)decoder;
        _aloneDecoder = (delegate* unmanaged<lzma_stream*, ulong, int>)decoder;
        _code = (delegate* unmanaged<lzma_stream*, int, int>)code;
        _end = (delegate* unmanaged<lzma_stream*, void>)end;
    }

    public static LzmaCodec? TryLoad(SystemLibraries libraries, bool isXz)
    {
        nint decoder = libraries.Find(Library, isXz ? "lzma_stream_decoder" : "lzma_alone_decoder");
        nint code = libraries.Find(Library, "lzma_code");
        nint end = libraries.Find(Library, "lzma_end");
        return decoder == 0 || code == 0 || end == 0 ? null : new LzmaCodec(isXz, decoder, code, end);
    }

    public override string? Decode(ReadOnlySpan<byte> packed, Span<byte> destination)
    {
        lzma_stream stream = default; // LZMA_STREAM_INIT is all zeros
        byte spare;

        // SAFETY: layouts and declarations of <lzma/base.h> and <lzma/container.h>; stream and both buffers stay in
        // place until lzma_end has run, and the library gets their true sizes.
        fixed (byte* input = packed, output = destination)
        {
            int result = _isXz ? _streamDecoder(&stream, MemoryLimit, 0) : _aloneDecoder(&stream, MemoryLimit);
            stream.next_in = input;
            stream.avail_in = (nuint)packed.Length;
            stream.next_out = output;
            stream.avail_out = (nuint)destination.Length;
            bool wasFull = false;
            while (result == LZMA_OK)
            {
                if (stream.avail_out == 0)
                {
                    if (wasFull)
                    {
                        break; // even the spare byte
                    }

                    // The end of the stream, and its checksum, may still be to come.
                    wasFull = true;
                    stream.next_out = &spare;
                    stream.avail_out = 1;
                }

                result = _code(&stream, LZMA_FINISH); // returns an error where it could not go on: no endless loop
            }

            ulong length = stream.total_out;
            _end(&stream);
            return result switch
            {
                _ when length > (ulong)destination.Length => TooLong,
                LZMA_STREAM_END => length == (ulong)destination.Length ? null : TooShort,
                LZMA_MEM_ERROR or LZMA_MEMLIMIT_ERROR => OutOfMemory,
                _ => Damaged,
            };
        }
    }

    /// <summary>lzma_stream of &lt;lzma/base.h&gt;.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct lzma_stream
    {
        public byte* next_in;
        public nuint avail_in;
        public ulong total_in;
        public byte* next_out;
        public nuint avail_out;
        public ulong total_out;
        public void* allocator;
        public void* @internal;
        public void* reserved_ptr1;
        public void* reserved_ptr2;
        public void* reserved_ptr3;
        public void* reserved_ptr4;
        public ulong seek_pos;
        public ulong reserved_int2;
        public nuint reserved_int3;
        public nuint reserved_int4;
        public int reserved_enum1;
        public int reserved_enum2;
    }
}
