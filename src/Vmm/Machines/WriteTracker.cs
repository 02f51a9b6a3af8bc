using System.Runtime.InteropServices;
using Vmm.Boot;
using Vmm.Host;

namespace Vmm.Machines;

/// <summary>Records which pages of guest memory were written to: by the guest, by KVM, by a device in this process, or by the kernel for
/// a device (io_uring).</summary>
/// <remarks>
/// By userfaultfd's asynchronous write protection and PAGEMAP_SCAN, both of Linux 6.7 (Documentation/admin-guide/mm/userfaultfd.rst,
/// "Write Protect Notifications", and pagemap.rst). They work on this process's page tables, which all of these write through; no
/// device has to tell anything. KVM's log (KVM_GET_DIRTY_LOG) has the guest's own writes only.
/// Two kinds of writes pass by page tables: DMA to pages that were pinned before (direct I/O in flight), and other programs' (vhost-user).
/// So pages are collected only while the machine is quiesced, and machines with such programs are not saved.
/// </remarks>
internal sealed unsafe class WriteTracker : IDisposable
{
    // <linux/userfaultfd.h>
    private const int SysUserfaultfd = 323, UserModeOnly = 1;
    private const ulong Api = 0xaa, WriteProtectAsync = 1 << 15, RegisterWriteProtect = 2;
    private const uint UffdioApi = 0xc018_aa3f, UffdioRegister = 0xc020_aa00;

    // <linux/fs.h>
    private const uint PagemapScan = 0xc060_6610;
    private const ulong WriteProtectMatching = 1, CheckWriteProtectAsync = 2;
    private const ulong PageIsWritten = 1 << 1, PageIsPresent = 1 << 3, PageIsSwapped = 1 << 4;
    private const int RegionsAtOnce = 512;

    private readonly nint _start;
    private readonly ulong _length;
    private readonly FileDescriptor _faults;
    private readonly FileDescriptor _pagemap;
    private readonly PageSet _discarded;

    private WriteTracker(nint start, ulong length, FileDescriptor faults, FileDescriptor pagemap)
    {
        (_start, _length, _faults, _pagemap) = (start, length, faults, pagemap);
        _discarded = new PageSet(length);
    }

    /// <summary>Starts recording. While the machine is quiesced.</summary>
    /// <param name="start">Start of the mapping; page-aligned.</param>
    /// <param name="length">Bytes; a multiple of the page size.</param>
    /// <param name="obstacle">Why the kernel cannot, for the user.</param>
    /// <returns>Null where the kernel does not support it.</returns>
    public static WriteTracker? TryStart(nint start, ulong length, out string obstacle)
    {
        // Only faults of user mode would be reported, which any user may ask for, and none is reported in this mode.
        int number = (int)LibC.syscall(SysUserfaultfd, LibC.O_CLOEXEC | UserModeOnly);
        if (number < 0)
        {
            obstacle = Obstacle("userfaultfd");
            return null;
        }

        var faults = new FileDescriptor(number);
        int pagemap = LibC.open("/proc/self/pagemap", LibC.O_RDONLY | LibC.O_CLOEXEC, 0);
        if (pagemap < 0)
        {
            obstacle = Obstacle("/proc/self/pagemap");
            faults.Dispose();
            return null;
        }

        var tracker = new WriteTracker(start, length, faults, new FileDescriptor(pagemap));
        var api = new UffdApi { Version = Api, Features = WriteProtectAsync };
        obstacle = LibC.ioctl(number, unchecked((int)UffdioApi), &api) != 0 ? Obstacle("UFFDIO_API")
            : !tracker.TryRegister(start, length) ? Obstacle("UFFDIO_REGISTER")
            : !tracker.TryScan(new PageSet(length)) ? Obstacle("PAGEMAP_SCAN")
            : "";
        if (obstacle.Length == 0)
        {
            return tracker;
        }

        tracker.Dispose();
        return null;
    }

