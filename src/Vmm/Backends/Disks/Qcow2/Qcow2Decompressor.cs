using System.IO.Compression;
using Vmm.Boot.Unpack;
using Vmm.Host;

namespace Vmm.Backends.Disks.Qcow2;

/// <summary>Reads compressed clusters; keeps the last one, as guests mostly read sequentially.</summary>
internal sealed class Qcow2Decompressor : IDisposable
{
    private readonly BlockFile _file;
    private readonly int _clusterBits;
    private readonly Zstd? _zstd;
    private byte[]? _input;
    private byte[]? _cluster;
    private ulong _entry;

    /// <exception cref="HostException">The image needs libzstd, and there is none.</exception>
    public Qcow2Decompressor(BlockFile file, Qcow2Header header)
    {
        _file = file;
        _clusterBits = header.ClusterBits;
        if (header.IsZstd)
        {
            _zstd = Zstd.TryLoad()
                ?? throw new HostException("zstd-compressed clusters need libzstd; install it (Debian: libzstd1)");
        }
    }

    /// <summary>The bytes of a cluster.</summary>
    /// <returns>False: damaged, or not readable.</returns>
    public bool TryGet(ulong entry, out ReadOnlySpan<byte> cluster)
    {
        cluster = _cluster;
        if (_cluster is not null && _entry == entry)
        {
            return true;
        }

        (ulong offset, ulong length) = Locate(entry, _clusterBits);
        if (offset >= _file.Length)
        {
            return false;
        }

        _cluster ??= new byte[1 << _clusterBits];
        _input ??= new byte[2 << _clusterBits];
        _entry = 0;     // no compressed cluster's entry
        Span<byte> input = _input.AsSpan(0, (int)length);
        if (!_file.TryRead(offset, input)
            || !(_zstd is not null ? _zstd.Decompress(input, _cluster) == Zstd.Result.Ok : TryInflate(input, _cluster)))
        {
            return false;
        }

        _entry = entry;
        cluster = _cluster;
        return true;
    }

    /// <summary>Where a compressed cluster lies; the length is rounded up to the end of its last sector.</summary>
    public static (ulong Offset, ulong Length) Locate(ulong entry, int clusterBits)
    {
        int x = 62 - (clusterBits - 8);
        ulong offset = entry & ((1UL << x) - 1);
        ulong sectors = ((entry & ~Qcow2Format.Copied & ~Qcow2Format.Compressed) >> x) + 1;
        return (offset, (sectors * 512) - (offset & 511));
    }

    public void Dispose() => _zstd?.Dispose();

    /// <summary>Raw deflate (RFC 1951), by .NET's own zlib. Its stream cannot be reset, so each cluster allocates a few small objects,
    /// less than 512 bytes for 64 KiB of data.</summary>
    /// <param name="input">What follows the end of the compressed data is ignored.</param>
    /// <returns>False: the input is damaged, or is not exactly the length of <paramref name="output"/>.</returns>
    internal static unsafe bool TryInflate(ReadOnlySpan<byte> input, Span<byte> output)
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
