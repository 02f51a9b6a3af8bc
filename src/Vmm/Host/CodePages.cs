using System.Runtime.InteropServices;

namespace Vmm.Host;

/// <summary>Memory for machine code that vmm writes itself: the same pages mapped twice, so that none is ever
/// writable and executable at one address. Not a file: a limit of file sizes (RLIMIT_FSIZE) would hit a memfd, too.</summary>
internal sealed class CodePages : SafeHandle
{
    private readonly nuint _length;

    /// <param name="length">Bytes; a multiple of the page size.</param>
    /// <exception cref="HostException">The host does not allow executable memory.</exception>
    public CodePages(int length)
        : base(LibC.MAP_FAILED, ownsHandle: true)
    {
        _length = (nuint)length;
        Writable = Checked(
            LibC.Mmap(0, _length, LibC.PROT_READ | LibC.PROT_WRITE, LibC.MAP_SHARED | LibC.MAP_ANONYMOUS, fd: -1, offset: 0), "mmap");
        nint again = LibC.MAP_FAILED;
        try
        {
            // An old length of 0 makes a second mapping of the same pages (mremap(2)).
            again = Checked(LibC.Mremap(Writable, 0, _length, LibC.MREMAP_MAYMOVE), "mremap");
            Checked(LibC.Mprotect(again, _length, LibC.PROT_READ | LibC.PROT_EXEC), "mprotect");
            SetHandle(again);
        }
        catch (HostException)
        {
            _ = LibC.Munmap(Writable, _length);
            _ = again != LibC.MAP_FAILED ? LibC.Munmap(again, _length) : 0;
            throw;
        }
    }

    public override bool IsInvalid => handle == LibC.MAP_FAILED;

    /// <summary>Where the code runs. Valid until the handle is disposed.</summary>
    public nint Executable => handle;

    /// <summary>Where the same bytes are written.</summary>
    public nint Writable { get; }

    public int Length => (int)_length;

    protected override bool ReleaseHandle() =>
        LibC.Munmap(Writable, _length) == 0 && LibC.Munmap(handle, _length) == 0;

    private static nint Checked(nint result, string call) => result != LibC.MAP_FAILED
        ? result
        : throw new HostException(new ErrnoException(
            call, Marshal.GetLastPInvokeError(), "vmm runs some instructions of the guest's kernel in memory of its own, " +
            "which the host must allow to be executable").Message);
}
