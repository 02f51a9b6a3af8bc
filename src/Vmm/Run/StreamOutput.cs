using Vmm.Host;

namespace Vmm.Run;

/// <summary>One stream of a command on its way to a descriptor of vmm's own, which may block as long as it likes. What its
/// reader has no room for waits here, and is never more than a window, because the guest gets credit only for what was
/// written.</summary>
internal sealed class StreamOutput : IDisposable
{
    private readonly EventLoop _loop;
    private readonly WriterThread _writer;
    private readonly Action<int> _written;
    private readonly Action _report;
    private readonly int _reportFrom;
    private int _unreported;

    /// <param name="capacity">Bytes that may wait.</param>
    /// <param name="written">Hears how many bytes are out of the way, on the event loop's thread.</param>
    /// <param name="broken">Hears that nothing can be written any more, once: EPIPE, ENOSPC... On the same thread.</param>
    public StreamOutput(EventLoop loop, int fd, string name, int capacity, Action<int> written, Action<ErrnoException> broken)
    {
        (_loop, _written, _report, _reportFrom) = (loop, written, Report, capacity / 4);
        _writer = new WriterThread(name, fd, capacity)
        {
            Wrote = Count,
            Failed = error => loop.Post(() => broken(error)),
        };
    }

    /// <summary>Why nothing is written any more; null while all is well.</summary>
    public ErrnoException? Failure => _writer.Failure;

    /// <param name="bytes">No more than there is room for. On the event loop's thread.</param>
    public void Write(ReadOnlySpan<byte> bytes)
    {
        if (_writer.Write(bytes) == bytes.Length && _writer.Failure is not null)
        {
            _written(bytes.Length);     // dropped
        }
    }

    /// <inheritdoc cref="WriterThread.Flush"/>
    public bool Flush(TimeSpan patience, int interrupt = -1) => _writer.Flush(patience, interrupt);

    public void Dispose() => _writer.Dispose();

    /// <summary>On the writer's thread. The guest is told when it is worth it.</summary>
    private void Count(int bytes)
    {
        int before = Interlocked.Add(ref _unreported, bytes) - bytes;
        if (before < _reportFrom && before + bytes >= _reportFrom)
        {
            _loop.Post(_report);
        }
    }

    private void Report() => _written(Interlocked.Exchange(ref _unreported, 0));
}
