using Vmm.Host;

namespace Vmm.Machines;

/// <summary>Lets a guest that told of its panic say all that it has to say, and then ends it.</summary>
/// <remarks>Linux tells pvpanic before the console has all of its last words (kernel/panic.c: the notifiers come before
/// console_flush_on_panic), and with panic=0 it goes on for ever. It is over when the console is quiet for
/// <see cref="Quiet"/>, and after <see cref="AtMost"/> in any case.</remarks>
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

    /// <param name="said">Bytes that the console has had so far.</param>
    /// <param name="over">On the loop's thread, once.</param>
    public PanicGrace(EventLoop loop, Func<long> said, Action over)
    {
        (_loop, _said, _over) = (loop, said, over);
        _timer = new LoopTimer(loop, Look);
    }

    /// <summary>Any thread, any number of times: the first begins it.</summary>
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
