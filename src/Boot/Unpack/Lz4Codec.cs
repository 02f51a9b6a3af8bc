using System.Buffers.Binary;

namespace Vmm.Boot.Unpack;

/// <summary>LZ4's legacy frame, which the kernel's build uses (lz4 -l; lz4_Frame_format.md, "Legacy frame"): a magic
/// number, then blocks of their own, each with its packed size in front.</summary>
internal sealed unsafe class Lz4Codec : Codec
{
    public const string Library = "liblz4.so.1";

    private const uint LegacyMagic = 0x184c_2102;

    /// <summary>What every block but the last unpacks to.</summary>
    private const int BlockSize = 8 << 20;

    private readonly delegate* unmanaged<byte*, byte*, int, int, int> _decompressSafe;

    private Lz4Codec(nint decompressSafe) =>
        _decompressSafe = (delegate* unmanaged<byte*, byte*, int, int, int>)decompressSafe;

    public static Lz4Codec? TryLoad(SystemLibraries libraries) =>
        libraries.Find(Library, "LZ4_decompress_safe") is var address and not 0 ? new(address) : null;

    public override string? Decode(ReadOnlySpan<byte> packed, Span<byte> destination)
    {
        Span<byte> left = destination;
        while (packed.Length >= sizeof(uint))
        {
            uint size = BinaryPrimitives.ReadUInt32LittleEndian(packed);
            packed = packed[sizeof(uint)..];
            if (size == LegacyMagic)
            {
                continue; // frames may follow one another
            }

            if (size == 0)
            {
                break; // lib/decompress_unlz4.c takes this for the end
            }

            if (size > (uint)packed.Length)
            {
                return Damaged;
            }

            if (left.IsEmpty)
            {
                return TooLong;
            }

            int count = DecodeBlock(packed[..(int)size], left[..Math.Min(left.Length, BlockSize)]);
            if (count < 0)
            {
                // The library does not tell a damaged block from one that does not fit.
                return left.Length < BlockSize ? DamagedOrTooLong : Damaged;
            }

            packed = packed[(int)size..];
            left = left[count..];
        }

        return left.IsEmpty ? null : TooShort;
    }

    private const string DamagedOrTooLong =
        "is damaged, or unpacks to more than the size that it declares: fetch or build the kernel again";

    private int DecodeBlock(ReadOnlySpan<byte> packed, Span<byte> destination)
    {
        // SAFETY: the declaration of <lz4.h>; LZ4_decompress_safe stays within the two sizes that it is given.
        fixed (byte* input = packed, output = destination)
        {
            return _decompressSafe(input, output, packed.Length, destination.Length);
        }
    }
}
