using System.Diagnostics;
using System.Globalization;
using Vmm.Host;

namespace Vmm.Machines;

/// <summary>What signals do to a running machine.</summary>
internal interface ISignalled
{
    /// <summary>False where the guest does not handle the power button.</summary>
    bool PressPowerButton();

    /// <summary>Ends the machine; the first call says how.</summary>
    void End(MachineEnd end);

    /// <summary>Restores the terminal's settings, because vmm is about to be stopped.</summary>
    void GiveTerminal();

    /// <summary>Takes the terminal if vmm is in the foreground.</summary>
    void TakeTerminal();

    /// <summary>The terminal may have another size.</summary>
    void TakeTerminalSize()
    {
    }
}

/// <summary>Signals to vmm, on the event loop's thread while it runs.</summary>
/// <remarks>
/// SIGTERM, and SIGXCPU (the limit of CPU time, <c>ulimit -t</c>), press the guest's power button, so that it shuts down by
/// itself. If the guest does not handle that, or takes too long, the machine is ended; SIGINT, SIGHUP, SIGQUIT and a second
/// SIGTERM end it at once. In each case devices are closed and the terminal is restored. SIGTSTP stops vmm, with the terminal
/// given back; SIGCONT takes the terminal again. If vmm uses the terminal just as it loses the foreground, it gets an error (EIO)
/// instead of being stopped by SIGTTIN or SIGTTOU.
/// </remarks>
internal sealed class StopSignals : IDisposable
{
    /// <summary>A second signal within this time is the same request: timeout(1) signals its child and then the whole process
    /// group.</summary>
    private static readonly TimeSpan SameRequest = TimeSpan.FromSeconds(1);

    private readonly EventLoop _loop;
    private readonly ISignalled _machine;
    private readonly TimeSpan _stopTimeout;
    private readonly SignalPipe _pipe;

    private readonly IgnoredSignals _ignored = new(LibC.SIGTTIN, LibC.SIGTTOU);
    private readonly EventLoop.Watch _watch;
    private readonly LoopTimer _timer;
    private long? _pressedAt;

    /// <param name="machine">Must not run yet: signals until then wait in the pipe.</param>
    /// <param name="stopTimeout">How long a guest may take to shut down; zero for as long as it likes.</param>
    public StopSignals(EventLoop loop, ISignalled machine, TimeSpan stopTimeout)
    {
        _loop = loop;
        _machine = machine;
        _stopTimeout = stopTimeout;
        _pipe = EarlySignals.HandOver(
            LibC.SIGHUP, LibC.SIGINT, LibC.SIGQUIT, LibC.SIGTERM, LibC.SIGXCPU, LibC.SIGTSTP, LibC.SIGCONT, LibC.SIGWINCH);
        _timer = new LoopTimer(loop, () => machine.End(MachineEnd.StopTimedOut(stopTimeout)));
        _watch = loop.Add(_pipe.Number, LibC.EPOLLIN, _ => Hear(), "signals");
    }

    /// <summary>Readable when a signal came; for waits after the loop has ended.</summary>
    public int Number => _pipe.Number;

    /// <summary>The signals that came since the loop ended: the last one that ends vmm.</summary>
    /// <returns>Null where there was none.</returns>
    public MachineEnd? TakeEnd()
    {
        MachineEnd? end = null;
        while (_pipe.TryRead(out int signal))
        {
            if (signal == LibC.SIGTSTP)
            {
                SignalPipe.DoDefault(signal);
            }
            else if (signal != LibC.SIGCONT && signal != LibC.SIGXCPU && signal != LibC.SIGWINCH)
            {
                end = EndBy(signal);
            }
        }

        return end;
    }

    public void Dispose()
    {
        _timer.Dispose();
        _loop.Remove(_watch);
        _pipe.Dispose();
        _ignored.Dispose();
    }

    private static MachineEnd EndBy(int signal) => MachineEnd.StoppedBySignal(signal, SignalNames.Of(signal));

    private void Hear()
    {
        while (_pipe.TryRead(out int signal))
        {
            if (signal == LibC.SIGTERM || signal == LibC.SIGXCPU)
            {
                AskForShutdown(signal);
            }
            else if (signal == LibC.SIGTSTP)
            {
                _machine.GiveTerminal();
                SignalPipe.DoDefault(signal);
                _machine.TakeTerminal();
            }
            else if (signal == LibC.SIGCONT)
            {
                _machine.TakeTerminal();
            }
            else if (signal == LibC.SIGWINCH)
            {
                _machine.TakeTerminalSize();
            }
            else
            {
                _machine.End(EndBy(signal));
            }
        }
    }

    private void AskForShutdown(int signal)
    {
        if (_pressedAt is { } at)
        {
            // SIGXCPU comes again with each second of CPU time.
            if (signal == LibC.SIGTERM && Stopwatch.GetElapsedTime(at) > SameRequest)
            {
                _machine.End(EndBy(signal));
            }

            return;
        }

        _pressedAt = Stopwatch.GetTimestamp();
        if (!_machine.PressPowerButton())
        {
            _machine.End(EndBy(signal));
            return;
        }

        string otherwise = "another SIGTERM ends it at once";
        if (_stopTimeout > TimeSpan.Zero)
        {
            _timer.Set(_stopTimeout);
            otherwise = string.Create(
                CultureInfo.InvariantCulture, $"it has {_stopTimeout.TotalSeconds} s (--stop-timeout); {otherwise}");
        }

        Stderr.WriteLine($"vmm: {SignalNames.Of(signal)}: pressed the guest's power button; {otherwise}");
    }
}
