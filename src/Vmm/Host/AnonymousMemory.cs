using System.Runtime.InteropServices;
using Tmds.Linux;

namespace Vmm.Host;

/// <summary>A memory mapping outside the GC heap, whose pages are allocated on first access: zeros, or a private copy of a file. One of
/// 2 MiB or more starts at a multiple of 2 MiB.</summary>
internal sealed unsafe class AnonymousMemory : SafeHandle
{
    private const nint HugePage = 2 << 20;

    private static nint Failed => (nint)LibC.MAP_FAILED;

    private readonly nuint _length;
    private ulong _hugeFrom = ulong.MaxValue;

    /// <param name="length">Bytes; a multiple of the page size.</param>
    /// <param name="remedy">For the error: what the user can do.</param>
    /// <param name="shared">Other processes can map it (<see cref="Shared"/>).</param>
    /// <param name="content">A file of that length, which it begins with and which it never changes: a page is read when it is
    /// touched first. Owned from now on; null for zeros. Not with <paramref name="shared"/>.</param>
    /// <exception cref="HostException">The host does not have that much memory.</exception>
    public AnonymousMemory(ulong length, string remedy, bool shared = false, FileDescriptor? content = null)
        : base(Failed, ownsHandle: true)
    {
        _length = (nuint)length;
        Content = content;
        Shared = shared ? CreateFile((long)length) : null;
        nint start = Map(0);
        if (start != Failed && (nint)_length >= HugePage && start % HugePage != 0)
        {
            // Linux before 6.7 aligns to small pages only, and KVM needs guest and host addresses that are equal modulo
            // a huge page to map it as one. The addresses below the mapping are nearly always free.
            _ = LibC.munmap((void*)start, (size_t)_length);
            start = Map(start & -HugePage);
        }

        if (start == Failed)
        {
            Shared?.Dispose();
            Content?.Dispose();
            throw new HostException(
                new ErrnoException($"mmap of {length >> 20} MiB", Marshal.GetLastPInvokeError(), remedy).Message);
        }

        SetHandle(start);
    }

    /// <summary>The memory as a file, from its first byte, for other processes; null where it is private to this one. The
    /// file's length is sealed.</summary>
    public FileDescriptor? Shared { get; }

    /// <summary>The file with the initial content; null for zeros.</summary>
    public FileDescriptor? Content { get; }

    public override bool IsInvalid => handle == Failed;

    /// <summary>First byte; valid until the handle is disposed.</summary>
    public nint Start => handle;

    /// <param name="wanted">The address to map at, if that is free; 0 for any.</param>
    private nint Map(nint wanted) => (nint)LibC.mmap(
        (void*)wanted,
        (size_t)_length,
        LibC.PROT_READ | LibC.PROT_WRITE,
        (Shared is not null ? LibC.MAP_SHARED : LibC.MAP_PRIVATE | (Content is null ? LibC.MAP_ANONYMOUS : 0)) | LibC.MAP_NORESERVE,
        (Shared ?? Content)?.Number ?? -1,
        0);

    /// <summary>Asks for huge pages: fewer page faults and shorter page walks. Does nothing where the host has them switched
    /// off, and for what is mapped from a disk: the kernel would read 2 MiB for each byte that is touched, holes among them.</summary>
    /// <param name="from">Offset of the first byte that is to have them, a multiple of the page size.</param>
    public void WantHugePages(ulong from)
    {
        if (Content is { } file && !IsInMemory(file))
        {
            return;
        }

        _hugeFrom = from;
        if (from < _length)
        {
            _ = LibC.madvise((void*)(handle + (nint)from), (size_t)(_length - (nuint)from), LibC.MADV_HUGEPAGE);
        }
    }

