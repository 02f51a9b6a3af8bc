using System.Runtime.InteropServices;
using System.Text;
using Vmm.Boot;

namespace Vmm.Host;

/// <summary>Serves the page faults of memory that comes from a file, with userfaultfd(2), and reads the rest of it meanwhile. Each chunk is
/// checked before it becomes visible. The serving thread is written in C (Native/faults.c says why).</summary>
internal sealed unsafe class FaultServer : IDisposable
{
    // Native/faults.c; bound by the linker, as the C library is.
    private const string Library = "vmmnative";

    private const int Failed = 3;

    private readonly FileDescriptor _faults, _file;
    private readonly nint _start;
    private readonly string _remedy;
    private void* _server;

    private FaultServer(FileDescriptor faults, FileDescriptor file, nint start, string remedy) =>
        (_faults, _file, _start, _remedy) = (faults, file, start, remedy);

    /// <summary>Opens a userfaultfd that reports faults of user mode and of the kernel (KVM and system calls). Any user may open one for user
    /// mode alone (UFFD_USER_MODE_ONLY), but then KVM_RUN and read(2) fail at a missing page.</summary>
    /// <param name="obstacle">Why the host does not allow it, for the user.</param>
    /// <returns>The userfaultfd; null where the host does not allow it.</returns>
    public static FileDescriptor? TryOpen(out string obstacle)
    {
        obstacle = "";
        int number = vmm_faults_open();
        if (number >= 0)
        {
            return new FileDescriptor(number);
        }

        int errno = Marshal.GetLastPInvokeError();
        obstacle = errno switch
        {
            ErrnoException.ENOSYS => "this host's kernel has no userfaultfd, or a container forbids it",
            ErrnoException.EPERM => "this host lets only root have page faults of KVM served; the sysctl vm.unprivileged_userfaultfd=1 allows it, and so does "
                + "the right to open /dev/userfaultfd; containers may forbid it, too (seccomp)",
            _ => $"this host does not let vmm have page faults served: userfaultfd: {FileErrors.Describe(errno)}",
        };
        return null;
    }

    /// <param name="faults">As <see cref="TryOpen"/> gave it; taken over.</param>
    /// <param name="file">As long as the memory; taken over.</param>
    /// <param name="name">The file's name, for messages.</param>
    /// <param name="start">Start of private anonymous memory that was never accessed; page-aligned.</param>
    /// <param name="length">Bytes; a multiple of the page size.</param>
    /// <param name="checksums">CRC-32C of each 64 KiB; 0 for those that are all zeros.</param>
    /// <param name="remedy">For the error: what the user can do.</param>
    /// <exception cref="HostException">The host does not allow it.</exception>
    public static FaultServer Start(
        FileDescriptor faults, FileDescriptor file, string name, nint start, ulong length, ReadOnlySpan<uint> checksums, string remedy)
    {
        var server = new FaultServer(faults, file, start, remedy);
        try
        {
            server.Start(name, length, checksums);
            return server;
        }
        catch
        {
            server.Dispose();
            throw;
        }
    }

    private void Start(string name, ulong length, ReadOnlySpan<uint> checksums)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual((ulong)checksums.Length, (length + 65535) / 65536);
        fixed (byte* nameBytes = Encoding.UTF8.GetBytes(name + "\0"))
        fixed (uint* sums = checksums)
        {
            // SAFETY: name and checksums are copied; descriptors and memory outlive the thread (Dispose).
            _server = vmm_faults_start(_faults.Number, _file.Number, nameBytes, (byte*)_start, length, sums);
        }

        if (_server is null)
        {
            throw new HostException(new ErrnoException("userfaultfd", Marshal.GetLastPInvokeError(), _remedy).Message);
        }
    }

    /// <summary>Descriptor that becomes readable when serving has ended.</summary>
    public int Done => vmm_faults_done(_server);

    /// <summary>Also reads memory that was not accessed yet, with at most half of a processor.</summary>
    public void LoadRest() => vmm_faults_read_on(_server, 0);

    /// <summary>Waits until all of the memory is there; page faults are not served by this process any more then.</summary>
    /// <exception cref="HostException">The file is damaged or cannot be read.</exception>
    public void Complete()
    {
        vmm_faults_read_on(_server, 1);
        if (Failure is { } why)
        {
            throw new HostException(why, _remedy);
        }
    }

    /// <summary>Waits until serving has ended. Null if all memory was read, else why not; threads that then wait for a missing page wait
    /// until vmm ends.</summary>
    public string? Failure => vmm_faults_wait(_server) == Failed ? Marshal.PtrToStringUTF8((nint)vmm_faults_why(_server)) : null;

    /// <summary>Gives pages back to the host; they read as zeros from then on.</summary>
    /// <param name="address">Within the memory; a multiple of the page size, as the length is.</param>
    /// <returns>False when the host refused.</returns>
    public bool Discard(nint address, nuint length) => vmm_faults_release(_server, (ulong)(address - _start), length) == 0;

    /// <summary>Ends serving. Call it before the memory is unmapped, when nothing uses it any more: missing pages read as zeros.</summary>
    public void Dispose()
    {
        if (_server is not null)
        {
            vmm_faults_stop(_server);
            _server = null;
        }

        _faults.Dispose();
        _file.Dispose();
    }

    [DllImport(Library, SetLastError = true)]
    private static extern int vmm_faults_open();

    [DllImport(Library, SetLastError = true)]
    private static extern void* vmm_faults_start(int faults, int file, byte* name, byte* memory, ulong length, uint* checksums);

    [DllImport(Library)]
    private static extern int vmm_faults_done(void* server);

    [DllImport(Library)]
    private static extern void vmm_faults_read_on(void* server, int withoutRests);

    [DllImport(Library)]
    private static extern int vmm_faults_release(void* server, ulong offset, ulong length);

    [DllImport(Library)]
    private static extern int vmm_faults_wait(void* server);

    [DllImport(Library)]
    private static extern byte* vmm_faults_why(void* server);

    [DllImport(Library)]
    private static extern void vmm_faults_stop(void* server);
}
