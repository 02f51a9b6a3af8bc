using System.Runtime.InteropServices;
using Vmm.Devices.Virtio;

namespace Vmm.Host;

/// <summary>Splits an operation that O_DIRECT refuses into aligned ones through memory of its own, a piece at a time. Kept and
/// reused.</summary>
internal sealed unsafe class BounceBuffer : IFileIoOwner, IDisposable
{
    /// <summary>Bytes of the file that one piece has at most.</summary>
    public const uint Bytes = 64 * 1024;

    private readonly DirectFile _file;
    private readonly AnonymousMemory _memory = new(Bytes, "cache=none needs it for requests that are not aligned");
    private readonly IoVector[] _vector = GC.AllocateArray<IoVector>(1, pinned: true);
    private readonly FileIo _inner;
    private FileIo? _original;
    private Step _step;
    private ulong _from;
    private ulong _length;

    public BounceBuffer(DirectFile file)
    {
        _file = file;
        _inner = new FileIo(this, 0);
    }

    private enum Step
    {
        /// <summary>A read: then copy out.</summary>
        Read,

        /// <summary>A write of less than whole blocks: first reads the blocks, then copies the data over them.</summary>
        Fill,

        Write,
    }

    /// <summary>Does it change the file from <paramref name="start"/> to before <paramref name="end"/>, or any of the
    /// blocks that these lie in?</summary>
    public bool Changes(ulong start, ulong end) =>
        _original is { Operation: FileOperation.Write } io
        && start < _file.AlignUp(io.Offset + io.Left) && _file.AlignDown(io.Offset) < end;

    public void Begin(FileIo original)
    {
        _original = original;
        NextPiece();
    }

    public void Finished(FileIo io)
    {
        FileIo original = _original!;
        if (io.Errno != 0)
        {
            EndOrContinue(original.Advance(-io.Errno));
            return;
        }

        nint buffer = _memory.Start + (nint)(_from - _file.AlignDown(_from));
        (nint vectors, int count) = original.Current;
        switch (_step)
        {
            case Step.Read:
                // SAFETY: _length bytes from _from on lie within the buffer (NextPiece).
                IoVectors.Fill(vectors, count, new ReadOnlySpan<byte>((void*)buffer, (int)_length));
                EndOrContinue(original.Advance((long)_length));
                break;
            case Step.Fill:
                WritePiece();
                break;
            default:
                EndOrContinue(original.Advance((long)_length));
                break;
        }
    }

    public void Deliver()
    {
    }

    public void Dispose() => _memory.Dispose();

    private void EndOrContinue(bool isOver)
    {
        if (!isOver)
        {
            NextPiece();
            return;
        }

        FileIo original = _original!;
        _original = null;
        _file.Bounced(this, original);
    }

    private void NextPiece()
    {
        FileIo io = _original!;
        _from = io.Offset;
        ulong start = _file.AlignDown(_from);
        _length = Math.Min(io.Left, Bytes - (_from - start));
        bool isWhole = _from == start && _file.AlignUp(_from + _length) == _from + _length;
        if (io.Operation == FileOperation.Write && isWhole)
        {
            WritePiece();
            return;
        }

        _step = io.Operation == FileOperation.Write ? Step.Fill : Step.Read;
        Start(FileOperation.Read, 0);
    }

    private void WritePiece()
    {
        (nint vectors, int count) = _original!.Current;
        nint buffer = _memory.Start + (nint)(_from - _file.AlignDown(_from));

        // SAFETY: the vectors are in place until the operation is over; _length bytes lie within the buffer.
        IoVectors.CopyFrom(
            new ReadOnlySpan<IoVector>((void*)vectors, count), 0, new Span<byte>((void*)buffer, (int)_length));
        _step = Step.Write;
        Start(FileOperation.Write, _original.Flags);
    }

    private void Start(FileOperation operation, int flags)
    {
        ulong start = _file.AlignDown(_from);
        ulong length = _file.AlignUp(_from + _length) - start;
        _vector[0] = new IoVector(_memory.Start, (nuint)length);
        _inner.Prepare(operation, start, length, Marshal.UnsafeAddrOfPinnedArrayElement(_vector, 0), 1, flags);
        _file.StartAligned(_inner);
    }
}