    /// <summary>Gives pages back to the host; they read as zeros from then on. The rest of a huge page is kept.</summary>
    /// <param name="address">Within the memory; a multiple of the page size.</param>
    /// <param name="length">Bytes; a multiple of the page size.</param>
    /// <returns>False when the host refused.</returns>
    public bool Discard(nint address, nuint length)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(address, handle);
        var offset = (nuint)(address - handle);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, _length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, _length - offset);

        if (Content is not null)
        {
            // After madvise they would read as the file does. (mmap has nothing for a length of 0.)
            int flags = LibC.MAP_PRIVATE | LibC.MAP_ANONYMOUS | LibC.MAP_NORESERVE | LibC.MAP_FIXED;
            return length == 0
                || LibC.mmap((void*)address, (size_t)length, LibC.PROT_READ | LibC.PROT_WRITE, flags, -1, 0) != LibC.MAP_FAILED;
        }

        // madvise would take pages of a file out of this process only; the file would keep them.
        return Shared is { } file
            ? LibC.fallocate(file.Number, LibC.FALLOC_FL_PUNCH_HOLE | LibC.FALLOC_FL_KEEP_SIZE, (long)offset, (long)length) == 0
            : LibC.madvise((void*)address, (size_t)length, LibC.MADV_DONTNEED) == 0;
    }

    /// <summary>Gives this process's copies of a file's pages back to the host: they read as the file does from then on.</summary>
    /// <param name="offset">Offset of the first byte; like the length a multiple of the page size.</param>
    /// <param name="wasDiscarded">There may be pages among them that do not show the file since <see cref="Discard"/>.</param>
    /// <exception cref="ErrnoException">The host refused.</exception>
    public void Revert(ulong offset, ulong length, bool wasDiscarded)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, _length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(length, _length - offset);
        var address = (void*)(handle + (nint)offset);
        if (!wasDiscarded)
        {
            ErrnoException.Check(LibC.madvise(address, (size_t)length, LibC.MADV_DONTNEED), "madvise(MADV_DONTNEED)");
            return;
        }

        int flags = LibC.MAP_PRIVATE | LibC.MAP_NORESERVE | LibC.MAP_FIXED;
        if (LibC.mmap(address, (size_t)length, LibC.PROT_READ | LibC.PROT_WRITE, flags, Content!.Number, (long)offset) == LibC.MAP_FAILED)
        {
            throw new ErrnoException("mmap of guest memory", Marshal.GetLastPInvokeError());
        }

        if (offset >= _hugeFrom)
        {
            _ = LibC.madvise(address, (size_t)length, LibC.MADV_HUGEPAGE);      // as its neighbours, with which it is one mapping then
        }
    }

    private static bool IsInMemory(FileDescriptor file)
    {
        const int Longs = 15;
        long* status = stackalloc long[Longs];

        // SAFETY: a struct statfs on this stack.
        return LibC.fstatfs(file.Number, status) == 0 && status[0] == LibC.TMPFS_MAGIC;
    }

    protected override bool ReleaseHandle() => LibC.munmap((void*)handle, (size_t)_length) == 0;

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            Shared?.Dispose();
            Content?.Dispose();
        }

        base.Dispose(disposing);
    }

    /// <summary>A memfd of that length. Sealed: otherwise a process that shares it could make it shorter, and every access past
    /// its end would kill this process (SIGBUS).</summary>
    private static FileDescriptor CreateFile(long length)
    {
        int seals = LibC.F_SEAL_SEAL | LibC.F_SEAL_SHRINK | LibC.F_SEAL_GROW;
        var file = new FileDescriptor(ErrnoException.Check(
            LibC.memfd_create("vmm-memory"u8, LibC.MFD_CLOEXEC | LibC.MFD_ALLOW_SEALING), "memfd_create"));
        ErrnoException.Check(LibC.ftruncate(file.Number, length), "ftruncate of a memfd");
        ErrnoException.Check(LibC.fcntl(file.Number, LibC.F_ADD_SEALS, seals), "fcntl(F_ADD_SEALS)");
        return file;
    }
}
