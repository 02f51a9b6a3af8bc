namespace Vmm.Boot.Unpack;

/// <summary>bzip2, by libbz2.</summary>
internal sealed unsafe class Bzip2Codec : Codec
{
    public const string Library = "libbz2.so.1.0";

    // <bzlib.h>
    private const int BZ_OK = 0;
    private const int BZ_MEM_ERROR = -3;
    private const int BZ_OUTBUFF_FULL = -8;

    private readonly delegate* unmanaged<byte*, uint*, byte*, uint, int, int, int> _bufferToBuffer;

    private Bzip2Codec(nint bufferToBuffer) =>
        _bufferToBuffer = (delegate* unmanaged<byte*, uint*, byte*, uint, int, int, int>)bufferToBuffer;

    public static Bzip2Codec? TryLoad(SystemLibraries libraries) =>
        libraries.Find(Library, "BZ2_bzBuffToBuffDecompress") is var address and not 0 ? new(address) : null;

    public override string? Decode(ReadOnlySpan<byte> packed, Span<byte> destination)
    {
        uint length = (uint)destination.Length;
        int result;

        // SAFETY: the declaration of <bzlib.h>; the library gets the true sizes of both buffers and keeps neither.
        fixed (byte* input = packed, output = destination)
        {
            result = _bufferToBuffer(output, &length, input, (uint)packed.Length, 0, 0);
        }

        return result switch
        {
            BZ_OK => length == (uint)destination.Length ? null : TooShort,
            BZ_OUTBUFF_FULL => TooLong,
            BZ_MEM_ERROR => OutOfMemory,
            _ => Damaged,
        };
    }
}
