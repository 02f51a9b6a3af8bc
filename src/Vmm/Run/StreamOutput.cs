using Vmm.Host;

namespace Vmm.Run;

/// <summary>Writes one output stream of a command to a descriptor of vmm's, which may block. Pending bytes are kept here, never
/// more than a window, because the guest gets credit only for written bytes.</summary>
internal sealed class StreamOutput : IDisposable
{
    private readonly EventLoop _loop;
    private readonly WriterThread _writer;
    private readonly Action<int> _written;
    private readonly Action _report;
    private readonly int _reportFrom;
    private int _unreported;

    /// <param name="capacity">Bytes that may be pending.</param>
    /// <param name="written">Called with the number of bytes written, on the event loop's thread.</param>
    /// <param name="broken">Called once when writing has failed: EPIPE, ENOSPC... On the same thread.</param>
    public StreamOutput(EventLoop loop, int fd, string name, int capacity, Action<int> written, Action<ErrnoException> broken)
    {
        (_loop, _written, _report, _reportFrom) = (loop, written, Report, capacity / 4);
        _writer = new WriterThread(name, fd, capacity)
        {
            Wrote = Count,
            Failed = error => loop.Post(() => broken(error)),
        };
    }

    /// <summary>The error that ended all writing; null while there is none.</summary>
    public ErrnoException? Failure => _writer.Failure;

    /// <param name="bytes">Not more than the guest has credit for. On the event loop's thread.</param>
    public void Write(ReadOnlySpan<byte> bytes)
    {
        if (_writer.Write(bytes) == bytes.Length && _writer.Failure is not null)
        {
            _written(bytes.Length);     // dropped
        }
    }

    /// <inheritdoc cref="WriterThread.Flush"/>
    public bool Flush(TimeSpan patience, int interrupt = -1) => _writer.Flush(patience, interrupt);

    /// <summary>What was written so far is not reported any more: its sender is gone. Nothing is pending.</summary>
    public void Forget() => Interlocked.Exchange(ref _unreported, 0);

    public void Dispose() => _writer.Dispose();

    /// <summary>On the writer's thread. The guest gets its credit in larger pieces.</summary>
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
