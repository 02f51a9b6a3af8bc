using System.Buffers.Binary;
using System.Numerics;

namespace Vmm.Host;

/// <summary>CRC-32C (Castagnoli, RFC 3720, appendix B.4): detects accidental damage, not forgery.</summary>
internal static class Crc32C
{
    public static uint Of(ReadOnlySpan<byte> data) => ~Add(uint.MaxValue, data);

    /// <summary>The CRC of both, one after the other.</summary>
    public static uint Of(ReadOnlySpan<byte> first, ReadOnlySpan<byte> second) => ~Add(Add(uint.MaxValue, first), second);

    private static uint Add(uint crc, ReadOnlySpan<byte> data)
    {
        while (data.Length >= sizeof(ulong))
        {
            crc = BitOperations.Crc32C(crc, BinaryPrimitives.ReadUInt64LittleEndian(data));
            data = data[sizeof(ulong)..];
        }

        foreach (byte rest in data)
        {
            crc = BitOperations.Crc32C(crc, rest);
        }

        return crc;
    }
}
