using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;

namespace Vmm.Backends.Disks.Qcow2;

/// <summary>Refcounts as they lie in a block: 2 to the power of <c>order</c> bits each (qcow2, "Host cluster management").
/// Counts of a byte and more are big-endian; smaller ones begin at a byte's lowest bit.</summary>
internal static class Qcow2Counts
{
    /// <param name="bit">Where the count begins.</param>
    public static ulong Read(ReadOnlySpan<byte> block, int bit, int order)
    {
        ReadOnlySpan<byte> at = block[(bit / 8)..];
        return order switch
        {
            3 => at[0],
            4 => BinaryPrimitives.ReadUInt16BigEndian(at),
            5 => BinaryPrimitives.ReadUInt32BigEndian(at),
            6 => BinaryPrimitives.ReadUInt64BigEndian(at),
            _ => (ulong)(at[0] >> (bit % 8)) & ((1UL << (1 << order)) - 1),
        };
    }

    public static void Write(Span<byte> block, int bit, int order, ulong count)
    {
        Span<byte> at = block[(bit / 8)..];
        switch (order)
        {
            case 3:
                at[0] = (byte)count;
                break;
            case 4:
                BinaryPrimitives.WriteUInt16BigEndian(at, (ushort)count);
                break;
            case 5:
                BinaryPrimitives.WriteUInt32BigEndian(at, (uint)count);
                break;
            case 6:
                BinaryPrimitives.WriteUInt64BigEndian(at, count);
                break;
            default:
                int mask = ((1 << (1 << order)) - 1) << (bit % 8);
                at[0] = (byte)((at[0] & ~mask) | ((int)count << (bit % 8)));
                break;
        }
    }

    /// <summary>How many of the counts are zero; whole words at a time.</summary>
    public static int CountZeros(ReadOnlySpan<byte> block, int order)
    {
        // Zero looks the same in either byte order.
        return order switch
        {
            3 => block.Count((byte)0),
            4 => MemoryMarshal.Cast<byte, ushort>(block).Count((ushort)0),
            5 => MemoryMarshal.Cast<byte, uint>(block).Count(0u),
            6 => MemoryMarshal.Cast<byte, ulong>(block).Count(0ul),
            _ => CountSmallZeros(block, order),
        };
    }

    /// <summary>The first count from <paramref name="from"/> on that is zero; -1 for none.</summary>
    /// <param name="from">Up to the number of counts.</param>
    public static int IndexOfZero(ReadOnlySpan<byte> block, int from, int order)
    {
        int found = order switch
        {
            3 => block[from..].IndexOf((byte)0),
            4 => MemoryMarshal.Cast<byte, ushort>(block)[from..].IndexOf((ushort)0),
            5 => MemoryMarshal.Cast<byte, uint>(block)[from..].IndexOf(0u),
            6 => MemoryMarshal.Cast<byte, ulong>(block)[from..].IndexOf(0ul),
            _ => IndexOfSmallZero(block, from, order) - from,
        };
        return found < 0 ? -1 : found + from;
    }

    private static int CountSmallZeros(ReadOnlySpan<byte> block, int order)
    {
        int perWord = 64 >> order;
        int zeros = 0;
        foreach (ulong word in MemoryMarshal.Cast<byte, ulong>(block))
        {
            zeros += perWord - BitOperations.PopCount(NonZero(word, order));
        }

        return zeros;
    }

    private static int IndexOfSmallZero(ReadOnlySpan<byte> block, int from, int order)
    {
        ReadOnlySpan<ulong> words = MemoryMarshal.Cast<byte, ulong>(block);
        int perWord = 64 >> order;
        ulong lowest = ulong.MaxValue / ((1UL << (1 << order)) - 1);     // the lowest bit of each count
        for (int i = from / perWord; i < words.Length; i++)
        {
            ulong zero = ~NonZero(words[i], order) & lowest;
            if (i == from / perWord)
            {
                zero &= ulong.MaxValue << (from % perWord << order);
            }

            if (zero != 0)
            {
                return (i * perWord) + (BitOperations.TrailingZeroCount(zero) >> order);
            }
        }

        return -1;
    }

    /// <summary>The lowest bit of each count is set where the count is not zero; all other bits are clear.</summary>
    private static ulong NonZero(ulong word, int order)
    {
        for (int bits = 1; bits < 1 << order; bits <<= 1)
        {
            word |= word >> bits;
        }

        return word & (ulong.MaxValue / ((1UL << (1 << order)) - 1));
    }
}
