using System.Runtime.InteropServices;

namespace Vmm.Host;

/// <summary>Memory for machine code that vmm writes itself: one memfd mapped twice, so that no page is ever
/// writable and executable at one address.</summary>
internal sealed class CodePages : SafeHandle
{
    private readonly nuint _length;

    /// <param name="length">Bytes; a multiple of the page size.</param>
    /// <exception cref="HostException">The host does not allow executable memory.</exception>
    public CodePages(int length)
        : base(LibC.MAP_FAILED, ownsHandle: true)
    {
        _length = (nuint)length;
        using FileDescriptor fd = Create(length);
        Writable = Map(fd, LibC.PROT_READ | LibC.PROT_WRITE);
        SetHandle(Map(fd, LibC.PROT_READ | LibC.PROT_EXEC));
    }

    public override bool IsInvalid => handle == LibC.MAP_FAILED;

    /// <summary>Where the code runs. Valid until the handle is disposed.</summary>
    public nint Executable => handle;

    /// <summary>Where the same bytes are written.</summary>
    public nint Writable { get; }

    public int Length => (int)_length;

    protected override bool ReleaseHandle() =>
        LibC.Munmap(Writable, _length) == 0 && LibC.Munmap(handle, _length) == 0;

    private static FileDescriptor Create(int length)
    {
        int number = LibC.MemfdCreate("vmm-code", LibC.MFD_CLOEXEC);
        if (number < 0)
        {
            throw Refused("memfd_create");
        }

        var fd = new FileDescriptor(number);
        if (LibC.Ftruncate(number, length) != 0)
        {
            throw Refused("ftruncate of a memfd");
        }

        return fd;
    }

    private nint Map(FileDescriptor fd, int protection)
    {
        nint start = LibC.Mmap(0, _length, protection, LibC.MAP_SHARED, fd.Number, 0);
        return start != LibC.MAP_FAILED ? start : throw Refused("mmap of a memfd");
    }

    private static HostException Refused(string call) => new(new ErrnoException(
        call, Marshal.GetLastPInvokeError(), "vmm runs some instructions of the guest's kernel in memory of its own, " +
        "which the host must allow to be executable").Message);
}
