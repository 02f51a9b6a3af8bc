using System.Runtime.InteropServices;
using System.Text;
using Tmds.Linux;
using Vmm.Devices.Virtio;
using Vmm.Devices.Virtio.Net;

namespace Vmm.Host;

/// <summary>One queue of a tap interface (Linux, Documentation/networking/tuntap.rst): whole frames, each with a
/// <c>struct virtio_net_hdr_v1</c> in front, straight from and to where they lie.</summary>
internal sealed unsafe class TapDevice : IDisposable
{
    private const string ControlPath = "/dev/net/tun";

    private readonly FileDescriptor _fd;

    private TapDevice(FileDescriptor fd) => _fd = fd;

    public int Number => _fd.Number;

    /// <summary>Opens a queue of the interface, which is made if there is none.</summary>
    /// <param name="flags">IFF_MULTI_QUEUE or none.</param>
    /// <returns>Null with an errno when that is not possible; ENOENT or ENODEV: the host has no taps at all.</returns>
    public static TapDevice? TryOpen(string name, ushort flags, out int errno)
    {
        var fd = new FileDescriptor(LibC.open(ControlPath, LibC.O_RDWR | LibC.O_NONBLOCK | LibC.O_CLOEXEC, 0));
        Ifreq request = Request(name);
        request.Flags = (ushort)(LibC.IFF_TAP | LibC.IFF_NO_PI | LibC.IFF_VNET_HDR | flags);
        int headerBytes = VirtioNet.HeaderBytes;
        errno = 0;

        // SAFETY: structs on this stack, as the requests want them.
        if (fd.IsInvalid
            || LibC.ioctl(fd.Number, LibC.TUNSETIFF, &request) != 0
            || LibC.ioctl(fd.Number, LibC.TUNSETVNETHDRSZ, &headerBytes) != 0)
        {
            errno = Marshal.GetLastPInvokeError();
            fd.Dispose();
            return null;
        }

        return new TapDevice(fd);
    }

    /// <summary>Sets the offloads that frames read from the interface may need: a mask of TUN_F_.</summary>
    /// <returns>False when the kernel does not know one of them.</returns>
    public bool TrySetOffload(uint offload) => LibC.ioctl(Number, LibC.TUNSETOFFLOAD, (int)offload) == 0;

    /// <summary>Enables or disables this queue; only with IFF_MULTI_QUEUE. Does nothing when the interface has been deleted,
    /// which epoll reports.</summary>
    public void SetAttached(bool attached)
    {
        var request = new Ifreq { Flags = attached ? LibC.IFF_ATTACH_QUEUE : LibC.IFF_DETACH_QUEUE };

        // SAFETY: a struct on this stack.
        _ = LibC.ioctl(Number, LibC.TUNSETQUEUE, &request);
    }

    /// <summary>Does the interface disappear with its last descriptor?</summary>
    public bool IsTemporary()
    {
        Ifreq request = default;

        // SAFETY: as above.
        return LibC.ioctl(Number, LibC.TUNGETIFF, &request) == 0 && (request.Flags & LibC.IFF_PERSIST) == 0;
    }

    /// <summary>Sends a frame.</summary>
    /// <returns>Bytes, or minus the errno.</returns>
    public nint Write(ReadOnlySpan<IoVector> frame)
    {
        fixed (IoVector* vectors = frame)
        {
            // SAFETY: vectors of memory that the caller vouches for.
            return Result(LibC.writev(Number, (iovec*)vectors, frame.Length));
        }
    }

    /// <summary>Takes a frame.</summary>
    /// <returns>Bytes, or minus the errno: EAGAIN when there is none.</returns>
    public nint Read(ReadOnlySpan<IoVector> buffers)
    {
        fixed (IoVector* vectors = buffers)
        {
            // SAFETY: as above.
            return Result(LibC.readv(Number, (iovec*)vectors, buffers.Length));
        }
    }

    public void Dispose() => _fd.Dispose();

    /// <summary>Is the interface up?</summary>
    public static bool IsUp(string name) => (Flags(name, set: null) & LibC.IFF_UP) != 0;

    /// <summary>Sets it up, if that is allowed.</summary>
    public static void SetUp(string name) => _ = Flags(name, set: LibC.IFF_UP);

    private static nint Result(long result) => result >= 0 ? (nint)result : -Marshal.GetLastPInvokeError();

    private static ushort Flags(string name, ushort? set)
    {
        using var any = new FileDescriptor(
            ErrnoException.Check(LibC.socket(LibC.AF_UNIX, LibC.SOCK_DGRAM | LibC.SOCK_CLOEXEC, 0), "socket"));
        Ifreq request = Request(name);

        // SAFETY: as above. On any socket: the requests are about interfaces.
        if (LibC.ioctl(any.Number, LibC.SIOCGIFFLAGS, &request) != 0)
        {
            return 0;
        }

        if (set is { } more)
        {
            request.Flags |= more;
            _ = LibC.ioctl(any.Number, LibC.SIOCSIFFLAGS, &request);
        }

        return request.Flags;
    }

    private static Ifreq Request(string name)
    {
        Ifreq request = default;

        // SAFETY: GetBytes throws rather than pass the end, and the last byte stays 0.
        Encoding.UTF8.GetBytes(name, new Span<byte>(request.Name, Ifreq.NameLength - 1));
        return request;
    }
}
