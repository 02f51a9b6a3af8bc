using Vmm.Assist;

namespace Vmm.Backends.Disks.Qcow2;

/// <summary>Raw deflate (RFC 1951) from one piece of memory to another, allocating nothing: a compressed cluster.</summary>
/// <remarks>Whatever the input is, it ends, and it stays within both pieces.</remarks>
internal sealed class Inflate
{
    private const int MaxBits = 15;

    // RFC 1951, 3.2.5: base values and extra bits of length codes 257.. and of distance codes.
    private static readonly ushort[] LengthBase =
        [3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258];

    private static readonly byte[] LengthExtra =
        [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];

    private static readonly ushort[] DistanceBase =
    [
        1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073, 4097,
        6145, 8193, 12289, 16385, 24577,
    ];

    private static readonly byte[] DistanceExtra =
        [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13];

    private static readonly byte[] CodeLengthOrder =
        [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

    private readonly Huffman _literals = new(288);
    private readonly Huffman _distances = new(32);
    private readonly byte[] _lengths = new byte[320];

    /// <summary>Fills <paramref name="output"/>; input behind the end is ignored.</summary>
    /// <returns>False: the input is damaged, or gives less.</returns>
    public bool TryDecompress(ReadOnlySpan<byte> input, Span<byte> output)
    {
        var bits = new BitReader(input);
        int done = 0;
        bool last;
        do
        {
            last = bits.Take(1) == 1;
            bool ok = bits.Take(2) switch
            {
                0 => TryStored(ref bits, output, ref done),
                1 => UseFixed() && TryBlock(ref bits, output, ref done),
                2 => TryReadCodes(ref bits) && TryBlock(ref bits, output, ref done),
                _ => false,
            };
            if (!ok || bits.Overrun)
            {
                return false;
            }
        }
        while (!last && done < output.Length);
        return done == output.Length;
    }

    private static bool TryStored(ref BitReader bits, Span<byte> output, ref int done)
    {
        bits.AlignToByte();
        int length = bits.Take(16);
        int complement = bits.Take(16);
        if (bits.Overrun || length != (complement ^ 0xffff) || length > output.Length - done)
        {
            return false;
        }

        for (int i = 0; i < length; i++)
        {
            output[done++] = (byte)bits.Take(8);
        }

        return true;
    }

    private bool UseFixed()
    {
        Span<byte> lengths = _lengths;
        lengths[..144].Fill(8);
        lengths[144..256].Fill(9);
        lengths[256..280].Fill(7);
        lengths[280..288].Fill(8);
        bool ok = _literals.TryBuild(lengths[..288]);
        lengths[..30].Fill(5);
        return _distances.TryBuild(lengths[..30]) && ok;
    }

    private bool TryReadCodes(ref BitReader bits)
    {
        int literals = bits.Take(5) + 257;
        int distances = bits.Take(5) + 1;
        int codes = bits.Take(4) + 4;
        if (literals > 286 || distances > 30)
        {
            return false;
        }

        Array.Clear(_lengths);
        for (int i = 0; i < codes; i++)
        {
            _lengths[CodeLengthOrder[i]] = (byte)bits.Take(3);
        }

        if (!_literals.TryBuild(_lengths.AsSpan(0, 19)))
        {
            return false;
        }

        Array.Clear(_lengths);
        for (int i = 0; i < literals + distances;)
        {
            int symbol = _literals.Decode(ref bits);
            if (symbol is < 0 or > 18 || bits.Overrun)
            {
                return false;
            }

            if (symbol < 16)
            {
                _lengths[i++] = (byte)symbol;
                continue;
            }

            if (symbol == 16 && i == 0)
            {
                return false;
            }

            byte value = symbol == 16 ? _lengths[i - 1] : (byte)0;
            int repeat = symbol switch { 16 => 3 + bits.Take(2), 17 => 3 + bits.Take(3), _ => 11 + bits.Take(7) };
            if (repeat > literals + distances - i)
            {
                return false;
            }

            _lengths.AsSpan(i, repeat).Fill(value);
            i += repeat;
        }

        // Without an end-of-block code the block could not end.
        return _lengths[256] != 0
            && _literals.TryBuild(_lengths.AsSpan(0, literals))
            && _distances.TryBuild(_lengths.AsSpan(literals, distances));
    }

    private bool TryBlock(ref BitReader bits, Span<byte> output, ref int done)
    {
        while (!bits.Overrun)
        {
            int symbol = _literals.Decode(ref bits);
            if (symbol is < 0 or > 285)
            {
                return false;
            }

            if (symbol == 256)
            {
                return true;
            }

            if (symbol < 256)
            {
                if (done == output.Length)
                {
                    return false;
                }

                output[done++] = (byte)symbol;
                continue;
            }

            int length = LengthBase[symbol - 257] + bits.Take(LengthExtra[symbol - 257]);
            int code = _distances.Decode(ref bits);
            if (code is < 0 or > 29)
            {
                return false;
            }

            int distance = DistanceBase[code] + bits.Take(DistanceExtra[code]);
            if (distance > done || length > output.Length - done)
            {
                return false;
            }

            for (; length > 0; length--, done++)
            {
                output[done] = output[done - distance];     // may overlap: that is how runs are made
            }
        }

        return false;
    }

    /// <summary>Bits from the least significant of each byte on; zeros behind the end.</summary>
    private ref struct BitReader(ReadOnlySpan<byte> input)
    {
        private readonly ReadOnlySpan<byte> _input = input;
        private int _at;
        private uint _held;
        private int _count;

        /// <summary>More was taken than there was.</summary>
        public bool Overrun { get; private set; }

        public int Take(int count)
        {
            while (_count < count)
            {
                if (_at < _input.Length)
                {
                    _held |= (uint)_input[_at++] << _count;
                }
                else
                {
                    Overrun = true;
                }

                _count += 8;
            }

            int value = (int)(_held & ((1u << count) - 1));
            _held >>= count;
            _count -= count;
            return value;
        }

        public void AlignToByte()
        {
            _held = 0;
            _count = 0;     // at most seven bits are held: Take never reads a byte too many
        }
    }

    /// <summary>A canonical code, decoded by counting: the codes of each length are consecutive (RFC 1951, 3.2.2).</summary>
    private sealed class Huffman(int maxSymbols)
    {
        private readonly ushort[] _counts = new ushort[MaxBits + 1];
        private readonly ushort[] _symbols = new ushort[maxSymbols];

        public bool TryBuild(ReadOnlySpan<byte> lengths)
        {
            Array.Clear(_counts);
            foreach (byte length in lengths)
            {
                _counts[length]++;
            }

            _counts[0] = 0;
            Span<ushort> next = stackalloc ushort[MaxBits + 2];
            int left = 1;
            for (int length = 1; length <= MaxBits; length++)
            {
                left = (left << 1) - _counts[length];
                if (left < 0)
                {
                    return false;       // more codes than there are
                }

                next[length + 1] = (ushort)(next[length] + _counts[length]);
            }

            for (int symbol = 0; symbol < lengths.Length; symbol++)
            {
                if (lengths[symbol] != 0)
                {
                    _symbols[next[lengths[symbol]]++] = (ushort)symbol;
                }
            }

            return true;
        }

        /// <returns>-1: no such code.</returns>
        public int Decode(ref BitReader bits)
        {
            int code = 0;
            int first = 0;
            int index = 0;
            for (int length = 1; length <= MaxBits; length++)
            {
                code |= bits.Take(1);
                int count = _counts[length];
                if (code - count < first)
                {
                    return _symbols[index + (code - first)];
                }

                index += count;
                first = (first + count) << 1;
                code <<= 1;
            }

            return -1;
        }
    }
}
