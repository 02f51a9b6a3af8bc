using System.Buffers.Binary;
using Vmm.Assist;
using Vmm.Host;

namespace Vmm.Tests.Assist;

/// <summary>Random register contents with which most instructions have an effect.</summary>
internal sealed class RandomState(int seed)
{
    private readonly Random _random = new(seed);

    public ulong Next64() => _random.NextInt64(long.MinValue, long.MaxValue) is var value ? (ulong)value : 0;

    public int Next(int limit) => _random.Next(limit);

    public void Fill(Span<byte> bytes) => _random.NextBytes(bytes);

    /// <summary>Vector contents: sometimes random bits, sometimes floating-point numbers of common sizes.</summary>
    public void FillVector(Span<byte> bytes)
    {
        _random.NextBytes(bytes);
        switch (_random.Next(5))
        {
            case 0:
                for (int i = 0; i + 4 <= bytes.Length; i += 4)
                {
                    BinaryPrimitives.WriteSingleLittleEndian(bytes[i..], ((float)_random.NextDouble() - 0.5f) * 1000);
                }

                break;
            case 1:
                for (int i = 0; i + 8 <= bytes.Length; i += 8)
                {
                    BinaryPrimitives.WriteDoubleLittleEndian(bytes[i..], (_random.NextDouble() - 0.5) * 1e6);
                }

                break;
            case 2:
                bytes.Clear();
                break;
        }
    }

    /// <summary>An XSAVE image in the standard format with components 0 to 7 as far as <paramref name="inUse"/> says.
    /// </summary>
    public void FillImage(Span<byte> image, ulong inUse, uint mxcsr)
    {
        image[..XsaveLayout.HeaderOffset].Clear();
        image[XsaveLayout.HeaderOffset..].Clear();
        BinaryPrimitives.WriteUInt16LittleEndian(image, XsaveLayout.FcwInitial);
        BinaryPrimitives.WriteUInt32LittleEndian(image[XsaveLayout.MxcsrOffset..], mxcsr);
        BinaryPrimitives.WriteUInt32LittleEndian(image[XsaveLayout.MxcsrMaskOffset..], Processor.MxcsrMask);
        inUse &= NativeEntry.Components;
        if ((inUse & 1) != 0)
        {
            FillX87(image);
        }

        if ((inUse & 2) != 0)
        {
            for (int i = 0; i < 16; i++)
            {
                FillVector(image.Slice(XsaveLayout.XmmOffset + (16 * i), 16));
            }
        }

        for (int i = 2; i < 8; i++)
        {
            XsaveLayout.Component component = XsaveLayout.Host[i];
            if ((inUse >> i & 1) != 0)
            {
                FillVector(image.Slice(component.Offset, component.Size));
            }
        }

        if (mxcsr != XsaveLayout.MxcsrInitial)
        {
            inUse |= 2;
        }

        BinaryPrimitives.WriteUInt64LittleEndian(image[XsaveLayout.HeaderOffset..], inUse);
    }

    private void FillX87(Span<byte> image)
    {
        int rounding = _random.Next(4), precision = _random.Next(4) | 2;
        BinaryPrimitives.WriteUInt16LittleEndian(image, (ushort)(0x7F | precision << 8 | rounding << 10));
        BinaryPrimitives.WriteUInt16LittleEndian(image[2..], (ushort)(_random.Next(8) << 11 | (_random.Next() & 0x4700)));
        image[4] = (byte)_random.Next(256);
        for (int i = 0; i < 8; i++)
        {
            Span<byte> register = image.Slice(32 + (16 * i), 16);
            register.Clear();
            _random.NextBytes(register[..8]);
            register[7] |= 0x80;
            BinaryPrimitives.WriteUInt16LittleEndian(
                register[8..], (ushort)(0x3FFF + _random.Next(-40, 40) | _random.Next(2) << 15));
        }
    }
}
