using Vmm.Host;

namespace Vmm.Machines;

/// <summary>Ends a guest that reported a panic, after its last console output.</summary>
/// <remarks>Linux writes to pvpanic before all of its messages are on the console (kernel/panic.c: the notifiers come before
/// console_flush_on_panic), and with panic=0 it runs on for ever. The guest is ended when the console has been quiet for <see
/// cref="Quiet"/>, and after <see cref="AtMost"/> in any case.</remarks>
internal sealed class PanicGrace : IDisposable
{
    private static readonly TimeSpan Quiet = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan AtMost = TimeSpan.FromSeconds(10);

    private readonly EventLoop _loop;
    private readonly Func<long> _said;
    private readonly Action _over;
    private readonly LoopTimer _timer;
    private long _before;
    private TimeSpan _passed;
    private int _begun;

    /// <param name="said">Bytes that the guest has written to the console so far.</param>
    /// <param name="over">On the loop's thread, once.</param>
    public PanicGrace(EventLoop loop, Func<long> said, Action over)
    {
        (_loop, _said, _over) = (loop, said, over);
        _timer = new LoopTimer(loop, Look);
    }

    /// <summary>Starts the wait, at the first call. Any thread.</summary>
    public void Begin()
    {
        if (Interlocked.Exchange(ref _begun, 1) == 0)
        {
            _loop.Post(() =>
            {
                _before = _said();
                _timer.Set(Quiet);
            });
        }
    }

    public void Dispose() => _timer.Dispose();

    private void Look()
    {
        _passed += Quiet;
        long said = _said();
        if (said == _before || _passed >= AtMost)
        {
            _over();
            return;
        }

        _before = said;
        _timer.Set(Quiet);
    }
}
