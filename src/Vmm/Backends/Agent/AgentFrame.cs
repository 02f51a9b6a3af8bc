using System.Buffers.Binary;
using Vmm.Host;

namespace Vmm.Backends.Agent;

/// <summary>The header of a frame, little-endian.</summary>
/// <remarks><code>
///  0  u8   0xc5
///  1  u8   type
///  2  u16  sequence: counts the frames of a direction, from 0
///  4  u32  process; 0 is the machine
///  8  u16  length of the content
/// 10  u16  check: the lower half of the CRC-32C of bytes 0 to 9 and 12 to 15
/// 12  u32  CRC-32C of the content on a serial line; 0 on vsock
/// </code></remarks>
internal readonly record struct AgentFrame(AgentFrameType Type, ushort Sequence, uint Process, int Length, uint Content)
{
    public const int HeaderLength = 16;
    public const byte Sync = 0xc5;

    /// <summary>Writes the header.</summary>
    /// <param name="header">Room for it.</param>
    public void Write(Span<byte> header)
    {
        header[0] = Sync;
        header[1] = (byte)Type;
        BinaryPrimitives.WriteUInt16LittleEndian(header[2..], Sequence);
        BinaryPrimitives.WriteUInt32LittleEndian(header[4..], Process);
        BinaryPrimitives.WriteUInt16LittleEndian(header[8..], (ushort)Length);
        BinaryPrimitives.WriteUInt32LittleEndian(header[12..], Content);
        BinaryPrimitives.WriteUInt16LittleEndian(header[10..], CheckOf(header));
    }

    /// <summary>Reads one.</summary>
    /// <param name="header">At least <see cref="HeaderLength"/> bytes.</param>
    /// <returns>False where these bytes are no header.</returns>
    public static bool TryRead(ReadOnlySpan<byte> header, out AgentFrame frame)
    {
        int length = BinaryPrimitives.ReadUInt16LittleEndian(header[8..]);
        frame = new AgentFrame(
            (AgentFrameType)header[1],
            BinaryPrimitives.ReadUInt16LittleEndian(header[2..]),
            BinaryPrimitives.ReadUInt32LittleEndian(header[4..]),
            length,
            BinaryPrimitives.ReadUInt32LittleEndian(header[12..]));
        return header[0] == Sync && length <= AgentProtocol.MostContent
            && BinaryPrimitives.ReadUInt16LittleEndian(header[10..]) == CheckOf(header);
    }

    private static ushort CheckOf(ReadOnlySpan<byte> header) => (ushort)Crc32C.Of(header[..10], header[12..HeaderLength]);
}
