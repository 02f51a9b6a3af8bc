using Vmm.Devices.Legacy;
using Vmm.Host;

namespace Vmm.Backends.Console;

/// <summary>The guest's console bytes on their way to standard output: a ring of fixed size, filled by vCPU threads,
/// emptied by a thread of its own.</summary>
/// <remarks>
/// A vCPU never waits for a slow reader: when the ring is full the serial port tells the guest to wait. Nothing is
/// lost, nothing grows.
/// </remarks>
internal sealed class ConsoleOutput : ISerialOutput, IDisposable
{
    private const int Capacity = 64 * 1024;

    private readonly EventLoop _loop;
    private readonly WriterThread _writer;
    private readonly Action _tellDrained;
    private EventLoop.Watch? _hangUp;

    public ConsoleOutput(EventLoop loop, int fd)
    {
        _loop = loop;
        _tellDrained = () => Drained?.Invoke();
        _writer = new WriterThread("standard output", fd, Capacity)
        {
            Drained = () => loop.Post(_tellDrained),
            Failed = error => loop.Post(() => Broken?.Invoke(error)),
        };

        // Errors and hang-ups are reported without asking: so a closed pipe is noticed even while the guest writes nothing.
        _hangUp = loop.TryAdd(fd, 0, _ => OnHangUp(), "console output");
    }

    /// <summary>The ring takes bytes again after it was full. On the event loop's thread.</summary>
    public event Action? Drained;

    /// <summary>The output has no reader any more (EPIPE), or cannot be written. On the event loop's thread, once.</summary>
    public event Action<ErrnoException>? Broken;

    /// <summary>Bytes that the guest sent so far.</summary>
    public long TotalBytes => _writer.TotalBytes;

    /// <inheritdoc cref="WriterThread.Failure"/>
    public ErrnoException? Failure => _writer.Failure;

    public int Write(ReadOnlySpan<byte> bytes) => _writer.Write(bytes);

    /// <inheritdoc cref="WriterThread.Flush"/>
    public bool Flush(TimeSpan patience, int interrupt = -1) => _writer.Flush(patience, interrupt);

    public void Dispose() => _writer.Dispose();

    private void OnHangUp()
    {
        _loop.Remove(_hangUp!);
        _hangUp = null;
        _writer.Fail(new ErrnoException("standard output", ErrnoException.EPIPE));
    }
}
