using System.Buffers.Binary;

namespace Vmm.Boot.Unpack;

/// <summary>The compressed payload of a bzImage, read into memory: a vmlinux, followed by its relocation table if it
/// has one.</summary>
public sealed class PackedPayload : IDisposable
{
    /// <summary>The largest unpacked kernel, in bytes: far above any real one, and what KERNEL_IMAGE_SIZE lets a
    /// kernel be in memory.</summary>
    public const ulong MostUnpackedSize = 1 << 30;

    /// <summary>The largest payload, in bytes.</summary>
    private const long MostPackedSize = 1 << 30;

    // Nothing smaller can be an ELF file with a segment.
    private const uint LeastUnpackedSize = 64 + 56;

    // Kernels shrink to an eighth to a quarter.
    private const ulong UsualRatio = 10;

    private readonly NativeBuffer _payload;
    private readonly Codec? _codec;

    private PackedPayload(NativeBuffer payload, Compression compression, uint unpackedSize, Codec? codec, string? obstacle)
    {
        _payload = payload;
        Compression = compression;
        UnpackedSize = unpackedSize;
        _codec = codec;
        Obstacle = obstacle;
    }

    public Compression Compression { get; }

    /// <summary>Bytes that the payload says it unpacks to, at most <see cref="MostUnpackedSize"/>.</summary>
    public uint UnpackedSize { get; }

    /// <summary>Bytes of payload.</summary>
    public int PackedSize => _payload.Length;

    /// <summary>Why vmm cannot unpack it, such as a library that this system has not, so that the kernel is left to
    /// unpack itself; null if it can.</summary>
    public string? Obstacle { get; }

    /// <summary>Reads the payload of a bzImage.</summary>
    /// <exception cref="BootException">It cannot be read, or declares an absurd size.</exception>
    public static PackedPayload Read(KernelImage kernel)
    {
        BzImage image = kernel.BzImage ?? throw new ArgumentException("is no bzImage", nameof(kernel));
        string? wrong = TryRead(kernel.Source, image.PayloadOffset, image.PayloadLength, SystemLibraries.Default, out PackedPayload? payload);
        return wrong is null ? payload! : throw new BootException($"kernel {kernel.Name}: {wrong}");
    }

    /// <returns>What is wrong with the payload, or null and the payload.</returns>
    internal static string? TryRead(
        ImageSource source, long offset, long length, SystemLibraries libraries, out PackedPayload? payload)
    {
        payload = null;
        if (length is < sizeof(ulong) or > MostPackedSize)
        {
            return $"has a payload of {length} bytes, which holds no kernel";
        }

        const string Shorter = "became shorter while it was read"; // its header was checked against its length
        if (length > source.Length)
        {
            return Shorter;
        }

        var bytes = new NativeBuffer((int)length);
        Prefault.Populate(bytes.GetSpan());
        string? wrong = source.TryRead(offset, bytes.GetSpan())
            ? Parse(bytes, libraries, out payload)
            : Shorter;
        if (wrong is not null)
        {
            ((IDisposable)bytes).Dispose();
        }

        return wrong;
    }

    /// <summary>Unpacks.</summary>
    /// <param name="destination">Exactly <see cref="UnpackedSize"/> bytes, outside the GC heap if it is to stay small;
    /// undefined after an error.</param>
    /// <returns>What is wrong with the payload, or null.</returns>
    /// <exception cref="InvalidOperationException">There is an <see cref="Obstacle"/>.</exception>
    internal string? Unpack(Span<byte> destination)
    {
        Codec codec = _codec ?? throw new InvalidOperationException(Obstacle);
        ArgumentOutOfRangeException.ThrowIfNotEqual((uint)destination.Length, UnpackedSize, nameof(destination));

        // Limited by the packed size: a wrong declared size must not make memory resident that is never used.
        Prefault.Populate(destination[..(int)Math.Min((ulong)destination.Length, (ulong)PackedSize * UsualRatio)]);
        return codec.Decode(_payload.GetSpan()[..^codec.AppendedBytes], destination) is string wrong
            ? $"has a payload, compressed by {Name(Compression)}, that {wrong}"
            : null;
    }

    public void Dispose() => ((IDisposable)_payload).Dispose();

    /// <summary>The name for messages.</summary>
    internal static string Name(Compression compression) => compression switch
    {
        Compression.Gzip => "gzip",
        Compression.Bzip2 => "bzip2",
        Compression.Lzma => "lzma",
        Compression.Xz => "xz",
        Compression.Lzo => "lzo",
        Compression.Lz4 => "lz4",
        Compression.Zstd => "zstd",
        _ => "unknown",
    };

    private static string? Parse(NativeBuffer bytes, SystemLibraries libraries, out PackedPayload? payload)
    {
        payload = null;
        ReadOnlySpan<byte> span = bytes.GetSpan();
        Compression compression = Codec.Identify(span);
        Codec? codec = Codec.TryCreate(compression, libraries, out string? obstacle);

        // In gzip's own trailer, appended by the kernel's build for all others.
        uint unpackedSize = BinaryPrimitives.ReadUInt32LittleEndian(span[^sizeof(uint)..]);
        if (compression != Compression.Unknown && unpackedSize is < LeastUnpackedSize or > (uint)MostUnpackedSize)
        {
            return $"has a payload that declares {unpackedSize} bytes unpacked, which no kernel has: fetch or build it again";
        }

        payload = new PackedPayload(bytes, compression, unpackedSize, codec, obstacle);
        return null;
    }
}
