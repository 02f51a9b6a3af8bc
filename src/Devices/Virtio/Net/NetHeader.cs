using System.Buffers.Binary;

namespace Vmm.Devices.Virtio;

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

    /// <summary>Does the header make sense for a frame of so many bytes, and ask for nothing but what was negotiated?
    /// A backend need not look again.</summary>
    public static bool IsSound(ReadOnlySpan<byte> header, ulong frameBytes, ulong features)
    {
        byte flags = header[0];
        byte gso = header[1];
        ushort headerLength = BinaryPrimitives.ReadUInt16LittleEndian(header[2..]);
        ushort gsoSize = BinaryPrimitives.ReadUInt16LittleEndian(header[4..]);
        uint checksumStart = BinaryPrimitives.ReadUInt16LittleEndian(header[6..]);
        uint checksumOffset = BinaryPrimitives.ReadUInt16LittleEndian(header[8..]);
        if ((flags & ~NeedsCsum) != 0)
        {
            return false;       // DATA_VALID and RSC_INFO are for the other direction
        }

        if ((flags & NeedsCsum) != 0
            && ((features & NetFeatures.Csum) == 0 || checksumStart + checksumOffset + 2 > frameBytes))
        {
            return false;
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
            && (flags & NeedsCsum) != 0         // section 5.1.6.2.1: segmentation needs the checksum
            && gsoSize != 0 && headerLength <= frameBytes;
    }
}
