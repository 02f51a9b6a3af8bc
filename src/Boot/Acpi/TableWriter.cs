using System.Buffers;
using System.Buffers.Binary;

namespace Vmm.Boot.Acpi;

/// <summary>A growing little-endian byte buffer in which firmware tables and AML are put together. Tables are a few
/// kilobytes and are made once, before the guest starts.</summary>
internal sealed class TableWriter
{
    private byte[] _bytes = new byte[512];

    public int Length { get; private set; }

    public ReadOnlySpan<byte> Written => _bytes.AsSpan(0, Length);

    public void U8(int value) => Extend(1)[0] = checked((byte)value);

    public void U16(int value) => BinaryPrimitives.WriteUInt16LittleEndian(Extend(2), checked((ushort)value));

    public void U32(uint value) => BinaryPrimitives.WriteUInt32LittleEndian(Extend(4), value);

    public void U64(ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(Extend(8), value);

    public void Zeros(int count) => Extend(count).Clear();

    public void Bytes(ReadOnlySpan<byte> bytes) => bytes.CopyTo(Extend(bytes.Length));

    /// <summary>Text in exactly <paramref name="width"/> bytes, padded with spaces (or another byte).</summary>
    public void Ascii(string text, int width, byte pad = (byte)' ')
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(text.Length, width);
        Span<byte> field = Extend(width);
        field.Fill(pad);
        if (System.Text.Ascii.FromUtf16(text, field, out _) != OperationStatus.Done)
        {
            throw new ArgumentException("not ASCII", nameof(text));
        }
    }

    public void SetU16(int at, int value) =>
        BinaryPrimitives.WriteUInt16LittleEndian(_bytes.AsSpan(0, Length)[at..], checked((ushort)value));

    public void SetU32(int at, uint value) =>
        BinaryPrimitives.WriteUInt32LittleEndian(_bytes.AsSpan(0, Length)[at..], value);

    /// <summary>Makes room for <paramref name="count"/> bytes at <paramref name="at"/>; what was there moves
    /// up.</summary>
    public Span<byte> Insert(int at, int count)
    {
        int moved = Length - at;
        Extend(count);
        _bytes.AsSpan(at, moved).CopyTo(_bytes.AsSpan(at + count));
        return _bytes.AsSpan(at, count);
    }

    /// <summary>Sets the byte at <paramref name="at"/> so that all bytes from <paramref name="start"/> up to
    /// <paramref name="end"/> add up to zero modulo 256: the rule of the MP, ACPI and resource checksums.</summary>
    public void Checksum(int at, int start, int end)
    {
        _bytes[at] = 0;
        int sum = 0;
        foreach (byte value in _bytes.AsSpan(start, end - start))
        {
            sum += value;
        }

        _bytes[at] = (byte)-sum;
    }

    private Span<byte> Extend(int count)
    {
        if (_bytes.Length - Length < count)
        {
            Array.Resize(ref _bytes, Math.Max(_bytes.Length * 2, Length + count));
        }

        Span<byte> added = _bytes.AsSpan(Length, count);
        Length += count;
        return added;
    }
}
