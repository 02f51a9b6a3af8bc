using Vmm.Host;

namespace Vmm.Machines;

/// <summary>SIGTERM presses the guest's power button, so that it shuts down by itself; again, or where no guest listens,
/// it ends the machine, as SIGINT, SIGHUP and SIGQUIT do: in good order, devices closed, terminal restored.</summary>
internal sealed class StopSignals : IDisposable
{
    private readonly Machine _machine;
    private readonly SignalPipe _pipe = new(LibC.SIGHUP, LibC.SIGINT, LibC.SIGQUIT, LibC.SIGTERM);
    private readonly EventLoop.Watch _watch;

    /// <param name="machine">Before it runs: what comes until then waits in the pipe.</param>
    public StopSignals(Machine machine)
    {
        _machine = machine;
        _watch = machine.Loop.Add(_pipe.Number, LibC.EPOLLIN, _ => Hear(), "signals");
    }

    public void Dispose()
    {
        _machine.Loop.Remove(_watch);
        _pipe.Dispose();
    }

    private void Hear()
    {
        while (_pipe.TryRead(out int signal))
        {
            MachineEnd end = MachineEnd.StoppedBySignal(signal, NameOf(signal));
            if (signal == LibC.SIGTERM)
            {
                _machine.PressPowerButton(otherwise: end);
            }
            else
            {
                _machine.End(end);
            }
        }
    }

    private static string NameOf(int signal) => signal switch
    {
        LibC.SIGHUP => "SIGHUP",
        LibC.SIGINT => "SIGINT",
        LibC.SIGQUIT => "SIGQUIT",
        _ => "SIGTERM",
    };
}
