using System.Buffers.Binary;

namespace Vmm.Devices.Virtio.Net;

/// <summary><c>struct virtio_net_hdr_v1</c> (virtio 1.2, section 5.1.6): flags:8 gso_type:8 hdr_len:16 gso_size:16
/// csum_start:16 csum_offset:16 num_buffers:16.</summary>
internal static class NetHeader
{
    public const int NumBuffersOffset = 10;

    private const byte NeedsCsum = 1;
    private const byte GsoTcp4 = 1;
    private const byte GsoUdp = 3;
    private const byte GsoTcp6 = 4;
    private const byte GsoEcn = 0x80;

    /// <summary>Corrects the guest's header so that a backend need not check it again: only negotiated features, and only
    /// offsets within the frame.</summary>
    /// <remarks>
    /// Flags that a device does not know it ignores (section 5.1.6.2.2); DATA_VALID and RSC_INFO are for the other
    /// direction. hdr_len is a hint, not to be relied on: one that passes the frame's end becomes the end of the
    /// checksum field, which is the most that is known of the headers' length. (A tap refuses frames with such a hint.)
    /// </remarks>
    /// <returns>False when the frame has to be dropped.</returns>
    public static bool TryCorrect(Span<byte> header, ulong frameBytes, ulong features)
    {
        var flags = (byte)(header[0] & NeedsCsum);
        byte gso = header[1];
        ushort headerLength = BinaryPrimitives.ReadUInt16LittleEndian(header[2..]);
        ushort gsoSize = BinaryPrimitives.ReadUInt16LittleEndian(header[4..]);
        uint checksumEnd = flags == 0
            ? 0
            : BinaryPrimitives.ReadUInt16LittleEndian(header[6..])
                + (uint)BinaryPrimitives.ReadUInt16LittleEndian(header[8..]) + sizeof(ushort);
        if (flags != 0 && ((features & NetFeatures.Csum) == 0 || checksumEnd > frameBytes))
        {
            return false;
        }

        header[0] = flags;
        if (headerLength > frameBytes)
        {
            BinaryPrimitives.WriteUInt16LittleEndian(header[2..], (ushort)checksumEnd);
        }

        if (gso == 0)
        {
            return true;
        }

        ulong needed = (gso & ~GsoEcn) switch
        {
            GsoTcp4 => NetFeatures.HostTso4,
            GsoTcp6 => NetFeatures.HostTso6,
            GsoUdp => NetFeatures.HostUfo,
            _ => 0,
        };
        return (features & needed) != 0
            && ((gso & GsoEcn) == 0 || (features & NetFeatures.HostEcn) != 0)
            && flags != 0                       // section 5.1.6.2.1: segmentation needs the checksum
            && gsoSize != 0;
    }
}
