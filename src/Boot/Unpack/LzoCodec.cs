using System.Buffers.Binary;

namespace Vmm.Boot.Unpack;

/// <summary>The container that lzop writes, with LZO1X blocks, by liblzo2.</summary>
internal sealed unsafe class LzoCodec : Codec
{
    public const string Library = "liblzo2.so.2";

    // Flags of the lzop header that change what follows (lzop's conf.h).
    private const uint F_ADLER32_D = 0x0001;
    private const uint F_ADLER32_C = 0x0002;
    private const uint F_H_EXTRA_FIELD = 0x0040;
    private const uint F_CRC32_D = 0x0100;
    private const uint F_CRC32_C = 0x0200;
    private const uint F_H_FILTER = 0x0800;

    /// <summary>lzop's largest block (64 MiB); its usual one is 256 KiB.</summary>
    private const uint MostBlockSize = 64 << 20;

    private readonly delegate* unmanaged<byte*, nuint, byte*, nuint*, void*, int> _decompressSafe;

    private LzoCodec(nint decompressSafe) =>
        _decompressSafe = (delegate* unmanaged<byte*, nuint, byte*, nuint*, void*, int>)decompressSafe;

    public static LzoCodec? TryLoad(SystemLibraries libraries) =>
        libraries.Find(Library, "lzo1x_decompress_safe") is var address and not 0 ? new(address) : null;

    public override string? Decode(ReadOnlySpan<byte> packed, Span<byte> destination)
    {
        var reader = new Reader(packed);
        uint flags = ReadHeader(ref reader);
        Span<byte> left = destination;
        while (!reader.IsShort)
        {
            uint length = reader.UInt32();
            if (length == 0)
            {
                return reader.IsShort ? Damaged : left.IsEmpty ? null : TooShort;
            }

            uint packedLength = reader.UInt32();
            reader.Skip((flags & F_ADLER32_D) != 0 ? 4u : 0);
            reader.Skip((flags & F_CRC32_D) != 0 ? 4u : 0);
            if (packedLength < length)
            {
                reader.Skip((flags & F_ADLER32_C) != 0 ? 4u : 0);
                reader.Skip((flags & F_CRC32_C) != 0 ? 4u : 0);
            }

            ReadOnlySpan<byte> block = reader.Bytes(packedLength);
            if (reader.IsShort || packedLength > length || length > MostBlockSize)
            {
                return Damaged;
            }

            if (length > (uint)left.Length)
            {
                return TooLong;
            }

            if (!DecodeBlock(block, left[..(int)length]))
            {
                return Damaged;
            }

            left = left[(int)length..];
        }

        return Damaged;
    }

    /// <summary>Reads past the header.</summary>
    /// <returns>Its flags.</returns>
    private static uint ReadHeader(ref Reader reader)
    {
        reader.Skip(9); // magic
        ushort version = reader.UInt16();
        bool isNew = version >= 0x0940;
        reader.Skip(2); // the library's version
        reader.Skip(isNew ? 2u : 0); // the version needed
        reader.Skip(1); // method
        reader.Skip(isNew ? 1u : 0); // level
        uint flags = reader.UInt32();
        reader.Skip((flags & F_H_FILTER) != 0 ? 4u : 0);
        reader.Skip(4 + 4); // mode, mtime
        reader.Skip(isNew ? 4u : 0); // the upper half of mtime
        reader.Skip(reader.Byte()); // name
        reader.Skip(4); // the header's checksum
        if ((flags & F_H_EXTRA_FIELD) != 0)
        {
            reader.Skip(reader.UInt32());
            reader.Skip(4); // its checksum
        }

        return flags;
    }

    private bool DecodeBlock(ReadOnlySpan<byte> block, Span<byte> destination)
    {
        if (block.Length == destination.Length)
        {
            block.CopyTo(destination); // stored: it did not shrink
            return true;
        }

        // SAFETY: the declaration of <lzo/lzo1x.h>; the safe variant stays within the sizes that it is given and needs
        // no working memory.
        fixed (byte* input = block, output = destination)
        {
            nuint length = (nuint)destination.Length;
            return _decompressSafe(input, (nuint)block.Length, output, &length, null) == 0
                && length == (nuint)destination.Length;
        }
    }

    /// <summary>Reads big-endian fields; past the end everything is 0 and <see cref="IsShort"/> is set.</summary>
    private ref struct Reader(ReadOnlySpan<byte> bytes)
    {
        private ReadOnlySpan<byte> _left = bytes;

        public bool IsShort { get; private set; }

        public byte Byte() => Bytes(1) is [byte value] ? value : (byte)0;

        public ushort UInt16() => Bytes(2) is { Length: 2 } field ? BinaryPrimitives.ReadUInt16BigEndian(field) : (ushort)0;

        public uint UInt32() => Bytes(4) is { Length: 4 } field ? BinaryPrimitives.ReadUInt32BigEndian(field) : 0;

        public void Skip(uint count) => Bytes(count);

        public ReadOnlySpan<byte> Bytes(uint count)
        {
            if (count > (uint)_left.Length)
            {
                IsShort = true;
                _left = default;
                return default;
            }

            ReadOnlySpan<byte> taken = _left[..(int)count];
            _left = _left[(int)count..];
            return taken;
        }
    }
}