    /// <summary>Adds the pages that were written to since the last call, or since <see cref="TryStart"/>. A page that was only read
    /// for the first time may be among them. While the machine is quiesced.</summary>
    /// <exception cref="ErrnoException">The kernel failed: what was written to is not known any more.</exception>
    public void Collect(PageSet pages)
    {
        if (!TryScan(pages))
        {
            throw new ErrnoException("PAGEMAP_SCAN", Marshal.GetLastPInvokeError());
        }

        pages.Add(_discarded);
        _discarded.Clear();
    }

    /// <summary>Pages were given back to the host, and read as zeros now; their mapping may be a new one. On the thread that
    /// quiescing holds.</summary>
    public void Discarded(nint address, ulong length)
    {
        _discarded.Add((ulong)(address - _start) / PageSet.PageBytes, length / PageSet.PageBytes);
        _ = length == 0 || TryRegister(address, length);      // where that fails, so does the next scan
    }

    /// <summary>Ends recording.</summary>
    public void Dispose()
    {
        _faults.Dispose();
        _pagemap.Dispose();
    }

    private static string Obstacle(string call)
    {
        int errno = Marshal.GetLastPInvokeError();
        return errno is ErrnoException.ENOSYS or ErrnoException.EINVAL or ErrnoException.ENOTTY
            ? $"this host's kernel cannot tell which pages are written to ({call}); Linux 6.7 can"
            : $"this host does not tell which pages are written to ({call}: {FileErrors.Describe(errno)})";
    }

    private bool TryRegister(nint start, ulong length)
    {
        var range = new UffdRegister { Start = (ulong)start, Length = length, Mode = RegisterWriteProtect };

        // SAFETY: the struct that the request takes; it changes nothing that the mapping's readers and writers see.
        return LibC.ioctl(_faults.Number, unchecked((int)UffdioRegister), &range) == 0;
    }

    /// <summary>Adds what is not protected, and protects it.</summary>
    private bool TryScan(PageSet pages)
    {
        ScanRegion* regions = stackalloc ScanRegion[RegionsAtOnce];
        ulong end = (ulong)_start + _length;
        for (ulong at = (ulong)_start; at < end;)
        {
            // Pages that nobody touched stay as they are: each would get an entry in the page table to be protected. Once
            // touched they are present and not protected.
            var scan = new ScanArgument
            {
                Size = (ulong)sizeof(ScanArgument),
                Flags = WriteProtectMatching | CheckWriteProtectAsync,
                Start = at,
                End = end,
                Vector = (ulong)regions,
                VectorLength = RegionsAtOnce,
                CategoryMask = PageIsWritten,
                CategoryAnyOfMask = PageIsPresent | PageIsSwapped,
                ReturnMask = PageIsWritten,
            };
            int count = LibC.ioctl(_pagemap.Number, unchecked((int)PagemapScan), &scan);
            if (count < 0)
            {
                return false;
            }

            for (int i = 0; i < count; i++)
            {
                pages.Add((regions[i].Start - (ulong)_start) / PageSet.PageBytes, (regions[i].End - regions[i].Start) / PageSet.PageBytes);
            }

            at = scan.WalkEnd;
        }

        return true;
    }

    /// <summary>struct uffdio_api.</summary>
    private struct UffdApi
    {
        public ulong Version, Features, Ioctls;
    }

    /// <summary>struct uffdio_register.</summary>
    private struct UffdRegister
    {
        public ulong Start, Length, Mode, Ioctls;
    }

    /// <summary>struct pm_scan_arg.</summary>
    private struct ScanArgument
    {
        public ulong Size, Flags, Start, End, WalkEnd, Vector, VectorLength, MaxPages;
        public ulong CategoryInverted, CategoryMask, CategoryAnyOfMask, ReturnMask;
    }

    /// <summary>struct page_region.</summary>
    private readonly record struct ScanRegion(ulong Start, ulong End, ulong Categories);
}
