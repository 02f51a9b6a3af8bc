using System.IO.Compression;

namespace Vmm.Backends.Disks.Qcow2;

/// <summary>Raw deflate (RFC 1951) from one piece of memory to another, by .NET's own zlib: a compressed cluster.</summary>
/// <remarks>.NET's stream cannot be reset, so each cluster allocates a few small objects, less than 512 bytes for 64 KiB of
/// data; reads within the same cluster allocate nothing (<see cref="Qcow2Decompressor"/>).</remarks>
internal sealed unsafe class Inflate
{
    /// <summary>Fills <paramref name="output"/>; input behind the end is ignored.</summary>
    /// <returns>False: the input is damaged, or gives less or more.</returns>
#pragma warning disable CA1822 // an instance method as its counterpart for zstd, which has state
    public bool TryDecompress(ReadOnlySpan<byte> input, Span<byte> output)
#pragma warning restore CA1822
    {
        if (input.IsEmpty)
        {
            return false;
        }

        // SAFETY: the stream reads only input.Length bytes, and only while they are pinned here.
        fixed (byte* from = input)
        {
            using var memory = new UnmanagedMemoryStream(from, input.Length);
            using var deflate = new DeflateStream(memory, CompressionMode.Decompress);
            try
            {
                Span<byte> more = stackalloc byte[1];
                return deflate.ReadAtLeast(output, output.Length, throwOnEndOfStream: false) == output.Length
                    && deflate.Read(more) == 0;
            }
            catch (InvalidDataException)
            {
                return false;
            }
        }
    }
}
