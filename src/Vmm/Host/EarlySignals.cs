namespace Vmm.Host;

/// <summary>Signals that come before there is a machine that hears them: while its root is packed, say. They end vmm, but not in the middle
/// of that, where its sockets, its directory and the programs that it has started would stay behind: they wait until the machine hears
/// them, and what takes long looks for them. Where neither does within ten seconds, they do what they do by default.</summary>
internal sealed class EarlySignals : IDisposable
{
    private static EarlySignals? _current;

    private readonly SignalPipe _pipe;

    private EarlySignals(SignalPipe pipe) => _pipe = pipe;

    /// <summary>Readable when a signal came; -1 where nobody takes them.</summary>
    public static int Number => _current?._pipe.Number ?? -1;

    public static EarlySignals Begin()
    {
        LastSignals.Take();
        return _current = new EarlySignals(
            new SignalPipe(null, [LibC.SIGHUP, LibC.SIGINT, LibC.SIGQUIT, LibC.SIGTERM], isEarly: true));
    }

    /// <summary>The pipe of a machine, which has the signals from now on, and those that have come.</summary>
    /// <param name="signals">As <see cref="SignalPipe"/> takes them.</param>
    public static SignalPipe HandOver(params ReadOnlySpan<int> signals)
    {
        LastSignals.Take();
        var pipe = new SignalPipe(_current?._pipe, signals);
        LastSignals.Release();
        return pipe;
    }

    /// <exception cref="StoppedException">A signal has come.</exception>
    public static void Check()
    {
        if (_current?._pipe.TryRead(out int signal) == true)
        {
            LastSignals.Release();
            throw new StoppedException(signal);
        }
    }

    public void Dispose()
    {
        _current = null;
        _pipe.Dispose();
    }
}

/// <summary>A signal has ended vmm before there was a machine.</summary>
internal sealed class StoppedException(int signal) : Exception($"stopped by {SignalNames.Of(signal)}")
{
    public int Signal { get; } = signal;
}
