using System.Numerics;
using System.Runtime.InteropServices;

namespace Vmm.Machines;

/// <summary>A set of pages of a guest's memory: one bit for each, counted from the first byte of the mapping, in which memory below
/// and above the hole is one stretch (<see cref="GuestRam"/>).</summary>
/// <param name="memory">Bytes of the memory; a multiple of <see cref="PageBytes"/>.</param>
internal sealed class PageSet(ulong memory)
{
    public const int PageBytes = 4096;

    private const int BitsPerWord = 64;

    private readonly ulong[] _bits = new ulong[(memory / PageBytes + BitsPerWord - 1) / BitsPerWord];

    /// <summary>How many pages the memory has.</summary>
    public ulong Pages => memory / PageBytes;

    /// <summary>How many of them are in the set.</summary>
    public ulong Count
    {
        get
        {
            ulong count = 0;
            foreach (ulong word in _bits)
            {
                count += (ulong)BitOperations.PopCount(word);
            }

            return count;
        }
    }

    /// <summary>Bytes of <see cref="ToBytes"/> for a memory.</summary>
    public static int ByteCount(ulong memory) => (int)((memory / PageBytes + 7) / 8);

    public bool Contains(ulong page) => page < Pages && (_bits[page / BitsPerWord] & (1UL << (int)(page % BitsPerWord))) != 0;

    /// <param name="first">The first page.</param>
    /// <param name="count">How many; none of them behind the memory's end.</param>
    public void Add(ulong first, ulong count = 1)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(first, Pages);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, Pages - first);
        for (ulong page = first, end = first + count; page < end;)
        {
            int bit = (int)(page % BitsPerWord);
            int bits = (int)Math.Min((ulong)(BitsPerWord - bit), end - page);
            _bits[page / BitsPerWord] |= (ulong.MaxValue >> (BitsPerWord - bits)) << bit;
            page += (ulong)bits;
        }
    }

    /// <param name="other">A set for memory of the same size.</param>
    public void Add(PageSet other)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(other.Pages, Pages);
        for (int i = 0; i < _bits.Length; i++)
        {
            _bits[i] |= other._bits[i];
        }
    }

    public void Remove(ulong page) => _bits[page / BitsPerWord] &= ~(1UL << (int)(page % BitsPerWord));

    public void Clear() => Array.Clear(_bits);

    /// <summary>Stretches of adjacent pages, in order.</summary>
    public IEnumerable<(ulong First, ulong Count)> Runs()
    {
        ulong first = 0, count = 0;
        for (int i = 0; i < _bits.Length; i++)
        {
            ulong word = _bits[i];
            if (word == 0 && count == 0)
            {
                continue;
            }

            for (int bit = 0; bit < BitsPerWord; bit++)
            {
                if ((word & (1UL << bit)) != 0)
                {
                    first = count == 0 ? ((ulong)i * BitsPerWord) + (ulong)bit : first;
                    count++;
                }
                else if (count != 0)
                {
                    yield return (first, count);
                    count = 0;
                }
            }
        }

        if (count != 0)
        {
            yield return (first, count);
        }
    }

    /// <summary>Sixteen pages: bit n is page 16 * <paramref name="index"/> + n.</summary>
    public ushort Sixteen(int index) => (ushort)(_bits[index / 4] >> (index % 4 * 16));

    /// <summary>Bit n of byte m is page 8 * m + n.</summary>
    public byte[] ToBytes() => MemoryMarshal.AsBytes(_bits.AsSpan())[..ByteCount(memory)].ToArray();

    /// <summary>What <see cref="ToBytes"/> gave for a memory of that size.</summary>
    /// <returns>Null: it has another length, or pages behind the memory's end.</returns>
    public static PageSet? FromBytes(ReadOnlySpan<byte> bytes, ulong memory)
    {
        if (bytes.Length != ByteCount(memory))
        {
            return null;
        }

        var set = new PageSet(memory);
        bytes.CopyTo(MemoryMarshal.AsBytes(set._bits.AsSpan()));
        return set.Pages % 8 == 0 || bytes[^1] >> (int)(set.Pages % 8) == 0 ? set : null;
    }
}
