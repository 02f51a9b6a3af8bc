using System.Runtime.InteropServices;
using Vmm.Devices.Virtio;

namespace Vmm.Host;

/// <summary>What is done to a file.</summary>
internal enum FileOperation : byte
{
    Read,
    Write,

    /// <summary>fdatasync.</summary>
    Sync,

    /// <summary>fallocate; the mode is in <see cref="FileIo.Flags"/>.</summary>
    Allocate,
}

/// <summary>Gets finished operations, on the event loop's thread.</summary>
internal interface IFileIoOwner
{
    /// <summary>The operation is finished; see <see cref="FileIo.Errno"/>. More may be started from here.</summary>
    void Finished(FileIo io);

    /// <summary>Called after the last of a batch of finished operations.</summary>
    void Deliver();
}

/// <summary>One operation on a file. The owner keeps and reuses it, so that nothing is allocated per request; between
/// <see cref="FileEngine.Start"/> and <see cref="IFileIoOwner.Finished"/> it belongs to the engine.</summary>
internal sealed class FileIo(IFileIoOwner owner, int tag)
{
    private readonly IoVector[] _partial = GC.AllocateArray<IoVector>(1, pinned: true);
    private nint _vectors;
    private int _vectorCount;
    private bool _inPartial;

    public IFileIoOwner Owner { get; } = owner;

    /// <summary>The owner's own number for it.</summary>
    public int Tag { get; set; } = tag;

    public HostFile? File { get; set; }

    public FileOperation Operation { get; private set; }

    /// <summary>Bytes from the file's start at which what is left begins.</summary>
    public ulong Offset { get; private set; }

    /// <summary>Bytes left to move (or of the range to allocate).</summary>
    public ulong Left { get; private set; }

    /// <summary>RWF_* for a write, FALLOC_FL_* for an allocation.</summary>
    public int Flags { get; private set; }

    /// <summary>A read past the file's end gives zeros instead of an error.</summary>
    public bool ZeroPastEnd { get; set; }

    /// <summary>0, or why it failed.</summary>
    public int Errno { get; private set; }

    /// <summary>Link of the list that holds it; it is in one list at a time.</summary>
    public FileIo? Next { get; set; }

    /// <summary>For <see cref="FileThreads"/>: the list it is in, and what the call gave.</summary>
    public FileIo? Todo { get; set; }

    public long ThreadResult { get; set; }

    /// <summary>How often the kernel asked to try again.</summary>
    public int Retries { get; set; }

    /// <summary>Where the vectors of what is left begin, and how many of them the next call takes.</summary>
    public (nint Vectors, int Count) Current =>
        _inPartial
            ? (Marshal.UnsafeAddrOfPinnedArrayElement(_partial, 0), 1)
            : (_vectors, Math.Min(_vectorCount, LibC.IOV_MAX));

    /// <param name="vectors">Address of <see cref="IoVector"/>s, in place until it is finished.</param>
    /// <param name="count">How many.</param>
    /// <param name="length">What they add up to.</param>
    public void Prepare(FileOperation operation, ulong offset, ulong length, nint vectors, int count, int flags = 0)
    {
        Operation = operation;
        Offset = offset;
        Left = length;
        Flags = flags;
        _vectors = vectors;
        _vectorCount = count;
        _inPartial = false;
        Errno = 0;
        Retries = 0;
        ZeroPastEnd = false;
    }

    public void PrepareSync() => Prepare(FileOperation.Sync, 0, 0, 0, 0);

    public void PrepareAllocate(int mode, ulong offset, ulong length) =>
        Prepare(FileOperation.Allocate, offset, length, 0, 0, mode);

    /// <summary>Takes what a call gave: bytes, or an error number below zero.</summary>
    /// <returns>Is it finished? If not, the rest is submitted to the kernel again.</returns>
    public bool Advance(long result)
    {
        if (result is -ErrnoException.EINTR or -ErrnoException.EAGAIN && Retries++ < 100)
        {
            return false;
        }

        if (result < 0)
        {
            Errno = (int)-result;
            return true;
        }

        if (Operation is FileOperation.Sync or FileOperation.Allocate)
        {
            return true;
        }

        if (result == 0 && Left != 0)
        {
            // The end of the file; a write that moves nothing is an error whatever the reason.
            if (Operation == FileOperation.Read && ZeroPastEnd)
            {
                ClearRest();
            }
            else
            {
                Errno = ErrnoException.EIO;
            }

            return true;
        }

        Skip((ulong)result);
        return Left == 0;
    }

    private unsafe void Skip(ulong count)
    {
        count = Math.Min(count, Left);
        Offset += count;
        Left -= count;
        while (count > 0)
        {
            // SAFETY: the vectors stay in place and add up to at least what is left (Prepare's contract).
            IoVector first = _inPartial ? _partial[0] : *(IoVector*)_vectors;
            if (count < first.Length)
            {
                // The caller's vectors are not ours to change: the rest of the first goes on its own.
                if (!_inPartial)
                {
                    _vectors += sizeof(IoVector);
                    _vectorCount--;
                }

                _partial[0] = new IoVector(first.Base + (nint)count, first.Length - (nuint)count);
                _inPartial = true;
                return;
            }

            count -= first.Length;
            if (_inPartial)
            {
                _inPartial = false;
            }
            else
            {
                _vectors += sizeof(IoVector);
                _vectorCount--;
            }
        }
    }

    private unsafe void ClearRest()
    {
        while (Left != 0)
        {
            // SAFETY: as in Skip; a vector is memory that the kernel was to write to.
            IoVector first = _inPartial ? _partial[0] : *(IoVector*)_vectors;
            nuint count = (nuint)Math.Min(first.Length, Left);
            NativeMemory.Clear((void*)first.Base, count);
            Skip(count);
        }
    }
}
