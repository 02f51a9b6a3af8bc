using System.IO.Compression;

namespace Vmm.Boot.Unpack;

/// <summary>gzip (RFC 1952), by .NET's own zlib. The format ends in the unpacked size, so that the kernel's build
/// appends none.</summary>
internal sealed unsafe class GzipCodec : Codec
{
    public override int AppendedBytes => 0;

    public override string? Decode(ReadOnlySpan<byte> packed, Span<byte> destination)
    {
        if (packed.IsEmpty)
        {
            return Damaged;
        }

        // SAFETY: the stream reads only packed.Length bytes, and only while they are pinned here.
        fixed (byte* input = packed)
        {
            using var memory = new UnmanagedMemoryStream(input, packed.Length);
            using var gzip = new GZipStream(memory, CompressionMode.Decompress);
            try
            {
                if (gzip.ReadAtLeast(destination, destination.Length, throwOnEndOfStream: false) != destination.Length)
                {
                    return TooShort;
                }

                Span<byte> more = stackalloc byte[1];
                return gzip.Read(more) == 0 ? null : TooLong;
            }
            catch (InvalidDataException)
            {
                return Damaged;
            }
        }
    }
}
