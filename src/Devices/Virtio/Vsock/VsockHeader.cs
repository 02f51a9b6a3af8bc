using System.Runtime.InteropServices;

namespace Vmm.Devices.Virtio.Vsock;

/// <summary>struct virtio_vsock_hdr (virtio 1.2, section 5.10.6), in front of every packet. Little-endian, as x86 is.
/// </summary>
[StructLayout(LayoutKind.Sequential, Pack = 1)]
internal struct VsockHeader
{
    /// <summary>Bytes.</summary>
    public const int Length = 44;

    public ulong SrcCid;
    public ulong DstCid;
    public uint SrcPort;
    public uint DstPort;
    public uint Len;
    public ushort Type;
    public VsockOp Op;
    public VsockShutdown Flags;
    public uint BufAlloc;
    public uint FwdCnt;
}

/// <summary>VIRTIO_VSOCK_OP_*.</summary>
internal enum VsockOp : ushort
{
    Invalid,
    Request,
    Response,
    Rst,
    Shutdown,
    Rw,
    CreditUpdate,
    CreditRequest,
}

/// <summary>VIRTIO_VSOCK_SHUTDOWN_*: the directions that the packet's sender shuts down.</summary>
[Flags]
internal enum VsockShutdown : uint
{
    None = 0,
    Receive = 1,
    Send = 2,
    Both = Receive | Send,
}
