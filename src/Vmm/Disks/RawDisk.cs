using System.Runtime.InteropServices;
using Vmm.Devices.Virtio;
using Vmm.Host;

namespace Vmm.Disks;

/// <summary>A raw image served by plain system calls on the event-loop thread.</summary>
internal sealed unsafe class RawDisk : IDiskBackend, IDisposable
{
    private const int MaximumVectors = 1024; // IOV_MAX

    private readonly FileDescriptor _file;
    private readonly List<DiskCompletion> _done = new(capacity: 64);
    private readonly List<DiskCompletion> _reporting = new(capacity: 64);
    private IDiskCompletions? _completions;

    /// <inheritdoc cref="DiskFile.Open"/>
    public RawDisk(string path, bool readOnly)
    {
        (_file, Length) = DiskFile.Open(path, readOnly);
        IsReadOnly = readOnly;
    }

    public ulong Length { get; }

    public bool IsReadOnly { get; }

    public bool CanDiscard => !IsReadOnly;

    public bool CanWriteZeroes => !IsReadOnly;

    public void Attach(IDiskCompletions completions) => _completions = completions;

    public void Enqueue(in DiskRequest request) => _done.Add(new DiskCompletion(request.Tag, Perform(request)));

    public void Submit()
    {
        if (_done.Count == 0)
        {
            return;
        }

        // The device may send more from within Completed: those are the next batch.
        _reporting.Clear();
        _reporting.AddRange(_done);
        _done.Clear();
        _completions!.Completed(CollectionsMarshal.AsSpan(_reporting));
    }

    public void Dispose() => _file.Dispose();

    private DiskResult Perform(in DiskRequest request)
    {
        int errno = request.Operation switch
        {
            DiskOperation.Read or DiskOperation.Write => Transfer(request),
            DiskOperation.Flush => Errno(LibC.Fdatasync(_file.Number)),
            DiskOperation.Discard => Allocate(request, LibC.FALLOC_FL_PUNCH_HOLE | LibC.FALLOC_FL_KEEP_SIZE),
            _ => Allocate(request, ZeroMode(request.Options)),
        };
        if (errno == 0 && (request.Options & DiskOptions.Durable) != 0)
        {
            errno = Errno(LibC.Fdatasync(_file.Number));
        }

        return errno switch
        {
            0 => DiskResult.Ok,
            ErrnoException.EOPNOTSUPP => DiskResult.Unsupported,
            _ => DiskResult.Error,
        };
    }

    private int Transfer(in DiskRequest request)
    {
        var vectors = (LibC.Iovec*)request.Vectors;
        int count = request.VectorCount;
        long offset = (long)request.Offset;
        long end = offset + (long)request.Length;
        nuint skipped = 0; // bytes of the first vector that are done already
        while (offset < end)
        {
            // SAFETY: the device keeps the array and what it points at in place until completion (DiskRequest).
            LibC.Iovec rest = new() { Base = vectors->Base + (nint)skipped, Length = vectors->Length - skipped };
            LibC.Iovec* next = skipped == 0 ? vectors : &rest;
            int nextCount = skipped == 0 ? Math.Min(count, MaximumVectors) : 1;
            nint moved = request.Operation == DiskOperation.Read
                ? LibC.Preadv(_file.Number, next, nextCount, offset)
                : LibC.Pwritev(_file.Number, next, nextCount, offset);
            if (moved <= 0)
            {
                int errno = moved == 0 ? ErrnoException.EIO : Marshal.GetLastPInvokeError();
                if (errno == ErrnoException.EINTR)
                {
                    continue;
                }

                return errno;
            }

            offset += moved;
            for (nuint left = skipped + (nuint)moved; ; vectors++, count--)
            {
                if (count == 0 || left < vectors->Length)
                {
                    skipped = left;
                    break;
                }

                left -= vectors->Length;
            }
        }

        return 0;
    }

    private int Allocate(in DiskRequest request, int mode) =>
        request.Length == 0
            ? 0
            : Errno(LibC.Fallocate(_file.Number, mode, (long)request.Offset, (long)request.Length));

    private static int ZeroMode(DiskOptions options) => LibC.FALLOC_FL_KEEP_SIZE
        | ((options & DiskOptions.Unmap) != 0 ? LibC.FALLOC_FL_PUNCH_HOLE : LibC.FALLOC_FL_ZERO_RANGE);

    private static int Errno(int result) => result == 0 ? 0 : Marshal.GetLastPInvokeError();
}
