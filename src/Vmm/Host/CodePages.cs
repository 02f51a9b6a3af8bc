using System.Runtime.InteropServices;

namespace Vmm.Host;

/// <summary>Memory for machine code that vmm writes itself: the same pages mapped twice, so that none is ever
/// writable and executable at one address. Not a file: a limit of file sizes (RLIMIT_FSIZE) would hit a memfd, too.</summary>
internal sealed unsafe class CodePages : SafeHandle
{
    private static nint Failed => (nint)LibC.MAP_FAILED;

    private readonly int _length;

    /// <param name="length">Bytes; a multiple of the page size.</param>
    /// <exception cref="HostException">The host does not allow executable memory.</exception>
    public CodePages(int length)
        : base(Failed, ownsHandle: true)
    {
        _length = length;
        Writable = Checked(
            LibC.mmap(null, _length, LibC.PROT_READ | LibC.PROT_WRITE, LibC.MAP_SHARED | LibC.MAP_ANONYMOUS, -1, 0), "mmap");
        nint again = Failed;
        try
        {
            // An old length of 0 makes a second mapping of the same pages (mremap(2)).
            again = Checked(LibC.mremap((void*)Writable, 0, _length, LibC.MREMAP_MAYMOVE, null), "mremap");
            Checked((void*)LibC.mprotect((void*)again, _length, LibC.PROT_READ | LibC.PROT_EXEC), "mprotect");
            SetHandle(again);
        }
        catch (HostException)
        {
            Unmap(Writable);
            if (again != Failed)
            {
                Unmap(again);
            }

            throw;
        }
    }

    public override bool IsInvalid => handle == Failed;

    /// <summary>Where the code runs. Valid until the handle is disposed.</summary>
    public nint Executable => handle;

    /// <summary>Where the same bytes are written.</summary>
    public nint Writable { get; }

    public int Length => _length;

    protected override bool ReleaseHandle() => Unmap(Writable) && Unmap(handle);

    // SAFETY: one of the two mappings; nobody uses it any more.
    private bool Unmap(nint start) => LibC.munmap((void*)start, _length) == 0;

    private static nint Checked(void* result, string call) => result != LibC.MAP_FAILED
        ? (nint)result
        : throw new HostException(new ErrnoException(
            call, Marshal.GetLastPInvokeError(), "vmm runs some instructions of the guest's kernel in memory of its own, " +
            "which the host must allow to be executable").Message);
}
