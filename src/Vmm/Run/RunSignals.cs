using Vmm.Host;

namespace Vmm.Run;

/// <summary>Forwards signals from vmm to the command in the guest.</summary>
internal sealed class RunSignals : IDisposable
{
    private const int EndsMachine = 3;

    private readonly EventLoop _loop;
    private readonly SignalPipe _pipe;
    private readonly EventLoop.Watch _watch;
    private readonly Func<int, bool> _forward;
    private readonly Action<int> _end;
    private readonly Action _resized;
    private int _last;
    private int _times;

    /// <param name="forward">Sends the command a signal; false where there is no command yet.</param>
    /// <param name="end">The signal ends the machine: there is no command yet, or it came three times.</param>
    /// <param name="resized">The terminal's size has changed.</param>
    public RunSignals(EventLoop loop, Func<int, bool> forward, Action<int> end, Action resized)
    {
        (_loop, _forward, _end, _resized) = (loop, forward, end, resized);
        _pipe = EarlySignals.HandOver(
            LibC.SIGHUP, LibC.SIGINT, LibC.SIGQUIT, LibC.SIGTERM, LibC.SIGUSR2, LibC.SIGXCPU, LibC.SIGWINCH);
        _watch = loop.Add(_pipe.Number, LibC.EPOLLIN, _ => Hear(), "signals");
    }

    /// <summary>After the loop has ended: waits until the rest of an output is written, as long as its reader needs (it may be a pager). A
    /// signal ends the wait.</summary>
    /// <returns>That signal; null where all was written, or writing has failed.</returns>
    public int? Flush(StreamOutput output)
    {
        while (!output.Flush(Timeout.InfiniteTimeSpan, _pipe.Number))
        {
            if (TakeEnd() is { } signal)
            {
                return signal;
            }
        }

        return null;
    }

    public void Dispose()
    {
        _loop.Remove(_watch);
        _pipe.Dispose();
    }

    /// <summary>The signals that came since the loop ended: the last one that ends vmm; null where there was none.</summary>
    private int? TakeEnd()
    {
        int? end = null;
        while (_pipe.TryRead(out int signal))
        {
            end = signal == LibC.SIGWINCH || signal == LibC.SIGUSR2 || signal == LibC.SIGXCPU ? end : signal;
        }

        return end;
    }

    private void Hear()
    {
        while (_pipe.TryRead(out int signal))
        {
            if (signal == LibC.SIGWINCH)
            {
                _resized();
                continue;
            }

            _times = signal == _last ? _times + 1 : 1;
            _last = signal;
            if ((_times >= EndsMachine && signal != LibC.SIGUSR2) || !_forward(signal))
            {
                _end(signal);
            }
        }
    }
}
