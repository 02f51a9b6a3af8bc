using System.Runtime.InteropServices;

namespace Vmm.Host;

/// <summary>Zeroed memory from the kernel, outside the GC heap, taken only as it is touched.</summary>
internal sealed class AnonymousMemory : SafeHandle
{
    private readonly nuint _length;

    /// <param name="length">Bytes; a multiple of the page size.</param>
    /// <param name="remedy">For the error: what the user can do.</param>
    /// <exception cref="HostException">The host has no room for it.</exception>
    public AnonymousMemory(ulong length, string remedy)
        : base(LibC.MAP_FAILED, ownsHandle: true)
    {
        _length = (nuint)length;
        nint start = LibC.Mmap(
            0,
            _length,
            LibC.PROT_READ | LibC.PROT_WRITE,
            LibC.MAP_PRIVATE | LibC.MAP_ANONYMOUS | LibC.MAP_NORESERVE,
            fd: -1,
            offset: 0);
        if (start == LibC.MAP_FAILED)
        {
            throw new HostException(
                new ErrnoException($"mmap of {length >> 20} MiB", Marshal.GetLastPInvokeError(), remedy).Message);
        }

        SetHandle(start);
    }

    public override bool IsInvalid => handle == LibC.MAP_FAILED;

    /// <summary>First byte; valid until the handle is disposed.</summary>
    public nint Start => handle;

    /// <summary>For fewer page faults and shorter page walks. Where huge pages are switched off this changes nothing.</summary>
    /// <param name="from">The first byte of the part that is meant, a multiple of the page size.</param>
    public void WantHugePages(ulong from)
    {
        if (from < _length)
        {
            _ = LibC.Madvise(handle + (nint)from, _length - (nuint)from, LibC.MADV_HUGEPAGE);
        }
    }

    protected override bool ReleaseHandle() => LibC.Munmap(handle, _length) == 0;
}
